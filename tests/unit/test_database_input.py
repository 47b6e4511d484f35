"""Inputs of the database role are judged before a server is asked, by a sentence that names the variable."""

import copy

import pytest
from ansible_collections.homelab.mission_control.plugins.filter.database_input_problem import FilterModule
from hypothesis import given, settings
from hypothesis import strategies as st

judge = FilterModule().filters()["database_input_problem"]
GOOD = {
    "roles": {"owner_role": "o", "audit_role": "a", "user": "u", "readonly_role": "r", "monitor_role": "m"},
    "names": {"name": "mission_control", "schema": "public"},
    "others": {"login_user": "postgres", "administrator": ""},
    "allowed": [["schema", "public"]],
    "connection_limits": {"limit": 40},
    "times": {"time": "60s"},
    "ports": {"port": 5432},
    "numbers": {"number": [32, 16, 512]},
    "passwords": {"password": ""},
    "env_file": "",
    "env_values": {"password": "", "host": "localhost"},
    "texts": {"login_host": "", "locale": "C.UTF-8"},
    "lists": {"memberships": ["pg_monitor"]},
    "directories": {"directory": "~/.config/mission_control"},
    "privileges": [],
    "keys": ["owner", "audit", "application", "readonly", "monitor"],
}


def with_value(group, name, value):
    inputs = copy.deepcopy(GOOD)
    inputs[group][name] = value
    return inputs


def test_the_defaults_are_good():
    assert judge(GOOD) == ""


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a" * 64,
        "Upper",
        "with space",
        'with"quote',
        "with'quote",
        "9th",
        "$x",
        "dash-ed",
        "\u00fcber",
        "a\n",
        "a\0b",
        None,
        5,
        ["a"],
    ],
)
@pytest.mark.parametrize(
    ("group", "name"), [("roles", "user"), ("roles", "audit_role"), ("names", "name"), ("names", "schema")]
)
def test_a_name_that_needs_quoting_is_refused(group, name, value):
    assert judge(with_value(group, name, value)).startswith(f"{name} is ")


@pytest.mark.parametrize("value", ["pg_app", "public", "none", "postgres"])
def test_a_name_of_postgresql_is_refused(value):
    assert "keeps for itself" in judge(with_value("roles", "user", value))


def test_names_that_are_good():
    for value in ("a" * 63, "_x", "a$1"):
        assert judge(with_value("names", "name", value)) == ""


def test_two_roles_cannot_have_one_name():
    assert (
        judge(with_value("roles", "user", "o"))
        == "owner_role and user are both 'o', but the roles need different names."
    )
    assert "login_user is 'u'" in judge(with_value("others", "login_user", "u"))
    assert "administrator is 'a'" in judge(with_value("others", "administrator", "a"))


@pytest.mark.parametrize("value", [-2, 0, 262144, "many", None, True, 1.5, ""])
def test_a_limit_of_connections_that_makes_no_sense_is_refused(value):
    assert judge(with_value("connection_limits", "limit", value)).startswith("limit is ")


@pytest.mark.parametrize(
    "value", ["-1s", "-1", "60 parsecs", "", "s", "1e3", "25d", "2147483648", "1s; DROP", None, "\u0663s"]
)
def test_a_time_that_makes_no_sense_is_refused(value):
    assert judge(with_value("times", "time", value)).startswith("time is ")


@pytest.mark.parametrize("value", ["0", 0, 1500, "500ms", "1 min", "24d", "2147483647"])
def test_times_that_are_good(value):
    assert judge(with_value("times", "time", value)) == ""


@pytest.mark.parametrize("value", [0, 65536, -1, "x", None])
def test_a_port_that_makes_no_sense_is_refused(value):
    assert judge(with_value("ports", "port", value)).startswith("port is ")


@pytest.mark.parametrize("value", [15, 513, "x"])
def test_a_number_out_of_range_is_refused(value):
    assert "a whole number from 16 to 512" in judge(with_value("numbers", "number", [value, 16, 512]))


@pytest.mark.parametrize("value", ["secret\n", "sec\rret", "sec\0ret"])
def test_a_password_with_a_line_break_is_refused_without_showing_it(value):
    sentence = judge(with_value("passwords", "password", value))
    assert sentence.startswith("The password in password holds a line break")
    assert "sec" not in sentence.replace("password", "")


@pytest.mark.parametrize("path", ["relative.env", "/ends/with/", "/new\nline", None, 5, ["/a"], {"/a": 1}])
def test_an_env_file_needs_an_absolute_path(path):
    assert "absolute path" in judge({**GOOD, "env_file": path})


