# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of what the tables hold: the end of the audit chain, and runs that have fallen silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..audit.head import AuditHead
from ..errors import QueryError
from ..schema.foreign_code import quoted
from ..schema.own_tables import TRUSTED, ForeignCodeError, not_called
from .report import Check
from .schema import find_relations, read_tables, unreadable
from .text import duration, number

if TYPE_CHECKING:
    from .probe import Probe

_REFUSED = "42501"  # insufficient_privilege
_SHOWN = 10


def check_audit_chain(probe: Probe) -> Check:
    """The head, and whether the last link is what it says and no entry stands outside the chain.

    The chain before it is not read: `verify_audit_chain` does that, in seconds for a million entries. Whoever may not read the
    log has it looked at by that function.
    """
    answer = unreadable(probe, "audit_chain", "audit_head")
    if answer is not None:
        return answer
    relations = probe.remember(find_relations)
    log = [relations[name] for name in ("audit_links", "audit_entries") if name in relations]
    if len(log) == 2 and all(each.usable and each.readable for each in log):
        answer = unreadable(probe, "audit_chain", "audit_head", "audit_links", "audit_entries")
        if answer is not None:
            return answer
        rows = read_tables(probe, _END)
    else:
        try:
            rows = _judged_by_the_server(probe, relations["audit_head"].schema)
        except QueryError as error:
            if error.sqlstate != _REFUSED:
                raise
            return Check("audit_chain", "not visible", "This login may not verify the end of the chain.", {})
        except ForeignCodeError as error:
            return Check("audit_chain", "fail", str(error), {})
    if not rows:
        return Check("audit_chain", "fail", "The chain has no head.", {})
    head = AuditHead(rows[0]["sequence"], rows[0]["digest"])
    data = {"sequence": head.sequence, "head": str(head), "problem": rows[0]["problem"]}
    if rows[0]["problem"]:
        return Check("audit_chain", "fail", f"The end of the audit chain is broken: {rows[0]['problem']}.", data)
    return Check("audit_chain", "pass", f"The chain has {number(head.sequence, 'link')}, and its end is whole.", data)


# As verify_audit_chain() judges what comes after its head.
_END = """
SELECT h.sequence, h.digest, CASE
    WHEN h.sequence > 0 AND NOT coalesce(l.digest = h.digest, false)
        THEN format('the checkpoint %s is not in the chain', h.sequence)
    WHEN m.sequence > h.sequence THEN format('the chain ends at %s, its head says %s', m.sequence, h.sequence)
    WHEN u.unlinked > 0 THEN format('%s entries are not in the chain', u.unlinked)
END AS problem
FROM ONLY {audit_head} AS h
LEFT JOIN ONLY {audit_links} AS l ON l.sequence = h.sequence
CROSS JOIN LATERAL (SELECT max(n.sequence) AS sequence FROM ONLY {audit_links} AS n) AS m
CROSS JOIN LATERAL (
    SELECT count(*) AS unlinked
    FROM ONLY {audit_entries} AS e
    WHERE e.id > coalesce(l.entry_id, -9223372036854775808)
        AND NOT EXISTS (SELECT FROM ONLY {audit_links} AS o WHERE o.entry_id = e.id)
) AS u
"""


def _judged_by_the_server(probe: Probe, schema: str) -> list[dict[str, Any]]:
    if not probe.rows(TRUSTED, [schema, "verify_audit_chain", "20 17 20 17"]):
        raise ForeignCodeError(not_called("verify_audit_chain"))
    function = quoted(schema, "verify_audit_chain")
    return read_tables(
        probe,
        f"""
        SELECT h.sequence, h.digest, v.problem
        FROM ONLY {{audit_head}} AS h
        CROSS JOIN LATERAL {function}(NULL::bigint, NULL::bytea, h.sequence, h.digest) AS v
        """,  # noqa: S608 - a name that is quoted
    )


def check_stale_task_runs(probe: Probe) -> Check:
    """Runs that are running but have recorded no event for long: their worker has probably died."""
    answer = unreadable(probe, "stale_task_runs", "task_runs", "task_events")
    if answer is not None:
        return answer
    limit = probe.thresholds.stale_run_warn_seconds
    (row,) = read_tables(
        probe,
        """
        SELECT count(*) AS running, count(*) FILTER (WHERE s.seconds >= %(limit)s) AS stale,
            coalesce(max(s.seconds), 0) AS seconds,
            (pg_catalog.array_agg(s.id::text ORDER BY s.seconds DESC) FILTER (WHERE s.seconds >= %(limit)s))[1:%(shown)s] AS runs
        FROM (
            SELECT r.id, extract(
                epoch FROM clock_timestamp() - greatest(r.created_at, r.started_at, e.recorded_at)
            )::float8 AS seconds
            FROM ONLY {task_runs} AS r
            LEFT JOIN LATERAL (
                SELECT te.recorded_at FROM ONLY {task_events} AS te WHERE te.task_run_id = r.id ORDER BY te.sequence DESC LIMIT 1
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
