# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of what the tables hold: the end of the audit chain, and runs that have fallen silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .audit import AuditHead
from .errors import QueryError
from .health_report import Check
from .health_schema import unreadable
from .health_text import duration, number

if TYPE_CHECKING:
    from .health_probe import Probe

_REFUSED = "42501"  # insufficient_privilege
_SHOWN = 10


def check_audit_chain(probe: Probe) -> Check:
    """The head, and whether the last link is what it says and no entry stands outside the chain.

    The chain before it is not read: `verify_audit_chain` does that, in seconds for a million entries.
    """
    answer = unreadable(probe, "audit_chain", "audit_head")
    if answer is not None:
        return answer
    try:
        rows = probe.rows(
            """
            SELECT h.sequence, h.digest, v.problem
            FROM audit_head AS h
            CROSS JOIN LATERAL verify_audit_chain(NULL::bigint, NULL::bytea, h.sequence, h.digest) AS v
            """
        )
    except QueryError as error:
        if error.sqlstate != _REFUSED:
            raise
        return Check("audit_chain", "not visible", "This login may not verify the end of the chain.", {})
    if not rows:
        return Check("audit_chain", "fail", "The chain has no head.", {})
    head = AuditHead(rows[0]["sequence"], rows[0]["digest"])
    data = {"sequence": head.sequence, "head": str(head), "problem": rows[0]["problem"]}
    if rows[0]["problem"]:
        return Check("audit_chain", "fail", f"The end of the audit chain is broken: {rows[0]['problem']}.", data)
    return Check("audit_chain", "pass", f"The chain has {number(head.sequence, 'link')}, and its end is whole.", data)


def check_stale_task_runs(probe: Probe) -> Check:
    """Runs that are running but have recorded no event for long: their worker has probably died."""
    answer = unreadable(probe, "stale_task_runs", "task_runs", "task_events")
    if answer is not None:
        return answer
    limit = probe.thresholds.stale_run_warn_seconds
    row = probe.row(
        """
        SELECT count(*) AS running, count(*) FILTER (WHERE s.seconds >= %(limit)s) AS stale,
            coalesce(max(s.seconds), 0) AS seconds,
            (pg_catalog.array_agg(s.id::text ORDER BY s.seconds DESC) FILTER (WHERE s.seconds >= %(limit)s))[1:%(shown)s] AS runs
        FROM (
            SELECT r.id, extract(
                epoch FROM clock_timestamp() - greatest(r.created_at, r.started_at, e.recorded_at)
            )::float8 AS seconds
            FROM task_runs AS r
            LEFT JOIN LATERAL (
                SELECT te.recorded_at FROM task_events AS te WHERE te.task_run_id = r.id ORDER BY te.sequence DESC LIMIT 1
            ) AS e ON true
            WHERE r.status = 'running'
        ) AS s
        """,
        {"limit": limit, "shown": _SHOWN},
    )
    data = {**row, "runs": row["runs"] or []}
    if row["stale"]:
        message = (
            f"{number(row['stale'], 'run')} of {row['running']} running recorded nothing for {duration(limit)} or longer, "
            f"the longest for {duration(row['seconds'])}."
        )
        return Check("stale_task_runs", "warn", message, data)
    message = (
        f"{number(row['running'], 'run')} running, none silent for long." if row["running"] else "No run is running."
    )
    return Check("stale_task_runs", "pass", message, data)
