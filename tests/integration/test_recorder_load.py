"""The loader of playbook runs: what becomes of a spool, whatever is in it and whatever happens meanwhile."""

import os
import time
import uuid

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.processes import this_process
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import (
    KILLED,
    TOO_OLD,
    Left,
    load_spool,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.spool import VERSION, SpoolWriter, text
from client_threads import run_threads
from library_client import client_of
from recorder_lab import Recording, dead_process

DAY = 86400


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def load(database, spool):
    with client_of(database, pool_size=1) as client:
        yield lambda **options: load_spool(client, str(spool), **options)


def test_a_run_becomes_rows_and_its_file_goes(load, spool, application):
    run = Recording(spool, limit="web*", tags=["deploy"], check=True)
    run.play("Web servers")
    run.task("Install {{ package }}")
    run.result("web1", changed=True)
    run.result("web2", "failed", message="No package nginx")
    run.host("web1", ok=1, changed=1)
    run.host("web2", failed=1)
    run.end("failed", "Install {{ package }} on web2", dropped=2)
    result = load()
    assert (result.runs, result.events, result.closed, result.left, result.problems) == (1, 4, 0, [], [])
    assert list(spool.iterdir()) == []
    overview = application.row("SELECT * FROM playbook_run_overview")
    assert {name: overview[name] for name in ("playbook", "status", "error", "controller", "run_by", "check_mode")} == {
        "playbook": "homelab/site.yml",
        "status": "failed",
        "error": "Install {{ package }} on web2",
        "controller": "rack",
        "run_by": "sven",
        "check_mode": True,
    }
    assert (overview["limited_to"], overview["tags"], overview["dropped_events"]) == ("web*", ["deploy"], 2)
    assert (overview["hosts"], overview["changed_hosts"], overview["failed_hosts"]) == (2, 1, 1)
    steps = application.rows("SELECT event, name, host, outcome, changed FROM playbook_run_steps ORDER BY sequence")
    assert [tuple(step.values()) for step in steps] == [
        ("play", "Web servers", None, None, None),
        ("task", "Install {{ package }}", None, None, None),
        ("result", "Install {{ package }}", "web1", "ok", True),
        ("result", "Install {{ package }}", "web2", "failed", False),
    ]
    assert application.value("SELECT payload ->> 'message' FROM task_events WHERE sequence = 4") == "No package nginx"
    assert application.value("SELECT payload ->> 'message' FROM task_events WHERE type = 'error'") == overview["error"]


def test_a_run_that_was_killed_is_closed_with_what_it_did(load, spool, application):
    run = Recording(spool, process=dead_process())
    run.whole(3, end=False)
    run.write(b'{"seq": 99, "at": "2026-')
    result = load()
    assert (result.runs, result.events, result.closed, result.left) == (1, 5, 1, [])
    overview = application.row("SELECT * FROM playbook_run_overview")
    assert (overview["status"], overview["error"], overview["dropped_events"]) == ("failed", KILLED, 1)
    assert list(spool.iterdir()) == []


def in_database(session):
    """All that loading writes, but for what the server stamps and counts."""
    return {
        "runs": session.rows("SELECT * FROM playbook_run_overview ORDER BY id"),
        "hosts": session.rows("SELECT * FROM playbook_run_hosts ORDER BY task_run_id, host_name"),
        "events": session.rows(
            "SELECT task_run_id, sequence, type, payload, occurred_at FROM task_events ORDER BY 1, 2"
        ),
    }


def test_a_file_that_is_loaded_again_changes_nothing_and_goes(load, spool, application):
    # As where the loader was killed between the end of its transaction and the removal.
    runs = [Recording(spool).whole(3), Recording(spool, process=dead_process()).whole(4, end=False)]
    contents = {run.file: run.file.read_bytes() for run in runs}
    assert load().events == 11
    before = in_database(application)
    for file, content in contents.items():
        file.write_bytes(content)
        file.chmod(0o600)
    result = load()
    assert (result.events, result.closed, result.left, result.problems) == (0, 0, [], [])
    assert list(spool.iterdir()) == []
    assert in_database(application) == before


def test_what_the_writer_writes_is_loaded(load, spool, application):
    run = str(uuid.uuid4())
    writer = SpoolWriter(str(spool), run, 1 << 20, 1 << 20)
    hostile = "\0\ud800\x1b[31m\u2028 {{ name }} 'x'; DROP TABLE task_runs; --"
    begin = {"run": run, "playbook": "~/site.yml", "controller": text(hostile, 99), "user": "", "check": False}
    begin |= {"limit": None, "tags": [], "skip_tags": [], "ansible": "2.19.0", "inventory_source": None}
    writer.line(v=VERSION, begin={**begin, "process": this_process()})
    writer.event("log", {"event": "task", "name": text(hostile, 99), "module": None, "path": None, "handler": False})
    result = {"event": "result", "host": "web", "task": text(hostile, 99), "task_sequence": None}
    writer.event("tool_result", {**result, "outcome": "skipped", "changed": False, "seconds": None})
    writer.event("log", {"event": "play", "name": "x" * 9000})
    writer.line(host={"name": "web", "skipped": 1})
    writer.end("cancelled", "It was interrupted.")
    result = load()
    assert (result.events, result.left, result.problems) == (2, [], [])
    row = application.row("SELECT playbook, status, error, dropped_events FROM playbook_run_overview")
    assert list(row.values()) == ["~/site.yml", "cancelled", "It was interrupted.", 1]
    assert set(application.values("SELECT name FROM playbook_run_steps")) == {text(hostile, 99)}


def test_a_run_that_goes_on_is_loaded_as_far_as_it_is(load, spool, application):
    run = Recording(spool)
    run.play()
    assert load().left == [Left(run.file.name, "its playbook goes on")]
    assert application.row("SELECT status, seconds FROM playbook_run_overview") == {
        "status": "running",
        "seconds": None,
    }
    run.task()
    run.write(b'{"seq": 3, "at"')
    assert load().events == 1
    run.write(b': "2026-11-27T18:30:01Z", "type": "log", "payload": {"event": "play", "name": "Second"}}\n')
    run.sequence = 4
    run.end()
    result = load()
    assert (result.events, result.left) == (1, [])
    assert application.value("SELECT dropped_events FROM playbook_runs") == 0
    assert not run.file.exists()


def test_killed_and_cancelled_runs_get_their_hosts_from_what_they_did(load, spool, application):
    run = Recording(spool, process=dead_process())
    for outcome, changed in (("ok", True), ("ok", False), ("ignored", False), ("skipped", False), ("failed", False)):
        run.task()
        run.result("web1", outcome, changed)
    run.result("web2", "unreachable")
    load()
    rows = application.rows(
        "SELECT host_name, ok, changed, failed, unreachable, skipped, ignored FROM playbook_run_hosts ORDER BY host_name"
    )
    assert [tuple(row.values()) for row in rows] == [("web1", 3, 1, 1, 0, 1, 1), ("web2", 0, 0, 0, 1, 0, 0)]


def register_hosts(session, source, *names, connector="ansible", **columns):
    task = session.insert("tasks", title=f"inventory sync {source}", created_by="test")
    session.insert("inventory_sources", name=source, connector=connector, task_id=task["id"])
    return [
        session.insert("hosts", name=name, type="vm", source=source, external_id=name, **columns)["id"]
        for name in names
    ]


def test_hosts_are_joined_where_only_one_can_be_meant(load, spool, application):
    web1, both = register_hosts(application, "lab", "web1", "both")
    register_hosts(application, "office", "both")
    register_hosts(application, "cloud", "cloud1", connector="proxmox")
    register_hosts(application, "old", "gone1", gone_at="2026-01-01T00:00:00Z")
    names = ("web1", "both", "cloud1", "gone1", "nobody")
    for source in (None, "lab", "none"):
        run = Recording(spool, inventory_source=source)
        for name in names:
            run.host(name, ok=1)
        run.end()
        assert load().problems == []
        joined = application.rows(
            "SELECT host_name, host_id FROM playbook_run_hosts WHERE task_run_id = %s AND host_id IS NOT NULL", run.run
        )
        expected = {None: {"web1": web1}, "lab": {"web1": web1, "both": both}, "none": {}}
        assert {row["host_name"]: row["host_id"] for row in joined} == expected[source]


def test_lines_that_are_none_are_counted_and_stop_nothing(load, spool, application):
    run = Recording(spool)
    run.play()
    bad = [
        b"{",
        b"[" * 8000,
        b"x" * 9000,
        b"y" * 3_000_000,
        b'{"seq": 1, "at": "2026-11-27T18:30:00Z", "type": "log", "payload": {"event": "play", "name": "again"}}',
        b'{"seq": 90, "at": "2026-11-27T18:30:00Z", "type": "log", "payload": {"event": "play", "name": "\\u0000"}}',
        b'{"seq": 91, "at": "2026-11-27T18:30:00Z", "type": "error", "payload": {"message": "forged"}}',
        b'{"seq": 92, "at": "2026-11-27T18:30:00Z", "begin": {}}',
    ]
    for each in bad:
        run.write(each + b"\n")
    run.task()
    run.end(dropped=3)
    run.play("behind the end")
    result = load()
    assert (result.events, result.left, result.problems) == (2, [], [])
    assert application.value("SELECT dropped_events FROM playbook_runs") == len(bad) + 3 + 1
    assert not run.file.exists()


def test_what_the_database_refuses_of_a_run_is_counted_and_stops_nothing(load, spool, application, owner):
    owner.run("ALTER TABLE task_events ADD CONSTRAINT test CHECK (payload ->> 'name' IS DISTINCT FROM 'refused')")
    owner.run("ALTER TABLE playbook_runs ADD CONSTRAINT test CHECK (controller <> 'refused')")
    run = Recording(spool)
    for number in range(30):
        run.play("refused" if number in (0, 13, 29) else "taken")
    run.end()
    refused, other = Recording(spool, controller="refused"), Recording(spool)
    refused.end()
    other.end()
    result = load()
    assert (result.runs, result.events, result.left) == (2, 27, [])
    (problem,) = result.problems
    assert problem.startswith(
        f"{refused.file.name} was set aside as {refused.file.name}.rejected: the database refuses it ("
    )
    assert "SQLSTATE 23514" in problem
    assert application.value("SELECT dropped_events FROM playbook_runs WHERE task_run_id = %s", run.run) == 3
    assert [file.name for file in spool.iterdir()] == [f"{refused.file.name}.rejected"]


def test_what_is_no_run_is_set_aside_once_and_kept_within_bounds(load, spool, application):
    files = []
    for number in range(13):
        run = Recording(spool, check="maybe")
        run.write(b"x" * 100_000)
        files.append(run.file)
        os.utime(run.file, (1000 + number, 1000 + number))
        assert load().problems == [
            f"{run.file.name} was set aside as {run.file.name}.rejected: its first line is none of the recorder's."
        ]
    kept = {file.name: file.stat().st_size for file in spool.iterdir()}
    assert kept == {f"{file.name}.rejected": 65536 for file in files[-10:]}
    assert load().problems == []
    assert application.value("SELECT count(*) FROM task_runs") == 0


def test_a_file_that_its_owner_removes_meanwhile_stops_nothing(load, spool, application, owner):
    owner.run("ALTER TABLE playbook_runs ADD CONSTRAINT test CHECK (controller <> 'refused')")
    refused, other = Recording(spool, controller="refused"), Recording(spool)
    other.end()

    def remove():
        refused.file.unlink(missing_ok=True)

    result = load(progress=remove)
    assert (result.runs, application.values("SELECT status FROM task_runs")) == (1, ["succeeded"])
    (problem,) = result.problems
    assert problem.startswith(f"{refused.file.name} cannot be set aside (No such file or directory): ")


def test_a_run_with_the_identifier_of_another_is_set_aside(load, spool, application):
    task = application.insert("tasks", title="Restart", created_by="test")
    other = application.insert("task_runs", task_id=task["id"], status="running")
    run = Recording(spool, run=str(other["id"])).whole()
    (problem,) = load().problems
    assert problem.endswith("there is another run with its identifier.")
    assert application.value("SELECT count(*) FROM task_events") == 0
    assert not run.file.exists()


def test_files_without_a_first_line_wait_for_an_hour(load, spool):
    spool.mkdir(mode=0o700)

    def make(content, age):
        file = spool / f"{uuid.uuid4()}.jsonl"
        file.write_bytes(content)
        file.chmod(0o600)
        os.utime(file, (time.time() - age,) * 2)
        return file

    new, old_empty, old = make(b"", 0), make(b"", 7200), make(b'{"v":1,', 7200)
    result = load()
    assert result.left == [Left(new.name, "its first line is not there yet")]
    assert result.problems == [f"{old.name} was set aside as {old.name}.rejected: its first line is not whole."]
    assert not old_empty.exists()


def test_a_file_of_another_machine_is_loaded_when_it_has_ended_or_is_silent_for_a_week(load, spool, application):
    elsewhere = {**this_process(), "host": "elsewhere"}
    run = Recording(spool, process=elsewhere, controller="elsewhere")
    run.play()
    assert load().left == [Left(run.file.name, "its playbook goes on on elsewhere")]
    os.utime(run.file, (time.time() - 6 * DAY,) * 2)
    assert load().runs == 0
    os.utime(run.file, (time.time() - 8 * DAY,) * 2)
    assert load().closed == 1
    ended = Recording(spool, process=elsewhere).whole()
    assert (load().runs, ended.file.exists()) == (1, False)
    assert application.values("SELECT status FROM task_runs ORDER BY status") == ["failed", "succeeded"]


def test_a_file_of_a_later_version_stays(load, spool):
    run = Recording(spool)
    run.file.write_text('{"v": 2, "seq": 0}\n', encoding="ascii")
    result = load()
    assert (result.left, result.problems) == ([Left(run.file.name, "a newer version of the recorder wrote it")], [])
    assert run.file.exists()


def test_a_file_that_is_not_the_recorders_is_left_and_named(load, spool, tmp_path, application):
    secret = tmp_path / "secret"
    secret.write_text("secret\n", encoding="ascii")
    spool.mkdir(mode=0o700)
    link, fifo, readable = (spool / f"{uuid.uuid4()}.jsonl" for _each in range(3))
    link.symlink_to(secret)
    os.mkfifo(fifo, 0o600)
    readable.touch(0o644)
    Recording(spool).whole()
    result = load()
    assert result.runs == 1
    assert {left.file for left in result.left} == {link.name, fifo.name, readable.name}
    assert len(result.problems) == 3
    assert secret.read_text(encoding="ascii") == "secret\n"


def test_many_loaders_at_once_load_each_event_once(database, spool, application):
    runs = [Recording(spool, playbook=f"homelab/{number % 3}.yml").whole(50) for number in range(20)]
    runs += [
        Recording(spool, process=dead_process(), playbook="homelab/1.yml").whole(20, end=False) for _each in range(5)
    ]
    expected = sum(run.events for run in runs)

    def work(_number):
        with client_of(database, pool_size=1) as client:
            return [load_spool(client, str(spool)) for _round in range(3)]

    results = [each for several in run_threads(16, work) for each in several]
    assert [problem for result in results for problem in result.problems] == []
    assert sum(result.events for result in results) == expected
    assert sum(result.closed for result in results) == 5
    assert application.value("SELECT count(*) FROM task_events WHERE type <> 'error'") == expected
    assert application.value("SELECT count(*) FROM tasks") == 3
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        ("DROP TABLE playbook_run_hosts CASCADE", TOO_OLD),
        ("DROP TABLE playbook_runs CASCADE", TOO_OLD),
        ("ALTER TABLE tasks DROP COLUMN playbook CASCADE", TOO_OLD),
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "SQLSTATE 25006"),
        ("REVOKE INSERT ON task_runs FROM mission_control", "SQLSTATE 42501"),
    ],
)
def test_a_database_that_takes_no_runs_leaves_all_files_and_says_why(database, spool, admin, break_it, sentence):
    runs = [Recording(spool).whole(), Recording(spool).whole()]
    admin.run(break_it.format(name=database.name))
    with client_of(database) as client:
        result = load_spool(client, str(spool))
    (problem,) = result.problems
    assert sentence in problem
    assert {left.file for left in result.left} == {run.file.name for run in runs}
    assert all(run.file.exists() for run in runs)
