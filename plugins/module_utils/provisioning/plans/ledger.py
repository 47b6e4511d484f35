# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare the budgets, and the time zone of the days of the roll-up, with what a database has."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ...ledger.budgets import SCOPE
from ...schema.runner import LastStep
from ...schema.sql_text import quote_literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...schema.runner import RunnerSettings


def ledger_changes(
    state: Mapping[str, Any] | None, budgets: Sequence[Mapping[str, Any]], settings: RunnerSettings
) -> list[tuple[list[str], LastStep]]:
    """What is to be done, each with its lines of the plan.

    Args:
        state: `ledger` of the history: the role's `budgets`, the `names_of_others`, the `time_zone` that the roll-up cuts days in, and the one that reports do;
            None where the tables are not there yet.
        budgets: what is wanted, as `apply_llm_budgets` takes it.
    """
    changes = []
    lines = budget_differences([] if state is None else state["budgets"], budgets)
    if lines:
        wanted = quote_literal(json.dumps([_entry(each) for each in budgets], ensure_ascii=False))
        apply = settings.named("SELECT our_schema.apply_llm_budgets")
        changes.append((lines, LastStep("budgets", f"{apply}({wanted}::jsonb)")))
    # None: they were never summed up, which the functions do when they are applied.
    if state is not None and state["time_zone"] not in (None, state["reporting_time_zone"]):
        line = f"days of the token usage, in the time zone {state['reporting_time_zone']}"
        rebuild = settings.named("SELECT our_schema.rebuild_token_usage_days()")
        changes.append(([line], LastStep(line, rebuild)))
    return changes


def budget_conflicts(state: Mapping[str, Any] | None, budgets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences about budgets whose names others have given to theirs, which a run leaves alone."""
    taken = set() if state is None else set(state["names_of_others"])
    return [
        f"mission_control_schema_budgets has a budget {name!r}, and somebody has made one of this name: remove that one with "
        "mission-control budgets remove, or choose another name."
        for name in sorted(str(each["name"]) for each in budgets)
        if name in taken
    ]


def budget_differences(present: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of budgets that are to be made, changed or removed, as lines of a plan."""
    before, after = ({str(each["name"]): _entry(each) for each in budgets} for budgets in (present, wanted))
    return [f"budget {name}" for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def _entry(budget: Mapping[str, Any]) -> dict[str, str]:
    """A budget with the keys that say something, and its amount in one form."""
    amount = Decimal(str(budget["usd"])).normalize()
    scope = {key: str(budget[key]) for key in SCOPE if budget.get(key) not in (None, "")}
    return {"name": str(budget["name"]), "usd": f"{amount:f}", **scope}
