-- Plans the changes that bring roles, memberships and the database to the desired state.
--
-- Input:  the setting mission_control.wanted (JSON text, see roles/mission_control_database/vars/main.yml).
-- Output: ordinal, stage, acting_role, reason, statement; no row when nothing differs.
--   refuse           reason is a sentence that says why nothing may be changed, and the cure; there is no statement
--   roles            may run in any database, before ours exists
--   create_database  CREATE DATABASE, which runs in no transaction
--   database         needs the database to exist
--
-- It reads catalogues that everybody may read (pg_roles, not pg_authid), so that an administrator who is no superuser can plan,
-- and only shared ones, so that the answer is the same in every database of the server.
-- PostgreSQL 16 gave memberships the options INHERIT and SET; to_jsonb() reads them where they exist.
WITH RECURSIVE
input AS (
  SELECT current_setting('mission_control.wanted')::jsonb AS wanted
),
administrator AS (
  SELECT oid, rolname, rolsuper, rolcreaterole, rolcreatedb
    FROM pg_catalog.pg_roles WHERE rolname = current_user
),
server AS (
  SELECT current_setting('server_version_num')::int AS version_num
),
wanted_role AS (
  SELECT w.rank, w.role ->> 'key' AS key, w.role ->> 'name' AS name,
         (w.role ->> 'login')::boolean AS login, (w.role ->> 'inherit')::boolean AS inherit,
         (w.role ->> 'connection_limit')::int AS connection_limit,
         w.role ->> 'comment' AS comment, w.role -> 'settings' AS settings,
         coalesce(w.role -> 'memberships', '[]') AS memberships,
         r.oid, r.rolcanlogin, r.rolinherit, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolreplication, r.rolbypassrls, r.rolconnlimit
    FROM input
   CROSS JOIN LATERAL jsonb_array_elements(wanted -> 'roles') WITH ORDINALITY AS w (role, rank)
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
),
wanted_database AS (
  SELECT w.database ->> 'name' AS name, nullif(w.database ->> 'owner', '') AS owner, nullif(w.database ->> 'locale', '') AS locale,
         nullif(w.database ->> 'tablespace', '') AS tablespace, (w.database ->> 'connection_limit')::int AS connection_limit,
         w.database ->> 'comment' AS comment, w.database -> 'settings' AS settings,
         d.oid, d.datdba, o.rolname AS current_owner, d.datallowconn, d.datconnlimit,
         pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
         coalesce(d.datacl, pg_catalog.acldefault('d', coalesce(d.datdba, administrator.oid))) AS acl
    FROM input
   CROSS JOIN LATERAL (SELECT wanted -> 'database' AS database) w
   CROSS JOIN administrator
    LEFT JOIN pg_catalog.pg_database d ON d.datname = w.database ->> 'name'
    LEFT JOIN pg_catalog.pg_roles o ON o.oid = d.datdba
),

