# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Budgets of a month for language models: how much of them is spent, and setting those that no role sets."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

from ..errors import MissionControlError

if TYPE_CHECKING:
    from ..database.executor import Executor, Reader

    Row = dict[str, Any]

# What a budget may be limited to.
SCOPE = ("provider", "model", "project", "agent")
COLUMNS = (
    "name",
    *SCOPE,
    "origin",
    "month",
    "amount_usd",
    "spent_usd",
    "spent_share",
    "projected_usd",
    "projected_share",
    "unpriced_calls",
    "level",
)
NEAR, SPENT = 0.8, 1.0
# Complete days whose mean cost is taken for each day that is left of the month.
DAYS_OF_PROJECTION = 7
ROLE_VARIABLE = "mission_control_schema_budgets"
_BUDGETS = f"SELECT {', '.join(COLUMNS)} FROM llm_budget_status ORDER BY spent_share DESC, name"  # noqa: S608 - constants
_SET = """
INSERT INTO llm_budgets AS b (name, amount_usd, provider, model, project, agent)
VALUES (%(name)s, %(amount_usd)s, %(provider)s, %(model)s, %(project)s, %(agent)s)
ON CONFLICT (name) DO UPDATE SET amount_usd = excluded.amount_usd, provider = excluded.provider, model = excluded.model,
    project = excluded.project, agent = excluded.agent
WHERE b.origin = 'user'
RETURNING b.name
"""
_REMOVE = "DELETE FROM llm_budgets AS b WHERE b.name = %s AND b.origin = 'user' RETURNING b.name"


class BudgetError(MissionControlError, ValueError):
    """A budget cannot be set or removed; the message says why."""


def read_budgets(client: Reader) -> list[Row]:
    """All budgets with the columns of COLUMNS, the one that is spent most first; `month` is its first day."""
    return client.query_many(_BUDGETS)


def set_budget(
    client: Executor,
    name: str,
    amount_usd: decimal.Decimal,
    *,
    provider: str | None = None,
    model: str | None = None,
    project: str | None = None,
    agent: str | None = None,
) -> None:
    """Make a budget, or give the one of this name another amount and scope.

    Args:
        client: as a login that writes.
        name: of the budget.
        amount_usd: of each month.
        provider, model, project, agent: what it is limited to; None for any.

    Raises:
        BudgetError: the role's list has a budget of this name.
    """
    scope = {"provider": provider, "model": model, "project": project, "agent": agent}
    if client.query_one(_SET, {"name": name, "amount_usd": amount_usd, **scope}) is None:
        raise BudgetError(_of_the_role(name))


def remove_budget(client: Executor, name: str) -> None:
    """Remove a budget.

    Raises:
        BudgetError: there is none of this name, or the role's list has it.
    """
    if client.query_one(_REMOVE, [name]) is None:
        if client.query_one("SELECT FROM llm_budgets AS b WHERE b.name = %s", [name]) is None:
            raise BudgetError(f"There is no budget {name!r}: mission-control budgets lists those that there are.")
        raise BudgetError(_of_the_role(name))


def projection(spent: decimal.Decimal, last_days: decimal.Decimal, days_left: decimal.Decimal) -> decimal.Decimal:
    """What will have been spent at the end of the month, as the view llm_budget_status says it.

    Args:
        spent: in this month until now, in USD.
        last_days: in the last DAYS_OF_PROJECTION complete days together, in USD.
        days_left: of the month, the rest of today included.
    """
    return spent + last_days / DAYS_OF_PROJECTION * days_left


def _of_the_role(name: str) -> str:
    return f"The budget {name!r} comes from the variable {ROLE_VARIABLE}: change it there, and run the playbook."
