"""Tools, policies and tokens are judged on the controller, by a sentence that names the variable and shows no token."""

import datetime
import pathlib
import re
import sys

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.tools import (
    policy_problems,
    tool_problems,
    tool_token_problems,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.tools import (
    Registry,
    read_tools,
    registry_problems,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.tools import schemas
from hypothesis import given
from hypothesis import strategies as st

SEED = pathlib.Path(__file__).parents[2] / "files/tools.yml"
PAGE = SEED.parents[1] / "docs/tools.md"
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["deployment"],
    "properties": {"deployment": {"type": "string", "maxLength": 63}},
}
TOOL = {
    "name": "restart_web",
    "description": "Restarts the shop.",
    "connector": "kubernetes",
    "operation": "restart_deployment",
    "risk_level": "SAFE_MUTATE",
    "arguments_schema": SCHEMA,
    "preset": {"source": "lab", "namespace": "shop"},
}
POLICY = {"name": "nights", "effect": "deny", "risk_levels": ["SAFE_MUTATE"]}
TOKEN, OTHER = "a" * 32, "b" * 64
TOOLS, POLICIES = "mission_control_schema_tools", "mission_control_schema_policies"


def of_tool(**more):
    entry = {key: value for key, value in {**TOOL, **more}.items() if value is not Ellipsis}
    return next(tool_problems([entry]), "")


def of_policy(**more):
    entry = {key: value for key, value in {**POLICY, **more}.items() if value is not Ellipsis}
    return next(policy_problems([entry]), "")


def of_tokens(approvers, requesters=None, roles=()):
    return next(tool_token_problems(approvers, {} if requesters is None else requesters, roles), "")


def test_what_the_collection_brings_is_good():
    assert list(tool_problems(read_tools(str(SEED)))) == []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"risk_level": "DESTRUCTIVE", "timeout_seconds": 3600, "output_limit_bytes": 1024, "approval_seconds": "60"},
        {"version": 2, "enabled": False, "description": None},
        {"arguments_schema": ..., "preset": ...},
        {"arguments_schema": {}, "preset": {"deployment": "web"}},
    ],
)
def test_tools_that_are_good(more):
    assert of_tool(**more) == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": ...}, "has no name."),
        ({"name": " "}, "has no name."),
        ({"name": "Restart web"}, "has the name 'Restart web', but a tool has one of 1 to 63 lower-case letters"),
        ({"name": "await_tool_call"}, "has the name await_tool_call, which the MCP server keeps for itself"),
        ({"risk_level": ...}, "has no risk_level."),
        ({"risk_level": "safe"}, "is wrong: the risk level is 'safe', but there are READ_ONLY, SAFE_MUTATE, DESTRUCTIVE."),
        ({"risk_level": ["READ_ONLY"]}, "is wrong: the risk level is ['READ_ONLY'], but there are"),
        (
            {"risk_level": "READ_ONLY"},
            "is wrong: the risk level is READ_ONLY, but kubernetes.restart_deployment is SAFE_MUTATE: give the tool this level or a higher one.",
        ),
        ({"connector": "kubernets"}, "is wrong: there is no connector 'kubernets' among docker, kubernetes,"),
        ({"operation": "restart_deploymnt"}, "did you mean 'restart_deployment'?"),
        ({"riks_level": 1}, "has the key 'riks_level', which a tool does not have; did you mean 'risk_level'?"),
        ({"5": 1}, "has the key '5', which a tool does not have."),
        ({"description": "a\nb"}, "has a description that is 'a\\nb', which holds a character that cannot be printed."),
        ({"timeout_seconds": 0}, "has 0 for timeout_seconds, but it must be a whole number from 1 to 3600."),
        ({"output_limit_bytes": 2**21}, "for output_limit_bytes, but it must be a whole number from 1024 to 1048576."),
        ({"approval_seconds": "soon"}, "has 'soon' for approval_seconds"),
        ({"enabled": "yes"}, "has 'yes' for enabled, but it is true or false."),
        ({"arguments_schema": []}, "has an arguments_schema that is [], but it must be a mapping."),
        ({"arguments_schema": ["a"]}, "has an arguments_schema that is ['a'], but it must be a mapping."),
        ({"arguments_schema": {"type": "array"}}, "is wrong: the schema must have the type object"),
        ({"arguments_schema": {"properties": {"deployment": {"type": "txt"}}}}, "is wrong: the schema is none of draft 2020-12"),
        ({"arguments_schema": {"$ref": "http://x"}}, "is wrong: the schema refers to 'http://x'"),
        ({"preset": {"since": datetime.date(2026, 1, 1)}}, "has a preset that holds something that is no JSON"),
        ({"preset": {"namespace": "a\0"}}, "has a preset that holds the character NUL."),
        ({"preset": {"namespace": "\ud800"}}, "has a preset that holds something that is no JSON"),
        ({"preset": {1: "a"}}, "has a preset that has a name that is no text: quote it."),
        ({"preset": {"namespace": "a" * 70_000}}, "as JSON, and 65536 are the most."),
        ({"preset": {"deployment": "web"}}, "has the argument 'deployment' in its preset and in its arguments_schema: remove"),
        ({"preset": {"namespace": "a/b"}}, "has a preset that cannot be used: the argument namespace must be the name of a namespace."),
        ({"preset": {"namspace": "a"}}, "has a preset that cannot be used: there is no argument 'namspace'; did you mean 'namespace'?"),
        (
            {"arguments_schema": {"properties": {"deploymen": {}}}},
            "declares the argument 'deploymen', which kubernetes.restart_deployment does not take; did you mean 'deployment'?",
        ),
    ],
)  # fmt: skip
def test_a_tool_that_cannot_be_is_refused(more, words):
    sentence = of_tool(**more)
    assert sentence.startswith(f"Entry 1 of {TOOLS} ")
    assert words in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence


