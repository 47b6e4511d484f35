"""Backups by whichever member leads, and the way back: the whole cluster on a single host."""

from __future__ import annotations

import json

import pytest
import yaml
from drill_hosts import Host, wait_until

REPOSITORY = "/mnt/backup/pgbackrest"
ARCHIVING = {
    "archive_mode": "on",
    "archive_command": '/usr/local/sbin/mission-control-pgbackrest-push "%p"',
    "archive_timeout": "300s",
}
ROWS = """SELECT
  (SELECT md5(string_agg(tasks::text, ' ' ORDER BY id)) FROM tasks),
  (SELECT md5(string_agg(entry::text, ' ' ORDER BY id)) FROM audit_entries AS entry),
  (SELECT valid FROM verify_audit_chain())"""


@pytest.fixture(scope="module")
def backup(run_playbook, scenario):
    def run(*arguments):
        outcome = run_playbook(scenario / "backup.yml", *arguments)
        assert outcome.returncode == 0, outcome.output
        return outcome

    return run


def kept(member):
    """The types of the backups that the repository holds, oldest first."""
    command = "pgbackrest --config=/etc/pgbackrest/mission_control.conf --stanza=mission_control --output=json info 2>/dev/null"
    [stanza] = json.loads(member.run(f"cd / && runuser -u postgres -- {command}"))
    return [each["type"] for each in stanza["backup"]]


def by_timer(member, kind):
    """What the timer of a member starts, and what it said."""
    member.run(f"systemctl start --wait mission-control-backup@{kind}.service", timeout=180)
    return member.run(f"journalctl --no-pager --lines 20 --unit mission-control-backup@{kind}.service")


def test_archiving_is_asked_for_until_patroni_has_it(cluster, backup, run_playbook, scenario):
    cluster.settle()
    leader = cluster.leader()
    for member in cluster.members:
        member.run(f"install --directory --owner postgres --mode 0750 {REPOSITORY}")
    asked_for = f"archive_command: {ARCHIVING['archive_command']}"
    assert asked_for in backup().output
    assert leader.sql("SHOW archive_command") == "(disabled)"

    variables = yaml.safe_load((scenario / "inventory/group_vars/database_proxies.yml").read_text())
    parameters = {"cluster_parameters": {**variables["cluster_parameters"], **ARCHIVING}}
    run = run_playbook(scenario / "cluster.yml", "--extra-vars", json.dumps(parameters))
    assert run.returncode == 0, run.output
    cluster.patronictl(leader, f"restart {version(leader)}-main --force", timeout=120)
    cluster.settle()
    assert asked_for not in backup().output
    assert kept(leader) == ["full"]
    assert backup().changed == 0


def version(member):
    return member.run("ls /var/lib/postgresql | grep --line-regexp '[0-9]*'")


def test_whoever_leads_makes_the_backups(cluster, backup):
    leader = cluster.leader()
    [candidate] = [each["name"] for each in leader.state()["standbys"] if each["sync"] == "sync"]
    cluster.patronictl(leader, f"switchover --candidate {candidate} --force", timeout=60)
    cluster.settle()
    assert "is a standby: its primary makes the backups" in by_timer(leader, "incr")
    assert kept(leader) == ["full"]
    by_timer(cluster.leader(), "incr")
    assert kept(leader) == ["full", "incr"]
    assert backup().changed == 0


def test_a_single_host_gets_it_all_back(cluster, run_playbook, project, scenario, tmp_path):
    leader = cluster.leader()
    leader.sql("INSERT INTO tasks (title, created_by) VALUES ('the last', 'counter')", "mission_control")
    leader.sql(
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('counter', 'the last', 'success')",
        "mission_control",
    )
    expected = leader.sql(ROWS, "mission_control")
    segment = leader.sql("SELECT pg_walfile_name(pg_switch_wal())")
    wait_until(
        lambda: leader.sql(f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver") == "t", "the archive"
    )
    single = Host("single", f"mission-control-{scenario.name}-single")
    inventory = tmp_path / "single.json"
    variables = {
        "mission_control_postgresql_mode": "package",
        "mission_control_login_host": "",
        "mission_control_login_port": 5432,
        "mission_control_login_password": "",
        "mission_control_login_ssl_mode": "prefer",
        "mission_control_login_ca_cert": "",
        "mission_control_login_become_user": "postgres",
        "mission_control_health_thresholds": {},
        "mission_control_backup_enabled": True,
        "mission_control_backup_repository": REPOSITORY,
        "mission_control_backup_cipher_password": "{{ lookup('ansible.builtin.file', hostvars['ha1'].cluster_secrets ~ '/backup') }}",
        "mission_control_database_password": "application-password",
        "mission_control_database_password_directory": "{{ hostvars['ha1'].cluster_secrets }}/logins",
    }
    inventory.write_text(json.dumps({"mission_control": {"hosts": {"single": variables}}}))
    here = ("--inventory", str(inventory), "--limit", "single")
    confirmed = ("--extra-vars", "mission_control_backup_restore_confirm=mission_control")
    # Two clusters of one history must not archive to one place.
    for member in cluster.members:
        member.run(f"systemctl stop patroni@{version(member)}-main")
    try:
        run = run_playbook(project / "playbooks/restore.yml", *here, *confirmed)
        assert run.returncode == 0, run.output
        assert single.sql(ROWS, "mission_control") == expected
        assert expected.endswith("|t")
        run = run_playbook(project / "site.yml", *here)
        assert run.returncode == 0, run.output
        run = run_playbook(project / "site.yml", *here)
        assert (run.returncode, run.changed) == (0, 0), run.output
        assert single.sql(ROWS, "mission_control") == expected
    finally:
        single.run("systemctl stop 'postgresql@*'")
        for member in cluster.members:
            member.run(f"systemctl start patroni@{version(member)}-main")
    cluster.settle()
    # The repository belongs to the single host now.
    leader = cluster.leader()
    nothing = " ".join(f"--set postgresql.parameters.{name}=null" for name in ARCHIVING)
    cluster.patronictl(leader, f"edit-config --force --quiet {nothing}")
    cluster.patronictl(leader, f"restart {version(leader)}-main --force", timeout=120)
    cluster.settle()
    assert leader.sql("SHOW archive_mode") == "off"
