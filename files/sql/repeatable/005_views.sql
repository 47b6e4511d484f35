-- The three convenience views. They are replaced, not dropped, because a homelab's own views may stand on them: columns are only
-- ever added at the end.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE VIEW our_schema.active_task_runs AS
SELECT
    r.id,
    r.task_id,
    t.title AS task_title,
    r.user_prompt,
    r.status,
    r.created_at,
    r.started_at,
    now() - r.created_at AS age,
    e.event_count,
    c.tool_call_count
FROM our_schema.task_runs AS r
JOIN our_schema.tasks AS t ON t.id = r.task_id
-- Counted per run by index: a GROUP BY over the logs would read them whole.
CROSS JOIN LATERAL (
    SELECT count(*) AS event_count FROM our_schema.task_events AS te WHERE te.task_run_id = r.id
) AS e
CROSS JOIN LATERAL (
    SELECT count(*) AS tool_call_count FROM our_schema.tool_call_records AS tc WHERE tc.task_run_id = r.id
) AS c
WHERE r.status IN ('queued', 'running', 'waiting_approval');
COMMENT ON VIEW our_schema.active_task_runs IS 'Runs that are queued, running or waiting for an approval.';
COMMENT ON COLUMN our_schema.active_task_runs.age IS 'Time since the run was queued.';
COMMENT ON COLUMN our_schema.active_task_runs.event_count IS 'Number of events recorded for the run.';
COMMENT ON COLUMN our_schema.active_task_runs.tool_call_count IS 'Number of tool calls of the run.';

CREATE OR REPLACE VIEW our_schema.recent_token_usage_summary AS
SELECT
    u.provider,
    u.model,
    count(*) AS requests,
    sum(u.input_tokens)::bigint AS input_tokens,
    sum(u.output_tokens)::bigint AS output_tokens,
    sum(u.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(u.cache_write_5m_tokens)::bigint AS cache_write_5m_tokens,
    sum(u.cache_write_1h_tokens)::bigint AS cache_write_1h_tokens,
    sum(u.reasoning_tokens)::bigint AS reasoning_tokens,
    sum(u.estimated_cost_usd) AS total_cost_usd,
    sum(u.subscription_value_usd) AS subscription_value_usd,
    count(*) FILTER (WHERE u.cost_source = 'unpriced') AS unpriced_requests,
    max(u.occurred_at) AS last_used_at
FROM our_schema.token_usage AS u
WHERE u.occurred_at >= our_schema.reporting_day_start(29::bigint)
GROUP BY u.provider, u.model;
COMMENT ON VIEW our_schema.recent_token_usage_summary IS
    'Use and cost by provider and model in the last 30 days, today included; days as the reporting time zone cuts them.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.requests IS 'Number of usage records.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.total_cost_usd IS 'Sum of the known costs in USD; NULL if none is known. See unpriced_requests.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.subscription_value_usd IS 'What use under a subscription would have cost, in USD; not a part of total_cost_usd.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.unpriced_requests IS 'Usage records whose model had no price; they are missing in total_cost_usd.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.last_used_at IS 'Time of the newest request.';

CREATE OR REPLACE VIEW our_schema.tool_call_success_rate AS
SELECT
    t.id AS tool_id,
    t.name AS tool_name,
    t.risk_level,
    coalesce(c.total_calls, 0) AS total_calls,
    coalesce(c.succeeded, 0) AS succeeded,
    coalesce(c.failed, 0) AS failed,
    coalesce(c.timed_out, 0) AS timed_out,
    coalesce(c.denied, 0) AS denied,
    round(c.succeeded::numeric / nullif(c.succeeded + c.failed + c.timed_out, 0), 4) AS success_rate,
    c.average_duration_ms
FROM our_schema.tool_definitions AS t
LEFT JOIN (
    SELECT
        tc.tool_id,
        count(*) AS total_calls,
        count(*) FILTER (WHERE tc.status = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE tc.status = 'failed') AS failed,
        count(*) FILTER (WHERE tc.status = 'timed_out') AS timed_out,
        count(*) FILTER (WHERE tc.status = 'denied') AS denied,
        round(avg(tc.duration_ms), 1) AS average_duration_ms
    FROM our_schema.tool_call_records AS tc
    GROUP BY tc.tool_id
) AS c ON c.tool_id = t.id;
COMMENT ON VIEW our_schema.tool_call_success_rate IS 'Every tool, also one that was never called, with how its calls ended.';
COMMENT ON COLUMN our_schema.tool_call_success_rate.total_calls IS 'Number of calls, whatever became of them.';
COMMENT ON COLUMN our_schema.tool_call_success_rate.success_rate IS
    'Succeeded among the calls that ran to an end (succeeded, failed, timed out), from 0 to 1; NULL where there is none.';
COMMENT ON COLUMN our_schema.tool_call_success_rate.average_duration_ms IS 'Average duration of the calls that ran to an end, in milliseconds.';
