"""Tools under policy in the database: what is decided, the life of a call, and what stays in the audit log."""

import hashlib
import json
import uuid

import pytest

REQUESTER = "r" * 32
APPROVER = "a" * 40
TOOLS = [
    {"name": "list_things", "risk_level": "READ_ONLY", "connector": "lab", "operation": "list"},
    {
        "name": "restart",
        "description": "Restart a thing",
        "risk_level": "SAFE_MUTATE",
        "connector": "lab",
        "operation": "restart",
        "arguments_schema": {"type": "object"},
    },
    {"name": "wipe", "risk_level": "DESTRUCTIVE", "connector": "lab", "operation": "wipe", "preset": {"force": False}},
]
TOKENS = [("claude", "requester", REQUESTER), ("alice", "approver", APPROVER)]


class Lab:
    """A database with three tools, and sessions of all who take part."""

    def __init__(self, database):
        self.database = database
        self.admin = database.session("admin")
        self.provisioner = database.session("audit")
        self.application = database.session("application")
        self.executor = database.session("executor")
        self.approver = database.session("approver")
        task = self.application.insert("tasks", title="Look after things", created_by="test")
        self.run = self.application.insert("task_runs", task_id=task["id"], status="running")["id"]
        self.tools(*TOOLS)
        self.tokens(*TOKENS)

    def tools(self, *tools):
        return self.provisioner.value("SELECT apply_tools(%s, '[]')", json.dumps(tools))

    def policies(self, *policies):
        return self.provisioner.value("SELECT apply_policies(%s)", json.dumps(policies))

    def tokens(self, *tokens):
        entries = [
            {"name": name, "kind": kind, "sha256": hashlib.sha256(token.encode()).hexdigest()}
            for name, kind, token in tokens
        ]
        return self.provisioner.value("SELECT apply_tool_tokens(%s)", json.dumps(entries))

    def decide(self, tool, arguments=None, caller="claude"):
        row = self.application.row(
            "SELECT * FROM tool_policy_decision(%s, %s, %s)", tool, json.dumps(arguments or {}), caller
        )
        return row["effect"], row["policy"]

    def request(self, tool="restart", arguments=None, key=None, token=None, session=None, run=None):
        return (session or self.application).row(
            "SELECT * FROM request_tool_call(%s, %s, %s, %s, %s)",
            run or self.run,
            tool,
            json.dumps(arguments if arguments is not None else {}),
            key,
            token,
        )

    def check(self, call, problem=None):
        return self.executor.row("SELECT * FROM check_tool_call(%s, %s)", call, problem)

    def approve(self, call, decision="approve", token=None, session=None, reason=None):
        if token:
            return (session or self.application).row(
                "SELECT * FROM decide_tool_call(%s, %s, %s, %s)", call, decision, reason, token
            )
        return (session or self.approver).row("SELECT * FROM decide_tool_call(%s, %s, %s)", call, decision, reason)

    def start(self, call, execution=None, session=None):
        return (session or self.executor).row(
            "SELECT * FROM start_tool_call(%s, %s, %s)", call, execution or str(uuid.uuid4()), json.dumps({"pid": 1})
        )

    def finish(self, call, execution, status="succeeded", result=None, error=None):
        return self.executor.row(
            "SELECT * FROM finish_tool_call(%s, %s, %s, %s, %s)", call, execution, status, json.dumps(result), error
        )

    def asked(self, tool="restart", **more):
        """The id of a call that waits for a person."""
        call = self.request(tool, **more)
        assert call["status"] == "pending", call
        self.check(call["call_id"])
        return call["call_id"]

    def call(self, call):
        return self.admin.row("SELECT * FROM tool_call_records WHERE id = %s", call)

    def set(self, call, **columns):
        """Change a stored call as only a superuser can."""
        for name, value in columns.items():
            assert self.admin.run(f"UPDATE tool_call_records SET {name} = {value} WHERE id = %s", call) == 1

    def audit(self, call=None):
        """Action, outcome and actor of the entries about a call, or about those that were not stored."""
        return [
            (row["action"].removeprefix("tool_call."), row["outcome"], row["actor"])
            for row in self.admin.rows(
                "SELECT action, outcome, actor FROM audit_entries "
                "WHERE action LIKE 'tool_call.%%' AND target_id IS NOT DISTINCT FROM %s ORDER BY id",
                call,
            )
        ]


@pytest.fixture
def lab(database):
    return Lab(database)


def test_a_call_that_needs_a_person_runs_once_after_one_has_approved_it(lab):
    call = lab.request("restart", {"name": "plex"}, token=REQUESTER)
    assert (call["status"], call["policy"]) == ("pending", None)
    number = call["call_id"]
    assert lab.approve(number)["reason"] == "the executor has not checked the arguments yet: try again when it has"
    assert lab.check(number)["accepted"]
    (waiting,) = lab.approver.rows("SELECT * FROM waiting_tool_calls()")
    assert (waiting["id"], waiting["tool_name"], waiting["arguments"]) == (number, "restart", {"name": "plex"})
    assert (waiting["requested_by"], waiting["requested_login"]) == ("claude", "mission_control")
    assert lab.start(number)["reason"] == "the call is pending"
    assert lab.approve(number, token=APPROVER) == {"accepted": True, "status": "approved", "reason": call["reason"]}
    execution = str(uuid.uuid4())
    started = lab.start(number, execution)
    assert started == {
        "accepted": True,
        "status": "running",
        "reason": call["reason"],
        "tool": "restart",
        "connector": "lab",
        "operation": "restart",
        "arguments": {"name": "plex"},
        "timeout_seconds": 60,
        "output_limit_bytes": 65536,
    }
    assert not lab.start(number)["accepted"]
    assert not lab.finish(number, str(uuid.uuid4()))["accepted"]
    assert lab.finish(number, execution, result={"restarted": True})["accepted"]
    stored = lab.call(number)
    assert (stored["status"], stored["result"], stored["approved_by"]) == ("succeeded", {"restarted": True}, "alice")
    assert lab.audit(number) == [
        ("request", "success", "claude"),
        ("approve", "denied", "mission_control_approver"),
        ("start", "denied", "mission_control_executor"),
        ("approve", "success", "alice"),
        ("start", "success", "mission_control_executor"),
        ("start", "denied", "mission_control_executor"),
        ("finish", "denied", "mission_control_executor"),
        ("finish", "success", "mission_control_executor"),
    ]
    assert lab.admin.value("SELECT valid FROM verify_audit_chain()")
