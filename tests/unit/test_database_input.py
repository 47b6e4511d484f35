"""Inputs of the database role are judged before a server is asked, by a sentence that names the variable."""

import pathlib

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.database import (
    ROLE_KEYS,
    input_problem,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PREFIX = "mission_control_database_"
VARIABLES = pathlib.Path(__file__).parents[2] / "roles/mission_control_database/vars/main.yml"
ROLES = (
    "owner_role",
    "audit_role",
    "user",
    "readonly_role",
    "monitor_role",
    "service_role",
    "maintenance_role",
    "executor_role",
    "approver_role",
)
LOGINS = ("", "readonly_", "monitor_", "service_", "maintenance_", "executor_", "approver_")
GOOD = {
    **{f"{PREFIX}{name}": name for name in ROLES},
    f"{PREFIX}name": "mission_control",
    f"{PREFIX}schema": "public",
    "mission_control_login_host": "",
    "mission_control_login_target_session_attrs": "",
    "mission_control_login_port": 5432,
    "mission_control_login_unix_socket": "",
    "mission_control_login_user": "postgres",
    "mission_control_login_password": "",
    "mission_control_login_db": "postgres",
    "mission_control_login_ssl_mode": "prefer",
    "mission_control_login_ca_cert": "",
    "mission_control_login_become_user": "postgres",
    f"{PREFIX}administrator": "",
    f"{PREFIX}locale": "C.UTF-8",
    f"{PREFIX}tablespace": "",
    f"{PREFIX}reporting_time_zone": "UTC",
    f"{PREFIX}lock_timeout": "10s",
    **{f"{PREFIX}{login}connection_limit": 40 for login in LOGINS},
    **{f"{PREFIX}{login}statement_timeout": "60s" for login in LOGINS},
    **{f"{PREFIX}{login}idle_in_transaction_session_timeout": "60s" for login in LOGINS},
    **{f"{PREFIX}{login}password": "" for login in LOGINS},
    f"{PREFIX}monitor_memberships": ["pg_monitor"],
    f"{PREFIX}service_memberships": [],
    f"{PREFIX}password_directory": "~/.config/mission_control",
    f"{PREFIX}password_length": 32,
    f"{PREFIX}lock_wait": 60,
    f"{PREFIX}env_file": "",
    f"{PREFIX}env_file_owner": "root",
    f"{PREFIX}env_file_group": "root",
    f"{PREFIX}env_file_host": "localhost",
    f"{PREFIX}env_file_target_session_attrs": "",
    f"{PREFIX}env_file_port": 5432,
    f"{PREFIX}remove_confirm": "",
    f"{PREFIX}remove_dump": "",
    f"{PREFIX}privileges": [],
}


def judge(**changes):
    """What is said of inputs, which are written without the role's prefix where they have it."""
    return input_problem(
        {**GOOD, **{name if name in GOOD else f"{PREFIX}{name}": value for name, value in changes.items()}}
    )


def test_the_defaults_are_good():
    assert judge() == ""


def test_roles_are_called_in_privileges_as_the_plan_calls_them():
    roles = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))["__mission_control_database_wanted"]["roles"]
    assert tuple(role["key"] for role in roles) == ROLE_KEYS


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
@pytest.mark.parametrize("name", ["user", "audit_role", "name", "schema"])
def test_a_name_that_needs_quoting_is_refused(name, value):
    assert judge(**{name: value}).startswith(f"{PREFIX}{name} is ")


@pytest.mark.parametrize("value", ["pg_app", "public", "none", "postgres"])
def test_a_name_of_postgresql_is_refused(value):
    assert "keeps for itself" in judge(user=value)


def test_names_that_are_good():
    for value in ("a" * 63, "_x", "a$1"):
        assert judge(name=value) == ""


def test_two_roles_cannot_have_one_name():
    assert (
        judge(user="owner_role")
        == f"{PREFIX}owner_role and {PREFIX}user are both 'owner_role', but the roles need different names."
    )
    assert "mission_control_login_user is 'user'" in judge(mission_control_login_user="user")
    assert "administrator is 'audit_role'" in judge(administrator="audit_role")


def test_no_role_is_listed_as_a_member_of_one_that_decides():
    for name in ("owner_role", "audit_role", "executor_role", "approver_role"):
        assert judge(service_memberships=["pg_monitor", name]) == (
            f"{PREFIX}service_memberships lists {name!r}, the role of {PREFIX}{name}, of which no other role may be a member: remove it."
        )
    assert judge(monitor_memberships=["pg_monitor", "readonly_role"]) == ""


@pytest.mark.parametrize("value", [-2, 0, 262144, "many", None, True, 1.5, ""])
def test_a_limit_of_connections_that_makes_no_sense_is_refused(value):
    assert judge(readonly_connection_limit=value).startswith(f"{PREFIX}readonly_connection_limit is ")


