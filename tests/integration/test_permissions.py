"""Who may do what, compared with permissions.yml; what later objects get; and that no function runs with more rights than it needs."""

import hashlib

import mission_control_database as layer
import permissions
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    BUNDLE,
    SITE,
    MigrationFile,
    read_migrations,
)
from sample_rows import insert_as_superuser

ENTRY = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'b', 'success')"
# The only thing that PUBLIC may do: PostgreSQL makes these for a range type, in the name of its first superuser.
CONSTRUCTORS = {
    "text_range(text, text)",
    "text_range(text, text, text)",
    "text_multirange()",
    "text_multirange(text_range)",
    "text_multirange(text_range[])",
}
SITE_FILE = """
CREATE TABLE rooms (id bigint GENERATED ALWAYS AS IDENTITY, name text);
CREATE SEQUENCE room_numbers;
CREATE VIEW room_names AS SELECT name FROM rooms;
CREATE DOMAIN room_name AS text;
CREATE FUNCTION room_count() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM rooms);
"""
SECTIONS = ("database", "schemas", "tables", "views", "sequences", "functions", "types", "large objects")
# Only the collection's own files may be executed by the owner of the audit log.
AUDIT_FILE = """
CREATE TABLE locks (id bigint GENERATED ALWAYS AS IDENTITY, name text);
CREATE FUNCTION lock_count() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM locks);
"""


@pytest.fixture(scope="module")
def live(shared_database):
    # A copy of a database does not take the privileges on the database itself along.
    layer.apply_privileges(shared_database)
    return permissions.matrix(shared_database.session("admin"))


@pytest.fixture
def server(shared_database):
    """The version of the server, such as 150004."""
    return shared_database.session("admin").connection.server_version


@pytest.mark.parametrize(
    "section",
    ["roles", *SECTIONS, "what later objects get"],
)
def test_the_matrix_is_the_committed_one(live, section, server):
    """After a wanted change: `make docs`, and look at the difference."""
    assert live[section] == permissions.expected(server)[section]
    assert live[section]


def test_the_file_is_written_by_the_command(live, server):
    assert permissions.expected_text(server) == permissions.text(live)


def test_nothing_is_granted_to_public(live):
    for section in SECTIONS:
        open_to_all = {name for name, entry in live[section].items() if "PUBLIC" in entry}
        assert open_to_all == (CONSTRUCTORS if section == "functions" else set()), section
    for kinds in live["what later objects get"].values():
        assert all("PUBLIC" not in grantees for grantees in kinds.values())


def test_nobody_may_pass_a_privilege_on(live):
    assert "*" not in permissions.text(live).replace(permissions.HEAD, "")


def test_no_function_takes_the_callers_search_path(live):
    assert [name for name, entry in live["functions"].items() if "any search_path" in entry["runs"]] == []


@pytest.mark.parametrize(
    ("statement", "place", "entry"),
    [
        ("GRANT SELECT (actor) ON audit_entries TO PUBLIC", ("tables", "audit_entries", "PUBLIC"), "SELECT (actor)"),
        (
            "GRANT UPDATE ON hosts TO mission_control_readonly WITH GRANT OPTION",
            ("tables", "hosts", "mission_control_readonly"),
            "SELECT, UPDATE*",
        ),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", ("schemas", "public", "PUBLIC"), "CREATE"),
        (
            "GRANT USAGE ON SEQUENCE audit_entries_id_seq TO mission_control",
            ("sequences", "audit_entries_id_seq", "mission_control"),
            "USAGE",
        ),
        (
            "GRANT EXECUTE ON FUNCTION shorten_task_events TO mission_control",
            ("functions", "shorten_task_events(text, timestamp with time zone, bigint)", "mission_control"),
            "EXECUTE",
        ),
        ("GRANT USAGE ON TYPE text_range TO PUBLIC", ("types", "text_range", "PUBLIC"), "USAGE"),
        (
            "GRANT mission_control_owner TO mission_control",
            ("roles", "mission_control", "member_of"),
            ["mission_control_owner"],
        ),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE mission_control_audit GRANT SELECT ON TABLES TO PUBLIC",
            ("what later objects get", "mission_control_audit", "tables"),
            {
                "PUBLIC": "SELECT",
                "mission_control_audit": "DELETE, INSERT, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE",
            },
        ),
    ],
)
def test_the_matrix_sees_what_is_granted_beside_it(shared_database, statement, place, entry):
    """Else the comparison could not fail."""
    session = shared_database.session("admin")
    session.run("BEGIN")
    session.run(statement)
    found = permissions.matrix(session)
    session.run("ROLLBACK")
    section, name, key = place
    found_entry = found[section][name][key]
    if isinstance(found_entry, dict):
        found_entry = {role: may.replace("MAINTAIN, ", "") for role, may in found_entry.items()}
    assert found_entry == entry


@pytest.fixture
def with_site(database, tmp_path):
    (tmp_path / "001_rooms.sql").write_text(SITE_FILE, encoding="utf-8")
    later = MigrationFile("900_locks.sql", "00", AUDIT_FILE, "audit", BUNDLE, 900, True)
    layer.apply_migrations(database, [*read_migrations(str(tmp_path), SITE), later])
    return database


