# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs of playbooks did, as a login that may read their events asks for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .reader import COUNTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..client.queries import Queries

    Row = dict[str, Any]

COLUMNS = (
    "id",
    "playbook",
    "status",
    "error",
    "started_at",
    "finished_at",
    "seconds",
    "controller",
    "run_by",
    "check_mode",
    "limited_to",
    "tags",
    "skip_tags",
    "ansible_version",
    "dropped_events",
    "hosts",
    "changed_hosts",
    "failed_hosts",
    "llm_calls",
    "unpriced_llm_calls",
    "cost_usd",
)
GOING_ON = ("queued", "running", "waiting_approval")
_IDENTIFIER = re.compile(r"[0-9a-f-]+", re.ASCII)
_HEX_DIGITS = 32
# An identifier is found by its beginning in the index.
_BY_BEGINNING = """
SELECT p.task_run_id AS id FROM playbook_runs AS p WHERE p.task_run_id BETWEEN %s::uuid AND %s::uuid ORDER BY p.task_run_id LIMIT 2
"""
# LIMIT 1: asked for the runs that are listed, not joined with the costs of all.
_RUNS = f"""
SELECT {", ".join(f"r.{name}" for name in COLUMNS[:-3])}, coalesce(c.calls, 0) AS llm_calls,
    coalesce(c.unpriced_calls, 0) AS unpriced_llm_calls, c.cost_usd
FROM playbook_run_overview AS r
LEFT JOIN LATERAL (
    SELECT t.calls, t.unpriced_calls, t.cost_usd FROM task_run_costs AS t WHERE t.task_run_id = r.id LIMIT 1
) AS c ON true
"""  # noqa: S608 - constants of this file
_HOSTS = f"""
SELECT c.host_name, c.host_id, {", ".join(f"c.{name}" for name in COUNTS)}
FROM playbook_run_hosts AS c
WHERE c.task_run_id = %s
ORDER BY c.host_name
"""  # noqa: S608 - constants of this file
_STEPS = """
SELECT s.sequence, s.occurred_at, s.event, s.name, s.module, s.path, s.host, s.outcome, s.changed, s.seconds,
    e.payload ->> 'task_sequence' AS task_sequence, e.payload ->> 'message' AS message
FROM playbook_run_steps AS s
JOIN task_events AS e ON e.task_run_id = s.task_run_id AND e.sequence = s.sequence
WHERE s.task_run_id = %s AND s.sequence > %s
ORDER BY s.sequence
LIMIT %s
"""


def list_runs(
    client: Queries,
    *,
    playbook: str | None = None,
    host: str | None = None,
    statuses: Sequence[str] = (),
    limit: int = 20,
) -> list[Row]:
    """Runs of playbooks with the columns of COLUMNS, the newest first.

    Args:
        client: whom to ask.
        playbook: only those of this one, by its whole name or by its last parts, such as site.yml.
        host: only those whose summary has this host.
        statuses: only those in one of these; none lets all through.
        limit: at most so many.
    """
    conditions: list[str] = ["true"]
    parameters: dict[str, Any] = {"limit": limit}
    if playbook is not None:
        conditions.append("right('/' || r.playbook, length(%(playbook)s) + 1) = '/' || %(playbook)s")
        parameters["playbook"] = playbook
    if host is not None:
        conditions.append("r.id IN (SELECT c.task_run_id FROM playbook_run_hosts AS c WHERE c.host_name = %(host)s)")
        parameters["host"] = host
    if statuses:
        conditions.append("r.status = ANY (%(statuses)s)")
        parameters["statuses"] = list(statuses)
    return client.query_many(
        f"{_RUNS} WHERE {' AND '.join(conditions)} ORDER BY r.started_at DESC, r.id LIMIT %(limit)s", parameters
    )


def find_runs(client: Queries, beginning: str) -> list[str]:
    """The identifiers of playbooks' runs that begin so: none, the only one, or two of several.

    Args:
        beginning: any number of hexadecimal digits, with or without hyphens.
    """
    digits = beginning.lower().replace("-", "")
    if not _IDENTIFIER.fullmatch(beginning.lower()) or not 0 < len(digits) <= _HEX_DIGITS:
        return []
    rows = client.query_many(_BY_BEGINNING, [digits.ljust(_HEX_DIGITS, "0"), digits.ljust(_HEX_DIGITS, "f")])
    return [str(row["id"]) for row in rows]


def read_run(client: Queries, run: str) -> Row | None:
    """A run with the columns of COLUMNS; None where there is none."""
    return client.query_one(f"{_RUNS} WHERE r.id = %s::uuid", [run])


def read_hosts(client: Queries, run: str) -> list[Row]:
    """The counts of a run's summary for each host; none before its end."""
    return client.query_many(_HOSTS, [run])


def read_steps(client: Queries, run: str, after: int = -1, limit: int = 2000) -> list[Row]:
    """Plays, tasks and results in the order of their sequence, messages of failures included.

    Args:
        client: whom to ask.
        run: identifier.
        after: those with a larger sequence.
        limit: at most so many.
    """
    return client.query_many(_STEPS, [run, after, limit])
