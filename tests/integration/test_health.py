"""The health check of a database that is well, by each login, and what it leaves behind."""

import json
import math

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import SettingsError
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import NAMES
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import Thresholds
from health_lab import MANIFEST, PATIENT, health, login, statuses, text_of, wait_until_alone


@pytest.fixture(autouse=True)
def alone(shared_database):
    wait_until_alone(shared_database)


@pytest.mark.parametrize("role", ["postgres", "application", "readonly"])
def test_a_database_as_it_was_provisioned_passes_every_check(shared_database, role):
    report = health(shared_database, role)
    assert statuses(report) == {}
    assert report.status == "pass"
    assert tuple(check.name for check in report.checks) == NAMES
    assert all(check.message.endswith(".") for check in report.checks)


def test_the_monitoring_login_sees_all_but_the_runs(shared_database):
    report = health(shared_database, "monitor")
    assert statuses(report) == {"stale_task_runs": "not visible"}
    assert report.status == "pass"
    assert report.counts == {"pass": len(NAMES) - 4, "warn": 0, "fail": 0, "not visible": 1, "not checked": 3}


def test_the_report_says_what_there_is(shared_database):
    report = health(shared_database)
    connection, server = report.check("connection").data, report.check("server").data
    assert 0 < connection["query_ms"] < math.inf
    assert 0 < connection["connect_ms"] < math.inf
    assert server["role"] == "primary"
    assert server["login"] == "mission_control"
    assert server["database"] == shared_database.name
    assert server["major_version"] >= 14
    assert server["uptime_seconds"] > 0
    assert report.check("database_size").data["bytes"] > 5_000_000
    tables = report.check("tables").data
    assert tables["tables"]["provider_pricing"]["total_bytes"] > tables["tables"]["provider_pricing"]["index_bytes"] > 0
    assert tables["total_bytes"] == sum(table["total_bytes"] for table in tables["tables"].values())
    assert report.check("connections").data["limit"] == 200 - 3
    assert report.check("transaction_ids").data["age"] > 0


def test_the_report_is_json(shared_database):
    report = health(shared_database)
    read = json.loads(text_of(report))
    assert read == report.as_dict()
    assert read["status"] == "pass"
    assert read["checked_at"].endswith("+00:00")
    assert read["counts"]["pass"] == len(read["checks"]) - 3
    assert "T" in read["checks"][1]["data"]["started_at"]
    assert isinstance(read["duration_ms"], float)


def test_a_check_that_is_not_there_is_an_error_of_the_caller(shared_database):
    with pytest.raises(KeyError):
        health(shared_database).check("nothing")


def test_without_a_manifest_nothing_is_said_to_be_current(shared_database):
    report = health(shared_database, manifest=None)
    assert statuses(report) == {"migrations": "not checked", "repeatables": "not checked"}
    assert report.status == "pass"
    assert report.check("migrations").data["current"] == len(MANIFEST.migrations)


def test_the_client_is_left_as_it_was(shared_database):
    with login(shared_database, pool_size=1, options="-c default_transaction_isolation=serializable") as client:
        settings = "SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout' OR name LIKE '%isolation%'"
        before = client.query_many(f"{settings} ORDER BY 1")
        for _ in range(3):
            assert check_health(client, MANIFEST, PATIENT).status == "pass"
        assert client.query_many(f"{settings} ORDER BY 1") == before
        stats = client.pool_stats()
        assert (stats.opened, stats.idle, stats.rolled_back, stats.lost) == (1, 1, 0, 0)


def test_the_check_writes_nothing_where_nothing_may_be_written(shared_database):
    report = health(shared_database, "postgres", options="-c default_transaction_read_only=on")
    assert statuses(report) == {}


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, "10", None, True])
def test_a_wrong_timeout_is_refused(shared_database, timeout):
    with login(shared_database) as client, pytest.raises(SettingsError, match="timeout"):
        check_health(client, timeout=timeout)


@pytest.mark.parametrize("value", [-1, math.nan, "5", None, True])
def test_a_wrong_threshold_is_named(value):
    with pytest.raises(SettingsError, match="blocked_warn_seconds"):
        Thresholds(blocked_warn_seconds=value)


def test_a_failure_does_not_come_before_its_warning():
    with pytest.raises(SettingsError, match=r"connections_fail must not be below connections_warn"):
        Thresholds(connections_warn=0.9, connections_fail=0.5)


def test_slow_answers_and_old_transaction_ids_are_a_warning(shared_database):
    report = health(shared_database, thresholds=Thresholds(latency_warn_ms=0, transaction_id_warn=0))
    assert statuses(report) == {"connection": "warn", "transaction_ids": "warn"}
    assert report.status == "warn"
