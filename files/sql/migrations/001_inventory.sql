-- Inventory: what runs in the homelab, and where.
--
-- Rows come from connectors and from people. A connector upserts by (source, external_id), so importing twice counts once; what
-- disappears at its source gets `gone_at` and stays, because runs, logs and audit entries still speak of it.

CREATE FUNCTION set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION set_updated_at() IS
    'Trigger function: stamps updated_at. The triggers call it only for an UPDATE that changes something.';

CREATE TABLE services (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    description text,
    owner text,
    url text,
    slo_availability_percent numeric(6, 3),
    slo_latency_ms bigint,
    metadata jsonb NOT NULL DEFAULT '{}',
    source text NOT NULL DEFAULT 'manual',
    external_id text,
    gone_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_services PRIMARY KEY (id),
    CONSTRAINT uq_services_name UNIQUE (name),
    CONSTRAINT ck_services_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_services_slo_availability_percent CHECK (slo_availability_percent BETWEEN 0 AND 100),
    CONSTRAINT ck_services_slo_latency_ms CHECK (slo_latency_ms > 0),
    CONSTRAINT ck_services_metadata CHECK (jsonb_typeof(metadata) = 'object')
);
COMMENT ON TABLE services IS 'Logical groupings of workloads, such as "plex" or "blog-api", with their service level targets.';
COMMENT ON COLUMN services.owner IS 'Person or team that answers for the service; not a database role.';
COMMENT ON COLUMN services.url IS 'Address where people reach the service.';
COMMENT ON COLUMN services.slo_availability_percent IS 'Target share of time in which the service is up, in percent (99.9 means 99.9 %).';
COMMENT ON COLUMN services.slo_latency_ms IS 'Target response time, in milliseconds.';
COMMENT ON COLUMN services.metadata IS 'JSON object: whatever else the source knows.';
COMMENT ON COLUMN services.source IS 'Who told us: the name of a connector, or "manual".';
COMMENT ON COLUMN services.external_id IS 'Identifier at the source; unique within it.';
COMMENT ON COLUMN services.gone_at IS 'When the source stopped listing it; NULL while it is there.';

CREATE UNIQUE INDEX uq_services_source_external_id ON services (source, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE hosts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    type text NOT NULL,
    cluster text,
    status text NOT NULL DEFAULT 'unknown',
    address text,
    os text,
    cpu_cores numeric(10, 3),
    memory_bytes bigint,
    labels jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    source text NOT NULL DEFAULT 'manual',
    external_id text,
    last_seen_at timestamptz,
    gone_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_hosts PRIMARY KEY (id),
    CONSTRAINT ck_hosts_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_hosts_type CHECK (
        type IN ('proxmox-node', 'vm', 'lxc-container', 'k8s-node', 'docker-host', 'bare-metal')
    ),
    CONSTRAINT ck_hosts_status CHECK (status IN ('online', 'offline', 'degraded', 'unknown')),
    CONSTRAINT ck_hosts_cpu_cores CHECK (cpu_cores > 0),
    CONSTRAINT ck_hosts_memory_bytes CHECK (memory_bytes > 0),
    CONSTRAINT ck_hosts_labels CHECK (jsonb_typeof(labels) = 'object'),
    CONSTRAINT ck_hosts_metadata CHECK (jsonb_typeof(metadata) = 'object')
) WITH (fillfactor = 85);
COMMENT ON TABLE hosts IS 'Machines that carry workloads: Proxmox nodes, virtual machines, containers, Kubernetes nodes, Docker hosts, bare metal.';
COMMENT ON COLUMN hosts.cluster IS 'Cluster the host belongs to; NULL for one that stands alone.';
COMMENT ON COLUMN hosts.address IS 'IP address or DNS name under which it is reached.';
COMMENT ON COLUMN hosts.os IS 'Operating system, as the source writes it.';
COMMENT ON COLUMN hosts.cpu_cores IS 'CPU capacity, in cores; fractions are possible (500 millicores are 0.5).';
COMMENT ON COLUMN hosts.memory_bytes IS 'Memory capacity, in bytes.';
COMMENT ON COLUMN hosts.labels IS 'JSON object: labels for selection.';
COMMENT ON COLUMN hosts.metadata IS 'JSON object: whatever else the source knows.';
COMMENT ON COLUMN hosts.source IS 'Who told us: the name of a connector, or "manual".';
COMMENT ON COLUMN hosts.external_id IS 'Identifier at the source; unique within it.';
COMMENT ON COLUMN hosts.last_seen_at IS 'When a source last confirmed the host.';
COMMENT ON COLUMN hosts.gone_at IS 'When the source stopped listing it; NULL while it is there.';

