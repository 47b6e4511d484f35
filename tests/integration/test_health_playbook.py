"""playbooks/health.yml, which is also the end of site.yml: as the administrator, with the inputs of the other roles."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import NAMES
from database_lab import ADMINISTRATOR_PASSWORD
from host_plays import run_on_hosts
from playbook import ROOT, run_playbook

ALL = len(NAMES)
PLAYBOOK = Path("playbooks/health.yml")
MISSING = {"mission_control_database_name": "nothing_here"}
STRICT = {"mission_control_health_thresholds": {"connections_warn": 0}}
OF_ANOTHER_APPLICATION = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    "POSTGRES_PASSWORD": "of-another",
    "POSTGRES_SSLMODE": "require",
    "PGHOST": "127.0.0.1",
    "PGHOSTADDR": "127.0.0.1",
    "PGSERVICE": "other",
    "PGOPTIONS": "-c search_path=theirs",
    "DATABASE_URL": "postgresql://other@127.0.0.1:1/other",
    "MISSION_CONTROL_ENV_FILE": "/nowhere/of-another.env",
}


@pytest.fixture(scope="module")
def check(shared_database, tmp_path_factory):
    """A function that runs the playbook on one host for each of the given variables, all in one play."""
    place = {
        "mission_control_postgresql_mode": "existing",
        "mission_control_login_unix_socket": shared_database.cluster.socket_directory,
        "mission_control_postgresql_port": shared_database.cluster.port,
        "mission_control_login_become_user": "",
        "mission_control_database_name": shared_database.name,
    }

    def run(*cases, arguments=()):
        home = tmp_path_factory.mktemp("health")
        return run_on_hosts(PLAYBOOK, [{**place, **variables} for variables in cases], *arguments, home=home)

    return run


@pytest.fixture(scope="module")
def runs(check, shared_database):
    """What becomes of each case, as hosts of one play."""
    shared_database.session().run(f"ALTER ROLE postgres PASSWORD '{ADMINISTRATOR_PASSWORD}'")
    cases = {
        "healthy": {},
        "missing": MISSING,
        "strict": STRICT,
        "strict, fails on a warning": {**STRICT, "mission_control_health_fail_on": "warn"},
        "missing, never fails": {**MISSING, "mission_control_health_fail_on": "never"},
        "the primary": {"mission_control_health_expected_role": "primary"},
        "not the standby": {"mission_control_health_expected_role": "standby"},
        # The server listens at the second.
        "several hosts": {
            "mission_control_login_host": ["127.0.0.2", "127.0.0.1"],
            "mission_control_login_unix_socket": "",
            "mission_control_login_password": ADMINISTRATOR_PASSWORD,
        },
        "a wrong input": {"mission_control_health_fail_on": "sometimes"},
    }
    return dict(zip(cases, check(*cases.values())))


def test_it_says_that_the_database_is_healthy_and_changes_nothing(runs):
    run = runs["healthy"].succeeded()
    assert f"The database is healthy: {ALL - 3} of {ALL} checks passed, 3 not checked. No backup is set up" in run.told
    assert run.recap["changed"] == 0


def test_the_environment_of_another_application_does_not_count_and_the_tag_selects_it(check, monkeypatch):
    for name, value in OF_ANOTHER_APPLICATION.items():
        monkeypatch.setenv(name, value)
    (run,) = check({}, arguments=["--tags", "health"])
    assert f"{ALL - 3} of {ALL} checks passed" in run.succeeded().output


def test_another_tag_does_not_select_it(tmp_path):
    run = run_playbook(PLAYBOOK, {}, "--tags", "schema", home=tmp_path).succeeded()
    assert "PLAY [Check the health" in run.output
    assert "TASK" not in run.output


def test_it_fails_where_a_check_fails_with_all_that_was_found(runs):
    run = runs["missing"]
    assert run.failed
    assert 'database "nothing_here" does not exist' in run.sentence
    assert "stale_task_runs" in run.told
    assert "Traceback" not in run.output


def test_what_it_fails_on_can_be_set(runs):
    assert "health of the database is warn" in runs["strict"].succeeded().told
    assert runs["strict, fails on a warning"].failed
    assert "health of the database is fail" in runs["missing, never fails"].succeeded().told


def test_of_several_hosts_the_one_that_takes_writes_is_checked(runs):
    assert "The database is healthy" in runs["several hosts"].succeeded().told


def test_what_the_server_must_be_can_be_set(runs):
    assert "The database is healthy" in runs["the primary"].succeeded().told
    run = runs["not the standby"]
    assert run.failed
    assert "writable: The server is a primary, but a standby is expected" in run.told


def test_a_dry_run_where_nothing_is_yet_says_so_and_goes_on(check):
    missing, healthy = check(MISSING, {}, arguments=["--check"])
    assert "There is no database yet whose health could be checked." in missing.succeeded().told
    assert f"{ALL - 3} of {ALL} checks passed" in healthy.succeeded().told


def test_a_wrong_input_stops_it_with_a_sentence(runs):
    run = runs["a wrong input"]
    assert run.failed
    assert "value of mission_control_health_fail_on must be one of: fail, warn, never" in run.told


def test_it_is_the_end_of_site_yml():
    plays = yaml.safe_load((ROOT / "site.yml").read_text(encoding="utf-8"))
    assert plays[-1]["ansible.builtin.import_playbook"] == "playbooks/health.yml"
