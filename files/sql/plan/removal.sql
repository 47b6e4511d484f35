-- Plans the removal of the database and its roles, and names what cannot be removed. Run it in the maintenance database.
--
-- Input:  the setting mission_control.wanted (JSON text).
-- Output: ordinal, stage, reason, statement; no row when nothing is left.
--   lose           what will be lost
--   drop_database  DROP DATABASE, which runs in no transaction
--   keep           a role that another database uses, and that stays
--   drop_roles     may run in one transaction when the database is gone
WITH
input AS (
  SELECT current_setting('mission_control.wanted')::jsonb AS wanted
),
role AS (
  SELECT r.oid, r.rolname AS name, w.rank
    FROM input
   CROSS JOIN LATERAL jsonb_array_elements(wanted -> 'roles') WITH ORDINALITY AS w (role, rank)
    JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
),
database AS (
  SELECT d.oid, d.datname AS name, o.rolname AS owner,
         CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_size_pretty(pg_catalog.pg_database_size(d.oid)) ELSE 'unknown size' END AS size,
         (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid) AS sessions
    FROM input
    JOIN pg_catalog.pg_database d ON d.datname = wanted -> 'database' ->> 'name'
    JOIN pg_catalog.pg_roles o ON o.oid = d.datdba
),
-- PostgreSQL refuses to drop a role on which something depends. What depends on it in our database goes with that.
used_elsewhere AS (
  SELECT r.oid, min(coalesce(e.datname, s.datname, 'the whole server')) AS place
    FROM role r
    JOIN pg_catalog.pg_shdepend p ON p.refclassid = 'pg_catalog.pg_authid'::regclass AND p.refobjid = r.oid
    LEFT JOIN pg_catalog.pg_database e ON e.oid = p.dbid
    LEFT JOIN pg_catalog.pg_database s ON p.classid = 'pg_catalog.pg_database'::regclass AND s.oid = p.objid
   WHERE p.dbid NOT IN (SELECT oid FROM database)
     AND NOT (p.dbid = 0 AND p.classid = 'pg_catalog.pg_auth_members'::regclass)
     AND NOT (p.dbid = 0 AND p.classid = 'pg_catalog.pg_database'::regclass AND p.objid IN (SELECT oid FROM database))
   GROUP BY r.oid
),
plan AS (
  SELECT 100 AS ordinal, 'lose' AS stage, format('database %s of %s: %s, %s sessions', name, owner, size, sessions) AS reason, NULL AS statement FROM database
  UNION ALL
  SELECT 200, 'drop_database', format('drop database %s', name), format('DROP DATABASE %I WITH (FORCE)', name) FROM database
  UNION ALL
  SELECT 300 + r.rank, 'keep', format('role %s is kept, because it is used in %s', r.name, u.place), NULL FROM role r JOIN used_elsewhere u ON u.oid = r.oid
  UNION ALL
  SELECT 400 + r.rank, 'drop_roles', format('drop role %s', r.name), format('DROP ROLE %I', r.name)
    FROM role r WHERE r.oid NOT IN (SELECT oid FROM used_elsewhere)
)
SELECT row_number() OVER (ORDER BY plan.ordinal) AS ordinal, plan.stage, plan.reason, plan.statement FROM plan ORDER BY ordinal
