"""One valid row for each of the tables that a program or a function writes to, and what they stand on."""

import contextlib

import psycopg2
from mission_control_database import Session

TABLES = (
    "services",
    "hosts",
    "workloads",
    "tasks",
    "task_runs",
    "inventory_sources",
    "task_events",
    "artifacts",
    "playbook_runs",
    "playbook_run_hosts",
    "provider_pricing",
    "llm_requests",
    "llm_responses",
    "token_usage",
    "llm_budgets",
    "usage_import_files",
    "tool_definitions",
    "tool_call_records",
    "policies",
    "tool_tokens",
    "audit_entries",
)
# Which no login writes row by row.
WRITTEN_BY_FUNCTIONS = ("tool_definitions", "tool_call_records", "policies", "tool_tokens")

# References are written "table.column" and are replaced by the value of the row that was inserted before.
_ROWS = {
    "services": {"name": "plex", "slo_availability_percent": "99.9", "slo_latency_ms": 250},
    "hosts": {
        "name": "pve1",
        "type": "proxmox-node",
        "cluster": "home",
        "status": "online",
        "cpu_cores": 8,
        "memory_bytes": 2**36,
        "source": "proxmox",
        "external_id": "node/pve1",
    },
    "workloads": {
        "name": "plex",
        "type": "docker-container",
        "host_id": "hosts.id",
        "service_id": "services.id",
        "status": "running",
        "replicas_wanted": 1,
        "replicas_ready": 1,
        "source": "docker",
        "external_id": "c0ffee",
    },
    "tasks": {"title": "Restart Plex", "created_by": "system", "is_template": False},
    "task_runs": {"task_id": "tasks.id", "user_prompt": "Restart it", "status": "queued"},
    "inventory_sources": {
        "name": "k8s-home",
        "connector": "kubernetes",
        "task_id": "tasks.id",
        "last_run_id": "task_runs.id",
        "interval_seconds": 300,
    },
    "task_events": {"task_run_id": "task_runs.id", "sequence": 1, "type": "log", "payload": {"text": "hello"}},
    "artifacts": {
        "task_run_id": "task_runs.id",
        "kind": "output",
        "name": "log.txt",
        "content": "done",
        "size_bytes": 4,
        "sha256": "ab" * 32,
    },
    "playbook_runs": {
        "task_run_id": "task_runs.id",
        "controller": "nas",
        "run_by": "sven",
        "check_mode": False,
        "ansible_version": "2.21.5",
    },
    "playbook_run_hosts": {
        "task_run_id": "task_runs.id",
        "host_name": "pve1",
        "host_id": "hosts.id",
        "ok": 12,
        "changed": 1,
    },
    "provider_pricing": {
        "provider": "openai",
        "model": "sample",
        "input_usd_per_mtok": "1",
        "output_usd_per_mtok": "2",
    },
    "llm_requests": {
        "task_run_id": "task_runs.id",
        "provider": "openai",
        "model": "sample",
        "messages": {"prompt": "hi"},
        "source": "import",
        "external_id": "r1",
    },
    "llm_responses": {"request_id": "llm_requests.id", "content": "hello", "latency_ms": 120},
    "token_usage": {
        "request_id": "llm_requests.id",
        "task_run_id": "task_runs.id",
        "provider": "openai",
        "model": "sample",
        "input_tokens": 1000,
        "output_tokens": 500,
        "source": "import",
        "external_id": "u1",
    },
    # Which only the owner writes.
    "price_lists": {"origin": "user", "source": "their page", "read_on": "2026-11-01"},
    "llm_budgets": {"name": "homelab", "amount_usd": "20", "project": "homelab"},
    "usage_import_files": {
        "source": "claude-code",
        "host": "nas",
        "path": "/home/sven/session.jsonl",
        "fingerprint": "c0ffee",
        "position": 1200,
        "state": {"last": "msg_01"},
        "calls": 3,
    },
    "tool_definitions": {"name": "restart", "risk_level": "SAFE_MUTATE"},
    "tool_call_records": {"task_run_id": "task_runs.id", "tool_id": "tool_definitions.id", "status": "denied"},
    "policies": {"name": "ask first", "risk_levels": ["DESTRUCTIVE"], "effect": "require_approval"},
    "tool_tokens": {"name": "claude", "kind": "requester", "token_sha256": b"\x01" * 32},
    "audit_entries": {"actor": "alice", "action": "task.run", "outcome": "success"},
}


def sample(table, inserted):
    """Columns of a valid row, its references filled in from the rows that are there."""
    columns = {}
    for name, value in _ROWS[table].items():
        if isinstance(value, str) and value.partition(".")[0] in inserted and name.endswith("_id"):
            other, _, column = value.partition(".")
            value = inserted[other][column]
        columns[name] = value
    return columns


def insert_as_superuser(session, table, **columns):
    """Insert a row into the session's database past its privileges, and return it as it was stored.

    For what no login may write, such as tool calls in a state that takes long to reach.
    """
    where = {name: value for name, value in session.connection.get_dsn_parameters().items() if name in _WHERE}
    with contextlib.closing(psycopg2.connect(user="postgres", **where)) as connection:
        connection.autocommit = True
        return Session(connection).insert(table, **columns)


_WHERE = ("host", "port", "dbname")


def fill_every_table(session):
    """Insert one row into each table, as this session's role where a login may; returns the rows as they were stored."""
    inserted = {}
    for table in TABLES:
        insert = insert_as_superuser if table in WRITTEN_BY_FUNCTIONS else type(session).insert
        inserted[table] = insert(session, table, **sample(table, inserted))
    return inserted
