"""Testinfra on the hosts of the scenario that Molecule verifies, over Podman instead of one Ansible run per command."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import testinfra
import yaml
from processes import kill_with_descendants

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORIES = [PROJECT / "molecule/shared/inventory", SCENARIO / "inventory"]


def inventory_hosts() -> list[str]:
    """The names under every `hosts:` of the scenario's inventory."""

    def names(group: dict) -> set[str]:
        found = set((group or {}).get("hosts") or {})
        for child in ((group or {}).get("children") or {}).values():
            found |= names(child)
        return found

    groups = yaml.safe_load((SCENARIO / "inventory/hosts.yml").read_text())
    return sorted(set().union(*(names(group) for group in groups.values())))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `host` on every host, or on those that its module names in `testinfra_hosts`."""
    if "host" in metafunc.fixturenames:
        hosts = getattr(metafunc.module, "testinfra_hosts", None) or inventory_hosts()
        metafunc.parametrize("host", hosts, indirect=True, scope="module")


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> testinfra.host.Host:
    return testinfra.get_host(f"podman://mission-control-{SCENARIO.name}-{request.param}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """A failed test shows what PostgreSQL said last on its host."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        journal = host.run(
            "journalctl --boot --no-pager --lines 40 --unit 'postgresql*'; tail --lines 40 /var/log/postgresql/*.log"
        )
        report.sections.append((f"PostgreSQL on {host.backend.name}", journal.stdout + journal.stderr))
    return report


class Run(NamedTuple):
    returncode: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def scenario() -> Path:
    return SCENARIO


@pytest.fixture(scope="session")
def run_playbook():
    """Run a playbook of the project, or of the scenario, on the scenario's hosts: run_playbook(path, *arguments, **environment).

    With kill_after it is killed after so many seconds with all that it has started; its return code is then negative.
    """

    def run(playbook: Path, *arguments: str, kill_after: float | None = None, **environment: str) -> Run:
        inventories = [f"--inventory={directory}" for directory in INVENTORIES]
        with subprocess.Popen(
            ["ansible-playbook", *inventories, str(playbook), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=SCENARIO,
            env={**os.environ, **environment},
        ) as process:
            try:
                output, _ = process.communicate(timeout=kill_after)
            except subprocess.TimeoutExpired:
                kill_with_descendants(process.pid)
                output, _ = process.communicate()
        return Run(process.returncode, output)

    return run


class ModuleRun(NamedTuple):
    returncode: int
    output: str
    result: dict


@pytest.fixture
def run_module(host):
    """Run a module of the collection on the test's host: run_module(name, options, become_user)."""
    inventories = [f"--inventory={directory}" for directory in INVENTORIES]
    name = host.backend.name.removeprefix(f"mission-control-{SCENARIO.name}-")

    def run(module: str, options: dict | None = None, become_user: str = "") -> ModuleRun:
        more = [f"--args={json.dumps(options)}"] if options else []
        more += ["--become", f"--become-user={become_user}"] if become_user else []
        process = subprocess.run(
            ["ansible", *inventories, name, f"--module-name=homelab.mission_control.{module}", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=SCENARIO,
            env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        )
        answer = re.search(r"^\S+ \| \w+!? => (\{.*^\})", process.stdout, re.MULTILINE | re.DOTALL)
        return ModuleRun(process.returncode, process.stdout, json.loads(answer[1]) if answer else {})

    return run
