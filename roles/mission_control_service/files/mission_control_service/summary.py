# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GET /api/v1/summary: the figures in one flat object, for dashboards that show single values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request
from mission_control.ledger.budgets import SCOPE

from .database import UnavailableError
from .fields import Field, date, integer, number, text
from .parameters import read_parameters

if TYPE_CHECKING:
    from decimal import Decimal

    from .figures import Tools, Usage
    from .health import Health
    from .statistics import Statistics

PATH = "/summary"
_STATUS = {"pass": "ok", "warn": "degraded", "fail": "error"}
FIELDS: tuple[Field, ...] = (
    text("status", "ok, degraded or error, as /health says."),
    integer("hosts"),
    integer("hosts_online"),
    integer("hosts_offline"),
    integer("hosts_degraded"),
    integer("workloads"),
    integer("workloads_running"),
    integer("workloads_failed"),
    integer("services"),
    integer("runs_open", "Runs that are queued, running or waiting for an approval."),
    integer("runs_waiting_approval"),
    integer("runs_succeeded_24h", "Of the runs queued in the last 24 hours."),
    integer("runs_failed_24h", "Of the runs queued in the last 24 hours."),
    date("today", "In the reporting time zone."),
    number("cost_today_usd", "Known cost, rounded to six decimals, like the other amounts here."),
    number("cost_month_usd"),
    number("cost_30d_usd"),
    number("budget_usd", "The budget that covers everything, of a month; null if there is none.", null=True),
    number("budget_used_percent", "Of that budget; null without one.", null=True),
    integer(
        "budgets_near",
        "Budgets of which 80 percent or more are spent, and not all; null while they cannot be read.",
        null=True,
    ),
    integer("budgets_spent", "Budgets that are spent; null while they cannot be read.", null=True),
    integer("tokens_30d"),
    integer("requests_30d", "Requests to language models."),
    integer("unpriced_requests_30d", "Those of them whose cost is not known."),
    integer("tool_calls", "Null while they take the database too long to count.", null=True),
    integer("tool_calls_waiting", "Calls of tools that wait for an approval; null as the number before.", null=True),
    number("age_seconds", "Since the oldest of these figures was read."),
    number("tool_success_percent", "Of the calls that ran to an end; null if there is none.", null=True),
)


def summary_blueprint(health: Health, statistics: Statistics, budget_usd: Decimal | None) -> Blueprint:
    blueprint = Blueprint("summary", __name__)

    @blueprint.get(PATH)
    def show_summary() -> Response:
        read_parameters(request.args, ())
        return jsonify(read_summary(health, statistics, budget_usd))

    return blueprint


def read_summary(health: Health, statistics: Statistics, budget_usd: Decimal | None) -> dict[str, Any]:
    """The figures, and how old the oldest of them is.

    Raises:
        UnavailableError: some of them cannot be had at the moment.
    """
    statistics.refresh()
    report = health.report()
    inventory, runs, usage, tools = statistics.inventory, statistics.runs, statistics.usage, statistics.tools
    budgets = statistics.budgets
    if report is None or inventory is None or runs is None or usage is None:
        raise UnavailableError("The database has not given all figures lately.")
    return {
        "status": _STATUS[report.status],
        "hosts": sum(inventory.hosts.values()),
        "hosts_online": inventory.hosts["online"],
        "hosts_offline": inventory.hosts["offline"],
        "hosts_degraded": inventory.hosts["degraded"],
        "workloads": sum(inventory.workloads.values()),
        "workloads_running": inventory.workloads["running"],
        "workloads_failed": inventory.workloads["failed"],
        "services": inventory.services,
        "runs_open": sum(runs.open.values()),
        "runs_waiting_approval": runs.open["waiting_approval"],
        "runs_succeeded_24h": runs.last_24_hours["succeeded"],
        "runs_failed_24h": runs.last_24_hours["failed"],
        **_cost(usage),
        **_budgets(usage.with_deprecated_budget(budgets, budget_usd) if budgets else None),
        **_calls(tools),
        "age_seconds": round(max(statistics.ages().values(), default=0.0), 1),
    }


def _cost(usage: Usage) -> dict[str, Any]:
    shown = usage.since(usage.first_shown)
    return {
        "today": usage.today,
        "cost_today_usd": round(float(sum(row["cost_usd"] or 0 for row in usage.since(usage.today))), 6),
        "cost_month_usd": round(float(usage.month_cost), 6),
        "cost_30d_usd": round(float(sum(row["cost_usd"] or 0 for row in shown)), 6),
        "tokens_30d": sum(value for row in shown for name, value in row.items() if name.endswith("_tokens")),
        "requests_30d": sum(row["requests"] for row in shown),
        "unpriced_requests_30d": sum(row["unpriced_requests"] for row in shown),
    }


def _budgets(rows: tuple[dict[str, Any], ...] | None) -> dict[str, Any]:
    everything = next((row for row in rows or () if all(row[name] is None for name in SCOPE)), None)
    levels = None if rows is None else [row["level"] for row in rows]
    return {
        "budget_usd": None if everything is None else float(everything["amount_usd"]),
        "budget_used_percent": None if everything is None else round(float(everything["spent_share"]) * 100, 1),
        "budgets_near": None if levels is None else levels.count("near"),
        "budgets_spent": None if levels is None else levels.count("spent"),
    }


def _calls(tools: Tools | None) -> dict[str, Any]:
    if tools is None:
        return {"tool_calls": None, "tool_calls_waiting": None, "tool_success_percent": None}
    succeeded = sum(row["succeeded"] for row in tools.rows)
    ended = succeeded + sum(row["failed"] + row["timed_out"] for row in tools.rows)
    return {
        "tool_calls": sum(row["total_calls"] for row in tools.rows),
        "tool_calls_waiting": tools.waiting,
        "tool_success_percent": round(100 * succeeded / ended, 1) if ended else None,
    }
