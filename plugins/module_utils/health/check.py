# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The health check: one connection, one read-only transaction, a report that a module, a program and a server can show."""

from __future__ import annotations

import datetime
from time import monotonic
from typing import TYPE_CHECKING, Callable

from ..errors import (
    ConnectionLostError,
    LockTimeoutError,
    MissionControlError,
    QueryError,
    SettingsError,
    StatementCanceledError,
)
from .activity import (
    check_blocked_locks,
    check_connections,
    check_idle_in_transaction,
    check_oldest_transaction,
)
from .backups import check_backups
from .certificate import check_certificate
from .contents import check_audit_chain, check_stale_task_runs
from .migrations import check_migrations, check_repeatables
from .probe import Probe, cut_at
from .report import Check, HealthReport
from .schema import check_schema_objects, check_tables
from .server import check_database_size, check_replication_slots, check_server, check_transaction_ids
from .thresholds import Thresholds

if TYPE_CHECKING:
    from ..client.client import Client
    from ..schema.manifest import Manifest

_DEFAULTS = Thresholds()
_REFUSED = "42501"  # insufficient_privilege
_CHECKS: tuple[tuple[str, Callable[[Probe], Check]], ...] = (
    ("server", check_server),
    ("connections", check_connections),
    ("oldest_transaction", check_oldest_transaction),
    ("idle_in_transaction", check_idle_in_transaction),
    ("blocked_locks", check_blocked_locks),
    ("transaction_ids", check_transaction_ids),
    ("replication_slots", check_replication_slots),
    ("certificate", check_certificate),
    ("database_size", check_database_size),
    ("tables", check_tables),
    ("migrations", check_migrations),
    ("repeatables", check_repeatables),
    ("schema_objects", check_schema_objects),
    ("audit_chain", check_audit_chain),
    ("stale_task_runs", check_stale_task_runs),
    ("backups", check_backups),
)
NAMES: tuple[str, ...] = ("connection", *(name for name, _check in _CHECKS))


def check_health(
    client: Client,
    manifest: Manifest | None = None,
    thresholds: Thresholds = _DEFAULTS,
    timeout: float = 10.0,
) -> HealthReport:
    """Look at the server, the database and the schema. Raises nothing that has to do with the database.

    Args:
        client: connected or not. The check takes one connection of its pool, and opens one if none is idle.
        manifest: what the migrations are compared with; without one they are "not checked".
        thresholds: from when on a check warns or fails.
        timeout: in seconds. The report is there by then, whatever the server does; what was not answered is
            "not checked".

    Raises:
        SettingsError: `timeout` is no number above 0.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise SettingsError(f"The timeout of a health check must be a number of seconds above 0, not {timeout!r}.")
    checked_at = datetime.datetime.now(datetime.timezone.utc)
    began = monotonic()
    checks = _all_checks(client, manifest, thresholds, timeout)
    return HealthReport.of(checks, checked_at, (monotonic() - began) * 1000)


def _all_checks(client: Client, manifest: Manifest | None, thresholds: Thresholds, timeout: float) -> list[Check]:
    deadline = monotonic() + timeout
    checks: list[Check] = []
    tried = False
    while True:
        try:
            asked = monotonic()
            with client.borrow(deadline - asked if tried else timeout) as session, cut_at(deadline, session):
                connect_ms = (monotonic() - asked) * 1000
                _examine(Probe(session, deadline, thresholds, manifest), connect_ms, checks)
                return checks
        except MissionControlError as error:
            lost = isinstance(error, ConnectionLostError)
            cut = lost and monotonic() >= deadline
            # Once more, since a connection that stood idle in the pool may have ended without a sign.
            if lost and not (cut or tried or checks):
                tried = True
                continue
            message = f"The server did not answer within {timeout:g} s." if cut else str(error)
            data = {**(checks[0].data if checks else {}), "error": type(error).__name__}
            why = "There was no time left." if cut else "There was no connection."
            rest = [Check(name, "not checked", why, {}) for name in NAMES[max(1, len(checks)) :]]
            return [Check("connection", "fail", message, data), *checks[1:], *rest]


def _examine(probe: Probe, connect_ms: float, checks: list[Check]) -> None:
    """Add one check after the other, so that those before the loss of the connection are kept."""
    asked = monotonic()
    probe.session.query("SELECT 1")
    checks.append(_connection(connect_ms, (monotonic() - asked) * 1000, probe.thresholds))
    with probe.transaction():
        for name, function in _CHECKS:
            checks.append(_one_check(name, function, probe))


def _connection(connect_ms: float, query_ms: float, thresholds: Thresholds) -> Check:
    slow = max(connect_ms, query_ms) >= thresholds.latency_warn_ms
    message = f"Connected in {connect_ms:.1f} ms; the server answers within {query_ms:.1f} ms."
    return Check("connection", "warn" if slow else "pass", message, {"connect_ms": connect_ms, "query_ms": query_ms})


def _one_check(name: str, function: Callable[[Probe], Check], probe: Probe) -> Check:
    """The check, or what became of it. Only the loss of the connection is an error for the checks after it, too."""
    try:
        return function(probe)
    except ConnectionLostError:
        raise
    except LockTimeoutError:
        return Check(name, "warn", "Another session holds a lock that kept this from being looked at.", {})
    except StatementCanceledError:
        return Check(name, "warn", "The server took too long to answer, or somebody cancelled the question.", {})
    except QueryError as error:
        data = {"sqlstate": error.sqlstate}
        if error.sqlstate == _REFUSED:
            return Check(name, "not visible", f"This login may not look at it: {error.reason}.", data)
        return Check(name, "fail", f"The server refused the question: {error}.", data)
