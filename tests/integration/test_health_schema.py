"""What the health check says of a schema that is not as it should be, or not where it is looked for."""

import dataclasses

import mission_control_database as layer
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import CHECKS
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.objects import (
    ALWAYS_TRIGGERS,
    TABLES,
    TRIGGERS,
    VIEWS,
)
from health_lab import health, statuses

SESSIONS = ("oldest_transaction", "idle_in_transaction")


@pytest.fixture
def empty(cluster, template):
    """A database without the schema, on a server with our roles."""
    database = layer.create_database(cluster, "health_without_schema")
    yield database
    database.drop()


def objects_of(database, **options):
    return health(database, "postgres", **options).check("schema_objects")


def test_the_lists_are_what_the_sql_files_make(shared_database):
    catalogue = shared_database.session("admin")
    assert sorted(catalogue.values("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")) == sorted(TABLES)
    assert sorted(catalogue.values("SELECT viewname FROM pg_views WHERE schemaname = 'public'")) == sorted(VIEWS)
    triggers = catalogue.rows(
        "SELECT tgrelid::regclass::text AS place, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
    )
    assert {(row["place"], row["tgname"]) for row in triggers} == set(TRIGGERS)
    assert {(row["place"], row["tgname"]) for row in triggers if row["tgenabled"] == "A"} == set(ALWAYS_TRIGGERS)
    assert len(set(TRIGGERS)) == len(TRIGGERS)


@pytest.mark.parametrize(
    ("statement", "kind", "name", "status"),
    [
        ("DROP VIEW active_task_runs", "missing_views", "active_task_runs", "fail"),
        ("DROP TABLE policies", "missing_tables", "policies", "fail"),
        ("DROP TRIGGER tr_hosts_updated_at ON hosts", "missing_triggers", "hosts.tr_hosts_updated_at", "fail"),
        (
            "ALTER TABLE audit_entries DISABLE TRIGGER tr_audit_entries_immutable_row",
            "disabled_triggers",
            "audit_entries.tr_audit_entries_immutable_row",
            "fail",
        ),
        (
            "ALTER TABLE hosts ENABLE REPLICA TRIGGER tr_hosts_updated_at",
            "disabled_triggers",
            "hosts.tr_hosts_updated_at",
            "fail",
        ),
        (
            "ALTER TABLE task_events ENABLE TRIGGER tr_task_events_append_only_row",
            "weakened_triggers",
            "task_events.tr_task_events_append_only_row",
            "warn",
        ),
    ],
)
def test_what_is_missing_or_disabled_is_named(database, statement, kind, name, status):
    database.session("admin").run(statement)
    for role in ("postgres", "readonly"):
        check = health(database, role).check("schema_objects")
        assert check.status == status
        assert check.data[kind] == [name]
        assert name in check.message


def test_a_database_without_the_schema(empty):
    report = health(empty, "postgres")
    assert report.status == "fail"
    assert report.check("connection").status == "pass"
    assert statuses(report) == {
        "tables": "not checked",
        "migrations": "fail",
        "repeatables": "not checked",
        "schema_objects": "fail",
        "audit_chain": "not checked",
        "stale_task_runs": "not checked",
        "prices": "not checked",
        "tools": "not checked",
    }
    assert report.check("schema_objects").data["missing_tables"] == list(TABLES)
    assert report.check("migrations").message == "There is no schema_migrations."


def test_a_table_of_the_same_name_that_is_another_programs(empty):
    empty.session("admin").run("CREATE TABLE schema_migrations (version text PRIMARY KEY)")
    check = health(empty, "postgres").check("migrations")
    assert check.status == "fail"
    assert "42703" in check.message


@pytest.fixture
def moved(empty, monkeypatch):
    """All is in the schema lab, as with mission_control_database_schema; no search_path leads to it as yet."""
    wanted = layer.wanted
    monkeypatch.setattr(layer, "SETTINGS", dataclasses.replace(layer.SETTINGS, schema="lab"))
    monkeypatch.setattr(layer, "wanted", lambda name: {**wanted(name), "schema": "lab"})
    layer.provision(empty)
    return empty


