-- role: audit
-- Tools, their calls, the policies that decide about a call, and the tokens of those who ask and decide. 013 says why they belong to the owner of the
-- audit log; the functions in repeatable/011_tools.sql are the only way to write here.
-- squawk-ignore-file ban-drop-table

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE our_schema.tool_definitions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    description text,
    arguments_schema jsonb NOT NULL DEFAULT '{}',
    risk_level text NOT NULL,
    connector text,
    version text,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    operation text,
    preset jsonb NOT NULL DEFAULT '{}',
    timeout_seconds bigint NOT NULL DEFAULT 60,
    output_limit_bytes bigint NOT NULL DEFAULT 65536,
    approval_seconds bigint NOT NULL DEFAULT 3600,
    origin text NOT NULL DEFAULT 'user',
    CONSTRAINT pk_tool_definitions PRIMARY KEY (id),
    CONSTRAINT uq_tool_definitions_name UNIQUE (name),
    CONSTRAINT ck_tool_definitions_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_tool_definitions_arguments_schema CHECK (jsonb_typeof(arguments_schema) = 'object'),
    CONSTRAINT ck_tool_definitions_risk_level CHECK (risk_level IN ('READ_ONLY', 'SAFE_MUTATE', 'DESTRUCTIVE')),
    CONSTRAINT ck_tool_definitions_preset CHECK (jsonb_typeof(preset) = 'object'),
    CONSTRAINT ck_tool_definitions_timeout_seconds CHECK (timeout_seconds BETWEEN 1 AND 3600),
    CONSTRAINT ck_tool_definitions_output_limit_bytes CHECK (output_limit_bytes BETWEEN 1024 AND 1048576),
    CONSTRAINT ck_tool_definitions_approval_seconds CHECK (approval_seconds BETWEEN 60 AND 86400),
    CONSTRAINT ck_tool_definitions_origin CHECK (origin IN ('seed', 'role', 'user'))
);
COMMENT ON TABLE our_schema.tool_definitions IS 'Tools that agents may call, with what they may break. Written by apply_tools() alone.';
COMMENT ON COLUMN our_schema.tool_definitions.arguments_schema IS 'JSON Schema (draft 2020-12) of the arguments.';
COMMENT ON COLUMN our_schema.tool_definitions.risk_level IS
    'READ_ONLY changes nothing, SAFE_MUTATE changes what can be changed back, DESTRUCTIVE may lose something. No default: say it.';
COMMENT ON COLUMN our_schema.tool_definitions.connector IS 'Connector that carries the tool out, such as kubernetes.';
COMMENT ON COLUMN our_schema.tool_definitions.version IS 'Version of the tool, in the connector''s words.';
COMMENT ON COLUMN our_schema.tool_definitions.enabled IS 'False for a tool that is kept for the record but must not be called.';
COMMENT ON COLUMN our_schema.tool_definitions.operation IS
    'What the connector does for it, such as restart_deployment; NULL for a tool from before that, which nothing carries out.';
COMMENT ON COLUMN our_schema.tool_definitions.preset IS 'JSON object: arguments that are fixed; every call has them.';
COMMENT ON COLUMN our_schema.tool_definitions.timeout_seconds IS 'How long a call may take, in seconds.';
COMMENT ON COLUMN our_schema.tool_definitions.output_limit_bytes IS 'How much of its output is kept, in bytes.';
COMMENT ON COLUMN our_schema.tool_definitions.approval_seconds IS 'How long an approval is good for, in seconds; it is good for one call.';
COMMENT ON COLUMN our_schema.tool_definitions.origin IS
    'seed: shipped with the bundle; role: given to the role that provisions the database; user: made before tools came under policy.';

CREATE INDEX ix_tool_definitions_connector ON our_schema.tool_definitions (connector);