-- Roles ------------------------------------------------------------------------------------------------------------------
create_role AS (
  SELECT 'roles' AS stage, 100 + rank AS ordinal,
         format('create role %s (%s)', name, CASE WHEN login THEN 'may log in' ELSE 'no login' END) AS reason,
         format('CREATE ROLE %I %s %s CONNECTION LIMIT %s', name, CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END,
                CASE WHEN inherit THEN 'INHERIT' ELSE 'NOINHERIT' END, connection_limit) AS statement
    FROM wanted_role WHERE oid IS NULL
),
-- Only what differs is named: naming SUPERUSER or REPLICATION, even unchanged, is refused to an administrator who is no superuser.
alter_role AS (
  SELECT 'roles' AS stage, 100 + rank AS ordinal,
         format('role %s: %s', name, string_agg(a.option, ', ' ORDER BY a.option)) AS reason,
         format('ALTER ROLE %I %s', name, string_agg(a.option, ' ' ORDER BY a.option)) AS statement
    FROM wanted_role
   CROSS JOIN LATERAL (VALUES
           (rolcanlogin <> login, CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END),
           (rolinherit <> inherit, CASE WHEN inherit THEN 'INHERIT' ELSE 'NOINHERIT' END),
           (rolconnlimit <> connection_limit, 'CONNECTION LIMIT ' || connection_limit),
           (rolsuper, 'NOSUPERUSER'), (rolcreatedb, 'NOCREATEDB'), (rolcreaterole, 'NOCREATEROLE'),
           (rolreplication, 'NOREPLICATION'), (rolbypassrls, 'NOBYPASSRLS')) AS a (differs, option)
   WHERE a.differs
   GROUP BY rank, name
),
role_setting AS (
  SELECT 'roles' AS stage, 200 + r.rank AS ordinal,
         format('role %s: %s = %s', r.name, s.key, coalesce(s.value, 'default')) AS reason,
         CASE WHEN s.value IS NULL THEN format('ALTER ROLE %I RESET %I', r.name, s.key)
              ELSE format('ALTER ROLE %I SET %I TO %L', r.name, s.key, s.value) END AS statement
    FROM wanted_role r
   CROSS JOIN LATERAL jsonb_each_text(r.settings) s
    LEFT JOIN LATERAL (
           SELECT substr(c.entry, length(s.key) + 2) AS value
             FROM pg_catalog.pg_db_role_setting d CROSS JOIN LATERAL unnest(d.setconfig) AS c (entry)
            WHERE d.setrole = r.oid AND d.setdatabase = 0 AND starts_with(c.entry, s.key || '=')) current ON true
   WHERE current.value IS DISTINCT FROM s.value
),
role_comment AS (
  SELECT 'roles' AS stage, 300 + rank AS ordinal, format('role %s: comment', name) AS reason,
         format('COMMENT ON ROLE %I IS %L', name, comment) AS statement
    FROM wanted_role WHERE comment IS DISTINCT FROM pg_catalog.shobj_description(oid, 'pg_authid')
),

-- Memberships ------------------------------------------------------------------------------------------------------------
-- A membership without INHERIT and SET gives its holder nothing but the right to grant; PostgreSQL 16 and newer give it to a creator
-- who is no superuser, and he cannot give it up.
membership AS (
  SELECT m.roleid, m.member, m.grantor, m.admin_option, g.rolsuper AS of_superuser, g.rolname AS role_name, u.rolname AS member_name, b.rolname AS grantor_name,
         coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true) AS inherits,
         coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true) OR coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) AS usable
    FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
    JOIN pg_catalog.pg_roles u ON u.oid = m.member
    LEFT JOIN pg_catalog.pg_roles b ON b.oid = m.grantor
),
guarded_role AS (
  SELECT oid, name, key FROM wanted_role WHERE key IN ('owner', 'audit', 'executor', 'approver') AND oid IS NOT NULL
  UNION ALL
  SELECT datdba, current_owner, 'database owner' FROM wanted_database WHERE oid IS NOT NULL
),
-- Our roles are members of what is listed for them and of nothing else, and pass none of it on: an application in pg_execute_server_program, or a
-- reader in the role of the application, could do more than its name says. Above all none decides on calls of tools, or starts them, but those that
-- are for it. Whoever else is a member of one of our roles is left alone, but for the owner of the audit log: so people are made members of the
-- approver. A role of a longer way round is found as one that some role of ours is a member of.
forbidden_membership AS (
  SELECT m.*, g.key, w.key AS member_key
    FROM membership m
    LEFT JOIN guarded_role g ON g.oid = m.roleid
    LEFT JOIN wanted_role w ON w.oid = m.member
   WHERE (m.usable AND g.key = 'audit')
      OR (w.oid IS NOT NULL AND (m.usable OR m.admin_option) AND (g.oid IS NOT NULL OR m.admin_option OR NOT w.memberships ? m.role_name::text))
),
revoke_membership AS (
  SELECT 'roles' AS stage, 400::bigint AS ordinal,
         format('role %s must not be a member of %s (%s)', f.member_name, f.role_name,
                CASE WHEN f.key = 'audit' THEN 'the owner of the audit log has no members'
                     WHEN f.key IN ('executor', 'approver') THEN 'it must not start calls of tools or decide on them'
                     WHEN f.key IS NOT NULL THEN f.key
                     WHEN f.admin_option THEN 'it must not grant that to others'
                     WHEN f.member_key = 'service' THEN 'the service only reads'
                     ELSE 'not in its list of memberships' END) AS reason,
         format('REVOKE %I FROM %I', f.role_name, f.member_name)
         || CASE WHEN server.version_num >= 160000 AND f.grantor_name IS NOT NULL
                 THEN format(' GRANTED BY %I CASCADE', f.grantor_name) ELSE '' END AS statement
    FROM forbidden_membership f CROSS JOIN server
),
reach (start_oid, start_name, via, roleid, depth) AS (
  SELECT m.member, m.member_name, m.role_name, m.roleid, 1
    FROM membership m JOIN wanted_role r ON r.oid = m.member
   WHERE m.usable
  UNION
  SELECT reach.start_oid, reach.start_name, reach.via, m.roleid, least(reach.depth + 1, 2)
    FROM reach JOIN membership m ON m.member = reach.roleid
   WHERE m.usable
),
wanted_membership AS (
  SELECT w.role_name, r.name AS member_name, r.key, g.oid AS role_oid
    FROM wanted_role r
   CROSS JOIN LATERAL jsonb_array_elements_text(r.memberships) AS w (role_name)
    LEFT JOIN pg_catalog.pg_roles g ON g.rolname = w.role_name
),
missing_membership AS (
  SELECT w.* FROM wanted_membership w
   WHERE NOT EXISTS (SELECT FROM membership m WHERE m.role_name = w.role_name AND m.member_name = w.member_name AND m.inherits
                                              AND NOT m.admin_option)
),
grant_membership AS (
  SELECT 'roles' AS stage, 500::bigint AS ordinal, format('role %s becomes a member of %s', m.member_name, m.role_name) AS reason,
         format('GRANT %I TO %I', m.role_name, m.member_name)
         || CASE WHEN server.version_num >= 160000 THEN ' WITH INHERIT TRUE' ELSE '' END AS statement
    FROM missing_membership m CROSS JOIN server
),

