# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What PostgreSQL said, from the result of a failed module of community.postgresql.

Those modules put the whole SQL text and its arguments around the server's message: a long script, and perhaps a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "Cannot execute SQL "
# The arguments are None or a dict, and a message may hold a brace itself. postgresql_query adds its statements, postgresql_script does not.
_UP_TO_MESSAGE = re.compile(r".*' None: |.*\}: ", re.DOTALL)
_STATEMENTS = ", query list: ["
# What comes after the message itself: where in the SQL it happened.
_PLACE = re.compile(r"\n(?:CONTEXT|LINE \d+|QUERY|DETAIL|HINT):.*", re.DOTALL)


def whole_message(result: Mapping[str, Any]) -> str:
    """All that PostgreSQL said, lines about the place included; empty where there is nothing.

    Args:
        result: what the module returned, failed or not.
    """
    text = str(result.get("msg") or "")
    if text.startswith(_PREFIX):
        text = text.rpartition(_STATEMENTS)[0] or text
        found = _UP_TO_MESSAGE.match(text)
        return text[found.end() :] if found else "PostgreSQL refused the statement"
    if not text and result.get("exception"):
        return "the module ended with an exception, which -vvv shows"
    return text


def short_message(result: Mapping[str, Any]) -> str:
    """The message itself, in one line; empty where there is none."""
    return " ".join(_PLACE.sub("", whole_message(result)).split())
