"""A host without systemd: what the run says to do by hand works."""

from __future__ import annotations

import pytest

testinfra_hosts = ["no-systemd"]
COMMANDS = {"inventory": "inventory worker", "tools": "tools worker --concurrency 4"}


@pytest.fixture(scope="module")
def run(run_playbook, scenario):
    return run_playbook(scenario / "converge.yml", "--limit", "no-systemd")


def test_a_second_run_changes_nothing(run):
    assert (run.returncode, run.changed) == (0, 0), run.output


def test_the_command_runs_the_worker_until_it_is_ended(host, run, worker, eventually):
    unit = f"mission-control-{worker}"
    program = f"mission_control_{worker} {COMMANDS[worker]}"
    command = (
        f"cd /usr/local/lib/{unit}/current && runuser -u {unit} -- env "
        f"MISSION_CONTROL_ENV_FILE=/etc/mission-control/{worker}/credentials/database.env python3 -m {program}"
    )
    running = f"pgrep --uid {unit} --full '{program}$'"
    said = " ".join(run.output.split()).replace("''", "'")
    assert f"{unit}.service was left out. To run the worker by hand: {command}" in said
    host.check_output(f"({command}) >/tmp/{worker}.log 2>&1 &")
    eventually(lambda: host.run(running).rc == 0)
    host.check_output(f"kill $({running} --oldest)")
    eventually(lambda: host.run(running).rc == 1)
    assert "Traceback" not in host.file(f"/tmp/{worker}.log").content_string


def test_no_unit_was_written(host, worker):
    assert not host.file(f"/etc/systemd/system/mission-control-{worker}.service").exists
