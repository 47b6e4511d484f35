"""The executor when something goes wrong, ends, is killed, or is one of several, and when its database is away."""

import contextlib
import json
import os
import random
import signal
import socket
import time
from collections import Counter

import pytest
from attack_seed import attack_seed
from command import _LIBRARY, run_process
from executor_lab import ALLOWED, DEAF_COMMAND, LOGS, RESTART, SEED, ExecutorLab, eventually
from library_client import client_of
from mission_control_database import Session
from tool_lab import OTHER_ASSISTANT, provide_tools

CUTS = 25


@pytest.fixture
def lab(database, tmp_path):
    made = ExecutorLab(database, tmp_path)
    yield made
    made.end()


def test_every_end_of_its_process_is_one_status_and_one_sentence(lab):
    faults = {
        "hang": ("timed_out", "It took longer than its time limit of 2 s"),
        "crash": (None, "An error of the connector (KeyError in lab_connector.py line "),
        "die": (None, "Carrying it out failed: its process was killed by SIGKILL"),
        "grow": (None, "The call took more than the memory limit of its source"),
        "exit": (None, "Carrying it out failed: its process ended without a word, with the exit code 3"),
    }
    tools = [{**each, "timeout_seconds": 2 if each["name"] in (LOGS, RESTART) else 60} for each in SEED]
    provide_tools(lab.database, tools, [ALLOWED])
    lab.tell({fault: {"fault": fault} for fault in faults})
    lab.start("--concurrency", "2")
    for tool, otherwise in ((LOGS, "failed"), (RESTART, "unknown")):
        calls = {fault: lab.ask(tool, source="lab", container=fault) for fault in faults}
        for fault, (status, sentence) in faults.items():
            call = lab.ended(calls[fault])
            assert (call.status, call.error.startswith(sentence)) == (status or otherwise, True), (fault, call)
            assert call.error.endswith(".")
            assert "a secret" not in call.error


def test_a_refusal_of_the_source_is_its_sentence_without_its_secret(lab):
    lab.tell({"web": {"error": "The source lab refused THE SECRET.", "status": "failed"}})
    lab.start()
    call = lab.carried_out(RESTART, source="lab", container="web")
    assert (call.status, call.error) == ("failed", "The source lab refused ***.")


def test_no_more_calls_than_allowed_run_at_once_and_one_at_a_time_changes_a_target(lab):
    lab.tell({"a": {"after": 1}, "b": {"after": 1}, "c": {"after": 1}})
    lab.start("--concurrency", "2")
    calls = [
        lab.ask(RESTART, source="lab", container=name, key=name + str(number)) for name in "abc" for number in range(2)
    ]
    together = []
    while not all(lab.call(each).has_ended for each in calls):
        running = [call.arguments["container"] for call in lab.client.tools.calls(limit=50) if call.status == "running"]
        together.append(running)
        time.sleep(0.05)
    assert max(map(len, together)) == 2
    assert all(len(set(each)) == len(each) for each in together)
    assert sorted(lab.acts) == [("restart", name) for name in "aabbcc"]


def test_who_asks_for_much_holds_up_nobody_else(lab):
    many = [lab.ask(LOGS, source="lab", container=f"c{number}") for number in range(10)]
    with client_of(lab.database, tool_token=OTHER_ASSISTANT) as other:
        answer = other.tools.request(LOGS, {"source": "lab", "container": "other"}, task_run_id=lab.run)
    lab.start("--once", "--concurrency", "1")
    assert {lab.ended(each).status for each in (*many, answer.call_id)} == {"succeeded"}
    assert lab.acts[:2] == [("logs", "c0"), ("logs", "other")]
    assert lab.acts[2:] == [("logs", f"c{number}") for number in range(1, 10)]


