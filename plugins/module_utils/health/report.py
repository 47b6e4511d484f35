# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a health check found: a status, and the checks that it comes from."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

CheckStatus = Literal["pass", "warn", "fail", "not visible", "not checked"]
OverallStatus = Literal["pass", "warn", "fail"]
STATUSES: tuple[CheckStatus, ...] = ("pass", "warn", "fail", "not visible", "not checked")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, such as `connections`.
        status: `pass`, `warn` or `fail`; `not visible` where the login may not see it, `not checked` where there was
            nothing to compare with, no connection or no time left. The last two are never a pass.
        message: a sentence for people. It holds no statement, connection string or secret.
        data: the same for programs: sizes in bytes, ages in seconds (float), latencies in milliseconds (float).
    """

    name: str
    status: CheckStatus
    message: str
    data: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "status": self.status, "message": self.message, "data": _json_safe(self.data)}


@dataclass(frozen=True)
class HealthReport:
    """What all checks together say.

    Attributes:
        status: the worst of the checks that were carried out; what was not visible or not checked does not count.
        checks: in a fixed order; every check of this version is among them, also without a connection.
        checked_at: when the check began, in UTC by the clock of this process.
        duration_ms: how long it took.
    """

    status: OverallStatus
    checks: tuple[Check, ...]
    checked_at: datetime.datetime
    duration_ms: float

    @classmethod
    def of(cls, checks: Iterable[Check], checked_at: datetime.datetime, duration_ms: float) -> HealthReport:
        """A report of these checks, with the status that follows from theirs."""
        done = tuple(checks)
        found = {check.status for check in done}
        status: OverallStatus = "fail" if "fail" in found else "warn" if "warn" in found else "pass"
        return cls(status, done, checked_at, duration_ms)

    @property
    def counts(self) -> dict[CheckStatus, int]:
        """How many checks have each status, those that no check has included."""
        return {status: sum(check.status == status for check in self.checks) for status in STATUSES}

    def check(self, name: str) -> Check:
        """The check of this name.

        Raises:
            KeyError: there is none.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it, times in ISO 8601."""
        return {
            "status": self.status,
            "checked_at": self.checked_at.isoformat(),
            "duration_ms": self.duration_ms,
            "counts": dict(self.counts),
            "checks": [check.as_dict() for check in self.checks],
        }


def _json_safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_safe(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_safe(each) for each in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    return value
