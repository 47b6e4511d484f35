"""A host without systemd: what the run says to do by hand works, and later runs put up with it."""

from __future__ import annotations

import re

testinfra_hosts = ["no-systemd"]
COMMAND = (
    "cd /usr/local/lib/mission-control/current && runuser -u mission-control-service -- "
    "sh -c 'set -a; . /etc/mission-control/service.env; exec python3 -m mission_control_service'"
)
MAINTENANCE = (
    "runuser -u mission-control-maintenance -- env PGSERVICEFILE=/etc/mission-control/maintenance/database.conf /usr/bin/psql --no-psqlrc "
    "--no-password --quiet --set=ON_ERROR_STOP=1 --file=/etc/mission-control/maintenance/maintenance.sql service=mission_control"
)
RUNNING = "pgrep --uid mission-control-service --full 'python3 -m mission_control_service$'"


def test_the_command_runs_the_service_until_it_is_ended(host, service, run_playbook, scenario, eventually):
    host.check_output(f"({COMMAND}) >/tmp/service.log 2>&1 &")
    eventually(lambda: service.status("/ready") == 200)
    assert len(host.check_output(RUNNING).splitlines()) == 2, "gunicorn and its worker"

    # The port that it holds is its own, and what the run says to do is what was done here.
    run = run_playbook(scenario / "converge.yml", "--limit", "no-systemd")
    assert (run.returncode, run.changed) == (0, 0), run.output
    said = " ".join(run.output.split()).replace("''", "'")
    assert "The service answers at http://localhost:3000 and is ready." in said
    assert f"mission-control.service was left out. To run the service by hand: {COMMAND}" in said
    assert f"no timer was set up. Let cron start, as root: {MAINTENANCE}" in said

    host.check_output(f"kill $({RUNNING} --oldest)")
    eventually(lambda: host.run(RUNNING).rc == 1)
    assert service.status("/live") == 0


def test_the_command_for_cron_removes_what_is_old(host):
    done = host.run(MAINTENANCE)
    assert (done.rc, done.stderr) == (0, "")
    assert re.fullmatch(r"Removed \d+ events of runs older than 90 days; .*\n", done.stdout)


def test_no_unit_was_written(host):
    for name in ("mission-control.service", "mission-control-maintenance.service", "mission-control-maintenance.timer"):
        assert not host.file(f"/etc/systemd/system/{name}").exists
