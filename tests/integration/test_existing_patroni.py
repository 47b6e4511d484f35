"""Mode `existing` on a server that Patroni runs, as its command line shows: what is asked for, and that nothing is written."""

import contextlib
import os

import pytest
from host_plays import run_on_hosts
from replication_lab import Member

PASSWORD = "administrator-secret"
# As Patroni starts a server.
COMMAND_LINE = {
    "cluster_name": "15-main",
    "max_worker_processes": "8",
    "track_commit_timestamp": "off",
    "wal_log_hints": "on",
}
RULES = """
local all all trust
host let_in all 127.0.0.1/32 scram-sha-256
host all postgres,keeper 127.0.0.1/32 scram-sha-256
"""
PLAY = """
- name: Server
  hosts: mission_control
  gather_facts: false
  roles:
    - role: homelab.mission_control.mission_control_postgresql
  post_tasks:
    - name: Say what the other roles are told
      ansible.builtin.debug:
        var: mission_control_postgresql_server.missing_rules
"""
LINE = "host kept_out mission_control,mission_control_readonly 127.0.0.1/32 scram-sha-256"


@contextlib.contextmanager
def server(**settings):
    with Member(**settings) as member:
        member.query(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        member.query(f"CREATE ROLE keeper LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'")
        path = member.value("SHOW hba_file")
        with open(path, "w", encoding="utf-8") as file:
            file.write(RULES)
        member.query("SELECT pg_reload_conf()")
        yield member


@pytest.fixture
def of_patroni():
    with server(**COMMAND_LINE) as member:
        yield member


@pytest.fixture
def other():
    with server() as member:
        yield member


def test_what_the_logins_need_is_asked_for_and_nothing_is_written(of_patroni, other, tmp_path):
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAY, encoding="utf-8")
    directory = os.path.dirname(of_patroni.value("SHOW hba_file"))

    def files():
        return {each.name: each.stat().st_mtime_ns for each in os.scandir(directory) if each.name.endswith(".conf")}

    def host(member, database, user="postgres", **more):
        return {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": "127.0.0.1",
            "mission_control_login_port": member.port,
            "mission_control_login_user": user,
            "mission_control_login_password": PASSWORD,
            "mission_control_database_name": database,
            "mission_control_database_readonly_login": True,
            **more,
        }

    before = files()
    kept_out, let_in, not_known, not_patroni = run_on_hosts(
        playbook,
        [
            host(of_patroni, "kept_out"),
            host(of_patroni, "let_in"),
            host(of_patroni, "kept_out", "keeper"),
            host(other, "kept_out"),
        ],
        home=tmp_path,
    )
    for run in (kept_out, let_in, not_known, not_patroni):
        assert run.succeeded().recap["changed"] == 0
    asking = "Show what Patroni's configuration lacks"
    assert [asking in run.tasks for run in (kept_out, let_in, not_known, not_patroni)] == [True, False, False, False]
    assert f'"postgresql:", "  pg_hba:", "  - {LINE}"' in kept_out.told
    assert f'"mission_control_postgresql_server.missing_rules": ["{LINE}"]' in kept_out.told
    assert files() == before