CREATE TABLE our_schema.tool_call_records (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    task_run_id uuid NOT NULL,
    tool_id uuid NOT NULL,
    arguments jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    error text,
    status text NOT NULL DEFAULT 'pending',
    approved_by text,
    approved_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    duration_ms bigint GENERATED ALWAYS AS (
        CASE
            WHEN finished_at >= started_at THEN round(extract(EPOCH FROM finished_at - started_at) * 1000)::bigint
            -- The clock was set back in between.
            WHEN finished_at < started_at THEN 0
        END
    ) STORED,
    requested_by text,
    requested_login text,
    idempotency_key text,
    tool_digest bytea,
    policy text,
    reason text,
    checked_at timestamptz,
    approval_expires_at timestamptz,
    execution_id uuid,
    executor jsonb,
    deadline_at timestamptz,
    CONSTRAINT pk_tool_call_records PRIMARY KEY (id),
    CONSTRAINT uq_tool_call_records_task_run_id_idempotency_key UNIQUE (task_run_id, idempotency_key),
    CONSTRAINT fk_tool_call_records_task_run_id FOREIGN KEY (task_run_id)
        REFERENCES our_schema.task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT fk_tool_call_records_tool_id FOREIGN KEY (tool_id)
        REFERENCES our_schema.tool_definitions (id) ON DELETE RESTRICT,
    CONSTRAINT ck_tool_call_records_arguments CHECK (jsonb_typeof(arguments) = 'object'),
    CONSTRAINT ck_tool_call_records_status CHECK (
        status IN ('pending', 'approved', 'denied', 'expired', 'cancelled', 'running', 'succeeded', 'failed', 'timed_out', 'unknown')
    ),
    CONSTRAINT ck_tool_call_records_finished_at CHECK (
        (status IN ('succeeded', 'failed', 'timed_out')) = (finished_at IS NOT NULL)
    ),
    CONSTRAINT ck_tool_call_records_running CHECK (status <> 'running' OR num_nulls(started_at, deadline_at, execution_id) = 0),
    CONSTRAINT ck_tool_call_records_approved CHECK (status <> 'approved' OR approval_expires_at IS NOT NULL),
    CONSTRAINT ck_tool_call_records_idempotency_key CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT ck_tool_call_records_tool_digest CHECK (octet_length(tool_digest) = 32),
    CONSTRAINT ck_tool_call_records_executor CHECK (jsonb_typeof(executor) = 'object')
) WITH (fillfactor = 85);
COMMENT ON TABLE our_schema.tool_call_records IS 'Every call of a tool, from the wish to the result. Written by functions alone, from request_tool_call() to finish_tool_call().';
COMMENT ON COLUMN our_schema.tool_call_records.arguments IS 'JSON object: what the caller gave, together with the preset of the tool; it never changes.';
COMMENT ON COLUMN our_schema.tool_call_records.result IS 'What the tool returned, as JSON.';
COMMENT ON COLUMN our_schema.tool_call_records.error IS 'Why the call failed, or what was wrong with its arguments.';
COMMENT ON COLUMN our_schema.tool_call_records.status IS
    'pending, approved, denied, expired or cancelled before it starts; then running, succeeded, failed, timed_out, or unknown: nobody can say what became of it.';
COMMENT ON COLUMN our_schema.tool_call_records.approved_by IS 'Person who approved or denied the call; NULL where a policy did.';
COMMENT ON COLUMN our_schema.tool_call_records.approved_at IS 'When that person did.';
COMMENT ON COLUMN our_schema.tool_call_records.created_at IS 'When the call was asked for.';
COMMENT ON COLUMN our_schema.tool_call_records.started_at IS 'When the tool began to work.';
COMMENT ON COLUMN our_schema.tool_call_records.finished_at IS 'When it succeeded, failed or ran out of time; NULL for a call that did not run to an end.';
COMMENT ON COLUMN our_schema.tool_call_records.duration_ms IS 'From started_at to finished_at, in milliseconds; computed by the server.';
COMMENT ON COLUMN our_schema.tool_call_records.requested_by IS 'Who asked: the name of the token, or of the login without one.';
COMMENT ON COLUMN our_schema.tool_call_records.requested_login IS 'Database role that had logged in when the call was asked for.';
COMMENT ON COLUMN our_schema.tool_call_records.idempotency_key IS 'Within a run, asking again with the same key is the same call.';
COMMENT ON COLUMN our_schema.tool_call_records.tool_digest IS 'SHA-256 of what the tool was when the call was asked for; one that has changed since does not start.';
COMMENT ON COLUMN our_schema.tool_call_records.policy IS 'Name of the policy that decided; NULL: the default of the risk level.';
COMMENT ON COLUMN our_schema.tool_call_records.reason IS 'Why it was decided so.';
COMMENT ON COLUMN our_schema.tool_call_records.checked_at IS 'When the executor found the arguments right; before that no person is asked.';
COMMENT ON COLUMN our_schema.tool_call_records.approval_expires_at IS 'Until when the call may start; an approval is good once.';
COMMENT ON COLUMN our_schema.tool_call_records.execution_id IS 'The one start of the call; only who knows it may finish it.';
COMMENT ON COLUMN our_schema.tool_call_records.executor IS 'JSON object: process that started it.';
COMMENT ON COLUMN our_schema.tool_call_records.deadline_at IS 'When its time is up.';

