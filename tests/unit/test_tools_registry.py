"""The tools that every database gets are right, and what is said about operations, schemas and arguments that are not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mission_control.tools.operations import (
    OPERATIONS,
    RISK_LEVELS,
    call_problems,
    find_operation,
    operation_problem,
    with_defaults,
)
from mission_control.tools.schemas import SchemaLibraryError, argument_problems, schema_problems

ROOT = Path(__file__).parents[2]
SEED = {each["name"]: each for each in yaml.safe_load((ROOT / "files/tools.yml").read_text(encoding="utf-8"))["tools"]}
KEYS = {
    "name",
    "description",
    "arguments_schema",
    "risk_level",
    "connector",
    "operation",
    "preset",
    "timeout_seconds",
} | {
    "output_limit_bytes",
    "approval_seconds",
    "version",
    "enabled",
}
SOURCE = {"source": "lab"}
DEPLOYMENT = {"source": "lab", "namespace": "media", "deployment": "web"}
TERMS = "The argument label_selector must hold terms such as app=web, app!=web, app or !app, with commas between them."
MANY = "The argument label_selector has 11 terms, and 10 are the most."
PATTERN = "The argument namespace must match the pattern '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$', and have 2000 characters at most."
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=10), each, max_size=4),
    max_leaves=12,
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "$ref",
        "$defs",
        "allOf",
        "anyOf",
        "not",
        "pattern",
        "enum",
        "const",
        "minimum",
        "maxLength",
        "additionalProperties",
        "patternProperties",
        "uniqueItems",
        "if",
        "then",
        "else",
        "dependentSchemas",
        "prefixItems",
        "contains",
        "unevaluatedProperties",
    ]
)
SCHEMAS = st.recursive(
    JSON | st.sampled_from(["string", "object", "array", "#", "#/$defs/a", "a+", "(a+)+$"]),
    lambda each: st.dictionaries(KEYWORDS, each, max_size=4) | st.lists(each, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize("name", SEED)
def test_each_tool_of_the_seed_is_right(name):
    tool = SEED[name]
    assert not set(tool) - KEYS
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,62}", name)
    assert tool["description"].endswith(".")
    assert operation_problem(tool["connector"], tool["operation"], tool["risk_level"]) == ""
    assert schema_problems(tool["arguments_schema"]) == []
    assert 1 <= tool.get("timeout_seconds", 60) <= 3600
    assert 1024 <= tool.get("output_limit_bytes", 65_536) <= 1 << 20
    # Whoever may give an argument finds it judged, and nothing that the operation needs cannot be given.
    operation = find_operation(tool["connector"], tool["operation"])
    known = operation.known_arguments()
    assert set(tool["arguments_schema"]["properties"]) <= set(known)
    needed = {each for each, argument in known.items() if argument.required}
    assert needed == set(tool["arguments_schema"].get("required", []))


def test_the_seed_has_each_operation_once():
    assert sorted(f"{each['connector']}.{each['operation']}" for each in SEED.values()) == sorted(OPERATIONS)


@pytest.mark.parametrize(
    ("connector", "operation", "risk_level", "sentence"),
    [
        (
            "kubernets",
            "pod_logs",
            "READ_ONLY",
            "There is no connector 'kubernets' among docker, kubernetes, mission_control, prometheus, proxmox; did you mean 'kubernetes'?",
        ),
        (
            "docker",
            "container_log",
            "READ_ONLY",
            "The connector docker has no operation 'container_log' among list_containers, container_logs, restart_container; "
            "did you mean 'container_logs'?",
        ),
        (
            None,
            None,
            "READ_ONLY",
            "There is no connector None among docker, kubernetes, mission_control, prometheus, proxmox.",
        ),
        (
            "docker",
            "container_logs",
            "SAFE",
            "The risk level is 'SAFE', but there are READ_ONLY, SAFE_MUTATE, DESTRUCTIVE.",
        ),
        (
            "docker",
            "restart_container",
            "READ_ONLY",
            "The risk level is READ_ONLY, but docker.restart_container is SAFE_MUTATE: give the tool this level or a higher one.",
        ),
        ("docker", "restart_container", "DESTRUCTIVE", ""),
    ],
)
def test_an_operation_that_a_tool_cannot_have_is_named(connector, operation, risk_level, sentence):
    assert operation_problem(connector, operation, risk_level) == sentence


@pytest.mark.parametrize(
    ("operation", "arguments", "sentences"),
    [
        ("kubernetes.restart_deployment", DEPLOYMENT, []),
        ("kubernetes.restart_deployment", SOURCE, [
            "The argument namespace is missing: give the name of a namespace.",
            "The argument deployment is missing: give the name of a deployment.",
        ]),
        ("kubernetes.restart_deployment", {**DEPLOYMENT, "replicas": 0}, ["There is no argument 'replicas'."]),
        ("kubernetes.restart_deployment", {**DEPLOYMENT, "namespace": "../kube-system"}, ["The argument namespace must be the name of a namespace."]),
        ("kubernetes.restart_deployment", {**DEPLOYMENT, "deployment": "web/scale"}, ["The argument deployment must be the name of a deployment."]),
        ("kubernetes.restart_deployment", {**DEPLOYMENT, "deployment": "web\n"}, ["The argument deployment must be the name of a deployment."]),
        ("kubernetes.restart_deployment", {**DEPLOYMENT, "source": "LAB"}, ["The argument source must be the name of a source, such as lab."]),
        ("kubernetes.list_deployments", {**SOURCE, "label_selector": "app=web,tier!=cache,!old,example.org/x"}, []),
        ("kubernetes.list_deployments", {**SOURCE, "label_selector": "app=web&limit=1"}, [TERMS]),
        ("kubernetes.list_deployments", {**SOURCE, "label_selector": "a,b,c,d,e,f,g,h,i,j,k"}, [MANY]),
        ("docker.container_logs", {**SOURCE, "container": "web", "tail_lines": 5000.0}, []),
        ("docker.container_logs", {**SOURCE, "container": "web", "tail_lines": True}, ["The argument tail_lines must be a whole number from 1 to 5000."]),
        ("docker.container_logs", {**SOURCE, "container": "a" * 300}, ["The argument container has 300 characters, and 253 are the most."]),
        ("docker.list_containers", {**SOURCE, "all": "yes"}, ["The argument all must be true or false."]),
        ("proxmox.start_guest", {**SOURCE, "vmid": 99}, ["The argument vmid must be a whole number from 100 to 999999999."]),
        ("proxmox.list_guests", {**SOURCE, "type": "vm"}, ["The argument type must be one of qemu, lxc."]),
        ("prometheus.query", {**SOURCE, "query": "up\0"}, ["The argument query holds a character that cannot be printed."]),
        ("mission_control.list_hosts", {"source": "lab", "status": "online"}, []),
        ("mission_control.show_health", SOURCE, ["There is no argument 'source'."]),
    ],
)  # fmt: skip
def test_arguments_that_an_operation_cannot_take_are_named(operation, arguments, sentences):
    assert call_problems(OPERATIONS[operation], arguments) == sentences


@given(
    operation=st.sampled_from(sorted(OPERATIONS)),
    arguments=st.dictionaries(
        st.sampled_from(sorted({name for each in OPERATIONS.values() for name in each.known_arguments()}))
        | st.text(max_size=10),
        JSON | st.text(max_size=300),
        max_size=5,
    ),
)
def test_arguments_of_any_kind_are_judged_in_sentences(operation, arguments):
    problems = call_problems(OPERATIONS[operation], arguments)
    assert len(problems) <= 10
    assert all(each.endswith((".", "?")) and len(each) < 400 for each in problems)
    if not problems:
        for name in ("namespace", "deployment", "pod", "container", "node"):
            # None of them can become more than one step of a path.
            if name in OPERATIONS[operation].arguments and OPERATIONS[operation].arguments[name].form:
                assert not set(str(arguments.get(name, "a"))) & set("/?#%&\\ \n")
                assert arguments.get(name) not in (".", "..")


@pytest.mark.parametrize(
    ("schema", "beginning"),
    [
        ([], "The schema must be an object"),
        ({"type": "array"}, "The schema must have the type object"),
        ({"type": "objekt"}, "The schema must have the type object"),
        ({"properties": {"a": {"type": "texts"}}}, "The schema is none of draft 2020-12: what stands at #/properties/a/type"),
        ({"required": "a"}, "The schema is none of draft 2020-12: what stands at #/required"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "The schema names another draft"),
        ({"$id": "https://example.org/x"}, "The schema has $id"),
        ({"allOf": [{"$dynamicRef": "#x"}]}, "The schema has $dynamicRef"),
        ({"properties": {"a": {"$ref": "https://example.org/x"}}}, "The schema refers to 'https://example.org/x', but only a part"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "The schema refers to 'file:///etc/passwd', but only a part"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "The schema refers to '#/$defs/b', which it does not have."),
        ({"$ref": "#"}, "The schema refers to itself without an end"),
        ({"properties": {"a": {"pattern": "("}}}, "The schema has the pattern '(', which is no regular expression."),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, "The schema has the pattern '^(a+)+$', which a text could make run"),
        ({"properties": {"a": {"pattern": "^(a|a)*$"}}}, "The schema has the pattern '^(a|a)*$', which a text could make run"),
        ({"properties": {"a": {"pattern": "a*a*a*b"}}}, "The schema has the pattern 'a*a*a*b', which a text could make run"),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, r"The schema has the pattern '(a)\\1', which a text could make run"),
        ({"patternProperties": {"(?=a)a": {}}}, "The schema has the pattern '(?=a)a', which a text could make run"),
        ({"properties": {"a": {"pattern": "a" * 501}}}, "The schema has a pattern of 501 characters"),
        ({"description": "a" * 70_000}, "The schema has 70019 characters"),
        ({"const": {1}}, "The schema holds something that is no JSON."),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_is_named(schema, beginning):
    problems = schema_problems(schema)
    assert problems
    assert problems[0].startswith(beginning)


def test_a_property_may_be_called_like_a_keyword():
    schema = {"properties": {"$id": {"type": "string"}, "pattern": {"type": "string"}, "$ref": {"const": "("}}}
    assert schema_problems(schema) == []
    assert argument_problems(schema, {"pattern": "("}) == []


def test_a_schema_that_is_too_deep_is_named():
    schema = {}
    for _level in range(40):
        schema = {"properties": {"a": schema}}
    assert schema_problems(schema) == ["The schema is nested more than 32 levels deep."]


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (DEPLOYMENT, []),
        ([], ["The arguments must be an object, with a value for each name."]),
        (SOURCE, ["The argument namespace is missing.", "The argument deployment is missing."]),
        ({**DEPLOYMENT, "force": True}, ["There is no argument force."]),
        ({**DEPLOYMENT, "deployment": 5}, ["The argument deployment must be a text."]),
        ({**DEPLOYMENT, "deployment": ""}, ["The argument deployment must have 1 characters or more."]),
        ({**DEPLOYMENT, "namespace": "hunter2!"}, [PATTERN]),
        ({**DEPLOYMENT, "namespace": "a" * 3000}, [PATTERN]),
        ({**DEPLOYMENT, "deployment": float("nan")}, ["The arguments hold something that is no JSON."]),
        ({**DEPLOYMENT, "deployment": "a" * 70_000}, ["The arguments have 70057 characters as JSON, and 65536 are the most."]),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_named(arguments, sentences):
    assert argument_problems(SEED["restart_k8s_deployment"]["arguments_schema"], arguments) == sentences


@settings(deadline=None)
@given(schema=SCHEMAS, arguments=st.dictionaries(st.text(max_size=10), JSON, max_size=4))
def test_schemas_and_arguments_of_any_kind_are_judged_in_sentences(schema, arguments):
    problems = schema_problems(schema)
    assert len(problems) <= 10
    assert all(each.startswith("The schema ") and each.endswith(".") and len(each) < 500 for each in problems)
    if isinstance(schema, dict):
        # Also against a schema that nobody has judged.
        assert all(each.endswith(".") and len(each) < 500 for each in argument_problems(schema, arguments))


def test_the_library_that_is_missing_is_named(monkeypatch):
    from mission_control.tools import schemas

    schemas._validator.cache_clear()
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(SchemaLibraryError, match="python3-jsonschema"):
        argument_problems({}, {})


def test_risk_levels_are_in_the_order_of_what_they_may_break():
    assert RISK_LEVELS == ("READ_ONLY", "SAFE_MUTATE", "DESTRUCTIVE")


def test_a_whole_number_is_one_however_json_writes_it():
    operation = OPERATIONS["docker.container_logs"]
    given = with_defaults(operation, {"source": "lab", "container": "web", "tail_lines": 5.0})
    assert repr(given) == repr({"container": "web", "tail_lines": 5, "since_seconds": None})
