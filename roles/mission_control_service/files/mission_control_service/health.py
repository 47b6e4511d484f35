# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the service knows of the database's health, and the three endpoints that tell it."""

from __future__ import annotations

import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request
from mission_control.health.budgets import without_names
from mission_control.health.check import check_health
from mission_control.health.inventory import silence
from mission_control.health.prices import without_models
from mission_control.health.replication import without_address
from mission_control.health.tools import without_names as without_policies

from .cached import Cached
from .database import UnavailableError
from .problems import ProblemError

if TYPE_CHECKING:
    from mission_control.health.report import Check, HealthReport
    from mission_control.schema.manifest import Manifest

    from .configuration import Configuration
    from .database import Database

# A caller waits no longer than this for a check that has begun, and the check itself ends a little later.
_PATIENCE = 2.0
_CHECK_TIMEOUT = 3.0
# A report that is older says nothing about now. Only a check that never ends can let it become so old.
_STALE_AFTER = 30.0
_STATUS = {"pass": "ok", "warn": "degraded", "fail": "error"}
_UNREACHABLE = "The database cannot be reached."
_REFUSED = "The server refused the question."
NO_REPORT = "No health check has ended lately: the database does not answer."


class Health:
    """The one health check of the library, shared by all who ask over HTTP."""

    def __init__(self, database: Database, manifest: Manifest | None, configuration: Configuration) -> None:
        self.database = database
        self.manifest = manifest
        self.environment = configuration.environment
        self.version = manifest.version if manifest else "unknown"
        self._began = monotonic()
        self._stale_after = _STALE_AFTER + 2 * configuration.health_cache_seconds
        self._cached = Cached("health", self._check, configuration.health_cache_seconds, _PATIENCE)

    def _check(self) -> HealthReport:
        return check_health(self.database.client, self.manifest, timeout=_CHECK_TIMEOUT)

    def report(self) -> HealthReport | None:
        """The latest report; None if there is none that says something about now."""
        snapshot = self._cached.get()
        return snapshot.value if snapshot is not None and snapshot.age <= self._stale_after else None

    def expire(self) -> None:
        """Look anew: somebody has just met a database that does not answer."""
        self._cached.expire()

    def connected(self) -> bool:
        report = self.report()
        return report is not None and report.check("connection").status in ("pass", "warn")

    def require_connection(self) -> None:
        """Turn a request away at once while the database is away, so that waiting requests do not use up the threads.

        Raises:
            UnavailableError: the latest check did not reach the database.
        """
        if not self.connected():
            raise UnavailableError(_UNREACHABLE)

    @property
    def uptime(self) -> float:
        """Seconds since the service was started."""
        return monotonic() - self._began

    def not_ready_because(self, writable: bool = False) -> str | None:
        """Why the service cannot do its work, as a sentence; None if it can.

        Args:
            writable: whether the database must take writes, which the service itself needs for little.
        """
        report = self.report()
        if report is None:
            return NO_REPORT
        if report.check("connection").status == "fail":
            return _UNREACHABLE
        for name in ("migrations", "repeatables", "schema_objects"):
            check = report.check(name)
            if check.status != "pass":
                return f"The schema is not known to be the one that this version expects: {public_message(check)}"
        if writable and report.check("writable").data.get("writable") is not True:
            return f"The database is not known to take writes: {public_message(report.check('writable'))}"
        return None


def public_message(check: Check) -> str:
    """The message of a check for anybody: an error of driver or server may name hosts, logins and statements."""
    if check.name == "connection" and check.status == "fail":
        return _UNREACHABLE
    if check.name == "inventory_sources" and check.data.get("silent"):
        # Without the errors of the syncs, which may name the addresses of sources.
        return silence(check.data["silent"], with_errors=False)
    if check.name == "budgets" and check.data.get("budgets"):
        return without_names(check)
    if check.name == "prices" and check.data.get("unpriced"):
        return without_models(check)
    if check.name == "tools" and "policies" in check.data:
        return without_policies(check)
    if check.name == "replication" and "primary" in check.data:
        return without_address(check)
    return _REFUSED if "sqlstate" in check.data else check.message


def public_check(check: Check) -> dict[str, Any]:
    """A check for anybody, with its numbers: the rest of its data names logins, sessions and hosts."""
    numbers = {name: value for name, value in check.data.items() if isinstance(value, (int, float))}
    return {"name": check.name, "status": check.status, "message": public_message(check), "data": numbers}


def health_blueprint(health: Health) -> Blueprint:
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    def show_health() -> tuple[Response, int]:
        report = health.report()
        pool = health.database.pool_stats()
        checks = report.checks if report else ()
        answer = {
            "status": _STATUS[report.status] if report else "error",
            "timestamp": _now(),
            "uptime": round(health.uptime, 3),
            "environment": health.environment,
            "version": health.version,
            "database": {
                "connected": report is not None and report.check("connection").status != "fail",
                "pool": {"total": pool.total, "idle": pool.idle, "waiting": pool.waiting},
            },
            "checked_at": report.checked_at.isoformat() if report else None,
            "message": None if report else NO_REPORT,
            "checks": [public_check(check) for check in checks],
        }
        return jsonify(answer), 503 if report is None or report.status == "fail" else 200

    @blueprint.get("/ready")
    def show_ready() -> tuple[Response, int]:
        writable = request.args.get("writable", "false")
        if writable not in ("true", "false"):
            raise ProblemError(400, f"writable must be true or false, not {writable!r}.", "writable")
        reason = health.not_ready_because(writable == "true")
        answer = {"ready": reason is None, "timestamp": _now(), "version": health.version, "message": reason}
        return jsonify(answer), 200 if reason is None else 503

    @blueprint.get("/live")
    def show_live() -> Response:
        return jsonify(
            {"live": True, "timestamp": _now(), "uptime": round(health.uptime, 3), "version": health.version}
        )

    return blueprint


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
