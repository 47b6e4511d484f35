"""Print what calls of tools cost: a decision, the way from a request to a start, the rates and their roll-up. Run by `make bench`; asserts nothing.

A throw-away server that writes to disk as a real one does (fsync on). "CPU" is what the session's process of the server has used.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
POLICIES = 200
DECISIONS = 20_000
CALLS = 300
# Of a year and twenty tools, which is what the roll-up by tool, day and status has rows for.
HISTORY, DAYS, CALLED = 1_000_000, 365, 20
TOOLS = [
    {"name": f"tool_{number}", "risk_level": ("READ_ONLY", "SAFE_MUTATE", "DESTRUCTIVE")[number % 3]}
    for number in range(100)
]
# A third of them cover a tool each, a third a risk level under a condition, a third name arguments; none decides early.
RULES = [
    {
        "name": f"policy {number}",
        "effect": ("allow", "require_approval", "deny")[number % 3],
        "priority": number % 7,
        **(
            {"tools": [f"tool_{number % 100}"]},
            {"risk_levels": ["READ_ONLY", "SAFE_MUTATE"], "conditions": {"callers": [f"agent-{number}", "nobody"]}},
            {
                "tools": ["*"],
                "conditions": {"arguments_in": {"name": [f"name-{n}" for n in range(number, number + 5)]}},
            },
        )[number // 67 % 3],
    }
    for number in range(POLICIES)
]
DECIDE = """
SELECT count(d.effect) FROM generate_series(1, %s) AS n,
    LATERAL tool_policy_decision('tool_' || n %% 100, jsonb_build_object('name', 'name-' || n %% 300, 'namespace', 'media'), 'agent-' || n %% 200) AS d
"""
RATES = "SELECT * FROM tool_call_success_rate"


def processor_seconds(session):
    """What the server's process of a session has used of the processors."""
    pid = session.connection.info.backend_pid
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spent(session, work):
    """Seconds of the clock and of the server's process that something takes."""
    began, busy = time.perf_counter(), processor_seconds(session)
    work()
    return time.perf_counter() - began, processor_seconds(session) - busy


def fill(admin):
    """A million calls of the past, as a superuser; the roll-up counts them as it counts others."""
    admin.run(
        """
        INSERT INTO tool_call_records (task_run_id, tool_id, status, requested_by, requested_login, created_at, started_at, finished_at)
        SELECT r.id, t.ids[1 + n %% %s], CASE WHEN n %% 97 = 0 THEN 'failed' WHEN n %% 89 = 0 THEN 'denied' ELSE 'succeeded' END, 'agent', 'agent', at,
            CASE WHEN n %% 97 = 0 OR n %% 89 > 0 THEN at END,
            CASE WHEN n %% 97 = 0 OR n %% 89 > 0 THEN at + n %% 900 * interval '1 millisecond' END
        FROM generate_series(1, %s) AS n, (SELECT id FROM task_runs LIMIT 1) AS r, (SELECT array_agg(id) AS ids FROM tool_definitions) AS t,
            LATERAL (SELECT now() - n * %s * interval '1 day' / %s) AS moment (at)
        """,
        CALLED,
        HISTORY,
        DAYS,
        HISTORY,
    )


def main():
    with ThrowawayCluster(**DURABLE) as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        admin, audit, application, executor = map(database.session, ("admin", "audit", "application", "executor"))
        audit.run("SELECT apply_tools('[]'::jsonb, %s::jsonb)", json.dumps(TOOLS))
        audit.run("SELECT apply_policies(%s::jsonb)", json.dumps(RULES))
        admin.run("INSERT INTO tasks (title, created_by) VALUES ('Bench', 'bench')")
        run = admin.value(
            "INSERT INTO task_runs (task_id, user_prompt, status) SELECT id, 'now', 'running' FROM tasks RETURNING id"
        )

        application.value(DECIDE, 100)
        clock, cpu = zip(*(spent(application, lambda: application.value(DECIDE, DECISIONS)) for _ in range(5)))
        print(
            f"   {statistics.median(cpu) / DECISIONS * 1e6:7.0f} µs of CPU for a decision with {POLICIES} policies"
            f" ({statistics.median(clock) / DECISIONS * 1e6:.0f} µs of the clock; median of 5)"
        )

        audit.run(
            "SELECT apply_policies(%s::jsonb)",
            json.dumps([{"name": "free", "tools": ["*"], "effect": "allow", "priority": 1000}, *RULES]),
        )
        waits, starts = [], []
        busy = processor_seconds(application) + processor_seconds(executor)
        for number in range(CALLS):
            began = time.perf_counter()
            call = application.row(
                "SELECT * FROM request_tool_call(%s, %s, %s::jsonb)", run, f"tool_{number % 100}", '{"name": "plex"}'
            )["call_id"]
            asked = time.perf_counter()
            execution = str(uuid.uuid4())
            executor.row("SELECT * FROM start_tool_call(%s, %s, '{}')", call, execution)
            ended = time.perf_counter()
            executor.row("SELECT * FROM finish_tool_call(%s, %s, 'succeeded', '{}', NULL)", call, execution)
            waits.append((ended - began) * 1000)
            starts.append((ended - asked) * 1000)
        busy = processor_seconds(application) + processor_seconds(executor) - busy
        print(
            f"   {statistics.median(waits):7.2f} ms from a request to the durable start of an allowed call"
            f" (95 %: {sorted(waits)[int(CALLS * 0.95)]:.2f}; the start alone {statistics.median(starts):.2f};"
            f" with its end {busy / CALLS * 1000:.2f} ms of CPU)"
        )

        clock, _ = spent(admin, lambda: fill(admin))
        print(f"   {HISTORY / clock:7,.0f} calls/s are written by one statement, with what the roll-up needs to know")
        application.run("SELECT roll_up_tool_calls()")
        admin.run("ANALYZE")
        clock, cpu = zip(*(spent(application, lambda: application.rows(RATES)) for _ in range(50)))
        sums = application.value("SELECT count(*) FROM tool_call_days")
        print(
            f"   {statistics.median(clock) * 1000:7.2f} ms for tool_call_success_rate at {HISTORY:,} calls, which are {sums:,} sums"
            f" ({sum(cpu) / len(cpu) * 1000:.2f} ms of CPU; of 50: up to {max(clock) * 1000:.2f})"
        )
        last = "UPDATE tool_call_records SET status = 'failed' WHERE id = (SELECT id FROM tool_call_records WHERE status = 'succeeded' LIMIT 1)"
        found = []
        for _ in range(20):
            admin.run(last)
            found.append(spent(application, lambda: application.run("SELECT roll_up_tool_calls()"))[0] * 1000)
        print(f"   {statistics.median(found):7.2f} ms for the roll-up after one more call (median of 20)")
        database.close()


if __name__ == "__main__":
    main()
