# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Syncs as runs of tasks: how one begins, how it is taken from the queue, and how it ends, also when its program died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ..client.transaction import wait_for_standbys
from ..database.driver import Json
from ..errors import MissionControlError
from ..processes import has_ended, this_process
from .values import text_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..client.client import Client
    from ..client.queries import Queries
    from ..client.transaction import Transaction
    from ..models.enums import TaskEventType

    Event = tuple[TaskEventType, dict[str, Any]]

_LONGEST_ERROR = 4000  # characters
# Nothing is fetched and written for so long: the run of a host that is never seen again is closed after it.
_ABANDONED_HOURS = 24


# The foreign key is checked when the whole statement has ended. Of a source that is there already no second task is made.
_ADD_SOURCE = """
WITH added AS (
    INSERT INTO inventory_sources (name, connector, cluster, enabled, interval_seconds, task_id)
    VALUES (%(name)s, %(connector)s, %(cluster)s, %(enabled)s, %(interval_seconds)s, %(task_id)s)
    ON CONFLICT DO NOTHING
    RETURNING task_id
)
INSERT INTO tasks (id, title, description, created_by)
SELECT a.task_id, %(title)s, %(description)s, %(created_by)s FROM added AS a
"""


class UnknownSourceError(MissionControlError, LookupError):
    """The database does not know the source, or the run is none of it that goes on; the message says which."""


def add_source(
    queries: Queries,
    name: str,
    connector: str,
    description: str,
    created_by: str,
    *,
    cluster: str | None = None,
    enabled: bool = True,
    interval_seconds: int | None = None,
) -> None:
    """Tell the database of a source, and of the task whose runs its syncs are; one that it knows stays as it is.

    Args:
        queries: of a login that may write inventory_sources and tasks.
        description, created_by: of the task.
        cluster, enabled, interval_seconds: as the columns of inventory_sources.
    """
    values = {
        "name": name,
        "connector": connector,
        "cluster": cluster,
        "enabled": enabled,
        "interval_seconds": interval_seconds,
        "task_id": uuid4(),
        "title": f"inventory sync {name}",
        "description": description,
        "created_by": created_by,
    }
    queries.query(_ADD_SOURCE, values)


def begin_run(client: Client, source: str, *, requested_by: str | None = None) -> UUID:
    """Begin a run of a source outside of the queue.

    Args:
        client: of the application's login.
        source: name in inventory_sources.
        requested_by: for the log of the run.

    Raises:
        UnknownSourceError: there is no such source.
    """
    with client.transaction() as transaction:
        row = transaction.query_one(
            "INSERT INTO task_runs (task_id, status, created_at, started_at) "
            "SELECT s.task_id, 'running', clock_timestamp(), clock_timestamp() FROM inventory_sources AS s WHERE s.name = %s "
            "RETURNING id::text AS id",
            [source],
        )
        if row is None:
            raise UnknownSourceError(f"The database knows no source {source!r}: register it first.")
        run_id = UUID(row["id"])
        _log_begin(transaction, run_id, requested_by)
    return run_id


def claim_queued(client: Client, sources: Sequence[str]) -> list[UUID]:
    """Take the queued runs of these sources, the oldest first; no other worker gets them.

    Args:
        client: of the application's login.
        sources: names in inventory_sources.

    Returns:
        The runs, which have begun now.
    """
    with client.transaction() as transaction:
        rows = transaction.query_many(
            "UPDATE task_runs AS r SET status = 'running', started_at = clock_timestamp() "
            "FROM (SELECT q.id FROM task_runs AS q JOIN inventory_sources AS s ON s.task_id = q.task_id "
            "WHERE q.status = 'queued' AND s.name = ANY (%s) ORDER BY q.created_at FOR UPDATE OF q SKIP LOCKED) AS q "
            "WHERE r.id = q.id RETURNING r.id::text AS id, r.created_at",
            [list(sources)],
        )
        runs = [UUID(row["id"]) for row in sorted(rows, key=lambda row: row["created_at"])]
        for run_id in runs:
            _log_begin(transaction, run_id, None)
    return runs


