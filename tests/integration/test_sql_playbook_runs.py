"""Runs of playbooks as the views show them: values, months, what stays hidden, and how they are read when there are many."""

from decimal import Decimal

import psycopg2
import psycopg2.extras
import pytest
from large_data import load_playbook_runs
from test_sql_views import scanned_whole

PLAYBOOK = "homelab/site.yml"


def add_run(application, playbook=PLAYBOOK, hosts=(), events=(), check_mode=False, **columns):
    """A playbook's run as a recorder writes it, its task where there is none; returns the run's id."""
    application.run(
        "INSERT INTO tasks (title, playbook, created_by) VALUES (%s, %s, 'recorder') ON CONFLICT (playbook) DO NOTHING",
        *[playbook] * 2,
    )
    task = application.value("SELECT id FROM tasks WHERE playbook = %s", playbook)
    run = application.insert("task_runs", task_id=task, **columns)["id"]
    application.insert(
        "playbook_runs",
        task_run_id=run,
        controller="nas",
        run_by="sven",
        check_mode=check_mode,
        ansible_version="2.21.5",
    )
    for host in hosts:
        application.insert("playbook_run_hosts", task_run_id=run, **host)
    for sequence, (kind, payload) in enumerate(events):
        application.insert("task_events", task_run_id=run, sequence=sequence, type=kind, payload=payload)
    return run


def test_a_playbook_is_one_task_and_other_tasks_have_none(application):
    for _ in range(2):
        application.insert("tasks", title="t", created_by="me")
        add_run(application)
    assert application.values("SELECT title FROM tasks WHERE playbook IS NOT NULL") == [PLAYBOOK]
    with pytest.raises(psycopg2.errors.UniqueViolation):
        application.insert("tasks", title="another", created_by="me", playbook=PLAYBOOK)
    with pytest.raises(psycopg2.errors.CheckViolation):
        application.insert("tasks", title="another", created_by="me", playbook=" ")
    with pytest.raises(psycopg2.errors.CheckViolation):
        add_run(application, hosts=[{"host_name": "a", "skipped": -1}])


RESULT = {
    **{"event": "result", "host": "web1", "task": "Copy it", "task_sequence": 1},
    **{"outcome": "failed", "changed": False, "seconds": 0.123, "message": "hunter2"},
}


def test_steps_of_a_run_are_shown_without_messages(database, application):
    events = [
        ("log", {"event": "play", "name": "Web"}),
        ("log", {"event": "task", "name": "Copy it", "module": "copy", "path": "site.yml:3", "handler": False}),
        ("tool_result", RESULT),
        # Not of a recorder, and not of the form that it writes.
        ("status_change", {"event": "task", "name": "status"}),
        ("tool_result", {"event": "task", "name": "wrong type"}),
        ("log", {"text": "hello"}),
        ("log", psycopg2.extras.Json(["event", "task"])),
        ("tool_result", {"event": "result", "task": 7, "changed": "perhaps", "seconds": "long"}),
    ]
    run = add_run(application, events=events)
    session = database.session("service")
    rows = session.rows("SELECT * FROM playbook_run_steps WHERE task_run_id = %s ORDER BY sequence", run)
    play, task, result, odd = rows
    assert [row["sequence"] for row in rows] == [0, 1, 2, 7]
    assert (play["event"], play["name"], play["module"], play["outcome"]) == ("play", "Web", None, None)
    assert (task["event"], task["name"], task["module"], task["path"]) == ("task", "Copy it", "copy", "site.yml:3")
    assert [result[name] for name in ("event", "name", "host", "outcome", "changed", "seconds")] == [
        *("result", "Copy it", "web1", "failed"),
        *(False, Decimal("0.123")),
    ]
    assert [odd[name] for name in ("name", "changed", "seconds")] == ["7", None, None]
    assert "hunter2" not in repr(rows)


ATTACK = "SELECT name FROM playbook_run_steps WHERE name::date > '2020-01-01'"


def test_attack_a_payload_of_another_run_by_a_condition_that_fails_on_it(database, application, admin):
    """The error of a cast prints what it could not read."""
    task = application.insert("tasks", title="t", created_by="an agent")
    run = application.insert("task_runs", task_id=task["id"])
    secret = {"event": "task", "name": "hunter2"}
    application.insert("task_events", task_run_id=run["id"], sequence=0, type="log", payload=secret)
    add_run(application, events=[("log", {"event": "play", "name": "2026-01-01"})])
    service = database.session("service")
    assert service.values(ATTACK) == ["2026-01-01"]
    admin.run("ALTER VIEW playbook_run_steps RESET (security_barrier)")
    with pytest.raises(psycopg2.Error, match="hunter2"):
        service.values(ATTACK)


