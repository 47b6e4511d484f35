"""Tools under policy in the database: what is decided, the life of a call, and what stays in the audit log."""

import datetime
import hashlib
import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from mission_control_database import Session
from sample_rows import WRITTEN_BY_FUNCTIONS, insert_as_superuser

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


def policy(name, effect, **more):
    return {"name": name, "effect": effect, **({} if "risk_levels" in more else {"tools": ["*"]}), **more}


DECISIONS = {
    "the default of what only reads": ([], "list_things", {}, ("allow", None)),
    "the default of what can be changed back": ([], "restart", {}, ("require_approval", None)),
    "the default of what may lose something": ([], "wipe", {}, ("deny", None)),
    "an unknown tool": ([policy("all", "allow")], "nothing", {}, ("deny", None)),
    "a policy for every tool": ([policy("all", "allow")], "wipe", {}, ("allow", "all")),
    "by name": ([policy("p", "deny", tools=["restart", "x"])], "restart", {}, ("deny", "p")),
    "another name": ([policy("p", "deny", tools=["Restart"])], "restart", {}, ("require_approval", None)),
    "by risk": ([policy("p", "deny", risk_levels=["READ_ONLY"])], "list_things", {}, ("deny", "p")),
    "another risk": ([policy("p", "deny", risk_levels=["READ_ONLY"])], "restart", {}, ("require_approval", None)),
    "disabled": ([policy("p", "deny", enabled=False)], "list_things", {}, ("allow", None)),
    "the highest priority": (
        [policy("low", "deny", priority=1), policy("high", "allow", priority=2)],
        "wipe",
        {},
        ("allow", "high"),
    ),
    "the strictest of a priority": (
        [policy("a", "allow"), policy("b", "require_approval"), policy("c", "deny"), policy("d", "allow")],
        "restart",
        {},
        ("deny", "c"),
    ),
    "the first name of an effect": ([policy("b", "deny"), policy("B", "deny")], "restart", {}, ("deny", "B")),
    "arguments that are there": (
        [policy("p", "allow", conditions={"arguments": {"name": "plex", "deep": {"a": 1}}})],
        "restart",
        {"name": "plex", "deep": {"a": 1, "b": 2}, "more": 1},
        ("allow", "p"),
    ),
    "arguments that are not": (
        [policy("p", "allow", conditions={"arguments": {"name": "plex"}})],
        "restart",
        {"name": "blog"},
        ("require_approval", None),
    ),
    "an argument in a list": (
        [policy("p", "allow", conditions={"arguments_in": {"name": ["plex", "blog"], "n": [1]}})],
        "restart",
        {"name": "blog", "n": 1.0},
        ("allow", "p"),
    ),
    "one of two arguments in its list": (
        [policy("p", "allow", conditions={"arguments_in": {"name": ["plex", "blog"], "n": [1]}})],
        "restart",
        {"name": "blog", "n": True},
        ("require_approval", None),
    ),
    "an argument in a list that is missing": (
        [policy("p", "allow", conditions={"arguments_in": {"name": [None]}})],
        "restart",
        {},
        ("require_approval", None),
    ),
    "an object that is a part of one in the list": (
        [policy("p", "allow", conditions={"arguments_in": {"where": [{"a": 1, "b": 2}, [1, 2]]}})],
        "restart",
        {"where": {"a": 1}},
        ("require_approval", None),
    ),
    "a list that is in the list": (
        [policy("p", "allow", conditions={"arguments_in": {"where": [{"a": 1, "b": 2}, [1, 2]]}})],
        "restart",
        {"where": [1, 2]},
        ("allow", "p"),
    ),
    "an element of a list in the list": (
        [policy("p", "allow", conditions={"arguments_in": {"where": [[1, 2]]}})],
        "restart",
        {"where": 1},
        ("require_approval", None),
    ),
    "an argument null": (
        [policy("p", "allow", conditions={"arguments_in": {"name": [None]}})],
        "restart",
        {"name": None},
        ("allow", "p"),
    ),
    "a caller": ([policy("p", "allow", conditions={"callers": ["x", "claude"]})], "restart", {}, ("allow", "p")),
    "another caller": (
        [policy("p", "allow", conditions={"callers": ["x"]})],
        "restart",
        {},
        ("require_approval", None),
    ),
    "the preset counts": (
        [policy("p", "allow", conditions={"arguments": {"force": False}})],
        "wipe",
        {"force": True},
        ("allow", "p"),
    ),
}


