# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs that calls of tools belong to, where no program brings one: a command that calls a tool, a session of an MCP client."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from ..inventory.runs import add_events, finish_run
from ..inventory.values import text_or_none
from ..processes import has_ended, this_process

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.transaction import Transaction
    from ..models.enums import TaskEventType

COMMAND = "mission-control tools"
MCP_SERVER = "mission-control mcp"
_LONGEST_TITLE = 200  # characters
# A session goes on for as long as its client does, on a machine that may never be seen again.
_ABANDONED_DAYS = 7
_ABANDONED = """
SELECT r.id::text AS id, e.process,
    r.started_at < clock_timestamp() - make_interval(days => %s) AND NOT EXISTS (
        SELECT FROM tool_call_overview AS c
        WHERE c.task_run_id = r.id AND c.created_at > clock_timestamp() - make_interval(days => %s)
    ) AS is_old
FROM task_runs AS r
JOIN tasks AS t ON t.id = r.task_id
LEFT JOIN LATERAL (
    SELECT v.payload -> 'process' AS process FROM task_events AS v
    WHERE v.task_run_id = r.id AND v.type = 'status_change' AND v.payload ->> 'status' = 'running'
    ORDER BY v.sequence DESC LIMIT 1
) AS e ON true
WHERE r.status = 'running' AND t.created_by IN (%s, %s)
"""


def open_run(client: Client, title: str, program: str, *, run_id: UUID | None = None) -> UUID:
    """Begin a run of a program's task, which is made when there is none of this title.

    Args:
        client: of the application's login.
        title: of the task.
        program: COMMAND or MCP_SERVER; by it the run is found when its process is gone.
        run_id: an identifier of the caller's; a run that has it already is taken as it is.

    Returns:
        The run's identifier.
    """
    title = text_or_none(title, _LONGEST_TITLE) or program
    chosen = run_id or uuid4()
    with client.transaction() as transaction:
        made = transaction.query(
            "INSERT INTO task_runs (id, task_id, status, created_at, started_at) "
            "VALUES (%s, %s, 'running', clock_timestamp(), clock_timestamp()) ON CONFLICT (id) DO NOTHING",
            [chosen, _task(transaction, title, program)],
        ).row_count
        if made:
            add_events(transaction, chosen, [("status_change", {"status": "running", "process": this_process()})])
    return chosen


def close_run(client: Client, run_id: UUID, status: str, sentence: str | None = None) -> bool:
    """End a run.

    Args:
        client: of the application's login.
        run_id: one that `open_run` gave.
        status: succeeded, failed or cancelled.
        sentence: why it did not succeed; no secret in it.

    Returns:
        False for a run that had ended already, which stays as it is.
    """
    events: list[tuple[TaskEventType, dict[str, str]]] = [("log", {"message": sentence})] if sentence else []
    with client.transaction() as transaction:
        return finish_run(transaction, run_id, status, sentence, events if status == "cancelled" else [])


def close_abandoned(client: Client) -> int:
    """Close the runs whose process on this machine is gone, and those of other machines that were silent for seven days.

    Their calls are decided about and carried out as if nothing had happened: who asked for them was told so.

    Returns:
        How many.
    """
    rows = client.query_many(_ABANDONED, [_ABANDONED_DAYS, _ABANDONED_DAYS, COMMAND, MCP_SERVER])
    sentence = "The program that it belongs to ended without closing it."
    return sum(
        close_run(client, UUID(row["id"]), "failed", sentence)
        for row in rows
        if row["is_old"] or has_ended(row["process"])
    )


def _task(transaction: Transaction, title: str, program: str) -> UUID:
    found = transaction.query_one(
        "SELECT t.id FROM tasks AS t WHERE t.title = %s AND t.created_by = %s ORDER BY t.created_at, t.id LIMIT 1",
        [title, program],
    )
    if found is None:
        found = transaction.query_one(
            "INSERT INTO tasks (title, created_by) VALUES (%s, %s) RETURNING id", [title, program]
        )
    if found is None:
        raise AssertionError("an insert returns its row")
    task: UUID = found["id"]
    return task
