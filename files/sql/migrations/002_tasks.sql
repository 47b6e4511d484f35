-- Tasks, their runs, the append-only log of each run, and what the runs produced.
--
-- Times are not compared with each other in a CHECK: a host whose clock was set back could then not finish its runs.
--
-- task_events is made to be partitioned by month later without a change in the programs that write to it: nothing refers to it, and
-- its key has no meaning outside. On a partitioned table the sequence would be unique within a partition only and across partitions
-- the writer's duty, so writers that may repeat themselves say ON CONFLICT DO NOTHING without naming a target.

CREATE TABLE tasks (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    title text NOT NULL,
    description text,
    created_by text NOT NULL,
    is_template boolean NOT NULL DEFAULT false,
    parameters jsonb NOT NULL DEFAULT '{}',
    template_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_tasks PRIMARY KEY (id),
    CONSTRAINT fk_tasks_template_id FOREIGN KEY (template_id) REFERENCES tasks (id) ON DELETE SET NULL,
    CONSTRAINT ck_tasks_title CHECK (btrim(title) <> ''),
    CONSTRAINT ck_tasks_created_by CHECK (btrim(created_by) <> ''),
    CONSTRAINT ck_tasks_parameters CHECK (jsonb_typeof(parameters) = 'object'),
    CONSTRAINT ck_tasks_template_id CHECK (template_id <> id)
);
COMMENT ON TABLE tasks IS 'What is to be done: reusable templates and one-off definitions.';
COMMENT ON COLUMN tasks.created_by IS 'Person or program that defined the task; not a database role.';
COMMENT ON COLUMN tasks.is_template IS 'True for a definition that other tasks are made from.';
COMMENT ON COLUMN tasks.parameters IS 'JSON object: parameters of the task, or of a template their defaults.';
COMMENT ON COLUMN tasks.template_id IS 'Template the task was made from; NULL for none, or if the template was removed.';

CREATE INDEX ix_tasks_template_id ON tasks (template_id);
CREATE INDEX ix_tasks_created_at ON tasks (created_at);
CREATE INDEX ix_tasks_templates ON tasks (title) WHERE is_template;

CREATE TABLE task_runs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    task_id uuid NOT NULL,
    user_prompt text,
    status text NOT NULL DEFAULT 'queued',
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT pk_task_runs PRIMARY KEY (id),
    CONSTRAINT fk_task_runs_task_id FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE RESTRICT,
    CONSTRAINT ck_task_runs_status CHECK (
        status IN ('queued', 'running', 'waiting_approval', 'succeeded', 'failed', 'cancelled')
    ),
    CONSTRAINT ck_task_runs_finished_at CHECK (
        (status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)
    )
) WITH (fillfactor = 85);
COMMENT ON TABLE task_runs IS 'Executions of tasks. A run that is finished has a finish time, one that is not has none.';
COMMENT ON COLUMN task_runs.user_prompt IS 'What the person asked for, in their words; NULL for a run that no person asked for.';
COMMENT ON COLUMN task_runs.error IS 'Why the run failed.';
COMMENT ON COLUMN task_runs.created_at IS 'When the run was queued.';
COMMENT ON COLUMN task_runs.started_at IS 'When work on it began.';
COMMENT ON COLUMN task_runs.finished_at IS 'When it succeeded, failed or was cancelled.';

CREATE INDEX ix_task_runs_task_id ON task_runs (task_id, created_at);
CREATE INDEX ix_task_runs_created_at ON task_runs (created_at);
CREATE INDEX ix_task_runs_active ON task_runs (created_at)
    WHERE status IN ('queued', 'running', 'waiting_approval');