@pytest.fixture(scope="module")
def shared_lab(shared_database):
    return Lab(shared_database)


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision(shared_lab, name):
    policies, tool, arguments, expected = DECISIONS[name]
    shared_lab.policies(*policies)
    assert shared_lab.decide(tool, arguments) == expected


@pytest.mark.parametrize(
    "conditions",
    [
        {"night": True},
        {"callers": []},
        {"callers": "claude"},
        {"callers": ["claude", 1]},
        {"arguments": []},
        {"arguments": None},
        {"arguments_in": {"name": []}},
        {"arguments_in": {"name": "plex"}},
        {"arguments_in": [["a"]]},
    ],
    ids=json.dumps,
)
def test_conditions_that_are_not_known_are_refused_and_where_they_are_there_already_deny(shared_lab, conditions):
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="the policy odd"):
        shared_lab.policies(policy("odd", "allow", conditions=conditions))
    shared_lab.policies(policy("odd", "allow"))
    admin = shared_lab.admin
    with pytest.raises(psycopg2.errors.CheckViolation, match="ck_policies_conditions_known"):
        admin.run("UPDATE policies SET conditions = %s WHERE name = 'odd'", json.dumps(conditions))
    try:
        admin.run("ALTER TABLE policies DROP CONSTRAINT ck_policies_conditions_known")
        admin.run("UPDATE policies SET conditions = %s WHERE name = 'odd'", json.dumps(conditions))
        decided = shared_lab.application.row("SELECT * FROM tool_policy_decision('list_things', '{}', 'claude')")
        assert (decided["effect"], decided["policy"]) == ("deny", "odd")
        assert decided["reason"].endswith(f"not known or not well-formed: {next(iter(conditions))}")
    finally:
        admin.run("ALTER TABLE policies ADD CONSTRAINT ck_policies_conditions_known CHECK (conditions_known) NOT VALID")
        shared_lab.policies()


def test_a_read_only_tool_runs_without_a_person_and_its_permission_ends_by_itself(lab):
    call = lab.request("list_things")
    assert call["status"] == "approved"
    stored = lab.call(call["call_id"])
    assert stored["approved_by"] is None
    assert stored["approval_expires_at"] - stored["created_at"] == datetime.timedelta(hours=1)
    assert lab.start(call["call_id"])["accepted"]
    late = lab.request("list_things")["call_id"]
    lab.set(late, approval_expires_at="now()")
    assert lab.start(late)["status"] == "expired"
    assert lab.call(late)["status"] == "expired"
    assert lab.audit(late)[-1] == ("start", "denied", "mission_control_executor")


