"""`mission-control mcp`, asked by the official client and in bare lines, against a real database and an executor."""

import json
import re
import shlex

import pytest
from command import COMMAND, ROOT, environment_of
from mcp import StdioServerParameters
from mcp_lab import CLIENT, calls, converse, converse_with, sessions
from tool_lab import ASSISTANT, GREET, LIST, REMOVE, RESTART, StandInExecutor, provide_tools


@pytest.fixture
def lab(database):
    provide_tools(database)
    return database


@pytest.fixture
def executor(lab):
    with StandInExecutor(lab) as executor:
        yield executor


def configured_server(page, home):
    """The server of the page's .mcp.json, with the variables put in that Claude Code puts in."""
    text = re.search(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    given = {"HOME": str(home), "MISSION_CONTROL_TOOL_TOKEN": ASSISTANT}
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda name: given[name[1]], text))["mcpServers"]["mission-control"]


def test_the_tools_are_listed_as_the_rows_say(lab, tmp_path):
    """By the configuration of Claude Code that the page shows."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    command = home / "bin" / "mission-control"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    login = environment_of(lab)
    lines = [f"{name}={value}\n" for name, value in login.items() if name.startswith("POSTGRES_")]
    (home / ".config/mission_control").mkdir(parents=True)
    (home / ".config/mission_control/database.env").write_text("".join(lines), encoding="utf-8")
    configured = configured_server((ROOT / "docs/mcp.md").read_text(encoding="utf-8"), home)
    kept = {name: value for name, value in login.items() if not name.startswith(("POSTGRES_", "MISSION_CONTROL_"))}
    environment = {**kept, **configured["env"], "PATH": f"{command.parent}:{login['PATH']}"}
    server = StdioServerParameters(command=str(command), args=configured["args"], env=environment, cwd="/")

    # From before tools came under policy, with no operation; and with a name that clients refuse.
    lab.session("admin").run(
        "INSERT INTO tool_definitions (name, risk_level, operation) "
        "VALUES ('old_tool', 'READ_ONLY', NULL), ('my odd tool', 'READ_ONLY', 'list_hosts')"
    )

    async def conversation(client):
        return await client.list_tools(), client.server_info, client.instructions

    listed, information, instructions = converse_with(server, conversation, mode="legacy")
    assert configured["command"] == command.name
    names = [tool.name for tool in listed.tools]
    assert names == sorted(names) == ["await_tool_call", "cancel_tool_call", GREET, LIST, REMOVE, RESTART]
    tools = {tool.name: tool for tool in listed.tools}
    hints = {name: (tool.annotations.read_only_hint, tool.annotations.destructive_hint) for name, tool in tools.items()}
    assert (hints[LIST], hints[RESTART], hints[REMOVE]) == ((True, False), (False, False), (False, True))
    assert tools[RESTART].input_schema["required"] == ["name"]
    assert tools[GREET].input_schema["required"] == ["name"]
    assert tools[REMOVE].input_schema == {"type": "object"}
    assert information.name == "mission-control"
    assert "approval" in instructions
    # A client that only looks leaves nothing.
    assert sessions(lab) == []


def test_calls_are_answered_denied_and_recorded(lab, executor):
    async def conversation(client):
        return [
            await client.call_tool(LIST, {"kind": "vm"}),
            await client.call_tool(REMOVE, {}),
            await client.call_tool("no_such_tool", {}),
            await client.call_tool(LIST, {"most": 0}),
            await client.call_tool(GREET, {"name": "alice"}),
        ]

    allowed, denied, unknown, wrong, greeted = converse(lab, conversation, mode="auto")
    assert not allowed.is_error
    assert json.loads(allowed.content[0].text) == {"things": ["nas", "plex"], "kind": "vm"}
    assert allowed.structured_content["result"] == {"things": ["nas", "plex"], "kind": "vm"}
    assert denied.is_error
    assert "DESTRUCTIVE" in denied.content[0].text
    assert (denied.structured_content["status"], denied.structured_content["policy"]) == ("denied", None)
    assert unknown.is_error
    assert unknown.content[0].text.startswith("Denied: ")
    assert wrong.is_error
    assert "most" in wrong.content[0].text
    assert not greeted.is_error
    assert calls(lab) == [
        (LIST, "succeeded", "assistant"),
        (REMOVE, "denied", "assistant"),
        (GREET, "succeeded", "assistant"),
    ]
    assert sessions(lab) == [(f"MCP session of {CLIENT}", "succeeded", None)]
