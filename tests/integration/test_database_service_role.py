"""The login of the HTTP service: it reads what is listed here and nothing else, whatever the schema gains."""

from __future__ import annotations

import re

import mission_control_database as layer
import psycopg2
import pytest
from database_lab import DatabaseLab, prepare_cluster
from host_plays import run_on_hosts
from playbook import ROOT
from throwaway_cluster import ThrowawayCluster

ALL = None
# What the service shows. A table that is not listed is not read at all; ALL also means columns that are added later.
SHOWN = {
    "services": ALL,
    "hosts": ALL,
    "workloads": ALL,
    "inventory_sources": {"name", "enabled", "interval_seconds", "last_complete_at", "last_run_id", "created_at"},
    "tasks": {
        "id",
        "title",
        "description",
        "created_by",
        "is_template",
        "template_id",
        "created_at",
        "updated_at",
        "playbook",
    },
    "task_runs": ALL,
    "playbook_runs": ALL,
    "playbook_run_hosts": ALL,
    "task_events": {
        *("id", "task_run_id", "sequence", "type"),
        *("payload_blanked_at", "occurred_at", "recorded_at"),
    },
    "tool_definitions": {
        *("id", "name", "description", "arguments_schema", "risk_level", "connector", "version", "enabled"),
        *(
            "created_at",
            "updated_at",
            "operation",
            "timeout_seconds",
            "output_limit_bytes",
            "approval_seconds",
            "origin",
        ),
    },
    "tool_call_records": {
        *(
            "id",
            "task_run_id",
            "tool_id",
            "status",
            "approved_by",
            "approved_at",
            "created_at",
            "started_at",
            "finished_at",
        ),
        *(
            "duration_ms",
            "requested_by",
            "requested_login",
            "policy",
            "checked_at",
            "approval_expires_at",
            "execution_id",
        ),
        "deadline_at",
    },
    "policies": {
        *(
            "id",
            "name",
            "description",
            "tools",
            "risk_levels",
            "effect",
            "priority",
            "enabled",
            "created_at",
            "updated_at",
        ),
        *("origin", "conditions_known"),
    },
    "token_usage": {"provider", "model", "billing_mode", "cost_source", "occurred_at"},
    "token_usage_days": ALL,
    "token_usage_changes": ALL,
    "price_lists": ALL,
    "token_usage_rollup": ALL,
    "llm_budgets": ALL,
    "daily_token_usage": ALL,
    "llm_budget_status": ALL,
    "task_run_costs": ALL,
    "schema_migrations": ALL,
    "schema_repeatables": ALL,
    "schema_objects": ALL,
    "backup_runs": {"id", "method", "type", "started_at", "finished_at", "outcome"},
    "audit_head": ALL,
    "active_task_runs": ALL,
    "recent_token_usage_summary": ALL,
    "tool_call_success_rate": ALL,
    "inventory_source_status": ALL,
    "playbook_run_steps": ALL,
    "playbook_run_overview": ALL,
    "playbook_status": ALL,
}
VIEWS = {
    *("active_task_runs", "recent_token_usage_summary", "tool_call_success_rate", "inventory_source_status"),
    *("playbook_run_steps", "playbook_run_overview", "playbook_status"),
    *("daily_token_usage", "llm_budget_status", "task_run_costs", "tool_call_overview"),
}
# Two of them write: request_inventory_refresh() queues a sync, and decide_tool_call() does nothing without an approver's token.
CALLED = {"reporting_time_zone", "request_inventory_refresh", "reporting_day_start", "verify_audit_chain"}
CALLED |= {"token_usage_of_day", "decide_tool_call", "tool_token_name", "waiting_tool_calls"}
COLUMNS = """
    SELECT c.relname::text AS relation, a.attname::text AS name
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
WRITES = (
    "INSERT INTO {relation} DEFAULT VALUES",
    "UPDATE {relation} SET {column} = DEFAULT",
    "DELETE FROM {relation}",
    "TRUNCATE {relation}",
    "LOCK TABLE {relation} IN ROW EXCLUSIVE MODE",
    "CREATE TRIGGER mine BEFORE INSERT ON {relation} EXECUTE FUNCTION set_updated_at()",
)


@pytest.fixture
def service(shared_database):
    return shared_database.session("service")


@pytest.fixture(scope="module")
def columns(shared_database):
    """Every column of the schema by its relation, from the live catalogue."""
    found = {}
    for row in shared_database.session("admin").rows(COLUMNS):
        found.setdefault(row["relation"], set()).add(row["name"])
    return found


def refusal(session, statement):
    """SQLSTATE that a statement is refused with; empty where it is not."""
    try:
        session.run(statement)
    except psycopg2.Error as error:
        return error.pgcode
    return ""


def test_it_reads_exactly_the_columns_that_are_shown(service, columns):
    assert set(SHOWN) <= set(columns)
    readable = {
        relation: {name for name in names if not refusal(service, f"SELECT {name} FROM {relation}")}
        for relation, names in columns.items()
    }
    expected = {relation: SHOWN.get(relation, set()) for relation in columns}
    assert readable == {relation: columns[relation] if names is ALL else names for relation, names in expected.items()}


def test_every_other_column_is_refused_for_want_of_the_privilege(service, columns):
    hidden = [
        (relation, name)
        for relation, names in columns.items()
        for name in names - (names if SHOWN.get(relation, set()) is ALL else SHOWN.get(relation, set()))
    ]
    for secret in (
        ("llm_requests", "messages"),
        ("llm_responses", "content"),
        ("task_events", "payload"),
        ("tool_call_records", "arguments"),
        ("tool_call_records", "result"),
        ("tool_definitions", "preset"),
        ("tool_tokens", "token_sha256"),
        ("audit_entries", "details"),
        ("policies", "conditions"),
        ("provider_pricing", "input_usd_per_mtok"),
    ):
        assert secret in hidden
    assert {refusal(service, f"SELECT {name} FROM {relation}") for relation, name in hidden} == {"42501"}


@pytest.mark.parametrize("statement", WRITES)
def test_it_writes_nothing(service, columns, statement):
    service.run("SET default_transaction_read_only = off")
    tables = set(columns) - VIEWS
    assert len(tables) >= 15
    for relation in tables:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), service.transaction():
            service.run(statement.format(relation=relation, column=min(columns[relation])))


def test_it_has_no_privilege_but_to_read(service):
    more = service.values(
        """
        SELECT c.relname || ': ' || p.privilege FROM pg_class c
        CROSS JOIN unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p (privilege)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND CASE WHEN p.privilege IN ('INSERT', 'UPDATE', 'REFERENCES') THEN has_any_column_privilege(c.oid, p.privilege)
                     ELSE has_table_privilege(c.oid, p.privilege) END
        UNION ALL
        SELECT s.relname::text FROM (SELECT * FROM pg_class WHERE relkind = 'S' OFFSET 0) AS s
        WHERE s.relnamespace = 'public'::regnamespace AND has_sequence_privilege(s.oid, 'USAGE, SELECT, UPDATE')
        """
    )
    assert more == []


def test_it_locks_no_row(service):
    service.run("SET default_transaction_read_only = off")
    for relation in set(SHOWN) - VIEWS:
        assert refusal(service, f"SELECT 1 FROM {relation} FOR KEY SHARE") == "42501", relation


def test_it_calls_what_the_views_and_the_health_checks_need(service):
    may_call = service.values(
        """
        SELECT proname::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal')
            AND has_function_privilege(oid, 'EXECUTE')
        """
    )
    assert sorted(may_call) == sorted(CALLED)


def test_it_makes_nothing(service):
    service.run("SET default_transaction_read_only = off")
    for statement in (
        "CREATE TABLE mine (id integer)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        f"SET ROLE {layer.ROLES['readonly']}",
        "COPY hosts TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
    ):
        assert refusal(service, statement) == "42501", statement


def test_statements_of_other_sessions_are_hidden_from_it(shared_database, service):
    """They hold values such as prompts, since psycopg2 writes them into the text of a statement."""
    application = shared_database.session("application")
    application.run("SELECT %s", "a prompt")
    seen = service.values("SELECT query FROM pg_stat_activity WHERE usename = %s", layer.ROLES["application"])
    assert set(seen) == {"<insufficient privilege>"}


@pytest.fixture(scope="module")
def role_cluster():
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield server


@pytest.mark.parametrize("user", ["postgres", "keeper"])
def test_it_logs_in_where_there_is_a_service_and_reads_only(role_cluster, tmp_path, user):
    lab = DatabaseLab(role_cluster, tmp_path, user)
    # The logins of the maintenance, of the executor of tools and of those who decide on their calls are made in the same way.
    on = {
        "mission_control_service_enabled": True,
        "mission_control_maintenance_enabled": True,
        "mission_control_tools_enabled": True,
        "mission_control_database_approver_login": True,
    }
    lab.run(**on).succeeded()
    for key in ("service", "maintenance", "executor", "approver"):
        kept = (lab.file.parent / f"{lab.roles[key]}.password").read_text(encoding="utf-8").strip()
        assert lab.log_in(kept, key) == lab.roles[key]
    assert lab.run(**on).succeeded().recap["changed"] == 0
    settings = lab.query(
        "SELECT rolconfig, rolconnlimit, rolinherit FROM pg_roles WHERE rolname = %s", [lab.roles["service"]]
    )
    [(config, limit, _)] = settings
    assert limit == 20
    assert set(config) == {
        "statement_timeout=30s",
        "idle_in_transaction_session_timeout=60s",
        "default_transaction_read_only=on",
    }
    [(config, limit)] = lab.query(
        "SELECT rolconfig, rolconnlimit FROM pg_roles WHERE rolname = %s", [lab.roles["maintenance"]]
    )
    assert (set(config), limit) == ({"statement_timeout=1h", "idle_in_transaction_session_timeout=60s"}, 2)
    for key, most in (("executor", 20), ("approver", 5)):
        [(config, limit)] = lab.query(
            "SELECT rolconfig, rolconnlimit FROM pg_roles WHERE rolname = %s", [lab.roles[key]]
        )
        assert (set(config), limit) == ({"statement_timeout=30s", "idle_in_transaction_session_timeout=60s"}, most)

    given = {
        **on,
        "mission_control_database_service_password": "services-secret",
        "mission_control_database_maintenance_password": "maintenances-secret",
        "mission_control_database_executor_password": "executors-secret",
        "mission_control_database_approver_password": "approvers-secret",
        "mission_control_service_pool_size": 3,
    }
    lab.run(**given).succeeded()
    given_passwords = {
        "service": "services-secret",
        "maintenance": "maintenances-secret",
        "executor": "executors-secret",
        "approver": "approvers-secret",
    }
    for key, password in given_passwords.items():
        assert lab.log_in(password, key) == lab.roles[key]
    limit = lab.query("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", [lab.roles["service"]])
    assert limit == [(6,)]

    lab.run().succeeded()
    for key, password in given_passwords.items():
        with pytest.raises(psycopg2.OperationalError, match="not permitted to log in"):
            lab.log_in(password, key)


SHOW_LOGINS = f"""
- name: Logins
  hosts: mission_control
  gather_facts: false
  vars_files: ["{ROOT}/roles/mission_control_postgresql/vars/main.yml"]
  roles: [homelab.mission_control.mission_control_common]
  tasks:
    - name: Show who is let in by pg_hba.conf
      ansible.builtin.debug:
        msg: "logins={{{{ __mission_control_postgresql_logins | join(' ') }}}}"
"""


LOGINS = [
    ({}, "mission_control"),
    ({"mission_control_service_enabled": True}, "mission_control mission_control_service"),
    ({"mission_control_database_service_login": True}, "mission_control mission_control_service"),
    (
        {"mission_control_service_enabled": True, "mission_control_database_service_role": "lab_service"},
        "mission_control lab_service",
    ),
    ({"mission_control_service_enabled": True, "mission_control_database_service_login": False}, "mission_control"),
    ({"mission_control_maintenance_enabled": True}, "mission_control mission_control_maintenance"),
    ({"mission_control_tools_enabled": True}, "mission_control mission_control_executor"),
    ({"mission_control_database_approver_login": True}, "mission_control mission_control_approver"),
]


def test_the_server_lets_it_in_where_it_may_log_in(tmp_path):
    playbook = tmp_path / "logins.yml"
    playbook.write_text(SHOW_LOGINS, encoding="utf-8")
    runs = run_on_hosts(playbook, [variables for variables, _ in LOGINS], home=tmp_path)
    shown = dict(re.findall(r"^ok: \[(\w+)\] => \n    msg: logins=(.*)$", runs[0].output, re.MULTILINE))
    assert shown == {f"host{number}": logins for number, (_, logins) in enumerate(LOGINS)}
