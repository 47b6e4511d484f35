# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of tools: those that the MCP server has of its own, and which every MCP client takes."""

from __future__ import annotations

import re

AWAIT_TOOL_CALL = "await_tool_call"
CANCEL_TOOL_CALL = "cancel_tool_call"
# The MCP server answers these itself: a tool of the same name could never be called.
RESERVED_TOOL_NAMES = (AWAIT_TOOL_CALL, CANCEL_TOOL_CALL)
LONGEST_TOOL_NAME = 64
_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


def is_tool_name(name: object) -> bool:
    """Whether a tool may be called so: letters, digits and _.-, at most LONGEST_TOOL_NAME of them, and no name of the MCP server's own."""
    return (
        isinstance(name, str)
        and len(name) <= LONGEST_TOOL_NAME
        and _NAME.fullmatch(name) is not None
        and name not in RESERVED_TOOL_NAMES
    )
