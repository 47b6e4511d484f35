"""Which variables there are, which are misspelt and which were renamed."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs import role_variables
from hypothesis import given
from hypothesis import strategies as st

ROLES = pathlib.Path(__file__).parents[2] / "roles"
OPTIONS = role_variables.options_of_roles(ROLES)
KNOWN = set().union(*OPTIONS.values())
# Names that a homelab may give to its own variables, and names for other ends.
OWN = [
    "mission_control_dashboard_url",
    "mission_control_backup_notes",
    "mission_control_service_host",
    "mission_control_service_url",
    "mission_control_servers",
    "mission_control_hosts",
    "mission_control_database_readonly",
    "__mission_control_backup_stanzas",
    "backup_keepfull",
    *role_variables.RESULTS,
]
SPECS = {
    role: yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    for role in OPTIONS
}


def said(*names):
    return role_variables.misspelling_problem(names, KNOWN)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("backup_keepfull", "backup_keep_full"),
        ("backup_keep_ful", "backup_keep_full"),
        ("service_api_token", "service_api_tokens"),
        ("postgres_port", "postgresql_port"),
        ("login_hots", "login_host"),
        ("databse_name", "database_name"),
        ("postgresql_repository_url", "postgresql_repository_uri"),
        ("postgresql_tsl", "postgresql_tls"),
        ("health_failon", "health_fail_on"),
        # An old name that is misspelt is answered by the new one.
        ("schema_login_pasword", "login_password"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(name, meant):
    sentence = f"There is no variable mission_control_{name}: did you mean mission_control_{meant}?"
    assert said("ansible_host", f"mission_control_{name}", "mission_control_login_user") == sentence


def test_the_homelabs_own_variables_and_all_known_ones_stay():
    assert said(*OWN, *KNOWN, *role_variables.RENAMED) == ""


@given(name=st.sampled_from(sorted(KNOWN)), data=st.data())
def test_a_doubled_letter_is_seen_wherever_it_is(name, data):
    place = data.draw(st.integers(len(role_variables.PREFIX), len(name) - 1))
    doubled = name[:place] + name[place : place + 1] + name[place:]
    assert said(doubled).startswith(f"There is no variable {doubled}: did you mean ")


@pytest.mark.parametrize("role", sorted(OPTIONS))
def test_the_options_are_those_of_the_argument_specs(role):
    assert OPTIONS[role] == {name for entry in SPECS[role].values() for name in entry["options"]}


def test_an_option_of_several_roles_is_described_in_the_same_words():
    described = {}
    for entries in SPECS.values():
        for entry in entries.values():
            for name, option in entry["options"].items():
                assert described.setdefault(name, option) == option


def test_every_old_name_is_gone_but_where_its_value_is_taken():
    assert not KNOWN & role_variables.RENAMED.keys()
    assert set(role_variables.RENAMED.values()) <= KNOWN
    defaults = yaml.safe_load((ROLES / "mission_control_common/defaults/main.yml").read_text(encoding="utf-8"))
    for old, new in role_variables.RENAMED.items():
        assert re.search(rf"\b{old}\b", str(defaults[new])), (old, new)
    old_names = re.compile(rf"\b({'|'.join(role_variables.RENAMED)})\b")
    for path in ROLES.glob("*/*/*"):
        if path.is_file() and "mission_control_common/defaults" not in str(path):
            assert not old_names.search(path.read_text(encoding="utf-8")), path


def test_an_old_name_that_contradicts_is_refused_without_showing_a_value():
    old, new = "mission_control_schema_login_password", "mission_control_login_password"
    assert role_variables.rename_problem({old: "one", new: "one"}) == ""
    sentence = role_variables.rename_problem({old: "secret", new: "hidden"})
    assert sentence.startswith(f"{old} is called {new} now")
    assert not re.search("secret|hidden", sentence)


def test_a_check_outside_of_its_role_is_a_sentence():
    assert role_variables.input_problem("mission_control_schema", {}).endswith("brings the defaults.")
