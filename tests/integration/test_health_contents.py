"""What the health check says of migrations, the audit chain and runs."""

import dataclasses
import math

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import Thresholds
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import (
    ExpectedFile,
    ExpectedMigration,
)
from health_lab import MANIFEST, health, login

LAST = MANIFEST.migrations[-1]
SITE = ExpectedMigration("site", 1, "001_mine.sql", "5" * 64)


def migrations_of(database, manifest=MANIFEST):
    return health(database, "readonly", manifest).check("migrations")


def record(database, origin, version, name, checksum="0" * 64):
    database.session("admin").insert(
        "schema_migrations", origin=origin, version=version, name=name, checksum=checksum, duration_ms=1
    )


def test_a_changed_checksum_is_drift(database):
    database.session("admin").run("UPDATE schema_migrations SET checksum = %s WHERE version = 2", "0" * 64)
    check = migrations_of(database)
    assert (check.status, check.data["drifted"]) == ("fail", ["002_tasks.sql"])
    assert check.message == "Against version 0.1.0 of the collection, drifted: 002_tasks.sql."


def test_a_migration_that_is_not_applied_is_pending(database):
    database.session("admin").run("DELETE FROM schema_migrations WHERE version = %s", LAST.version)
    check = migrations_of(database)
    assert (check.status, check.data["pending"]) == ("warn", [LAST.name])
    assert check.data["current"] == LAST.version - 1


def test_a_database_that_is_ahead_is_a_warning(database):
    record(database, "bundle", LAST.version + 1, "006_later.sql")
    check = migrations_of(database)
    assert (check.status, check.data["ahead"]) == ("warn", ["006_later.sql"])


def test_a_gap_is_a_failure(database):
    database.session("admin").run("DELETE FROM schema_migrations WHERE version = 3")
    check = migrations_of(database)
    assert (check.status, check.data["out_of_order"], check.data["pending"]) == ("fail", ["003_llm.sql"], [])


def test_a_history_that_is_empty_is_a_failure(database):
    database.session("admin").run("DELETE FROM schema_migrations")
    check = migrations_of(database)
    assert check.status == "fail"
    assert check.data["pending"] == [each.name for each in MANIFEST.migrations]


def test_site_local_migrations_are_compared_where_the_manifest_knows_them(database):
    record(database, "site", 1, SITE.name, SITE.checksum)
    without = migrations_of(database)
    assert (without.status, without.data["not_compared"]) == ("pass", ["site/001_mine.sql"])
    assert "1 site-local one not compared" in without.message
    manifest = dataclasses.replace(MANIFEST, migrations=(*MANIFEST.migrations, SITE))
    assert migrations_of(database, manifest).data["not_compared"] == []
    assert migrations_of(database, manifest).status == "pass"
    later = dataclasses.replace(SITE, version=2, name="002_more.sql")
    manifest = dataclasses.replace(MANIFEST, migrations=(*MANIFEST.migrations, SITE, later))
    assert migrations_of(database, manifest).data["pending"] == ["site/002_more.sql"]
    record(database, "site", 2, "002_other.sql")
    assert migrations_of(database, manifest).data["drifted"] == ["site/002_more.sql"]


def test_functions_and_views_of_another_version_are_a_warning(database):
    admin = database.session("admin")
    admin.run("UPDATE schema_repeatables SET checksum = %s WHERE name = '005_views.sql'", "0" * 64)
    admin.run("DELETE FROM schema_repeatables WHERE name = '003_retention.sql'")
    check = health(database, "readonly").check("repeatables")
    assert (check.status, check.data["outdated"]) == ("warn", ["003_retention.sql", "005_views.sql"])
    more = dataclasses.replace(MANIFEST, repeatables=(ExpectedFile("009_new.sql", "1" * 64),))
    assert health(database, "readonly", more).check("repeatables").data["outdated"] == ["009_new.sql"]


def test_what_somebody_changed_of_functions_views_and_triggers_is_a_failure(database):
    admin = database.session("admin")
    admin.run("ALTER FUNCTION prune_llm_bodies(timestamptz) SECURITY INVOKER")
    admin.run("DROP VIEW tool_call_success_rate; ALTER TABLE hosts DISABLE TRIGGER tr_hosts_updated_at")
    expected = [
        "function prune_llm_bodies(timestamp with time zone) was changed",
        "trigger tr_hosts_updated_at on hosts was changed",
        "view tool_call_success_rate is gone",
    ]
    for role in ("readonly", "monitor", "service", "application"):
        check = health(database, role).check("repeatables")
        assert (check.status, check.data["changed"]) == ("fail", expected)
    admin.run("UPDATE schema_objects SET server_major = 13")
    check = health(database, "readonly").check("repeatables")
    assert (check.status, check.data["changed"]) == ("warn", None)
    admin.run("DROP TABLE schema_objects")
    assert health(database, "readonly").check("repeatables").status == "warn"


def test_the_head_of_the_audit_chain_is_that_of_the_client(database):
    with login(database) as client:
        client.audit("test", "nothing.do")
        client.audit("test", "nothing.do")
        head = client.audit_head()
    for role in ("monitor", "readonly"):
        check = health(database, role).check("audit_chain")
        assert check.status == "pass"
        assert (check.data["sequence"], check.data["head"]) == (2, str(head))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit_head SET sequence = 1", "1"),
        ("DELETE FROM audit_links WHERE sequence = 2", "2"),
        ("UPDATE audit_links SET digest = sha256('x') WHERE sequence = 2", "2"),
        ("DELETE FROM audit_head", "no head"),
    ],
)
def test_a_broken_end_of_the_audit_chain_is_a_failure(database, statement, problem):
    with login(database) as client:
        client.audit("test", "nothing.do")
        client.audit("test", "nothing.do")
    admin = database.session("admin")
    for table in ("audit_head", "audit_links"):
        admin.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    admin.run(statement)
    check = health(database, "monitor").check("audit_chain")
    assert check.status == "fail"
    assert problem in check.message


def run_of(session, status="running", age="2 hours", **columns):
    task = session.insert("tasks", title="Deploy", created_by="test")
    run = session.insert("task_runs", task_id=task["id"], status=status, **columns)
    session.run("UPDATE task_runs SET created_at = now() - %s::interval WHERE id = %s", age, run["id"])
    return str(run["id"])


def test_running_runs_without_a_sign_of_life_are_a_warning(database):
    admin = database.session("admin")
    silent = run_of(admin)
    run_of(admin, "queued")
    run_of(admin, "running", "1 minute")
    alive = run_of(admin)
    admin.insert("task_events", task_run_id=alive, sequence=1, type="log")
    restarted = run_of(admin)
    admin.run("UPDATE task_runs SET started_at = now() WHERE id = %s", restarted)
    report = health(database, "readonly")
    check = report.check("stale_task_runs")
    assert check.status == "warn"
    assert check.data["runs"] == [silent]
    assert (check.data["running"], check.data["stale"]) == (4, 1)
    assert 7200 <= check.data["seconds"] < 7300
    assert "1 run of 4 running" in check.message
    endless = Thresholds(stale_run_warn_seconds=math.inf)
    assert health(database, "readonly", thresholds=endless).check("stale_task_runs").status == "pass"
