# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare tools, policies, and the tokens of those who ask and decide, with what a database has."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...database.postgres_url import similar
from ...schema.runner import LastStep
from ...schema.sql_text import quote_literal
from ...tools.operations import find_operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ...schema.runner import RunnerSettings

POLICIES = "mission_control_schema_policies"
# What an entry has that does not say so itself; what has no default here has to be given.
TOOL_DEFAULTS: Mapping[str, Any] = {
    "description": None,
    "arguments_schema": {},
    "preset": {},
    "timeout_seconds": 60,
    "output_limit_bytes": 65536,
    "approval_seconds": 3600,
    "version": None,
    "enabled": True,
}
POLICY_DEFAULTS: Mapping[str, Any] = {
    "description": None,
    "tools": [],
    "risk_levels": [],
    "conditions": {},
    "priority": 100,
    "enabled": True,
}
_TEXTS = ("name", "description", "version")
_NUMBERS = ("timeout_seconds", "output_limit_bytes", "approval_seconds", "priority")


@dataclass(frozen=True)
class Registry:
    """What a database is to have.

    Attributes:
        seed: tools that the collection brings.
        tools: a homelab's own, which win over those of the same name.
        policies: a homelab's own; the collection brings none.
        approvers: tokens of those who decide, by their names.
        requesters: tokens of those who ask.
    """

    seed: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    policies: Sequence[Mapping[str, Any]] = ()
    approvers: Mapping[str, str] | None = None
    requesters: Mapping[str, str] | None = None


def read_tools(path: str) -> list[Mapping[str, Any]]:
    """The tools of a file in the form of files/tools.yml.

    Raises:
        OSError: it cannot be read.
    """
    import yaml

    with open(path, encoding="utf-8") as file:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        tools: list[Mapping[str, Any]] = yaml.load(file, loader)["tools"]  # noqa: S506 (both are safe)
    return tools


def registry_changes(
    state: Mapping[str, Any] | None, registry: Registry, settings: RunnerSettings
) -> list[tuple[list[str], LastStep | None]]:
    """What is to be done, each with its lines of the plan.

    Args:
        state: `registry` of the history; None where the tables are not there yet.

    Returns:
        The step that applies the tokens is None, since a plan may be shown: see `token_step`.
    """
    changes: list[tuple[list[str], LastStep | None]] = []
    seed, own = (_entries(tools, TOOL_DEFAULTS) for tools in (registry.seed, registry.tools))
    lines = _tool_lines(_present(state, "tools"), _wanted_tools(seed, own))
    if lines:
        call = settings.named(f"SELECT our_schema.apply_tools({_json(seed)}, {_json(own)})")
        changes.append((lines, LastStep("tools", call, "audit")))
    policies = _entries(registry.policies, POLICY_DEFAULTS)
    lines = _policy_lines(_present(state, "policies"), policies)
    if lines:
        call = settings.named(f"SELECT our_schema.apply_policies({_json(policies)})")
        changes.append((lines, LastStep("policies", call, "audit")))
    changes.append((_token_lines(_present(state, "tokens"), _tokens(registry)), None))
    return changes


def registry_problems(state: Mapping[str, Any] | None, registry: Registry) -> list[str]:
    """Sentences about policies that cover no tool or no call: one that is to deny and never does would not be noticed otherwise."""
    seed, own = (_entries(tools, TOOL_DEFAULTS) for tools in (registry.seed, registry.tools))
    wanted = _wanted_tools(seed, own)
    # Nothing is known of what they take.
    others = {row["name"] for row in _present(state, "tools") if row["origin"] == "user"} - set(wanted)
    return [
        f"{POLICIES} has a policy {policy['name']!r} {problem}"
        for policy in _entries(registry.policies, POLICY_DEFAULTS)
        for problem in _policy_problems(policy, wanted, others)
    ]


