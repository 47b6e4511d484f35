# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Env files that a shell, systemd's EnvironmentFile= and dotenv libraries all read the same way.

They agree on one form only: a value in single quotes, taken literally. They disagree on how such a value could hold a
single quote; some take a backslash for an escape there, some replace ${NAME} even there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_DISPUTED = re.compile(r"['\\]|\$\{")


def value_problem(value: str) -> str:
    """Why a value cannot stand in an env file, as the end of a sentence; empty where it can."""
    if not value.isprintable():
        return "holds a character that cannot be printed, which readers of an env file do not agree on"
    if _DISPUTED.search(value):
        return "holds a single quote, a backslash or ${, which readers of an env file do not agree on"
    return ""


def render(values: Mapping[str, object]) -> str:
    """The text of an env file.

    Raises:
        ValueError: a name or a value cannot be written so that all readers agree; the message does not hold the value.
    """
    lines = []
    for name, value in values.items():
        text = str(value)
        problem = value_problem(text)
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name} is not a name for an env file")
        if problem:
            raise ValueError(f"the value of {name} {problem}")
        lines.append(f"{name}='{text}'\n")
    return "".join(lines)
