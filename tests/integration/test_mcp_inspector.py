"""The inspector of the Model Context Protocol (scripts/mcp-inspector), a client that others wrote, with `mission-control mcp` as its server."""

import json
import os
import shlex
import subprocess

import pytest
from command import COMMAND, ROOT, environment_of
from library_client import client_of
from tool_lab import APPROVER, ASSISTANT, LIST, REMOVE, RESTART, StandInExecutor, provide_tools

# What the inspector ends with where a tool says that it failed.
TOOL_FAILED = 5


@pytest.fixture
def inspect(database, tmp_path):
    """What the inspector prints for a method, as JSON; each time with a session of its own."""
    provide_tools(database)
    environment = environment_of(database, MISSION_CONTROL_TOOL_TOKEN=ASSISTANT)
    assignments = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    server = tmp_path / "server"

    def run(method, *arguments, options="", code=0):
        server.write_text(f"#!/bin/sh\n{assignments}exec {shlex.join(COMMAND)} mcp {options}\n", encoding="utf-8")
        server.chmod(0o755)
        ended = subprocess.run(
            [str(ROOT / "scripts/mcp-inspector"), str(server), "--method", method, *arguments],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ended.returncode == code, ended.stderr
        return json.loads(ended.stdout)

    return run


def test_the_tools_are_listed_and_their_schemas_are_portable(inspect):
    listed = inspect("tools/list", "--strict")
    assert {LIST, REMOVE, RESTART, "await_tool_call", "cancel_tool_call"} <= {tool["name"] for tool in listed["tools"]}
    resources = inspect("resources/list")["resources"]
    assert len(resources) == 3
    for resource in resources:
        json.loads(inspect("resources/read", "--uri", resource["uri"])["contents"][0]["text"])


def test_calls_are_carried_out_denied_approved_and_withdrawn(database, inspect):
    def call(tool, *pairs, **options):
        arguments = [word for pair in pairs for word in ("--tool-arg", pair)]
        return inspect("tools/call", "--tool-name", tool, *arguments, **options)

    with StandInExecutor(database) as executor, client_of(database, tool_token=APPROVER) as alice:
        assert call(LIST, "kind=vm")["structuredContent"]["result"]["kind"] == "vm"
        denied = call(REMOVE, code=TOOL_FAILED)
        assert denied["isError"]
        assert denied["structuredContent"]["status"] == "denied"
        waiting = call(RESTART, "name=plex")["structuredContent"]
        assert waiting["waits_for_approval"]
        assert alice.tools.approve(waiting["call_id"]).accepted
        assert call("await_tool_call", f"call_id={waiting['call_id']}")["structuredContent"]["status"] == "succeeded"
        executor.holds.set()
        late = call(LIST, options="--wait 0.3")["structuredContent"]
        assert late["status"] == "approved"
        assert call("cancel_tool_call", f"call_id={late['call_id']}")["structuredContent"]["status"] == "cancelled"
    assert [tool for tool, _arguments in executor.done] == [LIST, RESTART]
