-- The ledger's sums by day, its budgets, and which list of prices is in force.
--
-- token_usage_days holds the sums, token_usage_changes what is not in them yet. Writers only ever add to the changes, so that none waits for
-- another; a change becomes visible with the row that it tells of. roll_up_token_usage() moves the changes that it sees into the days, in
-- one statement, and so with one snapshot: at every moment both together are exactly what token_usage holds.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION our_schema.roll_up_token_usage() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone text;
    moved_rows bigint;
    emptied_from date;
    emptied_to date;
BEGIN
    -- With an older snapshot than that of the statement, what another has moved since would be an error.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN 0;
    END IF;
    -- One at a time, and nobody waits. The lock is on a row that only the owner may lock, so that no other login can keep it.
    SELECT r.time_zone INTO zone FROM our_schema.token_usage_rollup AS r WHERE r.time_zone IS NOT NULL FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    WITH moved AS (
        DELETE FROM our_schema.token_usage_changes RETURNING *
    ), summed AS (
        SELECT (m.period AT TIME ZONE zone)::date AS day, m.provider, m.model, m.project, m.agent, m.cost_source, count(*) AS changes,
            sum(m.calls) AS calls, sum(m.input_tokens) AS input_tokens, sum(m.output_tokens) AS output_tokens,
            sum(m.cache_read_tokens) AS cache_read_tokens, sum(m.cache_write_5m_tokens) AS cache_write_5m_tokens,
            sum(m.cache_write_1h_tokens) AS cache_write_1h_tokens, sum(m.reasoning_tokens) AS reasoning_tokens,
            sum(m.audio_input_tokens) AS audio_input_tokens, sum(m.audio_cache_read_tokens) AS audio_cache_read_tokens,
            sum(m.audio_output_tokens) AS audio_output_tokens, sum(m.image_input_tokens) AS image_input_tokens,
            sum(m.image_cache_read_tokens) AS image_cache_read_tokens, sum(m.image_output_tokens) AS image_output_tokens,
            sum(m.cost_usd) AS cost_usd, sum(m.subscription_value_usd) AS subscription_value_usd, sum(m.valued_calls) AS
            valued_calls, max(m.last_used_at) AS last_used_at
        FROM moved AS m
        GROUP BY 1, 2, 3, 4, 5, 6
    ), stored AS (
        INSERT INTO our_schema.token_usage_days AS d (
            day, digest, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
            cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
            audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
            valued_calls, last_used_at
        )
        SELECT s.day, sha256(convert_to(jsonb_build_array(s.provider, s.model, s.project, s.agent, s.cost_source)::text, 'UTF8')),
            s.provider, s.model, s.project, s.agent, s.cost_source, s.calls, s.input_tokens, s.output_tokens, s.cache_read_tokens,
            s.cache_write_5m_tokens, s.cache_write_1h_tokens, s.reasoning_tokens, s.audio_input_tokens, s.audio_cache_read_tokens,
            s.audio_output_tokens, s.image_input_tokens, s.image_cache_read_tokens, s.image_output_tokens, s.cost_usd,
            s.subscription_value_usd, s.valued_calls, s.last_used_at
        FROM summed AS s
        ON CONFLICT (day, digest) DO UPDATE SET
            calls = d.calls + excluded.calls,
            input_tokens = d.input_tokens + excluded.input_tokens,
            output_tokens = d.output_tokens + excluded.output_tokens,
            cache_read_tokens = d.cache_read_tokens + excluded.cache_read_tokens,
            cache_write_5m_tokens = d.cache_write_5m_tokens + excluded.cache_write_5m_tokens,
            cache_write_1h_tokens = d.cache_write_1h_tokens + excluded.cache_write_1h_tokens,
            reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = d.audio_input_tokens + excluded.audio_input_tokens,
            audio_cache_read_tokens = d.audio_cache_read_tokens + excluded.audio_cache_read_tokens,
            audio_output_tokens = d.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = d.image_input_tokens + excluded.image_input_tokens,
            image_cache_read_tokens = d.image_cache_read_tokens + excluded.image_cache_read_tokens,
            image_output_tokens = d.image_output_tokens + excluded.image_output_tokens,
            cost_usd = d.cost_usd + excluded.cost_usd,
            subscription_value_usd = d.subscription_value_usd + excluded.subscription_value_usd,
            valued_calls = d.valued_calls + excluded.valued_calls,
            last_used_at = greatest(d.last_used_at, excluded.last_used_at)
    )
    SELECT coalesce(sum(s.changes), 0), min(s.day) FILTER (WHERE s.calls <= 0), max(s.day) FILTER (WHERE s.calls <= 0)
    INTO moved_rows, emptied_from, emptied_to
    FROM summed AS s;
    IF emptied_from IS NOT NULL THEN
        DELETE FROM our_schema.token_usage_days AS d WHERE d.day BETWEEN emptied_from AND emptied_to AND d.calls = 0;
    END IF;
    RETURN moved_rows;