def fail_run(client: Client, run_id: UUID, sentence: str) -> bool:
    """Close a run as failed.

    Args:
        client: of the application's login.
        run_id: one that is queued or goes on.
        sentence: why; no secret in it.

    Returns:
        False for a run that had ended already, which stays as it is.
    """
    with client.transaction() as transaction:
        is_failed = finish_run(transaction, run_id, "failed", sentence, [])
        if not is_failed:
            wait_for_standbys(transaction)
    return is_failed


def close_abandoned(client: Client) -> int:
    """Close the runs whose program on this machine has ended without closing them, and those that are older than a day.

    Returns:
        How many.
    """
    rows = client.query_many(
        "SELECT r.id::text AS id, r.started_at < clock_timestamp() - make_interval(hours => %s) AS is_old, e.process "
        "FROM task_runs AS r JOIN inventory_sources AS s ON s.task_id = r.task_id "
        "LEFT JOIN LATERAL (SELECT t.payload -> 'process' AS process FROM task_events AS t "
        "WHERE t.task_run_id = r.id AND t.payload ->> 'status' = 'running' ORDER BY t.sequence DESC LIMIT 1) AS e ON true "
        "WHERE r.status = 'running'",
        [_ABANDONED_HOURS],
    )
    sentence = "The program that worked on it ended without finishing it."
    return sum(
        fail_run(client, UUID(row["id"]), sentence) for row in rows if row["is_old"] or has_ended(row["process"])
    )


def finish_run(transaction: Transaction, run_id: UUID, status: str, error: str | None, events: Iterable[Event]) -> bool:
    """End a run that goes on, with its last events, and make it the last one of its source; False if it had ended already."""
    error = None if error is None else text_or_none(error, _LONGEST_ERROR)
    ended = transaction.query(
        "UPDATE task_runs SET status = %s, error = %s, finished_at = clock_timestamp(), started_at = coalesce(started_at, clock_timestamp()) "
        "WHERE id = %s AND status IN ('queued', 'running')",
        [status, error, run_id],
    ).row_count
    if not ended:
        return False
    last: list[Event] = [("error", {"message": error})] if status == "failed" else []
    add_events(transaction, run_id, [*events, *last, ("status_change", {"status": status})])
    if status != "cancelled":
        # Not where a newer one has ended meanwhile. A sync that is writing just now holds the row, and will be the last one itself.
        transaction.query(
            "UPDATE inventory_sources AS s SET last_run_id = f.run_id FROM ("
            "SELECT o.name, r.id AS run_id FROM task_runs AS r JOIN inventory_sources AS o ON o.task_id = r.task_id "
            "WHERE r.id = %s AND NOT EXISTS ("
            "SELECT FROM task_runs AS l WHERE l.id = o.last_run_id AND l.started_at > r.started_at) "
            "FOR UPDATE OF o SKIP LOCKED) AS f WHERE s.name = f.name",
            [run_id],
        )
    return True


def add_events(executor: Queries, run_id: UUID, events: Iterable[Event]) -> None:
    """Go on with the log of a run."""
    executor.query(
        "INSERT INTO task_events (task_run_id, sequence, type, payload) "
        "SELECT l.id, l.last + e.position, e.event ->> 0, e.event -> 1 "
        "FROM (SELECT r.id, coalesce((SELECT max(t.sequence) FROM task_events AS t WHERE t.task_run_id = r.id), -1) AS last "
        "FROM task_runs AS r WHERE r.id = %s) AS l, jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS e (event, position)",
        [run_id, Json([list(event) for event in events])],
    )


def _log_begin(transaction: Transaction, run_id: UUID, requested_by: str | None) -> None:
    payload: dict[str, Any] = {"status": "running", "process": this_process()}
    if requested_by is not None:
        payload["requested_by"] = text_or_none(requested_by, 200)
    add_events(transaction, run_id, [("status_change", payload)])
