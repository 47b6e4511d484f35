"""The official client of the Model Context Protocol with `mission-control mcp` as its server, and the bare protocol without it."""

import json
import subprocess
import sys

import anyio
from command import COMMAND, environment_of
from library_client import client_of
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import Implementation
from tool_lab import APPROVER, ASSISTANT

CLIENT = "claude-code"


def server_parameters(database, *arguments, token=ASSISTANT, command=COMMAND, **more):
    environment = environment_of(database, MISSION_CONTROL_TOOL_TOKEN=token, **more)
    return StdioServerParameters(command=command[0], args=[*command[1:], "mcp", *arguments], env=environment, cwd="/")


def converse(database, conversation, *arguments, mode="legacy", **options):
    """What an asynchronous function of the connected client returns; the server has ended then."""
    return converse_with(server_parameters(database, *arguments, **options), conversation, mode)


def converse_with(server, conversation, mode):
    """The same with a server that is started otherwise."""

    async def talk():
        with anyio.fail_after(120):
            transport = stdio_client(server)
            async with Client(
                transport, mode=mode, client_info=Implementation(name=CLIENT, version="1"), cache=None
            ) as client:
                return await conversation(client)

    return anyio.run(talk)


def sessions(database):
    """Title, status and error of the runs of sessions."""
    return [
        tuple(row.values())
        for row in database.session("application").rows(
            "SELECT t.title, r.status, r.error FROM task_runs AS r JOIN tasks AS t ON t.id = r.task_id "
            "WHERE t.created_by = 'mission-control mcp' ORDER BY r.created_at"
        )
    ]


def calls(database):
    """Tool, status and who asked of all calls."""
    return [
        tuple(row.values())
        for row in database.session("application").rows(
            "SELECT tool_name, status, requested_by FROM tool_call_overview ORDER BY created_at"
        )
    ]


def approve(database, call_id):
    """As alice, when a person may."""
    with client_of(database, tool_token=APPROVER) as client:
        client.tools.wait(call_id, until=lambda call: call.waits_for_approval)
        assert client.tools.approve(call_id).accepted


class BareClient:
    """Lines of JSON on the pipes of a server, nothing between."""

    def __init__(self, database, *arguments, command=COMMAND, **more):
        environment = environment_of(database, MISSION_CONTROL_TOOL_TOKEN=ASSISTANT, **more)
        self.process = subprocess.Popen(
            [*command, "mcp", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
        )

    def __enter__(self):
        self.said = []
        self.ask(
            "initialize",
            0,
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": CLIENT, "version": "1"},
        )
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def send(self, message):
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self):
        """The next message; every line must be one."""
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def answer(self, request_id):
        while (message := self.read()).get("id") != request_id:
            pass
        return message

    def ask(self, method, request_id, **parameters):
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": parameters})
        return self.answer(request_id)

    def call(self, request_id, tool, **arguments):
        return self.ask("tools/call", request_id, name=tool, arguments=arguments)["result"]

    def leave(self):
        """Close the input, as a client does that is done: exit status, and what was still said."""
        out, err = self.process.communicate(timeout=60)
        for line in out.splitlines():
            assert json.loads(line)["jsonrpc"] == "2.0"
        return self.process.returncode, err.decode()


# A thread that writes to standard output in every way there is, as soon as the protocol's library is there.
NOISY_COMMAND = [
    sys.executable,
    "-c",
    COMMAND[2].replace(
        "raise SystemExit",
        "import os, sys, threading, time\n"
        "def shout():\n"
        "    while 'mcp' not in sys.modules: time.sleep(0.001)\n"
        "    while True:\n"
        "        os.write(1, b'noise'); print('noise', flush=True); os.system('echo noise'); time.sleep(0.01)\n"
        "threading.Thread(target=shout, daemon=True).start()\n"
        "raise SystemExit",
    ),
]
