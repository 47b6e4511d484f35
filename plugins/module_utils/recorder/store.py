# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write runs of playbooks: how one begins, its events, and how it ends. What is there already stays as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..client.transaction import make_durable
from ..database.driver import Json
from ..errors import MissionControlError, QueryError, TransactionError
from .reader import COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..client.transaction import Transaction
    from .reader import Begin, End, Event, HostCounts

_CREATOR = "homelab.mission_control.recorder"
_DESCRIPTION = "A playbook, whose runs the callback recorder records."
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
# An Ansible host of the inventory is joined where its name says for certain which one it is.
_ADD_HOSTS = f"""
INSERT INTO playbook_run_hosts (task_run_id, host_name, host_id, {", ".join(COUNTS)})
SELECT %(run)s::uuid, t.name, k.id, {", ".join(f"t.{name}" for name in COUNTS)}
FROM ({{told}}) AS t
LEFT JOIN LATERAL (
    SELECT min(h.id::text)::uuid AS id
    FROM hosts AS h JOIN inventory_sources AS s ON s.name = h.source
    WHERE s.connector = 'ansible' AND h.external_id = t.name AND h.gone_at IS NULL
        AND s.name = coalesce(%(source)s::text, s.name)
    HAVING count(*) = 1
) AS k ON true
ON CONFLICT (task_run_id, host_name) DO NOTHING
"""  # noqa: S608 - constants of this file
_TOLD_HOSTS = f"""
SELECT r.* FROM jsonb_to_recordset(%(hosts)s::jsonb) AS r (name text, {", ".join(f"{name} bigint" for name in COUNTS)})
"""  # noqa: S608 - constants of this file
# As Ansible counts, but for what was rescued, which only the end tells.
_COUNTED_HOSTS = """
SELECT e.payload ->> 'host' AS name,
    count(*) FILTER (WHERE e.payload ->> 'outcome' IN ('ok', 'ignored')) AS ok,
    count(*) FILTER (WHERE (e.payload ->> 'changed')::boolean) AS changed,
    count(*) FILTER (WHERE e.payload ->> 'outcome' = 'failed') AS failed,
    count(*) FILTER (WHERE e.payload ->> 'outcome' = 'unreachable') AS unreachable,
    count(*) FILTER (WHERE e.payload ->> 'outcome' = 'skipped') AS skipped,
    0::bigint AS rescued,
    count(*) FILTER (WHERE e.payload ->> 'outcome' = 'ignored') AS ignored
FROM task_events AS e
WHERE e.task_run_id = %(run)s::uuid AND e.type = 'tool_result' AND e.payload ->> 'host' IS NOT NULL
GROUP BY e.payload ->> 'host'
"""


class OtherRunError(MissionControlError):
    """The identifier is that of a run that is none of a playbook."""


def begin_run(transaction: Transaction, begin: Begin) -> None:
    """Write that a run goes on, and its playbook where it is a new one.

    Raises:
        OtherRunError: there is another run with its identifier.
    """
    transaction.query(
        "INSERT INTO tasks (title, description, created_by, playbook) SELECT p.name, %s, %s, p.name FROM (SELECT %s::text) AS p (name) "
        "WHERE NOT EXISTS (SELECT FROM tasks AS t WHERE t.playbook = p.name) ON CONFLICT DO NOTHING",
        [_DESCRIPTION, _CREATOR, begin.playbook],
    )
    added = transaction.query(
        "INSERT INTO task_runs (id, task_id, status, created_at, started_at) "
        "SELECT %s::uuid, t.id, 'running', %s::timestamptz, %s::timestamptz FROM tasks AS t WHERE t.playbook = %s ON CONFLICT DO NOTHING",
        [begin.run, begin.at, begin.at, begin.playbook],
    ).row_count
    if not added:
        there = transaction.query_one(
            "SELECT p.task_run_id AS playbook_run FROM task_runs AS r LEFT JOIN playbook_runs AS p ON p.task_run_id = r.id WHERE r.id = %s::uuid",
            [begin.run],
        )
        if there is None:
            raise TransactionError("The task of a playbook was removed while a run of it was loaded: load it again.")
        if there["playbook_run"] is None:
            raise OtherRunError("there is another run with its identifier")
        return
    transaction.query(
        "INSERT INTO playbook_runs (task_run_id, controller, run_by, check_mode, limited_to, tags, skip_tags, ansible_version) "
        "VALUES (%s::uuid, %s, %s, %s, %s, %s::text[], %s::text[], %s)",
        [
            begin.run,
            begin.controller,
            begin.user,
            begin.check,
            begin.limit,
            begin.tags,
            begin.skip_tags,
            begin.ansible,
        ],
    )


