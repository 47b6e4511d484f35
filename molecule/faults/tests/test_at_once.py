"""Whole provisioning runs at once: two controllers that know nothing of each other, against a host that has nothing yet."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from fault_tools import sentence
from sql_on_host import Login, as_administrator


@pytest.fixture(scope="module")
def inventory(tmp_path_factory, scenario):
    """An inventory in which the fresh host is the one to be provisioned."""
    host = {"ansible_connection": "containers.podman.podman", "ansible_host": f"mission-control-{scenario.name}-fresh"}
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    group = {"hosts": {"fresh": {**host, "ansible_python_interpreter": "/usr/bin/python3"}}}
    path.write_text(yaml.safe_dump({"mission_control": group}))
    return path


@pytest.fixture(scope="module")
def start(inventory, project, tmp_path_factory):
    """A callable: begin a run on a controller of that name, whose home directory is its own."""
    homes = tmp_path_factory.mktemp("controllers")

    def begin(controller: str) -> tuple[subprocess.Popen, str]:
        home = homes / controller
        home.mkdir(exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_INVENTORY")}
        return subprocess.Popen(
            ["ansible-playbook", f"--inventory={inventory}", str(project / "playbooks/provision.yml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=home,
            env={**environment, "HOME": str(home), "ANSIBLE_NOCOLOR": "1"},
        )

    begin.homes = homes
    return begin


class Outcome:
    def __init__(self, process) -> None:
        self.output, _ = process.communicate(timeout=600)
        self.returncode = process.returncode

    @property
    def counters(self) -> str:
        return self.output.rpartition("fresh ")[2]


def kept_password(home):
    files = list(home.rglob("mission_control.password"))
    return files[0].read_text().strip() if files else None


def test_two_controllers_at_once_make_one_database(fresh, start):
    outcomes = [Outcome(process) for process in [start("one"), start("two")]]
    failed = [outcome for outcome in outcomes if outcome.returncode != 0]
    for outcome in outcomes:
        assert "Traceback" not in outcome.output
    for outcome in failed:
        print(sentence(outcome))
    assert len(failed) < 2, "\n".join(outcome.output for outcome in outcomes)

    for name, outcome in zip(("one", "two"), outcomes, strict=True):
        if outcome.returncode != 0:
            again = Outcome(start(name))
            assert again.returncode == 0, again.output
    for last in map(Outcome, [start("one"), start("two")]):
        assert " changed=0 " in last.counters, last.output
    passwords = {password for password in map(kept_password, map(start.homes.joinpath, ("one", "two"))) if password}
    assert len(passwords) == 1, "the controllers would take the login from each other"
    assert Login(fresh, "mission_control", passwords.pop(), "mission_control").value("SELECT count(*) FROM hosts") == 0
    applied = "SELECT count(*) = count(DISTINCT (origin, version)) AND count(*) > 6 FROM schema_migrations"
    assert as_administrator(fresh, applied, "mission_control") == "t"
    assert fresh.check_output("pg_lsclusters --no-header | wc --lines") == "1"
