"""The module health as a user runs it: ad hoc from the checkout, with the default inventory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ad_hoc import ad_hoc
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import NAMES
from playbook import ROOT, run_playbook

PASSWORD = "s3cret-of-the-monitor"


@pytest.fixture(scope="module")
def place(shared_database):
    """The variables of the environment that lead to the database, as a login that sees everything."""
    admin = shared_database.session("admin")
    admin.run(f"ALTER ROLE mission_control_monitor PASSWORD '{PASSWORD}'")
    admin.run("GRANT pg_monitor TO mission_control_monitor")
    yield {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(shared_database.cluster.port),
        "POSTGRES_DB": shared_database.name,
        "POSTGRES_USER": "mission_control_monitor",
        "POSTGRES_PASSWORD": PASSWORD,
    }
    admin.run("REVOKE pg_monitor FROM mission_control_monitor")


@pytest.fixture(scope="module")
def nowhere(place):
    """The same with a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield {**place, "POSTGRES_PORT": str(probe.getsockname()[1])}


@pytest.fixture
def home(tmp_path):
    return tmp_path


def statuses(run):
    return {check["name"]: check["status"] for check in run.result["checks"]}


def test_the_ad_hoc_line(place, home):
    run = ad_hoc("health", home=home, variables=place)
    assert run.returncode == 0, run.output
    assert [check["name"] for check in run.result["checks"]] == list(NAMES)
    assert run.result["status"] == "pass", run.output
    assert run.result["changed"] is False
    # What stands in the tables is not the monitor's business, and this database has neither a backup nor a source.
    apart = {"stale_task_runs": "not visible", "backups": "not checked", "inventory_sources": "not checked"}
    apart["budgets"] = "not checked"
    assert statuses(run) == {**dict.fromkeys(NAMES, "pass"), **apart}
    assert "Traceback" not in run.output


def test_an_env_file_holds_the_login(place, home):
    file = home / "database.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in place.items()), encoding="utf-8")
    for options, variables in (({"env_file": str(file)}, {}), (None, {"MISSION_CONTROL_ENV_FILE": str(file)})):
        run = ad_hoc("health", options, home=home, variables=variables)
        assert run.returncode == 0, run.output
        assert run.result["status"] == "pass"


def test_options_win_over_the_environment(place, nowhere, home):
    options = {
        "login_host": "127.0.0.1",
        "login_port": int(place["POSTGRES_PORT"]),
        "login_user": "nobody-of-that-name",
    }
    run = ad_hoc("health", options, home=home, variables={**nowhere, "PGHOSTADDR": "192.0.2.1", "PGSERVICE": "none"})
    assert run.returncode == 2
    assert f"on 127.0.0.1 port {place['POSTGRES_PORT']} as nobody-of-that-name" in run.result["msg"]
    # The password of the environment is another login's.
    assert "no password supplied" in run.result["msg"]


def test_a_server_that_is_down_gives_the_whole_structure(nowhere, home):
    run = ad_hoc("health", home=home, variables=nowhere)
    assert run.returncode == 2
    assert statuses(run) == {**dict.fromkeys(NAMES, "not checked"), "connection": "fail"}
    assert run.result["counts"] == {"pass": 0, "warn": 0, "fail": 1, "not visible": 0, "not checked": len(NAMES) - 1}
    assert "Connection refused" in run.result["msg"]
    assert "Traceback" not in run.output


def test_never_means_that_only_a_wrong_option_fails(nowhere, home):
    run = ad_hoc("health", {"fail_on": "never"}, home=home, variables=nowhere)
    assert run.returncode == 0
    assert run.result["status"] == "fail"
    run = ad_hoc("health", {"fail_on": "never", "env_file": str(home / "none")}, home=home)
    assert run.returncode == 2
    assert run.result["msg"] == f"The env file {home / 'none'} cannot be read: No such file or directory."
    assert statuses(run)["connection"] == "fail"


def test_a_warning_fails_where_that_is_asked_for(place, home):
    strict = {"thresholds": {"connections_warn": 0}, "fail_on": "warn"}
    run = ad_hoc("health", strict, home=home, variables=place)
    assert run.returncode == 2
    assert run.result["status"] == "warn"
    assert statuses(run)["connections"] == "warn"
    assert "connections: " in run.result["msg"]
    run = ad_hoc("health", {**strict, "fail_on": "fail"}, home=home, variables=place)
    assert (run.returncode, run.result["status"]) == (0, "warn")


def test_the_role_of_the_server_that_is_expected(place, home):
    run = ad_hoc("health", {"expected_role": "standby"}, home=home, variables=place)
    assert run.returncode == 2
    assert statuses(run)["writable"] == "fail"
    assert "The server is a primary, but a standby is expected" in run.result["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thresholds": {"blocked_warn_seconds": 90}}, "blocked_fail_seconds must not be below blocked_warn_seconds"),
        ({"expected_role": "master"}, "value of expected_role must be one of: , primary, standby, got: master"),
        ({"timeout": 0}, "timeout of a health check must be a number of seconds above 0"),
        ({"login_port": 70000}, "port must be a port number"),
        ({"manifest": {"version": "1"}}, "The manifest has no migrations"),
        ({"url": "postgresql://localhost:port/"}, "URL"),
        ({"login_host": "a", "login_unix_socket": "/b"}, "mutually exclusive: login_host|login_unix_socket"),
    ],
)
def test_a_wrong_option_is_a_sentence(home, options, words):
    run = ad_hoc("health", options, home=home)
    assert run.returncode == 2
    assert words in run.result["msg"]
    assert "Traceback" not in run.output


