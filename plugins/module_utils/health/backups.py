# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the backups: whether the write-ahead log is archived, and how the last runs ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .report import Check
from .schema import read_tables, unreadable
from .text import duration, number

if TYPE_CHECKING:
    from .probe import Probe

    Row = dict[str, Any]

# A segment of the write-ahead log has a timeline, and its number in two halves.
_NUMBER = "(('x' || substr({0}, 9, 8))::bit(32)::bigint * (4294967296 / s.bytes) + ('x' || substr({0}, 17, 8))::bit(32)::bigint)"
_ARCHIVED = _NUMBER.format("a.last_archived_wal")
_WRITTEN = _NUMBER.format("pg_walfile_name(pg_current_wal_lsn())")


def check_backups(probe: Probe) -> Check:
    """A backup or an archive that failed, has stopped, or has a hole. Without any backup there is nothing to check, and it says so."""
    archive = probe.row(
        f"""
        SELECT current_setting('archive_mode') <> 'off' AS archiving,
            coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) AS archive_fails,
            extract(epoch FROM clock_timestamp() - coalesce(a.last_archived_time, a.stats_reset))::float8 AS archived_seconds,
            CASE WHEN NOT pg_is_in_recovery() AND a.last_archived_wal ~ '^[0-9A-F]{{24}}'
                THEN greatest(0, {_WRITTEN} - {_ARCHIVED} - 1)
            END AS waiting_segments
        FROM pg_catalog.pg_stat_archiver AS a
        CROSS JOIN (SELECT pg_size_bytes(current_setting('wal_segment_size')) AS bytes) AS s
        """  # noqa: S608 - constants
    )
    problem = _archive_problem(archive, probe.thresholds.archive_warn_seconds)
    if problem:
        return Check("backups", "warn", problem, archive)
    answer = unreadable(probe, "backups", "backup_runs")
    if answer is not None:
        return answer
    (runs,) = read_tables(
        probe,
        """
        WITH run AS (
            SELECT r.method, r.outcome, r.started_at, extract(epoch FROM clock_timestamp() - r.finished_at)::float8 AS seconds
            FROM ONLY {backup_runs} AS r WHERE r.type <> 'archive'
        ), last_run AS (
            SELECT r.method, r.outcome, r.seconds FROM run AS r WHERE r.started_at = (SELECT max(started_at) FROM run)
        )
        SELECT (SELECT min(method) FROM last_run) AS method,
            (SELECT min(seconds) FROM run WHERE outcome = 'success') AS success_seconds,
            (SELECT min(seconds) FROM last_run WHERE outcome = 'failure') AS failure_seconds,
            EXISTS (
                SELECT FROM ONLY {backup_runs} AS g
                WHERE g.type = 'archive' AND g.outcome = 'failure'
                    AND g.started_at > coalesce((SELECT max(started_at) FROM run WHERE outcome = 'success'), '-infinity')
            ) AS log_is_lost
        """,
    )
    return _judged({**archive, **runs}, probe.thresholds.backup_warn_seconds)


def _archive_problem(archive: Row, limit: float) -> str:
    if not archive["archiving"]:
        return ""
    if archive["archive_fails"]:
        return "Archiving of the write-ahead log fails; the server's log says why. It keeps what was not archived."
    waiting = archive["waiting_segments"]
    if waiting and archive["archived_seconds"] >= limit:
        return (
            f"{number(waiting, 'segment')} of the write-ahead log waiting to be archived, and none was for "
            f"{duration(archive['archived_seconds'])}."
        )
    return ""


def _judged(data: Row, limit: float) -> Check:
    success, failure = data["success_seconds"], data["failure_seconds"]
    if data["method"] is None:
        archiving = "The write-ahead log is archived, but no backup is recorded here."
        message = archiving if data["archiving"] else "No backup is set up: see the role mission_control_backup."
        return Check("backups", "not checked", message, data)
    if success is None:
        problem = "No backup has succeeded yet."
    elif failure is not None:
        problem = f"The last backup failed {duration(failure)} ago; the last good one is {duration(success)} old."
    elif success >= limit:
        problem = f"The last backup is {duration(success)} old."
    elif data["log_is_lost"]:
        problem = "Write-ahead log was given up because the repository did not take it: make a backup, since no later state can be restored."
    elif data["method"] == "pgbackrest" and not data["archiving"]:
        problem = "The write-ahead log is not archived, so nothing after the last backup can be restored."
    else:
        return Check("backups", "pass", f"The last backup is {duration(success)} old.", data)
    return Check("backups", "warn", problem, data)
