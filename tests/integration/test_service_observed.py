"""What watches the service: its own login is enough for the health checks, and dashboard and alerts ask for what it exports."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
import yaml
from mission_control import Client
from mission_control.health.check import check_health
from mission_control.health.registry import NAMES
from mission_control.schema.manifest import Manifest
from mission_control_database import ROLES
from mission_control_database import Database as ReplicatedDatabase
from mission_control_service.app import create_app
from mission_control_service.configuration import Configuration
from mission_control_service.credentials import Credentials
from mission_control_service.database import Database
from playbook import ROOT
from playbook_rows import add_playbook_run
from prometheus_client.parser import text_string_to_metric_families
from replication_lab import Standby, primary
from sample_rows import fill_every_table

MANIFEST = Manifest.of_directory(str(ROOT / "files/sql"), "1.2.3")
# Checks that would need pg_monitor, with which the login could read the statements of others.
HIDDEN = {"oldest_transaction", "idle_in_transaction"}
SELECTOR = re.compile(r"\b(mission_control_\w+)(?:\{([^}]*)\})?")
# What Prometheus itself adds to every series.
TARGET_LABELS = {"instance", "job"}


@pytest.fixture(scope="module")
def client(shared_database):
    session = shared_database.session("application")
    fill_every_table(session)
    shared_database.session("admin").run("SELECT note_price_list('seed', 'a list', '2026-11-01')")
    add_playbook_run(session)
    with Client(
        host=shared_database.cluster.socket_directory,
        port=shared_database.cluster.port,
        database=shared_database.name,
        user=ROLES["service"],
    ) as client:
        yield client


@pytest.fixture(scope="module")
def replicated(server_version):
    """A client of a primary with a standby, and one of that standby; both see all of replication."""
    with primary(provisioned=False) as database, Standby(database.cluster, "db2") as standby:
        database.cluster.query("GRANT pg_monitor TO mission_control_service")
        standby.wait_until_caught_up()
        places = (database, ReplicatedDatabase(standby, database.name))
        clients = [
            Client(
                host=each.cluster.socket_directory, port=each.cluster.port, database=each.name, user=ROLES["service"]
            )
            for each in places
        ]
        yield clients
        for each in clients:
            each.disconnect(0)


@pytest.fixture(scope="module")
def families(client, replicated):
    """The exported families by the names of their samples, with a budget and rows of every kind, with and without standbys."""
    exported = exported_by(client)
    for each in replicated:
        for name, labels in exported_by(each).items():
            exported.setdefault(name, []).extend(labels)
    return exported


def exported_by(client):
    app = create_app(Configuration(budget_usd=Decimal(25)), Credentials(), Database(client, 5.0), MANIFEST)
    # The second answer has what the first one counted.
    app.test_client().get("/metrics")
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    exported = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            exported.setdefault(sample.name, []).append(sample.labels)
    return exported


def alert_expressions():
    rules = yaml.safe_load((ROOT / "files/prometheus/mission_control_alerts.yml").read_text(encoding="utf-8"))
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def dashboard_expressions():
    dashboard = json.loads((ROOT / "files/grafana/mission_control_service.json").read_text(encoding="utf-8"))
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [expression.replace("${instance:regex}", ".*") for expression in targets]


def test_its_login_is_enough_for_the_health_checks(shared_database, client):
    other = shared_database.session("application")
    other.run("SELECT 1")
    report = check_health(client, MANIFEST)
    assert {check.name for check in report.checks if check.status == "not visible"} == HIDDEN
    others = {check.name: check.message for check in report.checks if check.status not in ("pass", "not visible")}
    assert set(others) == {"backups"}
    assert others["backups"].startswith("No backup is set up")


@pytest.mark.parametrize("expression", [*alert_expressions(), *dashboard_expressions()])
def test_every_metric_and_label_that_is_asked_for_is_exported(families, expression):
    asked = SELECTOR.findall(expression)
    assert asked or 'up{job="mission_control"}' in expression
    for name, matchers in asked:
        assert name in families, name
        labels = set(families[name][0])
        for label, value in re.findall(r'(\w+)!?=~?"([^"]*)"', matchers):
            assert label in labels | TARGET_LABELS, (name, label)
            if label == "check":
                assert set(value.split("|")) <= set(NAMES), value
            if label == "state":
                assert set(value.split("|")) <= {each["state"] for each in families[name]}, value
    for label in re.findall(r"by \(([^)]*)\)", expression):
        known = set().union(*(set(families[name][0]) for name, _ in asked))
        assert {each.strip() for each in label.split(",")} <= known


def test_the_state_of_replication_is_exported(replicated):
    of_primary, of_standby = (exported_by(each) for each in replicated)
    prefix = "mission_control_replication"
    assert of_primary[f"{prefix}_standby"] == [{"standby": "db2", "state": "streaming", "sync_state": "async"}]
    assert (
        of_primary[f"{prefix}_standby_lag_bytes"] == of_primary[f"{prefix}_standby_lag_seconds"] == [{"standby": "db2"}]
    )
    assert of_primary[f"{prefix}_slot_active"] == of_primary[f"{prefix}_slot_retained_bytes"] == [{"slot": "db2"}]
    assert f"{prefix}_slot_safe_bytes" not in of_primary  # the slot has no limit
    assert not {f"{prefix}_receiving", f"{prefix}_lag_bytes"} & of_primary.keys()
    assert {f"{prefix}_receiving", f"{prefix}_lag_bytes", f"{prefix}_lag_seconds"} <= of_standby.keys()
    assert {each["state"] for each in of_standby[f"{prefix}_standbys"]} == {"connected", "streaming"}
