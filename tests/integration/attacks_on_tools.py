"""All attacks on the calls of tools by single statements, in the sections of docs/tool-attacks.md."""

from attacks_around_tools import SITE, SURROUNDINGS
from attacks_on_tool_decisions import DECIDING, STARTING
from attacks_on_tool_requests import ASKING
from attacks_on_tool_rows import WRITING

ATTACKS = [*WRITING, *ASKING, *DECIDING, *STARTING, *SURROUNDINGS]
__all__ = ["ASKING", "ATTACKS", "DECIDING", "SITE", "STARTING", "SURROUNDINGS", "WRITING"]
