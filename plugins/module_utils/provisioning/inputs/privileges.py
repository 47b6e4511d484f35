# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge entries of mission_control_database_privileges, which have the form of `objects` in files/sql/privileges.yml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .checks import shown, text_problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

VARIABLE = "mission_control_database_privileges"
_OF_COLUMNS = {"SELECT", "INSERT", "UPDATE", "REFERENCES"}
_OF_TABLES = {*_OF_COLUMNS, "DELETE", "TRUNCATE", "TRIGGER", "MAINTAIN"}
_BY_KIND = {
    "table": _OF_TABLES,
    "view": _OF_TABLES,
    "sequence": {"USAGE", "SELECT", "UPDATE"},
    "function": {"EXECUTE"},
    "type": {"USAGE"},
}
_PRIVILEGE = re.compile(r"\s*(?P<word>[A-Za-z]+)\s*(?P<columns>\([^()]*[^()\s,][^()]*\)\s*)?")
_OTHER_KEYS = {"name", "kind", "comment"}


def privilege_problems(entries: Any, keys: Collection[str]) -> Iterator[str]:
    """Sentences about what is wrong with the entries.

    Args:
        entries: the variable's value.
        keys: what our roles are called in an entry, such as `readonly`.
    """
    if not isinstance(entries, (list, tuple)):
        yield f"{VARIABLE} is {shown(entries)}, but it must be a list."
        return
    for number, entry in enumerate(entries, start=1):
        for problem in _entry_problems(entry, keys):
            yield f"Entry {number} of {VARIABLE} {problem}."


def _entry_problems(entry: Any, keys: Collection[str]) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"is {shown(entry)}, but it must be a mapping with the name of an object"
        return
    if text_problem(entry.get("name", "")) or not entry.get("name"):
        yield "has no name of an object: give it in the key name"
    kind = entry.get("kind", "table")
    if not isinstance(kind, str) or kind not in _BY_KIND:
        yield f"has the kind {shown(kind)}, but there are {', '.join(sorted(_BY_KIND))}"
        return
    for key in entry:
        if key not in _OTHER_KEYS and key not in keys:
            yield f"has the key {shown(key)}, but there are name, kind, comment and {', '.join(keys)}"
    yield from _list_problems(entry, kind, keys)


def _list_problems(entry: Mapping[str, Any], kind: str, keys: Collection[str]) -> Iterator[str]:
    for key in keys:
        privileges = entry.get(key, [])
        if not isinstance(privileges, (list, tuple)):
            yield f"has {shown(privileges)} for {key}, but it must be a list of privileges"
            continue
        for privilege in privileges:
            found = _PRIVILEGE.fullmatch(privilege) if isinstance(privilege, str) else None
            word = found["word"].upper() if found else ""
            if word not in _BY_KIND[kind] or (found and found["columns"] and word not in _OF_COLUMNS):
                yield (
                    f"has {shown(privilege)} for {key}, but a {kind} has {', '.join(sorted(_BY_KIND[kind]))}"
                    f"{', some of them with columns as in UPDATE (a, b)' if kind in ('table', 'view') else ''}"
                )
            elif found and found["columns"] and (kind not in ("table", "view") or not found["columns"].isprintable()):
                yield f"has {shown(privilege)} for {key}, but only tables and views have columns, whose names can be printed"