CREATE TABLE task_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    task_run_id uuid NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    payload_blanked_at timestamptz,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_task_events PRIMARY KEY (id),
    CONSTRAINT uq_task_events_task_run_id_sequence UNIQUE (task_run_id, sequence),
    CONSTRAINT fk_task_events_task_run_id FOREIGN KEY (task_run_id) REFERENCES task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT ck_task_events_sequence CHECK (sequence >= 0),
    CONSTRAINT ck_task_events_type CHECK (
        type IN (
            'llm_request', 'llm_response', 'tool_call', 'tool_result',
            'approval', 'status_change', 'log', 'error'
        )
    )
);
COMMENT ON TABLE task_events IS
    'Append-only log of the runs. Only shorten_task_events(), a function of the owner, may remove old events or blank the payload of one.';
COMMENT ON COLUMN task_events.sequence IS 'Position within the run, counted by the writer from 0 or 1; gaps are allowed, repetitions are not.';
COMMENT ON COLUMN task_events.payload IS 'What happened, as JSON; its form depends on the type.';
COMMENT ON COLUMN task_events.payload_blanked_at IS 'When the payload was blanked because it held a secret; NULL for an untouched event.';
COMMENT ON COLUMN task_events.occurred_at IS 'When it happened.';
COMMENT ON COLUMN task_events.recorded_at IS 'When it was written here; retention counts from it.';

-- The table only grows at its end, so a block range index finds an age at a thousandth of the size of a B-tree.
CREATE INDEX ix_task_events_recorded_at ON task_events USING brin (recorded_at) WITH (autosummarize = on);
CREATE INDEX ix_task_events_errors ON task_events (recorded_at) WHERE type = 'error';

CREATE FUNCTION guard_task_events() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
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
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'task_events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
            HINT = 'Old events are removed, and the payload of one is blanked, by the owner with shorten_task_events().';
END
$$;
COMMENT ON FUNCTION guard_task_events() IS 'Trigger function: refuses UPDATE, DELETE and TRUNCATE of task_events outside shorten_task_events().';

CREATE TRIGGER tr_task_events_append_only_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON task_events
    FOR EACH STATEMENT EXECUTE FUNCTION guard_task_events();
-- A statement trigger is not fired for the rows of a child table or by a replication worker; a row trigger is.
CREATE TRIGGER tr_task_events_append_only_row BEFORE UPDATE OR DELETE ON task_events
    FOR EACH ROW EXECUTE FUNCTION guard_task_events();
-- Plain triggers are skipped under session_replication_role = replica.
ALTER TABLE task_events ENABLE ALWAYS TRIGGER tr_task_events_append_only_statement;
ALTER TABLE task_events ENABLE ALWAYS TRIGGER tr_task_events_append_only_row;

CREATE TABLE artifacts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    task_run_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    uri text,
    content text,
    media_type text,
    size_bytes bigint,
    sha256 text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_artifacts PRIMARY KEY (id),
    CONSTRAINT fk_artifacts_task_run_id FOREIGN KEY (task_run_id) REFERENCES task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT ck_artifacts_kind CHECK (kind IN ('file', 'output', 'link')),
    CONSTRAINT ck_artifacts_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_artifacts_uri_or_content CHECK (num_nonnulls(uri, content) >= 1),
    CONSTRAINT ck_artifacts_size_bytes CHECK (size_bytes >= 0),
    CONSTRAINT ck_artifacts_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE artifacts IS 'What runs produced: files, outputs and links.';
COMMENT ON COLUMN artifacts.uri IS 'Where the artifact lies, if not (only) here.';
COMMENT ON COLUMN artifacts.content IS 'The artifact itself, if it is small and text.';
COMMENT ON COLUMN artifacts.media_type IS 'Media type (MIME), such as text/markdown.';
COMMENT ON COLUMN artifacts.size_bytes IS 'Size, in bytes.';
COMMENT ON COLUMN artifacts.sha256 IS 'SHA-256 of the content, 64 lower-case hexadecimal digits.';

CREATE INDEX ix_artifacts_task_run_id ON artifacts (task_run_id, created_at);
CREATE INDEX ix_artifacts_sha256 ON artifacts (sha256) WHERE sha256 IS NOT NULL;

CREATE TRIGGER tr_tasks_updated_at BEFORE UPDATE ON tasks
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();
