"""Where the application's password is, and where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="module")
def name(host):
    return host.check_output("hostname")


@pytest.fixture(scope="module")
def given(name, scenario) -> str | None:
    hosts = yaml.safe_load((scenario / "inventory/hosts.yml").read_text())["mission_control"]["hosts"]
    return hosts[name].get("mission_control_database_password")


@pytest.fixture
def kept(name) -> list[Path]:
    """The files that the controller keeps for the host."""
    directory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "passwords" / name
    return [path for path in directory.rglob("*") if path.is_file()]


def test_env_file_has_the_names_that_applications_know(environment):
    assert environment.keys() == {
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
    }
    assert environment["POSTGRES_DB"] == "mission_control"


def test_env_file_is_for_its_owner_alone(host):
    file = host.file("/etc/mission-control/database.env")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_given_password_is_used_and_not_kept(environment, given, kept):
    if given is not None:
        assert environment["POSTGRES_PASSWORD"] == given
        assert kept == []


def test_generated_password_is_kept_for_its_owner_alone(environment, given, kept):
    if given is None:
        assert [path.read_text().strip() for path in kept] == [environment["POSTGRES_PASSWORD"]]
        assert kept[0].stat().st_mode & 0o777 == 0o600
        assert len(environment["POSTGRES_PASSWORD"]) >= 32


def test_password_is_in_no_log(host, environment):
    password = environment["POSTGRES_PASSWORD"]
    assert host.run("grep --recursive --fixed-strings --quiet -- %s /var/log", password).rc == 1
    journal = host.run("journalctl --no-pager | grep --fixed-strings --quiet -- %s", password)
    assert journal.rc == 1
