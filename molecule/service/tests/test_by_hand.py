"""A host without systemd: what the run says to do by hand works, and later runs put up with it."""

from __future__ import annotations

testinfra_hosts = ["no-systemd"]
COMMAND = (
    "cd /usr/local/lib/mission-control/current && runuser -u mission-control-service -- "
    "sh -c 'set -a; . /etc/mission-control/service.env; exec python3 -m mission_control_service'"
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

    host.check_output(f"kill $({RUNNING} --oldest)")
    eventually(lambda: host.run(RUNNING).rc == 1)
    assert service.status("/live") == 0


def test_no_unit_was_written(host):
    assert not host.file("/etc/systemd/system/mission-control.service").exists