def test_a_schema_of_another_name_is_found_by_the_settings_of_the_session(moved):
    for role in ("postgres", "readonly"):
        report = health(moved, role, options="-c search_path=lab")
        assert statuses(report, *SESSIONS) == {}
        assert report.check("schema_objects").data["schema"] == "lab"


def test_a_schema_of_another_name_is_found_by_the_settings_of_the_database(moved):
    moved.session("admin").run(f"ALTER DATABASE {moved.name} SET search_path TO lab")
    assert statuses(health(moved), *SESSIONS) == {}


def test_a_schema_that_no_search_path_leads_to_is_named(moved):
    report = health(moved)
    assert report.check("migrations").status == "fail"
    assert report.check("schema_objects").status == "fail"
    for name in ("migrations", "schema_objects"):
        assert "The schema lab has it, but is not on the search_path" in report.check(name).message


def test_a_schema_that_the_login_may_not_use_is_not_visible(moved):
    moved.session("admin").run("REVOKE ALL ON SCHEMA lab FROM mission_control_readonly, PUBLIC")
    report = health(moved, "readonly", options="-c search_path=lab")
    hidden = ("tables", "migrations", "repeatables", "schema_objects", "audit_chain", "stale_task_runs", "backups")
    hidden += ("inventory_sources", "prices", "budgets", "tools")
    assert statuses(report, *SESSIONS) == dict.fromkeys(hidden, "not visible")
    assert report.status == "pass"


def test_tables_that_the_login_may_not_read_are_not_visible(database):
    admin = database.session("admin")
    admin.run("REVOKE ALL ON schema_migrations, schema_repeatables, audit_head FROM mission_control_readonly")
    expected = dict.fromkeys(("migrations", "repeatables", "audit_chain"), "not visible")
    assert statuses(health(database, "readonly"), *SESSIONS) == expected


def test_a_verification_that_the_login_may_not_call_is_not_visible(database):
    function = "verify_audit_chain(bigint, bytea, bigint, bytea)"
    database.session("admin").run(f"REVOKE EXECUTE ON FUNCTION {function} FROM mission_control_monitor")
    assert statuses(health(database, "monitor"), "stale_task_runs", *SESSIONS) == {"audit_chain": "not visible"}


def test_a_table_that_hides_ours_is_noticed(database):
    admin = database.session("admin")
    admin.run("CREATE SCHEMA mine")
    admin.run("CREATE TABLE mine.tool_definitions (id integer)")
    check = objects_of(database, options="-c search_path=mine,public")
    # It has no trigger of ours either.
    assert check.status == "fail"
    assert check.data["misplaced"] == ["mine.tool_definitions"]
    admin.run("CREATE TABLE mine.backup_runs (id integer)")
    admin.run("DROP TABLE mine.tool_definitions")
    check = objects_of(database, options="-c search_path=mine,public")
    assert (check.status, check.data["misplaced"]) == ("warn", ["mine.backup_runs"])
    assert objects_of(database).status == "pass"


def test_a_dropped_table_is_missing_although_another_schema_has_one_of_its_name(database):
    admin = database.session("admin")
    admin.run("CREATE SCHEMA theirs")
    admin.run("CREATE TABLE theirs.policies (id integer)")
    admin.run("DROP TABLE policies")
    check = health(database, "readonly").check("schema_objects")
    assert (check.status, check.data["missing_tables"], check.data["hidden"]) == ("fail", ["policies"], [])


@pytest.mark.parametrize(
    ("name", "table"), [(check.name, table) for check in CHECKS for table in check.reads], ids=lambda text: text
)
def test_a_check_misses_what_the_registry_says_that_it_reads(database, name, table):
    before = health(database, "readonly").check(name)
    database.session("admin").run(f"ALTER TABLE {table} RENAME TO elsewhere")
    after = health(database, "readonly").check(name)
    assert after.status in ("warn", "fail", "not checked")
    assert after.message != before.message
