SELECT
    pg_catalog.current_setting('server_version') AS version,
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_number,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    administrator.rolsuper AS superuser,
    administrator.rolcreaterole AS may_create_roles,
    administrator.rolcreatedb AS may_create_databases,
    EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %(database)s) AS has_database
FROM pg_catalog.pg_roles AS administrator
WHERE administrator.rolname = current_user
