"""Runs of everything on a booted host, as loud as they can be and failing too; then no secret is anywhere but where it belongs.

The first of them brings a new password from the controller to the database and every service.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import testinfra
from http_on_host import HttpService
from secrets_on_host import HostWatch, Known, files_here, files_with, misplaced, places_on
from sql_on_host import Login, RefusedError, as_administrator

testinfra_hosts = ["debian13"]
SERVICE = "mission_control_service"
# Not those of other tests, whose processes the watch sees when they run at the same time.
FIRST, SECOND, REFUSED = 'f&=+/%(a)s "\u00fc" Bq7LmXt9Fw', "s%%&=+/,\u20ac{x} Kd2RzHv6Pn", "w\n/%&=+ Gt5YcWk8Js"
PLANTED = "Planted Nb6TgRc3Vy"
# Where a host keeps what the service is given, by the name of the file.
KEPT = ("/etc/mission-control/service/", "/run/credentials/mission-control.service/")
MAINTENANCE = "mission_control_maintenance"
KEPT_BY_MAINTENANCE = tuple(
    f"{directory}/database.conf"
    for directory in ("/etc/mission-control/maintenance", "/run/credentials/mission-control-maintenance.service")
)
EXECUTOR = "mission_control_executor"
KEPT_BY_EXECUTOR = ("/etc/mission-control/tools/credentials/", "/run/credentials/mission-control-tools.service/")
CATALOGUE = "/var/lib/postgresql/"


@dataclass(frozen=True)
class Runs:
    """The runs by their names, and what was found of each secret: (its name, place)."""

    by_name: dict[str, Any]
    watch: HostWatch
    secrets: dict[str, Known]
    found: list[tuple[str, str]]
    old_login: Login
    new_password: str


@pytest.fixture(scope="module")
def runs(host, run_playbook, project, scenario, database_host, password_file, token, tmp_path_factory) -> Runs:
    here = tmp_path_factory.mktemp("runs")
    inputs, site = here.parent / "inputs.json", here.parent / "site"
    site.mkdir()
    (site / "001_fails.sql").write_text("SELECT 1 / 0;\n")
    old = password_file.read_text().strip()
    new, new_of_maintenance, new_of_executor = (f'n&=+/%s "{{x}} {token_hex(8)}' for _each in range(3))
    maintenance_file = password_file.with_name(f"{MAINTENANCE}.password")
    old_of_maintenance = maintenance_file.read_text().strip()
    executor_file = password_file.with_name(f"{EXECUTOR}.password")
    old_of_executor = executor_file.read_text().strip()
    by_name: dict[str, Any] = {}

    def run(name: str, playbook: Path, *arguments: str, **variables: object) -> int:
        inputs.write_text(json.dumps(variables))
        by_name[name] = run_playbook(
            *(playbook, "-vvv", "--diff", "--extra-vars", f"@{inputs}", *arguments),
            TMPDIR=str(here),
            ANSIBLE_HOME=str(here / "ansible"),
            ANSIBLE_LOG_PATH=str(here / "ansible.log"),
        )
        return by_name[name].returncode

    as_administrator(host, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    given = {"mission_control_database_password": FIRST}
    here_only = ("--limit", "debian13")
    with HostWatch(host) as watch:
        password_file.write_text(f"{new}\n")
        maintenance_file.write_text(f"{new_of_maintenance}\n")
        executor_file.write_text(f"{new_of_executor}\n")
        assert run("changes", scenario / "converge.yml", **given) == 0, by_name
        # By the new password.
        host.check_output("systemctl start mission-control-maintenance.service")
        checked = {"mission_control_database_password": SECOND}
        assert run("checks", project / "site.yml", "--check", *here_only, **checked) == 0, by_name
        broken = {**given, "mission_control_schema_site_directory": str(site)}
        assert run("fails", project / "site.yml", *here_only, **broken) != 0
        refused = {"mission_control_database_password": REFUSED}
        assert run("refuses", project / "site.yml", *here_only, **refused) != 0
        assert run("plants", scenario / "plant_secret.yml", planted_secret=PLANTED) == 0, by_name

    def verifier(role: str) -> str:
        return as_administrator(host, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")

    # A role that brings a secret adds it here, with the beginnings of the paths on the host where it belongs.
    secrets = {
        "password of the application": Known(FIRST),
        "password in check mode": Known(SECOND),
        "password that was refused": Known(REFUSED),
        "old password of the service": Known(old),
        "new password of the service": Known(new, tuple(f"{place}database.env" for place in KEPT)),
        "old password of the maintenance": Known(old_of_maintenance),
        "new password of the maintenance": Known(new_of_maintenance, KEPT_BY_MAINTENANCE),
        "old password of the executor": Known(old_of_executor),
        "new password of the executor": Known(
            new_of_executor, tuple(f"{place}database.env" for place in KEPT_BY_EXECUTOR)
        ),
        "credential of tools": Known(
            "Fs4NbQm9Zk-for-tools", tuple(f"{place}nowhere.token" for place in KEPT_BY_EXECUTOR)
        ),
        "token of an approver": Known("approver-Tc5VxWd2Hm-of-the-service-scenario"),
        "token of a requester": Known("requester-Pj7KzRn3Gq-of-the-service-scenario"),
        "first token": Known(token, tuple(f"{place}api-tokens" for place in KEPT)),
        "second token": Known("token-Jt9XcMv2Lb-of-the-service", tuple(f"{place}api-tokens" for place in KEPT)),
        "refresh token": Known("token-Lx6QrGd8Vm-that-refreshes", tuple(f"{place}refresh-tokens" for place in KEPT)),
        "verifier of the application": Known(verifier("mission_control"), (CATALOGUE,)),
        "verifier of the service": Known(verifier(SERVICE), (CATALOGUE,)),
        "verifier of the maintenance": Known(verifier(MAINTENANCE), (CATALOGUE,)),
        "verifier of the executor": Known(verifier(EXECUTOR), (CATALOGUE,)),
        "planted": Known(PLANTED),
    }
    places = {
        **{f"output of the run that {name}": done.output for name, done in by_name.items()},
        **watch.places(),
        **places_on(host),
        **files_here(here),
        **files_with(host, [each.value for each in secrets.values()]),
    }
    host.check_output("systemctl stop planted; rm /var/tmp/planted")
    # The tests after these find the password that the inventory says.
    assert run_playbook(project / "site.yml", *here_only).returncode == 0
    old_login = Login(database_host, SERVICE, old, "mission_control")
    return Runs(by_name, watch, secrets, misplaced(secrets, places), old_login, new)


def test_a_new_password_reaches_all(runs, scenario, service_login):
    with pytest.raises(RefusedError, match="password authentication failed"):
        runs.old_login.value("SELECT 1")
    for name in ("debian12", "debian13", "confined"):
        other = testinfra.get_host(f"podman://mission-control-{scenario.name}-{name}")
        assert HttpService(other, 3000).status("/ready") == 200, name
    assert service_login.but(password=runs.new_password).value("SELECT 1") == 1


def test_a_new_password_reaches_the_executor(host, runs):
    assert runs.by_name["changes"].changed > 0
    assert host.check_output("systemctl is-active mission-control-tools") == "active"


def test_the_runs_did_and_failed_what_they_were_to(runs):
    assert runs.by_name["changes"].changed > 0
    assert runs.by_name["checks"].changed > 0
    assert "division by zero" in runs.by_name["fails"].output
    sentence = "The password in mission_control_database_password holds a line break"
    assert sentence in " ".join(runs.by_name["refuses"].output.split())


def test_the_search_finds_what_is_planted_in_every_place(runs):
    found = {place for name, place in runs.found if name == "planted"}
    expected = {
        *(
            "output of the run that plants",
            "command lines",
            "environments",
            "pg_stat_activity",
            "pg_stat_statements",
            "journal",
        ),
        *("units", "/var/tmp/planted"),
    }
    assert expected <= found
    for end in ("/ansible.log", "/planted", "-main.log"):
        assert any(place.endswith(end) for place in found), end
    assert runs.watch.looks > 50
    assert any("ansible-playbook" in line for line in runs.watch.command_lines)
    assert any("mission_control_service" in line for line in runs.watch.command_lines)  # a process of the host


def test_no_secret_is_where_it_does_not_belong(runs):
    assert len({each.value for each in runs.secrets.values()}) == len(runs.secrets)
    assert all(len(each.value) >= 12 for each in runs.secrets.values())
    assert [each for each in runs.found if each[0] != "planted"] == []
