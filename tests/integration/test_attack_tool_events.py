"""What happens between a request, its approval and its start, what answers tell to who should not know, and who stands in the way of others."""

from __future__ import annotations

import contextlib
import json
import uuid

import mission_control_database as layer
import psycopg2
import pytest
from tool_field import APPROVE, CHECK, FINISH, POLICIES, START, TOKENS, TOOLS, hashed_tokens

EXECUTION = "00000000-0000-4000-8000-000000000001"

# Events after the approval ---------------------------------------------------------------------------------------------


@pytest.fixture
def rules(tool_field):
    """A function that applies other tools and policies than those of the field, which come back afterwards."""
    audit = tool_field.audit()

    def apply(tools=(), policies=()):
        audit.run("SELECT apply_tools('[]', %s::jsonb)", json.dumps([*TOOLS, *tools]))
        audit.run("SELECT apply_policies(%s::jsonb)", json.dumps([*POLICIES, *policies]))

    yield apply
    apply()
    # Rows of the same content with other times.
    tool_field.keep_rules()


def start(field, call):
    return field.session("executor").row(START, call, EXECUTION)


PRUNE = {"name": "prune", "risk_level": "SAFE_MUTATE", "connector": "docker", "preset": {"all": True}}
CHANGES = {
    "risk": {"risk_level": "DESTRUCTIVE"},
    "schema": {"arguments_schema": {"type": "object"}},
    "connector": {"connector": "kubernetes"},
    "operation": {"operation": "docker.logs"},
    "preset": {"preset": {"all": False}},
    "off": {"enabled": False},
}
UNCHANGED = {"description": {"description": "Another."}, "time": {"timeout_seconds": 61}}


@pytest.mark.parametrize("what", CHANGES)
def test_attack_change_the_tool_after_the_approval(tool_field, rules, what):
    rules([PRUNE])
    call = tool_field.approved(tool="prune")
    rules([{**PRUNE, **CHANGES[what]}])
    answer = start(tool_field, call)
    assert (answer["accepted"], answer["status"]) == (False, "denied")
    rules([PRUNE])
    assert start(tool_field, call)["accepted"] is False, "and it stays so"


@pytest.mark.parametrize("what", UNCHANGED)
def test_what_does_not_matter_of_a_tool_may_change(tool_field, rules, what):
    rules([PRUNE])
    call = tool_field.approved(tool="prune")
    rules([{**PRUNE, **UNCHANGED[what]}])
    assert start(tool_field, call)["accepted"]


def test_attack_a_policy_that_denies_after_the_approval(tool_field, rules):
    rules([PRUNE])
    call = tool_field.approved(tool="prune", arguments='{"name": "plex"}')
    other = tool_field.approved(tool="prune", arguments='{"name": "other"}')
    rules(
        [PRUNE],
        [
            {
                "name": "not plex",
                "tools": ["prune"],
                "effect": "deny",
                "conditions": {"arguments": {"name": "plex"}},
                "priority": 5000,
            }
        ],
    )
    answer = start(tool_field, call)
    assert (answer["accepted"], answer["status"]) == (False, "denied")
    assert start(tool_field, other)["accepted"], "its twin"


def test_attack_a_policy_that_denies_before_the_approval(tool_field, rules):
    rules([PRUNE])
    call = tool_field.checked(tool="prune")
    rules([PRUNE], [{"name": "none", "tools": ["prune"], "effect": "deny", "priority": 5000}])
    answer = tool_field.session("alice").row(APPROVE, call)
    assert (answer["accepted"], answer["status"]) == (False, "denied")


def test_attack_a_policy_that_asks_after_it_allowed(tool_field, rules):
    rules([PRUNE], [{"name": "free", "tools": ["prune"], "effect": "allow", "priority": 5000}])
    call = tool_field.request(tool="prune")
    assert tool_field.calls()[call]["status"] == "approved"
    rules([PRUNE], [{"name": "ask", "tools": ["prune"], "effect": "require_approval", "priority": 5000}])
    answer = start(tool_field, call)
    assert (answer["accepted"], answer["status"]) == (False, "pending")
    assert tool_field.session("executor").row(CHECK, call)
    assert tool_field.session("alice").row(APPROVE, call)["accepted"]
    assert start(tool_field, call)["accepted"], "its twin, with a person's approval"