END
$$;
COMMENT ON FUNCTION our_schema.roll_up_token_usage() IS
    'Move what has changed in token_usage into its sums by day. Called by the trigger about every thousand rows; returns how many changes it moved, 0 while another moves them, and in a transaction that is not read committed.';

CREATE OR REPLACE FUNCTION our_schema.rebuild_token_usage_days() RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone CONSTANT text := our_schema.reporting_time_zone();
    summed_rows bigint;
BEGIN
    -- Waits for whoever moves changes, and keeps others from it.
    UPDATE our_schema.token_usage_rollup SET time_zone = zone;
    DELETE FROM our_schema.token_usage_days;
    -- In one statement, so that exactly those changes go whose rows are counted.
    WITH counted AS (
        DELETE FROM our_schema.token_usage_changes
    ), summed AS (
        SELECT (u.occurred_at AT TIME ZONE zone)::date AS day, u.provider, u.model, u.project, u.agent, u.cost_source, count(*) AS calls,
            sum(u.input_tokens) AS input_tokens, sum(u.output_tokens) AS output_tokens, sum(u.cache_read_tokens) AS
            cache_read_tokens, sum(u.cache_write_5m_tokens) AS cache_write_5m_tokens, sum(u.cache_write_1h_tokens) AS
            cache_write_1h_tokens, sum(u.reasoning_tokens) AS reasoning_tokens, sum(u.audio_input_tokens) AS audio_input_tokens,
            sum(u.audio_cache_read_tokens) AS audio_cache_read_tokens, sum(u.audio_output_tokens) AS audio_output_tokens,
            sum(u.image_input_tokens) AS image_input_tokens, sum(u.image_cache_read_tokens) AS image_cache_read_tokens,
            sum(u.image_output_tokens) AS image_output_tokens, coalesce(sum(u.estimated_cost_usd), 0) AS cost_usd,
            coalesce(sum(u.subscription_value_usd), 0) AS subscription_value_usd, count(u.subscription_value_usd) AS valued_calls,
            max(u.occurred_at) AS last_used_at
        FROM our_schema.token_usage AS u
        WHERE u.occurred_at >= '1970-01-01T00:00:00Z' AND u.occurred_at < '9999-01-01T00:00:00Z'
        GROUP BY 1, 2, 3, 4, 5, 6
    )
    INSERT INTO our_schema.token_usage_days (
        day, digest, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
        audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
        valued_calls, last_used_at
    )
    SELECT s.day, sha256(convert_to(jsonb_build_array(s.provider, s.model, s.project, s.agent, s.cost_source)::text, 'UTF8')),
        s.provider, s.model, s.project, s.agent, s.cost_source, s.calls, s.input_tokens, s.output_tokens, s.cache_read_tokens,
        s.cache_write_5m_tokens, s.cache_write_1h_tokens, s.reasoning_tokens, s.audio_input_tokens, s.audio_cache_read_tokens,
        s.audio_output_tokens, s.image_input_tokens, s.image_cache_read_tokens, s.image_output_tokens, s.cost_usd,
        s.subscription_value_usd, s.valued_calls, s.last_used_at
    FROM summed AS s;
    GET DIAGNOSTICS summed_rows = ROW_COUNT;
    RETURN summed_rows;
