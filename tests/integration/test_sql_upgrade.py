"""From every state between two migrations to the newest, with rows in every table that there was."""

import os
import subprocess

import mission_control_database as layer
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_migrations
from sample_rows import TABLES, WRITTEN_BY_FUNCTIONS, insert_as_superuser, sample
from throwaway_cluster import server_bindir

MIGRATIONS = read_migrations(str(layer.SQL / "migrations"))


@pytest.fixture
def empty_database(cluster, template):
    """A database before the first migration; the roles are there since the template was made."""
    database = layer.create_database(cluster, "mission_control_upgrade")
    layer.apply_privileges(database)
    yield database
    database.drop()


def fill(session):
    """One row in each table that exists; returns the rows as they were stored."""
    existing = set(session.values("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    inserted = {}
    for table in TABLES:
        if table in existing:
            insert = insert_as_superuser if table in WRITTEN_BY_FUNCTIONS else type(session).insert
            inserted[table] = insert(session, table, **sample(table, inserted))
    return inserted


def stored(session, table, row):
    key = next(name for name in ("id", "name", "task_run_id", "path") if name in row)
    return session.row(f"SELECT * FROM {table} WHERE {key} = %s", row[key])


def definition(cluster, name):
    """Everything that the schema of a database consists of, as pg_dump writes it."""
    dump = subprocess.run(
        [
            os.path.join(server_bindir(), "pg_dump"),
            "--schema-only",
            f"--host={cluster.socket_directory}",
            f"--port={cluster.port}",
            "--username=postgres",
            name,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    # Newer pg_dump programs bracket their output with a random key.
    return [line for line in dump.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.mark.parametrize("before", range(1, len(MIGRATIONS)), ids=lambda number: f"from {number:03d}")
def test_an_upgrade_keeps_the_rows_and_ends_at_the_same_schema(cluster, template, empty_database, before):
    database = empty_database
    layer.apply_migrations(database, MIGRATIONS[:before])
    session = database.session("admin")
    rows = fill(session)
    assert rows

    layer.apply_migrations(database, MIGRATIONS[before:])
    layer.apply_repeatables(database)
    layer.apply_privileges(database)

    for table, row in rows.items():
        kept = stored(session, table, row)
        assert {name: kept[name] for name in row} == row
    assert definition(cluster, database.name) == definition(cluster, template)
    make_way(session)
    assert set(fill(session)) == set(TABLES)


def make_way(session):
    """Rename the rows of before, so that the same rows can be inserted once more."""
    session.run("SET session_replication_role = replica")
    for table in ("services", "hosts", "workloads", "tool_definitions", "policies"):
        session.run(f"UPDATE {table} SET name = name || ' before'")
    for table in ("hosts", "workloads", "llm_requests", "token_usage"):
        session.run(f"UPDATE {table} SET external_id = external_id || ' before'")
    session.run("UPDATE inventory_sources SET name = name || '-before'")
    session.run("UPDATE llm_budgets SET name = name || ' before'")
    session.run("UPDATE tool_tokens SET name = name || ' before', token_sha256 = sha256(token_sha256)")
    session.run("UPDATE usage_import_files SET path = path || ' before'")
    session.run("UPDATE provider_pricing SET model = model || ' before' WHERE model = 'sample'")
    session.run("RESET session_replication_role")


def test_applying_everything_again_changes_nothing(cluster, database):
    admin = database.session("admin")
    rows = fill(admin)
    before = definition(cluster, database.name)
    layer.apply_migrations(database, MIGRATIONS)
    layer.apply_repeatables(database)
    layer.apply_privileges(database)
    assert definition(cluster, database.name) == before
    for table, row in rows.items():
        assert stored(admin, table, row) == row


def test_a_dump_restores_with_its_audit_chain_and_its_guards(cluster, database):
    """pg_dump writes tables before triggers, so that a restore meets no guard; afterwards all of them stand again."""
    application = database.session("application")
    fill(application)
    head = application.row("SELECT sequence, digest FROM audit_head")
    copy = layer.create_database(cluster, f"{database.name}_restored")
    try:
        parameters = [f"--host={cluster.socket_directory}", f"--port={cluster.port}", "--username=postgres"]
        dump = subprocess.run(
            [os.path.join(server_bindir(), "pg_dump"), *parameters, database.name],
            check=True,
            capture_output=True,
        )
        subprocess.run(
            [os.path.join(server_bindir(), "psql"), *parameters, "--quiet", "--set=ON_ERROR_STOP=1", copy.name],
            check=True,
            input=dump.stdout,
            stdout=subprocess.DEVNULL,
        )
        restored = copy.session("application")
        result = restored.row("SELECT * FROM verify_audit_chain(%s, %s)", head["sequence"], head["digest"])
        assert (result["valid"], result["problem"]) == (True, None)
        restored.insert("audit_entries", actor="a", action="b", outcome="success")
        assert restored.value("SELECT valid FROM verify_audit_chain()")
        assert definition(cluster, copy.name) == definition(cluster, database.name)
    finally:
        copy.drop()
