"""A server that Patroni runs, as the role mission_control_backup finds it through its socket, and what it then asks for."""

from __future__ import annotations

import os
import pathlib
import pwd

import pytest
import replication_lab
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.facts import backup as facts
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.backup import plan_backup

COMMAND = '/usr/local/sbin/push "%p"'
WANTED = {
    "method": "pgbackrest", "stanza": "mission_control", "repositories": [], "repository_paths": [], "packages": [], "files": [],
    "drop_in": "", "archive_command": COMMAND, "archive_timeout": 300, "calendars": {}, "timers": [],
    "all_timers": [],
}  # fmt: skip
HOST = {"paths": {}, "calendars": {}, "packages": {}, "units": {}, "systemd": False, "system_identifier": "77"}
REPOSITORIES = {"problem": "", "clusters": [], "backups": []}


@pytest.fixture(scope="module")
def primary():
    with replication_lab.primary(provisioned=False, cluster_name="15-lab") as database:
        yield database.cluster


@pytest.fixture
def dynamic(primary):
    """Patroni's own file, with what it keeps there."""
    file = pathlib.Path(primary._data, "patroni.dynamic.json")
    file.write_text('{"ttl": 20}', encoding="utf-8")
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def described(monkeypatch):
    """Ask for a member as whoever runs the tests, since only root can do so as somebody else."""
    run = facts._run
    monkeypatch.setattr(facts, "_run", lambda command, _user="", more=None: run(command, "", more))

    def describe(server, port=None, user=None):
        owner = pwd.getpwuid(os.stat(server._data).st_uid).pw_name
        return facts.describe_member(server.socket_directory, port or server.port, "postgres", user or owner)

    return describe


def asked(member):
    plan = plan_backup(
        {**HOST, "repositories": REPOSITORIES, "member": member}, [member], {**WANTED, "port": member["server"]["port"]}
    )
    assert plan["problems"] == []
    return plan["asks"]


def test_what_is_missing_is_asked_for_until_it_is_in_force(primary, dynamic, described):
    member = described(primary)
    assert (member["problem"], member["name"], member["data_directory"]) == ("", "15-lab", primary._data)
    assert member["server"]["in_recovery"] is False
    assert asked(member) == {
        "lines": [
            "postgresql:",
            "  parameters:",
            '    archive_mode: "on"',
            f"    archive_command: {COMMAND}",
            "    archive_timeout: 300s",
        ],
        "restart": [],
    }
    # As Patroni does with what it is given.
    primary.query("ALTER SYSTEM SET archive_mode = 'on'")
    primary.query(f"ALTER SYSTEM SET archive_command = '{COMMAND}'")
    primary.configure(archive_timeout="5min")
    assert asked(described(primary)) == {"lines": [], "restart": ["archive_mode"]}
    primary.stop()
    primary.start()
    assert asked(described(primary)) == {"lines": [], "restart": []}
    with replication_lab.Standby(primary) as standby:
        pathlib.Path(standby._data, dynamic.name).touch()
        assert described(standby)["server"]["in_recovery"] is True


def test_another_server_is_none(primary, dynamic, described):
    assert "belongs to" in described(primary, user="nobody")["problem"]
    assert "failed: No such file or directory" in described(primary, port=1)["problem"]
    dynamic.unlink()
    assert described(primary)["problem"] == (
        f"the server that answers is not one that Patroni runs: there is no patroni.dynamic.json in {primary._data}"
    )
