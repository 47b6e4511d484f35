"""Inputs of the schema role are judged before a server is asked, by a sentence that names the variable."""

import copy
import datetime
import pathlib

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.schema import (
    input_problem as judge,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml import safe_load

PREFIX = "mission_control_schema_"
SEED = pathlib.Path(__file__).parents[2] / "files/sql/seed/provider_pricing.yml"
PRICE = {"provider": "openai", "model": "gpt-x", "input": "2.5", "output": 10}
GOOD = {
    "mission_control_database_name": "mission_control",
    "mission_control_database_schema": "public",
    "mission_control_database_owner_role": "mission_control_owner",
    "mission_control_database_audit_role": "mission_control_audit",
    "mission_control_schema_site_directory": "",
    "mission_control_schema_prices": [PRICE],
    "mission_control_schema_budgets": [],
    "mission_control_schema_tools": [],
    "mission_control_schema_policies": [],
    "mission_control_schema_tool_approvers": {},
    "mission_control_schema_tool_requesters": {},
    **{
        f"mission_control_database_{name}": name
        for name in (
            *("user", "readonly_role", "monitor_role", "service_role"),
            *("maintenance_role", "executor_role", "approver_role"),
        )
    },
    "mission_control_schema_lock_timeout": 5000,
    "mission_control_schema_wait": 120,
    "mission_control_schema_dump_directory": "",
    "mission_control_schema_dump_keep": 5,
    "mission_control_login_host": "",
    "mission_control_login_target_session_attrs": "",
    "mission_control_login_port": 5432,
    "mission_control_login_unix_socket": "",
    "mission_control_login_user": "postgres",
    "mission_control_login_password": "",
    "mission_control_login_ssl_mode": "prefer",
    "mission_control_login_ca_cert": "",
    "mission_control_login_become_user": "postgres",
}


def test_the_defaults_and_numbers_from_the_command_line_are_good():
    assert judge(GOOD) == ""
    texts = {"mission_control_login_port": "5432", f"{PREFIX}lock_timeout": "5000", f"{PREFIX}wait": "0"}
    assert judge({**GOOD, **texts, f"{PREFIX}dump_keep": "1"}) == ""


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mission_control_login_port", [0, 65536, "x", None, True]),
        (f"{PREFIX}lock_timeout", [0, -1, 2**31, "5s", 1.5]),
        (f"{PREFIX}wait", [-1, "soon", 86401]),
        (f"{PREFIX}dump_keep", [0, "all"]),
        ("mission_control_database_schema", ["", "a b", 'a"b', "a" * 64, "\u00fcber", None]),
        ("mission_control_database_owner_role", ["x'; DROP TABLE a; --", "mission_control_audit"]),
        ("mission_control_database_audit_role", ["A"]),
        ("mission_control_database_name", ["a\0b", "a\nb", None, ["a"]]),
        ("mission_control_login_host", [{"a": "b"}, "\x1b]0;x\x07"]),
        (f"{PREFIX}dump_directory", ["relative", "a\nb", None, ["/a"]]),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name, values):
    for value in values:
        sentence = judge({**GOOD, name: value})
        assert f"{name} " in sentence, value
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_a_password_is_refused_without_showing_it():
    sentence = judge({**GOOD, "mission_control_login_password": "top\nsecret"})
    assert sentence == "The password in mission_control_login_password holds a line break or the character NUL."


@pytest.mark.parametrize(
    "more",
    [
        {"input": 0, "output": "999999.999999"},
        {"input": 2.5, "cache_read": None, "reasoning": "1e-6"},
        {"valid_from": datetime.date(2026, 12, 1), "valid_to": "2027-01-01T00:00:00Z"},
        {"dated": True, "billing_mode": "flex", "audio_input": "4", "image_output": 0, "audio_cache_read": None},
        {"aliases": ["a", "b"], "billing_mode": "batch", "above_input_tokens": 200000, "local": False, "source": "x"},
    ],
)
def test_prices_that_are_good(more):
    assert judge({**GOOD, f"{PREFIX}prices": [{**PRICE, **more}]}) == ""


