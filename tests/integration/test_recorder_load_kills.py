"""The loader of playbook runs under attack: `kill -9` of it and of the server, a server that answers no more, and 32 at once.

MISSION_CONTROL_ATTACK_LOADER_KILLS is the number of kills, and MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

import contextlib
import os
import signal
import threading
import time

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import KILLED, load_spool
from library_client import client_of
from processes import descendants, wait_for
from recorder_lab import PlaybookProcess, Recording, dead_process, log_of, start_loader, url_of

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_LOADER_KILLS", "100"))
RUNS = 30
RESULTS = 700
SERVER_KILLS = 8
AT_ONCE = 32
_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mission_control recorder' AND datname = current_database()"


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "runs"


def record(spool, number):
    """A run of which nobody knows the end yet, by number: ended, failed, or killed."""
    kind = ("succeeded", "failed", "killed")[number % 3]
    run = Recording(spool, process=dead_process(), playbook=f"homelab/{number % 4}.yml")
    run.whole(RESULTS, end=False)
    run.write(b"no line\n")
    if kind != "killed":
        run.end(kind, "web1 failed at the task: Install" if kind == "failed" else None, dropped=number)
    run.close()
    return run


def assert_exactly_once(session, runs):
    rows = {row["id"]: row for row in session.rows("SELECT * FROM playbook_run_overview")}
    assert len(rows) == len(runs)
    events = session.rows("SELECT task_run_id, type, count(*) AS n FROM task_events GROUP BY task_run_id, type")
    counted = {(row["task_run_id"], row["type"]): row["n"] for row in events}
    for number, run in enumerate(runs):
        row = rows[run.run]
        assert not run.file.exists()
        assert (row["status"], row["error"], row["dropped_events"], row["hosts"]) == (
            ("succeeded", None, number + 1, 10),
            ("failed", "web1 failed at the task: Install", number + 1, 10),
            ("failed", KILLED, 1, 10),
        )[number % 3]
        assert counted[run.run, "log"] == 2
        assert counted[run.run, "tool_result"] == RESULTS
        assert counted.get((run.run, "error"), 0) == int(row["status"] == "failed")


def test_kill_9_at_random_moments_loses_and_repeats_nothing(database, application, spool, dice):
    runs, begun, started, progress = [], 0, 0, []
    for number in range(RUNS):
        runs.append(record(spool, number))
    while begun < KILLS or list(spool.glob("*.jsonl")):
        started += 1
        if not list(spool.glob("*.jsonl")):
            runs.append(record(spool, len(runs)))
        loader = start_loader(spool, "--url", url_of(database))
        if begun < KILLS:
            begun += 1
            if dice.random() < 0.9:
                wait_for(lambda: application.value(_CONNECTED) or not list(spool.glob("*.jsonl")))
            time.sleep(dice.uniform(0, 0.4))
            loader.kill()
        assert loader.communicate(timeout=300)[0] == b""
        progress.append(application.value("SELECT count(*) FROM task_events"))
    assert_exactly_once(application, runs)
    assert log_of(spool) == []
    worked = sum(after > before for before, after in zip([0, *progress], progress))
    print(f"{started} loaders, {begun} of them killed, {worked} wrote something, {len(runs)} runs")


def test_32_loaders_at_once_load_each_event_once(database, application, spool):
    runs = [record(spool, number) for number in range(RUNS)]
    goes_on = PlaybookProcess()
    live = [Recording(spool, process=goes_on.told) for _number in range(AT_ONCE)]
    loaders = [start_loader(spool, "--url", url_of(database), "--follow", run.run) for run in live]
    for _round in range(20):
        for run in live:
            run.play()
        time.sleep(0.1)
    for run in live[::2]:
        run.end()
    for loader in loaders[::2]:
        assert (loader.communicate(timeout=300)[0], loader.returncode) == (b"", 0)
    goes_on.kill()
    for loader in loaders[1::2]:
        assert (loader.communicate(timeout=300)[0], loader.returncode) == (b"", 0)
    assert list(spool.iterdir()) == []
    for run in live:
        assert (
            application.value("SELECT count(*) FROM task_events WHERE task_run_id = %s AND type = 'log'", run.run) == 20
        )
    statuses = application.rows(
        "SELECT status, count(*) AS n FROM task_runs WHERE id = ANY (%s::uuid[]) GROUP BY status ORDER BY status",
        [run.run for run in live],
    )
    assert [tuple(row.values()) for row in statuses] == [("failed", AT_ONCE // 2), ("succeeded", AT_ONCE // 2)]
    with contextlib.closing(database.session("owner")) as owner:
        owner.run("DELETE FROM playbook_run_hosts WHERE task_run_id = ANY (%s::uuid[])", [run.run for run in live])
        owner.run("DELETE FROM playbook_runs WHERE task_run_id = ANY (%s::uuid[])", [run.run for run in live])
    assert_exactly_once(application, runs)


def test_a_server_that_is_killed_while_runs_are_loaded_gets_each_event_once(restartable, spool, dice):
    cluster = restartable.cluster
    runs = [record(spool, number) for number in range(RUNS)]
    playbook = PlaybookProcess()
    live = Recording(spool, process=playbook.told)
    loader = start_loader(spool, "--url", url_of(restartable), "--follow", live.run)
    written, stop = [0], threading.Event()

    def write():
        while not stop.wait(0.002):
            live.play()
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _number in range(SERVER_KILLS):
        time.sleep(dice.uniform(0.3, 1.5))
        cluster.kill()
        time.sleep(dice.uniform(0, 1))
        cluster.start()
    stop.set()
    writer.join()
    live.end()
    playbook.kill()
    assert loader.communicate(timeout=300)[0] == b""
    with client_of(restartable) as client:
        assert load_spool(client, str(spool)).problems == []
    with contextlib.closing(restartable.session("admin")) as session:
        assert session.value("SELECT count(*) FROM task_events WHERE task_run_id = %s", live.run) == written[0]
        assert session.value("SELECT status FROM task_runs WHERE id = %s", live.run) == "succeeded"
        session.run("DELETE FROM playbook_run_hosts WHERE task_run_id = %s", live.run)
        session.run("DELETE FROM playbook_runs WHERE task_run_id = %s", live.run)
        assert_exactly_once(session, runs)


def test_a_server_that_answers_no_more_ends_the_loader(restartable, spool):
    playbook = PlaybookProcess()
    run = Recording(spool, process=playbook.told)
    run.play()
    loader = start_loader(spool, "--url", url_of(restartable), "--follow", run.run)
    with contextlib.closing(restartable.session("admin")) as session:
        wait_for(lambda: session.value("SELECT count(*) FROM task_events") == 1)
    stopped = [restartable.cluster.pid, *descendants(restartable.cluster.pid)]
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    run.play()
    try:
        assert (loader.communicate(timeout=300)[0], loader.returncode) == (b"", 1)
    finally:
        for each in reversed(stopped):
            os.kill(each, signal.SIGCONT)
    assert log_of(spool) == ["The database has not answered for 90 seconds: what was not loaded stays in the spool."]
    playbook.kill()
    with client_of(restartable) as client:
        assert load_spool(client, str(spool)).closed == 1
