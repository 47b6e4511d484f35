"""The writer of the inventory: what becomes of rows, what is refused, and what a run, its log and the audit log say of it."""

import dataclasses
import os
import subprocess
import threading
import uuid

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils import processes
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import LockTimeoutError, QueryError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory import runs
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory import sync as writer
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.acceptable import SnapshotError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.runs import UnknownSourceError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (
    HostRow,
    Listing,
    Skipped,
)
from inventory_lab import Lab, node, nodes, pod, pods, register, service, services, unnamed

TABLES = ("hosts", "services", "workloads")


@pytest.fixture
def lab(database):
    lab = Lab(database)
    yield lab
    lab.close()


@pytest.fixture
def other(database, lab):
    other = Lab(database, "other")
    yield other
    other.close()


def counts(result, kind="workloads"):
    return {name: number for name, number in dataclasses.asdict(result.counts[kind]).items() if number}


def run_of(lab, result):
    return lab.session.row("SELECT * FROM task_runs WHERE id = %s", str(result.task_run_id))


def events(lab, result):
    return lab.session.rows(
        "SELECT sequence, type, payload FROM task_events WHERE task_run_id = %s ORDER BY sequence",
        str(result.task_run_id),
    )


# What becomes of rows -------------------------------------------------------------------------------------------------


def test_a_first_sync_stores_what_is_told(lab):
    lab.sync(
        nodes(node("node/a", "a", status="online", address="10.0.0.1", os="Debian", cpu_cores=0.5, memory_bytes=2**31)),
        services(service("web", "web", namespace="shop", labels={"app": "web"}, metadata={"ports": [80]})),
        pods(
            pod("pod/a", "a", namespace="shop", host="node/a", service="web", status="running", image="nginx"),
            pod("pod/b", None, host="node/unknown", service="unknown", replicas_wanted=2, replicas_ready=0),
        ),
        snapshot={"cluster": "home"},
    )
    host, web, rows = lab.rows("hosts")["node/a"], lab.rows("services")["web"], lab.rows()
    told = {
        name: host[name] for name in ("name", "type", "status", "address", "os", "memory_bytes", "source", "gone_at")
    }
    assert told == {
        **{"name": "a", "type": "k8s-node", "status": "online", "address": "10.0.0.1", "os": "Debian"},
        **{"memory_bytes": 2**31, "source": "k8s", "gone_at": None},
    }
    assert (str(host["cpu_cores"]), host["last_seen_at"]) == ("0.500", lab.snapshot(minute=1).observed_at)
    assert (web["namespace"], web["labels"], web["metadata"]) == ("shop", {"app": "web"}, {"ports": [80]})
    assert (rows["pod/a"]["host_id"], rows["pod/a"]["service_id"]) == (host["id"], web["id"])
    assert (rows["pod/b"]["name"], rows["pod/b"]["host_id"], rows["pod/b"]["service_id"]) == ("pod/b", None, None)
    source = lab.session.row("SELECT identity, cluster, last_observed_at, last_complete_at FROM inventory_sources")
    assert source == {
        "identity": "uid",
        "cluster": "home",
        "last_observed_at": host["last_seen_at"],
        "last_complete_at": dict.fromkeys(TABLES, "2026-01-01T00:01:00+00:00"),
    }


def test_what_is_unchanged_is_not_written(lab):
    listings = (
        nodes(node("n", labels={"a": "b"}, cpu_cores=1 / 3)),
        services(service("s")),
        pods(pod("a", host="n", service="s", metadata={"restarts": [1, 2.5, None]}), pod("b", None)),
    )
    lab.sync(*listings)
    before = {table: lab.session.rows(f"SELECT ctid, xmin, * FROM {table} ORDER BY id") for table in TABLES}
    result = lab.sync(*listings)
    assert [counts(result, kind) for kind in TABLES] == [{"unchanged": 1}, {"unchanged": 1}, {"unchanged": 2}]
    assert {table: lab.session.rows(f"SELECT ctid, xmin, * FROM {table} ORDER BY id") for table in TABLES} == before
    assert not result.changed
    assert lab.session.value("SELECT count(*) FROM audit_entries") == 1


