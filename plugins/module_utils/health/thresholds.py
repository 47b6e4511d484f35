# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Thresholds at which a health check warns or fails."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ..errors import SettingsError


def _threshold(default: float, meaning: str) -> float:
    """A field whose meaning the documentation of modules and library shows."""
    # The type is that of an instance's attribute, as with dataclasses.field itself.
    # pylint: disable-next=invalid-field-call  # it is called in the body of a dataclass
    declared: float = field(default=default, metadata={"meaning": meaning})
    return declared


@dataclass(frozen=True)
class Thresholds:
    """Thresholds at which a check warns or fails. Infinity switches one off."""

    latency_warn_ms: float = _threshold(
        1000, "Milliseconds that opening the connection, or the answer to a trivial query, takes."
    )
    connections_warn: float = _threshold(0.8, "Used share of a limit on connections, from 0 to 1.")
    connections_fail: float = _threshold(0.95, "The same, for a failure.")
    transaction_warn_seconds: float = _threshold(
        300, "Age of the oldest transaction of the database in seconds, prepared ones included."
    )
    transaction_fail_seconds: float = _threshold(3600, "The same, for a failure.")
    idle_in_transaction_warn_seconds: float = _threshold(
        60, "Seconds that a session has done nothing within a transaction."
    )
    idle_in_transaction_fail_seconds: float = _threshold(600, "The same, for a failure.")
    blocked_warn_seconds: float = _threshold(5, "Seconds that a session has waited for a lock.")
    blocked_fail_seconds: float = _threshold(60, "The same, for a failure.")
    stale_run_warn_seconds: float = _threshold(3600, "Seconds that a running task run has recorded no event.")
    transaction_id_warn: float = _threshold(
        1.5, "Age of the oldest transaction id, as a multiple of the age at which autovacuum is forced to freeze."
    )
    slot_warn_bytes: float = _threshold(
        1024**3, "Bytes of write-ahead log that a replication slot keeps on the server's disk."
    )
    replication_lag_warn_seconds: float = _threshold(
        60, "Seconds by which what a standby has replayed is behind its primary, or that a commit has waited for one."
    )
    replication_lag_warn_bytes: float = _threshold(
        256 * 1024**2, "Bytes of write-ahead log that a standby has not replayed."
    )
    standbys_warn: float = _threshold(0, "Standbys that a primary wants at least to stream from it.")
    synchronous_standbys_warn: float = _threshold(
        0,
        "Synchronous standbys that a primary wants at least, for servers whose `synchronous_standby_names` is emptied when none is there, "
        "as by Patroni.",
    )
    certificate_warn_days: float = _threshold(
        14, "Days that the server's certificate is still valid; 0 switches the warning off."
    )
    backup_warn_seconds: float = _threshold(
        36 * 3600, "Seconds since the last successful backup ended; by default a daily one may be half a day late."
    )
    archive_warn_seconds: float = _threshold(3600, "Seconds that write-ahead log has been waiting to be archived.")
    inventory_warn_intervals: float = _threshold(
        3, "Age of the last complete sync of a source of the inventory, as a multiple of its interval."
    )
    tool_call_warn_seconds: float = _threshold(
        300, "Seconds that a tool call may wait for an executor; waiting for a person does not count."
    )
    budget_warn: float = _threshold(
        0.8, "Share of a budget for language models that is spent this month; 1 is all of it."
    )
    prices_warn_days: float = _threshold(90, "Days since the price list of the collection was read at its source.")
    unpriced_warn_calls: float = _threshold(1, "Calls of the last 30 days that have no price.")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise SettingsError(f"The threshold {each.name} must be a number, 0 or more, not {value!r}.")
        for each in fields(self):
            warn = each.name.replace("_fail", "_warn")
            if getattr(self, each.name) < getattr(self, warn):
                raise SettingsError(f"The threshold {each.name} must not be below {warn}: the warning comes first.")


MEANINGS: dict[str, str] = {each.name: each.metadata["meaning"] for each in fields(Thresholds)}
DEFAULTS: dict[str, float] = {each.name: float(each.default) for each in fields(Thresholds)}  # type: ignore[arg-type]
_LINES = "".join(f"\n        {name}: {meaning} Default {DEFAULTS[name]:.10g}." for name, meaning in MEANINGS.items())
Thresholds.__doc__ = f"{Thresholds.__doc__}\n\n    Attributes:{_LINES}\n    "