def test_attack_a_policy_that_is_malformed(tool_field, rules):
    """One that a former application has left, with a condition nobody knows: what it covers is denied, and the reason names both."""
    rules([PRUNE])
    admin = tool_field.session("admin")
    call = tool_field.approved(tool="prune")
    admin.run("BEGIN")
    for name in admin.values(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'policies'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%%conditions%%'"
    ):
        admin.run(f"ALTER TABLE policies DROP CONSTRAINT {name}")
    admin.run(
        "INSERT INTO policies (name, tools, effect, conditions, priority, origin) VALUES ('office', '{prune}', 'allow', '{\"hours\": \"9-17\"}', 9000, 'user')"
    )
    answer = admin.row(START, call, EXECUTION)
    admin.run("ROLLBACK")
    assert (answer["accepted"], answer["status"]) == (False, "denied")
    assert "office" in answer["reason"]
    assert "hours" in answer["reason"]
    assert start(tool_field, call)["accepted"]


def test_attack_a_token_that_was_withdrawn(tool_field):
    """A token that is no longer in the variable decides nothing from the next run on."""
    audit = tool_field.audit()
    call = tool_field.checked()
    decide = "SELECT * FROM decide_tool_call(%s, 'approve', 'it hangs', %s)"
    audit.run(
        "SELECT apply_tool_tokens(%s::jsonb)", json.dumps([each for each in hashed_tokens() if each["name"] != "carol"])
    )
    assert tool_field.session("service").row(decide, call, TOKENS["carol", "approver"])["accepted"] is False
    audit.run("SELECT apply_tool_tokens(%s::jsonb)", json.dumps(hashed_tokens()))
    assert tool_field.session("service").row(decide, call, TOKENS["carol", "approver"])["accepted"]
    tool_field.keep_rules()


# What an answer tells --------------------------------------------------------------------------------------------------


def test_attack_guess_tokens_by_what_is_said(tool_field):
    """Nobody learns from an answer whether a token is somebody's, of the other kind, or nobody's."""
    service = tool_field.session("service")
    call = tool_field.checked()
    candidates = [TOKENS["bot", "requester"], "x" * 40, "short", "carol", "ü" * 40, "y" * 5000]
    decide = "SELECT * FROM decide_tool_call(%s, 'approve', 'it hangs', %s)"
    said = {json.dumps(service.row(decide, target, token), default=str) for token in candidates for target in (call,)}
    assert len(said) == 1, said
    # Nor whether there is such a call.
    reasons = {
        service.row(decide, target, "x" * 40)["reason"]
        for target in (call, str(uuid.uuid4()), tool_field.finished(str(uuid.uuid4())))
    }
    assert len(reasons) == 1, reasons
    assert {service.value("SELECT tool_token_name(%s::text)", token) for token in candidates} == {None}
    request = "SELECT * FROM request_tool_call(%s, 'look', '{}', NULL, %s)"
    run = tool_field.new_run()
    said = {
        json.dumps(tool_field.session("application").row(request, run, token), default=str)
        for token in (TOKENS["carol", "approver"], "x" * 40, "short", "bot")
    }
    assert len(said) == 1, said


def test_attack_read_a_token_that_is_in_use(tool_field):
    """A token that travels as an option of the connection is in no other session's view of it, nor in an answer or an error."""
    token = TOKENS["carol", "approver"]
    cluster, name = tool_field.database.cluster, tool_field.database.name
    parameters = cluster.connection_parameters(name, layer.ROLES["service"])
    call = tool_field.checked()
    with contextlib.closing(
        psycopg2.connect(**parameters, options=f"-c mission_control.tool_token={token}")
    ) as connection:
        connection.autocommit = True
        mine = layer.Session(connection)
        answer = mine.row(
            "SELECT * FROM decide_tool_call(%s, 'approve', 'it hangs', current_setting('mission_control.tool_token', true))",
            call,
        )
        assert answer["accepted"]
        for who in ("application", "service", "monitor", "executor", "admin"):
            seen = tool_field.session(who).rows("SELECT * FROM pg_stat_activity") + tool_field.session(who).rows(
                "SELECT * FROM pg_settings"
            )
            assert token not in json.dumps(seen, default=str), who
        with pytest.raises(psycopg2.Error) as caught:
            mine.run("SELECT 1 / 0 FROM waiting_tool_calls(current_setting('mission_control.tool_token', true))")
        assert token not in str(caught.value)
    assert token not in json.dumps(tool_field.session("admin").rows("SELECT * FROM audit_entries"), default=str)
    with open(cluster.log_file, encoding="utf-8", errors="replace") as log:
        assert f"tool_token={token}" not in log.read()


# In the way of others --------------------------------------------------------------------------------------------------