def test_a_name_is_given_once():
    assert list(tool_problems([TOOL, TOOL])) == [
        f"Two entries of {TOOLS} are called 'restart_web': give each tool a name of its own."
    ]
    assert list(policy_problems([POLICY, POLICY])) == [
        f"Two entries of {POLICIES} are called 'nights': give each policy a name of its own."
    ]


def test_without_jsonschema_a_tool_is_refused_by_its_name(monkeypatch):
    schemas._validator.cache_clear()
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert of_tool() == (
        f"Entry 1 of {TOOLS} cannot be checked without the Python package jsonschema 4.10 or newer: install it on the controller, "
        "for the Python that Ansible runs with."
    )
    assert list(tool_problems([])) == []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"risk_levels": ..., "tools": ["*"], "priority": -5, "enabled": False},
        {
            "conditions": {
                "arguments": {"namespace": "shop"},
                "arguments_in": {"source": ["lab", 1]},
                "callers": ["alice"],
            }
        },
        {"conditions": {}, "effect": "require_approval"},
    ],
)
def test_policies_that_are_good(more):
    assert of_policy(**more) == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": ""}, "has no name."),
        ({"effect": "denied"}, "has the effect 'denied', but there are allow, require_approval, deny."),
        ({"effect": ["deny"]}, "has the effect ['deny'], but"),
        ({"risk_levels": ["SAVE_MUTATE"]}, "lists 'SAVE_MUTATE' in risk_levels, but there are READ_ONLY, SAFE_MUTATE"),
        ({"risk_levels": "SAFE_MUTATE"}, "has 'SAFE_MUTATE' for risk_levels, but it must be a list."),
        ({"tools": [None]}, "lists None in tools, but there are names of tools, and '*' for all."),
        ({"risk_levels": []}, "covers nothing: list tools or risk_levels."),
        ({"efect": "deny"}, "has the key 'efect', which a policy does not have; did you mean 'effect'?"),
        ({"priority": 2**63}, "for priority, but it must be a whole number"),
        ({"conditions": ["x"]}, "has conditions that is ['x'], but it must be a mapping."),
        ({"conditions": {"argument": {}}}, "has the condition 'argument', and there are arguments, arguments_in, callers; did you mean 'arguments'?"),
        ({"conditions": {"arguments": "namespace"}}, "has 'namespace' for arguments in its conditions, but it must be a mapping of arguments."),
        ({"conditions": {"arguments_in": {"source": "lab"}}}, "has no list of values for 'source' of arguments_in"),
        ({"conditions": {"arguments_in": {"source": []}}}, "has no list of values for 'source' of arguments_in"),
        ({"conditions": {"callers": []}}, "has callers in its conditions that are no list of names"),
        ({"conditions": {"callers": "alice"}}, "has callers in its conditions that are no list of names"),
        ({"conditions": {"callers": [1]}}, "has callers in its conditions that are no list of names"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_is_refused(more, words):
    sentence = of_policy(**more)
    assert sentence.startswith(f"Entry 1 of {POLICIES} ")
    assert words in sentence


def test_what_the_page_shows_is_good():
    blocks = [
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ]
    tools, policies = (
        [each for block in blocks for each in block.get(f"mission_control_schema_{key}", [])]
        for key in ("tools", "policies")
    )
    assert len(tools) >= 1
    assert len(policies) >= 2
    assert [*tool_problems(tools), *policy_problems(policies)] == []
    assert registry_problems(None, Registry(read_tools(str(SEED)), tools, policies)) == []


@pytest.mark.parametrize("judge", [tool_problems, policy_problems])
def test_a_list_is_a_list_of_mappings(judge):
    assert "but it must be a list." in next(judge({"a": 1}))
    assert "but it must be a mapping." in next(judge(["a"]))


@pytest.mark.parametrize(
    ("approvers", "requesters", "words"),
    [
        ({"alice": "a" * 31}, {}, "Token 1 in mission_control_schema_tool_approvers has 31 characters, but a token has 32 to 512"),
        ({"alice": "a" * 513}, {}, "has 513 characters"),
        ({"alice": TOKEN[:-1] + "\u00fc"}, {}, "may hold letters, digits and - . _ ~ + / only"),
        ({"alice": int("1" * 40)}, {}, "may hold letters, digits"),
        ({"alice": None}, {}, "may hold letters, digits"),
        ({"alice": TOKEN, "bob": TOKEN}, {}, "Token 2 in mission_control_schema_tool_approvers is there twice: remove one"),
        ({"alice": TOKEN}, {"assistant": TOKEN}, "Token 1 in mission_control_schema_tool_requesters is there twice"),
        ({"Alice": TOKEN}, {}, "Name 1 in mission_control_schema_tool_approvers may hold 1 to 63 lower-case letters"),
        ({}, {"mission_control": TOKEN}, "Name 1 in mission_control_schema_tool_requesters is that of one of the database's roles"),
        (TOKEN, {}, "mission_control_schema_tool_approvers must be a mapping of names to tokens; an empty one is written {}."),
        ({}, [TOKEN], "mission_control_schema_tool_requesters must be a mapping"),
        # Mixed up.
        ({OTHER: "alice"}, {}, "Name 1 in mission_control_schema_tool_approvers may hold"),
        ({TOKEN: "alice"}, {}, "Token 1 in mission_control_schema_tool_approvers has 5 characters"),
    ],
)  # fmt: skip
def test_tokens_that_cannot_be_are_refused_and_not_shown(approvers, requesters, words):
    sentence = of_tokens(approvers, requesters, ["mission_control"])
    assert words in sentence
    assert not any(each in sentence for each in (TOKEN[:31], OTHER[:20], "1" * 20))


def test_tokens_that_are_good():
    assert of_tokens({"alice": TOKEN, "b-o_b2": OTHER + "=="}, {"alice": "c" * 512}, ["mission_control"]) == ""


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*TOOL, "timeout_seconds", "enabled", "version"]), values, max_size=4))
def test_whatever_stands_in_a_tool_is_judged_by_a_sentence(more):
    assert all("\n" not in sentence for sentence in tool_problems([{**TOOL, **more}]))


@given(
    st.dictionaries(st.sampled_from([*POLICY, "tools", "conditions", "priority", "enabled"]), values, max_size=4),
    values,
)
def test_whatever_stands_in_a_policy_is_judged_by_a_sentence(more, conditions):
    assert all("\n" not in sentence for sentence in policy_problems([{**POLICY, "conditions": conditions, **more}]))
