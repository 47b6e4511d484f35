# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values from outside as the tables can hold them. What a source sends may hold anything; one bad value must not fail a sync."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Far below the limits of the columns (8 KiB for short text, 1 MiB for JSON), and more than a real one needs.
_LONGEST_TEXT = 1024
_MOST_LABELS = 100


def text_or_none(value: object, longest: int = _LONGEST_TEXT) -> str | None:
    """A text without what PostgreSQL cannot store (NUL, lone surrogates), without spaces around it and of bounded length.

    Args:
        value: anything; what is no text, number or truth value gives None.
        longest: number of characters; a longer text is cut.

    Returns:
        None where nothing is left.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        return None
    text = str(value).replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
    return text[:longest] or None


def chosen_labels(labels: object, allowed: Iterable[str]) -> dict[str, str]:
    """The labels whose names are on the list, as text, in the order of their names.

    Args:
        labels: a mapping, as the source sends it; anything else gives none.
        allowed: names, or beginnings of names that end with an asterisk ("app.kubernetes.io/*").
    """
    if not isinstance(labels, dict):
        return {}
    wanted = tuple(allowed)
    exact = {each for each in wanted if not each.endswith("*")}
    beginnings = tuple(each[:-1] for each in wanted if each.endswith("*"))
    chosen: dict[str, str] = {}
    for name in sorted(key for key in labels if isinstance(key, str)):
        if name in exact or (beginnings and name.startswith(beginnings)):
            key, value = text_or_none(name), text_or_none(labels[name])
            if key is not None and value is not None and len(chosen) < _MOST_LABELS:
                chosen[key] = value
    return chosen


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a JSON object that have a value, with text as it can be stored."""
    cleaned = {name: text_or_none(value) if isinstance(value, str) else value for name, value in values.items()}
    return {name: value for name, value in cleaned.items() if value is not None}


def whole_number(value: object, least: int = 0) -> int | None:
    """A number of the range of bigint that is at least `least`, or None; a fraction is cut."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        return None
    number = int(value)
    return number if least <= number < 2**63 else None
