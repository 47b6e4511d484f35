from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import testinfra
from http_on_host import HttpService
from sql_on_host import Login

UNIT = "mission-control.service"


@pytest.fixture(scope="module")
def service(host) -> HttpService:
    return HttpService(host, 3000)


@pytest.fixture(scope="module")
def unit(host):
    """A callable: a property of the unit, as systemd prints it."""
    return lambda name: host.check_output(f"systemctl show --value --property={name} {UNIT}")


@pytest.fixture(scope="session")
def token() -> str:
    return "token-Hk4WdSz7Pn-of-the-service"


@pytest.fixture(scope="session")
def database_host(scenario) -> testinfra.host.Host:
    return testinfra.get_host(f"podman://mission-control-{scenario.name}-debian13")


@pytest.fixture(scope="session")
def password_file() -> Path:
    """Where the controller keeps the password of the service's login."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "passwords/debian13/mission_control_service.password"


@pytest.fixture
def password(password_file) -> str:
    return password_file.read_text().strip()


@pytest.fixture
def service_login(database_host, password) -> Login:
    """The service's own login at the database."""
    return Login(database_host, "mission_control_service", password, "mission_control")


def wait_until(condition, seconds: int = 30) -> None:
    """Return as soon as the condition holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def eventually():
    return wait_until
