# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the server as a whole: what it is, how large the database, what may stop it one day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .report import Check
from .text import duration, size

if TYPE_CHECKING:
    from .probe import Probe

_OLDEST_MAJOR = 14
# Where the server itself turns to its emergency measures (vacuum_failsafe_age), of 2**31 that there are.
_FAIL_AGE = 1_600_000_000


def check_connection(probe: Probe) -> Check:
    """How long it took to get the connection, and how long a trivial query takes."""
    slow = max(probe.connect_ms, probe.query_ms) >= probe.thresholds.latency_warn_ms
    message = f"Connected in {probe.connect_ms:.1f} ms; the server answers within {probe.query_ms:.1f} ms."
    data = {"connect_ms": probe.connect_ms, "query_ms": probe.query_ms}
    return Check("connection", "warn" if slow else "pass", message, data)


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


def check_transaction_ids(probe: Probe) -> Check:
    """How far the oldest database of the server is from the wraparound, after which the server takes no more writes."""
    row = probe.row(
        """
        SELECT d.datname::text AS oldest_database, d.age, d.multixact_age, d.share::float8 AS share
        FROM (
            SELECT datname, age(datfrozenxid) AS age, mxid_age(datminmxid) AS multixact_age,
                greatest(
                    age(datfrozenxid) / current_setting('autovacuum_freeze_max_age')::float8,
                    mxid_age(datminmxid) / current_setting('autovacuum_multixact_freeze_max_age')::float8
                ) AS share
            FROM pg_catalog.pg_database
        ) AS d
        ORDER BY d.share DESC LIMIT 1
        """
    )
    oldest = max(row["age"], row["multixact_age"])
    message = (
        f"The oldest transaction id is {row['age']} old, the oldest multixact id {row['multixact_age']} "
        f"(database {row['oldest_database']})"
    )
    if oldest >= _FAIL_AGE:
        return Check("transaction_ids", "fail", f"{message}: vacuum it now, before the server stops writing.", row)
    if row["share"] >= probe.thresholds.transaction_id_warn:
        return Check("transaction_ids", "warn", f"{message}: autovacuum does not keep up with freezing.", row)
    return Check("transaction_ids", "pass", f"{message}.", row)


def check_database_size(probe: Probe) -> Check:
    row = probe.row("SELECT pg_database_size(current_database()) AS bytes")
    return Check("database_size", "pass", f"The database takes {size(row['bytes'])}.", row)
