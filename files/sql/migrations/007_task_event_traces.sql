-- Whatever shortens task_events leaves a trace in the audit log, also if its owner sets the marker of shorten_task_events() by hand.
--
-- The entry is written by a trigger and no longer by that function, and an UPDATE may blank a payload and nothing else. The owner of
-- a table can still take its triggers away: that is not defended, and shows as missing or disabled triggers.

CREATE OR REPLACE FUNCTION guard_task_events() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
DECLARE
    blanked task_events;
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

CREATE FUNCTION trace_task_events() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
DECLARE
    -- What shorten_task_events() was asked for; nothing if it was not called.
    request CONSTANT jsonb := nullif(current_setting('mission_control.task_event_request', true), '')::jsonb;
    touched bigint;
    event_id bigint;
BEGIN
    SELECT count(*), min(s.id) INTO touched, event_id FROM shortened AS s;
    INSERT INTO audit_entries (actor, action, target_type, target_id, outcome, details)
    VALUES (
        session_user,
        CASE TG_OP WHEN 'DELETE' THEN 'task_events.remove' ELSE 'task_events.blank' END,
        'task_events', CASE WHEN TG_OP = 'UPDATE' AND touched = 1 THEN event_id::text END, 'success',
        coalesce(request, '{"reason": null}') || jsonb_build_object('events', touched)
    );
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION trace_task_events() IS 'Trigger function: writes an audit entry whenever task_events becomes shorter.';

CREATE TRIGGER tr_task_events_trace_delete AFTER DELETE ON task_events
    REFERENCING OLD TABLE AS shortened FOR EACH STATEMENT EXECUTE FUNCTION trace_task_events();
CREATE TRIGGER tr_task_events_trace_update AFTER UPDATE ON task_events
    REFERENCING OLD TABLE AS shortened FOR EACH STATEMENT EXECUTE FUNCTION trace_task_events();
-- Plain triggers are skipped under session_replication_role = replica.
ALTER TABLE task_events ENABLE ALWAYS TRIGGER tr_task_events_trace_delete;
ALTER TABLE task_events ENABLE ALWAYS TRIGGER tr_task_events_trace_update;
