SELECT
    current_setting('server_version') AS version,
    current_setting('server_version_num')::integer AS version_number,
    pg_is_in_recovery() AS in_recovery,
    administrator.rolsuper AS superuser,
    administrator.rolcreaterole AS may_create_roles,
    administrator.rolcreatedb AS may_create_databases,
    EXISTS (SELECT FROM pg_database WHERE datname = %(database)s) AS has_database
FROM pg_roles AS administrator
WHERE administrator.rolname = current_user
