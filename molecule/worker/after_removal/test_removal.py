"""Removing worker and executor leaves nothing of them, and what the inventory holds and which calls there were stays."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _removed(run_playbook, scenario):
    run = run_playbook(scenario / "remove.yml")
    assert run.returncode == 0, run.output


def test_nothing_of_it_is_left(host, worker):
    name = f"mission-control-{worker}"
    assert not host.user(name).exists
    assert not host.group(name).exists
    paths = (
        f"/etc/systemd/system/{name}.service",
        f"/usr/local/lib/{name}",
        f"/etc/mission-control/{worker}",
        "/usr/local/sbin/mission-control",
    )
    for path in paths:
        assert not host.file(path).exists


def test_what_it_has_taken_over_stays(database):
    assert database.value("SELECT count(*) FROM workloads WHERE source = 'engine'") == 2


def test_what_it_has_carried_out_stays(database):
    assert database.value("SELECT count(*) FROM tool_call_overview WHERE status = 'succeeded'") == 2
