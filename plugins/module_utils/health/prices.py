# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the prices of language models: how old the list is, and whether calls cost something that nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .report import Check
from .schema import read_tables, unreadable
from .text import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .probe import Probe

    Row = dict[str, Any]

_SHOWN = 5
_LIST = """
SELECT l.source, l.read_on, (clock_timestamp() AT TIME ZONE 'UTC')::date - l.read_on AS days
FROM ONLY {price_lists} AS l
WHERE l.origin = 'seed'
"""
# By the index on usage without a price.
_UNPRICED = """
SELECT u.provider, u.model, u.billing_mode, count(*) AS calls
FROM ONLY {token_usage} AS u
WHERE u.cost_source = 'unpriced' AND u.occurred_at >= clock_timestamp() - interval '30 days'
GROUP BY u.provider, u.model, u.billing_mode
ORDER BY calls DESC, u.provider, u.model, u.billing_mode
"""


def check_prices(probe: Probe) -> Check:
    """The age of the price list that the collection brings, and calls of the last 30 days without a price."""
    answer = unreadable(probe, "prices", "price_lists")
    if answer is not None:
        return answer
    rows = read_tables(probe, _LIST)
    data: Row = {"source": None, "read_on": None, "age_days": None, "unpriced_calls": None, "unpriced": []}
    problems = []
    if rows:
        row = rows[0]
        data.update(source=row["source"], read_on=str(row["read_on"]), age_days=row["days"])
        if row["days"] >= probe.thresholds.prices_warn_days:
            problems.append(
                f"The prices were read from {row['source']} {row['days']} days ago: update the collection and run playbooks/prices.yml"
            )
    hidden = unreadable(probe, "prices", "token_usage")
    if hidden is None:
        unpriced = read_tables(probe, _UNPRICED)
        calls = sum(each["calls"] for each in unpriced)
        data.update(unpriced_calls=calls, unpriced=unpriced)
        if calls >= max(1, probe.thresholds.unpriced_warn_calls):
            problems.append(_without_price(calls, unpriced))
    if problems:
        return Check("prices", "warn", f"{'. '.join(problems)}.", data)
    if hidden is not None:
        return Check("prices", hidden.status, hidden.message, data)
    which = (
        f"The prices are those of {data['source']}, read on {data['read_on']}"
        if rows
        else "No price list of the collection is in force"
    )
    return Check(
        "prices",
        "pass",
        f"{which}; {number(data['unpriced_calls'], 'call')} of the last 30 days without a price.",
        data,
    )


def without_models(check: Check) -> str:
    """The message of a check that found calls without a price, for whoever is not to know the names of models."""
    data = check.data
    text = f"{number(data['unpriced_calls'], 'call')} of the last 30 days without a price."
    return f"The prices were read from {data['source']} {data['age_days']} days ago; {text}" if data["source"] else text


def _without_price(calls: int, unpriced: Sequence[Row]) -> str:
    """The end of a sentence that names the models and what to do about them."""
    names = [
        f"{each['provider']} {each['model']}{'' if each['billing_mode'] == 'standard' else ' in the mode ' + each['billing_mode']} ({each['calls']})"
        for each in unpriced[:_SHOWN]
    ]
    if len(unpriced) > _SHOWN:
        names.append(f"and {number(len(unpriced) - _SHOWN, 'other')}")
    return (
        f"{number(calls, 'call')} of the last 30 days {'has' if calls == 1 else 'have'} no price, of {', '.join(names)}: "
        "update the collection or add them to mission_control_schema_prices, and run playbooks/prices.yml"
    )
