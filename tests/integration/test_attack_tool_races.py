"""Many at once: 32 starts, 32 decisions, and decision, withdrawal, start and expiry of one call in any order; one of each kind wins."""

from __future__ import annotations

import collections
import os
import random
import threading
import uuid

import psycopg2
from attack_seed import attack_seed
from tool_field import APPROVE, FINISH, START, TOKENS

AT_ONCE = 32
ROUNDS = int(os.environ.get("MISSION_CONTROL_ATTACK_ROUNDS", "3"))


def at_once(field, steps):
    """Answers of (who, statement, parameters), each in a session of its own, all begun together."""
    sessions = [field.login(who) for who, *_ in steps]
    gate, answers = threading.Barrier(len(steps)), [None] * len(steps)

    def take(number):
        _, statement, *parameters = steps[number]
        gate.wait()
        try:
            answers[number] = sessions[number].rows(statement, *parameters)[-1]
        except psycopg2.Error as error:
            answers[number] = {"accepted": None, "error": error.pgcode}

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    for session in sessions:
        session.close()
    return answers


def entries(field, call, action):
    return field.session("admin").value(
        "SELECT count(*) FROM audit_entries WHERE target_id = %s AND action = %s AND outcome = 'success'", call, action
    )


def test_attack_32_starts_at_once(tool_field):
    for _ in range(ROUNDS):
        call = tool_field.approved()
        executions = [str(uuid.uuid4()) for _ in range(AT_ONCE)]
        answers = at_once(tool_field, [("executor", START, call, execution) for execution in executions])
        won = [number for number, answer in enumerate(answers) if answer["accepted"]]
        assert len(won) == 1, answers
        assert [answer for answer in answers if "error" in answer] == []
        row = tool_field.calls()[call]
        assert (row["status"], str(row["execution_id"])) == ("running", executions[won[0]])
        assert entries(tool_field, call, "tool_call.start") == 1
        # And only who won may say how it ended; where another holds the row at that moment, by asking again.
        ends = at_once(tool_field, [("executor", FINISH, call, execution, "succeeded") for execution in executions])
        assert {number for number, answer in enumerate(ends) if answer["accepted"]} <= set(won)
        assert tool_field.session("executor").row(FINISH, call, executions[won[0]], "succeeded")["accepted"]
        assert tool_field.calls()[call]["status"] == "succeeded"


def test_attack_32_decisions_at_once(tool_field):
    decide = "SELECT * FROM decide_tool_call(%s, %s, 'it hangs', %s)"
    for _ in range(ROUNDS):
        call = tool_field.checked()
        steps = [
            (
                "service",
                decide,
                call,
                ("approve", "deny")[number % 2],
                TOKENS[("carol", "dave")[number // 2 % 2], "approver"],
            )
            for number in range(AT_ONCE)
        ]
        answers = at_once(tool_field, steps)
        won = [steps[number] for number, answer in enumerate(answers) if answer["accepted"]]
        assert len(won) == 1, answers
        row = tool_field.calls()[call]
        assert row["status"] == {"approve": "approved", "deny": "denied"}[won[0][3]]
        assert entries(tool_field, call, "tool_call.approve") + entries(tool_field, call, "tool_call.deny") == 1


def test_attack_32_requests_with_one_key_at_once(tool_field):
    for _ in range(ROUNDS):
        run = tool_field.new_run()
        request = "SELECT * FROM request_tool_call(%s, 'restart', '{}', 'key')"
        answers = at_once(tool_field, [("application", request, run)] * AT_ONCE)
        assert [answer for answer in answers if "error" in answer] == []
        assert len({answer["call_id"] for answer in answers}) == 1
        assert (
            tool_field.session("admin").value("SELECT count(*) FROM tool_call_records WHERE task_run_id = %s", run) == 1
        )


# What may become of a call that is decided, withdrawn, started and looked at for its age in any order.
ENDS = {"pending", "denied", "cancelled", "running", "approved", "expired"}


def test_attack_everything_at_once(tool_field):
    """In any order, the call runs at most once, only after an approval, and never after it was withdrawn or denied."""
    dice = random.Random(attack_seed())
    seen = collections.Counter()
    for number in range(8 * ROUNDS):
        expired = number % 4 == 3
        call = tool_field.approved() if number % 2 else tool_field.checked()
        if expired:
            tool_field.rewritten(call, "approval_expires_at = now() - interval '1 second'")
        steps = (
            [("executor", START, call, str(uuid.uuid4())) for _ in range(4)]
            + [("application", "SELECT * FROM cancel_tool_call(%s)", call)] * dice.randrange(2)
            + [("alice", APPROVE, call)] * 2
            + [("service", "SELECT * FROM decide_tool_call(%s, 'deny', 'no', %s)", call, TOKENS["carol", "approver"])]
            * dice.randrange(2)
            + [("executor", "SELECT expire_tool_calls() AS expired")] * 2
        )
        dice.shuffle(steps)
        answers = at_once(tool_field, steps)
        assert [answer for answer in answers if "error" in answer] == []
        row = tool_field.calls()[call]
        seen[row["status"]] += 1
        assert row["status"] in ENDS
        starts = [
            answer for (_, statement, *_), answer in zip(steps, answers) if statement == START and answer["accepted"]
        ]
        assert len(starts) == (row["status"] == "running")
        assert entries(tool_field, call, "tool_call.start") == len(starts)
        assert not (expired and starts)
        if row["started_at"]:
            assert row["approved_by"]
    assert len(seen) > 1, seen
    assert tool_field.outlaws() == []
    assert tool_field.session("readonly").value("SELECT problem FROM verify_audit_chain()") is None
