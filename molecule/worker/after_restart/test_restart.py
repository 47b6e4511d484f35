"""After the hosts were switched off and on: nobody has to do anything."""

from __future__ import annotations

testinfra_hosts = ["debian12", "debian13", "confined"]


def test_the_worker_came_back_with_its_secrets(host, worker, unit, eventually):
    eventually(lambda: unit("ActiveState") == "active")
    assert unit("NRestarts") == "0"
    assert host.file(f"/etc/mission-control/{worker}/credentials/database.env").exists


def test_provisioning_again_changes_nothing(run_playbook, scenario):
    run = run_playbook(scenario / "converge.yml")
    assert run.returncode == 0, run.output
    assert run.changed == 0, run.output
