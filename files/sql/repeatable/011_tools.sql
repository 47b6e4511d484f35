-- role: audit
-- Tools under policy: what decides about a call, the life of a call from the request to its end, and what provisions tools, policies and tokens.
--
-- All of it runs as the owner of the audit log, which nobody can become, and is the only way to write to the tables of tools:
--   names      are looked up in pg_catalog alone, and what is ours is named with its schema. Nothing that belongs to the owner of the other objects is
--              read, written or called, since its code would run with the rights of these functions; foreign keys are checked as their owner
--   refusals   are rows that are returned, not errors: so the transaction commits, and what was refused stays in the audit log
--   locks      of others are not waited for: who keeps a transaction open on a call holds up this call alone, and nobody
--   time       is that of the clock, not of the beginning of a transaction, which may have been kept open for long
-- Arguments, results and tokens are in no audit entry.

SET LOCAL search_path = pg_catalog, pg_temp;

-- Small things that the others share ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION our_schema.refuse_reserved_audit_action() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In the name of whoever inserts: that is the owner within its functions alone, since nobody can become it.
    IF current_user = (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = TG_RELID) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit entries about tools, policies and their tokens are written by the functions that decide about tool calls: choose another action than %',
        left(NEW.action, 100)
        USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION our_schema.refuse_reserved_audit_action() IS
    'Trigger function: leaves the actions tool_call.…, tool.…, policy.… and tool_token.… to functions of the owner of the audit log.';

CREATE OR REPLACE FUNCTION our_schema.stamp_tool_row() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION our_schema.stamp_tool_row() IS
    'Trigger function: stamps updated_at, as set_updated_at() does for the tables of the other owner. The triggers call it only for an UPDATE that changes something.';

CREATE OR REPLACE FUNCTION our_schema.tool_digest(p_tool_id uuid) RETURNS bytea
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT sha256(convert_to(
            jsonb_build_array(t.name, t.arguments_schema, t.risk_level, t.connector, t.operation, t.preset)::text, 'UTF8'
        ))
        FROM our_schema.tool_definitions AS t
        WHERE t.id = p_tool_id
    );
END
$$;
COMMENT ON FUNCTION our_schema.tool_digest(uuid) IS
    'SHA-256 of what a person who approves a call relies on: the tool''s name, its arguments, what it may break, and what carries it out.';

CREATE OR REPLACE FUNCTION our_schema.tool_token_owner(p_token text, p_kind text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_token IS NULL OR octet_length(p_token) NOT BETWEEN 32 AND 512 THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT t.name FROM our_schema.tool_tokens AS t
        WHERE t.token_sha256 = sha256(convert_to(p_token, 'UTF8')) AND t.kind = p_kind
    );
END
$$;
COMMENT ON FUNCTION our_schema.tool_token_owner(text, text) IS 'Name of who has this token of this kind (requester or approver); NULL for an unknown one.';

CREATE OR REPLACE FUNCTION our_schema.note_tool_call(
    p_actor text, p_action text, p_call_id uuid, p_outcome text, p_details jsonb
) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO our_schema.audit_entries (actor, action, target_type, target_id, outcome, details)
    VALUES (p_actor, 'tool_call.' || p_action, 'tool_call', p_call_id::text, p_outcome, jsonb_strip_nulls(p_details));
END
$$;
COMMENT ON FUNCTION our_schema.note_tool_call(text, text, uuid, text, jsonb) IS 'Write an audit entry about a tool call.';

