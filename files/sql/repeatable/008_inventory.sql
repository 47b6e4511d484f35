-- The sources of the inventory: how a sync is asked for, what became of the last one, and how what is long gone is forgotten.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION our_schema.request_inventory_refresh(p_sources text[] DEFAULT NULL, p_requested_by text DEFAULT NULL)
    RETURNS TABLE (source text, task_run_id uuid, outcome text, retry_after_seconds bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- The caller's settings make neither a long read nor an endless wait of it.
    SET enable_indexscan = on
    SET enable_bitmapscan = on
    SET jit = off
    SET lock_timeout = '5s'
AS $$
DECLARE
    asked record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- It would not see the run that another caller has just queued.
        RAISE EXCEPTION 'request_inventory_refresh needs the isolation level READ COMMITTED'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF cardinality(p_sources) > 1000 OR array_position(p_sources, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'request_inventory_refresh takes 1,000 names at most, and no NULL among them'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Callers wait for each other here. Not at the row of the source, which a sync holds as long as it writes.
    PERFORM FROM our_schema.tasks AS t
    WHERE t.id IN (
        SELECT s.task_id FROM our_schema.inventory_sources AS s
        WHERE s.enabled AND s.connector <> 'ansible' AND (p_sources IS NULL OR s.name = ANY (p_sources))
    )
    ORDER BY t.id
    FOR NO KEY UPDATE;

    FOR asked IN
        SELECT
            a.*,
            -- All or nothing.
            bool_or(a.outcome IN ('unknown', 'too_soon')) OVER () AS refused
        FROM (
            SELECT n.name, s.task_id, queued.id AS queued_id, 10 - floor(extract(epoch FROM recent.age))::bigint AS wait,
                CASE
                    WHEN s.name IS NULL THEN 'unknown'
                    -- An Ansible inventory is synced by a playbook: no worker could.
                    WHEN NOT s.enabled OR s.connector = 'ansible' THEN 'disabled'
                    WHEN queued.id IS NOT NULL THEN 'already_queued'
                    WHEN recent.age IS NOT NULL THEN 'too_soon'
                    ELSE 'queued'
                END AS outcome
            FROM (
                SELECT DISTINCT g.name FROM unnest(p_sources) AS g (name)
                UNION ALL
                SELECT e.name FROM our_schema.inventory_sources AS e
                WHERE p_sources IS NULL AND e.enabled AND e.connector <> 'ansible'
            ) AS n
            LEFT JOIN our_schema.inventory_sources AS s ON s.name = n.name
            LEFT JOIN LATERAL (
                SELECT r.id FROM our_schema.task_runs AS r
                WHERE r.task_id = s.task_id AND r.status = 'queued'
                ORDER BY r.created_at
                LIMIT 1
            ) AS queued ON true
            -- A time in the future is of a clock that was set back since, and keeps nobody waiting.
            LEFT JOIN LATERAL (
                SELECT min(clock_timestamp() - r.created_at) AS age FROM our_schema.task_runs AS r
                WHERE r.task_id = s.task_id
                    AND r.created_at > clock_timestamp() - interval '10 seconds' AND r.created_at <= clock_timestamp()
            ) AS recent ON true
        ) AS a
        ORDER BY a.name
    LOOP
        CONTINUE WHEN asked.refused AND asked.outcome = 'queued';
        source := asked.name;
        task_run_id := asked.queued_id;
        outcome := asked.outcome;
        retry_after_seconds := CASE asked.outcome WHEN 'too_soon' THEN asked.wait END;
        IF outcome = 'queued' THEN
            INSERT INTO our_schema.task_runs AS r (task_id, created_at) VALUES (asked.task_id, clock_timestamp())
            RETURNING r.id INTO task_run_id;
            INSERT INTO our_schema.task_events (task_run_id, sequence, type, payload)
            VALUES (
                task_run_id, 0, 'status_change',
                jsonb_build_object('status', 'queued', 'requested_by', left(p_requested_by, 200), 'database_role', session_user)
            );
            PERFORM pg_notify('mission_control_inventory', '');
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION our_schema.request_inventory_refresh(text[], text) IS
    'Queue a sync of each of these sources, of all that are enabled if none is named, and wake the worker. A row for each: queued, already_queued, disabled (also an Ansible inventory, which a playbook syncs), unknown, or too_soon (less than 10 seconds after the last run was queued, and in how many seconds again). Where one is unknown or too soon nothing is queued, and those that could have been have no row.';

CREATE OR REPLACE FUNCTION our_schema.forget_gone_inventory(p_older_than interval) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before CONSTANT timestamptz := now() - p_older_than;
    forgotten bigint;
BEGIN
    IF before IS NULL OR before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'forget_gone_inventory removes what is long gone: p_older_than must be an age of at least 1 day, such as 30 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM our_schema.workloads
    WHERE gone_at < before AND external_id IS NOT NULL AND type IN ('k8s-pod', 'k8s-job', 'docker-container');
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    IF forgotten > 0 THEN
        INSERT INTO our_schema.audit_entries (actor, action, target_type, outcome, details)
        VALUES (
            session_user, 'inventory.forget', 'workloads', 'success',
            jsonb_build_object('gone_before', before, 'workloads', forgotten)
        );
    END IF;
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION our_schema.forget_gone_inventory(interval) IS
    'Remove the workloads that come and go by themselves (pods, jobs, containers) and have been gone for so long, a day at least. Everything else stays. Returns how many.';

CREATE OR REPLACE VIEW our_schema.inventory_source_status AS
SELECT
    s.name,
    s.connector,
    s.cluster,
    s.enabled,
    s.interval_seconds,
    s.last_observed_at,
    s.last_complete_at,
    s.last_run_id,
    r.status AS last_run_status,
    r.error AS last_run_error,
    r.finished_at AS last_run_finished_at,
    coalesce(h.live, 0) AS hosts,
    coalesce(v.live, 0) AS services,
    coalesce(w.live, 0) AS workloads,
    coalesce(h.gone, 0) + coalesce(v.gone, 0) + coalesce(w.gone, 0) AS gone
FROM our_schema.inventory_sources AS s
LEFT JOIN our_schema.task_runs AS r ON r.id = s.last_run_id
LEFT JOIN (
    SELECT t.source, count(*) FILTER (WHERE t.gone_at IS NULL) AS live, count(t.gone_at) AS gone
    FROM our_schema.hosts AS t GROUP BY t.source
) AS h ON h.source = s.name
LEFT JOIN (
    SELECT t.source, count(*) FILTER (WHERE t.gone_at IS NULL) AS live, count(t.gone_at) AS gone
    FROM our_schema.services AS t GROUP BY t.source
) AS v ON v.source = s.name
LEFT JOIN (
    SELECT t.source, count(*) FILTER (WHERE t.gone_at IS NULL) AS live, count(t.gone_at) AS gone
    FROM our_schema.workloads AS t GROUP BY t.source
) AS w ON w.source = s.name;
COMMENT ON VIEW our_schema.inventory_source_status IS 'Every source of the inventory, how its last sync ended, and how many rows it tells.';
COMMENT ON COLUMN our_schema.inventory_source_status.last_run_status IS 'How the run that ended last did so; NULL for none yet.';
COMMENT ON COLUMN our_schema.inventory_source_status.last_run_error IS 'Why it failed.';
COMMENT ON COLUMN our_schema.inventory_source_status.hosts IS 'Number of its hosts that are there.';
COMMENT ON COLUMN our_schema.inventory_source_status.services IS 'Number of its services that are there.';
COMMENT ON COLUMN our_schema.inventory_source_status.workloads IS 'Number of its workloads that are there.';
COMMENT ON COLUMN our_schema.inventory_source_status.gone IS 'Number of its rows, of all three kinds, that it lists no longer.';
