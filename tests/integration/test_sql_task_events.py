"""The log of a run can only grow, but for the one function of its owner."""

import psycopg2
import pytest
from mission_control_database import ROLES

CHANGES = [
    "UPDATE task_events SET payload = '{}'",
    "UPDATE task_events SET payload = '{}' WHERE false",
    "DELETE FROM task_events",
    "TRUNCATE task_events",
    "TRUNCATE task_runs CASCADE",
    "INSERT INTO task_events (task_run_id, sequence, type) SELECT task_run_id, sequence, 'log' FROM task_events "
    "ON CONFLICT (task_run_id, sequence) DO UPDATE SET payload = '{}'",
]


@pytest.fixture
def run(application):
    task = application.insert("tasks", title="t", created_by="me")
    run = application.insert("task_runs", task_id=task["id"])
    for sequence in range(3):
        application.insert(
            "task_events", task_run_id=run["id"], sequence=sequence, type="log", payload={"text": "password=hunter2"}
        )
    return run


def make_old(admin):
    """The first two events become old, as a superuser can make them."""
    admin.run("ALTER TABLE task_events DISABLE TRIGGER USER")
    admin.run("UPDATE task_events SET recorded_at = '2020-01-01Z' WHERE sequence < 2")
    for trigger in admin.values(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'task_events'::regclass AND NOT tgisinternal"
    ):
        admin.run(f"ALTER TABLE task_events ENABLE ALWAYS TRIGGER {trigger}")


@pytest.mark.parametrize("role", ["application", "owner", "admin", "readonly", "monitor", "service"])
def test_nobody_changes_the_log(database, admin, run, role):
    session = database.session(role)
    for statement in CHANGES:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            session.run(statement)
    assert admin.value("SELECT count(*) FROM task_events WHERE payload ->> 'text' = 'password=hunter2'") == 3


def test_nor_under_the_replication_role(admin, run):
    admin.run("SET session_replication_role = replica")
    for statement in CHANGES:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
            admin.run(statement)


def test_nor_with_the_right_to_write_all_data(writer_of_all, run):
    # Knowing the marker of shorten_task_events() is no use to anybody but the owner.
    writer_of_all.run("SET mission_control.task_event_retention = 'on'")
    for statement in CHANGES:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            writer_of_all.run(statement)


def test_a_row_of_a_child_table_is_guarded_too(admin, run):
    """An UPDATE of a parent reaches the rows of its children without their statement triggers."""
    admin.run("CREATE TABLE parent (LIKE task_events)")
    admin.run("ALTER TABLE task_events INHERIT parent")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
        admin.run("DELETE FROM parent")


@pytest.mark.parametrize("column", ["recorded_at", "payload_blanked_at"])
def test_the_application_cannot_say_when_an_event_was_recorded(application, run, column):
    """An event that looks old would be removed by the next retention."""
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.insert("task_events", task_run_id=run["id"], sequence=9, type="log", **{column: "2020-01-01Z"})


def test_the_owner_removes_old_events_and_leaves_a_trace(owner, admin, run):
    make_old(admin)
    assert owner.value("SELECT shorten_task_events('retention of a year', p_before => '2021-01-01Z')") == 2
    assert admin.values("SELECT sequence FROM task_events") == [2]
    entry = admin.row("SELECT * FROM audit_entries")
    assert (entry["actor"], entry["action"], entry["database_role"]) == (
        ROLES["owner"],
        "task_events.remove",
        ROLES["owner"],
    )
    assert entry["details"] == {"reason": "retention of a year", "events": 2, "before": "2021-01-01T00:00:00+00:00"}
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        owner.run("DELETE FROM task_events")


def test_the_owner_blanks_a_secret_and_leaves_a_trace(owner, admin, run):
    event = admin.value("SELECT id FROM task_events WHERE sequence = 1")
    assert owner.value("SELECT shorten_task_events('a password was logged', p_event_id => %s)", event) == 1
    rows = admin.rows("SELECT sequence, payload, payload_blanked_at FROM task_events ORDER BY sequence")
    assert [row["payload"] for row in rows] == [{"text": "password=hunter2"}, {}, {"text": "password=hunter2"}]
    assert [row["payload_blanked_at"] is not None for row in rows] == [False, True, False]
    entry = admin.row("SELECT action, target_id, details FROM audit_entries")
    assert entry == {
        "action": "task_events.blank",
        "target_id": str(event),
        "details": {"reason": "a password was logged", "events": 1},
    }


def test_the_owner_cannot_shorten_it_without_a_trace(owner, admin, run):
    """Neither by the marker of the function, set by hand, nor by that of its reason."""
    owner.run("SET mission_control.task_event_retention = 'on'")
    assert owner.run("DELETE FROM task_events WHERE sequence = 0") == 1
    assert owner.run("UPDATE task_events SET payload = '{}', payload_blanked_at = now() WHERE sequence > 0") == 2
    rows = admin.rows("SELECT actor, action, target_id, details FROM audit_entries ORDER BY id")
    assert rows == [
        {
            "actor": ROLES["owner"],
            "action": f"task_events.{action}",
            "target_id": None,
            "details": {"reason": None, "events": events},
        }
        for action, events in (("remove", 1), ("blank", 2))
    ]
    owner.run("SET mission_control.task_event_request = 'no JSON'")
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation):
        owner.run("DELETE FROM task_events")


@pytest.mark.parametrize(
    "change",
    [
        'payload = \'{"text": "nothing happened"}\', payload_blanked_at = now()',
        "payload = '{}'",
        "payload = '{}', payload_blanked_at = '2020-01-01Z'",
        "payload = '{}', payload_blanked_at = now(), recorded_at = '2020-01-01Z'",
        "sequence = sequence + 10",
    ],
)
def test_nor_rewrite_it(owner, admin, run, change):
    owner.run("SET mission_control.task_event_retention = 'on'")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
        owner.run(f"UPDATE task_events SET {change}")
    assert admin.value("SELECT count(*) FROM audit_entries") == 0


def test_a_trace_that_is_rolled_back_takes_the_removal_with_it(owner, admin, run):
    owner.run("BEGIN")
    owner.run("SELECT shorten_task_events('oops', p_before => now())")
    owner.run("ROLLBACK")
    assert admin.value("SELECT count(*) FROM task_events") == 3
    assert admin.value("SELECT count(*) FROM audit_entries") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "NULL, p_before => now()",
        "'  ', p_before => now()",
        "'reason'",
        "'reason', now(), 1",
        "'reason', p_before => now() + interval '1 hour'",
        "'reason', p_event_id => 0",
    ],
)
def test_a_thoughtless_call_changes_nothing(owner, admin, run, arguments):
    with pytest.raises((psycopg2.errors.InvalidParameterValue, psycopg2.errors.NoDataFound)):
        owner.run(f"SELECT shorten_task_events({arguments})")
    assert admin.value("SELECT count(*) FROM audit_entries") == 0


def test_the_application_cannot_call_it(application, run):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.run("SELECT shorten_task_events('mine', p_before => now())")
