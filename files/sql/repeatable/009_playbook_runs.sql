-- Runs of Ansible playbooks, as they are shown. That a run began is its created_at, by which runs are indexed.

SET LOCAL search_path = pg_catalog, pg_temp;

-- A barrier, since the reader may read no payload: a condition of a query must not come to see those that the view leaves out.
CREATE OR REPLACE VIEW our_schema.playbook_run_steps WITH (security_barrier = true) AS
SELECT
    e.task_run_id,
    e.sequence,
    e.occurred_at,
    e.payload ->> 'event' AS event,
    e.payload ->> CASE e.payload ->> 'event' WHEN 'result' THEN 'task' ELSE 'name' END AS name,
    e.payload ->> 'module' AS module,
    e.payload ->> 'path' AS path,
    e.payload ->> 'host' AS host,
    e.payload ->> 'outcome' AS outcome,
    CASE jsonb_typeof(e.payload -> 'changed') WHEN 'boolean' THEN (e.payload -> 'changed')::boolean END AS changed,
    CASE jsonb_typeof(e.payload -> 'seconds') WHEN 'number' THEN (e.payload -> 'seconds')::numeric END AS seconds
FROM our_schema.task_events AS e
JOIN our_schema.playbook_runs AS p ON p.task_run_id = e.task_run_id
WHERE (e.type = 'log' AND e.payload ->> 'event' IN ('play', 'task')) OR (e.type = 'tool_result' AND e.payload ->> 'event' = 'result');
COMMENT ON VIEW our_schema.playbook_run_steps IS
    'What a playbook''s run did, in the order of sequence: its plays, its tasks, and the result of each task on each host. Without the messages of failures, which are in task_events.';
COMMENT ON COLUMN our_schema.playbook_run_steps.event IS 'play, task, or result (of the task on a host).';
COMMENT ON COLUMN our_schema.playbook_run_steps.name IS 'Name of the play or the task, as written in the playbook.';
COMMENT ON COLUMN our_schema.playbook_run_steps.module IS 'Of a task, the module that it calls.';
COMMENT ON COLUMN our_schema.playbook_run_steps.path IS 'Of a task, the file and the line where it is written.';
COMMENT ON COLUMN our_schema.playbook_run_steps.host IS 'Of a result, the host as the playbook''s inventory calls it.';
COMMENT ON COLUMN our_schema.playbook_run_steps.outcome IS 'Of a result: ok, failed, ignored, skipped or unreachable.';
COMMENT ON COLUMN our_schema.playbook_run_steps.changed IS 'Of a result: whether the task changed something.';
COMMENT ON COLUMN our_schema.playbook_run_steps.seconds IS 'Of a result: how long the task took on the host, in seconds.';

CREATE OR REPLACE VIEW our_schema.playbook_run_overview AS
SELECT
    r.id,
    r.task_id,
    t.playbook,
    r.status,
    r.error,
    r.created_at AS started_at,
    r.finished_at,
    extract(epoch FROM r.finished_at - r.created_at) AS seconds,
    p.controller,
    p.run_by,
    p.check_mode,
    p.limited_to,
    p.tags,
    p.skip_tags,
    p.ansible_version,
    p.dropped_events,
    h.hosts,
    h.changed_hosts,
    h.failed_hosts
FROM our_schema.playbook_runs AS p
JOIN our_schema.task_runs AS r ON r.id = p.task_run_id
JOIN our_schema.tasks AS t ON t.id = r.task_id
-- Counted per run by index, for the runs that are asked for.
CROSS JOIN LATERAL (
    SELECT
        count(*) AS hosts,
        count(*) FILTER (WHERE c.changed > 0) AS changed_hosts,
        count(*) FILTER (WHERE c.failed > 0 OR c.unreachable > 0) AS failed_hosts
    FROM our_schema.playbook_run_hosts AS c
    WHERE c.task_run_id = p.task_run_id
) AS h;
COMMENT ON VIEW our_schema.playbook_run_overview IS 'The runs of playbooks, and on how many hosts each changed something or failed. Ordered by started_at the newest are found by index.';
COMMENT ON COLUMN our_schema.playbook_run_overview.id IS 'The run, in task_runs.';
COMMENT ON COLUMN our_schema.playbook_run_overview.error IS 'Why it failed: the first task and host.';
COMMENT ON COLUMN our_schema.playbook_run_overview.seconds IS 'How long it took, in seconds; NULL while it runs.';
COMMENT ON COLUMN our_schema.playbook_run_overview.hosts IS 'Number of its hosts; 0 also where they were removed with its events.';
COMMENT ON COLUMN our_schema.playbook_run_overview.changed_hosts IS 'Number of hosts on which something was changed.';
COMMENT ON COLUMN our_schema.playbook_run_overview.failed_hosts IS 'Number of hosts on which a task failed, or which could not be reached.';

