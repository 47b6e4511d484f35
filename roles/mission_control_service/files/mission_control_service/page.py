# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page for people: the state of everything at one glance, and a button that refreshes the inventory."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Blueprint, Response, render_template, url_for

from .costs import budgets_shown, costs_shown
from .database import UnavailableError
from .figures import HOST_STATUSES
from .health import NO_REPORT, public_check
from .problems import ProblemError
from .refresh import PATH as REFRESH_PATH
from .refresh import request_refresh

if TYPE_CHECKING:
    from mission_control.health.report import HealthReport

    from .access import Access
    from .configuration import Configuration
    from .database import Database, Reader
    from .figures import Tools
    from .health import Health
    from .statistics import Statistics

RUNS_SHOWN = 20
TOOLS_SHOWN = 15
PLAYBOOKS_SHOWN = 20
_RUNS = (
    "SELECT task_title, status, created_at, age, event_count, tool_call_count FROM active_task_runs "
    "ORDER BY created_at DESC LIMIT %s"
)


def page_blueprint(
    configuration: Configuration, access: Access, database: Database, health: Health, statistics: Statistics
) -> Blueprint:
    blueprint = Blueprint("page", __name__)

    @blueprint.get("/")
    def show_page() -> Response:
        access.require_on()
        session = access.session()
        if session is None:
            return Response(status=303, headers={"Location": "/login"})
        if not session.reads and session.refresher is None:
            return Response(status=303, headers={"Location": url_for("tool_pages.show_calls")})
        notice, session.notice = session.notice, ""
        refresh = {"address": REFRESH_PATH, "key": access.form_key()} if session.refresher else None
        if not session.reads:
            return Response(
                render_template(
                    "refresh_only.html", refresh=refresh, notice=notice, approves=session.approver is not None
                )
            )
        statistics.refresh()
        report = health.report()
        zone, active = _read_runs(database) if health.connected() else (datetime.timezone.utc, None)
        usage = statistics.usage
        tools = statistics.tools
        now = datetime.datetime.now(zone)
        ages = statistics.ages()
        if report:
            ages["health checks"] = max(0.0, (now - report.checked_at).total_seconds())
        return Response(
            render_template(
                "page.html",
                now=now,
                zone=zone,
                health=health,
                checks=[public_check(check) for check in report.checks] if report else [],
                status=report.status if report else "fail",
                verdict=_verdict(report),
                ages={name: datetime.timedelta(seconds=age) for name, age in ages.items()},
                no_report=None if report else NO_REPORT,
                pool=database.pool_stats(),
                environment=configuration.environment,
                inventory=statistics.inventory,
                sources=statistics.sources,
                refresh=refresh,
                refreshable=access.refreshable,
                notice=notice,
                host_statuses=HOST_STATUSES,
                active=active,
                runs=statistics.runs,
                runs_shown=RUNS_SHOWN,
                playbooks=statistics.playbooks,
                playbooks_shown=PLAYBOOKS_SHOWN,
                usage=costs_shown(usage) if usage else None,
                budgets=budgets_shown(statistics.budgets, usage, configuration.budget_usd),
                tools=_most_called(tools) if tools else None,
                waiting_calls=tools.waiting if tools else 0,
                tools_shown=TOOLS_SHOWN,
            )
        )

    @blueprint.post(REFRESH_PATH)
    def refresh_sources() -> Response:
        access.require_on()
        session = access.session()
        if session is None:
            return Response(status=303, headers={"Location": "/login"})
        access.require_own_form()
        if session.refresher is None:
            raise ProblemError(
                403, "This session may read only: log in with a refresh token too, below Sources on the page."
            )
        health.require_connection()
        try:
            runs = request_refresh(database, None, session.refresher)
            session.notice = f"Queued: {', '.join(run['source'] for run in runs)}. Look again in a moment."
        except ProblemError as error:
            session.notice = error.detail
        return Response(status=303, headers={"Location": "/#sources" if session.reads else "/"})

    return blueprint


def _verdict(report: HealthReport | None) -> str:
    """What the checks of the database say together. It speaks of nothing else, so it says what it speaks of."""
    if report is None:
        return "Database: no answer"
    found: list[str] = [check.status for check in report.checks]
    for status, one, many in (("fail", "check failed", "checks failed"), ("warn", "warning", "warnings")):
        count = found.count(status)
        if count:
            return f"Database: {count} {one if count == 1 else many}"
    passed = found.count("pass")
    return f"Database: {'all' if passed == len(found) else f'{passed} of {len(found)}'} checks passed"


def _read_runs(database: Database) -> tuple[datetime.tzinfo, list[dict[str, Any]] | None]:
    """The reporting time zone, and the active runs; None instead of them if they cannot be had."""
    try:
        return database.read(lambda reader: (read_zone(reader), reader.rows(_RUNS, [RUNS_SHOWN])))
    except UnavailableError:
        return datetime.timezone.utc, None


def read_zone(reader: Reader) -> datetime.tzinfo:
    """The reporting time zone."""
    try:
        return ZoneInfo(reader.row("SELECT reporting_time_zone() AS zone")["zone"])
    except (ZoneInfoNotFoundError, ValueError):
        # A host may have no data of time zones, and PostgreSQL knows names that are nobody else's.
        return datetime.timezone.utc


def _most_called(tools: Tools) -> list[dict[str, Any]]:
    called = [row for row in tools.rows if row["total_calls"]]
    return sorted(called, key=lambda row: (-row["total_calls"], row["tool_name"]))