CREATE INDEX ix_tool_call_records_task_run_id ON our_schema.tool_call_records (task_run_id, created_at);
CREATE INDEX ix_tool_call_records_tool_id ON our_schema.tool_call_records (tool_id, created_at, id);
CREATE INDEX ix_tool_call_records_created_at ON our_schema.tool_call_records (created_at, id);
CREATE INDEX ix_tool_call_records_open ON our_schema.tool_call_records (requested_by, created_at)
    WHERE status IN ('pending', 'approved', 'running');
-- Few of many, and counted by every health check.
CREATE INDEX ix_tool_call_records_unknown ON our_schema.tool_call_records (created_at) WHERE status = 'unknown';

CREATE TABLE our_schema.policies (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    description text,
    tools text[] NOT NULL DEFAULT '{}',
    risk_levels text[] NOT NULL DEFAULT '{}',
    effect text NOT NULL,
    conditions jsonb NOT NULL DEFAULT '{}',
    priority bigint NOT NULL DEFAULT 100,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    origin text NOT NULL DEFAULT 'user',
    -- Asked of every policy for every decision, so it is worked out once.
    conditions_known boolean NOT NULL GENERATED ALWAYS AS (
        CASE WHEN jsonb_typeof(conditions) = 'object' THEN
            conditions - '{arguments,arguments_in,callers}'::text[] = '{}'::jsonb
            AND coalesce(jsonb_typeof(conditions -> 'arguments'), 'object') = 'object'
            AND coalesce(jsonb_typeof(conditions -> 'arguments_in'), 'object') = 'object'
            AND NOT coalesce(
                jsonb_path_exists(conditions -> 'arguments_in', 'strict $.* ? (@.type() != "array" || @.size() == 0)', '{}', true), false
            )
            AND coalesce(jsonb_typeof(conditions -> 'callers'), 'array') = 'array'
            AND coalesce(conditions -> 'callers' <> '[]'::jsonb, true)
            AND NOT coalesce(jsonb_path_exists(conditions -> 'callers', 'strict $[*] ? (@.type() != "string")', '{}', true), false)
        ELSE false END
    ) STORED,
    CONSTRAINT pk_policies PRIMARY KEY (id),
    CONSTRAINT uq_policies_name UNIQUE (name),
    CONSTRAINT ck_policies_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_policies_covers CHECK (cardinality(tools) + cardinality(risk_levels) > 0),
    CONSTRAINT ck_policies_tools CHECK (array_position(tools, NULL) IS NULL),
    CONSTRAINT ck_policies_risk_levels CHECK (risk_levels <@ ARRAY['READ_ONLY', 'SAFE_MUTATE', 'DESTRUCTIVE']),
    CONSTRAINT ck_policies_effect CHECK (effect IN ('allow', 'require_approval', 'deny')),
    CONSTRAINT ck_policies_conditions CHECK (jsonb_typeof(conditions) = 'object'),
    CONSTRAINT ck_policies_origin CHECK (origin IN ('role', 'user'))
);
COMMENT ON TABLE our_schema.policies IS 'Rules that allow a tool call, demand an approval for it, or deny it. Written by apply_policies() alone.';
COMMENT ON COLUMN our_schema.policies.tools IS 'Names of tools the policy covers; "*" covers every tool.';
COMMENT ON COLUMN our_schema.policies.risk_levels IS 'Risk levels the policy covers, beside the tools that it names.';
COMMENT ON COLUMN our_schema.policies.conditions IS
    'JSON object: arguments (the call''s arguments contain it), arguments_in (for each name the values that the argument may have), callers (who may have asked). All that are given must be met; an empty object always is.';
COMMENT ON COLUMN our_schema.policies.priority IS 'The enabled policy with the highest number decides; among equals the strictest effect.';
COMMENT ON COLUMN our_schema.policies.enabled IS 'False for a policy that is kept but not applied.';
COMMENT ON COLUMN our_schema.policies.origin IS
    'role: given to the role that provisions the database; user: made before tools came under policy.';
