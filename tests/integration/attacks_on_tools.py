"""Attacks on the calls of tools: who tries what, what becomes of it, and what goes through that differs as little as possible.

`%(…)s` in a statement names what tool_field.Names makes: runs, calls in each state, tokens. docs/tool-attacks.md lists them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What becomes of an attack: a SQLSTATE, or one of these words.
REFUSED = "42501"
# The function answers with a row that says no, and the audit log keeps that.
ANSWERED = "answered"
# The statements go through and do no harm.
HARMLESS = "harmless"

EVERYBODY = ("application", "service", "alice", "executor", "maintenance", "monitor", "readonly")
NOT_ALICE = tuple(who for who in EVERYBODY if who != "alice")
NOT_THE_EXECUTOR = tuple(who for who in EVERYBODY if who != "executor")


def parted(sql: str) -> tuple[str, ...]:
    """Statements that are parted by ";;"."""
    return tuple(part.strip() for part in re.split(r";;\s*", sql) if part.strip())


@dataclass(frozen=True)
class ToolAttack:
    """Statements by each of some logins, and the twin that is allowed.

    Attributes:
        id: its name in docs/tool-attacks.md.
        who: the logins that try it, each on its own.
        statements: one after the other; the answer of the last one counts.
        twin_by, twin: whose statements go through.
        outcome: of the attack.
        ends: the status in which the attacked call may be afterwards; empty: everything is as it was.
        rows: what a COPY … FROM STDIN reads.
        audited: whether the refusal is in the audit log.
    """

    id: str
    who: tuple[str, ...]
    statements: tuple[str, ...]
    twin_by: str
    twin: tuple[str, ...]
    outcome: str = REFUSED
    ends: str = ""
    rows: str = ""
    audited: bool = True


def attack(id, who, sql, twin_by, twin, outcome=REFUSED, **more):
    return ToolAttack(id, (who,) if isinstance(who, str) else who, parted(sql), twin_by, parted(twin), outcome, **more)


def request(tool="'restart'", arguments="'{}'", key="NULL", token="NULL", run="%(run)s"):
    return f"SELECT * FROM request_tool_call({run}, {tool}, {arguments}, {key}, {token})"


def decide(call, token=None, decision="'approve'"):
    return f"SELECT * FROM decide_tool_call(%({call})s, {decision}, 'it hangs'{'' if token is None else ', ' + token})"


def start(call, execution="%(execution)s"):
    return f"SELECT * FROM start_tool_call(%({call})s, {execution}, '{{}}')"


def finish(call, execution="%(execution)s", status="'succeeded'"):
    return f"SELECT * FROM finish_tool_call(%({call})s, {execution}, {status}, '{{}}', NULL)"


def check(call, problem="NULL"):
    return f"SELECT * FROM check_tool_call(%({call})s, {problem})"


def cancel(call, token="NULL"):
    return f"SELECT * FROM cancel_tool_call(%({call})s, {token})"


_APPROVED = decide("pending", "%(carol)s")
_OTHER = """'{"name": "other"}'"""
_RUNS = "UPDATE task_runs SET error = 'seen' WHERE id = %(run)s"

WRITING = [
    attack(
        "insert-a-call",
        EVERYBODY,
        """
        INSERT INTO tool_call_records (task_run_id, tool_id, status, approved_by, approved_at, approval_expires_at)
        SELECT %(run)s, id, 'approved', 'alice', now(), now() + interval '1 day' FROM tool_definitions WHERE name = 'wipe'
        """,
        "application",
        request("'restart'"),
    ),
    attack(
        "copy-calls",
        EVERYBODY,
        "COPY tool_call_records (status, approved_by) FROM STDIN",
        "application",
        "COPY task_events (task_run_id, sequence, type) FROM STDIN",
        rows="",
    ),
    attack(
        "approve-by-update",
        EVERYBODY,
        "UPDATE tool_call_records SET status = 'approved', approved_by = 'alice' WHERE id = %(pending)s",
        "alice",
        decide("pending"),
    ),
    attack(
        "change-arguments-after-approval",
        EVERYBODY,
        """UPDATE tool_call_records SET arguments = '{"name": "other"}' WHERE id = %(approved)s""",
        "application",
        request(arguments="""'{"name": "other"}'"""),
    ),
    attack(
        "move-a-call-to-another-run",
        EVERYBODY,
        "UPDATE tool_call_records SET task_run_id = %(other_run)s WHERE id = %(approved)s",
        "application",
        _RUNS,
    ),
    attack(
        "name-another-who-asked",
        EVERYBODY,
        "UPDATE tool_call_records SET requested_by = 'somebody', requested_login = 'somebody' WHERE id = %(bobs)s",
        "application",
        request(token="%(bot)s"),
    ),
    attack(
        "prolong-an-approval",
        EVERYBODY,
        "UPDATE tool_call_records SET approval_expires_at = 'infinity' WHERE id = %(lapsed)s",
        "application",
        _RUNS,
    ),
    attack(
        "make-it-wait-again",
        EVERYBODY,
        "UPDATE tool_call_records SET status = 'approved', execution_id = NULL WHERE id = %(succeeded)s",
        "application",
        request(),
    ),
    attack(
        "delete-a-call",
        EVERYBODY,
        "DELETE FROM tool_call_records WHERE id = %(succeeded)s",
        "application",
        cancel("unchecked"),
    ),
    attack("truncate-calls", EVERYBODY, "TRUNCATE tool_call_records", "application", cancel("pending")),
    attack(
        "write-on-conflict",
        EVERYBODY,
        """
        INSERT INTO tool_call_records AS c (id, task_run_id, tool_id) SELECT id, task_run_id, tool_id FROM tool_call_records WHERE id = %(pending)s
        ON CONFLICT (id) DO UPDATE SET status = 'approved'
        """,
        "alice",
        decide("pending"),
    ),
    attack(
        "lock-a-call",
        EVERYBODY,
        "SELECT 1 FROM tool_call_records WHERE id = %(approved)s FOR UPDATE",
        "application",
        "SELECT 1 FROM tool_call_records WHERE id = %(approved)s",
    ),
    attack(
        "lock-all-calls",
        EVERYBODY,
        "BEGIN;; LOCK TABLE tool_call_records IN SHARE MODE",
        "application",
        "BEGIN;; LOCK TABLE tool_call_records IN ACCESS SHARE MODE",
    ),
    attack(
        "insert-a-policy",
        EVERYBODY,
        "INSERT INTO policies (name, tools, effect, priority) VALUES ('mine', '{*}', 'allow', 9999)",
        "application",
        "SELECT * FROM tool_policy_decision('wipe', '{}', 'mallory')",
    ),
    attack(
        "soften-a-policy",
        EVERYBODY,
        "UPDATE policies SET effect = 'allow' WHERE name = 'nobody wipes'",
        "application",
        "SELECT effect FROM policies WHERE name = 'nobody wipes'",
    ),
    attack(
        "switch-a-policy-off",
        EVERYBODY,
        "UPDATE policies SET enabled = false",
        "application",
        "SELECT enabled FROM policies LIMIT 1",
    ),
    attack("delete-a-policy", EVERYBODY, "DELETE FROM policies", "application", "SELECT count(*) FROM policies"),
    attack(
        "lower-a-risk-level",
        EVERYBODY,
        "UPDATE tool_definitions SET risk_level = 'READ_ONLY' WHERE name = 'wipe'",
        "application",
        "SELECT risk_level FROM tool_definitions WHERE name = 'wipe'",
    ),
    attack(
        "drop-a-preset",
        EVERYBODY,
        "UPDATE tool_definitions SET preset = '{}' WHERE name = 'restart'",
        "application",
        "SELECT preset FROM tool_definitions WHERE name = 'restart'",
    ),
    attack(
        "switch-a-tool-on",
        EVERYBODY,
        "UPDATE tool_definitions SET enabled = true WHERE name = 'retired'",
        "application",
        "SELECT enabled FROM tool_definitions WHERE name = 'retired'",
    ),
    attack(
        "insert-a-tool",
        EVERYBODY,
        "INSERT INTO tool_definitions (name, risk_level, operation) VALUES ('mine', 'READ_ONLY', 'kubernetes.restart')",
        "application",
        "SELECT operation FROM tool_definitions LIMIT 1",
    ),
    attack(
        "insert-a-token",
        EVERYBODY,
        "INSERT INTO tool_tokens (name, kind, token_sha256) VALUES ('mallory', 'approver', sha256('mine'))",
        "readonly",
        "SELECT name, kind FROM tool_tokens",
    ),
    attack(
        "replace-a-token",
        EVERYBODY,
        "UPDATE tool_tokens SET token_sha256 = sha256('mine') WHERE name = 'carol'",
        "readonly",
        "SELECT name, kind FROM tool_tokens",
    ),
    attack(
        "read-the-hashes", EVERYBODY, "SELECT token_sha256 FROM tool_tokens", "readonly", "SELECT name FROM tool_tokens"
    ),
    attack(
        "falsify-the-sums",
        EVERYBODY,
        "UPDATE tool_call_days SET calls = 0",
        "application",
        "SELECT roll_up_tool_calls()",
    ),
    attack("apply-tools", EVERYBODY, "SELECT apply_tools('[]', '[]')", "application", "SELECT roll_up_tool_calls()"),
    attack("apply-policies", EVERYBODY, "SELECT apply_policies('[]')", "application", "SELECT roll_up_tool_calls()"),
    attack("apply-tokens", EVERYBODY, "SELECT apply_tool_tokens('[]')", "application", "SELECT roll_up_tool_calls()"),
]

ASKING = [
    attack("ask-for-what-is-denied", "application", request("'wipe'"), "application", request("'restart'"), ANSWERED),
    attack("ask-for-what-is-off", "application", request("'retired'"), "application", request("'look'"), ANSWERED),
    attack("a-name-in-capitals", "application", request("'LOOK'"), "application", request("'look'"), ANSWERED),
    attack("a-name-with-a-space", "application", request("'look '"), "application", request("'look'"), ANSWERED),
    attack(
        "a-name-that-looks-alike",
        "application",
        request("'l\u043e\u043ek'"),
        "application",
        request("'look'"),
        ANSWERED,
    ),
    attack("a-name-of-no-width", "application", request("'look\u200b'"), "application", request("'look'"), ANSWERED),
    attack("a-name-with-a-pattern", "application", request("'*'"), "application", request("'look'"), ANSWERED),
    attack(
        "a-name-with-sql", "application", request("'look'' OR true --'"), "application", request("'look'"), ANSWERED
    ),
    attack(
        "a-name-with-a-nul",
        "application",
        request("convert_from('\\x6c6f6f6b00', 'UTF8')"),
        "application",
        request("convert_from('\\x6c6f6f6b', 'UTF8')"),
        "22021",
    ),
    attack(
        "arguments-with-a-nul",
        "application",
        request(arguments="""'{"name": "a\\u0000"}'"""),
        "application",
        request(arguments="""'{"name": "a\\u0001"}'"""),
        "22P05",
    ),
    attack("no-name", "application", request("NULL"), "application", request("'look'"), ANSWERED),
    attack("arguments-that-are-null", "application", request(arguments="'null'"), "application", request(), ANSWERED),
    attack(
        "arguments-in-a-list",
        "application",
        request(arguments="""'[{"name": "plex"}]'"""),
        "application",
        request(arguments="""'{"name": "plex"}'"""),
        ANSWERED,
    ),
    attack(
        "arguments-without-end",
        "application",
        request(arguments="jsonb_build_object('name', repeat('x', 70000))"),
        "application",
        request(arguments="jsonb_build_object('name', repeat('x', 60000))"),
        ANSWERED,
    ),
    attack(
        "arguments-that-grow-when-printed",
        "application",
        request(arguments="""'{"name": 1e130000}'"""),
        "application",
        request(arguments="""'{"name": 1e130}'"""),
        ANSWERED,
    ),
    attack(
        "arguments-too-deep",
        "application",
        request(arguments="""('{"name": ' || repeat('[', 500) || repeat(']', 500) || '}')::jsonb"""),
        "application",
        request(arguments="""('{"name": ' || repeat('[', 50) || repeat(']', 50) || '}')::jsonb"""),
        ANSWERED,
    ),
    attack(
        "override-a-preset",
        "application",
        request(arguments="""'{"grace": 0}'"""),
        "application",
        request(arguments="""'{"grace": 30}'"""),
        ANSWERED,
    ),
    attack(
        "override-a-preset-by-null",
        "application",
        request(arguments="""'{"grace": null}'"""),
        "application",
        request(arguments="""'{"grace": 30.0}'"""),
        ANSWERED,
    ),
    attack(
        "override-a-preset-twice",
        "application",
        request(arguments="""'{"grace": 30, "gr\\u0061ce": 0}'"""),
        "application",
        request(arguments="""'{"grace": 0, "gr\\u0061ce": 30}'"""),
        ANSWERED,
    ),
    attack(
        "a-run-that-is-not-there",
        "application",
        request(run="%(nothing)s"),
        "application",
        request(run="%(run)s"),
        ANSWERED,
    ),
    attack("no-run", "application", request(run="NULL"), "application", request(), ANSWERED),
    attack(
        "other-arguments-under-an-approved-key",
        "application",
        f"""SELECT %(approved)s;; {request(arguments=_OTHER, key="'key'")}""",
        "application",
        f"""SELECT %(approved)s;; {request(arguments=_OTHER, key="'other key'")}""",
        ANSWERED,
    ),
    attack(
        "another-tool-under-an-approved-key",
        "application",
        f"""SELECT %(approved)s;; {request("'look'", key="'key'")}""",
        "application",
        f"""SELECT %(approved)s;; {request("'look'", key="'other key'")}""",
        ANSWERED,
    ),
    attack(
        "a-token-nobody-has",
        "application",
        request(token="%(unheard_of)s"),
        "application",
        request(token="%(bot)s"),
        ANSWERED,
    ),
    attack(
        "ask-by-an-approvers-token",
        "application",
        request(token="%(carol)s"),
        "application",
        request(token="%(bot)s"),
        ANSWERED,
    ),
    attack("an-empty-token", "application", request(token="''"), "application", request(token="%(bot)s"), ANSWERED),
    attack(
        "ask-as-one-who-only-watches",
        ("monitor", "readonly", "maintenance"),
        request("'look'"),
        "application",
        request("'look'"),
    ),
    attack("ask-as-the-executor", "executor", request("'look'"), "application", request("'look'")),
    attack("ask-as-the-approver", "alice", request("'look'"), "bob", request("'look'")),
    attack("withdraw-anothers-call", "application", cancel("bots"), "application", cancel("bots", "%(bot)s"), ANSWERED),
    attack("withdraw-what-runs", "application", cancel("running"), "application", cancel("pending"), ANSWERED),
    attack(
        "withdraw-by-an-approvers-token",
        "application",
        cancel("bots", "%(carol)s"),
        "application",
        cancel("bots", "%(bot)s"),
        ANSWERED,
    ),
]

DECIDING = [
    attack("decide-without-a-token", NOT_ALICE, decide("pending"), "alice", decide("pending")),
    attack(
        "decide-with-no-token",
        ("application", "service"),
        decide("pending", "NULL"),
        "service",
        decide("pending", "%(carol)s"),
        ANSWERED,
    ),
    attack(
        "decide-with-an-empty-token",
        ("application", "service"),
        decide("pending", "''"),
        "service",
        decide("pending", "%(carol)s"),
        ANSWERED,
    ),
    attack(
        "decide-with-a-token-nobody-has",
        ("application", "service", "alice"),
        decide("pending", "%(unheard_of)s"),
        "service",
        decide("pending", "%(carol)s"),
        ANSWERED,
    ),
    attack(
        "decide-with-a-name",
        ("application", "service"),
        decide("pending", "'carol'"),
        "service",
        decide("pending", "%(carol)s"),
        ANSWERED,
    ),
    attack(
        "decide-with-the-hash",
        ("application", "service", "alice"),
        decide("pending", "%(hash)s"),
        "service",
        decide("pending", "%(carol)s"),
        ANSWERED,
    ),
    attack(
        "decide-with-a-requesters-token",
        ("application", "service"),
        decide("pending", "%(bot)s"),
        "service",
        decide("pending", "%(carol)s"),
        ANSWERED,
    ),
    attack(
        "decide-with-half-a-token",
        ("application", "service"),
        decide("pending", "left(%(carol)s, 40)"),
        "service",
        decide("pending", "left(%(carol)s, 400)"),
        ANSWERED,
    ),
    attack(
        "decide-as-the-executor", "executor", decide("pending", "%(carol)s"), "service", decide("pending", "%(carol)s")
    ),
    attack(
        "decide-as-one-who-only-watches",
        ("monitor", "readonly", "maintenance"),
        decide("pending", "%(carol)s"),
        "service",
        decide("pending", "%(carol)s"),
    ),
    attack("approve-ones-own-by-login", "bob", decide("bobs"), "bob", decide("pending"), ANSWERED),
    attack(
        "approve-ones-own-by-token",
        "application",
        decide("daves", "%(dave)s"),
        "application",
        decide("daves", "%(carol)s"),
        ANSWERED,
    ),
    attack("approve-ones-own-asked-by-a-token", "bob", decide("bots_by_bob"), "bob", decide("bots"), ANSWERED),
    attack(
        "approve-ones-own-as-another-role",
        "bob",
        f"SET ROLE mission_control_approver;; {decide('bobs')}",
        "bob",
        f"SET ROLE mission_control_approver;; {decide('pending')}",
        ANSWERED,
    ),
    attack(
        "deny-without-a-token",
        ("application", "service"),
        decide("pending", "NULL", "'deny'"),
        "service",
        decide("pending", "%(carol)s", "'deny'"),
        ANSWERED,
    ),
    attack("approve-what-nobody-has-checked", "alice", decide("unchecked"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-was-denied", "alice", decide("denied"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-was-withdrawn", "alice", decide("cancelled"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-is-stale", "alice", decide("stale"), "alice", decide("pending"), ANSWERED, ends="expired"),
    attack("approve-again", "alice", decide("approved"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-lapsed", "alice", decide("lapsed"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-runs", "alice", decide("running"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-ran", "alice", decide("succeeded"), "alice", decide("pending"), ANSWERED),
    attack("approve-what-ended-unknown", "alice", decide("unknown"), "alice", decide("pending"), ANSWERED),
    attack(
        "approve-what-is-not-there", "alice", decide("nothing"), "alice", decide("pending"), ANSWERED, audited=False
    ),
    attack(
        "approve-in-other-words", "alice", decide("pending", None, "'APPROVE '"), "alice", decide("pending"), "22023"
    ),
    attack(
        "approve-with-a-status", "alice", decide("pending", None, "'approved'"), "alice", decide("pending"), "22023"
    ),
    attack("approve-with-nothing", "alice", decide("pending", None, "NULL"), "alice", decide("pending"), "22023"),
    attack(
        "see-what-waits-without-a-token",
        ("application", "service"),
        "SELECT * FROM waiting_tool_calls(NULL)",
        "alice",
        "SELECT count(*) FROM waiting_tool_calls()",
    ),
    attack(
        "see-what-waits-by-a-requesters-token",
        ("application", "service"),
        "SELECT * FROM waiting_tool_calls(%(bot)s)",
        "service",
        "SELECT count(*) FROM waiting_tool_calls(%(carol)s)",
    ),
    attack(
        "see-what-waits-and-only-watch",
        ("monitor", "readonly", "maintenance", "executor"),
        "SELECT * FROM waiting_tool_calls(%(carol)s)",
        "service",
        "SELECT count(*) FROM waiting_tool_calls(%(carol)s)",
    ),
    attack(
        "ask-whose-token-it-is",
        ("monitor", "maintenance", "executor"),
        "SELECT tool_token_name(%(carol)s)",
        "service",
        "SELECT tool_token_name(%(carol)s)",
    ),
]

STARTING = [
    attack("start-as-another", NOT_THE_EXECUTOR, start("approved"), "executor", start("approved")),
    attack("check-as-another", NOT_THE_EXECUTOR, check("unchecked"), "executor", check("unchecked")),
    attack("finish-as-another", NOT_THE_EXECUTOR, finish("running"), "executor", finish("running")),
    attack(
        "expire-as-another",
        ("application", "service", "alice", "monitor", "readonly"),
        "SELECT expire_tool_calls()",
        "executor",
        "SELECT expire_tool_calls() + 1",
    ),
    attack("start-what-waits", "executor", start("pending"), "executor", start("approved"), ANSWERED),
    attack("start-what-nobody-has-checked", "executor", start("unchecked"), "executor", start("approved"), ANSWERED),
    attack(
        "start-by-anothers-approval",
        "executor",
        f"SELECT %(approved)s;; {start('other')}",
        "executor",
        start("approved"),
        ANSWERED,
    ),
    attack("start-what-was-denied", "executor", start("denied"), "executor", start("approved"), ANSWERED),
    attack("start-what-was-withdrawn", "executor", start("cancelled"), "executor", start("approved"), ANSWERED),
    attack("start-what-lapsed", "executor", start("lapsed"), "executor", start("approved"), ANSWERED, ends="expired"),
    attack(
        "start-twice",
        "executor",
        start("running", "%(other_execution)s"),
        "executor",
        start("approved", "%(other_execution)s"),
        ANSWERED,
    ),
    attack("start-twice-as-the-same", "executor", start("running"), "executor", start("approved"), ANSWERED),
    attack("start-what-ran", "executor", start("succeeded"), "executor", start("approved"), ANSWERED),
    attack("start-what-failed", "executor", start("failed"), "executor", start("approved"), ANSWERED),
    attack(
        "start-what-ended-unknown",
        "executor",
        start("unknown", "%(other_execution)s"),
        "executor",
        start("approved"),
        ANSWERED,
    ),
    attack("start-as-nobody", "executor", start("approved", "NULL"), "executor", start("approved"), "22023"),
    attack(
        "start-what-is-not-there", "executor", start("nothing"), "executor", start("approved"), ANSWERED, audited=False
    ),
    attack(
        "start-and-prepare",
        "executor",
        f"BEGIN;; {start('approved')};; PREPARE TRANSACTION 'forever'",
        "executor",
        start("approved"),
        "0A000",
    ),
    attack(
        "finish-anothers-execution",
        "executor",
        finish("running", "%(other_execution)s"),
        "executor",
        finish("running"),
        ANSWERED,
    ),
    attack("finish-nobodys-execution", "executor", finish("running", "NULL"), "executor", finish("running"), ANSWERED),
    attack("finish-what-was-never-started", "executor", finish("approved"), "executor", finish("running"), ANSWERED),
    attack(
        "finish-twice",
        "executor",
        finish("succeeded", status="'failed'"),
        "executor",
        finish("unknown", status="'failed'"),
        ANSWERED,
    ),
    attack(
        "finish-as-approved",
        "executor",
        finish("running", status="'approved'"),
        "executor",
        finish("running"),
        "22023",
    ),
    attack(
        "finish-as-running", "executor", finish("unknown", status="'running'"), "executor", finish("unknown"), "22023"
    ),
    attack("finish-as-nothing", "executor", finish("running", status="NULL"), "executor", finish("running"), "22023"),
    attack(
        "check-what-was-denied", "executor", check("denied"), "executor", check("unchecked"), ANSWERED, audited=False
    ),
    attack(
        "check-what-ran",
        "executor",
        check("succeeded", "'too late'"),
        "executor",
        check("unchecked", "'name: is missing'"),
        ANSWERED,
        audited=False,
    ),
]

SURROUNDINGS = [
    attack(
        "become-the-audit-role", EVERYBODY, "SET ROLE mission_control_audit", "bob", "SET ROLE mission_control_approver"
    ),
    attack(
        "become-the-executor",
        NOT_THE_EXECUTOR,
        "SET ROLE mission_control_executor",
        "executor",
        "SET ROLE mission_control_executor",
    ),
    attack(
        "become-the-approver",
        NOT_ALICE,
        "SET ROLE mission_control_approver",
        "alice",
        "SET ROLE mission_control_approver",
    ),
    attack(
        "be-somebody-else", NOT_ALICE, "SET SESSION AUTHORIZATION alice", "alice", "SET SESSION AUTHORIZATION alice"
    ),
    attack(
        "join-the-approvers",
        (*EVERYBODY, "bob"),
        "GRANT mission_control_approver TO mission_control",
        "application",
        "SELECT 'mission_control_approver'::regrole",
    ),
    attack(
        "triggers-for-replicas-only",
        EVERYBODY,
        "SET session_replication_role = replica",
        "application",
        "SET search_path = public",
    ),
    attack(
        "a-table-in-the-way",
        EVERYBODY,
        "CREATE TEMPORARY TABLE policies (name text)",
        "application",
        "SELECT 1 FROM policies LIMIT 1",
    ),
    attack(
        "a-function-in-the-way",
        EVERYBODY,
        "CREATE FUNCTION public.sha256(text) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'",
        "application",
        "SELECT sha256('a')",
    ),
    attack("a-schema-in-the-way", EVERYBODY, "CREATE SCHEMA mine", "application", "SET search_path = mine, public"),
    attack(
        "another-function-of-the-name",
        EVERYBODY,
        "CREATE FUNCTION public.decide_tool_call(text, text, text, text) RETURNS text LANGUAGE sql AS 'SELECT $4'",
        "alice",
        decide("pending"),
    ),
    attack(
        "replace-a-function",
        EVERYBODY,
        "CREATE OR REPLACE FUNCTION public.roll_up_tool_calls() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "application",
        "SELECT roll_up_tool_calls()",
    ),
    attack(
        "drop-a-policy-of-rows",
        EVERYBODY,
        "CREATE POLICY mine ON tool_call_records USING (false)",
        "application",
        "SELECT 1 FROM tool_call_records WHERE id = %(pending)s",
    ),
    attack(
        "a-function-with-rights",
        NOT_THE_EXECUTOR,
        "GRANT EXECUTE ON FUNCTION start_tool_call(uuid, uuid, jsonb) TO PUBLIC",
        "executor",
        start("approved"),
    ),
    attack(
        "approve-and-prepare",
        "alice",
        f"BEGIN;; {decide('pending')};; PREPARE TRANSACTION 'forever'",
        "alice",
        decide("pending"),
        "0A000",
    ),
    attack(
        "say-it-was-approved",
        ("application", "service", "readonly"),
        "SELECT pg_notify('mission_control_tools', jsonb_build_object('call', %(pending)s, 'status', 'approved')::text)",
        "alice",
        decide("pending"),
        HARMLESS,
    ),
    attack(
        "forge-an-approval-in-the-log",
        "application",
        """
           INSERT INTO audit_entries (actor, action, target_type, target_id, outcome)
           VALUES ('alice', 'tool_call.approve', 'tool_call', %(pending)s, 'success')
           """,
        "application",
        """
           INSERT INTO audit_entries (actor, action, target_type, target_id, outcome)
           VALUES ('alice', 'tool_calls', 'tool_call', %(pending)s, 'success')
           """,
    ),
    attack(
        "forge-a-policy-in-the-log",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'policy.change', 'success')",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'policy', 'success')",
    ),
    attack(
        "forge-a-tool-in-the-log",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'tool.add', 'success')",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'toolbox.add', 'success')",
    ),
    attack(
        "forge-a-token-in-the-log",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'tool_token.add', 'success')",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'tool_tokens', 'success')",
    ),
    attack(
        "forge-the-log-by-copy",
        "application",
        "COPY audit_entries (actor, action, outcome) FROM STDIN",
        "application",
        "COPY task_events (task_run_id, sequence, type) FROM STDIN",
        rows="alice\ttool_call.approve\tsuccess\n",
    ),
    attack(
        "read-arguments-as-the-service",
        ("service", "monitor", "maintenance"),
        "SELECT arguments FROM tool_call_records",
        "service",
        "SELECT count(status) FROM tool_call_records",
    ),
    attack(
        "read-results-as-the-service",
        ("service", "monitor", "maintenance"),
        "SELECT result, error FROM tool_call_records",
        "readonly",
        "SELECT count(result) FROM tool_call_records",
    ),
    attack(
        "read-the-overview-as-the-service",
        ("service", "monitor", "maintenance"),
        "SELECT * FROM tool_call_overview",
        "readonly",
        "SELECT count(*) FROM tool_call_overview",
    ),
    attack(
        "read-prompts-as-the-executor",
        ("executor", "alice"),
        "SELECT messages FROM llm_requests",
        "readonly",
        "SELECT count(messages) FROM llm_requests",
    ),
    attack(
        "write-elsewhere-as-the-executor",
        ("executor", "alice"),
        "UPDATE hosts SET name = 'mine'",
        "application",
        "INSERT INTO hosts (name, type) VALUES (gen_random_uuid()::text, 'vm')",
    ),
    attack(
        "remove-what-is-new",
        "maintenance",
        "SELECT prune_tool_call_results(now())",
        "maintenance",
        "SELECT prune_tool_call_results(now() - interval '2 days') + 1",
        "22023",
    ),
    attack(
        "remove-results-as-another",
        ("service", "alice", "executor", "monitor", "readonly"),
        "SELECT prune_tool_call_results(now() - interval '2 days')",
        "application",
        "SELECT prune_tool_call_results(now() - interval '2 days') + 1",
    ),
    attack("delete-the-run-of-a-call", EVERYBODY, "DELETE FROM task_runs WHERE id = %(run)s", "application", _RUNS),
    attack(
        "a-call-as-an-execution",
        "executor",
        "SELECT * FROM start_tool_call(%(approved)s, %(approved)s || 'x', '{}')",
        "executor",
        start("approved"),
        "42883",
    ),
]

ATTACKS = [*WRITING, *ASKING, *DECIDING, *STARTING, *SURROUNDINGS]


@dataclass(frozen=True)
class SiteAttack:
    """A site-local migration, which runs as the owner of the objects, and one that goes through."""

    id: str
    sql: str
    twin: str
    outcome: str = REFUSED


_BODY = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
_TRIGGER = f"CREATE FUNCTION site_trigger_%s() {_BODY}; CREATE TRIGGER site BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION site_trigger_%s()"
SITE = [
    SiteAttack(
        "site-writes-a-policy",
        "INSERT INTO policies (name, tools, effect) VALUES ('mine', '{*}', 'allow')",
        "INSERT INTO hosts (name, type) VALUES ('mine', 'vm')",
    ),
    SiteAttack(
        "site-writes-a-tool", "UPDATE tool_definitions SET risk_level = 'READ_ONLY'", "UPDATE hosts SET name = name"
    ),
    SiteAttack(
        "site-writes-a-call", "UPDATE tool_call_records SET status = 'approved'", "UPDATE tasks SET title = title"
    ),
    SiteAttack(
        "site-writes-a-token",
        "INSERT INTO tool_tokens (name, kind, token_sha256) VALUES ('m', 'approver', sha256('m'))",
        "INSERT INTO services (name) VALUES ('m')",
    ),
    SiteAttack(
        "site-reads-the-hashes",
        "CREATE TABLE site_hashes AS SELECT token_sha256 FROM tool_tokens",
        "CREATE TABLE site_hosts AS SELECT name FROM hosts",
    ),
    SiteAttack("site-applies-policies", "SELECT apply_policies('[]'::jsonb)", "SELECT roll_up_token_usage()"),
    SiteAttack(
        "site-decides", "SELECT decide_tool_call(gen_random_uuid(), 'approve', 'mine')", "SELECT gen_random_uuid()"
    ),
    SiteAttack(
        "site-starts",
        "SELECT start_tool_call(gen_random_uuid(), gen_random_uuid(), '{}')",
        "SELECT gen_random_uuid(), '{}'::jsonb",
    ),
    SiteAttack(
        "site-replaces-a-function",
        "CREATE OR REPLACE FUNCTION expire_tool_calls() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "CREATE OR REPLACE FUNCTION site_expire() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    ),
    SiteAttack(
        "site-drops-a-function", "DROP FUNCTION expire_tool_calls()", "DROP FUNCTION IF EXISTS site_expire_tool_calls()"
    ),
    SiteAttack(
        "site-renames-a-function",
        "ALTER FUNCTION expire_tool_calls() RENAME TO mine",
        "CREATE TABLE site_a (); ALTER TABLE site_a RENAME TO site_b",
    ),
    SiteAttack(
        "site-takes-a-table",
        "ALTER TABLE policies OWNER TO mission_control_owner",
        "ALTER TABLE hosts OWNER TO mission_control_owner",
    ),
    SiteAttack(
        "site-drops-a-table", "DROP TABLE policies CASCADE", "CREATE TABLE site_c (); DROP TABLE site_c CASCADE"
    ),
    SiteAttack("site-hangs-a-trigger-on-calls", _TRIGGER % (("tool_call_records",) * 3), _TRIGGER % (("hosts",) * 3)),
    SiteAttack("site-hangs-a-trigger-on-the-log", _TRIGGER % (("audit_entries",) * 3), _TRIGGER % (("services",) * 3)),
    SiteAttack(
        "site-takes-a-trigger-away",
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "ALTER TABLE hosts DISABLE TRIGGER USER; ALTER TABLE hosts ENABLE TRIGGER USER",
    ),
    SiteAttack(
        "site-puts-a-rule-on-policies",
        "CREATE RULE site AS ON INSERT TO policies DO INSTEAD NOTHING",
        "CREATE TABLE site_d (); CREATE RULE site AS ON INSERT TO site_d DO INSTEAD NOTHING",
    ),
    SiteAttack(
        "site-hides-rows",
        "ALTER TABLE policies ENABLE ROW LEVEL SECURITY",
        "CREATE TABLE site_e (); ALTER TABLE site_e ENABLE ROW LEVEL SECURITY",
    ),
    SiteAttack(
        "site-inherits-from-policies",
        "CREATE TABLE site_child () INHERITS (policies)",
        "CREATE TABLE site_f (); CREATE TABLE site_g () INHERITS (site_f)",
    ),
    SiteAttack(
        "site-refers-to-calls",
        "CREATE TABLE site_refers (call uuid REFERENCES tool_call_records ON DELETE CASCADE)",
        "CREATE TABLE site_refers (host uuid REFERENCES hosts ON DELETE CASCADE)",
    ),
    SiteAttack(
        "site-grants-a-start",
        "GRANT EXECUTE ON FUNCTION start_tool_call(uuid, uuid, jsonb) TO mission_control",
        "CREATE TABLE site_h (); GRANT SELECT ON site_h TO mission_control",
    ),
    SiteAttack(
        "site-grants-a-table",
        "GRANT INSERT ON policies TO mission_control",
        "CREATE TABLE site_i (); GRANT SELECT ON site_i TO mission_control_readonly",
    ),
    SiteAttack(
        "site-joins-the-approvers",
        "GRANT mission_control_approver TO mission_control",
        "CREATE TABLE site_j (); GRANT SELECT ON site_j TO mission_control_approver",
    ),
    SiteAttack("site-becomes-the-audit-role", "SET LOCAL ROLE mission_control_audit", "SET LOCAL work_mem = '8MB'"),
    SiteAttack(
        "site-forges-an-approval-in-the-log",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'tool_call.approve', 'success')",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'site', 'success')",
    ),
    SiteAttack(
        "site-forges-by-its-own-function",
        """
               CREATE FUNCTION site_forge() RETURNS void LANGUAGE sql SECURITY DEFINER
               AS $$ INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'tool_call.approve', 'success') $$;
               SELECT site_forge()
               """,
        """
               CREATE FUNCTION site_tell() RETURNS void LANGUAGE sql SECURITY DEFINER
               AS $$ INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'site', 'success') $$;
               SELECT site_tell()
               """,
    ),
    SiteAttack(
        "site-deletes-the-run-of-a-call",
        "DELETE FROM task_runs WHERE id IN (SELECT task_run_id FROM tool_call_records)",
        "DELETE FROM task_runs WHERE id NOT IN (SELECT task_run_id FROM tool_call_records)",
        "23503",
    ),
    SiteAttack(
        "site-watches-every-statement",
        """
               CREATE FUNCTION site_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
               CREATE EVENT TRIGGER site ON ddl_command_start EXECUTE FUNCTION site_event()
               """,
        "CREATE FUNCTION site_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ),
    SiteAttack(
        "site-casts-in-the-way", "CREATE CAST (jsonb AS text) WITHOUT FUNCTION", "CREATE DOMAIN site_text AS text"
    ),
]
