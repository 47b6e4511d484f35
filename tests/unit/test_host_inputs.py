"""Servers in the inputs of all roles: one, or several by commas or as a list, with libpq's word for which of them is meant."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.checks import (
    host_problem,
    host_text,
    login_problems,
    session_attributes_problem,
)

LOGIN = {
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


def login_problem(**changes):
    return next(
        login_problems({**LOGIN, **{f"mission_control_login_{name}": value for name, value in changes.items()}}), ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ([], ""),
        ("db", "db"),
        (["db"], "db"),
        ("/run/postgresql", "/run/postgresql"),
        ("db-1,db-2", "db-1,db-2"),
        (["db-1", "192.168.20.5", "fd00::5"], "db-1,192.168.20.5,fd00::5"),
        (["db-1,db-2", "db-3"], "db-1,db-2,db-3"),
    ],
)
def test_one_server_or_several_are_taken(value, text):
    assert host_problem(value) == ""
    assert host_text(value) == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("db-1,,db-2", "is 'db-1,,db-2', which names several servers, one of them without a name: remove the comma or the entry too many"),
        ("db-1,", "is 'db-1,', which names several servers, one of them without a name"),
        (["db-1", ""], "is ['db-1', ''], which names several servers, one of them without a name"),
        ("db-1, db-2", "is 'db-1, db-2', but no name of a server has a space: separate several by commas alone"),
        ("/run/postgresql,db-2", "is '/run/postgresql,db-2', but several servers are reached by their names or addresses"),
        (["db-1", None], "is a list with an entry that is None, but it must be a text"),
        (["db-1", "db\n2"], "is a list with an entry that is 'db\\n2', which holds a character that cannot be printed"),
        ({"db": 1}, "is {'db': 1}, but it must be a text"),
        (True, "is True, but it must be a text"),
        ("db-1:5432,db-2:5432", "is 'db-1:5432,db-2:5432', but it is the name or the address alone: give the port"),
        ("postgresql://bob:secret@db-1/lab", "is a URL, but the name or the address of a server is needed"),
    ],
)  # fmt: skip
def test_what_is_no_server_is_named(value, words):
    assert host_problem(value).startswith(words)


@pytest.mark.parametrize("word", ["", "any", "primary", "read-write"])
def test_words_for_a_session_that_writes(word):
    assert session_attributes_problem(word) == ""


@pytest.mark.parametrize("word", ["standby", "read-only", "prefer-standby"])
def test_a_session_that_writes_is_on_no_standby(word):
    assert session_attributes_problem(word) == (
        f"is {word}, but a session that writes cannot be on a standby: set it to primary or read-write"
    )
    assert session_attributes_problem(word, writes=False) == ""


@pytest.mark.parametrize("word", ["readwrite", "master", None, 5, ["primary"], "Primary"])
def test_what_is_no_word_of_libpq_is_named_with_those_that_are(word):
    assert session_attributes_problem(word).endswith(
        ", but it must be any, primary or read-write, or '' for the default"
    )


def test_the_login_of_the_administrator_is_judged():
    assert login_problem(host=["db-1", "db-2"], target_session_attrs="primary") == ""
    assert login_problem(host="db-1,").startswith("mission_control_login_host is 'db-1,', which names several servers")
    assert login_problem(target_session_attrs="standby").startswith(
        "mission_control_login_target_session_attrs is standby"
    )
    assert login_problem(host="db-1,db-2", unix_socket="/run/postgresql") == (
        "mission_control_login_host is 'db-1,db-2', and several servers are reached over TCP: set mission_control_login_unix_socket to ''."
    )
