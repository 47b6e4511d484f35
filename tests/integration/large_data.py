"""Large logs, loaded quickly: set-based, with triggers and foreign keys out of the way."""

# Shares of a homelab's logs: a few active runs, most events and calls in finished ones, usage over a year and a hundred models.
_RUNS = """
SET LOCAL session_replication_role = replica;

INSERT INTO tasks (title, created_by) SELECT 'task ' || n, 'load' FROM generate_series(1, 200) AS n;
INSERT INTO tool_definitions (name, risk_level) SELECT 'tool ' || n, 'READ_ONLY' FROM generate_series(1, 60) AS n;

INSERT INTO task_runs (task_id, status, created_at, started_at, finished_at)
SELECT t.ids[1 + n %% 200], CASE WHEN n %% 500 = 0 THEN 'running' ELSE 'succeeded' END,
    now() - n * interval '1 minute', now() - n * interval '1 minute', CASE WHEN n %% 500 > 0 THEN now() END
FROM generate_series(1, %(runs)s) AS n, (SELECT array_agg(id) AS ids FROM tasks WHERE created_by = 'load') AS t;

INSERT INTO task_events (task_run_id, sequence, type, payload, occurred_at, recorded_at)
SELECT r.ids[1 + n %% %(runs)s], n / %(runs)s, CASE WHEN n %% 100 = 0 THEN 'error' ELSE 'log' END,
    jsonb_build_object('text', repeat('x', 100), 'n', n), at, at
FROM generate_series(1, %(events)s) AS n, (SELECT array_agg(id) AS ids FROM task_runs) AS r,
    LATERAL (SELECT now() - (%(events)s - n) * interval '1 second' AS at) AS times;

INSERT INTO tool_call_records (task_run_id, tool_id, arguments, result, status, started_at, finished_at)
SELECT r.ids[1 + n %% %(runs)s], t.ids[1 + n %% 50], '{"namespace": "default"}', jsonb_build_object('text', repeat('y', 300)),
    s.status, now() - interval '1 second',
    CASE WHEN s.status IN ('succeeded', 'failed', 'timed_out') THEN now() + n %% 1000 * interval '1 ms' END
FROM generate_series(1, %(calls)s) AS n, (SELECT array_agg(id) AS ids FROM task_runs) AS r,
    (SELECT array_agg(id) AS ids FROM tool_definitions) AS t,
    LATERAL (SELECT (ARRAY['succeeded', 'succeeded', 'succeeded', 'failed', 'timed_out', 'denied', 'pending'])[1 + n %% 7] AS status) AS s;

INSERT INTO tool_call_days (tool_id, day, status, calls, duration_ms_sum, timed_calls)
SELECT r.tool_id, (r.created_at AT TIME ZONE 'UTC')::date, r.status, count(*), coalesce(sum(r.duration_ms), 0), count(r.duration_ms)
FROM tool_call_records AS r
GROUP BY 1, 2, 3;
"""

# Runs each hour, half of them of playbooks on ten hosts; one playbook has never succeeded, and one has not run for long.
_PLAYBOOK_RUNS = """
SET LOCAL session_replication_role = replica;

INSERT INTO tasks (title, playbook, created_by) SELECT 'p', 'load/' || n || '.yml', 'load' FROM generate_series(1, 20) AS n;
INSERT INTO tasks (title, created_by) SELECT 'task ' || n, 'load' FROM generate_series(1, 20) AS n;

INSERT INTO task_runs (task_id, status, created_at, started_at, finished_at)
SELECT t.ids[CASE WHEN n %% 40 = 19 AND n < %(runs)s - 100 THEN 40 ELSE 1 + n %% 40 END], s.status,
    s.at, s.at, CASE WHEN s.status <> 'running' THEN s.at + interval '1 minute' END
FROM generate_series(1, %(runs)s) AS n, (SELECT array_agg(id ORDER BY playbook) AS ids FROM tasks WHERE created_by = 'load') AS t,
    LATERAL (SELECT now() - n * interval '1 hour' AS at,
        CASE WHEN n < 5 THEN 'running' WHEN n %% 40 = 1 OR n %% 7 = 0 THEN 'failed' ELSE 'succeeded' END AS status) AS s;

INSERT INTO playbook_runs (task_run_id, controller, run_by, check_mode, ansible_version)
SELECT r.id, 'nas', 'sven', random() < 0.1, '2.21.5' FROM task_runs AS r JOIN tasks AS t ON t.id = r.task_id WHERE t.playbook LIKE 'load/%%';

INSERT INTO playbook_run_hosts (task_run_id, host_name, ok, changed)
SELECT p.task_run_id, 'host' || n, 10, n %% 2 FROM playbook_runs AS p, generate_series(1, 10) AS n;

INSERT INTO task_events (task_run_id, sequence, type, payload, occurred_at, recorded_at)
SELECT r.ids[1 + n %% cardinality(r.ids)], n / cardinality(r.ids), s.type, s.payload, at, at
FROM generate_series(0, %(events)s - 1) AS n, (SELECT array_agg(task_run_id) AS ids FROM playbook_runs) AS r,
    LATERAL (SELECT now() - (%(events)s - n) * interval '1 second' AS at) AS times,
    LATERAL (SELECT CASE WHEN n %% 10 = 0 THEN 'log' ELSE 'tool_result' END AS type, CASE WHEN n %% 10 = 0
        THEN '{"event": "task", "name": "Install it", "module": "ansible.builtin.apt", "path": "roles/x/tasks/main.yml:12", "handler": false}'
        ELSE '{"event": "result", "host": "web1", "task": "Install it", "task_sequence": 1, "outcome": "ok", "changed": false, "seconds": 0.5}'
        END::jsonb AS payload) AS s;
"""

_USAGE = """
SET LOCAL session_replication_role = replica;

INSERT INTO token_usage (provider, model, input_tokens, output_tokens, cache_read_tokens, estimated_cost_usd, cost_source, price_id,
    project, occurred_at, recorded_at)
SELECT p.provider[1 + n %% 105], p.model[1 + n %% 105], n %% 10000, n %% 3000, n %% 7000, (n %% 1000) * 0.000123, 'computed',
    p.id[1 + n %% 105], 'project ' || n %% 7, at, at
FROM generate_series(1, %(usage)s) AS n,
    (SELECT array_agg(id) AS id, array_agg(provider) AS provider, array_agg(model) AS model FROM provider_pricing) AS p,
    LATERAL (SELECT now() - (%(usage)s - n)::float8 / %(usage)s * %(usage_days)s * interval '1 day' AS at) AS times;
"""


def load_runs(connection, *, runs, events, calls):
    """Fill the logs of the runs as a superuser."""
    _load(connection, _RUNS, runs=runs, events=events, calls=calls)


def load_playbook_runs(connection, *, runs, events):
    """Add this many runs of tasks, half of them of playbooks, and the events of those, as a superuser."""
    _load(connection, _PLAYBOOK_RUNS, runs=runs, events=events)


def load_usage(connection, *, usage, days):
    """Fill token_usage as a superuser, spread evenly over the last days."""
    _load(connection, _USAGE, usage=usage, usage_days=days)
    # The triggers that sum it up were out of the way.
    with connection.cursor() as cursor:
        cursor.execute("SELECT rebuild_token_usage_days()")
        cursor.execute("VACUUM (ANALYZE)")


def _load(connection, statements, **numbers):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(statements, numbers)
        cursor.execute("COMMIT")
        cursor.execute("VACUUM (ANALYZE)")
