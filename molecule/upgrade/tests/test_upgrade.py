"""After the move to a newer major version: the same rows, logins and rules, and nothing more to do."""

from __future__ import annotations

import json

import pytest
from sql_on_host import Login, as_administrator


@pytest.fixture
def application(host):
    return Login(host, "mission_control", "application-password", "mission_control")


def test_newer_version_answers_on_the_port(application):
    assert application.value("SELECT current_setting('server_version_num')::integer / 10000") == 17


def test_rows_are_there(application):
    assert application.value("SELECT count(*) FROM tasks WHERE title LIKE 'task %%'") == 1000
    assert application.value("SELECT count(*) FROM audit_entries WHERE action = 'upgrade'") == 1
    assert application.value("SELECT count(*) FROM provider_pricing") >= 10


def test_rights_are_as_before(application):
    forbidden = ["DROP TABLE tasks", "DELETE FROM audit_entries"]
    assert application.sqlstates(forbidden) == dict.fromkeys(forbidden, "42501")


def test_audit_chain_is_unbroken(host):
    rows = as_administrator(host, "SELECT * FROM verify_audit_chain()", "mission_control")
    assert rows.split("|")[0] == "t", rows


def test_data_checksums_are_still_on(host):
    assert as_administrator(host, "SHOW data_checksums") == "on"


def test_backups_go_on_with_the_newer_version(host):
    pgbackrest = "pgbackrest --config=/etc/pgbackrest/mission_control.conf --stanza=mission_control"
    host.check_output("cd / && runuser -u postgres -- mission-control-backup incr")
    host.check_output(f"cd / && runuser -u postgres -- {pgbackrest} check")
    [stanza] = json.loads(host.check_output(f"cd / && runuser -u postgres -- {pgbackrest} --output=json info"))
    versions = {database["id"]: database["version"] for database in stanza["db"]}
    backups = [(versions[backup["database"]["id"]], backup["type"]) for backup in stanza["backup"]]
    assert backups == [("15", "full"), ("17", "full"), ("17", "incr")]


def test_provisioning_with_the_newer_version_changes_nothing(run_playbook, project):
    run = run_playbook(
        project / "playbooks/provision.yml", "--extra-vars", '{"mission_control_postgresql_version": "17"}'
    )
    assert run.returncode == 0, run.output
    assert run.changed == 0, run.output


def test_provisioning_with_the_older_version_stops(run_playbook, project):
    """The variable that was forgotten must not make an empty cluster of the older version."""
    run = run_playbook(project / "playbooks/provision.yml")
    assert run.returncode != 0
    assert run.changed == 0, run.output
