# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the server as a whole: what it is, how large the database, how near its limits it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .health_report import Check

if TYPE_CHECKING:
    from .health_probe import Probe

_OLDEST_MAJOR = 14


def check_server(probe: Probe) -> Check:
    """Version, primary or standby, since when it runs. That it is a standby is told, and nothing wrong by itself."""
    row = probe.row(
        """
        SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS number,
            pg_is_in_recovery() AS in_recovery, pg_postmaster_start_time() AS started_at,
            extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 AS uptime_seconds,
            extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS replay_age_seconds,
            current_database()::text AS database, session_user::text AS login
        """
    )
    major = row.pop("number") // 10000
    replay_age = row.pop("replay_age_seconds")
    role = "standby" if row.pop("in_recovery") else "primary"
    data = {**row, "major_version": major, "role": role}
    if role == "standby":
        data["replay_age_seconds"] = replay_age
    message = f"PostgreSQL {row['version']}, a {role}, up for {duration(row['uptime_seconds'])}."
    if major < _OLDEST_MAJOR:
        return Check("server", "fail", f"{message} The schema needs PostgreSQL {_OLDEST_MAJOR} or newer.", data)
    return Check("server", "pass", message, data)


def duration(seconds: float) -> str:
    """For people: 42 s, 5 min, 3 h, 12 days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
