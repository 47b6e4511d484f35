"""What the application, a reader and a stranger can do, over TCP with their passwords."""

from __future__ import annotations

import pytest
from sql_on_host import Login, RefusedError, as_administrator

TABLES = {
    *("hosts", "workloads", "services", "inventory_sources"),
    *("tasks", "task_runs", "task_events", "artifacts", "playbook_runs", "playbook_run_hosts"),
    *(
        "llm_requests",
        "llm_responses",
        "token_usage",
        "token_usage_days",
        "provider_pricing",
        "price_lists",
        "llm_budgets",
    ),
    *("tool_definitions", "tool_call_records", "tool_call_days", "policies", "audit_entries"),
}
BOOKKEEPING = {"schema_migrations", "schema_repeatables", "backup_runs"}
VIEWS = {
    *("active_task_runs", "recent_token_usage_summary", "inventory_source_status"),
    *("tool_call_success_rate", "tool_call_overview"),
    *("playbook_run_steps", "playbook_run_overview", "playbook_status"),
    *("daily_token_usage", "llm_budget_status", "task_run_costs"),
}
RELATIONS = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = %s"
PERMISSION_DENIED = "42501"
READ_ONLY = "25006"

FORBIDDEN = [
    "CREATE TABLE mine (id integer)",
    "CREATE TEMPORARY TABLE mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER TABLE hosts ADD COLUMN mine text",
    "DROP TABLE hosts",
    "TRUNCATE hosts",
    "UPDATE audit_entries SET action = 'nothing'",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
    "UPDATE task_events SET payload = '{}'",
    "DELETE FROM task_events",
    "UPDATE schema_migrations SET name = 'mine'",
    "INSERT INTO tool_definitions (name, risk_level) VALUES ('mine', 'READ_ONLY')",
    "UPDATE tool_call_records SET status = 'approved'",
    "DELETE FROM policies",
    "SELECT * FROM tool_tokens",
    "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
]


def test_application_sees_the_tables(application):
    tables = {name for [name] in application.rows(RELATIONS, "BASE TABLE")}
    assert tables >= TABLES
    assert tables & BOOKKEEPING == BOOKKEEPING


def test_application_reads_the_views(application):
    assert {name for [name] in application.rows(RELATIONS, "VIEW")} == VIEWS
    for view in VIEWS:
        application.rows(f"SELECT * FROM {view}")


def test_tools_are_seeded_and_decided_about(application):
    effects = dict(
        application.rows(
            "SELECT t.name, (tool_policy_decision(t.name, '{}', 'somebody')).effect FROM tool_definitions AS t WHERE t.name LIKE '%_k8s_%'"
        )
    )
    assert effects == {
        "list_k8s_deployments": "allow",
        "get_k8s_pod_logs": "allow",
        "restart_k8s_deployment": "require_approval",
    }


def test_prices_are_seeded(application):
    count, providers = application.rows("SELECT count(*), count(DISTINCT provider) FROM provider_pricing")[0]
    assert count >= 10
    assert providers >= 5


def test_application_is_no_administrator(application):
    [attributes] = application.rows(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    assert not any(attributes)
    owned = application.value("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user")
    assert owned == 0
    assert application.value(
        "SELECT pg_get_userbyid(datdba) <> current_user FROM pg_database WHERE datname = current_database()"
    )


def test_application_is_refused(application):
    answers = application.sqlstates(FORBIDDEN)
    assert answers == dict.fromkeys(FORBIDDEN, PERMISSION_DENIED)


def test_application_writes_what_it_needs(application):
    task = application.value(
        "INSERT INTO tasks (title, created_by, is_template) VALUES (%s, %s, %s) RETURNING id",
        *("Restart Plex", "system", False),
        commit=True,
    )
    run = application.value(
        "INSERT INTO task_runs (task_id, user_prompt, status) VALUES (%s, %s, %s) RETURNING id",
        *(task, "Restart Plex now", "queued"),
        commit=True,
    )
    active = application.rows("SELECT * FROM active_task_runs ORDER BY created_at DESC LIMIT 10")
    assert any(run in row for row in active)


def test_audit_entry_is_taken_and_stays(application):
    action = "molecule.verify"
    before = application.value("SELECT count(*) FROM audit_entries")
    application.rows(
        "INSERT INTO audit_entries (actor, action, outcome) VALUES (%s, %s, %s)",
        *("operator", action, "success"),
        commit=True,
    )
    assert application.value("SELECT count(*) FROM audit_entries WHERE action = %s", action) >= 1
    assert application.value("SELECT count(*) FROM audit_entries") == before + 1


def test_reader_reads_and_cannot_write(reader):
    assert reader.value("SELECT count(*) FROM provider_pricing") >= 10
    insert = "INSERT INTO tasks (title, created_by) VALUES ('mine', 'reader')"
    for statement, sqlstate in ((insert, READ_ONLY), (f"SET TRANSACTION READ WRITE; {insert}", PERMISSION_DENIED)):
        with pytest.raises(RefusedError) as refused:
            reader.rows(statement)
        assert refused.value.sqlstate == sqlstate


def test_wrong_password_is_refused(application):
    with pytest.raises(RefusedError, match="password authentication failed"):
        application.but(password="not the password").rows("SELECT 1")


def test_other_databases_are_refused(application):
    for database in ("postgres", "template1"):
        with pytest.raises(RefusedError, match=r"pg_hba\.conf rejects connection for host"):
            application.but(dbname=database).rows("SELECT 1")


def test_administrator_does_not_log_in_over_tcp(application: Login):
    with pytest.raises(RefusedError, match=r"no pg_hba.conf entry|password authentication failed"):
        application.but(user="postgres", password="postgres", dbname="postgres").rows("SELECT 1")


def test_passwords_are_stored_as_scram(host, application, reader):
    hashes = as_administrator(
        host, "SELECT DISTINCT left(rolpassword, 13) FROM pg_authid WHERE rolpassword IS NOT NULL"
    )
    assert hashes == "SCRAM-SHA-256"


def test_timeouts_of_the_application_are_in_force(application):
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        assert application.value("SELECT setting::bigint FROM pg_settings WHERE name = %s", setting) > 0
    assert application.value("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user") > 0
