"""client.tools: asking for calls of tools, waiting for them, deciding about them, against the real functions of the database."""

import concurrent.futures
import math
import threading
import uuid

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    MissionControlError,
    QueryError,
    ToolArgumentsError,
    ToolCallError,
    TransactionError,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library_client import client_of
from tool_lab import (
    APPROVER,
    ASSISTANT,
    GREET,
    LIST,
    OTHER_ASSISTANT,
    REMOVE,
    RESTART,
    StandInExecutor,
    provide_tools,
    task_run,
)


@pytest.fixture
def lab(database):
    provide_tools(database)
    return database


@pytest.fixture
def assistant(lab):
    with client_of(lab, tool_token=ASSISTANT) as client:
        yield client


@pytest.fixture
def alice(lab):
    with client_of(lab, tool_token=APPROVER) as client:
        yield client


@pytest.fixture
def run_id(assistant):
    return task_run(assistant)


@pytest.fixture
def executor(lab):
    with StandInExecutor(lab) as executor:
        yield executor


def test_a_call_that_is_allowed_gives_its_result(assistant, executor, run_id):
    call = assistant.tools.run(LIST, {"kind": "vm"}, task_run_id=run_id)
    assert (call.status, call.requested_by, call.result) == (
        "succeeded",
        "assistant",
        {"things": ["nas", "plex"], "kind": "vm"},
    )
    assert executor.done == [(LIST, {"kind": "vm"})]
    assert assistant.tools.calls(tool=LIST, task_run_id=run_id)[0].id == call.id
    assert assistant.tools.calls(statuses=["failed"]) == []


def test_a_refusal_is_a_value_of_request_and_an_error_of_run(assistant, executor, run_id):
    answer = assistant.tools.request(REMOVE, task_run_id=run_id)
    assert (answer.status, answer.policy) == ("denied", None)
    assert "DESTRUCTIVE" in answer.reason
    with pytest.raises(ToolCallError, match=r"was denied: .*DESTRUCTIVE") as refused:
        assistant.tools.run(REMOVE, task_run_id=run_id)
    assert refused.value.status == "denied"
    assert refused.value.call_id is not None
    with pytest.raises(ToolCallError, match="of nothing_of_this_name was denied") as refused:
        assistant.tools.run("nothing_of_this_name", task_run_id=run_id)
    assert (refused.value.call_id, refused.value.status) == (None, "denied")
    assert executor.done == []


def test_a_person_approves_and_who_asked_may_not(lab, assistant, alice, executor, run_id):
    answer = assistant.tools.request(RESTART, {"name": "plex"}, task_run_id=run_id)
    call = assistant.tools.wait(answer.call_id, until=lambda call: call.waits_for_approval)
    assert call.waits_for_approval
    assert [(each.id, each.previous_arguments, each.requested_by) for each in alice.tools.waiting()] == [
        (call.id, None, "assistant")
    ]
    # Whose token is none of an approver is told so; the application's login alone may do nothing of the kind.
    assert not assistant.tools.approve(call.id).accepted
    with client_of(lab) as nobody, pytest.raises(QueryError):
        nobody.tools.approve(call.id)
    assert alice.tools.approve(call.id, "after the backup").accepted
    ended = assistant.tools.wait(call.id)
    assert (ended.status, ended.approved_by, ended.result) == ("succeeded", "alice", {"done": True})
    again = alice.tools.approve(call.id)
    assert (again.accepted, again.status) == (False, "succeeded")
    # The next one is shown beside it.
    following = assistant.tools.request(RESTART, {"name": "nas"}, task_run_id=run_id)
    following = assistant.tools.wait(following.call_id, until=lambda call: call.waits_for_approval)
    assert assistant.tools.previous_arguments(following) == {"name": "plex"}
    assert alice.tools.deny(following.id, "not now").accepted
    with pytest.raises(ToolCallError, match="was denied: not now"):
        raise_for(assistant.tools.wait(following.id))


def raise_for(call):
    """As `run` does for a call that has ended."""
    from ansible_collections.homelab.mission_control.plugins.module_utils.tools.calls import describe_call

    raise ToolCallError(describe_call(call), call.id, call.status)


