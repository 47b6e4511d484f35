-- Runs of Ansible playbooks: each is a run of the task that stands for its playbook, and this is what other runs have not.
--
-- A playbook's run is never queued. Who records one gives it the time at which the playbook began as created_at and as started_at, so that the
-- newest runs, and those of a playbook, are found by the indexes on created_at that there are.
--
-- The tables that are changed are small enough to be locked while an index on them is built, and the new column is NULL everywhere.
-- squawk-ignore-file constraint-missing-not-valid, disallowed-unique-constraint, require-concurrent-index-creation

SET LOCAL search_path = pg_catalog, pg_temp;

ALTER TABLE our_schema.tasks
    ADD COLUMN playbook text,
    ADD CONSTRAINT uq_tasks_playbook UNIQUE (playbook),
    ADD CONSTRAINT ck_tasks_playbook CHECK (btrim(playbook) <> '');
COMMENT ON COLUMN our_schema.tasks.playbook IS
    'The Ansible playbook that the runs of this task are runs of: its path below, and with, the top directory of its Git repository, such as homelab/site.yml; elsewhere its path, with ~ for the home. NULL for any other task.';

CREATE TABLE our_schema.playbook_runs (
    task_run_id uuid NOT NULL,
    controller text NOT NULL,
    run_by text NOT NULL,
    check_mode boolean NOT NULL,
    limited_to text,
    tags text[] NOT NULL DEFAULT '{}',
    skip_tags text[] NOT NULL DEFAULT '{}',
    ansible_version text NOT NULL,
    dropped_events bigint NOT NULL DEFAULT 0,
    CONSTRAINT pk_playbook_runs PRIMARY KEY (task_run_id),
    CONSTRAINT fk_playbook_runs_task_run_id FOREIGN KEY (task_run_id) REFERENCES our_schema.task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT ck_playbook_runs_tags CHECK (array_position(tags, NULL) IS NULL),
    CONSTRAINT ck_playbook_runs_skip_tags CHECK (array_position(skip_tags, NULL) IS NULL),
    CONSTRAINT ck_playbook_runs_dropped_events CHECK (dropped_events >= 0)
);
COMMENT ON TABLE our_schema.playbook_runs IS 'How a playbook was run. Its events are in task_events, without arguments and results of modules.';
COMMENT ON COLUMN our_schema.playbook_runs.controller IS 'Name of the machine that ran it.';
COMMENT ON COLUMN our_schema.playbook_runs.run_by IS 'Who ran it there: a user of that machine.';
COMMENT ON COLUMN our_schema.playbook_runs.check_mode IS 'True for a dry run (--check), which changes nothing.';
COMMENT ON COLUMN our_schema.playbook_runs.limited_to IS 'The hosts that it was limited to, as written after --limit; NULL for all.';
COMMENT ON COLUMN our_schema.playbook_runs.tags IS 'The tags whose tasks alone were run, as written after --tags; empty for all.';
COMMENT ON COLUMN our_schema.playbook_runs.skip_tags IS 'The tags whose tasks were skipped, as written after --skip-tags.';
COMMENT ON COLUMN our_schema.playbook_runs.ansible_version IS 'Version of ansible-core.';
COMMENT ON COLUMN our_schema.playbook_runs.dropped_events IS 'Number of events that were not recorded, for want of space.';

CREATE TABLE our_schema.playbook_run_hosts (
    task_run_id uuid NOT NULL,
    host_name text NOT NULL,
    host_id uuid,
    ok bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    unreachable bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    rescued bigint NOT NULL DEFAULT 0,
    ignored bigint NOT NULL DEFAULT 0,
    CONSTRAINT pk_playbook_run_hosts PRIMARY KEY (task_run_id, host_name),
    CONSTRAINT fk_playbook_run_hosts_task_run_id FOREIGN KEY (task_run_id) REFERENCES our_schema.playbook_runs (task_run_id)
        ON DELETE RESTRICT,
    CONSTRAINT fk_playbook_run_hosts_host_id FOREIGN KEY (host_id) REFERENCES our_schema.hosts (id) ON DELETE SET NULL,
    CONSTRAINT ck_playbook_run_hosts_host_name CHECK (btrim(host_name) <> ''),
    CONSTRAINT ck_playbook_run_hosts_counts CHECK (
        least(ok, changed, failed, unreachable, skipped, rescued, ignored) >= 0
    )
);
COMMENT ON TABLE our_schema.playbook_run_hosts IS
    'How a playbook''s run ended on each of its hosts: the counts of Ansible''s summary. Removed together with the run''s last events.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.host_name IS 'As the playbook''s inventory calls the host.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.host_id IS 'The host, where it is one of ours; NULL for another one, or if it was removed.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.ok IS 'Number of tasks that succeeded, those that changed something included.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.changed IS 'Number of tasks that changed something.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.failed IS 'Number of tasks that failed, and were neither ignored nor rescued.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.unreachable IS 'Number of tasks for which the host could not be reached.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.skipped IS 'Number of tasks that were skipped.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.rescued IS 'Number of tasks that failed in a block whose rescue made up for it.';
COMMENT ON COLUMN our_schema.playbook_run_hosts.ignored IS 'Number of tasks whose failure was ignored.';

CREATE INDEX ix_playbook_run_hosts_host_id ON our_schema.playbook_run_hosts (host_id);
-- When a playbook last succeeded, however often it has failed since.
CREATE INDEX ix_task_runs_succeeded ON our_schema.task_runs (task_id, created_at) WHERE status = 'succeeded';
