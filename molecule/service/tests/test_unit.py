"""The unit on hosts with systemd: up, protected as far as the host allows, and silent about its secrets."""

from __future__ import annotations

import re

import pytest

testinfra_hosts = ["debian12", "debian13", "confined"]
UNIT = "mission-control.service"
SECRETS = "/etc/mission-control/service"


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
    assert unit("WatchdogUSec") == "30s"
    assert unit("RestartPreventExitStatus") == "78"


def test_it_is_ready(service):
    answers = {path: service.status(path) for path in ("/live", "/ready", "/health", "/metrics")}
    assert answers == dict.fromkeys(answers, 200)


def test_it_listens_on_localhost_only(host):
    lines = host.check_output("ss --listening --tcp --numeric --no-header sport = :3000").splitlines()
    assert [line.split()[3] for line in lines] == ["127.0.0.1:3000"]


def test_exposure_is_as_low_as_the_host_allows(host, is_confined):
    text = host.check_output(f"systemd-analyze security --no-pager {UNIT}")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", text)[1])
    assert exposure <= (3.5 if is_confined else 2.0), text


def test_protections_are_in_force_and_not_only_written_down(host, pid, is_confined):
    own, init = (host.check_output(f"readlink /proc/{each}/ns/mnt") for each in (pid, "1"))
    assert (own == init) is is_confined
    status = dict(
        line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapBnd"], 16)) == ("1", "2", 0)
    assert host.check_output(f"stat --format=%U /proc/{pid}") == "mission-control-service"


def test_a_confined_host_would_not_start_the_whole_set(host, is_confined):
    """Else this scenario would not test what it is there for."""
    outcome = host.run("systemd-run --quiet --wait --pipe --collect --property=PrivateTmp=true true")
    assert outcome.rc == (226 if is_confined else 0)


def test_secrets_are_for_one_user_alone(host, is_confined):
    # Root writes there, so nothing of it belongs to the service, which could lay a link.
    group, file_mode, mode = ("mission-control-service", 640, 750) if is_confined else ("root", 600, 700)
    found = host.check_output(f"find {SECRETS} -printf '%f %m %u %g\\n' | sort").splitlines()
    assert found == [
        f"api-tokens {file_mode} root {group}",
        f"database.env {file_mode} root {group}",
        f"refresh-tokens {file_mode} root {group}",
        f"service {mode} root {group}",
    ]


def test_secrets_are_in_no_log_environment_or_command_line(host, pid, password, scenario):
    tokens = host.check_output(f"cat {SECRETS}/api-tokens").splitlines()
    tokens += [line.split()[1] for line in host.check_output(f"cat {SECRETS}/refresh-tokens").splitlines()]
    assert len(tokens) == 3
    for secret in (password, *tokens):
        places = f"/proc/{pid}/environ /proc/{pid}/cmdline /etc/systemd/system /etc/mission-control/service.env"
        assert host.run(f"grep --recursive --fixed-strings --quiet -- %s {places}", secret).rc == 1
        assert host.run("journalctl --no-pager | grep --fixed-strings --quiet -- %s", secret).rc == 1


def test_code_belongs_to_root_and_is_writable_for_nobody_else(host):
    root = "/usr/local/lib/mission-control"
    assert host.check_output(f"find {root} '(' ! -user root -o ! -group root -o -perm /022 ')' ! -type l") == ""
    release = host.check_output(f"readlink {root}/current")
    assert host.file(f"{root}/{release}/mission_control/manifest.json").exists
    drafts = host.check_output(f"find {root} -name '.*'")
    assert drafts == ""