def _policy_problems(
    policy: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]], others: set[str]
) -> Iterator[str]:
    """Ends of sentences."""
    named = set(policy["tools"])
    known = {"*", *wanted, *others}
    for name in sorted(named - known):
        yield f"for the tool {name!r}, which there is not{similar(name, known) or '.'}"
    if named & {*others} or (others and ("*" in named or policy["risk_levels"])):
        return
    covered = [
        tool
        for tool in wanted.values()
        if tool["name"] in named or "*" in named or tool["risk_level"] in policy["risk_levels"]
    ]
    operations = [find_operation(tool["connector"], tool["operation"]) for tool in covered]
    arguments = {name for operation in operations if operation for name in operation.known_arguments()}
    conditions = policy["conditions"]
    for name in sorted({*conditions.get("arguments", {}), *conditions.get("arguments_in", {})} - arguments):
        yield f"with a condition on the argument {name!r}, which no tool that it covers takes{similar(name, arguments) or '.'}"


def token_step(registry: Registry, settings: RunnerSettings) -> LastStep:
    """What makes the tokens those of the registry. It holds their checksums: show it nowhere."""
    call = settings.named(f"SELECT our_schema.apply_tool_tokens({_json(_tokens(registry))})")
    return LastStep("tokens of tools", call, "audit")


def _present(state: Mapping[str, Any] | None, part: str) -> Sequence[Mapping[str, Any]]:
    return () if state is None else state[part]


def _entries(entries: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries with all their keys, and each value in the form that the database gives back."""
    complete = []
    for entry in entries:
        values = {**defaults, **{key: value for key, value in entry.items() if value is not None}}
        values.update({key: str(values[key]) for key in _TEXTS if values.get(key) is not None})
        values.update({key: int(values[key]) for key in _NUMBERS if key in values})
        complete.append({**_plain(values), "description": values["description"] or None})
    return complete


def _plain(value: Any) -> Any:
    """A value as JSON has it, where 5.0 and 5 are one number and names are texts."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _wanted_tools(seed: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {
        **{tool["name"]: {**tool, "origin": "seed"} for tool in seed},
        **{tool["name"]: {**tool, "origin": "role"} for tool in own},
    }


def _tool_lines(present: Sequence[Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A tool that has been called stays for the record when nobody wants it any more, and is not enabled."""
    gone = [
        row["name"]
        for row in present
        if row["name"] not in wanted and row["origin"] != "user" and (row["enabled"] or not row["has_calls"])
    ]
    return _lines("tool", present, wanted, gone)


def _policy_lines(present: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    policies = {policy["name"]: {**policy, "origin": "role"} for policy in wanted}
    gone = [row["name"] for row in present if row["name"] not in policies and row["origin"] == "role"]
    return _lines("policy", present, policies, gone)


def _lines(
    word: str, present: Sequence[Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]], gone: Sequence[str]
) -> list[str]:
    rows = {row["name"]: row for row in present}
    lines = {name: f"{word} {name}" for name in gone}
    for name, entry in wanted.items():
        row = rows.get(name, {})
        if _text(entry) != _text({key: row.get(key) for key in entry}):
            taken = " (takes the place of one that somebody made)" if row.get("origin") == "user" else ""
            lines[name] = f"{word} {name}{taken}"
    return [lines[name] for name in sorted(lines)]


def _tokens(registry: Registry) -> list[dict[str, str]]:
    """Of a token nothing but its checksum leaves the controller."""
    return [
        {"name": name, "kind": kind, "sha256": hashlib.sha256(tokens[name].encode()).hexdigest()}
        for kind, tokens in (("approver", registry.approvers or {}), ("requester", registry.requesters or {}))
        for name in sorted(tokens)
    ]


def _token_lines(present: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    before, after = ({(each["kind"], each["name"]): each["sha256"] for each in tokens} for tokens in (present, wanted))
    return [
        f"{kind} {name}"
        for kind, name in sorted({*before, *after})
        if before.get((kind, name)) != after.get((kind, name))
    ]


def _text(value: Any) -> str:
    """JSON in one form, in which true is not 1."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _json(value: Any) -> str:
    return f"{quote_literal(json.dumps(value, ensure_ascii=False))}::jsonb"
