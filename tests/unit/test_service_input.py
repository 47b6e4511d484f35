"""Wrong input of the service's role: one sentence that names it, and no secret."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.service import input_problem

TOKEN = "5f1c7e0d9a3b48e2"
PREFIX = "mission_control_service_"
INPUTS = {
    "mission_control_service_bind_address": "127.0.0.1",
    "mission_control_service_port": 3000,
    "mission_control_service_api_tokens": [TOKEN, "with.all-of_the~signs+and/two=="],
    "mission_control_service_refresh_tokens": {"home-assistant": "a-token-of-its-own"},
    "mission_control_service_environment": "production",
    "mission_control_service_budget_usd": "",
    "mission_control_service_threads": 8,
    "mission_control_service_connections_per_address": 256,
    "mission_control_service_pool_size": 10,
    "mission_control_service_health_cache_seconds": 5,
    "mission_control_service_statement_timeout": 5,
    "mission_control_service_graceful_timeout": 20,
    "mission_control_service_database_host": "localhost",
    "mission_control_service_database_target_session_attrs": "",
    "mission_control_service_database_port": 5432,
    "mission_control_database_name": "mission_control",
    "mission_control_database_service_role": "mission_control_service",
    "mission_control_service_database_ssl_mode": "prefer",
    "mission_control_service_database_ca_cert": "",
    "mission_control_database_service_password": "",
    "mission_control_service_user": "mission-control-service",
}


def problem(**changes) -> str:
    """What is said of inputs, which are written without the role's prefix where they have it."""
    return input_problem(
        {**INPUTS, **{name if name in INPUTS else f"{PREFIX}{name}": value for name, value in changes.items()}}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bind_address": "::1"},
        {"bind_address": "0.0.0.0"},
        {"port": "8080"},
        {"api_tokens": []},
        {"refresh_tokens": {}},
        {"budget_usd": "25"},
        {"budget_usd": "12.50"},
        {"health_cache_seconds": 0},
        {"environment": "the lab, 2nd floor"},
        {"mission_control_database_service_password": 'with "quotes", $dollars and #1'},
    ],
)
def test_good_input_is_no_problem(changes):
    assert problem(**changes) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bind_address": "everywhere"}, "bind_address is 'everywhere', but it must be an IP address such as"),
        ({"bind_address": "127.0.0.1:80"}, "must be an IP address"),
        ({"port": 80}, "port is 80, but it must be a whole number from 1024 to 65535, since the service has no right"),
        ({"port": "many"}, "port is 'many'"),
        ({"port": True}, "port is True"),
        ({"connections_per_address": 1}, "connections_per_address is 1, but it must be a whole number from 8 to 1000."),
        ({"threads": 0}, "threads is 0, but it must be a whole number from 2 to 64."),
        ({"pool_size": 101}, "pool_size is 101, but it must be a whole number from 3 to 100."),
        ({"statement_timeout": "5s"}, "statement_timeout is '5s'"),
        ({"budget_usd": "-1"}, "budget_usd is '-1', but it must be an amount above 0"),
        ({"budget_usd": "0"}, "budget_usd is '0'"),
        ({"budget_usd": "1e3"}, "budget_usd is '1e3'"),
        ({"user": "root"}, "user is 'root', but it must be the name of a user of its own"),
        ({"user": "Mission Control"}, "user is 'Mission Control'"),
        ({"environment": "it's"}, "mission_control_service_environment holds a single quote"),
        ({"environment": "x" * 101}, "with 101 characters, but 100 are the most."),
        (
            {"environment": "two\nlines"},
            "environment is 'two\\nlines', which holds a character that cannot be printed.",
        ),
        ({"environment": ["lab"]}, "environment is ['lab'], but it must be a text"),
        ({"database_ca_cert": True}, "database_ca_cert is True, but it must be a text"),
        ({"mission_control_database_name": "x" * 1001}, "with 1001 characters, but 1000 are the most."),
        ({"user": "x" * 1001}, "...,"),
        ({"environment": ""}, "environment is empty, but it is needed."),
        ({"database_host": ""}, "database_host is empty, but it is needed."),
        ({"database_host": ["a", ""]}, "database_host is ['a', ''], which names several servers, one of them"),
        ({"database_target_session_attrs": "read"}, "database_target_session_attrs is 'read', but it must be any,"),
    ],
)
def test_wrong_input_is_named(changes, words):
    assert words in problem(**changes)


def test_it_may_read_on_a_standby():
    assert problem(database_host=["a", "b"], database_target_session_attrs="prefer-standby") == ""


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["short"], "Token 1 in mission_control_service_api_tokens has 5 characters, but a token has 16 to 512"),
        ([TOKEN, "x" * 513], "Token 2 in mission_control_service_api_tokens has 513 characters"),
        (["sixteen and more characters"], "may hold letters, digits and - . _ ~ + / only"),
        (["line-one-of-this\nline-two-of-this"], "may hold letters"),
        ([12345678901234567890], "may hold letters"),
        ([TOKEN, TOKEN], "Token 2 in mission_control_service_api_tokens is there twice"),
    ],
)
def test_a_wrong_token_is_named_by_its_place_and_never_shown(tokens, words):
    sentence = problem(api_tokens=tokens)
    assert words in sentence
    assert not any(str(token) in sentence for token in tokens)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({"ci": "short"}, "Token 1 in mission_control_service_refresh_tokens has 5 characters"),
        ({"ci": TOKEN}, "Token 1 in mission_control_service_refresh_tokens is there twice"),
        (
            {"a": "one-token-of-two", "b": "one-token-of-two"},
            "Token 2 in mission_control_service_refresh_tokens is there twice",
        ),
        ({"ci": None}, "Token 1 in mission_control_service_refresh_tokens may hold"),
        # Name and token mixed up.
        ({"Zk4WdSz7PnTq9b": "ci"}, "Name 1 in mission_control_service_refresh_tokens may hold"),
        ({"5f1c7e0d9a3b48e2b1": "ci"}, "Token 1 in mission_control_service_refresh_tokens has 2 characters"),
        ({1: "one-token-of-two"}, "Name 1 in mission_control_service_refresh_tokens may hold"),
        ({"": "one-token-of-two"}, "Name 1 in mission_control_service_refresh_tokens may hold"),
    ],
)
def test_a_wrong_refresh_token_is_named_by_its_place_and_neither_name_nor_token_is_shown(tokens, words):
    sentence = problem(refresh_tokens=tokens)
    assert words in sentence
    secrets = [str(each) for pair in tokens.items() for each in pair if len(str(each)) > 4]
    assert not any(each in sentence for each in secrets)


@pytest.mark.parametrize("password", ["it's-a-secret", "back\\slash-secret", "two\nlines-secret"])
def test_a_password_that_an_env_file_cannot_hold_is_never_shown(password):
    sentence = problem(mission_control_database_service_password=password)
    assert sentence.startswith("The password in mission_control_database_service_password holds")
    assert sentence.endswith(".")
    assert "secret" not in sentence.replace("mission_control_database_service_password", "")