def test_migrations_are_compared_with_those_of_the_collection_and_of_the_homelab(place, shared_database, home):
    own = home / "own"
    own.mkdir()
    (own / "001_ups.sql").write_text("CREATE TABLE ups (id integer);", encoding="utf-8")
    # As a user writes it: a template.
    site = ("-e", json.dumps({"mission_control_schema_site_directory": "{{ homelab }}/own", "homelab": str(home)}))
    run = ad_hoc("health", {"fail_on": "never"}, *site, home=home, variables=place)
    [migrations] = [check for check in run.result["checks"] if check["name"] == "migrations"]
    assert migrations["status"] in ("warn", "fail")
    assert "001_ups.sql" in json.dumps(migrations)
    run = ad_hoc("health", None, "-e", "mission_control_schema_site_directory=/not/there", home=home, variables=place)
    assert run.returncode == 2
    assert "/not/there" in run.result["msg"]


def test_a_missing_driver_is_a_sentence(home, place):
    (home / "psycopg2.py").write_text("raise ImportError(\"No module named 'psycopg2'\")", encoding="utf-8")
    run = ad_hoc("health", home=home, variables={**place, "PYTHONPATH": str(home)})
    assert run.returncode == 2
    assert "psycopg2 cannot be imported by /usr/bin/python3" in run.result["msg"]
    assert "install python3-psycopg2" in run.result["msg"]
    assert len(run.result["checks"]) == len(NAMES)
    assert "Traceback" not in run.output


def test_the_password_is_in_no_output(place, home):
    """Given in a play: of an ad hoc line that fails Ansible itself prints the arguments."""
    playbook = home / "play.yml"
    playbook.write_text(
        """
- name: Ask
  hosts: mission_control
  gather_facts: false
  tasks:
    - name: Check with a password
      homelab.mission_control.health:
        login_host: 127.0.0.1
        login_port: "{{ port }}"
        login_user: mission_control_monitor
        login_db: "{{ database }}"
        login_password: "{{ password }}"
      register: outcome
      failed_when: (outcome is failed) == works
    - name: Check with a URL
      homelab.mission_control.health:
        url: "postgresql://mission_control_monitor:{{ password }}@127.0.0.1:{{ port }}/{{ database }}"
      register: outcome
      failed_when: (outcome is failed) == works
    - name: Ask with a URL
      homelab.mission_control.query:
        url: "postgresql://mission_control_monitor:{{ password }}@127.0.0.1:{{ port }}/{{ database }}"
        query: SELECT 1 AS one
      register: outcome
      failed_when: (outcome is failed) == works
""",
        encoding="utf-8",
    )
    for password, works in ((PASSWORD, True), (f"{PASSWORD}-not", False)):
        variables = {
            "port": place["POSTGRES_PORT"],
            "database": place["POSTGRES_DB"],
            "password": password,
            "works": works,
        }
        (home / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
        run = run_playbook(playbook, {}, "-vvv", "-e", f"@{home / 'variables.json'}", home=home).succeeded()
        assert run.recap["ok"] == 3
        assert PASSWORD not in run.output


def test_check_mode_looks_all_the_same(place, home):
    run = ad_hoc("health", None, "--check", home=home, variables=place)
    assert run.returncode == 0
    assert run.result["status"] == "pass"


def test_module_defaults_of_the_group_reach_both_modules(shared_database, home):
    playbook = home / "play.yml"
    playbook.write_text(
        """
- name: Ask
  hosts: mission_control
  gather_facts: false
  module_defaults:
    group/homelab.mission_control.all:
      login_unix_socket: "{{ socket }}"
      login_port: "{{ port }}"
      login_user: mission_control
      login_db: "{{ database }}"
  tasks:
    - name: Check
      homelab.mission_control.health:

    - name: Ask
      homelab.mission_control.query:
        query: SELECT current_user::text
        fetch: value
      register: answer
      failed_when: answer.value != 'mission_control'
""",
        encoding="utf-8",
    )
    variables = {
        "socket": shared_database.cluster.socket_directory,
        "port": shared_database.cluster.port,
        "database": shared_database.name,
    }
    run = run_playbook(playbook, variables, home=home).succeeded()
    assert run.recap["ok"] == 2
    assert run.recap["changed"] == 0


def test_a_login_with_few_rights_passes_nothing_that_it_cannot_see(shared_database, home):
    options = {
        "login_unix_socket": shared_database.cluster.socket_directory,
        "login_port": shared_database.cluster.port,
        "login_db": shared_database.name,
        "login_user": "mission_control",
    }
    run = ad_hoc("health", options, home=home)
    assert run.returncode == 0, run.output
    assert run.result["counts"]["not visible"] > 0
    assert statuses(run)["oldest_transaction"] == "not visible"
    assert "not visible" in run.result["msg"]


@pytest.mark.parametrize("module", ["health", "query", "cluster_info"])
def test_ansible_doc_shows_a_module_whole(module, home):
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--json", f"homelab.mission_control.{module}"]
    environment = {**os.environ, "HOME": str(home)}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    page = json.loads(shown.stdout)[f"homelab.mission_control.{module}"]
    assert {"doc", "examples", "return"} <= page.keys()
    assert page["examples"].strip()
    assert page["return"]
    undescribed = [name for name, option in page["doc"]["options"].items() if not option.get("description")]
    assert undescribed == []
    if module != "cluster_info":
        assert {"login_host", "login_password", "env_file"} <= page["doc"]["options"].keys()
        assert {"check_mode", "diff_mode", "action_group"} <= page["doc"]["attributes"].keys()
