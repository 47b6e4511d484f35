"""Health checks of a test's database, by the logins that there are."""

import contextlib
import json
import math
import time

from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import Thresholds
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import Manifest
from mission_control_database import ROLES, SQL, Session

MANIFEST = Manifest.of_directory(str(SQL), "0.1.0")
# So that no age on a slow machine is one too many, where a test is not about it.
PATIENT = Thresholds(
    latency_warn_ms=math.inf,
    transaction_warn_seconds=math.inf,
    transaction_fail_seconds=math.inf,
    idle_in_transaction_warn_seconds=math.inf,
    idle_in_transaction_fail_seconds=math.inf,
    blocked_warn_seconds=math.inf,
    blocked_fail_seconds=math.inf,
    replication_lag_warn_seconds=math.inf,
)


@contextlib.contextmanager
def login(of, role="application", **options):
    """A client of one of our roles, or of any other (`postgres`)."""
    options = {
        "host": of.cluster.socket_directory,
        "port": of.cluster.port,
        "database": of.name,
        "user": ROLES.get(role, role),
        **options,
    }
    client = Client(**options)
    try:
        yield client
    finally:
        client.disconnect(0)


def health(of, role="application", manifest=MANIFEST, thresholds=PATIENT, timeout=30, expected_role="", **options):
    with login(of, role, **options) as client:
        return check_health(client, manifest, thresholds, timeout, expected_role)


def wait_until_alone(database):
    """Sessions of clients that were closed may take a moment to end, and a login that sees little would say so."""
    with contextlib.closing(Session(database.cluster.connect())) as admin:
        while admin.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", database.name):
            time.sleep(0.01)


def statuses(report, *but):
    """The checks that are not a pass, as a mapping; without those that are named. No test's database has a backup, a source or a budget."""
    usual = {("backups", "not checked"), ("inventory_sources", "not checked"), ("budgets", "not checked")}
    found = {each.name: each.status for each in report.checks if (each.name, each.status) not in usual}
    return {name: status for name, status in found.items() if status != "pass" and name not in but}


def text_of(report):
    return json.dumps(report.as_dict())
