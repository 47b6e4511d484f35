# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of what is going on: connections, transactions, locks. Processes and ages are told, never what they execute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .report import Check
from .schema import find_relations
from .text import duration, number

if TYPE_CHECKING:
    from .probe import Probe
    from .report import CheckStatus

    Row = dict[str, Any]

_SHOWN = 10
_DATABASE = "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"


def check_connections(probe: Probe) -> Check:
    """Connections against what an ordinary login may take: of the server, of the database, and of each role in it.

    The kind of a session is hidden from most logins, its database and role from none; so are those counted of which
    nothing else is known.
    """
    limits = probe.rows(
        f"""
        WITH session AS (
            SELECT datid, usesysid FROM pg_catalog.pg_stat_activity
            WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
        )
        SELECT 'server' AS "of", NULL AS name, (SELECT count(*) FROM session) AS used,
            current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                - coalesce(current_setting('reserved_connections', true)::bigint, 0) AS "limit"
        UNION ALL
        SELECT 'database', datname::text, (SELECT count(*) FROM session WHERE datid = oid), datconnlimit
        FROM pg_catalog.pg_database
        WHERE datname = current_database() AND datconnlimit >= 0
        UNION ALL
        SELECT 'role', r.rolname::text, count(*), r.rolconnlimit
        FROM session AS s
        JOIN pg_catalog.pg_roles AS r ON r.oid = s.usesysid AND r.rolconnlimit >= 0 AND NOT r.rolsuper
        GROUP BY r.rolname, r.rolconnlimit
        HAVING bool_or(s.datid = {_DATABASE})
        """  # noqa: S608 - a constant
    )
    for row in limits:
        row["share"] = row["used"] / row["limit"] if row["limit"] else 1.0
    worst = max(limits, key=lambda row: float(row["share"]))
    whose = {"server": "the server", "database": "the database", "role": f"the role {worst['name']}"}[worst["of"]]
    message = f"{worst['used']} of the {number(worst['limit'], 'connection')} that {whose} allows are in use."
    thresholds = probe.thresholds
    status = _graded(worst["share"], thresholds.connections_warn, thresholds.connections_fail)
    return Check("connections", status, message, {**worst, "limits": limits})


def check_oldest_transaction(probe: Probe) -> Check:
    """A transaction that stays open keeps its locks, and keeps VACUUM from removing what died since it began."""
    thresholds = probe.thresholds
    return _sessions_check(
        "oldest_transaction",
        [row for row in probe.remember(_sessions) if row["transaction_seconds"] is not None],
        "transaction_seconds",
        (thresholds.transaction_warn_seconds, thresholds.transaction_fail_seconds),
        ("No other transaction is open.", "The oldest transaction has been open for {}"),
        probe,
    )


def check_idle_in_transaction(probe: Probe) -> Check:
    """A session that does nothing within a transaction: mostly a program that forgot to end it."""
    thresholds = probe.thresholds
    return _sessions_check(
        "idle_in_transaction",
        [row for row in probe.remember(_sessions) if str(row["state"]).startswith("idle in transaction")],
        "state_seconds",
        (thresholds.idle_in_transaction_warn_seconds, thresholds.idle_in_transaction_fail_seconds),
        ("No session stands idle in a transaction.", "A session has been idle in its transaction for {}"),
        probe,
    )


def check_blocked_locks(probe: Probe) -> Check:
    """Sessions that wait for a lock. Everybody may see these. Process 0 is a prepared transaction."""
    blocked = probe.rows(
        f"""
        SELECT w.*, pg_blocking_pids(w.pid) AS blocked_by
        FROM (
            SELECT l.pid, greatest(0, coalesce(extract(epoch FROM clock_timestamp() - l.waitstart), 0))::float8 AS seconds,
                l.mode, CASE WHEN l.database = {_DATABASE} THEN l.relation::regclass::text END AS relation,
                count(*) OVER () AS in_all
            FROM pg_catalog.pg_locks AS l
            LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
            WHERE NOT l.granted AND {_DATABASE} IN (l.database, a.datid)
            ORDER BY 2 DESC LIMIT {_SHOWN}
        ) AS w
        """  # noqa: S608 - constants
    )
    count = blocked[0]["in_all"] if blocked else 0
    sessions = [{name: value for name, value in row.items() if name != "in_all"} for row in blocked]
    seconds = blocked[0]["seconds"] if blocked else 0.0
    data: dict[str, Any] = {"count": count, "seconds": seconds, "sessions": sessions, "audit_head": []}
    if not blocked:
        return Check("blocked_locks", "pass", "No session waits for a lock.", data)
    first = blocked[0]
    held = data["audit_head"] = _holders_of_the_audit_log(probe, {pid for row in blocked for pid in row["blocked_by"]})
    holders = " and ".join("a prepared transaction" if pid == 0 else f"process {pid}" for pid in first["blocked_by"])
    message = (
        f"{number(count, 'session')} waiting for a lock, process {first['pid']} for {duration(first['seconds'])}"
        f"{' behind ' + holders if holders else ''}."
    )
    for each in held:
        whose = f"process {each['pid']} of {each['user']}" if each["pid"] else "a prepared transaction"
        since = f", in a transaction of {duration(each['seconds'])}" if each["seconds"] is not None else ""
        message += f" The head of the audit log is held by {whose}{since}: who writes an audit entry waits for it."
    thresholds = probe.thresholds
    status = _graded(first["seconds"], thresholds.blocked_warn_seconds, thresholds.blocked_fail_seconds)
    return Check("blocked_locks", status, message, data)


