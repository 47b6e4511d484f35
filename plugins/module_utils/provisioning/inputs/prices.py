# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge entries of mission_control_schema_prices, before the migrations that come ahead of them are applied.

The database judges them again (files/sql/repeatable/002_prices.sql), and overlapping periods it alone can see.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from ...database.postgres_url import similar
from .checks import integer, shown, text_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIABLE = "mission_control_schema_prices"
_NEEDED = ("provider", "model", "input", "output")
_AMOUNTS = (
    *("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning"),
    *("audio_input", "audio_cache_read", "audio_output", "image_input", "image_cache_read", "image_output"),
)
_OTHERS = ("aliases", "dated", "billing_mode", "above_input_tokens", "valid_from", "valid_to", "local", "source")
_KEYS = {*_NEEDED, *_AMOUNTS, *_OTHERS}
_NUMBER = re.compile(r"[0-9.eE+-]{1,100}")
_MODES = ("standard", "batch", "flex", "priority", "fast", "free")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]*")
_MOST_TOKENS = 2**63 - 1
_MICRO = Decimal("0.000001")


def price_problems(entries: Any) -> Iterator[str]:
    """Sentences about what is wrong with the entries.

    Args:
        entries: the variable's value; each has the keys of files/sql/seed/provider_pricing.yml.
    """
    if not isinstance(entries, (list, tuple)):
        yield f"{VARIABLE} is {shown(entries)}, but it must be a list."
        return
    for number, entry in enumerate(entries, start=1):
        for problem in _entry_problems(entry):
            yield f"Entry {number} of {VARIABLE} {problem}."


def _entry_problems(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"is {shown(entry)}, but it must be a mapping"
        return
    for key in entry:
        if key not in _KEYS:
            yield f"has the key {shown(key)}, which a price does not have{similar(str(key), _KEYS)}"
    for key in _NEEDED:
        if entry.get(key) in (None, ""):
            yield f"has no {key}"
    yield from _word_problems(entry)
    for key in _AMOUNTS:
        if entry.get(key) is not None and not is_amount(entry[key]):
            yield (
                f"has {shown(entry[key])} for {key}, but a price is USD per 1,000,000 tokens, from 0 to below 1,000,000 "
                "with at most 6 decimals"
            )
    for key in ("valid_from", "valid_to"):
        if entry.get(key) is not None and not _is_time(entry[key]):
            yield f"has {shown(entry[key])} for {key}, but it must be a day or a time such as 2026-12-01 or 2026-12-01T00:00:00Z"


def _word_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    for key in ("provider", "model", "source"):
        problem = text_problem(entry[key]) if entry.get(key) is not None else ""
        if problem:
            yield f"has a {key} that {problem}"
    if not is_provider(entry.get("provider")):
        yield f"has the provider {shown(entry.get('provider'))}, but it is written in lower-case letters, digits and . _ -"
    aliases = entry.get("aliases") or []
    if not isinstance(aliases, (list, tuple)) or any(text_problem(each) for each in aliases):
        yield f"has {shown(aliases)} for aliases, but it must be a list of model names"
    mode = entry.get("billing_mode")
    if mode is not None and mode not in _MODES:
        yield f"has the billing_mode {shown(mode)}, but there are {', '.join(_MODES)}"
    tokens = entry.get("above_input_tokens")
    if tokens is not None and not 0 <= (-1 if integer(tokens) is None else integer(tokens) or 0) <= _MOST_TOKENS:
        yield f"has {shown(tokens)} for above_input_tokens, but it must be a number of tokens from 0 on"
    for key in ("local", "dated"):
        if not isinstance(entry.get(key, False), bool):
            yield f"has {shown(entry[key])} for {key}, but it is true or false"


def is_provider(value: Any) -> bool:
    """Whether the database takes a value for the name of a provider."""
    return bool(_PROVIDER.fullmatch(str(value)))


def is_amount(value: Any, below: int = 1_000_000) -> bool:
    """Whether a value is an amount of USD, 0 or more, that the database does not round."""
    if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
        return False
    try:
        amount = Decimal(str(value))
        return 0 <= amount < below and amount == amount.quantize(_MICRO)
    except InvalidOperation:
        return False


def _is_time(value: Any) -> bool:
    if isinstance(value, datetime.date):
        return True
    try:
        datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return False
    return True