@pytest.mark.parametrize("granted", ["at once", "after the privileges were carried out"])
def test_what_a_later_migration_adds_gets_the_default(with_site, granted, server):
    if granted != "at once":
        layer.apply_privileges(with_site)
    found = permissions.matrix(with_site.session("admin"))
    application = "SELECT, INSERT, UPDATE, DELETE"
    rooms = {"owner": layer.ROLES["owner"], "mission_control": application, "mission_control_readonly": "SELECT"}
    assert found["tables"]["rooms"] == rooms
    assert found["views"]["room_names"] == rooms
    assert found["sequences"]["room_numbers"] == {"owner": layer.ROLES["owner"], "mission_control": "USAGE"}
    assert found["types"]["room_name"] == {"owner": layer.ROLES["owner"]}
    assert set(found["functions"]["room_count()"]) == {"owner", "runs"}
    assert found["tables"]["locks"] == {"owner": layer.ROLES["audit"]}
    assert set(found["functions"]["lock_count()"]) == {"owner", "runs"}
    before = permissions.expected(server)
    for section in ("schemas", "what later objects get"):
        assert found[section] == before[section]
    for name, entry in before["tables"].items():
        assert found["tables"][name] == entry


def test_the_application_works_with_a_later_table(with_site):
    application = with_site.session("application")
    assert application.insert("rooms", name="attic")["id"] == 1
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.value("SELECT room_count()")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.run("TRUNCATE rooms")


# What each function that runs as its owner is needed for: who calls it, and how.
TOKEN = "t" * 40
NEEDS = {
    "fill_unpriced_token_usage()": ("application", "SELECT fill_unpriced_token_usage()"),
    "link_audit_entries()": ("application", ENTRY),
    "queue_token_usage_changes()": ("application", "INSERT INTO token_usage (provider, model) VALUES ('openai', 'x')"),
    "roll_up_token_usage()": ("application", "SELECT roll_up_token_usage()"),
    # The monitor and the service may not read the rows.
    "token_usage_of_day(date)": ("monitor", "SELECT * FROM token_usage_of_day('2026-01-01')"),
    "prune_llm_bodies(timestamp with time zone)": ("application", "SELECT prune_llm_bodies(now())"),
    "remove_old_task_events(interval)": ("maintenance", "SELECT remove_old_task_events('1 day')"),
    "forget_gone_inventory(interval)": ("maintenance", "SELECT forget_gone_inventory('1 day')"),
    "shorten_task_events(text, timestamp with time zone, bigint)": (
        "admin",
        "SELECT shorten_task_events('a reason', p_before => now())",
    ),
    # Whoever may do nothing but read asks for a sync.
    "request_inventory_refresh(text[], text)": ("service", "SELECT * FROM request_inventory_refresh()"),
    "request_tool_call(uuid, text, jsonb, text, text)": ("application", "SELECT request_tool_call(NULL, 'x')"),
    "cancel_tool_call(uuid, text)": ("application", "SELECT cancel_tool_call(NULL)"),
    "decide_tool_call(uuid, text, text)": ("approver", "SELECT decide_tool_call(NULL, 'deny', 'x')"),
    "decide_tool_call(uuid, text, text, text)": ("service", "SELECT decide_tool_call(NULL, 'deny', 'x', 'y')"),
    "tool_token_name(text, text)": ("service", "SELECT tool_token_name('x')"),
    "waiting_tool_calls(text)": ("service", f"SELECT waiting_tool_calls('{TOKEN}')"),
    "check_tool_call(uuid, text)": ("executor", "SELECT check_tool_call(NULL, NULL)"),
    "start_tool_call(uuid, uuid, jsonb)": ("executor", "SELECT start_tool_call(NULL, gen_random_uuid(), '{}')"),
    "finish_tool_call(uuid, uuid, text, jsonb, text)": (
        "executor",
        "SELECT finish_tool_call(NULL, NULL, 'failed', NULL, NULL)",
    ),
    "expire_tool_calls()": ("maintenance", "SELECT expire_tool_calls()"),
    "roll_up_tool_calls()": ("application", "SELECT roll_up_tool_calls()"),
    "prune_tool_call_results(timestamp with time zone)": (
        "maintenance",
        "SELECT prune_tool_call_results('2026-01-01')",
    ),
    "refuse_oversized_row()": (
        "application",
        "INSERT INTO tasks (title, created_by, parameters) SELECT 'a', 'b', jsonb_build_object('text', repeat('x', 40000))",
    ),
    "stamp_audit_entry()": ("application", ENTRY),
    # The monitor may read the head and nothing else of the log.
    "verify_audit_chain(bigint, bytea, bigint, bytea)": ("monitor", "SELECT verify_audit_chain(1, sha256(''))"),
    "verify_audit_links(bigint, bytea, bigint)": ("monitor", "SELECT verify_audit_links(0, sha256(''))"),
}


def test_every_function_that_runs_as_its_owner_is_listed(live):
    as_owner = {name for name, entry in live["functions"].items() if entry["runs"].startswith("as its owner")}
    # The last one asks for no right: up to PostgreSQL 17 a deferred trigger would run in the name of whoever commits.
    assert as_owner == {*NEEDS, "refuse_early_audit_link()"}


@pytest.mark.parametrize("function", NEEDS)
def test_it_needs_to(database, function):
    role, call = NEEDS[function]
    database.session("application").run(ENTRY)
    insert_as_superuser(
        database.session("admin"),
        "tool_tokens",
        name="alice",
        kind="approver",
        token_sha256=hashlib.sha256(TOKEN.encode()).digest(),
    )
    database.session(role).run(call)
    database.session("admin").run(f"ALTER FUNCTION {function} SECURITY INVOKER")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.session(role).run(call)