def test_a_term_ends_calls_that_go_on_and_says_what_is_known(lab):
    lab.tell({"slow": {"fault": "hang"}, "quick": {"after": 2}})
    command = [*DEAF_COMMAND[:-1], f"e._GRACE = 4; {DEAF_COMMAND[-1]}".replace("import ", "import ", 1)]
    command[-1] = DEAF_COMMAND[-1].replace(
        "e._TIDY = 'another', 0.3, 0.3", "e._TIDY, e._GRACE = 'another', 0.3, 0.3, 4"
    )
    process = lab.start("--concurrency", "4", command=command)
    calls = {
        "logs": lab.ask(LOGS, source="lab", container="slow"),
        "restart": lab.ask(RESTART, source="lab", container="slow"),
        "quick": lab.ask(RESTART, source="lab", container="quick"),
    }
    eventually(lambda: len(lab.acts) == 3, "all are carried out")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    later = lab.ask(LOGS, source="lab", container="later")
    lab.stop(process)
    assert time.monotonic() - began < 20
    ends = {name: lab.call(each) for name, each in calls.items()}
    assert ends["quick"].status == "succeeded"
    assert (ends["logs"].status, ends["logs"].error) == ("failed", "The executor was stopped.")
    assert ends["restart"].status == "unknown"
    assert ends["restart"].error == "The executor was stopped, so whether it took place is not known."
    assert lab.call(later).status == "approved"


def test_the_call_of_a_killed_executor_is_closed_as_unknown_and_never_carried_out_again(lab):
    lab.tell({"web": {"fault": "hang"}})
    process = lab.start()
    call_id = lab.ask(RESTART, source="lab", container="web")
    eventually(lambda: lab.acts, "it is carried out")
    lab.kill(process)
    for _each in range(2):
        lab.start()
    call = lab.ended(call_id)
    assert (call.status, call.error) == (
        "unknown",
        "The executor that had started it ended, so whether it took place is not known.",
    )
    time.sleep(1)
    assert lab.acts == [("restart", "web")]


def test_two_executors_share_the_calls_and_carry_out_each_once(lab):
    calls = [lab.ask(RESTART, source="lab", container=f"c{number}") for number in range(16)]
    for _each in range(2):
        lab.start()
    assert {lab.ended(each).status for each in calls} == {"succeeded"}
    assert sorted(lab.acts) == sorted(("restart", f"c{number}") for number in range(16))


def test_an_executor_whose_connections_are_cut_says_how_its_call_ended_and_goes_on(lab):
    lab.tell({"web": {"after": 3}})
    process = lab.start()
    call_id = lab.ask(RESTART, source="lab", container="web")
    eventually(lambda: lab.acts, "it is carried out")
    with contextlib.closing(Session(lab.database.cluster.connect())) as session:
        session.run(f"ALTER DATABASE {lab.database.name} ALLOW_CONNECTIONS false")
        session.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mission-control tools' AND datname = %s",
            lab.database.name,
        )
        time.sleep(4)
        session.run(f"ALTER DATABASE {lab.database.name} ALLOW_CONNECTIONS true")
    assert lab.ended(call_id).status == "succeeded"
    assert lab.carried_out(LOGS, source="lab", container="other").status == "succeeded"
    out = lab.stop(process)
    assert out.count("This is tried again until it succeeds.") == 1
    assert out.count("The database answers again.") == 1


def test_an_end_that_the_database_refuses_holds_up_no_other_call_and_is_told_later(lab):
    finish = "EXECUTE ON FUNCTION finish_tool_call(uuid, uuid, text, jsonb, text)"
    admin = lab.database.session("admin")
    admin.run(f"REVOKE {finish} FROM mission_control_executor")
    process = lab.start()
    calls = [lab.ask(LOGS, source="lab", container=f"c{number}") for number in range(5)]
    eventually(lambda: len(lab.acts) == len(calls), "all are carried out")
    told = "how it ended cannot be stored yet: permission denied"
    eventually(lambda: lab.log.count(told) == len(calls), "it is said of each")
    admin.run(f"GRANT {finish} TO mission_control_executor")
    assert {lab.ended(each).status for each in calls} == {"succeeded"}
    assert lab.stop(process).count(told) == len(calls)
    assert len(lab.acts) == len(calls)


