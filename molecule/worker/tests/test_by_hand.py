"""A host without systemd: what the run says to do by hand works."""

from __future__ import annotations

testinfra_hosts = ["no-systemd"]
COMMAND = (
    "cd /usr/local/lib/mission-control-inventory/current && runuser -u mission-control-inventory -- env "
    "MISSION_CONTROL_ENV_FILE=/etc/mission-control/inventory/credentials/database.env "
    "python3 -m mission_control_inventory inventory worker"
)
RUNNING = "pgrep --uid mission-control-inventory --full 'mission_control_inventory inventory worker$'"


def test_the_command_runs_the_worker_until_it_is_ended(host, run_playbook, scenario, eventually):
    run = run_playbook(scenario / "converge.yml", "--limit", "no-systemd")
    assert (run.returncode, run.changed) == (0, 0), run.output
    said = " ".join(run.output.split()).replace("''", "'")
    assert f"mission-control-inventory.service was left out. To run the worker by hand: {COMMAND}" in said
    host.check_output(f"({COMMAND}) >/tmp/worker.log 2>&1 &")
    eventually(lambda: host.run(RUNNING).rc == 0)
    host.check_output(f"kill $({RUNNING} --oldest)")
    eventually(lambda: host.run(RUNNING).rc == 1)
    assert "Traceback" not in host.file("/tmp/worker.log").content_string


def test_no_unit_was_written(host):
    assert not host.file("/etc/systemd/system/mission-control-inventory.service").exists
