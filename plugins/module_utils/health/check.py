# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The health check: one connection, one read-only transaction, a report that a module, a program and a server can show."""

from __future__ import annotations

import datetime
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ..errors import (
    ConnectionLostError,
    LockTimeoutError,
    MissionControlError,
    QueryError,
    SettingsError,
    StatementCanceledError,
)
from .probe import Probe, cut_at
from .registry import CHECKS, CONNECTION, NAMES, TABLES_READ
from .replication import checked_role
from .report import Check, HealthReport
from .thresholds import Thresholds

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..database.session import Session
    from ..schema.manifest import Manifest
    from .registry import HealthCheck

_DEFAULTS = Thresholds()
_REFUSED = "42501"  # insufficient_privilege


class Lender(Protocol):
    """A client, or a pool alone. The type is not that of the client: Ansible ships what a module imports for types too."""

    def borrow(self, timeout: float) -> AbstractContextManager[Session]: ...


def check_health(
    client: Lender,
    manifest: Manifest | None = None,
    thresholds: Thresholds = _DEFAULTS,
    timeout: float = 10.0,
    expected_role: str = "",
) -> HealthReport:
    """Look at the server, the database and the schema. Raises nothing that has to do with the database.

    Args:
        client: a client, connected or not, or a pool. The check takes one connection, and opens one if none is idle.
        manifest: what the migrations are compared with; without one they are "not checked".
        thresholds: from when on a check warns or fails.
        timeout: in seconds. The report is there by then, whatever the server does; what was not answered is
            "not checked".
        expected_role: primary or standby: a server that is the other one fails the check `writable`. '' takes either.

    Raises:
        SettingsError: `timeout` is no number above 0, or there is no such role.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise SettingsError(f"The timeout of a health check must be a number of seconds above 0, not {timeout!r}.")
    expected = checked_role(expected_role)
    checked_at = datetime.datetime.now(datetime.timezone.utc)
    began = monotonic()
    checks = _all_checks(client, manifest, thresholds, expected, timeout)
    return HealthReport.of(checks, checked_at, (monotonic() - began) * 1000)


def _all_checks(
    client: Lender, manifest: Manifest | None, thresholds: Thresholds, expected_role: str, timeout: float
) -> list[Check]:
    deadline = monotonic() + timeout
    checks: list[Check] = []
    tried = False
    while True:
        try:
            asked = monotonic()
            with client.borrow(deadline - asked if tried else timeout) as session, cut_at(deadline, session):
                connect_ms = (monotonic() - asked) * 1000
                probe = Probe(session, deadline, thresholds, manifest, TABLES_READ, expected_role, connect_ms)
                _examine(probe, checks)
                return checks
        except MissionControlError as error:
            lost = isinstance(error, ConnectionLostError)
            cut = lost and monotonic() >= deadline
            # Once more, since a connection that stood idle in the pool may have ended without a sign, and a standby ends sessions that are in
            # the way of what it replays.
            on_standby = any(check.data.get("role") == "standby" for check in checks)
            if lost and not (cut or tried) and (on_standby or not checks):
                tried = True
                checks.clear()
                continue
            message = f"The server did not answer within {timeout:g} s." if cut else str(error)
            data = {**(checks[0].data if checks else {}), "error": type(error).__name__}
            why = "There was no time left." if cut else "There was no connection."
            rest = [Check(name, "not checked", why, {}) for name in NAMES[max(1, len(checks)) :]]
            return [Check("connection", "fail", message, data), *checks[1:], *rest]


def _examine(probe: Probe, checks: list[Check]) -> None:
    """Add one check after the other, so that those before the loss of the connection are kept."""
    asked = monotonic()
    probe.session.query("SELECT 1")
    probe.query_ms = (monotonic() - asked) * 1000
    checks.append(CONNECTION.examine(probe))
    with probe.transaction():
        for check in CHECKS:
            if check is not CONNECTION:
                checks.append(_one_check(check, probe))


def _one_check(check: HealthCheck, probe: Probe) -> Check:
    """The check, or what became of it. Only the loss of the connection is an error for the checks after it, too."""
    try:
        return check.examine(probe)
    except ConnectionLostError:
        raise
    except LockTimeoutError:
        return Check(check.name, "warn", "Another session holds a lock that kept this from being looked at.", {})
    except StatementCanceledError:
        return Check(check.name, "warn", "The server took too long to answer, or somebody cancelled the question.", {})
    except QueryError as error:
        data = {"sqlstate": error.sqlstate}
        if error.sqlstate == _REFUSED:
            return Check(check.name, "not visible", f"This login may not look at it: {error.reason}.", data)
        return Check(check.name, "fail", f"The server refused the question: {error}.", data)
