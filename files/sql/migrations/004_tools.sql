-- Tools that agents may call, the record of every call, and the policies that decide whether a call needs approval.

CREATE TABLE tool_definitions (
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
    CONSTRAINT pk_tool_definitions PRIMARY KEY (id),
    CONSTRAINT uq_tool_definitions_name UNIQUE (name),
    CONSTRAINT ck_tool_definitions_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_tool_definitions_arguments_schema CHECK (jsonb_typeof(arguments_schema) = 'object'),
    CONSTRAINT ck_tool_definitions_risk_level CHECK (risk_level IN ('READ_ONLY', 'SAFE_MUTATE', 'DESTRUCTIVE'))
);
COMMENT ON TABLE tool_definitions IS 'Tools that agents may call, with what they may break.';
COMMENT ON COLUMN tool_definitions.arguments_schema IS 'JSON Schema of the arguments.';
COMMENT ON COLUMN tool_definitions.risk_level IS
    'READ_ONLY changes nothing, SAFE_MUTATE changes what can be changed back, DESTRUCTIVE may lose something. No default: say it.';
COMMENT ON COLUMN tool_definitions.connector IS 'Connector that carries the tool out, such as kubernetes.';
COMMENT ON COLUMN tool_definitions.version IS 'Version of the tool, in the connector''s words.';
COMMENT ON COLUMN tool_definitions.enabled IS 'False for a tool that is kept for the record but must not be called.';

CREATE INDEX ix_tool_definitions_connector ON tool_definitions (connector);

CREATE TABLE tool_call_records (
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
    CONSTRAINT pk_tool_call_records PRIMARY KEY (id),
    CONSTRAINT fk_tool_call_records_task_run_id FOREIGN KEY (task_run_id)
        REFERENCES task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT fk_tool_call_records_tool_id FOREIGN KEY (tool_id)
        REFERENCES tool_definitions (id) ON DELETE RESTRICT,
    CONSTRAINT ck_tool_call_records_arguments CHECK (jsonb_typeof(arguments) = 'object'),
    CONSTRAINT ck_tool_call_records_status CHECK (
        status IN ('pending', 'approved', 'denied', 'running', 'succeeded', 'failed', 'timed_out')
    ),
    CONSTRAINT ck_tool_call_records_finished_at CHECK (
        (status IN ('succeeded', 'failed', 'timed_out')) = (finished_at IS NOT NULL)
    )
) WITH (fillfactor = 85);
COMMENT ON TABLE tool_call_records IS 'Every call of a tool, from the wish to the result.';
COMMENT ON COLUMN tool_call_records.arguments IS 'JSON object: arguments of the call, as checked against the tool''s schema.';
COMMENT ON COLUMN tool_call_records.result IS 'What the tool returned, as JSON.';
COMMENT ON COLUMN tool_call_records.error IS 'Why the call failed or was denied.';
COMMENT ON COLUMN tool_call_records.approved_by IS 'Person or policy that approved or denied the call.';
COMMENT ON COLUMN tool_call_records.approved_at IS 'When the call was approved or denied.';
COMMENT ON COLUMN tool_call_records.created_at IS 'When the call was asked for.';
COMMENT ON COLUMN tool_call_records.started_at IS 'When the tool began to work.';
COMMENT ON COLUMN tool_call_records.finished_at IS 'When it succeeded, failed or ran out of time; NULL for a call that did not run to an end.';
COMMENT ON COLUMN tool_call_records.duration_ms IS 'From started_at to finished_at, in milliseconds; computed by the server.';

CREATE INDEX ix_tool_call_records_task_run_id ON tool_call_records (task_run_id, created_at);
-- Serves the foreign key and, without a look at the wide rows, the view tool_call_success_rate.
CREATE INDEX ix_tool_call_records_tool_id ON tool_call_records (tool_id, status) INCLUDE (duration_ms);
CREATE INDEX ix_tool_call_records_open ON tool_call_records (created_at)
    WHERE status IN ('pending', 'approved', 'running');

CREATE TABLE policies (
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
    CONSTRAINT pk_policies PRIMARY KEY (id),
    CONSTRAINT uq_policies_name UNIQUE (name),
    CONSTRAINT ck_policies_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_policies_covers CHECK (cardinality(tools) + cardinality(risk_levels) > 0),
    CONSTRAINT ck_policies_tools CHECK (array_position(tools, NULL) IS NULL),
    CONSTRAINT ck_policies_risk_levels CHECK (risk_levels <@ ARRAY['READ_ONLY', 'SAFE_MUTATE', 'DESTRUCTIVE']),
    CONSTRAINT ck_policies_effect CHECK (effect IN ('allow', 'require_approval', 'deny')),
    CONSTRAINT ck_policies_conditions CHECK (jsonb_typeof(conditions) = 'object')
);
COMMENT ON TABLE policies IS 'Rules that allow a tool call, demand an approval for it, or deny it.';
COMMENT ON COLUMN policies.tools IS 'Names of tools the policy covers; "*" covers every tool.';
COMMENT ON COLUMN policies.risk_levels IS 'Risk levels the policy covers, beside the tools that it names.';
COMMENT ON COLUMN policies.conditions IS 'JSON object: further conditions; an empty one is always met.';
COMMENT ON COLUMN policies.priority IS 'The enabled policy with the highest number decides; among equals the strictest effect.';
COMMENT ON COLUMN policies.enabled IS 'False for a policy that is kept but not applied.';

CREATE INDEX ix_policies_enabled ON policies (priority DESC) WHERE enabled;

CREATE TRIGGER tr_tool_definitions_updated_at BEFORE UPDATE ON tool_definitions
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER tr_policies_updated_at BEFORE UPDATE ON policies
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();
