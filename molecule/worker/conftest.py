from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import testinfra
from sql_on_host import Login


@pytest.fixture(scope="module", params=["inventory", "tools"])
def worker(request) -> str:
    """What is tested: the worker of the inventory, and the executor of tools."""
    return request.param


@pytest.fixture(scope="module")
def unit(host, worker):
    """A callable: a property of the unit, as systemd prints it."""
    return lambda name: host.check_output(f"systemctl show --value --property={name} mission-control-{worker}.service")


@pytest.fixture(scope="session")
def database(scenario) -> Login:
    """The application's login at the database."""
    host = testinfra.get_host(f"podman://mission-control-{scenario.name}-debian13")
    directory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "passwords/debian13"
    password = (directory / "mission_control.password").read_text().strip()
    return Login(host, "mission_control", password, "mission_control")


def wait_until(condition, seconds: int = 60) -> None:
    """Return as soon as the condition holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def eventually():
    return wait_until
