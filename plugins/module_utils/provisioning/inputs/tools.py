# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge a homelab's own tools, its policies, and the tokens of those who ask and decide. The database judges them again."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from ...database.postgres_url import similar
from ...tools.names import RESERVED_TOOL_NAMES
from ...tools.operations import RISK_LEVELS, Operation, call_problems, find_operation, operation_problem
from ...tools.schemas import SchemaLibraryError, schema_problems
from ..plans.tools import POLICIES, POLICY_DEFAULTS, TOOL_DEFAULTS
from .checks import integer, shown, text_problem, token_name_problems, token_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

TOOLS = "mission_control_schema_tools"
APPROVERS, REQUESTERS = "mission_control_schema_tool_approvers", "mission_control_schema_tool_requesters"
EFFECTS = ("allow", "require_approval", "deny")
CONDITIONS = ("arguments", "arguments_in", "callers")
_TOOL_KEYS = ("name", "risk_level", "connector", "operation", *TOOL_DEFAULTS)
_POLICY_KEYS = ("name", "effect", *POLICY_DEFAULTS)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_NUMBERS = {
    "timeout_seconds": (1, 3600),
    "output_limit_bytes": (1024, 1_048_576),
    "approval_seconds": (60, 86400),
    "priority": (-1_000_000, 1_000_000),
}
_SHORTEST_TOKEN = 32
_MOST_CHARACTERS = 65_536


def tool_problems(entries: Any) -> Iterator[str]:
    """Sentences about what is wrong with a homelab's own tools, in the form of the entries in files/tools.yml."""
    yield from _problems(entries, TOOLS, "tool", _tool_problems)


def policy_problems(entries: Any) -> Iterator[str]:
    """Sentences about what is wrong with policies."""
    yield from _problems(entries, POLICIES, "policy", _policy_problems)


def tool_token_problems(approvers: Any, requesters: Any, roles: Collection[str]) -> Iterator[str]:
    """Sentences about tokens and their names, of which none is shown.

    Args:
        roles: names of roles in the database, which the audit log would not tell from those of tokens.
    """
    every: list[tuple[str, Any]] = []
    for variable, tokens in ((APPROVERS, approvers), (REQUESTERS, requesters)):
        if not isinstance(tokens, dict):
            yield f"{variable} must be a mapping of names to tokens; an empty one is written {{}}."
            return
        yield from token_name_problems(tokens, variable)
        for number, name in enumerate(tokens, start=1):
            if name in roles:
                yield f"Name {number} in {variable} is that of one of the database's roles, which logs in by itself: choose another."
            every.append((f"Token {number} in {variable}", tokens[name]))
    yield from token_problems(every, _SHORTEST_TOKEN)


def _problems(
    entries: Any, variable: str, word: str, judge: Callable[[dict[str, Any]], Iterator[str]]
) -> Iterator[str]:
    """The first fault of each entry; what follows from it would be of no help."""
    if not isinstance(entries, (list, tuple)):
        yield f"{variable} is {shown(entries)}, but it must be a list."
        return
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        which = f"Entry {number} of {variable}"
        if not isinstance(entry, dict):
            yield f"{which} is {shown(entry)}, but it must be a mapping."
            return
        problem = next(judge(entry), "")
        if problem:
            yield f"{which} {problem}" if problem.endswith((".", "?")) else f"{which} {problem}."
            return
        name = str(entry["name"])
        if name in names:
            yield f"Two entries of {variable} are called {shown(name)}: give each {word} a name of its own."
        names.add(name)


def _tool_problems(entry: dict[str, Any]) -> Iterator[str]:
    """Ends of sentences."""
    yield from _key_problems(entry, _TOOL_KEYS, "a tool", ("name", "risk_level", "connector", "operation"))
    if not isinstance(entry["name"], str) or not _NAME.fullmatch(entry["name"]):
        yield (
            f"has the name {shown(entry['name'])}, but a tool has one of 1 to 63 lower-case letters, digits, - and _, "
            "which begins with a letter or a digit"
        )
    if entry["name"] in RESERVED_TOOL_NAMES:
        yield f"has the name {entry['name']}, which the MCP server keeps for itself: choose another"
    yield from _value_problems(entry, ("description", "version"))
    problem = operation_problem(entry["connector"], entry["operation"], entry["risk_level"])
    if problem:
        yield _inside(problem)
    for key in ("arguments_schema", "preset"):
        problem = _json_problem(_mapping(entry, key))
        if problem:
            yield f"has {'an' if key == 'arguments_schema' else 'a'} {key} that {problem}"
    yield from _argument_problems(entry)


