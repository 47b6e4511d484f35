"""After the hosts were switched off and on: nobody has to do anything."""

from __future__ import annotations

testinfra_hosts = ["debian12", "debian13", "confined"]


def test_the_service_came_back_and_is_ready_when_its_database_is(service, unit, eventually):
    eventually(lambda: service.status("/ready") == 200)
    assert unit("ActiveState") == "active"
    assert unit("NRestarts") == "0"


def test_provisioning_again_changes_nothing(run_playbook, scenario):
    run = run_playbook(scenario / "converge.yml")
    assert run.returncode == 0, run.output
    assert run.changed == 0, run.output
