"""Calls of tools on booted hosts: asked for by the library with the application's login, approved by a token, carried out by an executor."""

from __future__ import annotations

import json
import subprocess

import pytest
import testinfra

testinfra_hosts = ["debian13"]
ASSISTANT, ALICE = "requester-Zd6PvGj4Sx-of-the-worker-scenario", "approver-Yq8HnKf2Tb-of-the-worker-scenario"
WITH_ENGINE = ["debian12", "debian13", "confined"]
RESTARTS = "/run/engine/restarts"
# What a program of the homelab does, here with the library that the worker of the inventory has. The tokens come by standard input.
PROGRAM = """
import dataclasses, json, sys
sys.path.insert(0, "/usr/local/lib/mission-control-inventory/current")
from mission_control import Client, MissionControlError, Settings

def client(token):
    return Client(settings=dataclasses.replace(Settings.load(), tool_token=token))

asked = json.load(sys.stdin)
with client(asked["requester"]) as mine:
    with mine.transaction() as transaction:
        run = transaction.query_one(
            "WITH t AS (INSERT INTO tasks (title, created_by) VALUES ('Look after the rack', 'a test') RETURNING id)"
            " INSERT INTO task_runs (task_id, status, user_prompt) SELECT id, 'running', '' FROM t RETURNING id"
        )
    answer = mine.tools.request(asked["tool"], asked["arguments"], task_run_id=run["id"])
    call = mine.tools.wait(answer.call_id, 60, until=lambda call: call.has_ended or call.waits_for_approval)
    told = {"asked": call.status}
    if asked["approver"]:
        with client(asked["approver"]) as alice:
            told["waiting"] = [each.tool_name for each in alice.tools.waiting() if each.id == call.id]
            told["accepted"] = alice.tools.approve(call.id, "It hangs.").accepted
        call = mine.tools.wait(call.id, 60)
    told.update(status=call.status, error=call.error, result=call.result, approved_by=call.approved_by, requested_by=call.requested_by)
print(json.dumps(told, default=str))
"""


@pytest.fixture
def ask(host):
    """A callable: what becomes of a call of a tool, which alice approves where she is asked to."""

    def call(tool: str, arguments: dict, approver: str | None = None) -> dict:
        environment = "MISSION_CONTROL_ENV_FILE=/etc/mission-control/inventory/credentials/database.env"
        done = subprocess.run(
            ["podman", "exec", "--interactive", "--env", environment, host.backend.name, "python3", "-c", PROGRAM],
            input=json.dumps({"requester": ASSISTANT, "approver": approver, "tool": tool, "arguments": arguments}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


@pytest.fixture
def restarts(scenario):
    """A callable: the containers that the engines of all hosts were told to restart; whichever executor takes a call asks its own."""

    def look() -> list[str]:
        hosts = [testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}") for name in WITH_ENGINE]
        return [line for each in hosts for line in each.run(f"cat {RESTARTS}").stdout.split()]

    return look


def test_a_tool_that_only_reads_is_carried_out_at_once(ask):
    told = ask("list_hosts", {})
    assert (told["asked"], told["status"], told["error"]) == ("succeeded", "succeeded", None)
    assert told["requested_by"] == "assistant"
    assert "rack" in json.dumps(told["result"])


def test_a_tool_that_changes_something_is_carried_out_once_a_person_approved_it(ask, restarts):
    before = restarts()
    told = ask("restart_docker_container", {"source": "engine", "container": "web"})
    assert told["asked"] == "pending"
    assert restarts() == before
    told = ask("restart_docker_container", {"source": "engine", "container": "web"}, ALICE)
    assert told["waiting"] == ["restart_docker_container"]
    assert (told["accepted"], told["status"], told["error"]) == (True, "succeeded", None)
    assert told["approved_by"] == "alice"
    assert sorted(restarts()) == sorted([*before, "web"])


def test_the_journal_names_the_call_and_neither_arguments_nor_tokens(scenario):
    hosts = [testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}") for name in WITH_ENGINE]
    said = "\n".join(each.check_output("journalctl --no-pager --unit mission-control-tools") for each in hosts)
    assert "restart_docker_container" in said
    assert '"web"' not in said
    for each in hosts:
        for token in (ASSISTANT, ALICE):
            assert each.run("journalctl --no-pager | grep --fixed-strings --quiet -- %s", token).rc == 1


def test_the_login_of_the_executor_is_not_that_of_the_application(host):
    login = host.file("/etc/mission-control/tools/credentials/database.env").content_string
    assert "POSTGRES_USER='mission_control_executor'\n" in login