-- Database ---------------------------------------------------------------------------------------------------------------
create_database AS (
  SELECT 'create_database' AS stage, 600::bigint AS ordinal,
         format('create database %s (UTF8, owned by %s)', d.name, coalesce(d.owner, administrator.rolname)) AS reason,
         format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING %L CONNECTION LIMIT %s', d.name,
                coalesce(d.owner, administrator.rolname), 'UTF8', d.connection_limit)
         || coalesce(' LOCALE ' || quote_literal(d.locale), '') || coalesce(' TABLESPACE ' || quote_ident(d.tablespace), '') AS statement
    FROM wanted_database d CROSS JOIN administrator WHERE d.oid IS NULL
),
alter_database AS (
  SELECT 'database' AS stage, 700::bigint AS ordinal, format('database %s: owner %s instead of %s', name, owner, current_owner) AS reason,
         format('ALTER DATABASE %I OWNER TO %I', name, owner) AS statement
    FROM wanted_database WHERE oid IS NOT NULL AND owner <> current_owner
  UNION ALL
  SELECT 'database', 710, format('database %s: connection limit %s', name, connection_limit),
         format('ALTER DATABASE %I CONNECTION LIMIT %s', name, connection_limit)
    FROM wanted_database WHERE oid IS NOT NULL AND datconnlimit <> connection_limit
  UNION ALL
  SELECT 'database', 720, format('database %s: comment', name), format('COMMENT ON DATABASE %I IS %L', name, comment)
    FROM wanted_database WHERE comment IS DISTINCT FROM pg_catalog.shobj_description(oid, 'pg_database')
),
-- search_path holds an identifier, which PostgreSQL stores quoted where it has to be; every other value is stored as it was given.
database_setting AS (
  SELECT 'database' AS stage, 730::bigint AS ordinal, s.key, s.value,
         format('database %s: %s = %s', d.name, s.key, coalesce(s.value, 'default')) AS reason,
         CASE WHEN s.value IS NULL THEN format('ALTER DATABASE %I RESET %I', d.name, s.key)
              WHEN s.key = 'search_path' THEN format('ALTER DATABASE %I SET search_path TO %I', d.name, s.value)
              ELSE format('ALTER DATABASE %I SET %I TO %L', d.name, s.key, s.value) END AS statement
    FROM wanted_database d
   CROSS JOIN LATERAL jsonb_each_text(d.settings) s
    LEFT JOIN LATERAL (
           SELECT substr(c.entry, length(s.key) + 2) AS value
             FROM pg_catalog.pg_db_role_setting p CROSS JOIN LATERAL unnest(p.setconfig) AS c (entry)
            WHERE p.setdatabase = d.oid AND p.setrole = 0 AND starts_with(c.entry, s.key || '=')) current ON true
   WHERE current.value IS DISTINCT FROM CASE WHEN s.key = 'search_path' THEN quote_ident(s.value) ELSE s.value END
),
database_grant AS (
  SELECT a.grantee, g.name AS grantee_name, g.key, a.privilege_type, a.is_grantable, b.rolname AS grantor_name, d.name, d.datdba, a.grantor
    FROM wanted_database d
   CROSS JOIN LATERAL pg_catalog.aclexplode(d.acl) a
    LEFT JOIN wanted_role g ON g.oid = a.grantee
    LEFT JOIN pg_catalog.pg_roles b ON b.oid = a.grantor
   WHERE a.grantee = 0 OR g.oid IS NOT NULL
),
wanted_grant AS (
  SELECT k.key, p.privilege
    FROM input
   CROSS JOIN LATERAL jsonb_each(wanted -> 'database' -> 'privileges') AS k (key, privileges)
   CROSS JOIN LATERAL jsonb_array_elements_text(k.privileges) AS p (privilege)
),
revoke_on_database AS (
  SELECT 'database' AS stage, 740::bigint AS ordinal,
         CASE WHEN a.grantor <> a.datdba THEN a.grantor_name END AS acting_role,
         format('database %s: revoke %s from %s', a.name, string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type),
                coalesce(a.grantee_name, 'PUBLIC')) AS reason,
         format('REVOKE %s ON DATABASE %I FROM %s CASCADE', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), a.name,
                CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(a.grantee_name) END) AS statement
    FROM database_grant a
   WHERE a.grantee IS DISTINCT FROM a.datdba
     AND (a.is_grantable OR NOT EXISTS (SELECT FROM wanted_grant w WHERE w.key = a.key AND w.privilege = a.privilege_type))
   GROUP BY a.name, a.grantee, a.grantee_name, a.grantor, a.grantor_name, a.datdba
),
-- A privilege held with the grant option is revoked above, so it is granted anew; those of an owner go over to the next owner.
grant_on_database AS (
  SELECT 'database' AS stage, 750::bigint AS ordinal,
         format('database %s: grant %s to %s', d.name, string_agg(w.privilege, ', ' ORDER BY w.privilege), r.name) AS reason,
         format('GRANT %s ON DATABASE %I TO %I', string_agg(w.privilege, ', ' ORDER BY w.privilege), d.name, r.name) AS statement
    FROM wanted_database d
   CROSS JOIN wanted_grant w
    JOIN wanted_role r ON r.key = w.key
   WHERE NOT EXISTS (SELECT FROM database_grant a WHERE a.key = w.key AND a.privilege_type = w.privilege AND NOT a.is_grantable
                                                  AND NOT (a.grantee = d.datdba AND coalesce(d.owner <> d.current_owner, false)))
   GROUP BY d.name, r.name
),
action AS (
  SELECT stage, ordinal, NULL::name AS acting_role, reason, statement FROM create_role
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM alter_role
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM role_setting
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM role_comment
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM revoke_membership
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM grant_membership
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM create_database
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM alter_database
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM database_setting
  UNION ALL SELECT stage, ordinal, acting_role, reason, statement FROM revoke_on_database
  UNION ALL SELECT stage, ordinal, NULL, reason, statement FROM grant_on_database
),