def test_attack_hold_a_call(tool_field):
    """Whoever asked holds the lock of the call by an open transaction: the executor is told so at once, and goes on with others."""
    call, other = tool_field.approved(), tool_field.approved()
    with contextlib.closing(tool_field.login("application")) as holder:
        holder.run("BEGIN")
        assert holder.row("SELECT * FROM cancel_tool_call(%s)", call)["accepted"]
        executor = tool_field.session("executor")
        executor.run("SET lock_timeout = '5s'")
        assert executor.row(START, call, str(uuid.uuid4()))["accepted"] is False
        assert executor.row(START, other, str(uuid.uuid4()))["accepted"], "its twin"
        assert executor.value("SELECT expire_tool_calls()") >= 0
        holder.run("ROLLBACK")
        assert executor.row(START, call, str(uuid.uuid4()))["accepted"]
        executor.run("RESET lock_timeout")


def test_attack_hold_what_is_not_ones_own(tool_field):
    """A refused step in a transaction that stays open holds up nobody, and least of all the end of what runs."""
    execution = str(uuid.uuid4())
    running, other = tool_field.started(execution), tool_field.checked(token=TOKENS["bot", "requester"])
    bobs = tool_field.checked(who="bob")
    with contextlib.closing(tool_field.login("application")) as one, contextlib.closing(tool_field.login("bob")) as two:
        for holder in (one, two):
            holder.run("BEGIN")
        for call in (running, other):
            assert one.row("SELECT * FROM cancel_tool_call(%s)", call)["accepted"] is False
        for call in (running, bobs):
            assert two.row(APPROVE, call)["accepted"] is False
        assert tool_field.session("executor").row(FINISH, running, execution, "succeeded")["accepted"]
        for call in (other, bobs):
            assert tool_field.session("alice").row(APPROVE, call)["accepted"]
        for holder in (one, two):
            holder.run("ROLLBACK")


def test_attack_hold_every_advisory_lock(tool_field):
    """No function waits for a lock that anybody may take by its number."""
    with contextlib.closing(tool_field.login("application")) as holder:
        holder.run("SELECT pg_advisory_lock(key) FROM generate_series(-50, 50) AS key")
        for who in ("application", "executor", "alice"):
            tool_field.session(who).run("SET lock_timeout = '5s'")
        tool_field.finished(str(uuid.uuid4()))
        tool_field.session("executor").run("SELECT expire_tool_calls()")
        for who in ("application", "executor", "alice"):
            tool_field.session(who).run("RESET lock_timeout")


def test_attack_fill_the_queue(tool_field):
    """A caller has so many open calls and no more; another caller is not kept waiting by that."""
    flood = tool_field.login("bob")
    run = tool_field.new_run()
    request = "SELECT count(r.call_id) FROM generate_series(1, 210) AS n, LATERAL request_tool_call(%s, 'look', jsonb_build_object('name', n)) AS r"
    try:
        open_before = tool_field.session("admin").value(
            "SELECT count(*) FROM tool_call_records WHERE requested_by = 'bob' AND status IN ('pending', 'approved')"
        )
        assert flood.value(request, run) == 200 - open_before
        answer = flood.row("SELECT * FROM request_tool_call(%s, 'look', '{}')", run)
        assert (answer["call_id"], answer["status"]) == (None, "denied")
        assert tool_field.request("look"), "its twin: another caller"
        freed = tool_field.session("admin").value(
            "SELECT id FROM tool_call_records WHERE task_run_id = %s LIMIT 1", run
        )
        assert flood.row("SELECT * FROM cancel_tool_call(%s)", freed)["accepted"]
        assert flood.row("SELECT * FROM request_tool_call(%s, 'look', '{}')", run)["call_id"]
    finally:
        flood.run(
            "SELECT cancel_tool_call(id) FROM tool_call_records WHERE task_run_id = %s AND status IN ('pending', 'approved')",
            run,
        )
        flood.close()


def test_attack_roll_back_after_the_start(tool_field):
    """A start that was rolled back was none: it is durable, or the call waits as before. The executor acts after its commit."""
    call = tool_field.approved()
    executor = tool_field.session("executor")
    executor.run("BEGIN")
    assert executor.row(START, call, EXECUTION)["accepted"]
    executor.run("ROLLBACK")
    assert tool_field.calls()[call]["status"] == "approved"
    answer = executor.row(FINISH, call, EXECUTION, "succeeded")
    assert answer["accepted"] is False
    assert executor.row(START, call, EXECUTION)["accepted"]
    assert tool_field.outlaws() == []


