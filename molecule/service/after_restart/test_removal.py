"""Removing the database and the server's settings removes service, executor and timer that were beside it, and the certificates."""

from __future__ import annotations

testinfra_hosts = ["debian13"]


def test_nothing_of_it_is_left(host, service, run_playbook, project):
    confirmation = "mission_control_database_remove_confirm=mission_control"
    settings = "mission_control_postgresql_remove_settings=true"
    run = run_playbook(project / "playbooks/remove.yml", "--extra-vars", f"{confirmation} {settings}")
    assert run.returncode == 0, run.output
    assert service.status("/live") == 0
    assert not host.user("mission-control-service").exists
    assert not host.group("mission-control-service").exists
    assert host.run("systemctl cat mission-control.service").rc != 0
    assert not host.user("mission-control-maintenance").exists
    assert not host.group("mission-control-maintenance").exists
    assert host.run("systemctl cat mission-control-maintenance.timer mission-control-maintenance.service").rc != 0
    assert not host.user("mission-control-tools").exists
    assert not host.group("mission-control-tools").exists
    assert host.run("systemctl cat mission-control-tools.service").rc != 0
    stamp = "/var/lib/systemd/timers/stamp-mission-control-maintenance.timer"
    for path in (
        "/usr/local/lib/mission-control",
        "/usr/local/lib/mission-control-tools",
        "/etc/mission-control",
        stamp,
    ):
        assert not host.file(path).exists
    # The server stays, and starts without what was taken back.
    host.check_output("pg_ctlcluster 17 main restart")
    assert "/etc/mission-control" not in host.check_output("runuser -u postgres -- psql -XAtc 'SHOW ssl_cert_file'")
    assert "homelab.mission_control" not in host.file("/etc/postgresql/17/main/pg_hba.conf").content_string