def test_a_tool_that_fails_is_an_error_with_its_reason(assistant, executor, run_id):
    def fail(_arguments):
        raise ValueError("the cluster is away")

    executor.works[LIST] = fail
    with pytest.raises(ToolCallError, match=r"failed: the cluster is away\.$") as failed:
        assistant.tools.run(LIST, task_run_id=run_id)
    assert failed.value.status == "failed"
    assert assistant.tools.call(failed.value.call_id).error == "the cluster is away"


def test_waiting_ends_with_the_time_and_the_call_goes_on(assistant, run_id):
    with pytest.raises(ToolCallError, match="is allowed and waits for the executor") as waiting:
        assistant.tools.run(LIST, task_run_id=run_id, seconds=0.1)
    assert waiting.value.status == "approved"
    assert assistant.tools.cancel(waiting.value.call_id).accepted
    assert assistant.tools.wait(waiting.value.call_id).status == "cancelled"
    assert not assistant.tools.cancel(waiting.value.call_id).accepted


def test_a_key_gives_the_same_call_again(assistant, executor, run_id):
    first = assistant.tools.request(LIST, {"kind": "vm"}, task_run_id=run_id, key="once")
    assert assistant.tools.request(LIST, {"kind": "vm"}, task_run_id=run_id, key="once").call_id == first.call_id
    other = assistant.tools.request(LIST, {"kind": "host"}, task_run_id=run_id, key="once")
    assert (other.call_id, other.status) == (None, "denied")
    assistant.tools.wait(first.call_id)
    assert executor.done == [(LIST, {"kind": "vm"})]


def test_only_who_asked_withdraws(lab, assistant, run_id):
    answer = assistant.tools.request(LIST, task_run_id=run_id)
    with client_of(lab, tool_token=OTHER_ASSISTANT) as other:
        assert not other.tools.cancel(answer.call_id).accepted
    assert assistant.tools.cancel(answer.call_id).accepted


def test_arguments_that_do_not_fit_are_named_and_nothing_is_asked_for(assistant, run_id):
    for arguments, said in (
        ({"most": 0}, "most"),
        ({"other": 1}, "other"),
        ([1], "JSON object"),
        ({"most": math.nan}, "no form in JSON"),
        ({"kind": {1, 2}}, "no form in JSON"),
        ({"kind": "\0"}, "cannot store"),
    ):
        with pytest.raises(ToolArgumentsError, match=said):
            assistant.tools.request(LIST, arguments, task_run_id=run_id)
    assert assistant.tools.calls() == []


def test_arguments_that_a_tool_fixes_are_not_given(assistant, executor, run_id):
    (tool,) = (tool for tool in assistant.tools.list() if tool.name == GREET)
    assert tool.caller_schema()["required"] == ["name"]
    assert set(tool.caller_schema()["properties"]) == {"name"}
    assistant.tools.run(GREET, {"name": "alice"}, task_run_id=run_id)
    assert executor.done == [(GREET, {"greeting": "Good day", "name": "alice"})]
    other = assistant.tools.request(GREET, {"name": "alice", "greeting": "Go away"}, task_run_id=run_id)
    assert other.status == "denied"


def test_what_the_policies_say_is_told_by_caller(database):
    policies = [
        {"name": "no-others", "tools": ["*"], "effect": "deny", "conditions": {"callers": ["other"]}, "priority": 200},
        {"name": "plex", "tools": [RESTART], "effect": "allow", "conditions": {"arguments": {"name": "plex"}}},
    ]
    provide_tools(database, policies=policies)
    with client_of(database, tool_token=ASSISTANT) as client:
        assert client.tools.caller() == "assistant"
        effects = {name: decision.effect for name, decision in client.tools.decisions().items()}
        assert effects == {LIST: "allow", RESTART: "require_approval", REMOVE: "deny", GREET: "allow"}
        decision = client.tools.decision(RESTART, {"name": "plex"})
        assert (decision.effect, decision.policy) == ("allow", "plex")
        assert client.tools.decision(LIST, caller="other").policy == "no-others"
        assert client.tools.decision("nothing_of_this_name").effect == "deny"
    with client_of(database, tool_token=OTHER_ASSISTANT) as client:
        assert {decision.effect for decision in client.tools.decisions().values()} == {"deny"}
    with client_of(database) as client:
        assert client.tools.caller() == "mission_control"


