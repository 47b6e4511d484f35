-- In the order of the file, in which the first rule that fits decides.
SELECT pg_catalog.json_build_object(
    'rules', (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'type', r.type, 'databases', r.database, 'users', r.user_name, 'address', r.address, 'netmask', r.netmask, 'method', r.auth_method))
        FROM pg_catalog.pg_hba_file_rules AS r
        WHERE r.error IS NULL AND r.type <> 'local'),
    'memberships', (
        SELECT pg_catalog.json_object_agg(m.login, m.groups)
        FROM (
            SELECT u.rolname AS login, pg_catalog.json_agg(g.rolname) AS groups
            FROM pg_catalog.pg_roles AS u
            JOIN pg_catalog.pg_roles AS g ON pg_catalog.pg_has_role(u.oid, g.oid, 'MEMBER')
            WHERE u.rolname::pg_catalog.text = ANY (%(logins)s)
            GROUP BY u.rolname) AS m),
    'address', pg_catalog.host(pg_catalog.inet_client_addr()),
    'tls', (SELECT s.ssl FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid())) AS found