@pytest.mark.parametrize(
    "value", ["-1s", "-1", "60 parsecs", "", "s", "1e3", "25d", "2147483648", "1s; DROP", None, "\u0663s"]
)
def test_a_time_that_makes_no_sense_is_refused(value):
    assert judge(service_statement_timeout=value).startswith(f"{PREFIX}service_statement_timeout is ")


@pytest.mark.parametrize("value", ["0", 0, 1500, "500ms", "1 min", "24d", "2147483647"])
def test_times_that_are_good(value):
    assert judge(service_statement_timeout=value) == ""


@pytest.mark.parametrize("value", [0, 65536, -1, "x", None])
def test_a_port_that_makes_no_sense_is_refused(value):
    assert judge(env_file_port=value).startswith(f"{PREFIX}env_file_port is ")


@pytest.mark.parametrize("value", [15, 513, "x"])
def test_a_number_out_of_range_is_refused(value):
    assert "a whole number from 16 to 512" in judge(password_length=value)


@pytest.mark.parametrize("value", ["secret\n", "sec\rret", "sec\0ret"])
def test_a_password_with_a_line_break_is_refused_without_showing_it(value):
    sentence = judge(monitor_password=value)
    assert sentence.startswith(f"The password in {PREFIX}monitor_password holds a line break")
    assert "sec" not in sentence


@pytest.mark.parametrize("path", ["relative.env", "/ends/with/", "/new\nline", None, 5, ["/a"], {"/a": 1}])
def test_an_env_file_needs_an_absolute_path(path):
    assert "absolute path" in judge(env_file=path)


def test_an_application_may_be_told_of_several_servers_and_read_on_a_standby():
    assert judge(env_file="/etc/x", env_file_host=["a", "b"], env_file_target_session_attrs="prefer-standby") == ""
    assert judge(env_file_host="a,").startswith(f"{PREFIX}env_file_host is 'a,', which names several servers, one of")
    assert judge(env_file_target_session_attrs="fast").startswith(
        f"{PREFIX}env_file_target_session_attrs is 'fast', but"
    )
    assert "env_file_host holds a single quote" in judge(env_file="/etc/x", env_file_host=["a", "it's"])


def test_a_password_that_an_env_file_cannot_hold_is_refused_only_with_an_env_file():
    assert judge(password="it's") == ""
    sentence = judge(password="it's", env_file="/etc/mission_control.env")
    assert sentence.startswith(f"The value of {PREFIX}password holds a single quote")
    assert "it's" not in sentence


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\x1b[31m", None, True, ["a"], {"a": "b"}, "x" * 1001, "\ud800"])
@pytest.mark.parametrize("name", ["locale", "administrator"])
def test_a_text_that_no_server_takes_is_refused(name, value):
    sentence = judge(**{name: value})
    assert sentence.startswith(f"{PREFIX}{name} is ")
    assert len(sentence) < 400


@pytest.mark.parametrize("value", ["pg_monitor", "", None, {"pg_monitor": 1}, ["a\0b"], [""], [None]])
def test_what_is_no_list_of_texts_is_refused(value):
    assert f"{PREFIX}monitor_memberships" in judge(monitor_memberships=value)


@pytest.mark.parametrize("value", ["", "relative", "../up", "a\0b", None, ["/a"]])
def test_a_directory_needs_an_absolute_path(value):
    assert judge(password_directory=value).startswith(f"{PREFIX}password_directory is ")


@pytest.mark.parametrize("value", [None, True, ["secret"], {"secret": 1}, "\ud800secret"])
def test_a_password_that_is_no_text_is_refused_without_showing_it(value):
    sentence = judge(monitor_password=value)
    assert sentence.startswith(f"The password in {PREFIX}monitor_password ")
    assert "secret" not in sentence


GOOD_ENTRY = {"name": "reports", "kind": "table", "readonly": ["SELECT", "update (a, b)"]}


@pytest.mark.parametrize(
    "entry",
    [GOOD_ENTRY, {"name": "f(integer)", "kind": "function", "monitor": ["EXECUTE"], "comment": "why"}, {"name": "all"}],
)
def test_privileges_that_are_good(entry):
    assert judge(privileges=[entry]) == ""


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
    sentence = judge(privileges=[{"name": "ok"}, {**GOOD_ENTRY, **entry}])
    assert sentence.startswith("Entry 2 of mission_control_database_privileges ")
    assert words in sentence


@pytest.mark.parametrize("value", ["SELECT", None, 5, ["SELECT"], [["SELECT"]]])
def test_privileges_that_are_no_list_of_mappings_are_refused(value):
    assert "mission_control_database_privileges" in judge(privileges=value)


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(), max_size=2))


@settings(deadline=None, max_examples=500)
@given(name=st.sampled_from(sorted(GOOD)), value=anything)
def test_whatever_is_given_the_answer_is_one_sentence(name, value):
    sentence = judge(**{f"{PREFIX}env_file": "/a", name: value})
    assert sentence == "" or (sentence.endswith(".") and "\n" not in sentence)
