# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge entries of mission_control_schema_budgets. The database judges them again (files/sql/repeatable/010_ledger.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...database.postgres_url import similar
from ...ledger.budgets import SCOPE
from .checks import shown, text_problem
from .prices import is_amount, is_provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIABLE = "mission_control_schema_budgets"
_KEYS = ("name", "usd", *SCOPE)
_MOST_USD = 100_000_000


def budget_problems(entries: Any) -> Iterator[str]:
    """Sentences about what is wrong with the entries.

    Args:
        entries: the variable's value; each has a name, an amount in USD per month, and optionally what it is limited to.
    """
    if not isinstance(entries, (list, tuple)):
        yield f"{VARIABLE} is {shown(entries)}, but it must be a list."
        return
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        for problem in _entry_problems(entry):
            yield f"Entry {number} of {VARIABLE} {problem}."
            return
        name = str(entry["name"])
        if name in names:
            yield f"Two entries of {VARIABLE} are called {shown(name)}: give each a name of its own."
        names.add(name)


def _entry_problems(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"is {shown(entry)}, but it must be a mapping with a name and usd"
        return
    yield from _key_problems(entry)
    usd = entry.get("usd")
    if not is_amount(usd, _MOST_USD) or float(str(usd)) == 0:
        yield (
            f"has {shown(usd)} for usd, but a budget is USD per month, above 0 and below {_MOST_USD:,}, with at most 6 decimals"
        )
    if entry.get("provider") is not None and not is_provider(entry["provider"]):
        yield f"has the provider {shown(entry['provider'])}, but it is written in lower-case letters, digits and . _ -"


def _key_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    for key in entry:
        if key not in _KEYS:
            yield f"has the key {shown(key)}, which a budget does not have{similar(str(key), _KEYS)}"
    if str(entry.get("name") or "").strip() == "":
        yield "has no name"
    for key in ("name", "model", "project", "agent"):
        problem = text_problem(entry[key]) if entry.get(key) is not None else ""
        if problem:
            yield f"has a {key} that {problem}"
        elif entry.get(key) is not None and str(entry[key]).strip() == "":
            yield f"has an empty {key}: leave it out where the budget is not limited to one"
