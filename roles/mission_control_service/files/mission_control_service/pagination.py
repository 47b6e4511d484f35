# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pages of a list: the next one begins after the last row of this one (keyset), not after a number of rows.

So a page costs the same wherever it is, and rows that come or go meanwhile shift nothing. The cursor holds the sort keys
of the last row; for callers it has no meaning.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import uuid
from typing import TYPE_CHECKING, Any, Literal

from .parameters import Parameter
from .problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = Parameter("limit", "Rows on a page at most.", "integer", least=1, most=1000, default=100)
CURSOR = Parameter("cursor", "next_cursor of the page before; it goes with the same address and filters.", longest=1000)
KeyKind = Literal["text", "uuid", "date-time", "date", "integer"]


def encode_cursor(place: str, keys: Sequence[Any]) -> str:
    """`place`: which list it belongs to."""
    text = json.dumps(
        [place, *(each if isinstance(each, int) else _plain(each) for each in keys)], separators=(",", ":")
    )
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str, place: str, kinds: Sequence[KeyKind]) -> list[Any]:
    """The sort keys.

    Raises:
        ProblemError: 400; the cursor is not one of this list.
    """
    wrong = ProblemError(400, "The cursor is not one that this list has given.", CURSOR.name)
    try:
        content = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise wrong from None
    if not isinstance(content, list) or len(content) != len(kinds) + 1 or content[0] != place:
        raise wrong
    keys = [_key(value, kind) for value, kind in zip(content[1:], kinds)]
    if None in keys:
        raise wrong
    return keys


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _key(value: Any, kind: KeyKind) -> Any:
    if kind == "integer":
        # What fits into a bigint.
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and abs(value) < 2**63 else None
    if not isinstance(value, str) or "\0" in value or not value.isprintable():
        return None
    try:
        if kind == "uuid":
            return uuid.UUID(value)
        if kind == "date-time":
            time = datetime.datetime.fromisoformat(value)
            return time if time.tzinfo else None
        return datetime.date.fromisoformat(value) if kind == "date" else value
    except ValueError:
        return None