REFUSED = {
    "an unknown tool": ({"tool": "nothing"}, "there is no tool nothing"),
    "a tool without a name": ({"tool": None}, "there is no tool "),
    "arguments that are a list": ({"arguments": [1]}, "the arguments are no JSON object"),
    "arguments that are too large": (
        {"arguments": {"a": "x" * 70000}},
        "the arguments is longer as text than 65536 bytes, which is the limit",
    ),
    "an unknown token": ({"token": "x" * 32}, "the token is not known"),
    "a token that is too short": ({"token": ""}, "the token is not known"),
    "the token of an approver": ({"token": APPROVER}, "the token is not known"),
    "a run that is not there": (
        {"run": "00000000-0000-0000-0000-000000000000"},
        "there is no task run 00000000-0000-0000-0000-000000000000",
    ),
    "a key that is too long": ({"key": "k" * 256}, "the idempotency key must have 1 to 255 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_asked_for_is_a_refused_row_and_stays_in_the_audit_log(shared_lab, name):
    more, reason = REFUSED[name]
    before = len(shared_lab.audit())
    answer = shared_lab.request(**more)
    assert (answer["call_id"], answer["status"], answer["policy"]) == (None, "denied", None)
    assert answer["reason"].startswith(reason)
    assert shared_lab.audit()[before:] == [("request", "denied", "mission_control")]


def test_a_denied_call_is_kept_and_does_not_start(lab):
    lab.policies(policy("never", "deny", tools=["restart"]))
    call = lab.request()
    assert (call["status"], call["policy"], call["reason"]) == ("denied", "never", "the policy never denies it")
    assert not lab.check(call["call_id"])["accepted"]
    assert not lab.approve(call["call_id"])["accepted"]
    assert not lab.start(call["call_id"])["accepted"]
    assert lab.call(call["call_id"])["status"] == "denied"
    assert lab.audit(call["call_id"])[0] == ("request", "denied", "mission_control")


def test_what_a_tool_fixes_cannot_be_given_otherwise(lab):
    lab.policies(policy("all", "allow"))
    assert lab.request("wipe", {"force": True})["status"] == "denied"
    call = lab.request("wipe", {"force": False, "name": "disk"})
    assert lab.start(call["call_id"])["arguments"] == {"force": False, "name": "disk"}
    assert lab.start(lab.request("wipe")["call_id"])["arguments"] == {"force": False}


def test_the_same_key_is_the_same_call(lab):
    first = lab.request("restart", {"n": 1}, key="k")
    assert lab.request("restart", {"n": 1.0}, key="k") == first
    for other in (
        {"tool": "list_things", "arguments": {"n": 1}},
        {"arguments": {"n": 2}},
        {"arguments": {"n": 1}, "token": REQUESTER},
    ):
        answer = lab.request(key="k", **other)
        assert (answer["call_id"], answer["status"]) == (None, "denied"), other
    assert lab.admin.value("SELECT count(*) FROM tool_call_records") == 1
    task = lab.application.insert("tasks", title="t", created_by="test")
    run = lab.application.insert("task_runs", task_id=task["id"], status="running")["id"]
    assert lab.request("restart", {"n": 2}, key="k", run=run)["status"] == "pending"


def test_the_same_key_at_the_same_time_is_one_call(lab):
    other = lab.database.session("application")
    with lab.application.transaction():
        first = lab.request("restart", {"n": 1}, key="k")
        waiting = []
        thread = threading.Thread(
            target=lambda: waiting.append(lab.request("restart", {"n": 1}, key="k", session=other))
        )
        thread.start()
        while not lab.admin.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            pass
    thread.join()
    assert waiting == [first]


def test_nobody_has_more_than_two_hundred_open_calls(lab):
    for _ in range(200):
        call = lab.request()["call_id"]
    answer = lab.request()
    assert answer["call_id"] is None
    assert answer["reason"].startswith("mission_control has 200 open calls, which is the limit")
    assert lab.request(token=REQUESTER)["call_id"]
    # What has run out is not open, whether or not somebody has marked it.
    lab.set(call, created_at="now() - interval '25 hours'")
    assert lab.request()["call_id"]


def test_wrong_arguments_deny_a_call_before_a_person_is_asked(lab):
    call = lab.request("restart", {"nam": "plex"})["call_id"]
    assert lab.approver.rows("SELECT * FROM waiting_tool_calls()") == []
    assert lab.check(call, "the argument nam is not known")["status"] == "denied"
    assert lab.call(call)["error"] == "the argument nam is not known"
    assert lab.audit(call)[-1] == ("check", "denied", "mission_control_executor")
    assert not lab.check(call)["accepted"]


def test_nobody_decides_about_what_he_asked_for(lab):
    lab.tokens(("alice", "requester", "q" * 32), ("alice", "approver", APPROVER), ("bob", "approver", "b" * 32))
    call = lab.asked(token="q" * 32)
    assert not lab.approve(call, token=APPROVER)["accepted"]
    assert lab.approve(call, token="b" * 32)["accepted"]
    assert [entry for entry in lab.audit(call) if entry[0] == "approve"] == [
        ("approve", "denied", "alice"),
        ("approve", "success", "bob"),
    ]
    # By the login, whatever token it asked with.
    lab.admin.run("CREATE ROLE two_roles LOGIN IN ROLE mission_control, mission_control_approver")
    try:
        session = Session(lab.database.cluster.connect(lab.database.name, "two_roles"))
        call = lab.asked(token="q" * 32, session=session)
        assert lab.call(call)["requested_login"] == "two_roles"
        assert not lab.approve(call, session=session)["accepted"]
        session.close()
    finally:
        lab.admin.run("DROP ROLE two_roles")


def test_who_may_decide(lab):
    call = lab.asked()
    unknown = lab.approve(call, token="x" * 40)
    assert (unknown["accepted"], unknown["status"]) == (False, None)
    assert not lab.approve(call, token=REQUESTER)["accepted"]
    assert lab.audit(call)[-1] == ("approve", "denied", "mission_control")
    for role in ("application", "service", "executor", "readonly", "monitor", "maintenance", "owner"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            lab.approve(call, session=lab.database.session(role))
    service = lab.database.session("service")
    assert lab.approve(call, "deny", token=APPROVER, session=service, reason=" not now ")["reason"] == "not now"
    assert (lab.call(call)["status"], lab.call(call)["approved_by"]) == ("denied", "alice")
    assert not lab.approve(call)["accepted"]
    with pytest.raises(psycopg2.errors.InvalidParameterValue):
        lab.approve(call, "perhaps")


def test_who_may_see_what_waits(lab):
    lab.asked("restart", arguments={"n": 1})
    earlier = lab.asked("restart", arguments={"n": 0})
    lab.approve(earlier)
    lab.start(earlier)
    service = lab.database.session("service")
    (row,) = service.rows("SELECT * FROM waiting_tool_calls(%s)", APPROVER)
    assert (row["arguments"], row["previous_arguments"]) == ({"n": 1}, {"n": 0})
    assert row["expires_at"] - row["created_at"] == datetime.timedelta(days=1)
    for session, token in ((service, None), (service, "x" * 40), (lab.application, None), (lab.application, REQUESTER)):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="shown to approvers"):
            session.rows("SELECT * FROM waiting_tool_calls(%s)", token)
    assert service.value("SELECT tool_token_name(%s)", APPROVER) == "alice"
    assert service.value("SELECT tool_token_name(%s)", REQUESTER) is None
    assert lab.application.value("SELECT tool_token_name(%s, 'requester')", REQUESTER) == "claude"
    assert service.value("SELECT tool_token_name(repeat('x', 1000000))") is None


def test_policies_and_tools_are_asked_again_when_a_person_approves_and_at_the_start(lab):
    call = lab.asked()
    lab.policies(policy("no more", "deny"))
    assert lab.approve(call) == {"accepted": False, "status": "denied", "reason": "the policy no more denies it"}
    lab.policies()

    approved = lab.asked()
    assert lab.approve(approved)["accepted"]
    lab.policies(policy("no more", "deny"))
    assert (lab.start(approved)["status"], lab.call(approved)["policy"]) == ("denied", "no more")
    lab.policies(policy("go on", "allow"))

    allowed = lab.request("restart")["call_id"]
    lab.check(allowed)
    lab.policies()
    started = lab.start(allowed)
    assert (started["accepted"], started["status"], started["tool"]) == (False, "pending", "restart")
    assert lab.approver.value("SELECT id FROM waiting_tool_calls()") == allowed
    assert lab.approve(allowed)["accepted"]
    assert lab.start(allowed)["accepted"]


@pytest.mark.parametrize(
    "change",
    [
        {"risk_level": "READ_ONLY"},
        {"connector": "other"},
        {"operation": "other"},
        {"preset": {"x": 1}},
        {"arguments_schema": {}},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("approved", [True, False], ids=["at the start", "when a person approves"])
def test_a_call_of_a_tool_that_was_changed_does_not_start(lab, change, approved):
    lab.policies(policy("ask", "require_approval"))
    call = lab.asked()
    if approved:
        assert lab.approve(call)["accepted"]
    lab.tools(*({**tool, **change} if tool["name"] == "restart" else tool for tool in TOOLS))
    answer = lab.start(call) if approved else lab.approve(call)
    assert (answer["accepted"], answer["status"]) == (False, "denied")
    assert answer["reason"] == "the tool was changed after the call was asked for: ask for it again"


def test_a_tool_that_was_disabled_does_not_start(lab):
    call = lab.asked()
    lab.approve(call)
    lab.tools(
        *({**tool, "enabled": False} for tool in TOOLS),
    )
    assert lab.start(call)["reason"] == "the tool restart is disabled"
    assert lab.request("restart")["status"] == "denied"


def test_of_many_starts_one_wins(lab):
    call = lab.asked()
    lab.approve(call)
    sessions = [lab.database.session("executor") for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda session: lab.start(call, session=session)["accepted"], sessions))
    assert answers.count(True) == 1
    assert [entry for entry in lab.audit(call) if entry[:2] == ("start", "success")] == [
        ("start", "success", "mission_control_executor")
    ]


def test_a_call_that_somebody_holds_is_busy_and_holds_up_nobody(lab):
    call, other = lab.asked(), lab.asked()
    with lab.application.transaction():
        assert lab.approve(call, token=APPROVER)["accepted"]
        assert lab.approve(call)["reason"] == "another session is busy with this call: try again"
        assert not lab.check(call)["accepted"]
        assert lab.start(call)["status"] == "pending"
        assert lab.approve(other)["accepted"]
    assert lab.start(call)["accepted"]


def test_what_was_decided_with_an_older_view_of_the_policies_is_refused(lab):
    """A transaction that sees the policies as they were when it began could start what is denied by now."""
    call, waiting = lab.request("list_things")["call_id"], lab.asked()
    for session, step in ((lab.executor, lambda: lab.start(call)), (lab.approver, lambda: lab.approve(waiting))):
        for isolation in ("REPEATABLE READ", "SERIALIZABLE"):
            refused = pytest.raises(psycopg2.errors.InvalidTransactionState, match="read committed")
            with refused, session.transaction(isolation):
                session.run("SELECT 1")
                step()
    assert lab.start(call)["accepted"]
    assert lab.approve(waiting)["accepted"]


def test_the_start_is_durable_before_the_executor_acts(lab):
    call = lab.request("list_things")["call_id"]
    with lab.executor.transaction():
        assert lab.executor.value("SHOW synchronous_commit") == "off"
        lab.start(call)
        assert lab.executor.value("SHOW synchronous_commit") == "on"


def test_how_a_call_ends(lab):
    def running():
        call, execution = lab.request("list_things")["call_id"], str(uuid.uuid4())
        assert lab.start(call, execution)["accepted"]
        return call, execution

    for status in ("succeeded", "failed", "timed_out"):
        call, execution = running()
        assert lab.finish(call, execution, status, error="so it went")["accepted"]
        stored = lab.call(call)
        assert (stored["status"], stored["error"]) == (status, "so it went")
        assert stored["finished_at"] >= stored["started_at"]
        # Said again it is true; something else is not.
        assert lab.finish(call, execution, status)["accepted"]
        assert not lab.finish(call, execution, "failed" if status != "failed" else "succeeded")["accepted"]
    call, execution = running()
    assert lab.finish(call, execution, "unknown", error="the process is gone")["accepted"]
    assert lab.call(call)["finished_at"] is None
    assert lab.finish(call, execution, "failed")["accepted"]
    assert lab.call(call)["status"] == "failed"
    call, execution = running()
    answer = lab.finish(call, execution, result="x" * 9_000_000)
    assert answer["accepted"]
    assert "longer as text than 8388608 bytes" in answer["reason"]
    assert (lab.call(call)["result"], lab.call(call)["status"]) == (None, "succeeded")


def test_who_asked_withdraws_a_call_and_nobody_else(lab):
    call = lab.asked(token=REQUESTER)
    cancel = "SELECT * FROM cancel_tool_call(%s, %s)"
    for token in (None, APPROVER, "x" * 32):
        assert not lab.application.row(cancel, call, token)["accepted"]
    assert lab.application.row(cancel, call, REQUESTER)["status"] == "cancelled"
    assert not lab.application.row(cancel, call, REQUESTER)["accepted"]
    assert not lab.approve(call)["accepted"]
    own = lab.request("list_things")["call_id"]
    assert lab.application.row(cancel, own, None)["accepted"]
    assert not lab.start(own)["accepted"]
    running = lab.request("list_things")["call_id"]
    lab.start(running)
    assert lab.application.row(cancel, running, None)["reason"] == "the call is running"


def test_what_has_run_out_is_closed(lab):
    pending, approved, running, fresh = lab.asked(), lab.asked(), lab.request("list_things")["call_id"], lab.asked()
    lab.approve(approved)
    execution = str(uuid.uuid4())
    lab.start(running, execution)
    assert lab.executor.value("SELECT expire_tool_calls()") == 0
    lab.set(pending, created_at="now() - interval '24 hours'")
    lab.set(approved, approval_expires_at="now()")
    lab.set(running, deadline_at="now() - interval '61 seconds'")
    assert not lab.approve(pending)["accepted"]
    assert lab.call(pending)["status"] == "expired"
    lab.set(pending, status="'pending'")
    assert lab.database.session("maintenance").value("SELECT expire_tool_calls()") == 3
    states = [lab.call(call)["status"] for call in (pending, approved, running, fresh)]
    assert states == ["expired", "expired", "unknown", "pending"]
    assert lab.audit(running)[-1] == ("expire", "failure", "mission_control_maintenance")
    # The executor was there all the time.
    assert lab.finish(running, execution)["accepted"]


def test_listeners_are_told_every_change(lab):
    admin = lab.admin
    admin.run("LISTEN mission_control_tools")
    call, execution = lab.request()["call_id"], str(uuid.uuid4())
    lab.check(call)
    lab.approve(call)
    lab.start(call, execution)
    lab.finish(call, execution)
    admin.run("SELECT 1")
    told = [json.loads(each.payload) for each in admin.connection.notifies]
    assert {(each["call"], each["tool"]) for each in told} == {(call, "restart")}
    assert [(each["status"], each["waits_for_approval"]) for each in told] == [
        ("pending", False),
        ("pending", True),
        ("approved", False),
        ("running", False),
        ("succeeded", False),
    ]


def test_no_audit_entry_holds_arguments_results_or_tokens(lab):
    execution = str(uuid.uuid4())
    call = lab.request("restart", {"name": "hidden-argument"}, token=REQUESTER)["call_id"]
    lab.check(call)
    lab.approve(call, token=APPROVER)
    lab.start(call, execution)
    lab.finish(call, execution, "failed", {"x": "hidden-result"}, "hidden-error")
    entries = lab.admin.value("SELECT string_agg(e::text, ' ') FROM audit_entries AS e")
    for secret in ("hidden", REQUESTER, APPROVER, hashlib.sha256(APPROVER.encode()).hexdigest()):
        assert secret not in entries
    digest = lab.admin.value("SELECT encode(sha256(arguments::text::bytea), 'hex') FROM tool_call_records")
    assert lab.admin.value(
        "SELECT array_agg(DISTINCT action) FROM audit_entries WHERE details ->> 'arguments_sha256' = %s", digest
    ) == ["tool_call.approve", "tool_call.request", "tool_call.start"]


@pytest.mark.parametrize(
    "action", ["tool_call.approve", "tool.set", "policy.set", "tool_token.set", " Tool_Call.approve", "tool_call.x"]
)
@pytest.mark.parametrize("role", ["application", "owner", "admin"])
def test_nobody_else_writes_about_tools_into_the_audit_log(shared_lab, role, action):
    session = shared_lab.database.session(role)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="choose another action"):
        session.run(
            "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', %s, 'success')",
            action,
        )
    session.run("INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'toolbox.open', 'success')")


def test_no_login_writes_to_the_tables(shared_lab):
    tables = [*WRITTEN_BY_FUNCTIONS, "tool_call_days", "tool_call_changes"]
    held = shared_lab.admin.rows(
        """
        SELECT r.rolname, c.relname, p.privilege
        FROM pg_roles AS r, pg_class AS c, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) AS p (privilege)
        WHERE r.rolname LIKE 'mission_control%%' AND r.rolname <> 'mission_control_audit' AND c.relname = ANY (%s)
            AND CASE WHEN p.privilege IN ('INSERT', 'UPDATE', 'REFERENCES') THEN has_any_column_privilege(r.oid, c.oid, p.privilege)
                ELSE has_table_privilege(r.oid, c.oid, p.privilege) END
        """,
        tables,
    )
    assert held == []
    for role in ("application", "readonly", "service", "executor", "approver", "monitor"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            shared_lab.database.session(role).rows("SELECT token_sha256 FROM tool_tokens")


def test_the_sums_follow_the_calls_while_many_write(lab):
    def work(number):
        session, executor = lab.database.session("application"), lab.database.session("executor")
        for step in range(20):
            call, execution = lab.request("list_things", session=session)["call_id"], str(uuid.uuid4())
            lab.start(call, execution, executor)
            if step % 3:
                executor.row(
                    "SELECT * FROM finish_tool_call(%s, %s, %s, NULL, NULL)",
                    call,
                    execution,
                    ("failed", "succeeded")[step % 2],
                )
            if step % 5 == number % 5:
                executor.value("SELECT roll_up_tool_calls()")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    counted = """
        SELECT tool_id, (created_at AT TIME ZONE 'UTC')::date AS day, status, count(*)::numeric AS calls,
            coalesce(sum(duration_ms), 0) AS duration_ms_sum, count(duration_ms)::numeric AS timed_calls
        FROM tool_call_records GROUP BY 1, 2, 3 ORDER BY 3"""
    summed = """
        SELECT tool_id, day, status, sum(calls) AS calls, sum(duration_ms_sum) AS duration_ms_sum, sum(timed_calls) AS timed_calls
        FROM (SELECT * FROM tool_call_days UNION ALL SELECT * FROM tool_call_changes) AS s
        GROUP BY 1, 2, 3 HAVING sum(calls) <> 0 ORDER BY 3"""
    assert lab.admin.rows(counted) == lab.admin.rows(summed)
    lab.application.value("SELECT roll_up_tool_calls()")
    assert lab.admin.value("SELECT count(*) FROM tool_call_changes") == 0
    assert lab.admin.rows(counted) == lab.admin.rows(summed)
    assert (
        lab.application.value("SELECT total_calls FROM tool_call_success_rate WHERE tool_name = 'list_things'") == 120
    )
    lab.admin.run("DELETE FROM tool_call_records WHERE status = 'failed'")
    lab.application.value("SELECT roll_up_tool_calls()")
    assert lab.admin.rows(counted) == lab.admin.rows(summed)
    lab.admin.run("TRUNCATE tool_call_records")
    assert lab.admin.rows(summed) == []


def test_results_are_removed_by_age_and_nothing_else(lab):
    execution, old = str(uuid.uuid4()), lab.request("list_things", {"n": 1})["call_id"]
    lab.start(old, execution)
    lab.finish(old, execution, result=["x"])
    execution, young = str(uuid.uuid4()), lab.request("list_things")["call_id"]
    lab.start(young, execution)
    lab.finish(young, execution, result=["y"])
    lab.set(old, created_at="now() - interval '3 days'")
    maintenance = lab.database.session("maintenance")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="at least 1 day old"):
        maintenance.value("SELECT prune_tool_call_results(now() - interval '23 hours')")
    assert maintenance.value("SELECT prune_tool_call_results(now() - interval '2 days')") == 1
    assert (lab.call(old)["result"], lab.call(old)["arguments"]) == (None, {"n": 1})
    assert lab.call(young)["result"] == ["y"]
    assert lab.audit()[-1] == ("prune", "success", "mission_control_maintenance")


def test_own_tools_win_and_what_is_gone_is_removed_or_disabled(lab):
    apply = "SELECT apply_tools(%s, %s)"

    def stored():
        return {
            row["name"]: (row["origin"], row["description"], row["enabled"])
            for row in lab.admin.rows("SELECT * FROM tool_definitions")
        }

    seed = [{"name": name, "risk_level": "READ_ONLY", "description": "shipped"} for name in ("a", "b", "c")]
    own = [{"name": "b", "risk_level": "DESTRUCTIVE", "description": "mine"}]
    lab.provisioner.value(apply, json.dumps(seed), json.dumps(own))
    assert stored() == {"a": ("seed", "shipped", True), "b": ("role", "mine", True), "c": ("seed", "shipped", True)}
    assert lab.provisioner.value(apply, json.dumps(seed), json.dumps(own)) == 0
    lab.request("a")
    assert lab.provisioner.value(apply, json.dumps(seed[1:2]), "[]") == 3
    assert stored() == {"a": ("seed", "shipped", False), "b": ("seed", "shipped", True)}
    insert_as_superuser(lab.admin, "tool_definitions", name="old", risk_level="READ_ONLY", description="by hand")
    assert lab.provisioner.value(apply, json.dumps(seed[1:2]), "[]") == 0
    lab.provisioner.value(apply, json.dumps([{"name": "old", "risk_level": "READ_ONLY"}]), "[]")
    assert stored()["old"] == ("seed", None, True)
    assert lab.admin.values(
        "SELECT action || ' ' || target_id FROM audit_entries WHERE action LIKE 'tool.%%' ORDER BY id DESC LIMIT 4"
    ) == ["tool.remove b", "tool.set old", "tool.remove c", "tool.disable a"]


@pytest.mark.parametrize(
    ("function", "entry", "sentence"),
    [
        ("apply_tools", {"name": "a b", "risk_level": "READ_ONLY"}, "needs a name of 1 to 64"),
        ("apply_tools", {"name": "a"}, "needs a risk_level"),
        ("apply_tools", {"name": "a", "risk_level": "READ_ONLY", "colour": "red"}, "unknown key colour"),
        (
            "apply_tools",
            {"name": "a", "risk_level": "READ_ONLY", "preset": []},
            "preset that is not of the type object",
        ),
        (
            "apply_tools",
            {"name": "a", "risk_level": "READ_ONLY", "preset": {"x": "y" * 300000}},
            "preset that is longer",
        ),
        ("apply_tools", {"name": "await_tool_call", "risk_level": "READ_ONLY"}, "the MCP server uses itself"),
        ("apply_tools", {"risk_level": "READ_ONLY"}, "needs a name"),
        ("apply_policies", {"name": "p", "effect": "maybe", "tools": ["*"]}, "needs an effect"),
        ("apply_policies", {"name": "p", "effect": "deny"}, "covers nothing"),
        ("apply_policies", {"name": "p", "effect": "deny", "tools": [1]}, "no list of names"),
        ("apply_policies", {"name": "p", "effect": "deny", "risk_levels": ["LOW"]}, "risk_levels other than"),
        ("apply_policies", {"name": "p", "effect": "deny", "tools": ["*"], "priority": 1.5}, "no whole number"),
        ("apply_tool_tokens", {"name": "a", "kind": "boss", "sha256": "0" * 64}, "needs a kind"),
        ("apply_tool_tokens", {"name": "a", "kind": "approver", "sha256": "secret"}, "needs a sha256"),
    ],
)
def test_a_wrong_entry_is_named(shared_lab, function, entry, sentence):
    more = ", '[]'" if function == "apply_tools" else ""
    for entries in ([entry], [entry, entry]):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match=sentence):
            shared_lab.provisioner.value(f"SELECT {function}(%s{more})", json.dumps(entries))


def test_an_entry_that_is_there_twice_is_refused(shared_lab):
    for function, entry in (
        ("apply_tools(%s, '[]')", {"name": "a", "risk_level": "READ_ONLY"}),
        ("apply_policies(%s)", {"name": "p", "effect": "deny", "tools": ["*"]}),
        ("apply_tool_tokens(%s)", {"name": "a", "kind": "approver", "sha256": "0" * 64}),
    ):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match=r"there twice|the same as that"):
            shared_lab.provisioner.value(f"SELECT {function}", json.dumps([entry, entry]))


def test_a_token_is_replaced_and_removed(lab):
    assert lab.tokens(*TOKENS) == 0
    assert lab.tokens(("claude", "requester", REQUESTER), ("bob", "approver", APPROVER)) == 2
    assert lab.application.value("SELECT tool_token_name(%s)", APPROVER) == "bob"
    assert lab.tokens() == 2
    assert lab.application.value("SELECT tool_token_name(%s)", APPROVER) is None


def test_only_the_owner_of_the_audit_log_provisions(shared_lab):
    for role in ("owner", "application", "executor", "approver", "maintenance"):
        session = shared_lab.database.session(role)
        for call in ("apply_tools('[]', '[]')", "apply_policies('[]')", "apply_tool_tokens('[]')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                session.run(f"SELECT {call}")
