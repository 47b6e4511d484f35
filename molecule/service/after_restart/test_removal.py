"""Removing the database removes the service that was beside it."""

from __future__ import annotations

testinfra_hosts = ["debian13"]


def test_nothing_of_it_is_left(host, service, run_playbook, project):
    confirmation = "mission_control_database_remove_confirm=mission_control"
    run = run_playbook(project / "playbooks/remove.yml", "--extra-vars", confirmation)
    assert run.returncode == 0, run.output
    assert service.status("/live") == 0
    assert not host.user("mission-control-service").exists
    assert not host.group("mission-control-service").exists
    assert host.run("systemctl cat mission-control.service").rc != 0
    for path in ("/usr/local/lib/mission-control", "/etc/mission-control"):
        assert not host.file(path).exists
