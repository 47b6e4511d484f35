"""How a sync is asked for, what is told of the last one, and how what is long gone is forgotten: the functions and the view."""

import threading

import mission_control_database as layer
import psycopg2
import pytest

ASK = "SELECT * FROM request_inventory_refresh(%s)"


def add_source(session, name, **columns):
    task = session.insert("tasks", title=f"inventory sync {name}", created_by="test")
    return session.insert(
        "inventory_sources", **{"name": name, "connector": "docker", "task_id": task["id"], **columns}
    )


def outcomes(rows):
    return {row["source"]: row["outcome"] for row in rows}


@pytest.fixture
def service(database):
    return database.session("service")


def test_each_enabled_source_gets_one_queued_run(application, service):
    for name in ("alpha", "beta"):
        add_source(application, name)
    add_source(application, "off", enabled=False)
    first = service.rows("SELECT * FROM request_inventory_refresh(NULL, 'alice')")
    assert outcomes(first) == {"alpha": "queued", "beta": "queued"}
    again = service.rows(ASK, ["alpha", "alpha"])
    assert [(row["task_run_id"], row["outcome"]) for row in again] == [(first[0]["task_run_id"], "already_queued")]
    runs = application.rows(
        "SELECT r.id, r.status, t.title FROM task_runs r JOIN tasks t ON t.id = r.task_id ORDER BY t.title"
    )
    assert [(row["title"], row["status"]) for row in runs] == [
        ("inventory sync alpha", "queued"),
        ("inventory sync beta", "queued"),
    ]
    assert [row["id"] for row in runs] == [row["task_run_id"] for row in first]
    event = application.row("SELECT type, payload FROM task_events WHERE task_run_id = %s", runs[0]["id"])
    wanted = {"status": "queued", "requested_by": "alice", "database_role": layer.ROLES["service"]}
    assert event == {"type": "status_change", "payload": wanted}


def test_no_source_is_enabled(application, service):
    assert service.rows("SELECT * FROM request_inventory_refresh()") == []
    add_source(application, "off", enabled=False)
    assert service.rows("SELECT * FROM request_inventory_refresh()") == []
    assert outcomes(service.rows(ASK, ["off"])) == {"off": "disabled"}
    # No worker syncs what a playbook tells.
    add_source(application, "rack", connector="ansible")
    assert service.rows("SELECT * FROM request_inventory_refresh()") == []
    assert outcomes(service.rows(ASK, ["rack"])) == {"rack": "disabled"}
    assert application.values("SELECT id FROM task_runs") == []


def test_all_or_nothing(application, service):
    busy, _free = (add_source(application, name) for name in ("busy", "free"))
    application.insert("task_runs", task_id=busy["task_id"], status="succeeded", created_at="now", finished_at="now")
    refused = service.rows(ASK, ["busy", "free"])
    assert outcomes(refused) == {"busy": "too_soon"}
    assert 1 <= refused[0]["retry_after_seconds"] <= 10
    assert outcomes(service.rows(ASK, ["nobody", "free"])) == {"nobody": "unknown"}
    assert application.value("SELECT count(*) FROM task_runs") == 1
    # Of a clock that was set back: nobody waits until it has caught up.
    for created in ("1 hour", "-11 seconds"):
        application.run("UPDATE task_runs SET created_at = now() + %s::interval WHERE status = 'succeeded'", created)
        assert outcomes(service.rows(ASK, ["busy"]))["busy"] in ("queued", "already_queued")


def test_the_worker_is_woken_only_when_something_was_queued(application, service):
    add_source(application, "alpha")
    application.run("LISTEN mission_control_inventory")
    for expected in (1, 0):
        service.rows(ASK, ["alpha"])
        application.run("SELECT 1")
        application.connection.poll()
        assert len(application.connection.notifies) == expected
        application.connection.notifies.clear()


def test_many_at_once_queue_one(database, application):
    add_source(application, "alpha")
    answers = []

    def ask():
        session = layer.Session(database.cluster.connect(database.name, layer.ROLES["service"]))
        session.run("SET default_transaction_read_only = on")
        for _ in range(10):
            session.run("BEGIN READ WRITE")
            answers.extend(session.rows(ASK, ["alpha"]))
            session.run("COMMIT")
        session.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 60
    assert [row["outcome"] for row in answers].count("queued") == 1
    assert {row["outcome"] for row in answers} == {"queued", "already_queued"}
    assert application.value("SELECT count(*) FROM task_runs") == 1


