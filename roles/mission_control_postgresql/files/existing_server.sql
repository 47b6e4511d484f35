SELECT
    pg_catalog.current_setting('server_version') AS version,
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_number,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    -- It starts a server with these in its command line, so that nobody sets them elsewhere.
    (
        SELECT pg_catalog.count(*) = 4
        FROM pg_catalog.pg_settings AS s
        WHERE s.source = 'command line' AND s.name IN ('cluster_name', 'max_worker_processes', 'track_commit_timestamp', 'wal_log_hints')
    ) AS by_patroni,
    administrator.rolsuper AS superuser,
    administrator.rolcreaterole AS may_create_roles,
    administrator.rolcreatedb AS may_create_databases,
    EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %(database)s) AS has_database
FROM pg_catalog.pg_roles AS administrator
WHERE administrator.rolname = current_user
