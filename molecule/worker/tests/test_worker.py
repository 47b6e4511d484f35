"""The workers on hosts with systemd: up, protected as far as the host allows, in the socket's group, and silent about their secrets."""

from __future__ import annotations

import re

import pytest

testinfra_hosts = ["debian12", "debian13", "confined"]
# Of the source called dead, by who has it.
TOKENS = {"inventory": "Bq5VwTz8Km-of-a-dead-cluster", "tools": "Wm3LcXd7Rs-for-tools-of-a-dead-cluster"}
OTHERS = ("mission-control-inventory", "mission-control-tools", "nobody")


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


def test_protections_are_in_force_and_not_only_written_down(host, worker, pid, is_confined):
    text = host.check_output(f"systemd-analyze security --no-pager mission-control-{worker}.service")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", text)[1])
    assert exposure <= (3.5 if is_confined else 2.0), text
    own, init = (host.check_output(f"readlink /proc/{each}/ns/mnt") for each in (pid, "1"))
    assert (own == init) is is_confined
    status = dict(
        line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapBnd"], 16)) == ("1", "2", 0)
    assert host.check_output(f"stat --format=%U /proc/{pid}") == f"mission-control-{worker}"


def test_secrets_are_for_one_user_alone(host, worker, pid, is_confined):
    directory = f"/etc/mission-control/{worker}"
    group, file_mode, mode = (f"mission-control-{worker}", 640, 750) if is_confined else ("root", 600, 700)
    found = host.check_output(f"find {directory}/credentials -printf '%f %m %u %g\\n' | sort").splitlines()
    assert found == [
        f"credentials {mode} root {group}",
        f"database.env {file_mode} root {group}",
        f"dead.token {file_mode} root {group}",
    ]
    assert host.file(f"{directory}/credentials/dead.token").content_string == TOKENS[worker]
    # Its own user reads it where systemd does not hand it over; root alone may look into what systemd hands over.
    handed_over = f"/run/credentials/mission-control-{worker}.service"
    assert host.file(handed_over).exists is not is_confined
    for user in OTHERS:
        read = host.run(f"runuser -u {user} -- cat {directory}/credentials/dead.token")
        assert (TOKENS[worker] in read.stdout) is (is_confined and user == f"mission-control-{worker}"), user
        # In the unit's own mount namespace too, where a host shows it there alone.
        for path in (handed_over, f"/proc/{pid}/root{handed_over}"):
            read = host.run(f"runuser -u {user} -- cat {path}/dead.token")
            assert TOKENS[worker] not in read.stdout or user == f"mission-control-{worker}", (user, path)


def test_neither_has_what_is_for_the_other(host, worker):
    [other] = TOKENS.keys() - {worker}
    assert (
        host.run(f"grep --recursive --fixed-strings --quiet -- %s /etc/mission-control/{worker}", TOKENS[other]).rc == 1
    )
    sources = host.file(f"/etc/mission-control/{worker}/sources.json").content_string
    assert TOKENS[worker] not in sources
    assert f'"token_name": "{worker}"' in sources


def test_secrets_are_in_no_log_environment_or_command_line(host, worker, pid, database):
    for secret in (database.password, TOKENS[worker]):
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
    assert TOKENS["inventory"] not in dead.stdout + dead.stderr