END
$$;
COMMENT ON FUNCTION our_schema.rebuild_token_usage_days() IS
    'Sum token_usage up by day anew, in the reporting time zone of the session, while others write on; returns how many rows there are. For the owner.';

CREATE OR REPLACE FUNCTION our_schema.queue_token_usage_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_id bigint;
    last_id bigint;
    added_rows bigint;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE our_schema.token_usage_days, our_schema.token_usage_changes;
        RETURN NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO our_schema.token_usage_changes (
            period, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
            cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
            audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
            valued_calls, last_used_at
        )
        SELECT date_bin('15 minutes', r.occurred_at, '2000-01-01T00:00:00Z'), r.provider, r.model, r.project, r.agent, r.cost_source,
            -count(*), -sum(r.input_tokens), -sum(r.output_tokens), -sum(r.cache_read_tokens), -sum(r.cache_write_5m_tokens),
            -sum(r.cache_write_1h_tokens), -sum(r.reasoning_tokens), -sum(r.audio_input_tokens), -sum(r.audio_cache_read_tokens),
            -sum(r.audio_output_tokens), -sum(r.image_input_tokens), -sum(r.image_cache_read_tokens), -sum(r.image_output_tokens),
            -coalesce(sum(r.estimated_cost_usd), 0), -coalesce(sum(r.subscription_value_usd), 0), -count(r.subscription_value_usd),
            max(r.occurred_at)
        FROM removed AS r
        -- What the CHECK does not let in any more was never counted.
        WHERE r.occurred_at >= '1970-01-01T00:00:00Z' AND r.occurred_at < '9999-01-01T00:00:00Z'
        GROUP BY 1, 2, 3, 4, 5, 6;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        SELECT min(a.id), max(a.id), count(*) INTO first_id, last_id, added_rows FROM added AS a;
        -- A call that is recorded alone is the rule, and costs less than a sum of one does.
        IF added_rows = 1 THEN
            INSERT INTO our_schema.token_usage_changes (
                period, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
                cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
                audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
                valued_calls, last_used_at
            )
            SELECT date_bin('15 minutes', a.occurred_at, '2000-01-01T00:00:00Z'), a.provider, a.model, a.project, a.agent, a.cost_source,
                1, a.input_tokens, a.output_tokens, a.cache_read_tokens, a.cache_write_5m_tokens, a.cache_write_1h_tokens,
                a.reasoning_tokens, a.audio_input_tokens, a.audio_cache_read_tokens, a.audio_output_tokens, a.image_input_tokens,
                a.image_cache_read_tokens, a.image_output_tokens, coalesce(a.estimated_cost_usd, 0),
                coalesce(a.subscription_value_usd, 0), num_nonnulls(a.subscription_value_usd), a.occurred_at
            FROM added AS a
            WHERE a.occurred_at >= '1970-01-01T00:00:00Z' AND a.occurred_at < '9999-01-01T00:00:00Z';
        ELSE
            INSERT INTO our_schema.token_usage_changes (
                period, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
                cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
                audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
                valued_calls, last_used_at
            )
            SELECT date_bin('15 minutes', a.occurred_at, '2000-01-01T00:00:00Z'), a.provider, a.model, a.project, a.agent, a.cost_source,
                count(*), sum(a.input_tokens), sum(a.output_tokens), sum(a.cache_read_tokens), sum(a.cache_write_5m_tokens),
                sum(a.cache_write_1h_tokens), sum(a.reasoning_tokens), sum(a.audio_input_tokens), sum(a.audio_cache_read_tokens),
                sum(a.audio_output_tokens), sum(a.image_input_tokens), sum(a.image_cache_read_tokens), sum(a.image_output_tokens),
                coalesce(sum(a.estimated_cost_usd), 0), coalesce(sum(a.subscription_value_usd), 0), count(a.subscription_value_usd),
                max(a.occurred_at)
            FROM added AS a
            -- What the CHECK does not let in any more was never counted.
            WHERE a.occurred_at >= '1970-01-01T00:00:00Z' AND a.occurred_at < '9999-01-01T00:00:00Z'
            GROUP BY 1, 2, 3, 4, 5, 6;
        END IF;
    END IF;
    -- Numbers are given to rows that are not kept, too, so this is about every thousandth row, and asks nobody else.
    IF TG_OP = 'INSERT' AND last_id / 1000 > (first_id - 1) / 1000 THEN
        PERFORM our_schema.roll_up_token_usage();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.queue_token_usage_changes() IS
    'Trigger function: notes what a statement adds to the sums of token_usage by day and takes from them.';