def test_the_prices_that_the_collection_brings_are_good():
    with open(SEED, encoding="utf-8") as file:
        assert judge({**GOOD, f"{PREFIX}prices": safe_load(file)["prices"]}) == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"input": -1}, "-1 for input"),
        ({"output": "1000000"}, "for output"),
        ({"output": "0.0000001"}, "at most 6 decimals"),
        ({"input": "NaN"}, "'NaN' for input"),
        ({"input": float("inf")}, "inf for input"),
        ({"input": True}, "True for input"),
        ({"input": "1_000"}, "'1_000' for input"),
        ({"input": [1]}, "[1] for input"),
        ({"input": None}, "has no input"),
        ({"provider": "Open AI"}, "has the provider 'Open AI'"),
        ({"model": ""}, "has no model"),
        ({"model": "a\0b"}, "has a model that is"),
        ({"aliases": "a"}, "for aliases"),
        ({"aliases": [["a"]]}, "for aliases"),
        ({"billing_mode": "cheap"}, "the billing_mode 'cheap'"),
        ({"billing_mode": ["batch"]}, "the billing_mode ['batch']"),
        ({"above_input_tokens": -1}, "-1 for above_input_tokens"),
        ({"above_input_tokens": 2**63}, "for above_input_tokens"),
        ({"local": "yes"}, "'yes' for local"),
        ({"dated": "yes"}, "'yes' for dated"),
        ({"image_input": "-1"}, "'-1' for image_input"),
        ({"cache_raed": 1}, "has the key 'cache_raed', which a price does not have; did you mean 'cache_read'?"),
        ({"valid_from": "tomorrow"}, "'tomorrow' for valid_from"),
        ({"valid_to": {"a": 1}}, "for valid_to"),
        ({"price": 1}, "has the key 'price'"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(more, words):
    sentence = judge({**GOOD, f"{PREFIX}prices": [PRICE, {**PRICE, **more}]})
    assert sentence.startswith("Entry 2 of mission_control_schema_prices ")
    assert words in sentence


BUDGET = {"name": "all", "usd": 100}


@pytest.mark.parametrize(
    "budgets",
    [
        [],
        [
            BUDGET,
            {
                **BUDGET,
                "name": "agent",
                "usd": "0.000001",
                "provider": "claude",
                "model": "m",
                "project": "p",
                "agent": "a",
            },
        ],
        [{**BUDGET, "usd": 99_999_999.5, "project": None}],
    ],
)
def test_budgets_that_are_good(budgets):
    assert judge({**GOOD, f"{PREFIX}budgets": budgets}) == ""


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("x", "Entry 2 of mission_control_schema_budgets is 'x', but it must be a mapping with a name and usd."),
        ({**BUDGET, "name": ""}, "has no name"),
        ({**BUDGET, "name": "a\nb"}, "has a name that is"),
        ({"name": "a"}, "has None for usd"),
        ({**BUDGET, "usd": 0}, "has 0 for usd, but a budget is USD per month, above 0"),
        ({**BUDGET, "usd": "100000000"}, "for usd"),
        ({**BUDGET, "usd": "1.0000001"}, "for usd"),
        ({**BUDGET, "usd": True}, "True for usd"),
        ({**BUDGET, "provider": "Open AI"}, "has the provider 'Open AI'"),
        ({**BUDGET, "agent": " "}, "has an empty agent"),
        ({**BUDGET, "projekt": "a"}, "has the key 'projekt', which a budget does not have; did you mean 'project'?"),
        ({**BUDGET, "usd": "2"}, "Two entries of mission_control_schema_budgets are called 'all'"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(entry, words):
    assert words in judge({**GOOD, f"{PREFIX}budgets": [BUDGET, entry]})


@pytest.mark.parametrize("prices", [None, "cheap", {"provider": "x"}, ["x"], [["x"]], 5])
def test_prices_that_are_no_list_of_mappings_are_refused(prices):
    assert "mission_control_schema_prices" in judge({**GOOD, f"{PREFIX}prices": prices})


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(), inner, max_size=2)),
    max_leaves=4,
)


@settings(deadline=None, max_examples=500)
@given(name=st.sampled_from(sorted(GOOD)), value=anything)
def test_whatever_is_given_the_answer_is_one_sentence(name, value):
    sentence = judge({**copy.deepcopy(GOOD), name: value})
    assert sentence == "" or (sentence.endswith(".") and "\n" not in sentence)


@settings(deadline=None, max_examples=500)
@given(changes=st.dictionaries(st.sampled_from(sorted({*PRICE, "aliases", "valid_to", "local", "x"})), anything))
def test_whatever_a_price_is_the_answer_is_one_sentence(changes):
    sentence = judge({**GOOD, f"{PREFIX}prices": [{**PRICE, **changes}]})
    assert sentence == "" or (sentence.endswith(".") and "\n" not in sentence)
