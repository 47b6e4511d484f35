"""The modules from an application's host against a server elsewhere, as the application and as the administrator."""

from __future__ import annotations

import pytest
import yaml
from test_databases import PLACES

testinfra_hosts = list(PLACES)


@pytest.fixture
def place(host):
    return PLACES[host.check_output("hostname")]


@pytest.fixture
def login(place):
    return {"login_host": place.server, "login_db": place.database, "login_user": place.user}


@pytest.fixture
def administrator(place, login, scenario):
    variables = yaml.safe_load((scenario / "inventory/group_vars/mission_control.yml").read_text())
    password = variables["mission_control_login_password"]
    return {**login, "login_user": place.administrator, "login_password": password}


def test_health_as_the_application(run_module, login):
    # The committed price list grows old, which is no concern of the tests.
    thresholds = {"prices_warn_days": 100_000}
    run = run_module("health", {**login, "login_password": "application-password", "thresholds": thresholds})
    assert run.returncode == 0, run.output
    status = {check["name"]: check["status"] for check in run.result["checks"]}
    assert run.result["status"] == "pass", run.output
    for name in ("connection", "migrations", "repeatables", "schema_objects", "stale_task_runs"):
        assert status[name] == "pass", run.output


def test_health_as_the_administrator(run_module, administrator):
    run = run_module("health", administrator)
    assert run.returncode == 0, run.output
    assert run.result["counts"]["fail"] == 0


def test_a_wrong_password_is_a_sentence(run_module, login):
    run = run_module("health", {**login, "login_password": "not the password"})
    assert run.returncode == 2
    assert "password authentication failed" in run.result["msg"]
    assert "Traceback" not in run.output


def test_query_finds_the_tables_of_its_schema(run_module, login, place):
    run = run_module(
        "query",
        {
            **login,
            "login_password": "application-password",
            "query": "SELECT %s AS wanted, current_schema() AS schema, count(*) AS prices FROM provider_pricing",
            "positional_args": [place.schema],
            "fetch": "one",
        },
    )
    assert run.returncode == 0, run.output
    assert run.result["row"]["schema"] == run.result["row"]["wanted"]
    assert run.result["row"]["prices"] >= 10