CREATE OR REPLACE FUNCTION our_schema.guard_llm_budgets() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF 'role' IN (OLD.origin, NEW.origin)
        AND NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = TG_RELID), 'USAGE')
    THEN
        RAISE EXCEPTION 'the budget % is given to the role that provisions the database: change it there, in mission_control_schema_budgets',
            coalesce(OLD.name, NEW.name)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN coalesce(NEW, OLD);
END
$$;
COMMENT ON FUNCTION our_schema.guard_llm_budgets() IS 'Trigger function: leaves the budgets of origin role to the owner of the table.';


CREATE OR REPLACE FUNCTION our_schema.apply_llm_budgets(p_budgets jsonb) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry jsonb;
    fault text;
    removed integer;
    changed integer;
BEGIN
    IF jsonb_typeof(p_budgets) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'budgets must be a list' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN SELECT e.value FROM jsonb_array_elements(p_budgets) AS e LOOP
        IF jsonb_typeof(entry) <> 'object' THEN
            RAISE EXCEPTION 'a budget must be a mapping, not %', entry USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF jsonb_typeof(entry -> 'name') IS DISTINCT FROM 'string' OR btrim(entry ->> 'name') = '' THEN
            RAISE EXCEPTION 'a budget needs a name, a text: %', entry USING ERRCODE = 'invalid_parameter_value';
        END IF;
        SELECT coalesce(
            min(format('unknown key %s, only name, usd, provider, model, project and agent are known', k.key))
                FILTER (WHERE k.key NOT IN ('name', 'usd', 'provider', 'model', 'project', 'agent')),
            min(format('%s must be a text that is not empty, or left out', k.key)) FILTER (
                WHERE k.key NOT IN ('name', 'usd') AND (
                    jsonb_typeof(k.value) NOT IN ('string', 'null') OR btrim(k.value #>> '{}') = ''
                )
            ),
            min('provider must be in lower case, as usage names it') FILTER (
                WHERE k.key = 'provider' AND k.value #>> '{}' !~ '^[a-z0-9][a-z0-9._-]*$'
            )
        ) INTO fault
        FROM jsonb_each(entry) AS k;
        IF fault IS NULL THEN
            IF entry ->> 'usd' ~ '^[0-9]{1,8}([.][0-9]{1,6}0*)?$' THEN
                fault := CASE WHEN (entry ->> 'usd')::numeric = 0 THEN 'usd must be more than 0' END;
            ELSE
                fault := 'usd must be an amount in USD above 0 and below 100,000,000 with at most 6 decimals';
            END IF;
        END IF;
        IF fault IS NULL AND (SELECT count(*) FROM jsonb_array_elements(p_budgets) AS e WHERE e.value -> 'name' = entry -> 'name') > 1 THEN
            fault := 'the list has two budgets of this name';
        END IF;
        IF fault IS NULL AND EXISTS (SELECT FROM our_schema.llm_budgets AS b WHERE b.name = entry ->> 'name' AND b.origin = 'user') THEN
            fault := 'there is one of this name already that the role did not make: remove that one, or choose another name';
        END IF;
        IF fault IS NOT NULL THEN
            RAISE EXCEPTION 'budget %: %', entry ->> 'name', fault USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
    DELETE FROM our_schema.llm_budgets AS b
    WHERE b.origin = 'role' AND NOT EXISTS (SELECT FROM jsonb_array_elements(p_budgets) AS e WHERE e.value ->> 'name' = b.name);
    GET DIAGNOSTICS removed = ROW_COUNT;
    INSERT INTO our_schema.llm_budgets AS b (name, amount_usd, provider, model, project, agent, origin)
    SELECT e.value ->> 'name', (e.value ->> 'usd')::numeric, e.value ->> 'provider', e.value ->> 'model', e.value ->> 'project',
        e.value ->> 'agent', 'role'
    FROM jsonb_array_elements(p_budgets) AS e
    ON CONFLICT (name) DO UPDATE
        SET amount_usd = excluded.amount_usd, provider = excluded.provider, model = excluded.model, project = excluded.project,
            agent = excluded.agent
        WHERE (b.amount_usd, b.provider, b.model, b.project, b.agent)
            IS DISTINCT FROM (excluded.amount_usd, excluded.provider, excluded.model, excluded.project, excluded.agent);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN removed + changed;
END
$$;
COMMENT ON FUNCTION our_schema.apply_llm_budgets(jsonb) IS
    'Make a list the budgets of origin role, each with name and usd and, where it counts only some calls, provider, model, project or agent; returns how many rows it changed. For the owner.';

CREATE OR REPLACE FUNCTION our_schema.note_price_list(p_origin text, p_source text, p_read_on date) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer;
BEGIN
    IF p_origin IS NULL OR p_origin NOT IN ('seed', 'user') THEN
        RAISE EXCEPTION 'the origin of a price list is seed or user, not %', p_origin USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF btrim(coalesce(p_source, '')) = '' OR p_read_on IS NULL THEN
        RAISE EXCEPTION 'a price list needs a source, and the day on which its prices were read there' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO our_schema.price_lists AS l (origin, source, read_on) VALUES (p_origin, p_source, p_read_on)
    ON CONFLICT (origin) DO UPDATE SET source = excluded.source, read_on = excluded.read_on, applied_at = now()
        WHERE (l.source, l.read_on) IS DISTINCT FROM (excluded.source, excluded.read_on);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION our_schema.note_price_list(text, text, date) IS
    'Note which list of prices of origin seed or user is in force; returns 1, or 0 if it is noted already. For the owner.';

-- The days of the reporting time zone, cut as its clock shows them: a day with a change of daylight saving is a day.
CREATE OR REPLACE VIEW our_schema.llm_budget_status AS
WITH calendar AS (
    SELECT
        c.now_there::date AS today,
        date_trunc('month', c.now_there)::date AS month,
        (date_trunc('month', c.now_there) + interval '1 month')::date AS next_month,
        extract(epoch FROM date_trunc('month', c.now_there) + interval '1 month' - c.now_there) / 86400 AS days_left
    FROM (SELECT now() AT TIME ZONE our_schema.reporting_time_zone() AS now_there) AS c
), recent AS MATERIALIZED (
    SELECT
        u.provider,
        u.model,
        u.project,
        u.agent,
        sum(u.cost_usd) FILTER (WHERE u.day >= c.month) AS spent_usd,
        sum(u.cost_usd) FILTER (WHERE u.day < c.today AND u.day >= c.today - 7) AS week_usd,
        sum(u.calls) FILTER (WHERE u.day >= c.month AND u.cost_source = 'unpriced') AS unpriced_calls
    FROM our_schema.daily_token_usage AS u
    CROSS JOIN calendar AS c
    -- Said without the calendar, so that only these days are read.
    WHERE u.day >= least(
            date_trunc('month', now() AT TIME ZONE our_schema.reporting_time_zone())::date,
            (now() AT TIME ZONE our_schema.reporting_time_zone())::date - 7
        )
        AND u.day < (date_trunc('month', now() AT TIME ZONE our_schema.reporting_time_zone()) + interval '1 month')::date
    GROUP BY u.provider, u.model, u.project, u.agent
)
SELECT
    b.name,
    b.provider,
    b.model,
    b.project,
    b.agent,
    b.origin,
    b.amount_usd,
    c.month,
    s.spent_usd,
    round(s.spent_usd / b.amount_usd, 6) AS spent_share,
    round(s.spent_usd + s.week_usd / 7 * c.days_left, 12) AS projected_usd,
    round((s.spent_usd + s.week_usd / 7 * c.days_left) / b.amount_usd, 6) AS projected_share,
    s.unpriced_calls,
    CASE
        WHEN s.spent_usd >= b.amount_usd THEN 'spent'
        WHEN s.spent_usd >= 0.8 * b.amount_usd THEN 'near'
        ELSE 'ok'
    END AS level
FROM our_schema.llm_budgets AS b
CROSS JOIN calendar AS c
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(r.spent_usd), 0) AS spent_usd,
        coalesce(sum(r.week_usd), 0) AS week_usd,
        coalesce(sum(r.unpriced_calls), 0)::bigint AS unpriced_calls
    FROM recent AS r
    WHERE (b.provider IS NULL OR r.provider = b.provider)
        AND (b.model IS NULL OR r.model = b.model)
        AND (b.project IS NULL OR r.project = b.project)
        AND (b.agent IS NULL OR r.agent = b.agent)
) AS s;
COMMENT ON VIEW our_schema.llm_budget_status IS 'The budgets, and what was spent of them in this month of the reporting time zone.';
COMMENT ON COLUMN our_schema.llm_budget_status.month IS 'First day of the month.';
COMMENT ON COLUMN our_schema.llm_budget_status.spent_usd IS 'Sum of the known costs of this month, in USD. See unpriced_calls.';
COMMENT ON COLUMN our_schema.llm_budget_status.spent_share IS 'Share of the amount that is spent; 1 is all of it.';
COMMENT ON COLUMN our_schema.llm_budget_status.projected_usd IS
    'What the month will have cost at its end, in USD, if each day that is left, and what is left of today, costs as much as the last 7 complete days on average.';
