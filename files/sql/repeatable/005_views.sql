-- The convenience views, and the usage by day that one of them sums up. They are replaced, not dropped, because a homelab's own views may stand on them: columns are only
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

-- A function that is not planned as a part of the view: the planner would expect all rows to be read, and compile the query for that.
CREATE OR REPLACE FUNCTION our_schema.token_usage_of_day(p_day date) RETURNS SETOF our_schema.token_usage_days
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone CONSTANT text := our_schema.reporting_time_zone();
BEGIN
    RETURN QUERY
    SELECT p_day, NULL::bytea, u.provider, u.model, u.project, u.agent, u.cost_source, count(*),
        sum(u.input_tokens), sum(u.output_tokens), sum(u.cache_read_tokens), sum(u.cache_write_5m_tokens),
        sum(u.cache_write_1h_tokens), sum(u.reasoning_tokens), sum(u.audio_input_tokens), sum(u.audio_cache_read_tokens),
        sum(u.audio_output_tokens), sum(u.image_input_tokens), sum(u.image_cache_read_tokens), sum(u.image_output_tokens),
        coalesce(sum(u.estimated_cost_usd), 0), coalesce(sum(u.subscription_value_usd), 0), count(u.subscription_value_usd),
        max(u.occurred_at)
    FROM our_schema.token_usage AS u
    -- Where a clock is set back over midnight the hours around it belong to either day, so the day of each row decides.
    WHERE u.occurred_at >= p_day::timestamp AT TIME ZONE zone - interval '3 hours'
        AND u.occurred_at < (p_day + 1)::timestamp AT TIME ZONE zone + interval '3 hours'
        AND (u.occurred_at AT TIME ZONE zone)::date = p_day
        AND u.occurred_at >= '1970-01-01T00:00:00Z' AND u.occurred_at < '9999-01-01T00:00:00Z'
    GROUP BY u.provider, u.model, u.project, u.agent, u.cost_source;
END
$$;
COMMENT ON FUNCTION our_schema.token_usage_of_day(date) IS
    'The sums of the usage of a day of the reporting time zone, from the rows themselves and without a digest; what daily_token_usage shows of it where the session has another time zone than the sums by day.';

