-- The two ways in which a log becomes shorter. Both leave an audit entry in the same transaction: that of task_events is written by its trigger.

CREATE OR REPLACE FUNCTION shorten_task_events(
    p_reason text, p_before timestamptz DEFAULT NULL, p_event_id bigint DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
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
        DELETE FROM task_events WHERE recorded_at < p_before;
    ELSE
        UPDATE task_events SET payload = '{}', payload_blanked_at = now() WHERE id = p_event_id;
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
COMMENT ON FUNCTION shorten_task_events(text, timestamptz, bigint) IS
    'The only way to shorten task_events: remove the events recorded before p_before, or blank the payload of the event p_event_id that holds a secret. For the owner; returns how many events, and each use is in the audit log.';

CREATE OR REPLACE FUNCTION prune_llm_bodies(p_before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
AS $$
DECLARE
    requests bigint;
    responses bigint;
BEGIN
    IF p_before IS NULL OR p_before > now() THEN
        RAISE EXCEPTION 'prune_llm_bodies removes what is old: p_before must be a time in the past'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE llm_requests SET messages = NULL, bodies_pruned_at = now()
    WHERE occurred_at < p_before AND messages IS NOT NULL;
    GET DIAGNOSTICS requests = ROW_COUNT;
    UPDATE llm_responses SET content = NULL, raw = NULL, bodies_pruned_at = now()
    WHERE occurred_at < p_before AND (content IS NOT NULL OR raw IS NOT NULL);
    GET DIAGNOSTICS responses = ROW_COUNT;
    IF requests + responses > 0 THEN
        INSERT INTO audit_entries (actor, action, target_type, outcome, details)
        VALUES (
            session_user, 'llm_bodies.prune', 'llm_requests', 'success',
            jsonb_build_object('before', p_before, 'requests', requests, 'responses', responses)
        );
    END IF;
    RETURN requests + responses;
END
$$;
COMMENT ON FUNCTION prune_llm_bodies(timestamptz) IS
    'Remove prompts and replies older than p_before; counts, latencies and costs stay. Returns how many bodies were removed, requests and responses together.';