-- An expression instead of NULLS NOT DISTINCT, which PostgreSQL 14 does not have: two hosts without a cluster are in the same one.
CREATE UNIQUE INDEX uq_hosts_type_cluster_name ON hosts (type, coalesce(cluster, ''), name);
CREATE UNIQUE INDEX uq_hosts_source_external_id ON hosts (source, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX ix_hosts_name ON hosts (name);
CREATE INDEX ix_hosts_status ON hosts (status);
CREATE INDEX ix_hosts_labels ON hosts USING gin (labels jsonb_path_ops);

CREATE TABLE workloads (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    type text NOT NULL,
    namespace text,
    host_id uuid,
    service_id uuid,
    status text NOT NULL DEFAULT 'unknown',
    image text,
    replicas_wanted bigint,
    replicas_ready bigint,
    labels jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    source text NOT NULL DEFAULT 'manual',
    external_id text,
    last_seen_at timestamptz,
    gone_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_workloads PRIMARY KEY (id),
    CONSTRAINT fk_workloads_host_id FOREIGN KEY (host_id) REFERENCES hosts (id) ON DELETE SET NULL,
    CONSTRAINT fk_workloads_service_id FOREIGN KEY (service_id) REFERENCES services (id) ON DELETE SET NULL,
    CONSTRAINT ck_workloads_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_workloads_type CHECK (
        type IN (
            'k8s-deployment', 'k8s-statefulset', 'k8s-daemonset', 'k8s-pod',
            'proxmox-vm', 'proxmox-lxc', 'docker-container', 'systemd-service'
        )
    ),
    CONSTRAINT ck_workloads_status CHECK (status IN ('running', 'stopped', 'pending', 'failed', 'unknown')),
    CONSTRAINT ck_workloads_replicas_wanted CHECK (replicas_wanted >= 0),
    CONSTRAINT ck_workloads_replicas_ready CHECK (replicas_ready >= 0),
    CONSTRAINT ck_workloads_labels CHECK (jsonb_typeof(labels) = 'object'),
    CONSTRAINT ck_workloads_metadata CHECK (jsonb_typeof(metadata) = 'object')
) WITH (fillfactor = 85);
COMMENT ON TABLE workloads IS 'What runs on the hosts: Kubernetes objects, Proxmox guests, Docker containers, systemd services.';
COMMENT ON COLUMN workloads.namespace IS 'Kubernetes namespace, Docker Compose project or similar; NULL where there is no such thing.';
COMMENT ON COLUMN workloads.host_id IS 'Host it runs on; NULL if it is spread over several, or if the host was removed.';
COMMENT ON COLUMN workloads.service_id IS 'Service it is a part of.';
COMMENT ON COLUMN workloads.image IS 'Container image or guest template.';
COMMENT ON COLUMN workloads.replicas_wanted IS 'Number of copies asked for.';
COMMENT ON COLUMN workloads.replicas_ready IS 'Number of copies that are ready.';
COMMENT ON COLUMN workloads.labels IS 'JSON object: labels for selection.';
COMMENT ON COLUMN workloads.metadata IS 'JSON object: whatever else the source knows.';
COMMENT ON COLUMN workloads.source IS 'Who told us: the name of a connector, or "manual".';
COMMENT ON COLUMN workloads.external_id IS 'Identifier at the source; unique within it.';
COMMENT ON COLUMN workloads.last_seen_at IS 'When a source last confirmed the workload.';
COMMENT ON COLUMN workloads.gone_at IS 'When the source stopped listing it; NULL while it is there.';

CREATE UNIQUE INDEX uq_workloads_source_external_id ON workloads (source, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX ix_workloads_host_id ON workloads (host_id);
CREATE INDEX ix_workloads_service_id ON workloads (service_id);
CREATE INDEX ix_workloads_namespace_name ON workloads (namespace, name);
CREATE INDEX ix_workloads_status ON workloads (status);
CREATE INDEX ix_workloads_labels ON workloads USING gin (labels jsonb_path_ops);

CREATE TRIGGER tr_services_updated_at BEFORE UPDATE ON services
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER tr_hosts_updated_at BEFORE UPDATE ON hosts
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER tr_workloads_updated_at BEFORE UPDATE ON workloads
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION set_updated_at();