def test_the_overview_of_a_run(application):
    host = application.insert("hosts", name="web1", type="vm")["id"]
    run = add_run(
        application,
        hosts=[
            {"host_name": "web1", "host_id": host, "ok": 3, "changed": 1},
            {"host_name": "web2", "ok": 1, "failed": 1, "changed": 2},
            {"host_name": "web3", "unreachable": 1},
            {"host_name": "web4", "ok": 1, "ignored": 1, "rescued": 1},
        ],
        status="failed",
        error="Copy it on web2",
        created_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:01:30.5Z",
    )
    application.run("UPDATE playbook_runs SET dropped_events = 7")
    running = add_run(application, status="running", check_mode=True)
    newest, row = application.rows("SELECT * FROM playbook_run_overview ORDER BY started_at DESC")
    assert (row["id"], row["playbook"], row["status"], row["error"]) == (run, PLAYBOOK, "failed", "Copy it on web2")
    assert (row["hosts"], row["changed_hosts"], row["failed_hosts"]) == (4, 2, 2)
    assert (row["started_at"].isoformat(), row["seconds"]) == ("2026-01-01T00:00:00+00:00", Decimal("90.5"))
    assert (row["controller"], row["run_by"], row["tags"], row["dropped_events"]) == ("nas", "sven", [], 7)
    assert (newest["id"], newest["check_mode"], newest["hosts"], newest["seconds"]) == (running, True, 0, None)

    application.run("DELETE FROM hosts")
    assert application.values("SELECT host_id FROM playbook_run_hosts WHERE host_name = 'web1'") == [None]


def test_the_status_of_a_playbook_leaves_dry_runs_out(application):
    ended = {"finished_at": "2026-01-02T03:04:05Z"}
    old = add_run(application, created_at="2026-01-02T03:04:00Z", status="succeeded", **ended)
    add_run(application, status="succeeded", check_mode=True, finished_at="now")
    (row,) = application.rows("SELECT * FROM playbook_status")
    assert (row["playbook"], row["last_run_id"], row["last_status"]) == (PLAYBOOK, old, "succeeded")
    assert (row["last_seconds"], row["last_success_at"]) == (Decimal(5), row["last_finished_at"])
    assert [row[name] for name in ("succeeded", "failed", "cancelled", "running")] == [0, 0, 0, 0]

    for status in ("failed", "failed", "cancelled", "succeeded"):
        add_run(application, status=status, finished_at="now")
    last = add_run(application, status="running")
    add_run(application, status="running", check_mode=True)
    (row,) = application.rows("SELECT * FROM playbook_status")
    assert [row[name] for name in ("succeeded", "failed", "cancelled", "running")] == [1, 2, 1, 1]
    assert (row["last_run_id"], row["last_status"], row["last_seconds"]) == (last, "running", None)
    assert row["last_success_at"].year > 2026 or row["last_success_at"].month > 1

    add_run(application, "homelab/dry.yml", check_mode=True, status="succeeded", finished_at="now")
    add_run(application, "homelab/never.yml", status="failed", finished_at="now")
    rows = {row["playbook"]: row for row in application.rows("SELECT * FROM playbook_status")}
    assert set(rows) == {PLAYBOOK, "homelab/never.yml"}
    assert rows["homelab/never.yml"]["last_success_at"] is None


def test_a_month_is_cut_in_the_reporting_time_zone(application):
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        application.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", zone)
        start = application.value("SELECT date_trunc('month', now() AT TIME ZONE %s) AT TIME ZONE %s", zone, zone)
        for microseconds in (0, -1):
            moment = application.value("SELECT %s + %s * interval '1 microsecond'", start, microseconds)
            add_run(application, zone, status="succeeded", created_at=moment, finished_at=moment)
        assert application.value("SELECT succeeded FROM playbook_status WHERE playbook = %s", zone) == 1


@pytest.fixture(scope="module")
def large(shared_database):
    """Runs of playbooks among many others, as many as the planner needs to decide as it would in earnest."""
    load_playbook_runs(shared_database.session("admin").connection, runs=5_000, events=100_000)
    return shared_database.session("service")


LOGS = {"task_runs", "task_events", "playbook_runs", "playbook_run_hosts"}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM playbook_run_overview ORDER BY started_at DESC LIMIT 50",
        "SELECT * FROM playbook_run_overview WHERE id = '{run}'",
        "SELECT * FROM playbook_run_overview WHERE task_id = '{task}' ORDER BY started_at DESC LIMIT 50",
        "SELECT * FROM playbook_run_steps WHERE task_run_id = '{run}' AND sequence > 5 ORDER BY sequence LIMIT 50",
        "SELECT * FROM playbook_status WHERE playbook = 'load/1.yml'",
    ],
)
def test_no_log_is_read_whole(large, query):
    run = large.row("SELECT id, task_id FROM playbook_run_overview LIMIT 1")
    plan = large.value(f"EXPLAIN (FORMAT JSON) {query.format(run=run['id'], task=run['task_id'])}")[0]["Plan"]
    assert scanned_whole(plan) & LOGS == set()


def test_the_status_of_all_playbooks_reads_no_more_than_their_newest_runs(large):
    """Per playbook: its last run, its last success, and this month's; read by index."""
    plan = large.value("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM playbook_status")[0]["Plan"]
    assert rows_read(plan, "task_runs") < 1_000


def rows_read(plan, table):
    own = (
        (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
        * plan["Actual Loops"]
        * (plan.get("Relation Name") == table)
    )
    return own + sum(rows_read(child, table) for child in plan.get("Plans", []))
