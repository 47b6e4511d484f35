# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From when on a health check warns or fails."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import SettingsError


@dataclass(frozen=True)
class Thresholds:
    """Values from which on a check warns or fails. Infinity switches one off.

    Attributes:
        latency_warn_ms: opening the connection, or the answer to a trivial question, in milliseconds; default 1000.
        connections_warn, connections_fail: used share of a limit on connections, from 0 to 1; defaults 0.8 and 0.95.
        transaction_warn_seconds, transaction_fail_seconds: age of the oldest transaction of the database, prepared
            ones included; defaults 300 (five minutes) and 3600 (an hour).
        idle_in_transaction_warn_seconds, idle_in_transaction_fail_seconds: how long a session has been doing nothing
            within a transaction; defaults 60 and 600.
        blocked_warn_seconds, blocked_fail_seconds: how long a session has been waiting for a lock; defaults 5 and 60.
        stale_run_warn_seconds: how long a running task run has recorded no event; default 3600. Never a failure.
        transaction_id_warn: age of the oldest transaction id, as a multiple of the age at which autovacuum is forced to
            freeze; default 1.5: it does not keep up. Three quarters of the way to the wraparound are a failure.
        backup_warn_seconds: how long ago the last successful backup ended; default 129600 (36 hours: a daily one was left out).
        archive_warn_seconds: how long write-ahead log has been waiting to be archived; default 3600.
        slot_warn_bytes: write-ahead log that a replication slot keeps on the server's disk; default 1 GiB.
        certificate_warn_days: days that the server's certificate is still valid; default 14. 0 switches it off.
    """

    latency_warn_ms: float = 1000
    connections_warn: float = 0.8
    connections_fail: float = 0.95
    transaction_warn_seconds: float = 300
    transaction_fail_seconds: float = 3600
    idle_in_transaction_warn_seconds: float = 60
    idle_in_transaction_fail_seconds: float = 600
    blocked_warn_seconds: float = 5
    blocked_fail_seconds: float = 60
    stale_run_warn_seconds: float = 3600
    transaction_id_warn: float = 1.5
    slot_warn_bytes: float = 1024**3
    certificate_warn_days: float = 14
    backup_warn_seconds: float = 36 * 3600
    archive_warn_seconds: float = 3600

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise SettingsError(f"The threshold {each.name} must be a number, 0 or more, not {value!r}.")
        for each in fields(self):
            warn = each.name.replace("_fail", "_warn")
            if getattr(self, each.name) < getattr(self, warn):
                raise SettingsError(f"The threshold {each.name} must not be below {warn}: the warning comes first.")