def test_a_password_that_an_env_file_cannot_hold_is_refused_only_with_an_env_file():
    inputs = with_value("env_values", "password", "it's")
    assert judge(inputs) == ""
    sentence = judge({**inputs, "env_file": "/etc/mission_control.env"})
    assert sentence.startswith("The value of password holds a single quote")
    assert "it's" not in sentence


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\x1b[31m", None, True, ["a"], {"a": "b"}, "x" * 1001, "\ud800"])
@pytest.mark.parametrize(("group", "name"), [("texts", "locale"), ("others", "administrator")])
def test_a_text_that_no_server_takes_is_refused(group, name, value):
    sentence = judge(with_value(group, name, value))
    assert sentence.startswith(f"{name} is ")
    assert len(sentence) < 400


@pytest.mark.parametrize("value", ["pg_monitor", "", None, {"pg_monitor": 1}, ["a\0b"], [""], [None]])
def test_what_is_no_list_of_texts_is_refused(value):
    assert "memberships" in judge(with_value("lists", "memberships", value))


@pytest.mark.parametrize("value", ["", "relative", "../up", "a\0b", None, ["/a"]])
def test_a_directory_needs_an_absolute_path(value):
    assert judge(with_value("directories", "directory", value)).startswith("directory is ")


@pytest.mark.parametrize("value", [None, True, ["secret"], {"secret": 1}, "\ud800secret"])
def test_a_password_that_is_no_text_is_refused_without_showing_it(value):
    sentence = judge(with_value("passwords", "password", value))
    assert sentence.startswith("The password in password ")
    assert "secret" not in sentence


GOOD_ENTRY = {"name": "reports", "kind": "table", "readonly": ["SELECT", "update (a, b)"]}


@pytest.mark.parametrize(
    "entry",
    [GOOD_ENTRY, {"name": "f(integer)", "kind": "function", "monitor": ["EXECUTE"], "comment": "why"}, {"name": "all"}],
)
def test_privileges_that_are_good(entry):
    assert judge({**GOOD, "privileges": [entry]}) == ""


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"readonly": ["SELECT ON reports TO PUBLIC; DROP TABLE hosts; --"]},
            "SELECT ON reports TO PUBLIC; DROP TABLE",
        ),
        ({"readonly": ["SELECT (a); DROP TABLE hosts; --"]}, "DROP TABLE hosts"),
        ({"readonly": ["SELECT ()"]}, "'SELECT ()'"),
        ({"readonly": ["DELETE (a)"]}, "'DELETE (a)'"),
        ({"readonly": ["ALL"]}, "'ALL'"),
        ({"readonly": ["EXECUTE"]}, "'EXECUTE'"),
        ({"kind": "sequence", "readonly": ["SELECT (a)"]}, "only tables and views have columns"),
        ({"readonly": "SELECT"}, "must be a list of privileges"),
        ({"readonly": [None]}, "has None for readonly"),
        ({"reader": ["SELECT"]}, "has the key 'reader'"),
        ({"kind": "tabel"}, "has the kind 'tabel'"),
        ({"kind": ["table"]}, "has the kind ['table']"),
        ({"name": ""}, "has no name"),
        ({"name": "a\0b"}, "has no name"),
    ],
)
def test_privileges_that_make_no_sense_are_refused(entry, words):
    sentence = judge({**GOOD, "privileges": [{"name": "ok"}, {**GOOD_ENTRY, **entry}]})
    assert sentence.startswith("Entry 2 of mission_control_database_privileges ")
    assert words in sentence


@pytest.mark.parametrize("value", ["SELECT", None, 5, ["SELECT"], [["SELECT"]]])
def test_privileges_that_are_no_list_of_mappings_are_refused(value):
    assert "mission_control_database_privileges" in judge({**GOOD, "privileges": value})


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(), max_size=2))


@settings(deadline=None, max_examples=500)
@given(
    group=st.sampled_from(
        [
            *("roles", "names", "others", "connection_limits", "times", "ports", "passwords", "env_values"),
            *("texts", "lists", "directories"),
        ]
    ),
    index=st.integers(0, 4),
    value=anything,
)
def test_whatever_is_given_the_answer_is_one_sentence(group, index, value):
    names = list(GOOD[group])
    sentence = judge({**with_value(group, names[index % len(names)], value), "env_file": "/a"})
    assert sentence == "" or (sentence.endswith(".") and "\n" not in sentence)
