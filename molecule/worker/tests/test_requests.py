"""A request in SQL: whichever worker hears of it takes the run; a worker that is killed leaves none that never ends."""

from __future__ import annotations

import pytest

testinfra_hosts = ["debian13"]
UNIT = "mission-control-inventory.service"
REQUEST = "SELECT task_run_id, outcome FROM request_inventory_refresh(ARRAY[%s], 'a test')"


@pytest.fixture(scope="module")
def worker() -> str:
    return "inventory"


@pytest.fixture
def request_sync(database, eventually):
    """A callable: ask for a sync of a source until it may be asked for, and return the run."""

    def ask(source: str) -> str:
        found: list[list[str]] = []

        def queued() -> bool:
            found[:] = database.rows(REQUEST, source, commit=True)
            return found[0][1] == "queued"

        eventually(queued)
        return found[0][0]

    return ask


@pytest.fixture
def run_of(database):
    def look(run_id: str) -> list:
        [row] = database.rows("SELECT status, error FROM task_runs WHERE id = %s::uuid", run_id)
        return row

    return look


def ended(row: list) -> bool:
    return row[0] in ("succeeded", "failed")


def test_a_request_is_carried_out(database, request_sync, run_of, eventually):
    run_id = request_sync("engine")
    eventually(lambda: ended(run_of(run_id)))
    assert run_of(run_id) == ["succeeded", None]
    names = database.rows(
        "SELECT name, status FROM workloads WHERE source = 'engine' AND gone_at IS NULL ORDER BY name"
    )
    assert names == [["db", "stopped"], ["web", "running"]]
    started = "SELECT started_at - created_at < interval '25 seconds' FROM task_runs WHERE id = %s::uuid"
    assert database.value(started, run_id), "by the notification, not by the look every 30 seconds"


def test_a_dead_source_fails_its_run_with_a_sentence(request_sync, run_of, eventually):
    run_id = request_sync("dead")
    eventually(lambda: ended(run_of(run_id)))
    status, error = run_of(run_id)
    assert status == "failed"
    assert "127.0.0.1" in error
    assert error.endswith(".")


def test_a_second_run_of_the_roles_changes_nothing_and_a_new_source_restarts_the_worker(
    host, unit, run_playbook, scenario
):
    before = unit("MainPID")
    sources = '{"mission_control_inventory_sources": [{"name": "engine", "connector": "docker", "interval": 0, "options": {"url": "unix:///run/engine/engine.sock"}}]}'
    only = ("--limit", "debian13")
    checked = run_playbook(scenario / "converge.yml", *only, "--check", "--extra-vars", sources)
    assert (checked.returncode, unit("MainPID")) == (0, before), checked.output
    assert "Restart mission-control-inventory.service." in checked.output
    assert "Restart mission-control-tools.service." in checked.output
    changed = run_playbook(scenario / "converge.yml", *only, "--extra-vars", sources)
    assert changed.returncode == 0, changed.output
    assert unit("MainPID") != before
    for directory in ("inventory", "tools"):
        assert not host.file(f"/etc/mission-control/{directory}/credentials/dead.token").exists
    again = run_playbook(scenario / "converge.yml", *only, "--extra-vars", sources)
    assert (again.returncode, again.changed) == (0, 0), again.output
    back = run_playbook(scenario / "converge.yml", *only)
    assert back.returncode == 0, back.output


def test_a_stop_ends_it_at_once(host, unit, eventually):
    host.check_output(f"systemctl stop {UNIT}")
    assert unit("Result") == "success"
    host.check_output(f"systemctl start {UNIT}")
    eventually(lambda: unit("ActiveState") == "active")