COMMENT ON COLUMN our_schema.policies.conditions_known IS
    'Whether all conditions are known and well-formed. A policy from before for which they are not denies whatever it covers.';

CREATE INDEX ix_policies_enabled ON our_schema.policies (priority DESC) WHERE enabled;

CREATE TABLE our_schema.tool_tokens (
    name text NOT NULL,
    kind text NOT NULL,
    token_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_tool_tokens PRIMARY KEY (name, kind),
    CONSTRAINT uq_tool_tokens_token_sha256 UNIQUE (token_sha256),
    CONSTRAINT ck_tool_tokens_name CHECK (btrim(name) <> '' AND octet_length(name) <= 255),
    CONSTRAINT ck_tool_tokens_kind CHECK (kind IN ('requester', 'approver')),
    CONSTRAINT ck_tool_tokens_token_sha256 CHECK (octet_length(token_sha256) = 32)
);
COMMENT ON TABLE our_schema.tool_tokens IS 'Who may ask for tool calls, or decide about them, with a token. Written by apply_tool_tokens() alone.';
COMMENT ON COLUMN our_schema.tool_tokens.name IS 'Person or program that has the token.';
COMMENT ON COLUMN our_schema.tool_tokens.kind IS 'requester: asks for calls; approver: decides about them.';
COMMENT ON COLUMN our_schema.tool_tokens.token_sha256 IS 'SHA-256 of the token in UTF-8. Nobody but the functions reads it.';

CREATE TABLE our_schema.tool_call_days (
    tool_id uuid NOT NULL,
    day date NOT NULL,
    status text NOT NULL,
    calls bigint NOT NULL,
    duration_ms_sum numeric NOT NULL,
    timed_calls bigint NOT NULL,
    CONSTRAINT pk_tool_call_days PRIMARY KEY (tool_id, day, status)
) WITH (fillfactor = 70);
COMMENT ON TABLE our_schema.tool_call_days IS
    'Sums of tool_call_records by tool, day and status; together with tool_call_changes they are exact. To be read through tool_call_success_rate.';
COMMENT ON COLUMN our_schema.tool_call_days.tool_id IS 'The tool. No foreign key: the sums follow the calls.';
COMMENT ON COLUMN our_schema.tool_call_days.day IS 'Day on which the calls were asked for, in UTC.';
COMMENT ON COLUMN our_schema.tool_call_days.status IS 'Status of the calls, as it is now.';
COMMENT ON COLUMN our_schema.tool_call_days.calls IS 'Number of calls.';
COMMENT ON COLUMN our_schema.tool_call_days.duration_ms_sum IS 'Sum of their durations, in milliseconds.';
COMMENT ON COLUMN our_schema.tool_call_days.timed_calls IS 'Number of calls that have a duration.';

CREATE TABLE our_schema.tool_call_changes (
    tool_id uuid NOT NULL,
    day date NOT NULL,
    status text NOT NULL,
    calls bigint NOT NULL,
    duration_ms_sum numeric NOT NULL,
    timed_calls bigint NOT NULL
);
COMMENT ON TABLE our_schema.tool_call_changes IS
    'What changed in tool_call_records and is not in tool_call_days yet: calls with a status that is new for them, and negative those with one that they no longer have. A row becomes visible with what it tells of, so nothing is missed or counted twice.';
COMMENT ON COLUMN our_schema.tool_call_changes.tool_id IS 'The tool.';
COMMENT ON COLUMN our_schema.tool_call_changes.day IS 'Day on which the calls were asked for, in UTC.';
COMMENT ON COLUMN our_schema.tool_call_changes.status IS 'Status that they have, or had.';
COMMENT ON COLUMN our_schema.tool_call_changes.calls IS 'Number of calls; negative for those that have another status now.';
COMMENT ON COLUMN our_schema.tool_call_changes.duration_ms_sum IS 'Sum of their durations, in milliseconds.';
COMMENT ON COLUMN our_schema.tool_call_changes.timed_calls IS 'Number of calls that have a duration.';

CREATE FUNCTION our_schema.stamp_tool_row() RETURNS trigger
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

CREATE FUNCTION our_schema.queue_tool_call_changes() RETURNS trigger
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
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.queue_tool_call_changes() IS
    'Trigger function: notes what a statement adds to the sums of tool_call_records by day and takes from them.';

