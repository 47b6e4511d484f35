"""From every state between two migrations to the newest, with rows in every table that there was."""

import os
import subprocess

import mission_control_database as layer
import psycopg2
import psycopg2.extras
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_migrations
from health_lab import PATIENT, health
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
        assert restored.values("SELECT status FROM tool_call_overview") == ["denied"]
        assert restored.value("SELECT total_calls FROM tool_call_success_rate") == 1
        assert restored.value("SELECT effect FROM tool_policy_decision('restart', '{}', 'a')") == "require_approval"
        restored.insert("audit_entries", actor="a", action="b", outcome="success")
        assert restored.value("SELECT valid FROM verify_audit_chain()")
        assert definition(cluster, copy.name) == definition(cluster, database.name)
    finally:
        copy.drop()


# Tools that came under policy, in a database that was filled before ---------------------------------------------------------

BEFORE_TOOLS = 12
CALLS = {
    "pending": {},
    "approved": {"approved_by": "alice", "approved_at": "2026-01-01T00:00:00.000001Z"},
    "denied": {"approved_by": "a policy", "error": "no"},
    "running": {"started_at": "2026-01-01T00:00:00Z"},
    "succeeded": {
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:01.5Z",
        "result": psycopg2.extras.Json(None),
    },
    "failed": {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-02T00:00:00Z", "error": "odd"},
    "timed_out": {"finished_at": "2026-01-02T00:00:00Z", "result": psycopg2.extras.Json([1.50, "ü", None])},
}
BECOMES = {"pending": "expired", "approved": "expired", "running": "unknown"}


@pytest.fixture
def older(empty_database):
    """A database of before with its functions and views, two tools, a call in each state, and policies with any conditions."""
    layer.apply_migrations(empty_database, MIGRATIONS[:BEFORE_TOOLS])
    admin = empty_database.session("admin")
    # As the repeatable files made them then, and stand there when an upgrade begins.
    admin.run("SET ROLE mission_control_owner")
    admin.run(
        "CREATE VIEW active_task_runs AS SELECT r.id FROM task_runs AS r JOIN tool_call_records AS c ON c.task_run_id = r.id"
    )
    admin.run("CREATE VIEW tool_call_success_rate AS SELECT t.id FROM tool_definitions AS t")
    admin.run("RESET ROLE")
    rows = {"tasks": admin.insert("tasks", **sample("tasks", {}))}
    rows["task_runs"] = admin.insert("task_runs", **sample("task_runs", rows))
    tool = admin.insert("tool_definitions", name="an old tool!", risk_level="DESTRUCTIVE", connector="mine")
    admin.insert("tool_definitions", name="never called", risk_level="READ_ONLY", enabled=False)
    for status, more in CALLS.items():
        arguments = psycopg2.extras.Json({"status": status})
        admin.insert(
            "tool_call_records",
            task_run_id=rows["task_runs"]["id"],
            tool_id=tool["id"],
            status=status,
            arguments=arguments,
            **more,
        )
    admin.insert("policies", name="known", tools=["an old tool!"], effect="allow", priority=1)
    admin.insert(
        "policies",
        name="at night",
        tools=["an old tool!"],
        effect="allow",
        conditions=psycopg2.extras.Json({"hours": [1]}),
    )
    return empty_database


def to_now(database):
    layer.apply_migrations(database, MIGRATIONS[BEFORE_TOOLS:])
    layer.apply_repeatables(database)
    layer.apply_privileges(database)


def test_calls_of_before_are_history_and_none_of_them_can_start(cluster, template, older):
    admin = older.session("admin")
    before = {row["arguments"]["status"]: row for row in admin.rows("SELECT * FROM tool_call_records")}
    tools = admin.rows("SELECT * FROM tool_definitions ORDER BY name")
    to_now(older)
    assert definition(cluster, older.name) == definition(cluster, template)
    after = {row["arguments"]["status"]: row for row in admin.rows("SELECT * FROM tool_call_records")}
    for status, row in before.items():
        kept = {**row, "status": BECOMES.get(status, status)}
        assert {name: after[status][name] for name in row} == kept
        assert (after[status]["reason"] is None) == (status not in BECOMES)
    assert admin.value("SELECT count(*) FROM tool_call_records WHERE result = 'null'") == 1
    kept = admin.rows("SELECT * FROM tool_definitions ORDER BY name")
    assert [{name: row[name] for name in old} for old, row in zip(tools, kept)] == tools
    assert {row["origin"] for row in kept} == {"user"}
    assert admin.value("SELECT total_calls FROM tool_call_success_rate WHERE tool_name = 'an old tool!'") == len(CALLS)
    executor = older.session("executor")
    for row in after.values():
        start = "SELECT accepted FROM start_tool_call(%s, gen_random_uuid(), '{}')"
        assert executor.value(start, row["id"]) is False


def test_the_health_check_of_tools_waits_for_the_upgrade_and_then_names_the_policies(older):
    def checked():
        check = health(older, "postgres", thresholds=PATIENT).check("tools")
        return check.status, check.message.partition("; 1 tool call")[0]

    pending = "Tools are not under policy before the pending migrations are applied."
    assert checked() == ("not checked", pending)
    to_now(older)
    assert checked() == (
        "warn",
        "1 policy denies all it covers, since its conditions are not known: at night; "
        "1 policy allows calls without being one of mission_control_schema_policies: known.",
    )


def test_a_policy_of_before_with_unknown_conditions_denies_until_it_is_replaced(older):
    to_now(older)
    application = older.session("application")
    decide = "SELECT effect, reason FROM tool_policy_decision('an old tool!', '{}', 'x')"
    decided = application.row(decide)
    assert decided["effect"] == "deny"
    assert decided["reason"] == (
        "the policy at night denies whatever it covers, since its conditions are not known or not well-formed: hours"
    )
    audit = older.session("audit")
    assert audit.value("""SELECT apply_policies('[{"name": "at night", "tools": ["x"], "effect": "deny"}]')""") == 1
    assert application.row(decide)["effect"] == "allow"


@pytest.mark.parametrize(
    ("statement", "words", "cure"),
    [
        ("CREATE VIEW mine AS SELECT count(*) FROM policies", "view public.mine", "drop it and run again"),
        ("CREATE VIEW mine AS SELECT id FROM active_task_runs", "view public.mine", "drop it and run again"),
        (
            "CREATE TABLE mine (tool_id uuid REFERENCES tool_definitions (id))",
            "constraint mine_tool_id_fkey on table public.mine",
            "drop it and run again",
        ),
        ("ALTER TABLE policies ADD COLUMN room text", "policies.room", "move these to a table of your own"),
    ],
)
def test_what_stands_on_the_old_tables_stops_the_upgrade_with_a_sentence(older, statement, words, cure):
    older.session("owner").run(statement)
    with pytest.raises(AssertionError) as failed:
        to_now(older)
    message = str(failed.value)
    assert message.startswith("014_tools_set_aside.sql: the tables of tools are made anew")
    assert words in message
    assert cure in message
    assert "\n" not in message
    assert older.session("admin").value("SELECT count(*) FROM tool_call_records") == len(CALLS), "rolled back"


def test_nothing_of_the_old_owner_survives_on_the_new_tables(older):
    """A trigger, a rule or a policy for rows would run with the rights of the owner of the audit log."""
    owner = older.session("owner")
    owner.run("CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    owner.run("CREATE TRIGGER mine BEFORE INSERT OR UPDATE ON tool_call_records FOR EACH ROW EXECUTE FUNCTION mine()")
    owner.run("CREATE RULE mine AS ON INSERT TO policies DO ALSO NOTIFY mine")
    owner.run("ALTER TABLE tool_definitions ENABLE ROW LEVEL SECURITY")
    owner.run("GRANT ALL ON policies TO PUBLIC")
    to_now(older)
    admin = older.session("admin")
    ours = "('tool_definitions', 'tool_call_records', 'policies')"
    assert (
        admin.values(f"SELECT relname FROM pg_class WHERE relname IN {ours} AND (relhasrules OR relrowsecurity)") == []
    )
    assert admin.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'mine'") == 0
    for table in ("tool_definitions", "tool_call_records", "policies"):
        for statement in (f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}", f"DROP TABLE {table}"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                owner.run(statement)


@pytest.mark.parametrize("killed", [13, 14], ids=lambda number: f"after {number:03d}")
def test_an_upgrade_that_was_killed_between_two_steps_goes_on(older, killed):
    layer.apply_migrations(older, MIGRATIONS[BEFORE_TOOLS:killed])
    # The next run brings the privileges to what is declared before it goes on.
    layer.apply_privileges(older)
    layer.apply_migrations(older, MIGRATIONS[killed:])
    layer.apply_repeatables(older)
    layer.apply_privileges(older)
    assert older.session("admin").value("SELECT count(*) FROM tool_call_records") == len(CALLS)
