"""Sessions of `mission-control mcp` that last, break off or go wrong, by the official client and in bare lines."""

import json
import signal
import threading
import time

import anyio
import pytest
from library_client import client_of
from mcp import MCPError
from mcp_lab import CLIENT, NOISY_COMMAND, BareClient, approve, calls, converse, sessions
from tool_lab import LIST, OTHER_ASSISTANT, RESTART, StandInExecutor, provide_tools, task_run

MODES = ("legacy", "auto")


@pytest.fixture
def lab(database):
    provide_tools(database)
    return database


@pytest.fixture
def executor(lab):
    with StandInExecutor(lab) as executor:
        yield executor


def test_a_call_that_needs_approval_says_so_and_can_be_awaited(lab, executor):
    async def conversation(client):
        asked = await client.call_tool(RESTART, {"name": "plex"})
        call_id = asked.structured_content["call_id"]
        assert f"mission-control calls approve {call_id}" in asked.content[0].text
        assert "await_tool_call" in asked.content[0].text
        assert not asked.is_error
        assert asked.structured_content["waits_for_approval"]
        early = await client.call_tool("await_tool_call", {"call_id": call_id, "seconds": 0})
        assert early.structured_content["status"] == "pending"
        threading.Timer(0.3, approve, [lab, call_id]).start()
        return await client.call_tool("await_tool_call", {"call_id": call_id})

    result = converse(lab, conversation)
    assert (result.is_error, result.structured_content["result"]) == (False, {"done": True})
    assert executor.done == [(RESTART, {"name": "plex"})]


def test_a_call_that_takes_longer_goes_on_and_progress_is_told(lab, executor, monkeypatch):
    executor.holds.set()
    told = []

    async def progress(step, _total, message):
        told.append((step, message))

    async def conversation(client):
        first = await client.call_tool(LIST, {}, progress_callback=progress)
        executor.holds.clear()
        return first, await client.call_tool("await_tool_call", {"call_id": first.structured_content["call_id"]})

    # Longer than the time after which who asked for progress hears of it.
    first, second = converse(lab, conversation, "--wait", "6")
    assert not first.is_error
    assert first.structured_content["status"] == "approved"
    assert "await_tool_call" in first.content[0].text
    assert second.structured_content["status"] == "succeeded"
    assert [step for step, _message in told] == list(range(1, len(told) + 1))
    assert "waits for the executor" in told[0][1]


def test_calls_are_withdrawn_by_the_tool_and_by_the_protocol(lab, executor):
    executor.holds.set()

    async def conversation(client):
        asked = await client.call_tool(RESTART, {"name": "plex"})
        call_id = asked.structured_content["call_id"]
        withdrawn = await client.call_tool("cancel_tool_call", {"call_id": call_id})
        again = await client.call_tool("cancel_tool_call", {"call_id": call_id})
        with anyio.move_on_after(1):
            await client.call_tool(LIST, {})
        after = await client.list_tools()
        return withdrawn, again, after

    withdrawn, again, after = converse(lab, conversation)
    assert (withdrawn.is_error, withdrawn.structured_content["status"]) == (False, "cancelled")
    assert (again.is_error, again.structured_content["status"]) == (True, "cancelled")
    assert after.tools
    executor.holds.clear()
    wait_for(lambda: calls(lab) == [(RESTART, "cancelled", "assistant"), (LIST, "cancelled", "assistant")])
    assert executor.done == []


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_calls_of_others_are_out_of_reach(lab, executor):
    with client_of(lab, tool_token=OTHER_ASSISTANT) as other:
        theirs = str(other.tools.request(RESTART, {"name": "plex"}, task_run_id=task_run(other)).call_id)

    async def conversation(client):
        return [
            await client.call_tool(tool, {"call_id": call_id})
            for tool in ("await_tool_call", "cancel_tool_call")
            for call_id in (theirs, "nonsense")
        ]

    results = converse(lab, conversation)
    assert [result.is_error for result in results] == [True] * 4
    assert all("There is no call" in result.content[0].text for result in results)
    wait_for(lambda: calls(lab) == [(RESTART, "pending", "other")])


