"""Further runs of the role: bad input is one sentence, and what an interrupted run left is made up for."""

from __future__ import annotations

import json

import pytest

testinfra_hosts = ["confined"]


@pytest.fixture(scope="module")
def provision(run_playbook, scenario, host):
    """A callable: provision the host with further variables, and return the run."""

    def run(*arguments, **variables):
        return run_playbook(
            scenario / "converge.yml", "--limit", "confined", "--extra-vars", json.dumps(variables), *arguments
        )

    return run


def state(host):
    """What must be the same after a refusal: the process and every byte of its files."""
    files = "find /etc/mission-control /etc/systemd/system /usr/local/lib/mission-control -type f -exec sha256sum {} + | sort"
    return host.check_output("systemctl show --property=MainPID mission-control.service"), host.check_output(files)


def test_bad_input_is_one_sentence_and_changes_nothing(host, provision):
    before = state(host)
    run = provision(mission_control_service_api_tokens=["tiny-secret"])
    assert run.returncode != 0
    assert "Token 1 in mission_control_service_api_tokens has 11 characters" in " ".join(run.output.split())
    assert "tiny-secret" not in run.output
    assert state(host) == before


def test_a_refresh_token_is_rotated_and_removed_by_a_run(service, provision):
    old, new = "token-Lx6QrGd8Vm-that-refreshes", "token-Vy3HsKb7Nc-that-refreshes"
    refresh = "/api/v1/inventory/refresh"
    assert service.post(refresh, old).status == 409
    rotated = provision(mission_control_service_refresh_tokens={"home-assistant": new})
    assert rotated.returncode == 0, rotated.output
    assert (service.post(refresh, old).status, service.post(refresh, new).status) == (401, 409)
    removed = provision(mission_control_service_refresh_tokens={})
    assert removed.returncode == 0, removed.output
    answer = service.post(refresh, new)
    assert (answer.status, "No refresh token is configured" in answer.text) == (404, True)
    assert new not in rotated.output + removed.output
    assert provision().returncode == 0
    assert service.post(refresh, old).status == 409


def test_who_holds_the_port_is_named_and_nothing_changes(host, provision):
    host.check_output("systemd-run --quiet --unit=holder python3 -m http.server 3999 --bind 127.0.0.1")
    try:
        before = state(host)
        run = provision(mission_control_service_port=3999)
        assert run.returncode != 0
        pid = host.check_output("systemctl show --value --property=MainPID holder.service")
        sentence = (
            f"Port 3999 of 127.0.0.1 is held by python3 (process {pid}): stop it, or set mission_control_service_port"
        )
        assert sentence in " ".join(run.output.split())
        assert state(host) == before
    finally:
        host.check_output("systemctl stop holder.service")


def test_an_interrupted_run_is_made_up_for_and_the_reduced_set_is_told(host, provision, unit):
    before = unit("MainPID")
    host.check_output("touch /etc/mission-control/service.env")
    run = provision()
    assert run.returncode == 0, run.output
    assert "runs with the reduced set of protections" in " ".join(run.output.split())
    assert unit("MainPID") != before
    assert provision("--check", "--diff").changed == 0