COMMENT ON COLUMN our_schema.llm_budget_status.projected_share IS 'Share of the amount that will have been spent then.';
COMMENT ON COLUMN our_schema.llm_budget_status.unpriced_calls IS 'Number of calls of this month whose model had no price; they are missing in the costs.';
COMMENT ON COLUMN our_schema.llm_budget_status.level IS 'ok, near (80 % or more are spent) or spent (100 % or more).';

CREATE OR REPLACE VIEW our_schema.task_run_costs AS
SELECT
    r.id AS task_run_id,
    u.calls,
    u.unpriced_calls,
    u.input_tokens,
    u.output_tokens,
    u.cost_usd,
    u.subscription_value_usd
FROM our_schema.task_runs AS r
-- Summed per run by index: a GROUP BY over all usage would read it whole wherever the view is joined.
CROSS JOIN LATERAL (
    SELECT
        count(*) AS calls,
        count(*) FILTER (WHERE t.cost_source = 'unpriced') AS unpriced_calls,
        coalesce(sum(
            t.input_tokens + t.cache_read_tokens + t.cache_write_5m_tokens + t.cache_write_1h_tokens + t.audio_input_tokens
            + t.audio_cache_read_tokens + t.image_input_tokens + t.image_cache_read_tokens
        ), 0)::bigint AS input_tokens,
        coalesce(sum(t.output_tokens + t.reasoning_tokens + t.audio_output_tokens + t.image_output_tokens), 0)::bigint AS output_tokens,
        sum(t.estimated_cost_usd) AS cost_usd,
        sum(t.subscription_value_usd) AS subscription_value_usd
    FROM our_schema.token_usage AS t
    WHERE t.task_run_id = r.id
) AS u;
COMMENT ON VIEW our_schema.task_run_costs IS 'What each run of a task used and cost; a run without a call of a model has 0 calls.';
COMMENT ON COLUMN our_schema.task_run_costs.calls IS 'Number of usage records.';
COMMENT ON COLUMN our_schema.task_run_costs.unpriced_calls IS 'Usage records whose model had no price; they are missing in cost_usd.';
COMMENT ON COLUMN our_schema.task_run_costs.input_tokens IS 'Sum of the tokens of all buckets of input, caches included.';
COMMENT ON COLUMN our_schema.task_run_costs.output_tokens IS 'Sum of the tokens of all buckets of output, reasoning included.';
COMMENT ON COLUMN our_schema.task_run_costs.cost_usd IS 'Sum of the known costs in USD; NULL if none is known.';
COMMENT ON COLUMN our_schema.task_run_costs.subscription_value_usd IS 'What use under a subscription would have cost, in USD; not a part of cost_usd.';

-- Until now the view of the days has read token_usage itself.
SELECT our_schema.rebuild_token_usage_days() FROM our_schema.token_usage_rollup AS r WHERE r.time_zone IS NULL;