def _holders_of_the_audit_log(probe: Probe, pids: set[int]) -> list[Row]:
    """Of these processes those that hold the head of the audit log, as everybody who commits an entry does for a moment.

    A wait for the head's row shows as one for the holder's transaction, which names no table. Process 0 is a prepared
    transaction. How long it has been in its transaction is hidden from logins without pg_monitor.
    """
    relations = probe.remember(find_relations)
    head = relations.get("audit_head")
    if head is None or not head.is_table:
        return []
    return probe.rows(
        """
        SELECT DISTINCT coalesce(l.pid, 0) AS pid, a.usename::text AS "user",
            extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
        FROM pg_catalog.pg_locks AS l
        LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.relation = %(head)s::oid AND l.database = (
                SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()
            )
            AND l.granted AND l.mode NOT IN ('AccessShareLock') AND coalesce(l.pid, 0) = ANY (%(pids)s::integer[])
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS w WHERE w.pid = l.pid AND NOT w.granted)
        ORDER BY 1
        """,
        {"head": head.oid, "pids": sorted(pids)},
    )


def _sessions(probe: Probe) -> list[Row]:
    """Other sessions of the database that are in a transaction, and those of which it is not to be known.

    These are of other logins, where this one is no member of pg_monitor, or have track_activities switched off.
    """
    return probe.rows(
        f"""
        SELECT pid, usename::text AS "user", application_name AS application, state,
            backend_type IS NULL OR state = 'disabled' AS hidden,
            extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds,
            extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_seconds
        FROM pg_catalog.pg_stat_activity
        WHERE datid = {_DATABASE} AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
            AND (xact_start IS NOT NULL OR backend_type IS NULL OR state = 'disabled')
            AND coalesce(backend_type, '') NOT IN ('parallel worker', 'walsender')
        UNION ALL
        SELECT NULL, owner::text, NULL, 'prepared', false,
            extract(epoch FROM clock_timestamp() - prepared)::float8, NULL
        FROM pg_catalog.pg_prepared_xacts
        WHERE database = current_database()
        """  # noqa: S608 - a constant
    )


def _sessions_check(
    name: str,
    rows: list[Row],
    age: str,
    limits: tuple[float, float],
    sentences: tuple[str, str],
    probe: Probe,
) -> Check:
    """The oldest of the rows against its limits. Where all is well as far as one can see, that is not a pass."""
    hidden = sum(row["hidden"] for row in probe.remember(_sessions))
    oldest = sorted(rows, key=lambda row: float(row[age]), reverse=True)[:_SHOWN]
    seconds = max(0.0, oldest[0][age]) if oldest else 0.0
    sessions = [
        {
            "pid": row["pid"],
            "user": row["user"],
            "application": row["application"],
            "state": row["state"],
            "seconds": row[age],
        }
        for row in oldest
    ]
    status = _graded(seconds, *limits) if oldest else "pass"
    message = sentences[0]
    if oldest:
        whose = f"process {oldest[0]['pid']}" if oldest[0]["pid"] else "a prepared one"
        message = f"{sentences[1].format(duration(seconds))} ({whose} of {oldest[0]['user']})."
    if hidden:
        message += f" Hidden from this login: {number(hidden, 'session')}; pg_monitor shows those of other logins."
        status = "not visible" if status == "pass" else status
    return Check(
        name, status, message, {"count": len(rows), "seconds": seconds, "sessions": sessions, "hidden": hidden}
    )


def _graded(value: float, warn: float, fail: float) -> CheckStatus:
    return "fail" if value >= fail else "warn" if value >= warn else "pass"
