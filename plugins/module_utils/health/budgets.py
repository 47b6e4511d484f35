# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the money: budgets for language models that are nearly spent, or more than spent.

The view llm_budget_status says the same. It is not read: a view runs functions of its owner with the rights of whoever reads
it, and the session of a health check may be a superuser's. Days are those of the sums by day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ledger.budgets import DAYS_OF_PROJECTION, ROLE_VARIABLE, projection
from .report import Check
from .schema import read_tables, unreadable
from .text import number

if TYPE_CHECKING:
    from .probe import Probe

    Row = dict[str, Any]

_READ = ("llm_budgets", "token_usage_days", "token_usage_changes", "token_usage_rollup")
_BUDGETS = """
WITH clock AS (
    SELECT z.name, z.at, z.at::date AS today, date_trunc('month', z.at)::date AS month
    FROM (
        SELECT r.time_zone AS name, clock_timestamp() AT TIME ZONE r.time_zone AS at FROM ONLY {token_usage_rollup} AS r
    ) AS z
), usage AS (
    SELECT d.day, d.provider, d.model, d.project, d.agent, d.cost_source, d.calls, d.cost_usd
    FROM ONLY {token_usage_days} AS d, clock AS c
    WHERE d.day >= least(c.month, c.today - %(days)s)
    UNION ALL
    SELECT (n.period AT TIME ZONE c.name)::date, n.provider, n.model, n.project, n.agent, n.cost_source, n.calls, n.cost_usd
    FROM ONLY {token_usage_changes} AS n, clock AS c
)
SELECT b.name, b.amount_usd, s.spent_usd, s.last_days_usd, s.unpriced_calls,
    (extract(epoch FROM c.month + interval '1 month' - c.at) / 86400)::numeric AS days_left
FROM ONLY {llm_budgets} AS b
CROSS JOIN clock AS c
CROSS JOIN LATERAL (
    SELECT coalesce(sum(u.cost_usd) FILTER (WHERE u.day >= c.month), 0) AS spent_usd,
        coalesce(sum(u.cost_usd) FILTER (WHERE u.day >= c.today - %(days)s AND u.day < c.today), 0) AS last_days_usd,
        coalesce(sum(u.calls) FILTER (WHERE u.day >= c.month AND u.cost_source = 'unpriced'), 0)::bigint AS unpriced_calls
    FROM usage AS u
    WHERE (b.provider IS NULL OR u.provider = b.provider) AND (b.model IS NULL OR u.model = b.model)
        AND (b.project IS NULL OR u.project = b.project) AND (b.agent IS NULL OR u.agent = b.agent)
) AS s
ORDER BY s.spent_usd / b.amount_usd DESC, b.name
"""


def check_budgets(probe: Probe) -> Check:
    """Budgets of this month, the one that is spent most first. It never fails: the database does its work however much was spent."""
    answer = unreadable(probe, "budgets", *_READ)
    if answer is not None:
        return answer
    rows = read_tables(probe, _BUDGETS, {"days": DAYS_OF_PROJECTION})
    if any(row["days_left"] is None for row in rows):
        message = "The sums of usage by day were never made: run the role mission_control_schema."
        return Check("budgets", "not checked", message, {})
    budgets = [_judged(row) for row in rows]
    near = [budget for budget in budgets if budget["spent_share"] >= probe.thresholds.budget_warn]
    data = {"budgets": budgets, "near": len(near)}
    if not budgets:
        return Check("budgets", "not checked", f"There is no budget: see {ROLE_VARIABLE}.", data)
    if near:
        message = _sentence(near[0])
        if len(near) > 1:
            message = f"{message[:-1]}; {number(len(near) - 1, 'other is', 'others are')} spent to {probe.thresholds.budget_warn:.0%} or more, too."
        return Check("budgets", "warn", message, data)
    return Check("budgets", "pass", f"{number(len(budgets), 'budget')}. {_sentence(budgets[0])}", data)


def without_names(check: Check) -> str:
    """The message of a check that found budgets, for whoever is not to know their names and amounts."""
    near = check.data["near"]
    nearly = "none is" if not near else f"{near} is" if near == 1 else f"{near} are"
    return f"{number(len(check.data['budgets']), 'budget')} for language models, of which {nearly} nearly spent this month or more than spent."


def _judged(row: Row) -> Row:
    """Amounts in USD and shares as numbers; they are for people."""
    amount = row["amount_usd"]
    projected = projection(row["spent_usd"], row["last_days_usd"], row["days_left"])
    return {
        "name": row["name"],
        "amount_usd": float(amount),
        "spent_usd": float(row["spent_usd"]),
        "spent_share": float(row["spent_usd"] / amount),
        "projected_usd": float(projected),
        "projected_share": float(projected / amount),
        "unpriced_calls": row["unpriced_calls"],
    }


def _sentence(budget: Row) -> str:
    return (
        f"Of the budget {budget['name']}, {budget['amount_usd']:,.2f} USD a month, {budget['spent_usd']:,.2f} USD are spent "
        f"({budget['spent_share']:.0%}), and {budget['projected_usd']:,.2f} USD will be at its end at the present rate."
    )