-- Refusals ---------------------------------------------------------------------------------------------------------------
-- From PostgreSQL 15 on a superuser may let others set a parameter. The function that tells does not exist before, so it is
-- called through query_to_xml(), which looks it up only when it runs.
parameter_right AS (
  SELECT s.key,
         administrator.rolsuper OR (server.version_num >= 150000
           AND pg_catalog.query_to_xml(format('SELECT pg_catalog.has_parameter_privilege(%L, %L) AS may', s.key, 'SET'),
                                       false, false, '')::text LIKE '%<may>true</may>%') AS may_set
    FROM database_setting s CROSS JOIN administrator CROSS JOIN server
   WHERE s.key LIKE '%.%' AND s.value IS NOT NULL
),
refusal AS (
  SELECT 1 AS rank, format('PostgreSQL 14 or newer is needed, but this server is version %s.', current_setting('server_version')) AS sentence
    FROM server WHERE version_num < 140000
  UNION ALL
  SELECT 2, 'This server is a standby, which is read-only: set mission_control_login_host to its primary.'
   WHERE pg_catalog.pg_is_in_recovery()
  UNION ALL
  SELECT 3, format('The administrator %s cannot be one of the managed roles: set mission_control_login_user to another role.', r.name)
    FROM wanted_role r JOIN administrator a ON a.rolname = r.name
  UNION ALL
  SELECT 10, format('The database %s has the encoding %s, not UTF8: rename it or choose another mission_control_database_name.', name, encoding)
    FROM wanted_database WHERE oid IS NOT NULL AND encoding <> 'UTF8'
  UNION ALL
  SELECT 11, format('The database %s accepts no connections (datallowconn is off or its creation was interrupted): repair or drop it first.', name)
    FROM wanted_database WHERE oid IS NOT NULL AND (NOT datallowconn OR datconnlimit = -2)
  UNION ALL
  SELECT 12, format('The database %s is owned by %s, which could then drop it: set mission_control_database_administrator to its new owner.', d.name, r.name)
    FROM wanted_database d JOIN wanted_role r ON r.oid = d.datdba WHERE d.owner IS NULL
  UNION ALL
  SELECT 13, format('There is no role %s to own the database %s: create it or change mission_control_database_administrator.', d.owner, d.name)
    FROM wanted_database d WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.rolname = d.owner) AND d.owner IS NOT NULL
  UNION ALL
  SELECT 13, format('There is no tablespace %s for the database %s: create it or change mission_control_database_tablespace.', d.tablespace, d.name)
    FROM wanted_database d
   WHERE d.oid IS NULL AND d.tablespace IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace t WHERE t.spcname = d.tablespace)
  UNION ALL
  SELECT 14, format('The role %s is a member of %s through %s: revoke its membership of that role first.', reach.start_name, g.name, reach.via)
    FROM reach JOIN guarded_role g ON g.oid = reach.roleid AND g.oid <> reach.start_oid
   WHERE reach.depth > 1
     AND reach.via NOT IN (SELECT f.role_name FROM forbidden_membership f WHERE f.member = reach.start_oid)
     AND NOT EXISTS (SELECT FROM forbidden_membership f WHERE f.roleid = g.oid AND f.member_name = reach.via)
  UNION ALL
  SELECT 20, format('The role %s needs CREATEROLE for the step "%s": grant it that, or set mission_control_login_user to another role.', a.rolname,
                    (SELECT reason FROM action WHERE stage = 'roles' ORDER BY ordinal LIMIT 1))
    FROM administrator a
   WHERE NOT a.rolsuper AND NOT a.rolcreaterole AND EXISTS (SELECT FROM action WHERE stage = 'roles')
  UNION ALL
  SELECT 21, format('The role %s needs CREATEDB to create the database %s: grant it that, or create the database for it.', a.rolname, d.name)
    FROM administrator a CROSS JOIN wanted_database d
   WHERE NOT a.rolsuper AND NOT a.rolcreatedb AND d.oid IS NULL
  UNION ALL
  SELECT 31, format('Before PostgreSQL 15 the schema public of a new database belongs to the superuser %s, so %s cannot change its privileges: '
                    'choose another mission_control_database_schema or connect as a superuser.', s.rolname, a.rolname)
    FROM administrator a CROSS JOIN server CROSS JOIN wanted_database d CROSS JOIN input
    JOIN pg_catalog.pg_roles s ON s.oid = 10
   WHERE d.oid IS NULL AND server.version_num < 150000 AND wanted ->> 'schema' = 'public' AND NOT pg_catalog.pg_has_role(a.oid, s.oid, 'MEMBER')
  UNION ALL
  SELECT 22, format('The database %s belongs to %s, so %s cannot apply the step "%s": connect as its owner or as a superuser.', d.name, d.current_owner, a.rolname,
                    (SELECT reason FROM action WHERE stage = 'database' ORDER BY ordinal LIMIT 1))
    FROM administrator a CROSS JOIN wanted_database d
   WHERE d.oid IS NOT NULL AND NOT pg_catalog.pg_has_role(a.oid, d.datdba, 'USAGE') AND EXISTS (SELECT FROM action WHERE stage = 'database')
  UNION ALL
  SELECT 23, format('The role %s is not a member of %s and cannot create a database for it: connect as %s or as a superuser.', a.rolname, d.owner, d.owner)
    FROM administrator a CROSS JOIN wanted_database d JOIN pg_catalog.pg_roles o ON o.rolname = d.owner
   WHERE (d.oid IS NULL OR d.datdba <> o.oid) AND NOT pg_catalog.pg_has_role(a.oid, o.oid, 'USAGE')
  UNION ALL
  SELECT 24, format('The role %s has SUPERUSER, REPLICATION or BYPASSRLS, which %s cannot take away: run as a superuser.', r.name, a.rolname)
    FROM administrator a CROSS JOIN wanted_role r
   WHERE NOT a.rolsuper AND (r.rolsuper OR r.rolreplication OR r.rolbypassrls)
  UNION ALL
  SELECT 25, format('The role %s was not created by %s, which lacks ADMIN OPTION on it and so cannot change it: '
                    'a superuser can run GRANT %I TO %I WITH ADMIN OPTION.', r.name, a.rolname, r.name, a.rolname)
    FROM administrator a CROSS JOIN server CROSS JOIN wanted_role r
   WHERE NOT a.rolsuper AND server.version_num >= 160000 AND r.oid IS NOT NULL
     AND NOT pg_catalog.pg_has_role(a.oid, r.oid, 'MEMBER WITH ADMIN OPTION')
     AND EXISTS (SELECT FROM action WHERE stage = 'roles' AND starts_with(action.reason, 'role ' || r.name || ': '))
  UNION ALL
  SELECT 26, format('The role %s may not grant %s, which %s needs: a superuser can run GRANT %I TO %I WITH ADMIN OPTION, '
                    'or set mission_control_database_%s_memberships to an empty list.',
                    a.rolname, m.role_name, m.member_name, m.role_name, a.rolname, m.key)
    FROM administrator a CROSS JOIN server CROSS JOIN missing_membership m
   WHERE NOT a.rolsuper AND server.version_num >= 160000 AND m.role_oid IS NOT NULL
     AND NOT pg_catalog.pg_has_role(a.oid, m.role_oid, 'MEMBER WITH ADMIN OPTION')
  UNION ALL
  SELECT 27, format('There is no role %s for %s to be a member of: create it or change mission_control_database_%s_memberships.', role_name, member_name, key)
    FROM missing_membership WHERE role_oid IS NULL
  UNION ALL
  SELECT 28, format('The role %s is not allowed to set %s for a database: run as a superuser, or keep the default.', a.rolname, p.key)
    FROM administrator a CROSS JOIN parameter_right p WHERE NOT p.may_set
  UNION ALL
  SELECT 30, format('The role %s must not be a member of %s, but %s granted that and %s cannot revoke it: run as a superuser.', f.member_name, f.role_name,
                    coalesce(f.grantor_name, 'somebody'), a.rolname)
    FROM administrator a CROSS JOIN server CROSS JOIN forbidden_membership f
   WHERE NOT a.rolsuper AND (f.of_superuser OR server.version_num >= 160000 AND NOT pg_catalog.pg_has_role(a.oid, f.grantor, 'USAGE'))
  UNION ALL
  SELECT 29, format('There is no time zone %s: set mission_control_database_reporting_time_zone to a name from pg_timezone_names.', s.value)
    FROM database_setting s
   WHERE s.key = 'mission_control.reporting_time_zone'
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_timezone_names z WHERE z.name = s.value)
     AND s.value IS NOT NULL
)
SELECT row_number() OVER (ORDER BY plan.ordinal, plan.reason) AS ordinal, plan.stage, plan.acting_role::text, plan.reason, plan.statement
  FROM (SELECT rank AS ordinal, 'refuse' AS stage, NULL::name AS acting_role, sentence AS reason, NULL AS statement FROM refusal
        UNION ALL
        SELECT ordinal, stage, acting_role, reason, statement FROM action) AS plan
 ORDER BY ordinal
