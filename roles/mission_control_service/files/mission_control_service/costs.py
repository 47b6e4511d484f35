# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the page shows of the cost of language models: by day, model and project, and the budgets."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mission_control.ledger.budgets import SCOPE

from .chart import cost_chart
from .figures import DAYS_SHOWN

if TYPE_CHECKING:
    from .figures import Budgets, Usage

    Row = dict[str, Any]

MODELS_SHOWN = 10
PROJECTS_SHOWN = 10
# Models with a colour of their own in the chart; the others share one.
SERIES = 5
_ZERO = Decimal(0)


def costs_shown(usage: Usage) -> Row:
    """Cost and use of the last days, as the templates take them."""
    shown = usage.since(usage.first_shown)
    models: dict[tuple[str, str], Row] = {}
    for row in shown:
        model = models.setdefault(
            (row["provider"], row["model"]), {"cost": _ZERO, "requests": 0, "tokens": 0, "unpriced": 0}
        )
        model["cost"] += row["cost_usd"] or _ZERO
        model["requests"] += row["requests"]
        model["tokens"] += sum(value for name, value in row.items() if name.endswith("_tokens"))
        model["unpriced"] += row["unpriced_requests"]
    ranked = sorted(models.items(), key=lambda each: (-each[1]["cost"], -each[1]["tokens"], each[0]))
    # One that is alone in the last place keeps its name.
    named = ranked if len(ranked) <= SERIES + 1 else ranked[:SERIES]
    numbers = {key: number for number, (key, _model) in enumerate(named)}
    days: dict[datetime.date, dict[int, Decimal]] = {}
    for row in shown:
        number = numbers.get((row["provider"], row["model"]), SERIES)
        day = days.setdefault(row["day"], {})
        day[number] = day.get(number, _ZERO) + (row["cost_usd"] or _ZERO)
    chart = cost_chart(days, usage.first_shown, DAYS_SHOWN)
    series = _series(ranked, len(named))
    return {
        "chart": chart,
        "series": series,
        "names": {each["number"]: each["name"] for each in series},
        "total": sum((each.value for each in chart.bars), _ZERO),
        "today": sum(days.get(usage.today, {}).values(), _ZERO),
        "month": usage.month_cost,
        "models": [{"provider": key[0], "model": key[1], **model} for key, model in ranked[:MODELS_SHOWN]],
        "more_models": max(0, len(ranked) - MODELS_SHOWN),
        "projects": _projects(usage),
        "unpriced": sum(model["unpriced"] for model in models.values()),
    }


def _series(ranked: list[tuple[tuple[str, str], Row]], named: int) -> list[Row]:
    """Number, name and cost of what the chart tells apart and that cost something."""
    models = [key[1] for key, _model in ranked[:named]]
    series = []
    for number, ((provider, name), model) in enumerate(ranked[:named]):
        # Several providers may have a model of one name.
        label = name if models.count(name) == 1 else f"{name} ({provider})"
        series.append({"number": number, "name": label, "cost": model["cost"]})
    rest = ranked[named:]
    if rest:
        cost = sum((model["cost"] for _key, model in rest), _ZERO)
        series.append({"number": SERIES, "name": f"{len(rest)} others", "cost": cost})
    return [each for each in series if each["cost"]]


def _projects(usage: Usage) -> list[Row]:
    """The dearest projects; none where no usage names one."""
    used = [row for row in usage.projects if row["requests"]]
    if all(row["project"] is None for row in used):
        return []
    used.sort(key=lambda row: (-(row["cost_usd"] or _ZERO), -row["requests"], row["project"] or ""))
    return used[:PROJECTS_SHOWN]


def budgets_shown(budgets: Budgets | None, usage: Usage | None, deprecated_usd: Decimal | None) -> list[Row] | None:
    """The budgets, with what they are limited to in words; None while they cannot be had."""
    if budgets is None:
        return None
    rows = usage.with_deprecated_budget(budgets, deprecated_usd) if usage else budgets.rows
    return [{**row, "scope": [f"{name} {row[name]}" for name in SCOPE if row[name] is not None]} for row in rows]
