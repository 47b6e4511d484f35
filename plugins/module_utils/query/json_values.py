# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of PostgreSQL as JSON can hold them, made from the text in which the server sends them.

JSON knows text, numbers of unclear size, true, false and null. What it cannot hold without loss stays text, in
PostgreSQL's own words. The session must send dates in ISO style, intervals in iso_8601 and bytea in hex.
"""

from __future__ import annotations

import base64
import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Mapping

    Convert = Callable[[str], Any]

_TIMESTAMP = re.compile(r"(\d{4,6}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d(?::\d\d)?)?")
_TIME_WITH_ZONE = re.compile(r"(\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d(?::\d\d)?)")
_BOUNDS = re.compile(r"(?:\[-?\d+:-?\d+\])+=")


def _boolean(text: str) -> bool:
    return text == "t"


def _float(text: str) -> float | str:
    """NaN and infinity have no form in JSON and stay text."""
    number = float(text)
    return number if math.isfinite(number) else text


def _timestamp(text: str) -> str:
    """ISO 8601. What it has no common form for (infinity, years before Christ) stays as PostgreSQL writes it."""
    match = _TIMESTAMP.fullmatch(text)
    return f"{match[1]}T{match[2]}{_offset(match[3])}" if match else text


def _time_with_zone(text: str) -> str:
    match = _TIME_WITH_ZONE.fullmatch(text)
    return match[1] + _offset(match[2]) if match else text


def _offset(text: str | None) -> str:
    """+02 as +02:00, which more programs can read."""
    return "" if text is None else text if ":" in text else f"{text}:00"


def _bytes(text: str) -> str:
    """Base64, which Ansible's b64decode reads."""
    return base64.b64encode(bytes.fromhex(text[2:])).decode("ascii")


def _json(text: str) -> Any:
    return json.loads(text, parse_float=_exact_number)


def _exact_number(text: str) -> float | str:
    """A number within JSON; text where a float would lose digits of it."""
    number = float(text)
    return number if math.isfinite(number) and Decimal(repr(number)) == Decimal(text) else text


# By the OIDs of the types, which are fixed in PostgreSQL's catalogue. Every other scalar stays the text that it is:
# numeric keeps its digits, uuid, inet, ranges and intervals read as PostgreSQL writes them.
SCALARS: Mapping[int, Convert] = {
    16: _boolean,
    20: int,
    21: int,
    23: int,
    26: int,  # oid
    700: _float,
    701: _float,
    1114: _timestamp,
    1184: _timestamp,
    1266: _time_with_zone,
    17: _bytes,
    114: _json,
    3802: _json,
}
# The common ones that stay text, so that nobody has to ask the server whether they are arrays.
TEXTS = frozenset((18, 19, 25, 650, 705, 790, 829, 869, 1042, 1043, 1082, 1083, 1186, 1700, 2278, 2950))


def array_convert(element_type: int, delimiter: str = ",") -> Convert:
    """The conversion of an array type: to a list, of lists where it has several dimensions.

    Args:
        element_type: OID of the elements' type.
        delimiter: what stands between elements, a semicolon for boxes.
    """
    convert = SCALARS.get(element_type, str)

    def convert_array(text: str) -> list[Any]:
        # Bounds that do not begin at 1 stand before the elements; JSON has no form for them.
        match = _BOUNDS.match(text)
        value, _end = _parse(text, match.end() if match else 0, convert, delimiter)
        return value

    return convert_array


def _parse(text: str, start: int, convert: Convert, delimiter: str) -> tuple[list[Any], int]:
    """The list that begins with the brace at `start`, and where it ends."""
    items: list[Any] = []
    position = start + 1
    while text[position] != "}":
        if text[position] == delimiter:
            position += 1
        elif text[position] == "{":
            item, position = _parse(text, position, convert, delimiter)
            items.append(item)
        elif text[position] == '"':
            word, position = _quoted(text, position)
            items.append(convert(word))
        else:
            end = position
            while text[end] not in (delimiter, "}"):
                end += 1
            word = text[position:end]
            items.append(None if word == "NULL" else convert(word))
            position = end
    return items, position + 1


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _quoted(text: str, start: int) -> tuple[str, int]:
    match = _QUOTED.match(text, start)
    if match is None:  # pragma: no cover - the server closes what it opens
        raise ValueError("an array holds a text without end")
    return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL), match.end()
