"""The worker on hosts with systemd: up, protected as far as the host allows, in the socket's group, and silent about its secrets."""

from __future__ import annotations

import re

import pytest

testinfra_hosts = ["debian12", "debian13", "confined"]
UNIT = "mission-control-inventory.service"
CREDENTIALS = "/etc/mission-control/inventory/credentials"
TOKEN = "Bq5VwTz8Km-of-a-dead-cluster"


@pytest.fixture(scope="module")
def is_confined(host) -> bool:
    return host.check_output("hostname") == "confined"


@pytest.fixture(scope="module")
def pid(unit) -> str:
    return unit("MainPID")


def test_it_runs_and_starts_at_boot(unit):
    assert unit("ActiveState") == "active"
    assert unit("UnitFileState") == "enabled"
    assert unit("NRestarts") == "0"
    assert unit("Type") == "notify"
    assert unit("WatchdogUSec") == "1min"
    assert unit("SupplementaryGroups") == "engine"


def test_protections_are_in_force_and_not_only_written_down(host, pid, is_confined):
    text = host.check_output(f"systemd-analyze security --no-pager {UNIT}")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", text)[1])
    assert exposure <= (3.5 if is_confined else 2.0), text
    own, init = (host.check_output(f"readlink /proc/{each}/ns/mnt") for each in (pid, "1"))
    assert (own == init) is is_confined
    status = dict(
        line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapBnd"], 16)) == ("1", "2", 0)
    assert host.check_output(f"stat --format=%U /proc/{pid}") == "mission-control-inventory"


def test_secrets_are_for_one_user_alone(host, is_confined):
    group, file_mode, mode = ("mission-control-inventory", 640, 750) if is_confined else ("root", 600, 700)
    found = host.check_output(f"find {CREDENTIALS} -printf '%f %m %u %g\\n' | sort").splitlines()
    assert found == [
        f"credentials {mode} root {group}",
        f"database.env {file_mode} root {group}",
        f"dead.token {file_mode} root {group}",
    ]
    assert TOKEN not in host.file("/etc/mission-control/inventory/sources.json").content_string


def test_secrets_are_in_no_log_environment_or_command_line(host, pid, database):
    for secret in (database.password, TOKEN):
        places = f"/proc/{pid}/environ /proc/{pid}/cmdline /etc/systemd/system"
        assert host.run(f"grep --recursive --fixed-strings --quiet -- %s {places}", secret).rc == 1
        assert host.run("journalctl --no-pager | grep --fixed-strings --quiet -- %s", secret).rc == 1


def test_the_program_lists_what_the_worker_has_taken_over(host, database, eventually):
    """By hand, as root: the same file, the same secrets, the same engine."""
    host.check_output("mission-control inventory sync --source engine")
    assert re.search(r"^web +docker-container +running ", host.check_output("mission-control workloads"), re.MULTILINE)
    dead = host.run("mission-control inventory sync --source dead")
    assert dead.rc == 1
    assert "127.0.0.1" in dead.stdout
    assert TOKEN not in dead.stdout + dead.stderr
