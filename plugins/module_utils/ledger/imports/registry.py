# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The forms that there are. Each has a module with `ENDINGS` of its files' names, `default_paths()` and a `Reader`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

# By the name of its tool, what its files are.
FORMS = {
    "claude-code": "transcripts of Claude Code ($CLAUDE_CONFIG_DIR/projects, else ~/.claude/projects)",
    "codex": "sessions of Codex ($CODEX_HOME/sessions, else ~/.codex/sessions, and archived_sessions beside)",
    "litellm": "spend logs of LiteLLM's proxy, as CSV of the table or JSON of its API; there is no default place",
    "jsonl": "JSON lines as docs/import.md describes them (what the exporter of spans could not deliver yet)",
}


def form_module(form: str) -> ModuleType:
    """The module of a form, imported now and not before: other commands do not wait for it."""
    if form == "claude-code":
        from . import claude_code

        return claude_code
    if form == "codex":
        from . import codex

        return codex
    if form == "litellm":
        from . import litellm

        return litellm
    from . import json_lines

    return json_lines
