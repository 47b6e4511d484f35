"""Inputs that several roles share, misspelt and renamed ones, in real plays: each host is given variables of its own."""

from __future__ import annotations

import pytest
from database_lab import ADMINISTRATOR_PASSWORD, prepare_cluster
from host_plays import run_on_hosts
from throwaway_cluster import ThrowawayCluster

# It only reads, so each host needs no more than a server.
PLAYBOOK = """
- name: Read the state by a role that is included
  hosts: all
  gather_facts: false
  tasks:
    - name: Read the state
      ansible.builtin.include_role:
        name: homelab.mission_control.mission_control_schema
        tasks_from: status
      vars: {given}

- name: Read the state by a role that is imported
  hosts: all
  gather_facts: false
  tasks:
    - name: Read the state
      ansible.builtin.import_role:
        name: homelab.mission_control.mission_control_schema
        tasks_from: status
      vars: {given}
"""
MODE = "mission_control_postgresql_mode"


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as cluster:
        prepare_cluster(cluster)
        yield cluster


@pytest.fixture(scope="module")
def login(cluster):
    """The login by its present names, of a database that is there in any case."""
    return {
        "mission_control_login_host": "127.0.0.1",
        "mission_control_login_port": cluster.port,
        "mission_control_login_password": ADMINISTRATOR_PASSWORD,
        "mission_control_database_name": "postgres",
    }


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Run both ways to use the role on hosts, with variables of the include."""

    def run(hosts, given="{}", **extra):
        home = tmp_path_factory.mktemp("play")
        (home / "play.yml").write_text(PLAYBOOK.format(given=given), encoding="utf-8")
        return run_on_hosts(home / "play.yml", hosts, home=home, variables=extra)

    return run


@pytest.fixture(scope="module")
def outcomes(play, login):
    old = {
        MODE: "existing",
        "mission_control_postgresql_login_host": "127.0.0.1",
        "mission_control_database_login_port": login["mission_control_login_port"],
        "mission_control_schema_login_password": ADMINISTRATOR_PASSWORD,
        "mission_control_schema_database": "postgres",
        "mission_control_service_budget_usd": "25",
    }
    own = {"mission_control_dashboard_url": "https://lab", "mission_control_backup_notes": "on the NAS"}
    secret = "hush-hush"
    names = ["new", "old", "misspelt", "contradiction", "bad"]
    hosts = [
        {**login, **own},
        old,
        {**login, "mission_control_backup_keepfull": 3},
        {**login, "mission_control_schema_login_password": secret},
        {**login, "mission_control_login_password": f"{secret}\n"},
    ]
    return dict(zip(names, play(hosts)))


def test_the_login_is_given_once_and_a_homelabs_own_variables_stay(outcomes):
    assert not outcomes["new"].failed, outcomes["new"].output


def test_old_names_are_in_force_and_each_is_said_to_be_renamed(outcomes):
    run = outcomes["old"]
    assert not run.failed, run.output
    output = " ".join(run.output.split())
    for old, new in {
        "mission_control_postgresql_login_host": "mission_control_login_host",
        "mission_control_database_login_port": "mission_control_login_port",
        "mission_control_schema_login_password": "mission_control_login_password",
        "mission_control_schema_database": "mission_control_database_name",
    }.items():
        assert f"[DEPRECATION WARNING]: The variable {old} is called {new} now." in output
    budget = "The variable mission_control_service_budget_usd is replaced by mission_control_schema_budgets."
    assert f"[DEPRECATION WARNING]: {budget}" in output
    assert "removed from collection 'homelab.mission_control' version 0.3.0" in output


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (
            "misspelt",
            "There is no variable mission_control_backup_keepfull: did you mean mission_control_backup_keep_full?",
        ),
        (
            "contradiction",
            "mission_control_schema_login_password is called mission_control_login_password now, which is one value for all roles, and it is set"
            " to another one: remove mission_control_schema_login_password.",
        ),
        ("bad", "The password in mission_control_login_password holds a line break or the character NUL."),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence_without_a_secret(outcomes, host, sentence):
    assert outcomes[host].failed
    assert outcomes[host].sentence == sentence
    assert "hush" not in outcomes[host].output


def test_variables_of_an_include_win_over_those_of_a_host_and_extra_ones_over_all(play, login):
    port = login["mission_control_login_port"]
    hosts = [{**login, "mission_control_login_port": 1, "right_port": port}]
    [included] = play(hosts, given="{mission_control_login_port: '{{ right_port }}'}")
    assert not included.failed, included.output
    [extra] = play(hosts, given="{mission_control_login_port: 1}", mission_control_login_port=port)
    assert not extra.failed, extra.output


def test_a_variable_that_has_no_value_is_named_and_not_shown(tmp_path):
    (tmp_path / "play.yml").write_text(
        """
- name: Check inputs
  hosts: all
  gather_facts: false
  tasks:
    - name: Validate the inputs
      homelab.mission_control.check_inputs:
        roles: [mission_control_schema]
""",
        encoding="utf-8",
    )
    hosts = [
        {"mission_control_schema_wait": "{{ nowhere }}"},
        {"mission_control_login_password": "{{ 'hush-hush' | no_such_filter }}"},
        {"mission_control_schema_prices": [{"input": "{{ 1 / 0 }}"}]},
    ]
    runs = run_on_hosts(tmp_path / "play.yml", hosts, home=tmp_path)
    for run, sentence in zip(
        runs,
        [
            "mission_control_schema_wait has no value, since a variable in it has none: 'nowhere' is undefined",
            "mission_control_login_password has no value, since the template in it cannot be evaluated: correct it where it is set.",
            "mission_control_schema_prices has no value, since the template in it cannot be evaluated: correct it where it is set.",
        ],
    ):
        assert run.failed
        assert run.sentence.startswith(sentence)
        assert "hush" not in run.output
