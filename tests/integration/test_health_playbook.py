"""playbooks/health.yml, which is also the end of site.yml: as the administrator, with the inputs of the other roles."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import NAMES
from playbook import ROOT, run_playbook

ALL = len(NAMES)


@pytest.fixture
def check(shared_database, tmp_path):
    def run(*arguments, playbook="playbooks/health.yml", **variables):
        place = {
            "mission_control_postgresql_mode": "existing",
            "mission_control_postgresql_login_unix_socket": shared_database.cluster.socket_directory,
            "mission_control_postgresql_port": shared_database.cluster.port,
            "mission_control_postgresql_become_user": "",
            "mission_control_database_name": shared_database.name,
        }
        return run_playbook(playbook, {**place, **variables}, *arguments, home=tmp_path)

    return run


def test_it_says_that_the_database_is_healthy_and_changes_nothing(check):
    run = check().succeeded()
    said = f"The database is healthy: {ALL - 1} of {ALL} checks passed, 1 not checked. No backup is set up"
    assert said in " ".join(run.output.split())
    assert run.recap["changed"] == 0


def test_the_environment_of_another_application_does_not_count(check, monkeypatch):
    of_another = {
        **{
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": "1",
            "POSTGRES_PASSWORD": "of-another",
            "POSTGRES_SSLMODE": "require",
        },
        **{
            "PGHOST": "127.0.0.1",
            "PGHOSTADDR": "127.0.0.1",
            "PGSERVICE": "other",
            "PGOPTIONS": "-c search_path=theirs",
        },
        **{
            "DATABASE_URL": "postgresql://other@127.0.0.1:1/other",
            "MISSION_CONTROL_ENV_FILE": "/nowhere/of-another.env",
        },
    }
    for name, value in of_another.items():
        monkeypatch.setenv(name, value)
    assert f"{ALL - 1} of {ALL} checks passed" in check().succeeded().output


def test_the_tag_selects_it(check):
    assert f"{ALL - 1} of {ALL} checks passed" in check("--tags", "health").succeeded().output
    assert "checks passed" not in check("--tags", "schema").output


def test_it_fails_where_a_check_fails_with_all_that_was_found(check):
    run = check(mission_control_database_name="nothing_here")
    assert run.returncode != 0
    assert 'database "nothing_here" does not exist' in run.output
    assert "stale_task_runs" in run.output
    assert "Traceback" not in run.output


def test_what_it_fails_on_can_be_set(check):
    strict = {"mission_control_health_thresholds": {"connections_warn": 0}}
    assert "health of the database is warn" in check(**strict).succeeded().output
    assert check(**strict, mission_control_health_fail_on="warn").returncode != 0
    missing = check(mission_control_database_name="nothing_here", mission_control_health_fail_on="never")
    assert "health of the database is fail" in missing.succeeded().output


def test_a_dry_run_where_nothing_is_yet_says_so_and_goes_on(check):
    run = check("--check", mission_control_database_name="nothing_here").succeeded()
    assert "There is no database yet whose health could be checked." in run.output
    assert f"{ALL - 1} of {ALL} checks passed" in check("--check").succeeded().output


def test_a_wrong_input_stops_it_with_a_sentence(check):
    run = check(mission_control_health_fail_on="sometimes")
    assert run.returncode != 0
    assert "value of mission_control_health_fail_on must be one of: fail, warn, never" in run.output


def test_it_is_the_end_of_site_yml():
    plays = yaml.safe_load((ROOT / "site.yml").read_text(encoding="utf-8"))
    assert plays[-1]["ansible.builtin.import_playbook"] == "playbooks/health.yml"