CREATE OR REPLACE VIEW our_schema.daily_token_usage AS
SELECT
    u.day,
    u.provider,
    u.model,
    u.project,
    u.agent,
    u.cost_source,
    sum(u.calls)::bigint AS calls,
    sum(u.input_tokens)::bigint AS input_tokens,
    sum(u.output_tokens)::bigint AS output_tokens,
    sum(u.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(u.cache_write_5m_tokens)::bigint AS cache_write_5m_tokens,
    sum(u.cache_write_1h_tokens)::bigint AS cache_write_1h_tokens,
    sum(u.reasoning_tokens)::bigint AS reasoning_tokens,
    sum(u.audio_input_tokens)::bigint AS audio_input_tokens,
    sum(u.audio_cache_read_tokens)::bigint AS audio_cache_read_tokens,
    sum(u.audio_output_tokens)::bigint AS audio_output_tokens,
    sum(u.image_input_tokens)::bigint AS image_input_tokens,
    sum(u.image_cache_read_tokens)::bigint AS image_cache_read_tokens,
    sum(u.image_output_tokens)::bigint AS image_output_tokens,
    CASE WHEN u.cost_source <> 'unpriced' THEN sum(u.cost_usd) END AS cost_usd,
    CASE WHEN sum(u.valued_calls) > 0 THEN sum(u.subscription_value_usd) END AS subscription_value_usd,
    max(u.last_used_at) AS last_used_at
FROM (
    SELECT d.day AS day, d.provider, d.model, d.project, d.agent, d.cost_source, d.calls AS calls,
        d.input_tokens, d.output_tokens, d.cache_read_tokens, d.cache_write_5m_tokens, d.cache_write_1h_tokens, d.reasoning_tokens,
        d.audio_input_tokens, d.audio_cache_read_tokens, d.audio_output_tokens, d.image_input_tokens, d.image_cache_read_tokens,
        d.image_output_tokens, d.cost_usd AS cost_usd, d.subscription_value_usd AS subscription_value_usd, d.valued_calls AS
        valued_calls, d.last_used_at AS last_used_at
    FROM our_schema.token_usage_days AS d
    WHERE (SELECT r.time_zone FROM our_schema.token_usage_rollup AS r) = our_schema.reporting_time_zone()
    UNION ALL
    SELECT (c.period AT TIME ZONE our_schema.reporting_time_zone())::date AS day, c.provider, c.model, c.project, c.agent, c.cost_source, c.calls AS calls,
        c.input_tokens, c.output_tokens, c.cache_read_tokens, c.cache_write_5m_tokens, c.cache_write_1h_tokens, c.reasoning_tokens,
        c.audio_input_tokens, c.audio_cache_read_tokens, c.audio_output_tokens, c.image_input_tokens, c.image_cache_read_tokens,
        c.image_output_tokens, c.cost_usd AS cost_usd, c.subscription_value_usd AS subscription_value_usd, c.valued_calls AS
        valued_calls, c.last_used_at AS last_used_at
    FROM our_schema.token_usage_changes AS c
    WHERE (SELECT r.time_zone FROM our_schema.token_usage_rollup AS r) = our_schema.reporting_time_zone()
    UNION ALL
    -- In another time zone than that of the sums the rows are summed, of each day that is asked for.
    SELECT g.start::date AS day, t.provider, t.model, t.project, t.agent, t.cost_source, t.calls,
        t.input_tokens, t.output_tokens, t.cache_read_tokens, t.cache_write_5m_tokens, t.cache_write_1h_tokens, t.reasoning_tokens,
        t.audio_input_tokens, t.audio_cache_read_tokens, t.audio_output_tokens, t.image_input_tokens, t.image_cache_read_tokens,
        t.image_output_tokens, t.cost_usd, t.subscription_value_usd, t.valued_calls, t.last_used_at
    FROM generate_series(
        date_trunc('day', greatest(
            coalesce((SELECT min(f.occurred_at) FROM our_schema.token_usage AS f), now()), '1970-01-01T00:00:00Z'
        ) AT TIME ZONE our_schema.reporting_time_zone()),
        least(
            coalesce((SELECT max(l.occurred_at) FROM our_schema.token_usage AS l), now()), '9999-01-01T00:00:00Z'
        ) AT TIME ZONE our_schema.reporting_time_zone(),
        interval '1 day'
    ) AS g (start)
    CROSS JOIN LATERAL our_schema.token_usage_of_day(g.start::date) AS t
    WHERE (SELECT r.time_zone FROM our_schema.token_usage_rollup AS r) IS DISTINCT FROM our_schema.reporting_time_zone()
) AS u
GROUP BY u.day, u.provider, u.model, u.project, u.agent, u.cost_source
HAVING sum(u.calls) <> 0;
COMMENT ON VIEW our_schema.daily_token_usage IS
    'Use and cost by day of the reporting time zone, provider, model, project, agent and cost source: exactly the sums of token_usage. Fast where the days are those of token_usage_rollup, as in a database whose time zone the provisioning set.';
COMMENT ON COLUMN our_schema.daily_token_usage.day IS 'Day in the reporting time zone.';
COMMENT ON COLUMN our_schema.daily_token_usage.calls IS 'Number of usage records.';
COMMENT ON COLUMN our_schema.daily_token_usage.cost_usd IS 'Sum of the costs in USD; NULL where they are not known, which is where cost_source is unpriced.';
COMMENT ON COLUMN our_schema.daily_token_usage.subscription_value_usd IS
    'What use under a subscription would have cost, in USD; NULL if that is known of no call. Not a part of cost_usd.';
COMMENT ON COLUMN our_schema.daily_token_usage.last_used_at IS
    'Time of the newest call; not set back when a call gets other labels or is removed.';

CREATE OR REPLACE VIEW our_schema.recent_token_usage_summary AS
SELECT
    u.provider,
    u.model,
    sum(u.calls)::bigint AS requests,
    sum(u.input_tokens)::bigint AS input_tokens,
    sum(u.output_tokens)::bigint AS output_tokens,
    sum(u.cache_read_tokens)::bigint AS cache_read_tokens,
    sum(u.cache_write_5m_tokens)::bigint AS cache_write_5m_tokens,
    sum(u.cache_write_1h_tokens)::bigint AS cache_write_1h_tokens,
    sum(u.reasoning_tokens)::bigint AS reasoning_tokens,
    sum(u.cost_usd) AS total_cost_usd,
    sum(u.subscription_value_usd) AS subscription_value_usd,
    coalesce(sum(u.calls) FILTER (WHERE u.cost_source = 'unpriced'), 0)::bigint AS unpriced_requests,
    max(u.last_used_at) AS last_used_at,
    sum(u.audio_input_tokens)::bigint AS audio_input_tokens,
    sum(u.audio_cache_read_tokens)::bigint AS audio_cache_read_tokens,
    sum(u.audio_output_tokens)::bigint AS audio_output_tokens,
    sum(u.image_input_tokens)::bigint AS image_input_tokens,
    sum(u.image_cache_read_tokens)::bigint AS image_cache_read_tokens,
    sum(u.image_output_tokens)::bigint AS image_output_tokens
FROM our_schema.daily_token_usage AS u
WHERE u.day >= (now() AT TIME ZONE our_schema.reporting_time_zone())::date - 29
GROUP BY u.provider, u.model;
COMMENT ON VIEW our_schema.recent_token_usage_summary IS
    'Use and cost by provider and model in the last 30 days, today included; days as the reporting time zone cuts them.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.requests IS 'Number of usage records.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.total_cost_usd IS 'Sum of the known costs in USD; NULL if none is known. See unpriced_requests.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.subscription_value_usd IS 'What use under a subscription would have cost, in USD; not a part of total_cost_usd.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.unpriced_requests IS 'Usage records whose model had no price; they are missing in total_cost_usd.';
COMMENT ON COLUMN our_schema.recent_token_usage_summary.last_used_at IS 'Time of the newest request.';