def _argument_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    """Whether schema and preset are about what the operation takes, and not both about the same."""
    schema, preset = _mapping(entry, "arguments_schema"), _mapping(entry, "preset")
    try:
        for problem in schema_problems(schema):
            yield _inside(problem)
    except SchemaLibraryError:
        yield (
            "cannot be checked without the Python package jsonschema 4.10 or newer: install it on the controller, for the Python "
            "that Ansible runs with"
        )
    declared = schema.get("properties", {})
    for name in sorted({*preset} & {*declared}):
        yield f"has the argument {shown(name)} in its preset and in its arguments_schema: remove it from one of them"
    found = find_operation(entry["connector"], entry["operation"])
    if found is None:
        return
    known = found.known_arguments()
    for name in declared:
        if name not in known:
            yield f"declares the argument {shown(name)}, which {entry['connector']}.{entry['operation']} does not take{similar(name, known)}"
    for problem in call_problems(_without_needs(found), preset):
        yield f"has a preset that cannot be used: {problem[0].lower()}{problem[1:]}"


def _without_needs(operation: Operation) -> Operation:
    """The operation as far as a preset is concerned, in which what a caller gives is missing."""
    arguments = {name: dataclasses.replace(each, required=False) for name, each in operation.known_arguments().items()}
    return dataclasses.replace(operation, arguments=arguments, needs_source=False)


def _policy_problems(entry: dict[str, Any]) -> Iterator[str]:
    yield from _key_problems(entry, _POLICY_KEYS, "a policy", ("name", "effect"))
    yield from _value_problems(entry, ("name", "description"))
    if entry["effect"] not in EFFECTS:
        yield f"has the effect {shown(entry['effect'])}, but there are {', '.join(EFFECTS)}"
    for key, choices in (("tools", ()), ("risk_levels", RISK_LEVELS)):
        for each in _list(entry.get(key)):
            if not isinstance(each, str) or not each.strip() or (choices and each not in choices):
                known = ", ".join(choices) if choices else "names of tools, and '*' for all"
                yield f"lists {shown(each)} in {key}, but there are {known}"
        if entry.get(key) is not None and not isinstance(entry[key], (list, tuple)):
            yield f"has {shown(entry[key])} for {key}, but it must be a list"
    if not entry.get("tools") and not entry.get("risk_levels"):
        yield "covers nothing: list tools or risk_levels"
    yield from _condition_problems(entry.get("conditions"))


def _condition_problems(conditions: Any) -> Iterator[str]:
    if conditions is None:
        return
    problem = _json_problem(conditions)
    if problem:
        yield f"has conditions that {problem}"
        return
    for key, value in conditions.items():
        if key not in CONDITIONS:
            yield f"has the condition {shown(key)}, and there are {', '.join(CONDITIONS)}{similar(key, CONDITIONS)}"
        elif key == "callers":
            if not _list(value) or not all(isinstance(each, str) and each.strip() for each in value):
                yield "has callers in its conditions that are no list of names: name one caller or more"
        elif not isinstance(value, dict):
            yield f"has {shown(value)} for {key} in its conditions, but it must be a mapping of arguments"
        elif key == "arguments_in":
            for name in (name for name, values in value.items() if not _list(values)):
                yield f"has no list of values for {shown(name)} of arguments_in in its conditions: list one or more"


def _key_problems(
    entry: Mapping[str, Any], known: Collection[str], what: str, needed: Collection[str]
) -> Iterator[str]:
    for key in entry:
        if key not in known:
            yield f"has the key {shown(key)}, which {what} does not have{similar(str(key), known)}"
    for key in needed:
        if entry.get(key) is None or str(entry[key]).strip() == "":
            yield f"has no {key}"


def _value_problems(entry: Mapping[str, Any], texts: Collection[str]) -> Iterator[str]:
    """Of texts, and of the numbers and switches that the entry has."""
    for key in texts:
        problem = text_problem(entry[key]) if entry.get(key) is not None else ""
        if problem:
            yield f"has a {key} that {problem}"
    for key, (least, most) in _NUMBERS.items():
        number = integer(entry[key]) if entry.get(key) is not None else least
        if number is None or not least <= number <= most:
            yield f"has {shown(entry[key])} for {key}, but it must be a whole number from {least} to {most}"
    if not isinstance(entry.get("enabled", True), bool):
        yield f"has {shown(entry['enabled'])} for enabled, but it is true or false"


def _json_problem(value: Any) -> str:
    """The end of a sentence about a value that is to be a JSON object, empty where nothing is wrong."""
    if not isinstance(value, dict):
        return f"is {shown(value)}, but it must be a mapping"
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        return "holds something that is no JSON, such as a date: quote it"
    if "\\u0000" in text:
        return "holds the character NUL"
    if len(text) > _MOST_CHARACTERS:
        return f"has {len(text)} characters as JSON, and {_MOST_CHARACTERS} are the most"
    return "" if _has_text_keys(value) else "has a name that is no text: quote it"


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_text_keys(each) for key, each in value.items())
    return not isinstance(value, (list, tuple)) or all(_has_text_keys(each) for each in value)


def _mapping(entry: Mapping[str, Any], key: str) -> Any:
    return {} if entry.get(key) is None else entry[key]


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _inside(sentence: str) -> str:
    """A sentence as the rest of one that names the entry."""
    return f"is wrong: {sentence[0].lower()}{sentence[1:]}"
