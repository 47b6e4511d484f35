"""What the timer of the role mission_control_maintenance runs: the role's statements, by its command, at a real server."""

import os
import shlex
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from psycopg2.extras import Json
from role_inputs import ROOT, template

TEMPLATES = ROOT / "roles/mission_control_maintenance/templates"
# What a shell, a template, a connection string or a configuration file could take for something else.
PASSWORD = "n&=+/%s \"{{ x }}' [a]#;\\ $HOME ü"
AGES = {"task_events": 90, "gone_inventory": 30, "llm_bodies": 60, "tool_results": 50}


@pytest.fixture
def maintain(admin, database, tmp_path):
    """Run what the timer runs, with these days: maintain(task_events=90)."""
    admin.run("ALTER ROLE mission_control_maintenance PASSWORD %s", PASSWORD)

    def run(schema="public", **days):
        inputs = {
            **{f"mission_control_maintenance_{name}_days": days.get(name, 0) for name in AGES},
            "mission_control_maintenance_database_host": "127.0.0.1",
            "mission_control_maintenance_database_port": database.cluster.port,
            "mission_control_database_name": database.name,
            "mission_control_database_schema": schema,
            "__mission_control_maintenance_login": {"password": PASSWORD},
            "__mission_control_maintenance_statements": str(tmp_path / "maintenance.sql"),
        }
        for name in ("maintenance.sql", "database.conf"):
            text = template((TEMPLATES / f"{name}.j2").read_text(encoding="utf-8"), inputs)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return subprocess.run(
            shlex.split(template("{{ __mission_control_maintenance_command }}", inputs)),
            env={"PATH": os.defpath, "PGSERVICEFILE": str(tmp_path / "database.conf")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def left(admin):
    """What is there of an old and a young row of each kind: left()."""
    task = admin.insert("tasks", title="t", created_by="test")
    run = admin.insert("task_runs", task_id=task["id"])
    tool = admin.insert("tool_definitions", name="look", risk_level="READ_ONLY")
    now = datetime.now(timezone.utc)
    admin.insert(
        "tool_call_records",
        task_run_id=run["id"],
        tool_id=tool["id"],
        arguments=Json({"n": 2}),
        created_at=now - timedelta(days=2),
    )
    for number, name in enumerate(("old", "young")):
        past = {each: now - timedelta(days=days + 1 - 2 * number) for each, days in AGES.items()}
        admin.insert("task_events", task_run_id=run["id"], sequence=number, type="log", recorded_at=past["task_events"])
        for kind in ("docker-container", "proxmox-vm"):
            row = {"name": name, "type": kind, "source": "lab", "external_id": f"{kind} {name}"}
            admin.insert("workloads", **row, gone_at=past["gone_inventory"])
        call = {"provider": "anthropic", "model": name, "messages": {"text": "hello"}}
        admin.insert("llm_requests", **call, occurred_at=past["llm_bodies"])
        admin.insert(
            "tool_call_records",
            task_run_id=run["id"],
            tool_id=tool["id"],
            arguments=Json({"n": number}),
            result=Json({"text": name}),
            status="succeeded",
            created_at=past["tool_results"],
            finished_at=now,
        )

    def find():
        return {
            "events": admin.values("SELECT sequence FROM task_events ORDER BY 1"),
            "containers": admin.values("SELECT name FROM workloads WHERE type = 'docker-container' ORDER BY 1"),
            "machines": admin.values("SELECT name FROM workloads WHERE type = 'proxmox-vm' ORDER BY 1"),
            "prompts": admin.values("SELECT model FROM llm_requests WHERE messages IS NOT NULL ORDER BY 1"),
            "calls": admin.values("SELECT model FROM llm_requests ORDER BY 1"),
            "tool calls": admin.rows(
                "SELECT arguments ->> 'n' AS n, status, result ->> 'text' AS said FROM tool_call_records ORDER BY 1"
            ),
        }

    return find


def test_what_is_old_goes_with_a_trace_and_what_is_younger_stays(admin, left, maintain):
    done = maintain(**AGES)
    said = (
        "Removed 1 events of runs older than 90 days; 1 pods, jobs and containers gone for 30 days; "
        "1 prompts and replies older than 60 days; 1 results of tool calls older than 50 days\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    both = ["old", "young"]
    tool_calls = [
        {"n": "0", "status": "succeeded", "said": None},
        {"n": "1", "status": "succeeded", "said": "young"},
        {"n": "2", "status": "expired", "said": None},
    ]
    assert left() == {
        "events": [1],
        "containers": ["young"],
        "machines": both,
        "prompts": ["young"],
        "calls": both,
        "tool calls": tool_calls,
    }
    assert admin.value("SELECT sum(calls) FROM tool_call_days") == 3
    traces = admin.rows("SELECT actor, action FROM audit_entries ORDER BY action")
    actions = ["inventory.forget", "llm_bodies.prune", "task_events.remove", "tool_call.expire", "tool_call.prune"]
    assert traces == [{"actor": "mission_control_maintenance", "action": action} for action in actions]


def test_where_the_days_are_0_everything_stays(left, maintain):
    before = left()
    done = maintain()
    assert (done.returncode, done.stdout) == (0, "Removed nothing\n")
    assert left() == {
        **before,
        "tool calls": [
            {**each, "status": "expired" if each["n"] == "2" else "succeeded"} for each in before["tool calls"]
        ],
    }


def test_what_the_server_refuses_ends_it_with_the_reason(left, maintain):
    before = left()
    done = maintain(schema="elsewhere", **AGES)
    assert (done.returncode, done.stdout) == (3, "")
    assert 'schema "elsewhere" does not exist' in done.stderr
    assert left() == before