@pytest.mark.parametrize("mode", MODES)
def test_resources_are_bounded_json(lab, mode):
    application = lab.session("application")
    application.run(
        "INSERT INTO hosts (name, type, status) SELECT 'host-' || n, 'vm', 'online' FROM generate_series(1, 250) AS n"
    )

    async def conversation(client):
        listed = await client.list_resources()
        texts = {}
        for resource in listed.resources:
            read = await client.read_resource(resource.uri)
            texts[str(resource.uri)] = json.loads(read.contents[0].text)
        with pytest.raises(MCPError, match="There is no resource"):
            await client.read_resource("mission-control://passwords")
        return texts

    texts = converse(lab, conversation, mode=mode)
    assert set(texts) == {f"mission-control://{name}" for name in ("inventory", "runs", "usage")}
    inventory = texts["mission-control://inventory"]
    assert (len(inventory["list_hosts"]["hosts"]), inventory["list_hosts"]["more"]) == (200, True)
    assert inventory["list_workloads"] == {"workloads": [], "more": False}


def test_nothing_but_the_protocol_is_written_to_standard_output(lab, executor):
    with BareClient(lab, command=NOISY_COMMAND) as client:
        assert client.call(1, LIST)["structuredContent"]["status"] == "succeeded"
        for line in (b"nonsense", b"", b"[]", b'{"jsonrpc": "2.0"}', b"\xff\xfe", b"[" * 100_000, b'{"a": "\\ud800"}'):
            client.send(line)
        client.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "\ud800", "arguments": {}}})
        assert client.call(3, "\x1b]0;\u202e")["isError"]
        assert "tools" in client.ask("tools/list", 4)["result"]
        code, err = client.leave()
    assert code == 0
    assert "noise" in err
    assert "Traceback" not in err


def test_a_request_that_is_sent_again_is_one_call(lab, executor):
    with BareClient(lab) as client:
        first, second = client.call(7, LIST, kind="vm"), client.call(7, LIST, kind="vm")
        assert first["structuredContent"]["call_id"] == second["structuredContent"]["call_id"]
        # A text is another identifier than the number, and another call under a known one is none.
        assert client.call("7", LIST)["structuredContent"]["call_id"] != first["structuredContent"]["call_id"]
        assert client.call(7, LIST, kind="host")["isError"]
    assert len(executor.done) == 2


def test_an_abandoned_session_is_closed_by_the_next_one(lab, executor):
    with BareClient(lab) as client:
        client.call(1, LIST)
        client.process.kill()
    assert sessions(lab) == [(f"MCP session of {CLIENT}", "running", None)]
    with BareClient(lab) as client:
        client.call(1, LIST)
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(timeout=60) == -signal.SIGTERM
    assert sessions(lab) == [
        (f"MCP session of {CLIENT}", "failed", "The program that it belongs to ended without closing it."),
        (f"MCP session of {CLIENT}", "cancelled", "The session was ended by a signal."),
    ]


def test_a_client_that_goes_away_withdraws_what_has_not_begun(lab, executor):
    executor.holds.set()
    with BareClient(lab) as client:
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": LIST, "arguments": {}}})
        wait_for(lambda: calls(lab) == [(LIST, "approved", "assistant")])
        assert client.leave()[0] == 0
    assert calls(lab) == [(LIST, "cancelled", "assistant")]
    assert [status for _title, status, _error in sessions(lab)] == ["succeeded"]


def test_the_server_outlives_the_database(restartable):
    provide_tools(restartable)
    restartable.session("admin").run("CHECKPOINT")
    restartable.close()
    restartable.cluster.stop()
    with BareClient(restartable, "--connect-timeout", "2", "--wait", "20") as client:
        refused = client.ask("tools/list", 1)["error"]
        assert (refused["code"], "Cannot connect" in refused["message"]) == (-32603, True)
        assert "error" in client.ask("tools/call", 2, name=LIST, arguments={})
        restartable.cluster.start()
        assert len(client.ask("tools/list", 3)["result"]["tools"]) == 6
        with StandInExecutor(restartable):
            assert client.call(4, LIST)["structuredContent"]["status"] == "succeeded"
        # It goes away while a call is waited for.
        client.send({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": LIST, "arguments": {}}})
        wait_for(lambda: len(calls(restartable)) == 2)
        restartable.close()
        restartable.cluster.stop()
        left = client.answer(5)["result"]
        assert (left["isError"], "do not ask for it again" in left["content"][0]["text"]) == (True, True)
        assert left["structuredContent"]["call_id"]
        restartable.cluster.start()
        with StandInExecutor(restartable):
            assert client.call(6, LIST)["structuredContent"]["status"] == "succeeded"
        assert client.leave()[0] == 0
