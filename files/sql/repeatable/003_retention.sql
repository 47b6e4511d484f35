-- The ways in which a log becomes shorter. Each leaves an audit entry in the same transaction: that of task_events is written by its trigger.
--
-- A login that does upkeep and nothing else calls remove_old_task_events() and prune_llm_bodies(), and forget_gone_inventory() in another file: none of
-- them removes for it what is younger than a day, so that whoever steals that login does not remove what has just been done.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION our_schema.guard_task_events() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    blanked our_schema.task_events;
BEGIN
    -- Both are needed: shorten_task_events() sets the marker for its own duration, and only the table's owner is trusted with it.
    IF TG_OP IN ('UPDATE', 'DELETE')
        AND current_setting('mission_control.task_event_retention', true) = 'on'
        AND current_user = (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = TG_RELID)
    THEN
        IF TG_LEVEL = 'STATEMENT' THEN
            RETURN NULL;
        ELSIF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        blanked := OLD;
        blanked.payload := '{}';
        blanked.payload_blanked_at := now();
        IF NEW IS NOT DISTINCT FROM blanked THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'task_events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
            HINT = 'Old events are removed, and the payload of one is blanked, by the owner with shorten_task_events().';
END
$$;
COMMENT ON FUNCTION our_schema.guard_task_events() IS 'Trigger function: refuses UPDATE, DELETE and TRUNCATE of task_events outside shorten_task_events().';

CREATE OR REPLACE FUNCTION our_schema.trace_task_events() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- What shorten_task_events() was asked for; nothing if it was not called.
    request CONSTANT jsonb := nullif(current_setting('mission_control.task_event_request', true), '')::jsonb;
    touched bigint;
    event_id bigint;
BEGIN
    SELECT count(*), min(s.id) INTO touched, event_id FROM shortened AS s;
    INSERT INTO our_schema.audit_entries (actor, action, target_type, target_id, outcome, details)
    VALUES (
        session_user,
        CASE TG_OP WHEN 'DELETE' THEN 'task_events.remove' ELSE 'task_events.blank' END,
        'task_events', CASE WHEN TG_OP = 'UPDATE' AND touched = 1 THEN event_id::text END, 'success',
        coalesce(request, '{"reason": null}') || jsonb_build_object('events', touched)
    );
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.trace_task_events() IS 'Trigger function: writes an audit entry whenever task_events becomes shorter.';

CREATE OR REPLACE FUNCTION our_schema.shorten_task_events(
    p_reason text, p_before timestamptz DEFAULT NULL, p_event_id bigint DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    touched bigint;
BEGIN
    IF btrim(coalesce(p_reason, '')) = '' OR num_nonnulls(p_before, p_event_id) <> 1 THEN
        RAISE EXCEPTION 'shorten_task_events needs a reason, and either p_before or p_event_id'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_before > now() THEN
        RAISE EXCEPTION 'shorten_task_events removes what is old: p_before lies in the future'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('mission_control.task_event_retention', 'on', true),
        set_config(
            'mission_control.task_event_request',
            jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'before', p_before))::text, true
        );
    IF p_event_id IS NULL THEN
        DELETE FROM our_schema.task_events WHERE recorded_at < p_before;
    ELSE
        UPDATE our_schema.task_events SET payload = '{}', payload_blanked_at = now() WHERE id = p_event_id;
    END IF;
    GET DIAGNOSTICS touched = ROW_COUNT;
    PERFORM set_config('mission_control.task_event_retention', '', true),
        set_config('mission_control.task_event_request', '', true);
    IF p_event_id IS NOT NULL AND touched = 0 THEN
        RAISE EXCEPTION 'there is no task event %', p_event_id USING ERRCODE = 'no_data_found';
    END IF;
    RETURN touched;
END
$$;
COMMENT ON FUNCTION our_schema.shorten_task_events(text, timestamptz, bigint) IS
    'The only way to shorten task_events: remove the events recorded before p_before, or blank the payload of the event p_event_id that holds a secret. For the owner; returns how many events, and each use is in the audit log.';

CREATE OR REPLACE FUNCTION our_schema.remove_old_task_events(p_older_than interval) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before CONSTANT timestamptz := now() - p_older_than;
    events bigint;
    hosts bigint;
BEGIN
    IF before IS NULL OR before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'remove_old_task_events removes what is old: p_older_than must be an age of at least 1 day, such as 90 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    events := our_schema.shorten_task_events('retention'::text, before, NULL::bigint);
    DELETE FROM our_schema.playbook_run_hosts AS h
    USING our_schema.task_runs AS r
    WHERE r.id = h.task_run_id AND r.finished_at < before
        -- What was recorded late is kept as long as any other event.
        AND NOT EXISTS (SELECT FROM our_schema.task_events AS e WHERE e.task_run_id = r.id);
    GET DIAGNOSTICS hosts = ROW_COUNT;
    IF hosts > 0 THEN
        INSERT INTO our_schema.audit_entries (actor, action, target_type, outcome, details)
        VALUES (
            session_user, 'playbook_run_hosts.remove', 'playbook_run_hosts', 'success',
            jsonb_build_object('before', before, 'hosts', hosts)
        );
    END IF;
    RETURN events;
END
$$;
COMMENT ON FUNCTION our_schema.remove_old_task_events(interval) IS
    'Remove the task events that were recorded so long ago, a day at least, and the counts by host of the playbook runs that have none left. Returns how many events; each use is in the audit log.';

CREATE OR REPLACE FUNCTION our_schema.prune_llm_bodies(p_before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    requests bigint;
    responses bigint;
BEGIN
    IF p_before IS NULL OR p_before > now() THEN
        RAISE EXCEPTION 'prune_llm_bodies removes what is old: p_before must be a time in the past'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_before > now() - interval '1 day' AND NOT has_table_privilege(session_user, 'our_schema.llm_requests'::regclass, 'INSERT') THEN
        RAISE EXCEPTION 'prune_llm_bodies removes what is at least 1 day old for a login that writes none: p_before must be a day ago or earlier'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE our_schema.llm_requests SET messages = NULL, bodies_pruned_at = now()
    WHERE occurred_at < p_before AND messages IS NOT NULL;
    GET DIAGNOSTICS requests = ROW_COUNT;
    UPDATE our_schema.llm_responses SET content = NULL, raw = NULL, bodies_pruned_at = now()
    WHERE occurred_at < p_before AND (content IS NOT NULL OR raw IS NOT NULL);
    GET DIAGNOSTICS responses = ROW_COUNT;
    IF requests + responses > 0 THEN
        INSERT INTO our_schema.audit_entries (actor, action, target_type, outcome, details)
        VALUES (
            session_user, 'llm_bodies.prune', 'llm_requests', 'success',
            jsonb_build_object('before', p_before, 'requests', requests, 'responses', responses)
        );
    END IF;
    RETURN requests + responses;
END
$$;
COMMENT ON FUNCTION our_schema.prune_llm_bodies(timestamptz) IS
    'Remove prompts and replies older than p_before; counts, latencies and costs stay. Returns how many bodies were removed, requests and responses together.';
