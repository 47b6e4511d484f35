-- role: audit
-- What the backups have recorded about themselves, so that a health check can tell one that failed or did not run for too long.
--
-- The table belongs to the owner of the audit log: the administrator writes here in a superuser's name, and whoever owns a table can put
-- triggers on it, which would run in that name. There is one row when a run has ended and none while it goes on: a restored database does
-- not hold a run that never ends.

CREATE TABLE backup_runs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    method text NOT NULL,
    type text NOT NULL,
    repository text,
    label text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome text NOT NULL,
    database_bytes bigint,
    repository_bytes bigint,
    wal_start text,
    wal_stop text,
    audit_sequence bigint,
    audit_digest bytea,
    error text,
    CONSTRAINT pk_backup_runs PRIMARY KEY (id),
    CONSTRAINT ck_backup_runs_method CHECK (method IN ('pgbackrest', 'dump')),
    CONSTRAINT ck_backup_runs_type CHECK (type IN ('full', 'diff', 'incr', 'dump', 'archive')),
    CONSTRAINT ck_backup_runs_outcome CHECK (outcome IN ('success', 'failure')),
    CONSTRAINT ck_backup_runs_error CHECK ((outcome = 'failure') = (error IS NOT NULL)),
    CONSTRAINT ck_backup_runs_period CHECK (finished_at >= started_at),
    CONSTRAINT ck_backup_runs_audit CHECK (
        (audit_sequence IS NULL) = (audit_digest IS NULL) AND audit_sequence >= 0 AND octet_length(audit_digest) = 32
    )
);
COMMENT ON TABLE backup_runs IS 'Backups of this database and how they ended, written by the backup itself. A run to several repositories has a row for each.';
COMMENT ON COLUMN backup_runs.method IS 'pgbackrest (whole cluster with write-ahead log) or dump (this database).';
COMMENT ON COLUMN backup_runs.type IS 'full, diff, incr or dump; archive: write-ahead log was given up because the repository did not take it, so nothing between here and the next backup can be restored.';
COMMENT ON COLUMN backup_runs.repository IS 'Where it is: the number of the repository, or the file of the dump.';
COMMENT ON COLUMN backup_runs.label IS 'Name of the backup in the repository.';
COMMENT ON COLUMN backup_runs.started_at IS 'When the run began; the same for all repositories of one run.';
COMMENT ON COLUMN backup_runs.finished_at IS 'When it had ended, by the server''s clock.';
COMMENT ON COLUMN backup_runs.database_bytes IS 'Size of what was backed up.';
COMMENT ON COLUMN backup_runs.repository_bytes IS 'What the backup added to the repository.';
COMMENT ON COLUMN backup_runs.wal_start IS 'First segment of the write-ahead log that the backup needs.';
COMMENT ON COLUMN backup_runs.wal_stop IS 'Last one.';
COMMENT ON COLUMN backup_runs.audit_sequence IS 'Number of links in the audit chain when the run began.';
COMMENT ON COLUMN backup_runs.audit_digest IS 'Digest of the last of them. The same head is kept outside the database.';
COMMENT ON COLUMN backup_runs.error IS 'What went wrong, in a sentence.';
