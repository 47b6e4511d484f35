"""The worker as a process: requests, the clock, stops, kills, an absent database, several workers at once."""

import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from command import LAB_COMMAND, start_command
from mission_control_database import Session

_WORKER = "ansible_collections.homelab.mission_control.plugins.module_utils.inventory.worker"
# Hears no notification, as behind a pooler, and looks more often, so that the test need not wait.
DEAF_COMMAND = [
    *LAB_COMMAND[:-1],
    f"import {_WORKER} as worker; worker.CHANNEL, worker._POLL = 'another', 0.5; {LAB_COMMAND[-1]}",
]
TOLD = {"hosts": [{"external_id": "rack", "name": "rack"}]}
HANGS = {"fault": "hang"}


def eventually(condition, what):
    deadline = time.monotonic() + 25  # less than the worker's own look every 30 seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Workers:
    """Workers of one database and one file of sources."""

    def __init__(self, database, session, directory):
        self._database = database
        self._session = session
        self._directory = directory
        self._processes = []
        self.file = directory / "sources.json"
        self._log = directory / "log"

    @property
    def log(self):
        """What all of them have said."""
        return self._log.read_text(encoding="utf-8")

    def configure(self, *names, told=TOLD, **keys):
        entries = []
        for name in names:
            (self._directory / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
            options = {"file": str(self._directory / f"{name}.json"), "trace": str(self._directory / f"{name}.trace")}
            entries.append({"name": name, "connector": "docker", "interval": 0, "options": options, **keys})
        self.file.write_text(json.dumps(entries), encoding="utf-8")

    def tell(self, name, told):
        (self._directory / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")

    def start(self, command=LAB_COMMAND, **options):
        words = ("inventory", "worker", "--file", str(self.file), "--credentials", str(self._directory / "none"))
        with self._log.open("ab") as log:
            process = start_command(self._database, *words, command=command, stdout=log, **options)
        self._processes.append(process)
        listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mission-control inventory' AND datname = %s"
        eventually(
            lambda: self._session.value(listening, self._database.name) >= len(self._processes), "it is connected"
        )
        return process

    def stop(self, process):
        """What it and all others have said."""
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=60)
        self._processes.remove(process)
        assert (process.returncode, err) == (0, b"")
        return self.log

    def kill(self, process):
        self._processes.remove(process)
        process.kill()
        process.communicate()

    def fetches(self, name):
        """The processes that have fetched a source."""
        with contextlib.suppress(OSError):
            return (self._directory / f"{name}.trace").read_text(encoding="ascii").split()
        return []

    def fetching(self, name):
        return int(eventually(lambda: self.fetches(name), f"{name} is fetched")[-1])

    def end(self):
        for process in list(self._processes):
            self.kill(process)


@pytest.fixture
def workers(database, admin, tmp_path):
    workers = Workers(database, admin, tmp_path)
    yield workers
    workers.end()


@pytest.fixture
def runs(application):
    """A callable: status and error of the runs of a source, in their order."""

    def look(name):
        rows = application.rows(
            "SELECT r.status, r.error FROM task_runs AS r JOIN inventory_sources AS s ON s.task_id = r.task_id WHERE s.name = %s "
            "ORDER BY r.created_at",
            name,
        )
        return [(row["status"], row["error"]) for row in rows]

    return look


@pytest.fixture
def request_sync(application):
    def ask(*names):
        """Once the worker has registered them."""
        known = "SELECT count(*) FROM inventory_sources WHERE name = ANY (%s) AND enabled"
        eventually(lambda: application.value(known, list(names)) == len(names), "the sources are known")
        outcomes = application.values("SELECT outcome FROM request_inventory_refresh(%s, 'a test')", list(names))
        assert set(outcomes) == {"queued"}

    return ask


SUCCEEDED = ("succeeded", None)


def test_a_request_wakes_the_worker(workers, runs, request_sync, application):
    workers.configure("lab")
    process = workers.start()
    request_sync("lab")
    eventually(lambda: runs("lab") == [SUCCEEDED], "the run ended")
    assert application.values("SELECT name FROM hosts WHERE source = 'lab'") == ["rack"]
    assert "lab: succeeded, hosts: 1 added" in workers.stop(process)


def test_without_notifications_it_finds_requests_by_looking(workers, runs, request_sync):
    workers.configure("lab")
    workers.start(command=DEAF_COMMAND)
    request_sync("lab")
    eventually(lambda: runs("lab") == [SUCCEEDED], "the run ended")


def test_a_source_is_synced_when_its_time_has_come_and_not_before(workers, runs, application):
    workers.configure("lab", interval=3600)
    workers.start(command=DEAF_COMMAND)
    eventually(lambda: runs("lab") == [SUCCEEDED], "it was never synced, so it is due")
    time.sleep(2)
    assert len(runs("lab")) == 1
    application.run("UPDATE task_runs SET created_at = created_at - interval '2 hours'")
    eventually(lambda: runs("lab") == [SUCCEEDED, SUCCEEDED], "its interval is over")


def test_a_failed_source_holds_up_no_other_and_is_not_asked_again_at_once(workers, runs, request_sync):
    workers.configure("good", "hung")
    workers.tell("hung", HANGS)
    workers.start()
    request_sync("hung")
    workers.fetching("hung")
    request_sync("good")
    eventually(lambda: runs("good") == [SUCCEEDED], "the other run ended")
    assert [status for status, _error in runs("hung")] == ["running"]


def test_sigterm_ends_the_fetch_and_closes_its_run(workers, runs, request_sync):
    workers.configure("lab", told=HANGS)
    process = workers.start()
    request_sync("lab")
    fetching = workers.fetching("lab")
    workers.stop(process)
    assert runs("lab") == [("failed", "The sync of lab was stopped before it had ended.")]
    assert not is_there(fetching)


def test_the_run_of_a_killed_worker_is_closed_by_the_next_one_once(workers, runs, request_sync, application):
    workers.configure("lab", told=HANGS)
    process = workers.start()
    request_sync("lab")
    fetching = workers.fetching("lab")
    workers.kill(process)
    eventually(lambda: not is_there(fetching), "what it had started ends")
    assert runs("lab") == [("running", None)]
    for _each in range(2):
        workers.start()
    eventually(
        lambda: runs("lab") == [("failed", "The program that worked on it ended without finishing it.")], "closed"
    )
    finished = "SELECT count(*) FROM task_events WHERE payload ->> 'status' = 'failed'"
    assert application.value(finished) == 1


def test_two_workers_share_the_queue_and_carry_out_each_run_once(workers, runs, request_sync):
    names = [f"lab-{number}" for number in range(8)]
    workers.configure(*names, interval=3600)
    for _each in range(2):
        workers.start()
    eventually(lambda: all(runs(name) == [SUCCEEDED] for name in names), "all were due, and are synced")
    assert [len(workers.fetches(name)) for name in names] == [1] * len(names)


def test_a_worker_whose_connections_are_cut_closes_its_run_and_goes_on(workers, runs, request_sync, database):
    workers.configure("lab", told={"fault": "hang", "seconds": 3})
    process = workers.start()
    request_sync("lab")
    workers.fetching("lab")
    _let_in(database, False)
    time.sleep(4)  # while it is away the fetch ends, and its run cannot be closed
    _let_in(database, True)
    eventually(lambda: runs("lab") and runs("lab")[0][0] != "running", "the run is closed")
    workers.configure("other")
    process.send_signal(signal.SIGHUP)
    request_sync("other")
    eventually(lambda: runs("other") == [SUCCEEDED], "it goes on")
    out = workers.stop(process)
    assert out.count("This is tried again until it succeeds.") == 1
    assert out.count("The database answers again.") == 1


def _let_in(database, let):
    """Whether anybody may connect to the database; else those who are there are thrown out."""
    with contextlib.closing(Session(database.cluster.connect())) as session:
        session.run(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS {str(let).lower()}")
        if not let:
            session.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'mission-control inventory' AND datname = %s",
                database.name,
            )


def test_sighup_has_it_read_the_sources_again_and_a_wrong_file_changes_nothing(
    workers, runs, request_sync, application
):
    workers.configure("old")
    process = workers.start()
    request_sync("old")
    eventually(lambda: runs("old") == [SUCCEEDED], "it works")
    workers.configure("old", "new", interval=1)
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "The sources stay as they were: " in workers.log, "it says so")
    workers.configure("new")
    process.send_signal(signal.SIGHUP)
    request_sync("new")
    eventually(lambda: runs("new") == [SUCCEEDED], "it knows the new one")
    assert application.value("SELECT enabled FROM inventory_sources WHERE name = 'old'") is False
    assert "source new: Its interval is 1, but" in workers.stop(process)


def test_systemd_is_told_that_it_is_ready_and_alive(workers, tmp_path, monkeypatch):
    workers.configure("lab")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setattr("command._KEPT", (*os.environ,))
        process = workers.start()
        assert [listener.recv(100) for _each in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        workers.stop(process)


def test_wrong_sources_end_it_before_anything_is_connected(workers, database):
    workers.configure("lab", interval=1)
    words = ("inventory", "worker", "--file", str(workers.file), "--credentials", "/nowhere")
    process = start_command(database, *words, command=LAB_COMMAND)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, b"")
    assert b"Its interval is 1, but" in err
