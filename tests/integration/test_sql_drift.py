"""What somebody has changed of our functions, views and triggers is seen, put back by the next run, and everything else left alone."""

from __future__ import annotations

import contextlib

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.definitions import DEFINITIONS
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_migrations
from migration_run import MigrationRun

BUNDLE = read_migrations(str(layer.SQL / "migrations"))
OTHER_BODY = "CREATE OR REPLACE FUNCTION prune_llm_bodies(p_before timestamptz) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 0::bigint'"
# What somebody did, and how the plan names it.
CHANGES = {
    "function prune_llm_bodies(timestamp with time zone) was changed": [
        OTHER_BODY,
        "ALTER FUNCTION prune_llm_bodies(timestamptz) SECURITY INVOKER",
        "ALTER FUNCTION prune_llm_bodies(timestamptz) RESET ALL",
        "DROP FUNCTION prune_llm_bodies(timestamptz);"
        "CREATE FUNCTION prune_llm_bodies(p_other timestamptz) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
    ],
    "function prune_llm_bodies(timestamp with time zone) is gone": [
        "DROP FUNCTION prune_llm_bodies(timestamptz)",
        "ALTER FUNCTION prune_llm_bodies(timestamptz) RENAME TO prune_others",
    ],
    # Of a migration, and of the other owner.
    "function guard_audit_chain() was changed": [
        "CREATE OR REPLACE FUNCTION guard_audit_chain() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    ],
    "function set_updated_at() was changed": [
        "CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    ],
    "view active_task_runs is gone": ["DROP VIEW active_task_runs"],
    "view active_task_runs was changed": [
        "DROP VIEW active_task_runs; CREATE VIEW active_task_runs AS SELECT 1 AS id, now() AS created_at",
        "ALTER VIEW active_task_runs SET (security_barrier = true)",
        "ALTER VIEW active_task_runs OWNER TO mission_control",
    ],
    "trigger tr_hosts_updated_at on hosts is gone": ["DROP TRIGGER tr_hosts_updated_at ON hosts"],
    "trigger tr_hosts_updated_at on hosts was changed": [
        "ALTER TABLE hosts DISABLE TRIGGER tr_hosts_updated_at",
        "CREATE OR REPLACE TRIGGER tr_hosts_updated_at BEFORE INSERT ON hosts FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
    ],
    "trigger tr_audit_links_guard on audit_links was changed": [
        "ALTER TABLE audit_links ENABLE TRIGGER tr_audit_links_guard"
    ],
}
CASES = [(words, change) for words, changes in CHANGES.items() for change in changes]


@pytest.fixture(scope="module")
def migrated(cluster, template):
    """Name of a database after a run, and after one that found nothing to do, to be copied."""
    database = layer.create_database(cluster, "migrated", template)
    run = MigrationRun(cluster, database.name, BUNDLE)
    run.run()
    assert run.run() == []
    yield database.name
    database.drop()


@pytest.fixture
def run(cluster, migrated):
    database = layer.create_database(cluster, "drifted", migrated)
    run = MigrationRun(cluster, database.name, BUNDLE)
    run.admin = database.session("admin")
    yield run
    database.drop()


def definitions(session):
    """Everything that is compared, without the numbers of rows."""
    session.run("SET search_path = pg_catalog; SET mission_control.schema = 'public'")
    try:
        rows = session.rows(DEFINITIONS)
    finally:
        session.run("RESET search_path")
    return sorted((row["kind"], row["name"], row["table_name"] or "", row["checksum"]) for row in rows)


@pytest.mark.parametrize(("words", "change"), CASES)
def test_a_change_is_named_and_put_back(run, words, change):
    before = definitions(run.admin)
    run.admin.run(change)
    done = run.run()
    assert words in done
    assert [line for line in done if " was changed" in line or " is gone" in line] == [words]
    after = definitions(run.admin)
    # What was renamed is somebody's own now.
    assert [row for row in after if row[1] != "prune_others(timestamp with time zone)"] == before
    assert run.run() == []


def test_privileges_come_back_with_what_was_dropped(run):
    run.admin.run("DROP VIEW active_task_runs; DROP FUNCTION prune_llm_bodies(timestamptz)")
    run.run()
    assert run.admin.value("SELECT has_table_privilege('mission_control_monitor', 'active_task_runs', 'SELECT')")
    assert run.admin.value(
        "SELECT has_function_privilege('mission_control', 'prune_llm_bodies(timestamptz)', 'EXECUTE')"
    )
    assert not run.admin.value(
        "SELECT has_function_privilege('mission_control_monitor', 'prune_llm_bodies(timestamptz)', 'EXECUTE')"
    )


def test_what_a_homelab_has_made_is_left_alone(run):
    own = (
        "CREATE VIEW own_view AS SELECT id FROM active_task_runs; CREATE FUNCTION own_function() RETURNS integer LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION prune_llm_bodies(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';"
        "CREATE TRIGGER own_trigger BEFORE INSERT ON hosts FOR EACH ROW EXECUTE FUNCTION set_updated_at();"
    )
    run.admin.run("SET ROLE mission_control_owner")
    run.admin.run(own)
    run.admin.run("RESET ROLE")
    assert run.run() == []
    before = definitions(run.admin)
    # Something stands on it, so it can only be replaced, as it could always.
    run.admin.run("ALTER VIEW active_task_runs SET (security_barrier = true)")
    run.admin.run(OTHER_BODY)
    done = run.run()
    assert "view active_task_runs was changed" in done
    assert [row for row in definitions(run.admin) if row[1] != "active_task_runs"] == [
        row for row in before if row[1] != "active_task_runs"
    ]


def test_a_view_that_cannot_be_put_back_is_named_and_nothing_is_dropped(run):
    run.admin.run("DROP VIEW active_task_runs")
    run.admin.run(
        "CREATE VIEW active_task_runs AS SELECT 1 AS id; CREATE VIEW own_view AS SELECT id FROM active_task_runs"
    )
    before = definitions(run.admin)
    with pytest.raises(psycopg2.Error, match=r"005_views.sql failed: "):
        run.run()
    assert definitions(run.admin) == before


def test_a_function_that_was_given_away_is_named(run):
    """Whoever has it could change it any time, so the files are not run beside it."""
    run.admin.run("ALTER FUNCTION prune_llm_bodies(timestamptz) OWNER TO mission_control")
    with pytest.raises(
        AssertionError, match=r"public.prune_llm_bodies\(timestamp with time zone\) of mission_control, .*drop it"
    ):
        run.run()
    run.admin.run("DROP FUNCTION prune_llm_bodies(timestamptz)")
    assert "function prune_llm_bodies(timestamp with time zone) is gone" in run.run()


ODD_SETTINGS = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "search_path": "pg_temp",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "timezone": "Pacific/Chatham",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "row_security": "off",
    "check_function_bodies": "off",
    "plan_cache_mode": "force_generic_plan",
    "array_nulls": "off",
    "xmloption": "document",
    "client_min_messages": "error",
    "lc_messages": "C",
}


def test_the_defaults_of_a_database_change_nothing(run):
    """Everything is applied again under them, and then nothing is to be done in either way."""
    for name, value in ODD_SETTINGS.items():
        run.admin.run(f"ALTER DATABASE {run.database} SET {name} = '{value}'")
    before = definitions(run.admin)
    assert run.run() == []
    run.admin.run("UPDATE schema_repeatables SET checksum = 'old'")
    assert "005_views.sql" in run.run()
    assert run.run() == []
    for name in ODD_SETTINGS:
        run.admin.run(f"ALTER DATABASE {run.database} RESET {name}")
    assert run.run() == []
    assert definitions(run.admin) == before


def test_another_major_version_describes_them_anew(run):
    run.admin.run("UPDATE schema_objects SET server_major = 13, checksum = 'as another server words it'")
    before = definitions(run.admin)
    assert "definitions of functions, views and triggers" in run.run()
    assert definitions(run.admin) == before
    assert run.run() == []


def test_a_database_of_an_earlier_version_is_recorded_by_the_next_run(run):
    """Whatever somebody changed before that is put back, too: what is recorded is what the files have made."""
    run.admin.run("DROP TABLE schema_objects")
    run.admin.run(OTHER_BODY)
    run.admin.run("ALTER TABLE hosts DISABLE TRIGGER tr_hosts_updated_at")
    run.run()
    assert run.admin.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tr_hosts_updated_at'") == "O"
    assert "llm_requests" in run.admin.value("SELECT prosrc FROM pg_proc WHERE proname = 'prune_llm_bodies'")
    assert run.run() == []


def test_members_of_the_owner_cannot_forge_what_is_recorded(run):
    with contextlib.closing(layer.Session(run.cluster.connect(run.database))) as session:
        session.run("SET ROLE mission_control_owner")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            session.run("UPDATE schema_objects SET checksum = ''")
