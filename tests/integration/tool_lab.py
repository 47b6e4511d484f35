"""Tools, policies and tokens in a test's database, and an executor in a thread that carries out what the tests say."""

import contextlib
import hashlib
import json
import threading
import uuid

from ansible_collections.homelab.mission_control.plugins.module_utils.database.driver import Json
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import MissionControlError
from ansible_collections.homelab.mission_control.plugins.module_utils.processes import this_process
from ansible_collections.homelab.mission_control.plugins.module_utils.tools.schemas import argument_problems
from library_client import client_of

ASSISTANT, OTHER_ASSISTANT = "assistant-token-of-thirty-two-characters", "other-assistant-token-of-32-characters"
APPROVER = "approver-token-of-thirty-two-characters.."
TOKENS = (
    ("assistant", "requester", ASSISTANT),
    ("other", "requester", OTHER_ASSISTANT),
    ("alice", "approver", APPROVER),
)
LIST, RESTART, REMOVE, GREET = "list_things", "restart_thing", "remove_thing", "greet"
_NAME = {"type": "string", "maxLength": 40}
TOOLS = (
    {
        "name": LIST,
        "description": "Lists things.",
        "risk_level": "READ_ONLY",
        "arguments_schema": {
            "type": "object",
            "properties": {"kind": _NAME, "most": {"type": "integer", "minimum": 1}},
            "additionalProperties": False,
        },
    },
    {
        "name": RESTART,
        "description": "Restarts a thing.",
        "risk_level": "SAFE_MUTATE",
        "arguments_schema": {
            "type": "object",
            "properties": {"name": _NAME},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
    {"name": REMOVE, "description": "Removes everything.", "risk_level": "DESTRUCTIVE", "arguments_schema": {}},
    {
        "name": GREET,
        "description": "Greets.",
        "risk_level": "READ_ONLY",
        "preset": {"greeting": "Good day"},
        "arguments_schema": {
            "type": "object",
            "properties": {"greeting": _NAME, "name": _NAME},
            "required": ["greeting", "name"],
            "additionalProperties": False,
        },
    },
)


def provide_tools(database, tools=TOOLS, policies=(), tokens=TOKENS):
    """Bring these into the database as the role of the schema does."""
    admin = database.session("admin")
    entries = [{"connector": "mission_control", "operation": "list_hosts", **tool} for tool in tools]
    hashed = [
        {"name": name, "kind": kind, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for name, kind, token in tokens
    ]
    # As the audit role: nobody else may write there.
    admin.run("SET ROLE mission_control_audit")
    admin.value("SELECT apply_tools('[]', %s::jsonb)", json.dumps(entries))
    admin.value("SELECT apply_policies(%s::jsonb)", json.dumps(list(policies)))
    admin.value("SELECT apply_tool_tokens(%s::jsonb)", json.dumps(hashed))
    admin.run("RESET ROLE")


def task_run(client, title="a test"):
    """A run of the application that goes on."""
    task = client.query_one("INSERT INTO tasks (title, created_by) VALUES (%s, 'test') RETURNING id", [title])
    return client.query_one(
        "INSERT INTO task_runs (task_id, status, started_at) VALUES (%s, 'running', now()) RETURNING id", [task["id"]]
    )["id"]


class StandInExecutor:
    """Checks and carries out calls as the executor's login, by functions of the tests instead of connectors.

    Attributes:
        done: tool and arguments of each call that was carried out.
        works: by the name of a tool, a function of its arguments that gives the result; what it raises is the error.
        holds: while it is set nothing is begun, though calls are checked.
    """

    def __init__(self, database, **works):
        self.done = []
        self.works = {LIST: lambda arguments: {"things": ["nas", "plex"], **arguments}, **works}
        self.holds = threading.Event()
        self._client = client_of(database, "executor", pool_size=1)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._end.set()
        self._thread.join(20)
        self._client.disconnect(1)
        assert not self._thread.is_alive()

    def _run(self):
        while not self._end.wait(0.02):
            # Tests restart the server.
            with contextlib.suppress(MissionControlError):
                self._work()

    def _work(self):
        rows = self._client.query_many(
            "SELECT c.id, c.tool_name, c.status, c.arguments, c.checked_at IS NULL AS is_new, t.arguments_schema "
            "FROM tool_call_overview AS c JOIN tool_definitions AS t ON t.name = c.tool_name "
            "WHERE c.status IN ('pending', 'approved') ORDER BY c.created_at"
        )
        for row in rows:
            if row["is_new"]:
                problems = argument_problems(row["arguments_schema"], row["arguments"])
                self._client.query("SELECT check_tool_call(%s, %s)", [row["id"], " ".join(problems) or None])
            elif row["status"] == "approved" and not self.holds.is_set():
                self._carry_out(row)

    def _carry_out(self, row):
        execution = uuid.uuid4()
        answer = self._client.query_one(
            "SELECT * FROM start_tool_call(%s, %s, %s)", [row["id"], execution, Json(this_process())]
        )
        if not answer["accepted"]:
            return
        self.done.append((answer["tool"], answer["arguments"]))
        result, error, status = None, None, "succeeded"
        try:
            result = self.works.get(answer["tool"], lambda arguments: {"done": True})(answer["arguments"])
        except Exception as problem:
            error, status = str(problem), "failed"
        self._client.query(
            "SELECT finish_tool_call(%s, %s, %s, %s::jsonb, %s)",
            [row["id"], execution, status, json.dumps(result), error],
        )
