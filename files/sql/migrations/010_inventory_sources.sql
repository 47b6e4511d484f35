-- The sources that fill the inventory, and rows that are told apart by what their source calls them instead of by name.
--
-- Two guests of one name, one machine told by two sources, a node that was built again, two names that were swapped and the same name in two
-- namespaces are ordinary: a name is unique only among rows that no source tells, as people write them.
--
-- The tables are small enough to be locked while they are read and their indexes are built, and each constraint allows more than before.
-- squawk-ignore-file ban-drop-constraint, constraint-missing-not-valid, require-concurrent-index-creation, require-concurrent-index-deletion

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE our_schema.inventory_sources (
    name text NOT NULL,
    connector text NOT NULL,
    cluster text,
    identity text,
    enabled boolean NOT NULL DEFAULT true,
    interval_seconds bigint,
    task_id uuid NOT NULL,
    last_observed_at timestamptz,
    last_complete_at jsonb NOT NULL DEFAULT '{}',
    last_run_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_inventory_sources PRIMARY KEY (name),
    CONSTRAINT uq_inventory_sources_task_id UNIQUE (task_id),
    CONSTRAINT fk_inventory_sources_task_id FOREIGN KEY (task_id) REFERENCES our_schema.tasks (id) ON DELETE RESTRICT,
    CONSTRAINT fk_inventory_sources_last_run_id FOREIGN KEY (last_run_id) REFERENCES our_schema.task_runs (id) ON DELETE SET NULL,
    CONSTRAINT ck_inventory_sources_name CHECK (name ~ '^[a-z0-9_-]{1,63}$'),
    CONSTRAINT ck_inventory_sources_not_manual CHECK (name <> 'manual'),
    CONSTRAINT ck_inventory_sources_connector CHECK (connector IN ('kubernetes', 'docker', 'proxmox', 'ansible')),
    CONSTRAINT ck_inventory_sources_interval_seconds CHECK (interval_seconds > 0),
    CONSTRAINT ck_inventory_sources_last_complete_at CHECK (jsonb_typeof(last_complete_at) = 'object')
) WITH (fillfactor = 85);
COMMENT ON TABLE our_schema.inventory_sources IS
    'What the inventory is filled from. Addresses and credentials are kept on the host that asks the source, never here.';
COMMENT ON COLUMN our_schema.inventory_sources.name IS 'As in the column source of the rows that it tells; "manual" is the word for people.';
COMMENT ON COLUMN our_schema.inventory_sources.connector IS 'What asks the source.';
COMMENT ON COLUMN our_schema.inventory_sources.cluster IS 'Cluster that its hosts belong to; NULL for none.';
COMMENT ON COLUMN our_schema.inventory_sources.identity IS
    'What told this source from every other when it was last read: a sync of another one under its name is refused. NULL before the first sync.';
COMMENT ON COLUMN our_schema.inventory_sources.enabled IS 'False for a source that is not asked any more; its rows stay.';
COMMENT ON COLUMN our_schema.inventory_sources.interval_seconds IS 'Time between two syncs, in seconds; NULL for a source that is asked on request only.';
COMMENT ON COLUMN our_schema.inventory_sources.task_id IS 'Task whose runs are the syncs of this source.';
COMMENT ON COLUMN our_schema.inventory_sources.last_observed_at IS
    'When, by the server''s clock, the newest snapshot in the tables was begun. An older one changes nothing.';
COMMENT ON COLUMN our_schema.inventory_sources.last_complete_at IS
    'JSON object: for hosts, services and workloads when the newest snapshot was begun that listed all of them. What is there was there then.';
COMMENT ON COLUMN our_schema.inventory_sources.last_run_id IS 'The run that ended last; NULL for none yet.';

CREATE INDEX ix_inventory_sources_last_run_id ON our_schema.inventory_sources (last_run_id);
CREATE TRIGGER tr_inventory_sources_updated_at BEFORE UPDATE ON our_schema.inventory_sources
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION our_schema.set_updated_at();

ALTER TABLE our_schema.services DROP CONSTRAINT uq_services_name;
CREATE UNIQUE INDEX uq_services_name ON our_schema.services (name) WHERE external_id IS NULL;
CREATE INDEX ix_services_name ON our_schema.services (name);
DROP INDEX our_schema.uq_hosts_type_cluster_name;
CREATE UNIQUE INDEX uq_hosts_type_cluster_name ON our_schema.hosts (type, coalesce(cluster, ''), name) WHERE external_id IS NULL;

ALTER TABLE our_schema.services
    ADD COLUMN namespace text,
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN last_seen_at timestamptz,
    ADD CONSTRAINT ck_services_labels CHECK (jsonb_typeof(labels) = 'object');
COMMENT ON COLUMN our_schema.services.namespace IS 'Kubernetes namespace, Docker Compose project or similar; NULL where there is no such thing.';
COMMENT ON COLUMN our_schema.services.labels IS 'JSON object: labels for selection.';

ALTER TABLE our_schema.workloads
    DROP CONSTRAINT ck_workloads_type,
    ADD CONSTRAINT ck_workloads_type CHECK (
        type IN (
            'k8s-deployment', 'k8s-statefulset', 'k8s-daemonset', 'k8s-cronjob', 'k8s-job', 'k8s-pod',
            'proxmox-vm', 'proxmox-lxc', 'libvirt-vm', 'docker-container', 'systemd-service'
        )
    );

-- A sync does not write rows that are as they were, so that updated_at tells when something changed.
COMMENT ON COLUMN our_schema.services.last_seen_at IS
    'When a source last told something new of the service. While it is there, the source''s last complete listing confirms it.';
COMMENT ON COLUMN our_schema.hosts.last_seen_at IS
    'When a source last told something new of the host. While it is there, the source''s last complete listing confirms it.';
COMMENT ON COLUMN our_schema.workloads.last_seen_at IS
    'When a source last told something new of the workload. While it is there, the source''s last complete listing confirms it.';