def test_an_unknown_token_is_refused(lab):
    with client_of(lab, tool_token="x" * 32) as client:
        assert client.tools.caller() == ""
        decisions = [*client.tools.decisions().values(), client.tools.decision(LIST)]
        assert {(each.effect, each.reason) for each in decisions} == {("deny", "the token is not known")}
        assert client.tools.decision(LIST, caller="alice").effect == "allow"
        answer = client.tools.request(LIST, task_run_id=task_run(client))
        assert (answer.call_id, answer.status) == (None, "denied")
        with pytest.raises(QueryError):
            client.tools.waiting()


def test_a_transaction_has_no_tools(assistant):
    with assistant.transaction() as transaction, pytest.raises(TransactionError, match="no part of a transaction"):
        transaction.tools.list()


def test_nothing_is_asked_for_or_decided_while_a_transaction_is_open(assistant):
    run = task_run(assistant)
    call_id = assistant.tools.request(RESTART, {"name": "plex"}, task_run_id=run).call_id
    with assistant.transaction() as transaction:
        transaction.query("SELECT 1")
        for attempt in (
            lambda: assistant.tools.request(LIST, task_run_id=run),
            lambda: assistant.tools.run(LIST, task_run_id=run),
            lambda: assistant.tools.cancel(call_id),
            lambda: assistant.tools.approve(call_id),
        ):
            with pytest.raises(TransactionError, match="end the one that is open in this thread first"):
                attempt()
        assert len(assistant.tools.calls()) == 1
        # A transaction of another thread is none of this one's.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert pool.submit(assistant.tools.cancel, call_id).result().accepted
    with assistant.stream("SELECT 1 AS one") as rows:
        assert [assistant.tools.request(LIST, task_run_id=run).status for _ in rows] == ["approved"]


def test_a_call_that_there_is_not_is_said_to_be_none(assistant):
    for call_id in (uuid.uuid4(), "nonsense", "", 5):
        with pytest.raises(ToolCallError, match="There is no call"):
            assistant.tools.wait(call_id, 0)
    assert assistant.tools.find("nonsense") == []


def test_a_notification_wakes_who_waits_and_other_calls_do_not(assistant, alice, executor, run_id, monkeypatch):
    """Without a look by the clock nothing but the notification can end the waiting."""
    from ansible_collections.homelab.mission_control.plugins.module_utils.tools import calls

    monkeypatch.setattr(calls, "_POLL", 3600.0)
    answer = assistant.tools.request(RESTART, {"name": "plex"}, task_run_id=run_id)
    ended = []
    waiter = threading.Thread(target=lambda: ended.append(assistant.tools.wait(answer.call_id, 60)))
    waiter.start()
    assistant.tools.run(LIST, task_run_id=run_id)
    call = assistant.tools.wait(answer.call_id, 30, until=lambda call: call.waits_for_approval)
    alice.tools.approve(call.id)
    waiter.join(60)
    assert [call.status for call in ended] == ["succeeded"]


def test_waiting_outlives_the_server(restartable):
    provide_tools(restartable)
    with client_of(restartable, tool_token=ASSISTANT) as client:
        answer = client.tools.request(LIST, task_run_id=task_run(client))
        ended = []
        waiter = threading.Thread(target=lambda: ended.append(client.tools.wait(answer.call_id, 60)))
        waiter.start()
        # The throw-away server acknowledges before it writes.
        restartable.session("admin").run("CHECKPOINT")
        restartable.close()
        restartable.cluster.kill()
        restartable.cluster.start()
        with StandInExecutor(restartable):
            waiter.join(60)
        assert [call.status for call in ended] == ["succeeded"]


@given(
    name=st.text(max_size=50) | st.sampled_from([LIST, RESTART, GREET]),
    arguments=st.dictionaries(
        st.sampled_from(["name", "kind", "most"]) | st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=3,
    ),
    key=st.none() | st.text(max_size=20),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_for_is_answered_or_refused_in_a_sentence(assistant, run_id, name, arguments, key):
    answer, said = None, []
    try:
        answer = assistant.tools.request(name, arguments, task_run_id=run_id, key=key)
    except MissionControlError as error:
        said.append(str(error))
    assert not any("\n" in each for each in said)
    if answer is None:
        return
    assert answer.status in ("approved", "pending", "denied")
    if answer.call_id is not None and answer.status != "denied":
        assert assistant.tools.cancel(answer.call_id).accepted or key is not None
