# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The forms that there are. Each has a module with `ENDINGS` of its files' names, `default_paths()` and a `Reader`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

# By the name of its tool: the module, which is imported when it is needed, and what its files are.
FORMS = {
    "claude-code": (
        "claude_code",
        "transcripts of Claude Code ($CLAUDE_CONFIG_DIR/projects, else ~/.claude/projects)",
    ),
    "codex": (
        "codex",
        "sessions of Codex ($CODEX_HOME/sessions, else ~/.codex/sessions, and archived_sessions beside)",
    ),
    "litellm": (
        "litellm",
        "spend logs of LiteLLM's proxy, as CSV of the table or JSON of its API; there is no default place",
    ),
    "jsonl": (
        "json_lines",
        "JSON lines as docs/import.md describes them (what the exporter of spans could not deliver yet)",
    ),
}


def form_module(form: str) -> ModuleType:
    """The module of a form."""
    return importlib.import_module(f".{FORMS[form][0]}", __package__)