CREATE TRIGGER tr_tool_definitions_updated_at BEFORE UPDATE ON our_schema.tool_definitions
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION our_schema.stamp_tool_row();
-- A condition may not read a generated column, and so no row as a whole. (Lists of columns would be printed differently once they were dumped and
-- restored, so that a run would put the trigger back.)
CREATE TRIGGER tr_policies_updated_at BEFORE UPDATE ON our_schema.policies
    FOR EACH ROW WHEN (
        jsonb_build_array(OLD.name, OLD.description, OLD.tools, OLD.risk_levels, OLD.effect, OLD.conditions, OLD.priority, OLD.enabled, OLD.origin)
        IS DISTINCT FROM jsonb_build_array(NEW.name, NEW.description, NEW.tools, NEW.risk_levels, NEW.effect, NEW.conditions, NEW.priority, NEW.enabled, NEW.origin)
    )
    EXECUTE FUNCTION our_schema.stamp_tool_row();
CREATE TRIGGER tr_tool_tokens_updated_at BEFORE UPDATE ON our_schema.tool_tokens
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION our_schema.stamp_tool_row();
CREATE TRIGGER tr_tool_call_records_added AFTER INSERT ON our_schema.tool_call_records
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_tool_call_changes();
CREATE TRIGGER tr_tool_call_records_changed AFTER UPDATE ON our_schema.tool_call_records
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_tool_call_changes();
CREATE TRIGGER tr_tool_call_records_removed AFTER DELETE ON our_schema.tool_call_records
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_tool_call_changes();
CREATE TRIGGER tr_tool_call_records_emptied AFTER TRUNCATE ON our_schema.tool_call_records
    FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_tool_call_changes();

INSERT INTO our_schema.tool_definitions (
    id, name, description, arguments_schema, risk_level, connector, version, enabled, created_at, updated_at
)
SELECT r.id, r.name, r.description, s.data -> 'arguments_schema', r.risk_level, r.connector, r.version, r.enabled, r.created_at, r.updated_at
FROM our_schema.tools_set_aside AS s
CROSS JOIN LATERAL jsonb_to_record(s.data) AS r (
    id uuid, name text, description text, risk_level text, connector text, version text, enabled boolean, created_at timestamptz,
    updated_at timestamptz
)
WHERE s.relation = 'tool_definitions';

INSERT INTO our_schema.policies (
    id, name, description, tools, risk_levels, effect, conditions, priority, enabled, created_at, updated_at
)
SELECT r.id, r.name, r.description, r.tools, r.risk_levels, r.effect, s.data -> 'conditions', r.priority, r.enabled, r.created_at, r.updated_at
FROM our_schema.tools_set_aside AS s
CROSS JOIN LATERAL jsonb_to_record(s.data) AS r (
    id uuid, name text, description text, tools text[], risk_levels text[], effect text, priority bigint, enabled boolean,
    created_at timestamptz, updated_at timestamptz
)
WHERE s.relation = 'policies';
-- Never validated: a policy from before may have others, and denies until it is replaced.
ALTER TABLE our_schema.policies ADD CONSTRAINT ck_policies_conditions_known CHECK (conditions_known) NOT VALID;

-- Nothing that was asked for or approved before may start now, and what was running then is not known to have ended.
INSERT INTO our_schema.tool_call_records (
    id, task_run_id, tool_id, arguments, result, error, status, approved_by, approved_at, created_at, started_at, finished_at, reason
)
SELECT r.id, r.task_run_id, r.tool_id, s.data -> 'arguments', s.result, r.error,
    CASE WHEN r.status IN ('pending', 'approved') THEN 'expired' WHEN r.status = 'running' THEN 'unknown' ELSE r.status END,
    r.approved_by, r.approved_at, r.created_at, r.started_at, r.finished_at,
    CASE WHEN r.status IN ('pending', 'approved', 'running') THEN format('it was %s when tools came under policy', r.status) END
FROM our_schema.tools_set_aside AS s
CROSS JOIN LATERAL jsonb_to_record(s.data) AS r (
    id uuid, task_run_id uuid, tool_id uuid, error text, status text, approved_by text, approved_at timestamptz, created_at timestamptz,
    started_at timestamptz, finished_at timestamptz
)
WHERE s.relation = 'tool_call_records';

DROP TABLE our_schema.tools_set_aside;
