"""After the hosts were switched off and on: nobody has to do anything."""

from __future__ import annotations

testinfra_hosts = ["debian12", "debian13"]


def test_server_came_back_by_itself(host):
    assert host.service("postgresql").is_running
    assert host.check_output("systemctl list-units --state failed --plain --no-legend 'postgresql*'") == ""


def test_application_finds_its_rows(application):
    assert application.value("SELECT count(*) FROM tasks WHERE title = 'Restart Plex'") >= 1
    assert application.value("SELECT count(*) FROM audit_entries WHERE action = 'molecule.verify'") >= 1


def test_provisioning_again_changes_nothing(run_playbook, project):
    run = run_playbook(project / "site.yml")
    assert run.returncode == 0, run.output
    assert run.changed == 0, run.output