def add_events(transaction: Transaction, run_id: str, events: Sequence[Event]) -> tuple[int, int]:
    """How many were added, and how many refused, which is none here: any that the database refuses is an error."""
    rows = ",".join(
        f'{{"s":{event.sequence},"t":"{event.type}","a":"{event.at}","p":{_encode(event.payload)}}}' for event in events
    )
    result = transaction.query(
        "INSERT INTO task_events (task_run_id, sequence, type, payload, occurred_at) "
        "SELECT %s::uuid, e.s, e.t, e.p, e.a FROM jsonb_to_recordset(%s::jsonb) AS e (s bigint, t text, p jsonb, a timestamptz) "
        "ON CONFLICT (task_run_id, sequence) DO NOTHING",
        [run_id, f"[{rows}]"],
    )
    return result.row_count, 0


def add_acceptable(transaction: Transaction, run_id: str, events: Sequence[Event]) -> tuple[int, int]:
    """The same in halves of halves, so that only single events are refused."""
    try:
        with transaction.transaction() as part:
            return add_events(part, run_id, events)
    except QueryError as error:
        if not error.is_of_content:
            raise
    if len(events) == 1:
        return 0, 1
    middle = len(events) // 2
    first, second = (add_acceptable(transaction, run_id, part) for part in (events[:middle], events[middle:]))
    return first[0] + second[0], first[1] + second[1]


def end_run(transaction: Transaction, begin: Begin, end: End, hosts: Iterable[HostCounts], dropped: int) -> bool:
    """Write how a run ended.

    Args:
        hosts: the counts at its end; where there are none, they are made of its events.
        dropped: how many events the database lacks.

    Returns:
        False where its end is written already.
    """
    # The file goes when this is committed. With it all before outlives a crash of the server.
    make_durable(transaction)
    ended = transaction.query(
        "UPDATE task_runs SET status = %s, error = %s, finished_at = greatest(started_at, %s::timestamptz) "
        "WHERE id = %s::uuid AND status IN ('queued', 'running', 'waiting_approval')",
        [end.status, end.error, end.at, begin.run],
    ).row_count
    if not ended:
        return False
    if end.error is not None:
        transaction.query(
            "INSERT INTO task_events (task_run_id, sequence, type, payload, occurred_at) "
            "VALUES (%s::uuid, %s, 'error', %s::jsonb, %s::timestamptz) ON CONFLICT (task_run_id, sequence) DO NOTHING",
            [begin.run, end.sequence, {"message": end.error}, end.at],
        )
    transaction.query(
        "UPDATE playbook_runs SET dropped_events = %s WHERE task_run_id = %s::uuid AND dropped_events <> %s",
        [dropped, begin.run, dropped],
    )
    values = {"run": begin.run, "source": begin.inventory_source}
    told = [{"name": host.name, **dict(zip(COUNTS, host.counts))} for host in hosts]
    if told:
        transaction.query(_ADD_HOSTS.format(told=_TOLD_HOSTS), {**values, "hosts": Json(told)})
    else:
        transaction.query(_ADD_HOSTS.format(told=_COUNTED_HOSTS), values)
    return True
