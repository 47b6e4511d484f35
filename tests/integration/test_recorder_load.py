"""The loader of playbook runs: what becomes of a spool, whatever is in it and whatever happens meanwhile."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import KILLED, load_spool
from library_client import client_of
from recorder_lab import Recording, dead_process


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