def test_attack_start_without_waiting_for_the_disk(tool_field):
    """A caller's setting by which a commit might be lost after the tool has run is overruled."""
    call = tool_field.approved()
    executor = tool_field.session("executor")
    executor.run("BEGIN")
    executor.run("SET LOCAL synchronous_commit = off")
    assert executor.row(START, call, EXECUTION)["accepted"]
    assert executor.value("SHOW synchronous_commit") != "off"
    executor.run("ROLLBACK")


def test_attack_one_key_in_two_runs(tool_field):
    """A key counts within its run: an approval is not had again in another one by it."""
    call = tool_field.approved(key="again")
    same = tool_field.calls()[call]["task_run_id"]
    application = tool_field.session("application")
    request = "SELECT * FROM request_tool_call(%s, 'restart', '{}', 'again')"
    assert str(application.row(request, str(same))["call_id"]) == call
    other = application.row(request, tool_field.new_run())
    assert str(other["call_id"]) != call
    assert other["status"] == "pending"


def test_attack_the_audit_log_tells_it_all(tool_field):
    """Each step of a call is in the audit log, by whom, and its arguments are not; the chain verifies."""
    before = tool_field.session("admin").value("SELECT max(id) FROM audit_entries")
    call = tool_field.finished(
        str(uuid.uuid4()), arguments='{"name": "a secret name"}', token=TOKENS["bot", "requester"]
    )
    entries = tool_field.session("admin").rows(
        "SELECT actor, action, outcome, database_role, details::text FROM audit_entries WHERE id > %s AND target_id = %s ORDER BY id",
        before,
        call,
    )
    assert [(each["actor"], each["action"], each["outcome"]) for each in entries] == [
        ("bot", "tool_call.request", "success"),
        ("alice", "tool_call.approve", "success"),
        (layer.ROLES["executor"], "tool_call.start", "success"),
        (layer.ROLES["executor"], "tool_call.finish", "success"),
    ]
    assert not any("secret" in each["details"] for each in entries)
    assert tool_field.session("readonly").value("SELECT problem FROM verify_audit_chain()") is None


def test_attack_temporary_tables_in_the_way(tool_field):
    """Where somebody has granted TEMPORARY all the same: functions look there last, and name the schema of what is ours."""
    admin, application = tool_field.session("admin"), tool_field.login("application")
    admin.run(f"GRANT TEMPORARY ON DATABASE {tool_field.database.name} TO mission_control")
    try:
        application.run(
            "CREATE TEMPORARY TABLE policies AS SELECT * FROM public.policies WHERE false;"
            "CREATE TEMPORARY TABLE tool_definitions AS SELECT d.* FROM public.tool_definitions AS d;"
            "CREATE TEMPORARY TABLE tool_call_records AS SELECT * FROM public.tool_call_records WHERE false;"
            "CREATE TEMPORARY TABLE audit_entries AS SELECT * FROM public.audit_entries WHERE false;"
            "CREATE DOMAIN pg_temp.jsonb AS text; UPDATE pg_temp.tool_definitions SET risk_level = 'READ_ONLY'; SET search_path = pg_temp, public"
        )
        refusals = tool_field.refusals()
        row = application.row("SELECT * FROM public.request_tool_call(%s, 'wipe', '{}')", tool_field.new_run())
        assert (row["status"], row["policy"]) == ("denied", "nobody wipes")
        assert tool_field.refusals() == refusals + 1
        assert (
            application.row("SELECT * FROM public.request_tool_call(%s, 'restart', '{}')", tool_field.new_run())[
                "status"
            ]
            == "pending"
        )
    finally:
        application.close()
        admin.run(f"REVOKE TEMPORARY ON DATABASE {tool_field.database.name} FROM mission_control")


@pytest.mark.parametrize(
    "action",
    [
        "tool_call.approve",
        "TOOL_CALL.approve",
        " tool_call.approve",
        "\ttool_call.approve",
        "\u200btool_call.approve",
        "tool\u200b_call.approve",
        "Policy.set",
        "tool.\nset",
    ],
)
@pytest.mark.parametrize("who", ["application", "owner"])
def test_attack_actions_that_look_like_ours(tool_field, who, action):
    """What a person would take for an entry of ours is refused, too; by the owner of the objects as well."""
    entry = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', %s, 'success')"
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        tool_field.session(who).run(entry, action)
    assert tool_field.session(who).run(entry, action.replace(".", "-")) == 1