CREATE OR REPLACE FUNCTION our_schema.announce_tool_call(p_call_id uuid, p_tool text, p_status text, p_checked boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify(
        'mission_control_tools',
        jsonb_build_object(
            'call', p_call_id, 'tool', left(p_tool, 255), 'status', p_status, 'waits_for_approval', p_status = 'pending' AND p_checked
        )::text
    );
END
$$;
COMMENT ON FUNCTION our_schema.announce_tool_call(uuid, text, text, boolean) IS
    'Tell listeners of the channel mission_control_tools, at commit, which status a call has now.';

-- The decision --------------------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION our_schema.tool_policy_decision(
    p_tool text,
    p_arguments jsonb,
    p_caller text,
    OUT effect text,
    OUT policy text,
    OUT reason text
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tool_risk text;
    tool_preset jsonb;
    tool_enabled boolean;
    call_arguments jsonb;
    found_priority bigint;
    found_conditions jsonb;
    found_known boolean;
BEGIN
    SELECT t.risk_level, t.preset, t.enabled INTO tool_risk, tool_preset, tool_enabled
    FROM our_schema.tool_definitions AS t
    WHERE t.name = p_tool;
    IF NOT FOUND THEN
        effect := 'deny';
        reason := format('there is no tool %s', left(coalesce(p_tool, ''), 255));
        RETURN;
    END IF;
    IF NOT tool_enabled THEN
        effect := 'deny';
        reason := format('the tool %s is disabled', left(p_tool, 255));
        RETURN;
    END IF;
    call_arguments := coalesce(p_arguments, '{}');
    IF jsonb_typeof(call_arguments) <> 'object' THEN
        effect := 'deny';
        reason := 'the arguments are no JSON object';
        RETURN;
    END IF;
    call_arguments := call_arguments || tool_preset;
    SELECT CASE WHEN p.conditions_known THEN p.effect ELSE 'deny' END, p.name, p.priority, p.conditions, p.conditions_known
    INTO effect, policy, found_priority, found_conditions, found_known
    FROM our_schema.policies AS p
    WHERE p.enabled
        AND (p_tool = ANY (p.tools) OR '*' = ANY (p.tools) OR tool_risk = ANY (p.risk_levels))
        AND CASE
            -- One that cannot be understood denies whatever it covers.
            WHEN NOT p.conditions_known OR p.conditions = '{}'::jsonb THEN true
            ELSE coalesce(call_arguments @> (p.conditions -> 'arguments'), true)
                AND coalesce((p.conditions -> 'callers') ? p_caller, NOT p.conditions ? 'callers')
                -- Asked first, and without a table in FROM, since a query within a query takes longer than all the rest. That a list contains a
                -- value is equality only of what is neither an object nor a list itself.
                AND CASE WHEN p.conditions ? 'arguments_in' THEN NOT EXISTS (
                    SELECT FROM (SELECT jsonb_object_keys(p.conditions -> 'arguments_in') AS key) AS i
                    WHERE NOT coalesce(
                        CASE WHEN jsonb_typeof(call_arguments -> i.key) IN ('object', 'array') THEN EXISTS (
                            SELECT FROM jsonb_array_elements(p.conditions -> 'arguments_in' -> i.key) AS e
                            WHERE e.value = call_arguments -> i.key
                        ) ELSE p.conditions -> 'arguments_in' -> i.key @> (call_arguments -> i.key) END,
                        false
                    )
                ) ELSE true END
        END
    ORDER BY p.priority DESC,
        CASE WHEN NOT p.conditions_known OR p.effect = 'deny' THEN 3 WHEN p.effect = 'require_approval' THEN 2 ELSE 1 END DESC,
        p.name COLLATE "C"
    LIMIT 1;
    IF FOUND THEN
        reason := CASE
            WHEN NOT found_known THEN (
                SELECT format(
                    'the policy %s denies whatever it covers, since its conditions are not known or not well-formed: %s',
                    left(policy, 255), left(string_agg(k.key, ', ' ORDER BY k.key), 255)
                )
                FROM jsonb_object_keys(found_conditions) AS k (key)
                WHERE k.key NOT IN ('arguments', 'arguments_in', 'callers')
                    OR found_conditions - '{arguments,arguments_in,callers}'::text[] = '{}'::jsonb
            )
            WHEN effect = 'allow' THEN format('the policy %s allows it', left(policy, 255))
            WHEN effect = 'deny' THEN format('the policy %s denies it', left(policy, 255))
            ELSE format('the policy %s requires an approval', left(policy, 255))
        END;
        RETURN;
    END IF;
    effect := CASE tool_risk WHEN 'READ_ONLY' THEN 'allow' WHEN 'SAFE_MUTATE' THEN 'require_approval' ELSE 'deny' END;
    policy := NULL;
    reason := CASE tool_risk
        WHEN 'READ_ONLY' THEN 'no policy covers it, and a tool of risk READ_ONLY is allowed'
        WHEN 'SAFE_MUTATE' THEN 'no policy covers it, and a tool of risk SAFE_MUTATE requires an approval'
        ELSE 'no policy covers it, and a tool of risk DESTRUCTIVE is denied'
    END;
END
$$;
COMMENT ON FUNCTION our_schema.tool_policy_decision(text, jsonb, text) IS
    'What the policies say of a call of this tool with these arguments, to which its preset is added, by this caller: effect (allow, require_approval or deny), the policy that decides (NULL: the default of the risk level), and the reason in words. Of the enabled policies that cover the tool and whose conditions are met the highest priority decides, then the strictest effect, then the name.';

-- The life of a call --------------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION our_schema.request_tool_call(
    p_task_run_id uuid,
    p_tool text,
    p_arguments jsonb DEFAULT '{}',
    p_idempotency_key text DEFAULT NULL,
    p_token text DEFAULT NULL,
    OUT call_id uuid,
    OUT status text,
    OUT policy text,
    OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_open CONSTANT bigint := 200;
    most_bytes CONSTANT bigint := 65536;
    asked_at CONSTANT timestamptz := clock_timestamp();
    caller text := session_user;
    tool our_schema.tool_definitions;
    earlier our_schema.tool_call_records;
    given jsonb := coalesce(p_arguments, '{}');
    merged jsonb;
    effect text;
    noted jsonb := jsonb_build_object('tool', left(p_tool, 255), 'task_run_id', p_task_run_id);
BEGIN
    status := 'denied';
    IF p_token IS NOT NULL THEN
        caller := our_schema.tool_token_owner(p_token, 'requester'::text);
    END IF;
    -- In the order of what it costs to find out.
    IF caller IS NULL THEN
        caller := session_user;
        reason := 'the token is not known: ask whoever provisions the database for one of mission_control_schema_tool_requesters';
    ELSIF p_task_run_id IS NULL THEN
        reason := 'a call belongs to a task run: give its id';
    ELSIF p_idempotency_key IS NOT NULL AND octet_length(p_idempotency_key) NOT BETWEEN 1 AND 255 THEN
        reason := 'the idempotency key must have 1 to 255 bytes';
    ELSE
        SELECT t.* INTO tool FROM our_schema.tool_definitions AS t WHERE t.name = p_tool;
        IF NOT FOUND THEN
            reason := format('there is no tool %s', left(coalesce(p_tool, ''), 255));
        ELSIF jsonb_typeof(given) <> 'object' THEN
            reason := 'the arguments are no JSON object';
        ELSE
            reason := 'the arguments ' || our_schema.json_fault(given, most_bytes);
        END IF;
    END IF;
    IF reason IS NOT NULL THEN
        PERFORM our_schema.note_tool_call(caller, 'request'::text, NULL::uuid, 'denied'::text, noted || jsonb_build_object('reason', reason));
        RETURN;
    END IF;
    merged := given || tool.preset;
    noted := noted || jsonb_build_object('arguments_sha256', encode(sha256(convert_to(merged::text, 'UTF8')), 'hex'));

    IF p_idempotency_key IS NOT NULL THEN
        SELECT r.* INTO earlier FROM our_schema.tool_call_records AS r
        WHERE r.task_run_id = p_task_run_id AND r.idempotency_key = p_idempotency_key;
        IF FOUND THEN
            SELECT e.* INTO call_id, status, policy, reason
            FROM our_schema.repeated_tool_call(earlier, tool.id, merged, caller, noted) AS e;
            RETURN;
        END IF;
    END IF;
    -- What has run out and is not marked so yet does not count.
    IF (
        SELECT count(*) FROM our_schema.tool_call_records AS r
        WHERE r.requested_by = caller
            AND r.status IN ('pending', 'approved')
            AND CASE r.status WHEN 'pending' THEN r.created_at > asked_at - interval '24 hours'
                ELSE r.approval_expires_at > asked_at END
    ) >= most_open THEN
        reason := format('%s has %s open calls, which is the limit: wait until some are decided and run, or cancel them', left(caller, 255), most_open);
        PERFORM our_schema.note_tool_call(caller, 'request'::text, NULL::uuid, 'denied'::text, noted || jsonb_build_object('reason', reason));
        RETURN;
    END IF;

    -- Said by the name: for an array of the same elements in another order, or a number with other zeros, it is the same value.
    IF EXISTS (SELECT FROM jsonb_each(tool.preset) AS s WHERE given ? s.key AND given -> s.key IS DISTINCT FROM s.value) THEN
        effect := 'deny';
        reason := format(
            'the tool fixes the argument %s to another value',
            (SELECT left(min(s.key), 255) FROM jsonb_each(tool.preset) AS s WHERE given ? s.key AND given -> s.key IS DISTINCT FROM s.value)
        );
        merged := given || tool.preset;
    ELSE
        SELECT d.effect, d.policy, d.reason INTO effect, policy, reason
        FROM our_schema.tool_policy_decision(p_tool, given, caller) AS d;
    END IF;
    status := CASE effect WHEN 'allow' THEN 'approved' WHEN 'require_approval' THEN 'pending' ELSE 'denied' END;
    BEGIN
        INSERT INTO our_schema.tool_call_records AS r (
            task_run_id, tool_id, arguments, status, created_at, requested_by, requested_login, idempotency_key, tool_digest, policy, reason,
            approval_expires_at
        )
        VALUES (
            p_task_run_id, tool.id, merged, status, asked_at, caller, session_user, p_idempotency_key, our_schema.tool_digest(tool.id),
            policy, reason, CASE WHEN effect = 'allow' THEN asked_at + tool.approval_seconds * interval '1 second' END
        )
        ON CONFLICT ON CONSTRAINT uq_tool_call_records_task_run_id_idempotency_key DO NOTHING
        RETURNING r.id INTO call_id;
    EXCEPTION
        WHEN foreign_key_violation THEN
            call_id := NULL;
            status := 'denied';
            policy := NULL;
            reason := format('there is no task run %s', p_task_run_id);
            PERFORM our_schema.note_tool_call(caller, 'request'::text, NULL::uuid, 'denied'::text, noted || jsonb_build_object('reason', reason));
            RETURN;
    END;
    IF call_id IS NULL THEN
        -- Another session has asked with the same key at the same time.
        SELECT r.* INTO earlier FROM our_schema.tool_call_records AS r
        WHERE r.task_run_id = p_task_run_id AND r.idempotency_key = p_idempotency_key;
        SELECT e.* INTO call_id, status, policy, reason
        FROM our_schema.repeated_tool_call(earlier, tool.id, merged, caller, noted) AS e;
        RETURN;
    END IF;
    PERFORM our_schema.note_tool_call(
        caller, 'request'::text, call_id, CASE status WHEN 'denied' THEN 'denied' ELSE 'success' END,
        noted || jsonb_build_object('status', status, 'policy', policy, 'reason', reason)
    );
    PERFORM our_schema.announce_tool_call(call_id, tool.name, status, false);
END
$$;
COMMENT ON FUNCTION our_schema.request_tool_call(uuid, text, jsonb, text, text) IS
    'Ask for a call of a tool within a task run. The caller is who has the token, or the login. Returns the call with its status (pending, approved or denied), the policy that decided, and the reason; call_id is NULL where nothing was stored. The same idempotency key, tool and arguments within a run are the same call. Nobody has more than 200 open calls.';

CREATE OR REPLACE FUNCTION our_schema.repeated_tool_call(
    p_earlier our_schema.tool_call_records,
    p_tool_id uuid,
    p_arguments jsonb,
    p_caller text,
    p_noted jsonb,
    OUT call_id uuid,
    OUT status text,
    OUT policy text,
    OUT reason text
)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_earlier.tool_id = p_tool_id AND p_earlier.arguments = p_arguments AND p_earlier.requested_by = p_caller THEN
        call_id := p_earlier.id;
        status := p_earlier.status;
        policy := p_earlier.policy;
        reason := p_earlier.reason;
        RETURN;
    END IF;
    status := 'denied';
    reason := 'the idempotency key was used in this run for another tool, with other arguments, or by somebody else: choose another key';
    PERFORM our_schema.note_tool_call(
        p_caller, 'request'::text, p_earlier.id, 'denied'::text, p_noted || jsonb_build_object('reason', reason)
    );
END
$$;
COMMENT ON FUNCTION our_schema.repeated_tool_call(our_schema.tool_call_records, uuid, jsonb, text, jsonb) IS
    'What request_tool_call() answers to a key that was used before.';

-- Every step below locks the call without waiting, and says this where somebody else has it.
CREATE OR REPLACE FUNCTION our_schema.tool_call_not_held(p_call_id uuid, OUT status text, OUT reason text)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT r.status INTO status FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id;
    reason := CASE
        WHEN FOUND THEN 'another session is busy with this call: try again'
        ELSE format('there is no tool call %s', coalesce(p_call_id::text, 'without an id'))
    END;
END
$$;
COMMENT ON FUNCTION our_schema.tool_call_not_held(uuid) IS 'Why a call could not be locked, and its status.';

CREATE OR REPLACE FUNCTION our_schema.close_tool_call(
    p_call our_schema.tool_call_records, p_tool text, p_status text, p_policy text, p_reason text
) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE our_schema.tool_call_records AS r
    SET status = p_status, policy = p_policy, reason = p_reason, approval_expires_at = NULL
    WHERE r.id = p_call.id;
    PERFORM our_schema.announce_tool_call(p_call.id, p_tool, p_status, false);
END
$$;
COMMENT ON FUNCTION our_schema.close_tool_call(our_schema.tool_call_records, text, text, text, text) IS
    'Set a call that has not started to denied, expired or cancelled.';

CREATE OR REPLACE FUNCTION our_schema.check_tool_call(
    p_call_id uuid, p_problem text, OUT accepted boolean, OUT status text, OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    call our_schema.tool_call_records;
    tool our_schema.tool_definitions;
BEGIN
    accepted := false;
    SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT n.status, n.reason INTO status, reason FROM our_schema.tool_call_not_held(p_call_id) AS n;
        RETURN;
    END IF;
    SELECT t.* INTO tool FROM our_schema.tool_definitions AS t WHERE t.id = call.tool_id;
    status := call.status;
    IF call.status NOT IN ('pending', 'approved') THEN
        reason := format('the call is %s', call.status);
        RETURN;
    END IF;
    accepted := true;
    IF p_problem IS NULL THEN
        reason := call.reason;
        IF call.checked_at IS NULL THEN
            UPDATE our_schema.tool_call_records AS r SET checked_at = clock_timestamp() WHERE r.id = p_call_id;
            PERFORM our_schema.announce_tool_call(p_call_id, tool.name, call.status, true);
        END IF;
        RETURN;
    END IF;
    status := 'denied';
    reason := 'the executor found that the tool cannot be called so';
    UPDATE our_schema.tool_call_records AS r SET error = left(p_problem, 8192) WHERE r.id = p_call_id;
    PERFORM our_schema.close_tool_call(call, tool.name, status, call.policy, reason);
    PERFORM our_schema.note_tool_call(
        session_user::text, 'check'::text, p_call_id, 'denied'::text, jsonb_build_object('tool', left(tool.name, 255), 'reason', reason)
    );
END
$$;
COMMENT ON FUNCTION our_schema.check_tool_call(uuid, text) IS
    'For the executor: note that the arguments of a call are right (p_problem NULL), whereupon a person may be asked, or what is wrong with them, which denies it.';

CREATE OR REPLACE FUNCTION our_schema.decide_tool_call_as(
    p_call_id uuid,
    p_decision text,
    p_reason text,
    p_approver text,
    p_login text,
    OUT accepted boolean,
    OUT status text,
    OUT reason text
)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    call our_schema.tool_call_records;
    tool our_schema.tool_definitions;
    new_policy text;
    effect text;
    noted jsonb;
    locked boolean;
    is_approval CONSTANT boolean := coalesce(p_decision, '') = 'approve';
BEGIN
    accepted := false;
    -- An older snapshot would not show what the policies are now.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a tool call is decided about in a transaction that is read committed: begin it so'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF coalesce(p_decision, '') NOT IN ('approve', 'deny') THEN
        RAISE EXCEPTION 'a decision is approve or deny' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(p_reason) > 4096 THEN
        RAISE EXCEPTION 'the reason of a decision has at most 4096 bytes' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- First without a lock: whoever is refused, and keeps the transaction open, holds up nobody.
    FOREACH locked IN ARRAY ARRAY[false, true] LOOP
        IF locked THEN
            SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id FOR UPDATE SKIP LOCKED;
        ELSE
            SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id;
        END IF;
        IF NOT FOUND THEN
            SELECT n.status, n.reason INTO status, reason FROM our_schema.tool_call_not_held(p_call_id) AS n;
            RETURN;
        END IF;
        SELECT t.* INTO tool FROM our_schema.tool_definitions AS t WHERE t.id = call.tool_id;
        noted := jsonb_build_object(
            'tool', left(tool.name, 255), 'requested_by', call.requested_by, 'given_reason', p_reason,
            'arguments_sha256', encode(sha256(convert_to(call.arguments::text, 'UTF8')), 'hex')
        );
        status := call.status;
        reason := CASE
            WHEN p_approver = call.requested_by OR p_login = call.requested_login
                THEN format('%s asked for this call: somebody else has to decide about it', left(p_approver, 255))
            WHEN call.status <> 'pending' THEN format('the call is %s', call.status)
            WHEN call.checked_at IS NULL THEN 'the executor has not checked the arguments yet: try again when it has'
        END;
        IF reason IS NOT NULL THEN
            PERFORM our_schema.note_tool_call(p_approver, p_decision, p_call_id, 'denied'::text, noted || jsonb_build_object('reason', reason));
            RETURN;
        END IF;
    END LOOP;
    IF call.created_at <= clock_timestamp() - interval '24 hours' THEN
        status := 'expired';
        reason := 'nobody decided about the call within 24 hours';
        PERFORM our_schema.close_tool_call(call, tool.name, status, call.policy, reason);
        PERFORM our_schema.note_tool_call(p_approver, p_decision, p_call_id, 'denied'::text, noted || jsonb_build_object('reason', reason));
        RETURN;
    END IF;
    IF NOT is_approval THEN
        accepted := true;
        status := 'denied';
        reason := coalesce(nullif(btrim(p_reason), ''), format('%s denied it', left(p_approver, 255)));
        UPDATE our_schema.tool_call_records AS r SET approved_by = p_approver, approved_at = clock_timestamp() WHERE r.id = p_call_id;
        PERFORM our_schema.close_tool_call(call, tool.name, status, call.policy, reason);
        PERFORM our_schema.note_tool_call(p_approver, 'deny'::text, p_call_id, 'success'::text, noted || jsonb_build_object('policy', call.policy));
        RETURN;
    END IF;
    -- What has become of tool and policies since may only be stricter than the person who approves.
    SELECT d.effect, d.policy, d.reason INTO effect, new_policy, reason
    FROM our_schema.tool_policy_decision(tool.name, call.arguments, call.requested_by) AS d;
    IF effect <> 'deny' AND our_schema.tool_digest(tool.id) IS DISTINCT FROM call.tool_digest THEN
        effect := 'deny';
        reason := 'the tool was changed after the call was asked for: ask for it again';
    END IF;
    IF effect = 'deny' THEN
        status := 'denied';
        PERFORM our_schema.close_tool_call(call, tool.name, status, new_policy, reason);
        PERFORM our_schema.note_tool_call(
            p_approver, 'approve'::text, p_call_id, 'denied'::text, noted || jsonb_build_object('policy', new_policy, 'reason', reason)
        );
        RETURN;
    END IF;
    accepted := true;
    status := 'approved';
    reason := coalesce(nullif(btrim(p_reason), ''), call.reason);
    UPDATE our_schema.tool_call_records AS r
    SET status = 'approved', approved_by = p_approver, approved_at = clock_timestamp(), reason = decide_tool_call_as.reason,
        approval_expires_at = clock_timestamp() + tool.approval_seconds * interval '1 second'
    WHERE r.id = p_call_id;
    PERFORM our_schema.note_tool_call(
        p_approver, 'approve'::text, p_call_id, 'success'::text,
        noted || jsonb_build_object('policy', call.policy, 'approval_seconds', tool.approval_seconds)
    );
    PERFORM our_schema.announce_tool_call(p_call_id, tool.name, status, true);
END
$$;
COMMENT ON FUNCTION our_schema.decide_tool_call_as(uuid, text, text, text, text) IS
    'Approve or deny a call in the name of an approver, who is known; a part of decide_tool_call(). p_login: the login, where it is what names the approver.';

CREATE OR REPLACE FUNCTION our_schema.decide_tool_call(
    p_call_id uuid, p_decision text, p_reason text, OUT accepted boolean, OUT status text, OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT d.accepted, d.status, d.reason INTO accepted, status, reason
    FROM our_schema.decide_tool_call_as(p_call_id, p_decision, p_reason, session_user::text, session_user::text) AS d;
END
$$;
COMMENT ON FUNCTION our_schema.decide_tool_call(uuid, text, text) IS
    'Approve or deny a pending call that the executor has checked, as the person who has logged in. For members of the approver role alone.';

CREATE OR REPLACE FUNCTION our_schema.decide_tool_call(
    p_call_id uuid, p_decision text, p_reason text, p_token text, OUT accepted boolean, OUT status text, OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    approver CONSTANT text := our_schema.tool_token_owner(p_token, 'approver'::text);
BEGIN
    IF approver IS NULL THEN
        accepted := false;
        -- Nothing of the call, not even whether there is one.
        reason := 'the token is not that of an approver: give one of mission_control_schema_tool_approvers';
        PERFORM our_schema.note_tool_call(
            session_user::text, CASE p_decision WHEN 'deny' THEN 'deny' ELSE 'approve' END, p_call_id, 'denied'::text, jsonb_build_object('reason', reason)
        );
        RETURN;
    END IF;
    SELECT d.accepted, d.status, d.reason INTO accepted, status, reason
    FROM our_schema.decide_tool_call_as(p_call_id, p_decision, p_reason, approver, NULL::text) AS d;
END
$$;
COMMENT ON FUNCTION our_schema.decide_tool_call(uuid, text, text, text) IS
    'Approve or deny a pending call that the executor has checked, as the person who has this token. Never who asked for the call.';

CREATE OR REPLACE FUNCTION our_schema.start_tool_call(
    p_call_id uuid,
    p_execution_id uuid,
    p_executor jsonb,
    OUT accepted boolean,
    OUT status text,
    OUT reason text,
    OUT tool text,
    OUT connector text,
    OUT operation text,
    OUT arguments jsonb,
    OUT timeout_seconds bigint,
    OUT output_limit_bytes bigint
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    call our_schema.tool_call_records;
    definition our_schema.tool_definitions;
    effect text;
    new_policy text;
    noted jsonb;
BEGIN
    accepted := false;
    -- An older snapshot would not show what the policies are now.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a tool call is started in a transaction that is read committed: begin it so'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF p_execution_id IS NULL THEN
        RAISE EXCEPTION 'a start needs an id of its own: give p_execution_id' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(p_executor) IS DISTINCT FROM 'object' OR our_schema.json_fault(p_executor, 4096::bigint) IS NOT NULL THEN
        RAISE EXCEPTION 'p_executor must be a JSON object of at most 4096 bytes' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT n.status, n.reason INTO status, reason FROM our_schema.tool_call_not_held(p_call_id) AS n;
        RETURN;
    END IF;
    SELECT t.* INTO definition FROM our_schema.tool_definitions AS t WHERE t.id = call.tool_id;
    tool := definition.name;
    noted := jsonb_build_object(
        'tool', left(tool, 255), 'requested_by', call.requested_by, 'approved_by', call.approved_by, 'execution_id', p_execution_id,
        'arguments_sha256', encode(sha256(convert_to(call.arguments::text, 'UTF8')), 'hex')
    );
    status := call.status;
    IF call.status <> 'approved' THEN
        reason := format('the call is %s', call.status);
    ELSIF call.approval_expires_at <= clock_timestamp() THEN
        status := 'expired';
        reason := 'the approval was not used in time';
        PERFORM our_schema.close_tool_call(call, tool, status, call.policy, reason);
    ELSE
        SELECT d.effect, d.policy, d.reason INTO effect, new_policy, reason
        FROM our_schema.tool_policy_decision(tool, call.arguments, call.requested_by) AS d;
        IF effect <> 'deny' AND our_schema.tool_digest(definition.id) IS DISTINCT FROM call.tool_digest THEN
            effect := 'deny';
            reason := 'the tool was changed after the call was asked for: ask for it again';
        END IF;
        IF effect = 'deny' THEN
            status := 'denied';
            PERFORM our_schema.close_tool_call(call, tool, status, new_policy, reason);
        ELSIF effect = 'require_approval' AND call.approved_by IS NULL THEN
            -- A policy allowed it when it was asked for, and no longer does.
            status := 'pending';
            UPDATE our_schema.tool_call_records AS r
            SET status = 'pending', policy = new_policy, reason = start_tool_call.reason, approval_expires_at = NULL
            WHERE r.id = p_call_id;
            PERFORM our_schema.announce_tool_call(p_call_id, tool, status, call.checked_at IS NOT NULL);
        ELSE
            accepted := true;
        END IF;
        noted := noted || jsonb_build_object('policy', new_policy);
    END IF;
    IF NOT accepted THEN
        PERFORM our_schema.note_tool_call(
            session_user::text, 'start'::text, p_call_id, 'denied'::text, noted || jsonb_build_object('status', status, 'reason', reason)
        );
        RETURN;
    END IF;
    status := 'running';
    reason := call.reason;
    connector := definition.connector;
    operation := definition.operation;
    arguments := call.arguments;
    timeout_seconds := definition.timeout_seconds;
    output_limit_bytes := definition.output_limit_bytes;
    UPDATE our_schema.tool_call_records AS r
    SET status = 'running', started_at = clock_timestamp(), execution_id = p_execution_id, executor = p_executor,
        deadline_at = clock_timestamp() + definition.timeout_seconds * interval '1 second'
    WHERE r.id = p_call_id;
    PERFORM our_schema.note_tool_call(session_user::text, 'start'::text, p_call_id, 'success'::text, noted);
    PERFORM our_schema.announce_tool_call(p_call_id, tool, status, true);
    -- What the executor does next cannot be undone, so that the start has to outlive a crash of the server.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END
$$;
COMMENT ON FUNCTION our_schema.start_tool_call(uuid, uuid, jsonb) IS
    'For the executor: start an approved call, once, with what it has to do. Decides again, as the tool and the policies are now: a call that is denied now is denied, one that now requires an approval waits for it, one whose approval is too old expires. Commit before acting.';

CREATE OR REPLACE FUNCTION our_schema.finish_tool_call(
    p_call_id uuid,
    p_execution_id uuid,
    p_status text,
    p_result jsonb,
    p_error text,
    OUT accepted boolean,
    OUT status text,
    OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Above what the limit of the output lets through, escaped as JSON.
    most_bytes CONSTANT bigint := 8388608;
    call our_schema.tool_call_records;
    tool_name text;
    kept jsonb := nullif(p_result, 'null'::jsonb);
    noted jsonb;
BEGIN
    accepted := false;
    IF coalesce(p_status, '') NOT IN ('succeeded', 'failed', 'timed_out', 'unknown') THEN
        RAISE EXCEPTION 'a call ends as succeeded, failed, timed_out or unknown' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT n.status, n.reason INTO status, reason FROM our_schema.tool_call_not_held(p_call_id) AS n;
        RETURN;
    END IF;
    SELECT t.name INTO tool_name FROM our_schema.tool_definitions AS t WHERE t.id = call.tool_id;
    noted := jsonb_build_object('tool', left(tool_name, 255), 'execution_id', p_execution_id, 'status', p_status);
    status := call.status;
    IF call.execution_id IS DISTINCT FROM p_execution_id OR p_execution_id IS NULL THEN
        reason := 'the call was not started with this id';
    ELSIF call.status = p_status THEN
        -- Said again, after an answer that was lost.
        accepted := true;
        RETURN;
    ELSIF call.status NOT IN ('running', 'unknown') THEN
        reason := format('the call is %s', call.status);
    END IF;
    IF reason IS NOT NULL THEN
        PERFORM our_schema.note_tool_call(session_user::text, 'finish'::text, p_call_id, 'denied'::text, noted || jsonb_build_object('reason', reason));
        RETURN;
    END IF;
    IF kept IS NOT NULL AND our_schema.json_fault(kept, most_bytes) IS NOT NULL THEN
        reason := 'the result was left out: it ' || our_schema.json_fault(kept, most_bytes);
        kept := NULL;
    END IF;
    accepted := true;
    status := p_status;
    UPDATE our_schema.tool_call_records AS r
    SET status = p_status, result = kept, error = left(coalesce(p_error, finish_tool_call.reason), 65536),
        finished_at = CASE WHEN p_status <> 'unknown' THEN clock_timestamp() END
    WHERE r.id = p_call_id;
    PERFORM our_schema.note_tool_call(
        session_user::text, 'finish'::text, p_call_id, CASE p_status WHEN 'succeeded' THEN 'success' ELSE 'failure' END, noted
    );
    PERFORM our_schema.announce_tool_call(p_call_id, tool_name, status, true);
END
$$;
COMMENT ON FUNCTION our_schema.finish_tool_call(uuid, uuid, text, jsonb, text) IS
    'For the executor that started a call: how it ended, as succeeded, failed, timed_out or unknown, with its result or error. Also for a call that was taken for unknown. A result of more than 8 MiB as text is left out.';

CREATE OR REPLACE FUNCTION our_schema.cancel_tool_call(
    p_call_id uuid, p_token text DEFAULT NULL, OUT accepted boolean, OUT status text, OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    call our_schema.tool_call_records;
    tool_name text;
    caller CONSTANT text := CASE WHEN p_token IS NULL THEN session_user::text ELSE our_schema.tool_token_owner(p_token, 'requester'::text) END;
    noted jsonb;
    locked boolean;
BEGIN
    accepted := false;
    -- First without a lock: whoever is refused, and keeps the transaction open, holds up nobody.
    FOREACH locked IN ARRAY ARRAY[false, true] LOOP
        IF locked THEN
            SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id FOR UPDATE SKIP LOCKED;
        ELSE
            SELECT r.* INTO call FROM our_schema.tool_call_records AS r WHERE r.id = p_call_id;
        END IF;
        IF NOT FOUND THEN
            SELECT n.status, n.reason INTO status, reason FROM our_schema.tool_call_not_held(p_call_id) AS n;
            RETURN;
        END IF;
        SELECT t.name INTO tool_name FROM our_schema.tool_definitions AS t WHERE t.id = call.tool_id;
        noted := jsonb_build_object('tool', left(tool_name, 255));
        status := call.status;
        IF caller IS NULL THEN
            reason := 'the token is not known: give the one with which the call was asked for';
        ELSIF caller IS DISTINCT FROM call.requested_by THEN
            reason := 'only who asked for the call may cancel it';
        ELSIF call.status NOT IN ('pending', 'approved') THEN
            reason := format('the call is %s', call.status);
        END IF;
        IF reason IS NOT NULL THEN
            PERFORM our_schema.note_tool_call(
                coalesce(caller, session_user::text), 'cancel'::text, p_call_id, 'denied'::text, noted || jsonb_build_object('reason', reason)
            );
            RETURN;
        END IF;
    END LOOP;
    accepted := true;
    status := 'cancelled';
    reason := format('%s withdrew it', left(caller, 255));
    PERFORM our_schema.close_tool_call(call, tool_name, status, call.policy, reason);
    PERFORM our_schema.note_tool_call(caller, 'cancel'::text, p_call_id, 'success'::text, noted);
END
$$;
COMMENT ON FUNCTION our_schema.cancel_tool_call(uuid, text) IS 'Withdraw a call that has not started; only for who asked for it.';

CREATE OR REPLACE FUNCTION our_schema.expire_tool_calls() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    call our_schema.tool_call_records;
    tool_name text;
    new_status text;
    new_reason text;
    changed bigint := 0;
BEGIN
    FOR call IN
        SELECT r.* FROM our_schema.tool_call_records AS r
        WHERE r.status IN ('pending', 'approved', 'running')
            AND CASE r.status
                WHEN 'pending' THEN r.created_at <= clock_timestamp() - interval '24 hours'
                WHEN 'approved' THEN r.approval_expires_at <= clock_timestamp()
                ELSE r.deadline_at <= clock_timestamp() - interval '60 seconds'
            END
        ORDER BY r.created_at
        LIMIT 1000
        FOR UPDATE SKIP LOCKED
    LOOP
        SELECT t.name INTO tool_name FROM our_schema.tool_definitions AS t WHERE t.id = call.tool_id;
        new_status := CASE call.status WHEN 'running' THEN 'unknown' ELSE 'expired' END;
        new_reason := CASE call.status
            WHEN 'pending' THEN 'nobody decided about the call within 24 hours'
            WHEN 'approved' THEN 'the approval was not used in time'
            ELSE 'the executor did not say in time how the call ended'
        END;
        PERFORM our_schema.close_tool_call(call, tool_name, new_status, call.policy, new_reason);
        PERFORM our_schema.note_tool_call(
            session_user::text, 'expire'::text, call.id, CASE new_status WHEN 'unknown' THEN 'failure' ELSE 'success' END,
            jsonb_build_object('tool', left(tool_name, 255), 'was', call.status, 'status', new_status, 'reason', new_reason)
        );
        changed := changed + 1;
    END LOOP;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION our_schema.expire_tool_calls() IS
    'Close calls about which nobody decided within 24 hours or whose approval was not used in time (expired), and those whose time was up a minute ago (unknown). Returns how many, 1,000 at most.';

CREATE OR REPLACE FUNCTION our_schema.tool_token_name(p_token text, p_kind text DEFAULT 'approver') RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN our_schema.tool_token_owner(p_token, p_kind);
END
$$;
COMMENT ON FUNCTION our_schema.tool_token_name(text, text) IS 'Name of who has this token of an approver, or of a requester; NULL for an unknown one.';

CREATE OR REPLACE FUNCTION our_schema.waiting_tool_calls(p_token text DEFAULT NULL) RETURNS TABLE (
    id uuid,
    tool_name text,
    description text,
    risk_level text,
    connector text,
    arguments jsonb,
    previous_arguments jsonb,
    requested_by text,
    requested_login text,
    policy text,
    reason text,
    task_run_id uuid,
    created_at timestamptz,
    expires_at timestamptz
)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (CASE
        WHEN p_token IS NULL THEN NOT has_function_privilege(
            session_user, 'our_schema.decide_tool_call(uuid, text, text)'::regprocedure, 'EXECUTE'
        )
        ELSE our_schema.tool_token_owner(p_token, 'approver'::text) IS NULL
    END) THEN
        RAISE EXCEPTION 'the waiting tool calls are shown to approvers: give the token of one, or log in as a member of the approver role'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY
    SELECT r.id, t.name, t.description, t.risk_level, t.connector, r.arguments,
        (
            SELECT e.arguments FROM our_schema.tool_call_records AS e
            WHERE e.tool_id = r.tool_id AND e.started_at IS NOT NULL
            ORDER BY e.created_at DESC
            LIMIT 1
        ),
        r.requested_by, r.requested_login, r.policy, r.reason, r.task_run_id, r.created_at, r.created_at + interval '24 hours'
    FROM our_schema.tool_call_records AS r
    JOIN our_schema.tool_definitions AS t ON t.id = r.tool_id
    WHERE r.status = 'pending' AND r.checked_at IS NOT NULL AND r.created_at > clock_timestamp() - interval '24 hours'
    ORDER BY r.created_at, r.id;
END
$$;
COMMENT ON FUNCTION our_schema.waiting_tool_calls(text) IS
    'The calls that wait for a person, oldest first, with the arguments of the last call of the same tool that was started. For approvers: by a token, or by the login.';

-- What provisions tools, policies and tokens; granted to nobody -------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION our_schema.tool_entry_fault(p_entry jsonb, p_kinds jsonb) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(p_entry) <> 'object' THEN
        RETURN 'must be a mapping';
    END IF;
    IF jsonb_typeof(p_entry -> 'name') IS DISTINCT FROM 'string' OR btrim(p_entry ->> 'name') = '' OR octet_length(p_entry ->> 'name') > 255 THEN
        RETURN 'needs a name, a text of 1 to 255 bytes';
    END IF;
    RETURN (
        SELECT coalesce(
            min(format('has the unknown key %s', left(k.key, 255))) FILTER (WHERE NOT p_kinds ? k.key),
            -- Of null the default is taken.
            min(format('has a %s that is not of the type %s', k.key, p_kinds ->> k.key)) FILTER (
                WHERE jsonb_typeof(k.value) NOT IN (p_kinds ->> k.key, 'null')
            ),
            -- Of a value that is not too large there is no fault, and so no sentence.
            min(format('has a %s that ', k.key) || our_schema.json_fault(k.value, 262144::bigint))
        )
        FROM jsonb_each(p_entry) AS k
    );
END
$$;
COMMENT ON FUNCTION our_schema.tool_entry_fault(jsonb, jsonb) IS
    'What is wrong with an entry of a list of tools, policies or tokens, as the end of a sentence; NULL: nothing. p_kinds: type of JSON of each known key.';

CREATE OR REPLACE FUNCTION our_schema.note_provisioning(p_action text, p_type text, p_name text, p_details jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO our_schema.audit_entries (actor, action, target_type, target_id, outcome, details)
    VALUES (session_user, p_action, p_type, left(p_name, 255), 'success', p_details);
END
$$;
COMMENT ON FUNCTION our_schema.note_provisioning(text, text, text, jsonb) IS 'Write an audit entry about a tool, a policy or a token that was provisioned.';

CREATE OR REPLACE FUNCTION our_schema.apply_tools(p_seed jsonb, p_own jsonb) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kinds CONSTANT jsonb := '{"name": "string", "description": "string", "arguments_schema": "object", "risk_level": "string",
        "connector": "string", "operation": "string", "preset": "object", "timeout_seconds": "number", "output_limit_bytes": "number",
        "approval_seconds": "number", "version": "string", "enabled": "boolean"}';
    entry record;
    stored record;
    fault text;
    changed bigint := 0;
BEGIN
    IF jsonb_typeof(p_seed) IS DISTINCT FROM 'array' OR jsonb_typeof(p_own) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'tools must be lists' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN
        SELECT e.value, e.value ->> 'name' AS name, l.list FROM (VALUES (p_seed), (p_own)) AS l (list) CROSS JOIN jsonb_array_elements(l.list) AS e
    LOOP
        fault := our_schema.tool_entry_fault(entry.value, kinds);
        IF fault IS NULL AND entry.name !~ '^[A-Za-z0-9_.-]{1,64}$' THEN
            fault := 'needs a name of 1 to 64 letters, digits, dots, hyphens and underscores';
        END IF;
        -- The server of the Model Context Protocol has tools of these names itself.
        IF fault IS NULL AND entry.name IN ('await_tool_call', 'cancel_tool_call') THEN
            fault := 'has a name that the MCP server uses itself: choose another';
        END IF;
        IF fault IS NULL AND coalesce(entry.value ->> 'risk_level', '') NOT IN ('READ_ONLY', 'SAFE_MUTATE', 'DESTRUCTIVE') THEN
            fault := 'needs a risk_level: READ_ONLY, SAFE_MUTATE or DESTRUCTIVE';
        END IF;
        IF fault IS NULL AND (SELECT count(*) FROM jsonb_array_elements(entry.list) AS e WHERE e.value ->> 'name' = entry.name) > 1 THEN
            fault := 'is there twice';
        END IF;
        IF fault IS NOT NULL THEN
            RAISE EXCEPTION 'the tool %: %', left(coalesce(entry.name, entry.value::text), 255), fault USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
    FOR entry IN
        SELECT w.name, w.origin, w.value FROM (
            SELECT e.value ->> 'name' AS name, 'role' AS origin, e.value FROM jsonb_array_elements(p_own) AS e
            UNION ALL
            SELECT e.value ->> 'name', 'seed', e.value FROM jsonb_array_elements(p_seed) AS e
            WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(p_own) AS o WHERE o.value ->> 'name' = e.value ->> 'name')
        ) AS w
        ORDER BY w.name COLLATE "C"
    LOOP
        INSERT INTO our_schema.tool_definitions AS t (
            name, description, arguments_schema, risk_level, connector, operation, preset, timeout_seconds, output_limit_bytes, approval_seconds,
            version, enabled, origin
        )
        VALUES (
            entry.name, entry.value ->> 'description', coalesce(nullif(entry.value -> 'arguments_schema', 'null'), '{}'),
            entry.value ->> 'risk_level', entry.value ->> 'connector', entry.value ->> 'operation',
            coalesce(nullif(entry.value -> 'preset', 'null'), '{}'), coalesce((entry.value ->> 'timeout_seconds')::bigint, 60),
            coalesce((entry.value ->> 'output_limit_bytes')::bigint, 65536), coalesce((entry.value ->> 'approval_seconds')::bigint, 3600),
            entry.value ->> 'version', coalesce((entry.value ->> 'enabled')::boolean, true), entry.origin
        )
        ON CONFLICT (name) DO UPDATE SET
            description = excluded.description, arguments_schema = excluded.arguments_schema, risk_level = excluded.risk_level,
            connector = excluded.connector, operation = excluded.operation, preset = excluded.preset,
            timeout_seconds = excluded.timeout_seconds, output_limit_bytes = excluded.output_limit_bytes,
            approval_seconds = excluded.approval_seconds, version = excluded.version, enabled = excluded.enabled, origin = excluded.origin
        WHERE (
            t.description, t.arguments_schema, t.risk_level, t.connector, t.operation, t.preset, t.timeout_seconds, t.output_limit_bytes,
            t.approval_seconds, t.version, t.enabled, t.origin
        ) IS DISTINCT FROM (
            excluded.description, excluded.arguments_schema, excluded.risk_level, excluded.connector, excluded.operation, excluded.preset,
            excluded.timeout_seconds, excluded.output_limit_bytes, excluded.approval_seconds, excluded.version, excluded.enabled, excluded.origin
        )
        RETURNING t.risk_level, t.enabled, t.origin INTO stored;
        IF FOUND THEN
            changed := changed + 1;
            PERFORM our_schema.note_provisioning('tool.set'::text, 'tool'::text, entry.name, to_jsonb(stored));
        END IF;
    END LOOP;
    FOR entry IN
        SELECT t.id, t.name, t.enabled, EXISTS (SELECT FROM our_schema.tool_call_records AS r WHERE r.tool_id = t.id) AS was_called
        FROM our_schema.tool_definitions AS t
        WHERE t.origin IN ('seed', 'role')
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(p_seed || p_own) AS e WHERE e.value ->> 'name' = t.name
            )
        ORDER BY t.name COLLATE "C"
    LOOP
        CONTINUE WHEN entry.was_called AND NOT entry.enabled;
        IF entry.was_called THEN
            UPDATE our_schema.tool_definitions AS t SET enabled = false WHERE t.id = entry.id;
        ELSE
            DELETE FROM our_schema.tool_definitions AS t WHERE t.id = entry.id;
        END IF;
        changed := changed + 1;
        PERFORM our_schema.note_provisioning(
            CASE WHEN entry.was_called THEN 'tool.disable' ELSE 'tool.remove' END, 'tool'::text, entry.name, '{}'::jsonb
        );
    END LOOP;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION our_schema.apply_tools(jsonb, jsonb) IS
    'Bring the tools of the bundle and of the homelab up to these two lists, of which the second wins; returns how many rows changed. A tool that is in neither is deleted, or disabled if it was ever called; those made before tools came under policy stay until one of the lists names them.';

CREATE OR REPLACE FUNCTION our_schema.apply_policies(p_policies jsonb) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kinds CONSTANT jsonb := '{"name": "string", "description": "string", "tools": "array", "risk_levels": "array", "effect": "string",
        "conditions": "object", "priority": "number", "enabled": "boolean"}';
    entry record;
    stored record;
    fault text;
    changed bigint := 0;
BEGIN
    IF jsonb_typeof(p_policies) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'policies must be a list' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN
        SELECT e.value, e.value ->> 'name' AS name FROM jsonb_array_elements(p_policies) AS e ORDER BY e.value ->> 'name' COLLATE "C"
    LOOP
        fault := our_schema.tool_entry_fault(entry.value, kinds);
        IF fault IS NULL THEN
            fault := CASE
                WHEN coalesce(entry.value ->> 'effect', '') NOT IN ('allow', 'require_approval', 'deny')
                    THEN 'needs an effect: allow, require_approval or deny'
                WHEN EXISTS (
                    SELECT FROM jsonb_array_elements(coalesce(nullif(entry.value -> 'tools', 'null'), '[]')) AS t
                    WHERE jsonb_typeof(t.value) <> 'string'
                ) THEN 'has tools that are no list of names'
                WHEN NOT coalesce(nullif(entry.value -> 'risk_levels', 'null'), '[]') <@ '["READ_ONLY", "SAFE_MUTATE", "DESTRUCTIVE"]'
                    THEN 'has risk_levels other than READ_ONLY, SAFE_MUTATE and DESTRUCTIVE'
                WHEN coalesce(nullif(entry.value -> 'tools', 'null'), '[]') || coalesce(nullif(entry.value -> 'risk_levels', 'null'), '[]') = '[]'
                    THEN 'covers nothing: name tools or risk_levels'
                WHEN (entry.value ->> 'priority')::numeric NOT BETWEEN -1000000 AND 1000000
                    OR (entry.value ->> 'priority')::numeric % 1 <> 0 THEN 'has a priority that is no whole number from -1000000 to 1000000'
                WHEN (SELECT count(*) FROM jsonb_array_elements(p_policies) AS e WHERE e.value ->> 'name' = entry.name) > 1
                    THEN 'is there twice'
            END;
        END IF;
        IF fault IS NOT NULL THEN
            RAISE EXCEPTION 'the policy %: %', left(coalesce(entry.name, entry.value::text), 255), fault USING ERRCODE = 'invalid_parameter_value';
        END IF;
        BEGIN
            INSERT INTO our_schema.policies AS p (name, description, tools, risk_levels, effect, conditions, priority, enabled, origin)
            VALUES (
                entry.name, entry.value ->> 'description',
                ARRAY(SELECT t.value FROM jsonb_array_elements_text(coalesce(nullif(entry.value -> 'tools', 'null'), '[]')) AS t),
                ARRAY(SELECT l.value FROM jsonb_array_elements_text(coalesce(nullif(entry.value -> 'risk_levels', 'null'), '[]')) AS l),
                entry.value ->> 'effect', coalesce(nullif(entry.value -> 'conditions', 'null'), '{}'),
                coalesce((entry.value ->> 'priority')::numeric::bigint, 100), coalesce((entry.value ->> 'enabled')::boolean, true), 'role'
            )
            ON CONFLICT (name) DO UPDATE SET
                description = excluded.description, tools = excluded.tools, risk_levels = excluded.risk_levels, effect = excluded.effect,
                conditions = excluded.conditions, priority = excluded.priority, enabled = excluded.enabled, origin = excluded.origin
            WHERE (p.description, p.tools, p.risk_levels, p.effect, p.conditions, p.priority, p.enabled, p.origin)
                IS DISTINCT FROM (
                    excluded.description, excluded.tools, excluded.risk_levels, excluded.effect, excluded.conditions, excluded.priority,
                    excluded.enabled, excluded.origin
                )
            RETURNING p.effect, p.priority, p.enabled INTO stored;
        EXCEPTION
            WHEN check_violation THEN
                RAISE EXCEPTION
                    'the policy %: has conditions other than arguments (a mapping), arguments_in (a mapping of names to lists that are not empty) and callers (a list of names that is not empty)',
                    left(entry.name, 255)
                    USING ERRCODE = 'invalid_parameter_value';
        END;
        IF stored IS NOT NULL THEN
            changed := changed + 1;
            PERFORM our_schema.note_provisioning('policy.set'::text, 'policy'::text, entry.name, to_jsonb(stored));
        END IF;
    END LOOP;
    FOR entry IN
        DELETE FROM our_schema.policies AS p
        WHERE p.origin = 'role' AND NOT EXISTS (SELECT FROM jsonb_array_elements(p_policies) AS e WHERE e.value ->> 'name' = p.name)
        RETURNING p.name
    LOOP
        changed := changed + 1;
        PERFORM our_schema.note_provisioning('policy.remove'::text, 'policy'::text, entry.name, '{}'::jsonb);
    END LOOP;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION our_schema.apply_policies(jsonb) IS
    'Bring the policies that are given to the role up to this list; returns how many rows changed. Those made before tools came under policy stay until the list names them.';

CREATE OR REPLACE FUNCTION our_schema.apply_tool_tokens(p_tokens jsonb) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kinds CONSTANT jsonb := '{"name": "string", "kind": "string", "sha256": "string"}';
    entry record;
    fault text;
    changed bigint := 0;
BEGIN
    IF jsonb_typeof(p_tokens) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'tokens must be a list' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN SELECT e.value, e.value ->> 'name' AS name FROM jsonb_array_elements(p_tokens) AS e LOOP
        fault := our_schema.tool_entry_fault(entry.value, kinds);
        IF fault IS NULL THEN
            fault := CASE
                WHEN coalesce(entry.value ->> 'kind', '') NOT IN ('requester', 'approver') THEN 'needs a kind: requester or approver'
                WHEN coalesce(entry.value ->> 'sha256', '') !~ '^[0-9a-f]{64}$' THEN 'needs a sha256 of 64 hexadecimal digits'
                WHEN (SELECT count(*) FROM jsonb_array_elements(p_tokens) AS e WHERE e.value ->> 'sha256' = entry.value ->> 'sha256') > 1
                    THEN 'is the same as that of somebody else, or of the other kind: give each its own'
                WHEN (
                    SELECT count(*) FROM jsonb_array_elements(p_tokens) AS e
                    WHERE e.value ->> 'name' = entry.name AND e.value ->> 'kind' = entry.value ->> 'kind'
                ) > 1 THEN 'is there twice'
            END;
        END IF;
        IF fault IS NOT NULL THEN
            RAISE EXCEPTION 'the token of %: %', left(coalesce(entry.name, 'nobody'), 255), fault USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
    -- First, since a token may pass from one name to another.
    FOR entry IN
        DELETE FROM our_schema.tool_tokens AS t
        WHERE NOT EXISTS (
            SELECT FROM jsonb_array_elements(p_tokens) AS e
            WHERE e.value ->> 'name' = t.name AND e.value ->> 'kind' = t.kind AND e.value ->> 'sha256' = encode(t.token_sha256, 'hex')
        )
        RETURNING t.name, t.kind
    LOOP
        changed := changed + 1;
        PERFORM our_schema.note_provisioning('tool_token.remove'::text, 'tool_token'::text, entry.name, jsonb_build_object('kind', entry.kind));
    END LOOP;
    FOR entry IN
        INSERT INTO our_schema.tool_tokens AS t (name, kind, token_sha256)
        SELECT e.value ->> 'name', e.value ->> 'kind', decode(e.value ->> 'sha256', 'hex') FROM jsonb_array_elements(p_tokens) AS e
        ON CONFLICT ON CONSTRAINT pk_tool_tokens DO NOTHING
        RETURNING t.name, t.kind
    LOOP
        changed := changed + 1;
        PERFORM our_schema.note_provisioning('tool_token.set'::text, 'tool_token'::text, entry.name, jsonb_build_object('kind', entry.kind));
    END LOOP;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION our_schema.apply_tool_tokens(jsonb) IS
    'Bring the tokens of requesters and approvers up to this list of name, kind and SHA-256; returns how many rows changed, where a new token for a name counts twice.';

-- Upkeep, and what is shown ----------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION our_schema.prune_tool_call_results(p_before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pruned bigint;
BEGIN
    IF p_before IS NULL OR p_before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'prune_tool_call_results removes what is at least 1 day old: p_before must be a day ago or earlier'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE our_schema.tool_call_records AS r SET result = NULL
    WHERE r.created_at < p_before AND r.result IS NOT NULL AND r.status NOT IN ('pending', 'approved', 'running');
    GET DIAGNOSTICS pruned = ROW_COUNT;
    IF pruned > 0 THEN
        PERFORM our_schema.note_tool_call(
            session_user::text, 'prune'::text, NULL::uuid, 'success'::text, jsonb_build_object('before', p_before, 'results', pruned)
        );
    END IF;
    RETURN pruned;
END
$$;
COMMENT ON FUNCTION our_schema.prune_tool_call_results(timestamptz) IS
    'Remove the results of calls that were asked for before p_before, a day ago at least; arguments, errors and times stay. Returns how many.';

CREATE OR REPLACE FUNCTION our_schema.roll_up_tool_calls() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moved_rows bigint;
    has_emptied boolean;
BEGIN
    -- With an older snapshot than that of the statement, what another has moved since would be an error.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN 0;
    END IF;
    -- One at a time, and nobody waits. Whoever may only read the table cannot take this lock.
    BEGIN
        LOCK TABLE our_schema.tool_call_days IN SHARE ROW EXCLUSIVE MODE NOWAIT;
    EXCEPTION
        WHEN lock_not_available THEN
            RETURN 0;
    END;
    -- In one statement, and so with one snapshot: at every moment both tables together are exactly what tool_call_records holds.
    WITH moved AS (
        DELETE FROM our_schema.tool_call_changes RETURNING *
    ), summed AS (
        SELECT m.tool_id, m.day, m.status, count(*) AS changes, sum(m.calls) AS calls, sum(m.duration_ms_sum) AS duration_ms_sum,
            sum(m.timed_calls) AS timed_calls
        FROM moved AS m
        GROUP BY 1, 2, 3
    ), stored AS (
        INSERT INTO our_schema.tool_call_days AS d (tool_id, day, status, calls, duration_ms_sum, timed_calls)
        SELECT s.tool_id, s.day, s.status, s.calls, s.duration_ms_sum, s.timed_calls
        FROM summed AS s
        -- A status that calls have only passed through leaves no row.
        WHERE (s.calls, s.duration_ms_sum, s.timed_calls) IS DISTINCT FROM (0::numeric, 0::numeric, 0::numeric)
        ON CONFLICT (tool_id, day, status) DO UPDATE SET
            calls = d.calls + excluded.calls,
            duration_ms_sum = d.duration_ms_sum + excluded.duration_ms_sum,
            timed_calls = d.timed_calls + excluded.timed_calls
    )
    SELECT coalesce(sum(s.changes), 0), coalesce(bool_or(s.calls < 0), false) INTO moved_rows, has_emptied FROM summed AS s;
    IF has_emptied THEN
        DELETE FROM our_schema.tool_call_days AS d WHERE d.calls = 0;
    END IF;
    RETURN moved_rows;
END
$$;
COMMENT ON FUNCTION our_schema.roll_up_tool_calls() IS
    'Move what has changed in tool_call_records into its sums by day. Called by the trigger about every 256 calls; returns how many changes it moved, 0 while another moves them, and in a transaction that is not read committed.';

CREATE OR REPLACE FUNCTION our_schema.queue_tool_call_changes() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE our_schema.tool_call_days, our_schema.tool_call_changes;
        RETURN NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO our_schema.tool_call_changes (tool_id, day, status, calls, duration_ms_sum, timed_calls)
        SELECT r.tool_id, (r.created_at AT TIME ZONE 'UTC')::date, r.status, -count(*), -coalesce(sum(r.duration_ms), 0), -count(r.duration_ms)
        FROM removed AS r
        GROUP BY 1, 2, 3;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO our_schema.tool_call_changes (tool_id, day, status, calls, duration_ms_sum, timed_calls)
        SELECT a.tool_id, (a.created_at AT TIME ZONE 'UTC')::date, a.status, count(*), coalesce(sum(a.duration_ms), 0), count(a.duration_ms)
        FROM added AS a
        GROUP BY 1, 2, 3;
    END IF;
    -- By chance, so that nobody else is asked. On its own, since there is nothing added where something is removed.
    IF TG_OP = 'INSERT' THEN
        IF EXISTS (SELECT FROM added AS a WHERE get_byte(uuid_send(a.id), 15) = 0) THEN
            PERFORM our_schema.roll_up_tool_calls();
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.queue_tool_call_changes() IS
    'Trigger function: notes what a statement adds to the sums of tool_call_records by day and takes from them.';

CREATE OR REPLACE VIEW our_schema.tool_call_success_rate AS
SELECT
    t.id AS tool_id,
    t.name AS tool_name,
    t.risk_level,
    coalesce(c.total_calls, 0)::bigint AS total_calls,
    coalesce(c.succeeded, 0)::bigint AS succeeded,
    coalesce(c.failed, 0)::bigint AS failed,
    coalesce(c.timed_out, 0)::bigint AS timed_out,
    coalesce(c.denied, 0)::bigint AS denied,
    round(c.succeeded / nullif(c.succeeded + c.failed + c.timed_out, 0), 4) AS success_rate,
    round(c.duration_ms_sum / nullif(c.timed_calls, 0), 1) AS average_duration_ms
FROM our_schema.tool_definitions AS t
LEFT JOIN (
    SELECT
        s.tool_id,
        sum(s.calls) AS total_calls,
        coalesce(sum(s.calls) FILTER (WHERE s.status = 'succeeded'), 0) AS succeeded,
        coalesce(sum(s.calls) FILTER (WHERE s.status = 'failed'), 0) AS failed,
        coalesce(sum(s.calls) FILTER (WHERE s.status = 'timed_out'), 0) AS timed_out,
        coalesce(sum(s.calls) FILTER (WHERE s.status = 'denied'), 0) AS denied,
        sum(s.duration_ms_sum) AS duration_ms_sum,
        sum(s.timed_calls) AS timed_calls
    FROM (
        SELECT d.tool_id, d.status, d.calls, d.duration_ms_sum, d.timed_calls FROM our_schema.tool_call_days AS d
        UNION ALL
        SELECT q.tool_id, q.status, q.calls, q.duration_ms_sum, q.timed_calls FROM our_schema.tool_call_changes AS q
    ) AS s
    GROUP BY s.tool_id
) AS c ON c.tool_id = t.id;
COMMENT ON VIEW our_schema.tool_call_success_rate IS 'Every tool, also one that was never called, with how its calls ended.';
COMMENT ON COLUMN our_schema.tool_call_success_rate.total_calls IS 'Number of calls, whatever became of them.';
COMMENT ON COLUMN our_schema.tool_call_success_rate.success_rate IS
    'Succeeded among the calls that ran to an end (succeeded, failed, timed out), from 0 to 1; NULL where there is none.';
COMMENT ON COLUMN our_schema.tool_call_success_rate.average_duration_ms IS 'Average duration of the calls that ran to an end, in milliseconds.';

CREATE OR REPLACE VIEW our_schema.tool_call_overview AS
SELECT
    r.id,
    r.task_run_id,
    t.name AS tool_name,
    t.connector,
    t.operation,
    t.risk_level,
    r.status,
    r.arguments,
    r.requested_by,
    r.requested_login,
    r.policy,
    r.reason,
    r.error,
    r.created_at,
    r.checked_at,
    r.approved_by,
    r.approved_at,
    r.approval_expires_at,
    r.started_at,
    r.finished_at,
    r.duration_ms,
    r.deadline_at,
    r.idempotency_key
FROM our_schema.tool_call_records AS r
JOIN our_schema.tool_definitions AS t ON t.id = r.tool_id;
COMMENT ON VIEW our_schema.tool_call_overview IS 'The tool calls with the names of their tools, without results.';
COMMENT ON COLUMN our_schema.tool_call_overview.tool_name IS 'Name of the tool, as all about the tool as it is now.';

-- The caller's settings would rule in the decision, too.
DO $settings$
DECLARE
    setting text;
BEGIN
    FOREACH setting IN ARRAY ARRAY['jit = off', 'plan_cache_mode = force_generic_plan'] LOOP
        EXECUTE format('ALTER FUNCTION our_schema.tool_policy_decision(text, jsonb, text) SET %s', setting);
    END LOOP;
END
$settings$;