def test_a_tool_that_was_changed_after_it_was_asked_for_is_not_carried_out(lab):
    call_id = lab.ask(RESTART, source="lab", container="web")
    provide_tools(
        lab.database, [{**each, "preset": {"stop_seconds": 0}} for each in SEED if each["name"] == RESTART], [ALLOWED]
    )
    lab.start()
    assert lab.ended(call_id).status == "denied"
    assert lab.acts == []


def test_once_ends_when_nothing_waits(lab):
    calls = [lab.ask(LOGS, source="lab", container=f"c{number}") for number in range(3)]
    process = lab.start("--once")
    _out, err = process.communicate(timeout=60)
    lab.processes.remove(process)
    assert (process.returncode, err) == (0, b"")
    assert {lab.call(each).status for each in calls} == {"succeeded"}


def test_sighup_has_it_read_the_sources_again_and_a_wrong_file_changes_nothing(lab):
    process = lab.start()
    eventually(lambda: "The executor knows lab." in lab.log, "it works")
    lab.configure("new", interval=1)
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "The sources stay as they were: " in lab.log, "it says so")
    lab.configure("new")
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "the executor knows new." in lab.log, "it has read them")
    assert lab.carried_out(LOGS, source="new", container="web").status == "succeeded"
    assert lab.carried_out(LOGS, source="lab", container="web").status == "denied"


def test_systemd_is_told_that_it_is_ready_and_alive(lab, monkeypatch):
    address = str(lab.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setattr("command._KEPT", (*os.environ,))
        process = lab.start()
        assert [listener.recv(100) for _each in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        lab.stop(process)


def test_a_login_without_the_right_to_execute_calls_gets_nowhere(lab):
    words = ("tools", "worker", "--file", str(lab.file), "--once")
    result = run_process(lab.database, *words, role="application", command=DEAF_COMMAND)
    assert result.returncode == 3
    assert "The login mission_control may not carry out calls, so that the executor needs another: " in result.stderr


def test_a_pattern_that_runs_for_ever_denies_its_call_and_holds_up_no_other(lab):
    evil = next(each for each in SEED if each["name"] == LOGS)
    schema = {"properties": {"source": {}, "container": {"pattern": "^(a+)+$"}}}
    # As a database may have it whose tools nobody judged.
    provide_tools(lab.database, [*SEED, {**evil, "name": "evil", "arguments_schema": schema}], [ALLOWED])
    text = DEAF_COMMAND[-1].replace(
        "import ", f"import {_LIBRARY}.tools.carrying as c; c._CHECK_SECONDS = 3; import ", 1
    )
    lab.start(command=[*DEAF_COMMAND[:-1], text])
    call_id = lab.client.query_one(
        "SELECT call_id FROM request_tool_call(%s, 'evil', %s::jsonb)",
        [lab.run, json.dumps({"source": "lab", "container": "a" * 50 + "!"})],
    )["call_id"]
    assert lab.carried_out(LOGS, source="lab", container="web").status == "succeeded"
    call = lab.ended(call_id)
    assert (call.status, call.error) == (
        "denied",
        "The arguments cannot be judged: it took longer than its deadline of 3 s.",
    )


def test_connections_that_are_cut_at_random_moments_let_no_call_act_twice_and_lose_none(lab, admin):
    dice = random.Random(attack_seed())
    lab.start("--concurrency", "4")
    calls = []
    for number in range(CUTS):
        calls.append(lab.ask(RESTART, source="lab", container=f"c{number}"))
        time.sleep(dice.uniform(0, 0.5))
        admin.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mission-control tools' AND datname = %s",
            lab.database.name,
        )
    assert Counter(lab.ended(each, 180).status for each in calls) == {"succeeded": CUTS}
    assert sorted(lab.acts) == sorted(("restart", f"c{number}") for number in range(CUTS))