def test_a_request_does_not_wait_for_a_sync_that_writes(application, service):
    add_source(application, "alpha")
    with application.transaction():
        application.run("SELECT FROM inventory_sources FOR UPDATE")
        assert outcomes(service.rows(ASK, ["alpha"])) == {"alpha": "queued"}


@pytest.mark.parametrize(
    ("isolation", "names", "message"),
    [
        ("REPEATABLE READ", ["alpha"], "READ COMMITTED"),
        ("SERIALIZABLE", None, "READ COMMITTED"),
        ("READ COMMITTED", ["alpha", None], "no NULL"),
        ("READ COMMITTED", ["alpha"] * 1001, "1,000 names"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(application, service, isolation, names, message):
    add_source(application, "alpha")
    with pytest.raises(psycopg2.Error, match=message) as refused, service.transaction(isolation):
        service.rows(ASK, names)
    assert refused.value.diag.message_primary.count("\n") == 0
    assert application.values("SELECT id FROM task_runs") == []


def test_the_service_has_no_other_way_to_queue(application, service):
    source = add_source(application, "alpha")
    for statement in (
        "UPDATE inventory_sources SET enabled = false",
        "DELETE FROM inventory_sources",
        "SELECT identity FROM inventory_sources",
        f"INSERT INTO task_runs (task_id) VALUES ('{source['task_id']}')",
        "SELECT forget_gone_inventory('1 day')",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            service.run(statement)


def test_the_status_of_a_source(application, service):
    source = add_source(application, "alpha", cluster="home", interval_seconds=60)
    add_source(application, "empty")
    run = application.insert(
        "task_runs", task_id=source["task_id"], status="failed", error="It is down.", finished_at="2026-01-01Z"
    )
    application.run("UPDATE inventory_sources SET last_run_id = %s WHERE name = 'alpha'", run["id"])
    for number, gone in enumerate((None, None, "2026-01-01Z")):
        row = {"source": "alpha", "external_id": str(number), "gone_at": gone}
        application.insert("workloads", name="w", type="docker-container", **row)
        application.insert("hosts", name="h", type="vm", **row)
    application.insert("services", name="v", source="alpha", external_id="v")
    application.insert("hosts", name="of another", type="vm")
    found = {row["name"]: row for row in service.rows("SELECT * FROM inventory_source_status")}
    shown = {
        name: found["alpha"][name] for name in ("hosts", "services", "workloads", "gone", "cluster", "last_run_id")
    }
    assert shown == {"hosts": 2, "services": 1, "workloads": 2, "gone": 2, "cluster": "home", "last_run_id": run["id"]}
    assert (found["alpha"]["last_run_status"], found["alpha"]["last_run_error"]) == ("failed", "It is down.")
    assert [found["empty"][name] for name in ("hosts", "gone", "last_run_status")] == [0, 0, None]


def test_only_what_comes_and_goes_by_itself_is_forgotten(application, owner):
    for kind in ("k8s-pod", "k8s-job", "docker-container", "k8s-deployment", "proxmox-vm"):
        for name, gone in (("old", "2026-01-01Z"), ("new", "now"), ("there", None)):
            application.insert(
                "workloads", name=f"{kind} {name}", type=kind, source="s", external_id=f"{kind}/{name}", gone_at=gone
            )
    application.insert("workloads", name="by hand", type="docker-container", gone_at="2026-01-01Z")
    assert owner.value("SELECT forget_gone_inventory('30 days')") == 3
    assert owner.value("SELECT forget_gone_inventory('30 days')") == 0
    left = set(application.values("SELECT name FROM workloads"))
    assert len(left) == 13
    assert {"k8s-deployment old", "proxmox-vm old", "by hand", "k8s-pod new", "k8s-pod there"} <= left
    entry = application.row("SELECT action, details ->> 'workloads' AS removed FROM audit_entries")
    assert entry == {"action": "inventory.forget", "removed": "3"}
    for age in (None, "-1 day"):
        with pytest.raises(psycopg2.Error, match="must be an age"):
            owner.run("SELECT forget_gone_inventory(%s)", age)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.run("SELECT forget_gone_inventory('30 days')")
