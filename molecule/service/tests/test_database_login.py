"""What the service's login may do in the database: read what the service shows, and nothing else."""

from __future__ import annotations

testinfra_hosts = ["debian13"]
PERMISSION_DENIED = "42501"

SHOWN = [
    "SELECT id, name, status FROM hosts",
    "SELECT id, name, status FROM workloads",
    "SELECT title FROM tasks",
    "SELECT status FROM task_runs",
    "SELECT provider, model, input_tokens, cost_usd FROM daily_token_usage",
]
# More of it, for every table and column, is in tests/integration/test_database_service_role.py.
FORBIDDEN = [
    "SELECT * FROM llm_requests",
    "SELECT * FROM llm_responses",
    "SELECT details FROM audit_entries",
    "SELECT arguments FROM tool_call_records",
    "INSERT INTO hosts (name, type) VALUES ('mine', 'vm')",
    "UPDATE hosts SET name = 'mine'",
    "DELETE FROM tasks",
    "CREATE TABLE mine (id integer)",
    "CREATE TEMPORARY TABLE mine (id integer)",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY hosts TO PROGRAM 'cat'",
]


def test_it_reads_what_the_service_shows(service_login):
    assert service_login.sqlstates(SHOWN) == dict.fromkeys(SHOWN)


def test_it_is_refused_everything_else(service_login):
    statements = [f"SET TRANSACTION READ WRITE; {each}" for each in FORBIDDEN]
    assert service_login.sqlstates(statements) == dict.fromkeys(statements, PERMISSION_DENIED)
