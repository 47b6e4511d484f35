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
"""

_USAGE = """
SET LOCAL session_replication_role = replica;

INSERT INTO token_usage (provider, model, input_tokens, output_tokens, cache_read_tokens, estimated_cost_usd, cost_source, price_id,
    project, occurred_at, recorded_at)
SELECT p.provider[1 + n %% 105], p.model[1 + n %% 105], n %% 10000, n %% 3000, n %% 7000, (n %% 1000) * 0.000123, 'computed',
    p.id[1 + n %% 105], 'project ' || n %% 7, at, at
FROM generate_series(1, %(usage)s) AS n,
    (SELECT array_agg(id) AS id, array_agg(provider) AS provider, array_agg(model) AS model FROM provider_pricing) AS p,
    LATERAL (SELECT now() - (%(usage)s - n) * (%(usage_days)s * interval '1 day') / %(usage)s AS at) AS times;
"""


def load_runs(connection, *, runs, events, calls):
    """Fill the logs of the runs as a superuser."""
    _load(connection, _RUNS, runs=runs, events=events, calls=calls)


def load_usage(connection, *, usage, days):
    """Fill token_usage as a superuser, spread evenly over the last days."""
    _load(connection, _USAGE, usage=usage, usage_days=days)


def _load(connection, statements, **numbers):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(statements, numbers)
        cursor.execute("COMMIT")
        cursor.execute("VACUUM (ANALYZE)")