CREATE OR REPLACE VIEW our_schema.playbook_status AS
SELECT
    t.playbook,
    t.id AS task_id,
    l.id AS last_run_id,
    l.status AS last_status,
    l.created_at AS last_started_at,
    l.finished_at AS last_finished_at,
    extract(epoch FROM l.finished_at - l.created_at) AS last_seconds,
    s.finished_at AS last_success_at,
    m.succeeded,
    m.failed,
    m.cancelled,
    coalesce(a.running, 0) AS running
FROM our_schema.tasks AS t
-- Each of these is a few steps in an index, however many runs there are. >= and <= instead of = keep the planner from walking back through the
-- runs of all tasks, which is quick for a playbook that runs often, and endless for one that has not run for a year. (BETWEEN means the same, but is
-- printed differently once the view was dumped and restored, so that a run would put the view back.)
CROSS JOIN LATERAL (
    SELECT r.id, r.status, r.created_at, r.finished_at
    FROM our_schema.task_runs AS r
    JOIN our_schema.playbook_runs AS p ON p.task_run_id = r.id
    WHERE r.task_id >= t.id AND r.task_id <= t.id AND NOT p.check_mode
    ORDER BY r.task_id DESC, r.created_at DESC
    LIMIT 1
) AS l
LEFT JOIN LATERAL (
    SELECT r.finished_at
    FROM our_schema.task_runs AS r
    JOIN our_schema.playbook_runs AS p ON p.task_run_id = r.id
    WHERE r.task_id >= t.id AND r.task_id <= t.id AND NOT p.check_mode AND r.status = 'succeeded'
    ORDER BY r.task_id DESC, r.created_at DESC
    LIMIT 1
) AS s ON true
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE r.status = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE r.status = 'failed') AS failed,
        count(*) FILTER (WHERE r.status = 'cancelled') AS cancelled
    FROM our_schema.task_runs AS r
    -- Not a join, for which the planner would read the runs of all playbooks each time.
    WHERE r.task_id >= t.id AND r.task_id <= t.id AND (SELECT NOT p.check_mode FROM our_schema.playbook_runs AS p WHERE p.task_run_id = r.id)
        AND r.created_at >= date_trunc('month', now() AT TIME ZONE our_schema.reporting_time_zone())
            AT TIME ZONE our_schema.reporting_time_zone()
) AS m
LEFT JOIN (
    SELECT r.task_id, count(*) AS running
    FROM our_schema.task_runs AS r
    JOIN our_schema.playbook_runs AS p ON p.task_run_id = r.id
    WHERE r.status = 'running' AND NOT p.check_mode
    GROUP BY r.task_id
) AS a ON a.task_id = t.id
WHERE t.playbook IS NOT NULL;
COMMENT ON VIEW our_schema.playbook_status IS
    'Every playbook that was run, and how its last run ended. Dry runs (--check) are left out of everything: they do nothing.';
COMMENT ON COLUMN our_schema.playbook_status.last_status IS 'How the run ended that began last, or running.';
COMMENT ON COLUMN our_schema.playbook_status.last_seconds IS 'How long that run took, in seconds; NULL while it runs.';
COMMENT ON COLUMN our_schema.playbook_status.last_success_at IS 'When the last run that succeeded ended; NULL for none.';
COMMENT ON COLUMN our_schema.playbook_status.succeeded IS 'Number of runs that began this month, in the reporting time zone, and succeeded.';
COMMENT ON COLUMN our_schema.playbook_status.failed IS 'Number of runs that began this month and failed.';
COMMENT ON COLUMN our_schema.playbook_status.cancelled IS 'Number of runs that began this month and were cancelled.';
COMMENT ON COLUMN our_schema.playbook_status.running IS 'Number of runs that have not ended.';