# What is listed first and then, what is stored of it, and how it is counted.
CHANGES = {
    "a new name": (pod("a", "old"), pod("a", "new"), {"name": "new"}, {"changed": 1}),
    "a status": (pod("a", status="pending"), pod("a", status="running"), {"status": "running"}, {"changed": 1}),
    "what is told no more": (pod("a", image="nginx"), pod("a"), {"image": None}, {"changed": 1}),
    "what this time cannot be told": (
        pod("a", image="nginx", status="running", labels={"a": "b"}),
        pod("a", None, unknown=("image", "status", "labels")),
        {"name": "pod", "image": "nginx", "status": "running", "labels": {"a": "b"}},
        {"unchanged": 1},
    ),
    "labels": (
        pod("a", labels={"a": "1", "b": "2"}),
        pod("a", labels={"b": "2"}),
        {"labels": {"b": "2"}},
        {"changed": 1},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_taken_over(lab, change):
    first, then, stored, number = CHANGES[change]
    lab.sync(pods(first))
    before = lab.rows()["a"]
    assert counts(lab.sync(pods(then))) == number
    after = lab.rows()["a"]
    assert {name: after[name] for name in stored} == stored
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert (after["updated_at"] > before["updated_at"]) == ("changed" in number)
    assert (after["last_seen_at"] > before["last_seen_at"]) == ("changed" in number)


def test_what_a_new_row_cannot_tell_has_its_default(lab):
    lab.sync(nodes(HostRow("n", None, "k8s-node", unknown=("name", "status", "labels", "metadata", "cpu_cores"))))
    row = lab.rows("hosts")["n"]
    assert [row[name] for name in ("name", "status", "labels", "metadata", "cpu_cores")] == [
        "n",
        "unknown",
        {},
        {},
        None,
    ]


def test_names_are_swapped_in_one_sync(lab):
    guests = Listing("hosts", ("vm",), (HostRow("1", "blue", "vm"), HostRow("2", "green", "vm")))
    lab.sync(guests)
    lab.sync(Listing("hosts", ("vm",), (HostRow("1", "green", "vm"), HostRow("2", "blue", "vm"))))
    assert {key: row["name"] for key, row in lab.rows("hosts").items()} == {"1": "green", "2": "blue"}


def test_what_moves_to_another_host_stays_the_same_row(lab):
    lab.sync(nodes(node("n1"), node("n2")), pods(pod("a", host="n1")))
    before = lab.rows()["a"]
    result = lab.sync(nodes(node("n1"), node("n2")), pods(pod("a", host="n2")))
    (difference,) = result.differences
    assert (difference.change, difference.columns) == ("changed", ("host_id",))
    assert (lab.rows()["a"]["id"], lab.rows()["a"]["host_id"]) == (before["id"], lab.rows("hosts")["n2"]["id"])


def test_what_is_gone_is_marked_and_comes_back(lab):
    lab.sync(pods(pod("a", "a"), pod("b", "b")))
    first = lab.rows()["a"]
    assert counts(lab.sync(pods(pod("b", "b")))) == {"gone": 1, "unchanged": 1}
    gone = lab.rows()["a"]
    assert (gone["gone_at"], gone["last_seen_at"]) == (lab.snapshot(minute=2).observed_at, first["last_seen_at"])
    assert counts(lab.sync(pods(pod("b", "b")))) == {"unchanged": 1}
    assert lab.rows()["a"] == gone
    result = lab.sync(pods(pod("a", "a"), pod("b", "b")))
    assert counts(result) == {"back": 1, "unchanged": 1}
    back = lab.rows()["a"]
    assert (back["id"], back["gone_at"]) == (first["id"], None)
    assert [(each.name, each.change, each.columns) for each in result.differences] == [("a", "back", ())]


def test_another_object_of_the_same_name_is_the_same_row_and_is_said(lab):
    lab.sync(pods(pod("a", metadata={"uid": "1"})))
    (difference,) = lab.sync(pods(pod("a", metadata={"uid": "2"}))).differences
    assert (difference.change, difference.recreated) == ("changed", True)


def test_what_people_own_stays(lab):
    web = {"owner": "alice", "description": "The shop", "url": "https://shop", "slo_latency_ms": 250}
    lab.sync(nodes(node("n")), services(service("web", "web")), pods(pod("a", service="web"), pod("b")))
    assignments = ", ".join(f"{name} = %s" for name in web)
    lab.session.run(f"UPDATE services SET {assignments}", *web.values())
    lab.session.run("UPDATE hosts SET cluster = 'attic'")
    own = lab.session.insert("services", name="plex")["id"]
    lab.session.run("UPDATE workloads SET service_id = %s WHERE external_id = 'b'", own)
    lab.session.run("UPDATE workloads SET status = 'failed' WHERE external_id = 'a'")
    result = lab.sync(nodes(node("n")), services(service("web", "web", labels={"a": "b"})), pods(pod("a"), pod("b")))
    stored = lab.rows("services")["web"]
    assert {name: stored[name] for name in web} == web
    assert stored["labels"] == {"a": "b"}
    assert lab.rows("hosts")["n"]["cluster"] == "attic"
    assert lab.rows()["b"]["service_id"] == own
    # But what the source tells, somebody changed in vain, and a link to one of its own services ends where it is told no more.
    assert (lab.rows()["a"]["status"], lab.rows()["a"]["service_id"]) == ("unknown", None)
    assert counts(result) == {"changed": 1, "unchanged": 1}


def test_another_sources_rows_are_never_touched(lab, other):
    names = [f"n{number}" for number in range(64)]
    for each in (lab, other):
        each.sync(nodes(*(node(name, name) for name in names)), pods(pod("a", host="n0")))
    lab.session.insert("hosts", name="n0", type="k8s-node", source="k8s")
    others = other.rows("hosts"), other.rows(), lab.session.rows("SELECT * FROM hosts WHERE external_id IS NULL")
    lab.sync(nodes(*(node(name, "changed", status="offline") for name in names[:60])), pods(pod("a", host="n63")))
    assert (
        other.rows("hosts"),
        other.rows(),
        lab.session.rows("SELECT * FROM hosts WHERE external_id IS NULL"),
    ) == others
    assert lab.rows()["a"]["host_id"] == lab.rows("hosts")["n63"]["id"]
    assert other.rows()["a"]["host_id"] == other.rows("hosts")["n0"]["id"]


def test_the_type_of_a_row_may_change_from_one_list_to_the_other(lab):
    one, two = Listing("hosts", ("vm",), (HostRow("1", "a", "vm"),)), Listing("hosts", ("bare-metal",), ())
    lab.sync(one, two)
    result = lab.sync(
        dataclasses.replace(one, rows=()), dataclasses.replace(two, rows=(HostRow("1", "a", "bare-metal"),))
    )
    assert (result.outcome, counts(result, "hosts")) == ("succeeded", {"changed": 1})


# What is not believed -------------------------------------------------------------------------------------------------


def test_an_incomplete_list_marks_nothing_as_gone(lab):
    lab.sync(nodes(node("n1"), node("n2")), pods(pod("a"), pod("b")))
    result = lab.sync(nodes(node("n1")), pods(pod("c"), problem="The pods could not be listed: 403 Forbidden."))
    assert (result.outcome, result.error) == ("failed", "The pods could not be listed: 403 Forbidden.")
    assert (counts(result), counts(result, "hosts")) == ({"added": 1}, {"gone": 1, "unchanged": 1})
    assert (lab.live(), lab.live("hosts")) == ({"a", "b", "c"}, {"n1"})
    complete = lab.session.value("SELECT last_complete_at FROM inventory_sources")
    assert complete == {"hosts": "2026-01-01T00:02:00+00:00", "workloads": "2026-01-01T00:01:00+00:00"}


def test_a_kind_that_is_not_listed_stays(lab):
    lab.sync(nodes(node("n")), pods(pod("a")))
    lab.sync(nodes(node("n")))
    lab.sync(nodes(node("n")), deployments())
    assert lab.live() == {"a"}


def deployments(*names):
    """A list of deployments, which keep their names."""
    rows = tuple(dataclasses.replace(pod(name), type="k8s-deployment") for name in names)
    return Listing("workloads", ("k8s-deployment",), rows)


@pytest.mark.parametrize(
    ("there", "listed", "is_refused"),
    [
        (20, 14, False),
        (20, 13, True),
        (6, 1, False),
        (7, 1, True),
        (6, 0, True),
        (1, 0, True),
        (100, 70, False),
        (100, 69, True),
    ],
)
def test_too_much_is_not_marked_as_gone_until_it_is_accepted(lab, there, listed, is_refused):
    names = [f"p{number:03d}" for number in range(there)]
    lab.sync(deployments(*names))
    result = lab.sync(deployments(*names[:listed], *(["new"] if listed else [])))
    assert (result.outcome == "failed") == is_refused
    assert ("new" in lab.live()) == bool(listed)
    if not is_refused:
        assert counts(result)["gone"] == there - listed
        return
    assert lab.live() >= set(names)
    assert result.error == (
        f"The list of k8s-deployment of k8s would mark {there - listed} of {there} as gone, so none was: if it is true, "
        "run `mission-control inventory sync --source k8s --accept-disappearance`."
    )
    assert "workloads" in lab.session.value("SELECT last_complete_at FROM inventory_sources")
    accepted = lab.sync(deployments(*names[:listed]), accept_disappearance=True)
    assert accepted.outcome == "succeeded"
    assert lab.live() == set(names[:listed])


@pytest.mark.parametrize(
    ("there", "listed", "is_refused"), [(20, 14, False), (20, 13, True), (7, 2, False), (7, 1, True)]
)
def test_of_what_gets_a_new_name_each_time_the_number_counts(lab, there, listed, is_refused):
    """A roll-out replaces all pods."""
    lab.sync(pods(*(pod(f"old{number}") for number in range(there))))
    result = lab.sync(pods(*(pod(f"new{number}") for number in range(listed))))
    assert (result.outcome == "failed") == is_refused
    assert counts(result) == {"added": listed, **({} if is_refused else {"gone": there})}
    if not is_refused:
        again = lab.sync(pods(*(pod(f"newer{number}") for number in range(listed))))
        assert (again.outcome, len(lab.live())) == ("succeeded", listed)


def test_each_list_is_judged_by_itself(lab):
    lab.sync(pods(*(pod(f"p{n}") for n in range(50))), deployments("d0", "d1", "d2"))
    result = lab.sync(pods(*(pod(f"p{n}") for n in range(48))), deployments())
    assert result.outcome == "failed"
    assert "The list of k8s-deployment of k8s would mark 3 of 3 as gone" in result.error
    assert counts(result) == {"gone": 2, "unchanged": 48}


def test_what_is_skipped_keeps_its_row_and_is_named(lab):
    lab.sync(pods(pod("a"), pod("b"), pod("c")))
    before = lab.rows()
    result = lab.sync(pods(pod("a"), pod("b", status="odd"), skipped=(Skipped("c", "c", "its memory is 12 parsecs"),)))
    assert (result.outcome, counts(result)) == ("succeeded", {"unchanged": 1, "skipped": 2})
    assert lab.rows() == before
    assert {each.external_id for each in result.skipped} == {"b", "c"}
    (log,) = [each["payload"] for each in events(lab, result) if each["type"] == "log"]
    assert {"external_id": "c", "name": "c", "reason": "its memory is 12 parsecs"} in log["skipped"]
    # An object that does not say who it is could be any of them.
    result = lab.sync(pods(pod("a"), skipped=(unnamed(),)))
    assert (result.outcome, counts(result)) == ("succeeded", {"unchanged": 1, "skipped": 1})
    assert lab.live() == {"a", "b", "c"}


def test_an_older_snapshot_changes_nothing(lab):
    lab.sync(pods(pod("a", status="running")), minute=10)
    before = lab.rows(), lab.session.rows("SELECT * FROM inventory_sources")
    result = lab.sync(pods(pod("a", status="failed"), pod("b")), minute=9)
    assert (result.outcome, result.counts) == ("superseded", {})
    assert result.error == (
        "A snapshot of k8s that was begun later, at 2026-01-01 00:10:00 UTC, is in the tables already."
    )
    assert (lab.rows(), lab.session.rows("SELECT * FROM inventory_sources")) == before
    assert run_of(lab, result)["status"] == "cancelled"


def test_a_clock_that_was_set_back_stops_nothing(lab):
    lab.sync(pods(pod("a")))
    lab.session.run("UPDATE inventory_sources SET last_observed_at = now() + interval '1 hour'")
    assert lab.sync(pods(pod("a", status="running"))).outcome == "succeeded"
    assert lab.sync(pods(pod("a", status="failed")), minute=1).outcome == "superseded"


def test_another_source_under_the_same_name_is_refused_until_it_is_accepted(lab):
    lab.sync(pods(pod("a")))
    result = lab.sync(pods(pod("b")), snapshot={"identity": "other"})
    assert (result.outcome, result.counts) == ("failed", {})
    assert result.error == (
        "The source k8s was uid and is other now, so nothing was taken over: if it is to be this one from now on, "
        "run `mission-control inventory sync --source k8s --accept-identity`."
    )
    assert lab.live() == {"a"}
    result = lab.sync(pods(pod("b")), snapshot={"identity": "other"}, accept_identity=True)
    assert (result.outcome, lab.live()) == ("succeeded", {"b"})
    details = lab.session.values("SELECT details FROM audit_entries ORDER BY id DESC LIMIT 1")[0]
    assert (details["identity_before"], details["identity"]) == ("uid", "other")


def test_a_source_of_another_connector_is_refused(lab):
    result = lab.sync(pods(pod("a")), snapshot={"connector": "docker"})
    assert result.error.startswith("The source k8s is one of the connector kubernetes, not docker")
    assert lab.rows() == {}


def test_a_source_of_ansible_is_told_another_cure(database, lab):
    register(lab.session, "site", "ansible")
    site = {"source": "site", "connector": "ansible"}
    lab.sync(nodes(node("a")), snapshot=site)
    assert "set accept_disappearance of the task" in lab.sync(nodes(), snapshot=site).error


# Runs, events, audit entries ------------------------------------------------------------------------------------------


def test_a_sync_is_a_run_with_a_log_and_an_audit_entry(lab):
    result = lab.sync(pods(pod("a", "web")), requested_by="alice")
    run = run_of(lab, result)
    assert (run["status"], run["error"], run["user_prompt"]) == ("succeeded", None, None)
    assert run["created_at"] <= run["started_at"] <= run["finished_at"]
    begin, log, end = events(lab, result)
    assert [each["sequence"] for each in (begin, log, end)] == [0, 1, 2]
    assert begin["payload"]["requested_by"] == "alice"
    assert begin["payload"]["process"]["pid"] == os.getpid()
    assert log["payload"]["counts"]["workloads"]["added"] == 1
    assert log["payload"]["differences"][0]["name"] == "web"
    assert (end["type"], end["payload"]) == ("status_change", {"status": "succeeded"})
    entry = lab.session.row("SELECT actor, action, target_type, target_id, outcome, details FROM audit_entries")
    assert entry.pop("details") == {"task_run_id": str(result.task_run_id), "counts": log["payload"]["counts"]}
    assert entry == {
        **{"actor": "alice", "action": "inventory.sync", "outcome": "success"},
        **{"target_type": "inventory_sources", "target_id": "k8s"},
    }
    status = lab.session.row("SELECT last_run_id, last_run_status FROM inventory_source_status")
    assert status == {"last_run_id": run["id"], "last_run_status": "succeeded"}


def test_a_queued_run_is_claimed_once_and_finished(lab, other):
    queued = lab.session.row("SELECT * FROM request_inventory_refresh(ARRAY['k8s'], 'alice')")
    assert runs.claim_queued(other.client, ["other"]) == []
    taken = []
    threads = [
        threading.Thread(target=lambda each=each: taken.extend(runs.claim_queued(each.client, ["k8s", "other"])))
        for each in (lab, other, lab, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(each) for each in taken] == [queued["task_run_id"]]
    result = lab.sync(pods(pod("a")), task_run_id=taken[0])
    assert [each["payload"].get("status") for each in events(lab, result)] == ["queued", "running", None, "succeeded"]
    assert run_of(lab, result)["status"] == "succeeded"


def test_a_run_that_has_ended_or_is_anothers_is_refused(lab, other):
    ended = lab.sync(pods(pod("a"))).task_run_id
    strange = runs.begin_run(other.client, "other")
    for run_id in (ended, strange, uuid.uuid4()):
        with pytest.raises(UnknownSourceError, match="is none of k8s that goes on"):
            lab.sync(pods(pod("b")), task_run_id=run_id)
    assert lab.live() == {"a"}
    assert run_of(other, dataclasses.replace(lab.sync(pods(pod("a"))), task_run_id=strange))["status"] == "running"
    for action in (
        lambda: lab.sync(pods(), snapshot={"source": "nobody"}),
        lambda: runs.begin_run(lab.client, "nobody"),
    ):
        with pytest.raises(UnknownSourceError, match="The database knows no source 'nobody': register it first"):
            action()


def test_a_check_writes_nothing_and_tells_what_would_change(lab):
    lab.sync(nodes(node("n")), pods(pod("a"), pod("b", "b")))
    tables = (*TABLES, "inventory_sources", "task_runs", "task_events", "audit_entries")
    before = {table: lab.session.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables}
    listings = nodes(node("n"), node("m")), pods(pod("a", host="m"), pod("c"))
    told = lab.sync(*listings, check=True)
    assert {table: lab.session.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables} == before
    done = lab.sync(*listings)
    assert (told.counts, told.differences, told.task_run_id) == (done.counts, done.differences, None)
    assert done.sentences == [
        "k8s: succeeded, hosts: 1 added, 1 unchanged; workloads: 1 added, 1 changed, 1 gone.",
        "hosts: node [m] added.",
        "workloads: pod [c] added.",
        "workloads: pod [a] changed (host_id).",
        "workloads: b [b] gone.",
    ]
    assert lab.sync(check=True, minute=0).outcome == "superseded"


def test_what_is_named_is_bounded(lab):
    many = range(writer.MOST_NAMED + 50)
    result = lab.sync(pods(*(pod(f"p{number:04d}") for number in many)))
    assert (counts(result), len(result.differences)) == ({"added": len(many)}, writer.MOST_NAMED)


def test_a_sync_that_fails_in_the_database_is_undone_and_closed(lab, admin):
    lab.sync(nodes(node("n")))
    admin.run("ALTER TABLE workloads ADD CONSTRAINT ck_workloads_mine CHECK (name <> 'bad')")
    with pytest.raises(QueryError, match="ck_workloads_mine"):
        lab.sync(nodes(node("n"), node("m")), pods(pod("a", "good"), pod("b", "bad")))
    assert (lab.live("hosts"), lab.live()) == ({"n"}, set())
    run = lab.session.row("SELECT status, error FROM task_runs ORDER BY created_at DESC LIMIT 1")
    assert run["status"] == "failed"
    assert run["error"].startswith("The database could not be written: ")
    assert "ck_workloads_mine" in run["error"]
    assert lab.session.value("SELECT last_run_status FROM inventory_source_status") == "failed"
    with pytest.raises(SnapshotError, match="has two lists of k8s-pod"):
        lab.sync(pods(), pods())
    assert lab.session.value("SELECT last_run_error FROM inventory_source_status").startswith("The snapshot of k8s has")


def test_a_row_that_is_deleted_while_it_is_referred_to_is_tried_again(lab, admin):
    lab.sync(nodes(node("n")))
    admin.run("BEGIN; DELETE FROM hosts WHERE external_id = 'n'")
    results = []
    thread = threading.Thread(target=lambda: results.append(lab.sync(pods(pod("a", host="n")))))
    thread.start()
    lab.session.run(
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock') "
        "LOOP PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01); END LOOP; END $$"
    )
    admin.run("COMMIT")
    thread.join()
    assert (results[0].outcome, lab.rows()["a"]["host_id"]) == ("succeeded", None)


def test_a_source_that_stays_locked_is_said(lab, admin, monkeypatch):
    monkeypatch.setattr(writer, "_SETTINGS", writer._SETTINGS.replace("'10s'", "'50ms'"))
    with admin.transaction():
        admin.run("SELECT FROM inventory_sources FOR UPDATE")
        with pytest.raises(LockTimeoutError):
            lab.sync(pods(pod("a")))
    run = lab.session.row("SELECT status, error FROM task_runs")
    assert run == {
        "status": "failed",
        "error": "Another sync of k8s has been writing for more than 10 seconds: try again when it has ended.",
    }


def test_what_a_dead_program_left_is_closed(lab, other, monkeypatch):
    alive, dead, elsewhere, old = (runs.begin_run(lab.client, "k8s") for _ in range(4))
    own = lab.session.insert(
        "task_runs", task_id=lab.session.insert("tasks", title="t", created_by="me")["id"], status="running"
    )
    begun = lab.session.value("SELECT payload FROM task_events WHERE task_run_id = %s", str(alive))
    process = subprocess.Popen(["/bin/true"])
    for run_id, changed in (
        (dead, {"pid": process.pid}),
        (elsewhere, {"host": "elsewhere"}),
        (old, {"host": "elsewhere"}),
    ):
        begun_there = {**begun, "process": {**begun["process"], **changed}}
        lab.session.insert(
            "task_events", task_run_id=str(run_id), sequence=5, type="status_change", payload=begun_there
        )
    lab.session.run("UPDATE task_runs SET started_at = now() - interval '25 hours' WHERE id = %s", str(old))
    # It is a zombie until it is asked for.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert runs.close_abandoned(lab.client) == 2
    process.wait()
    assert runs.close_abandoned(lab.client) == 0
    found = {str(row["id"]): row["status"] for row in lab.session.rows("SELECT id, status FROM task_runs")}
    assert found == {
        **{str(dead): "failed", str(old): "failed"},
        **{str(alive): "running", str(elsewhere): "running", own["id"]: "running"},
    }
    monkeypatch.setattr(processes, "_boot", lambda: "another")
    assert runs.close_abandoned(lab.client) == 1
    assert lab.session.value("SELECT error FROM task_runs WHERE id = %s", str(alive)) == (
        "The program that worked on it ended without finishing it."
    )
    assert runs.fail_run(lab.client, alive, "too late") is False


def test_the_newest_run_stays_the_last_one(lab):
    first = runs.begin_run(lab.client, "k8s")
    result = lab.sync(pods(pod("a")))
    runs.fail_run(lab.client, first, "The host was not found\0.")
    status = lab.session.row("SELECT last_run_id, last_run_status FROM inventory_source_status")
    assert status == {"last_run_id": str(result.task_run_id), "last_run_status": "succeeded"}
    assert lab.session.value("SELECT error FROM task_runs WHERE id = %s", str(first)) == "The host was not found."
