-- The tables of the database: how many rows each has, and whether it is one of ours. Rows of a large table, or of one that we may not
-- read, are estimated.
--
-- Input:  the setting mission_control.wanted (JSON text).
-- Output: name, owner, is_ours, reason (a line to show).
WITH ours AS (
  SELECT w.role ->> 'name' AS name
    FROM jsonb_array_elements(current_setting('mission_control.wanted')::jsonb -> 'roles') AS w (role)
   WHERE w.role ->> 'key' IN ('owner', 'audit')
),
tables AS (
  SELECT c.oid, n.nspname, c.relname, o.rolname AS owner,
         NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') OR NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
           OR pg_catalog.pg_relation_size(c.oid) > 256 * 1024 * 1024 AS is_estimate
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
     AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
),
counted AS (
  SELECT format('%I.%I', t.nspname, t.relname) AS name, t.owner::text, t.is_estimate, t.owner IN (SELECT name FROM ours) AS is_ours,
         CASE WHEN t.is_estimate THEN greatest(pg_catalog.pg_stat_get_live_tuples(t.oid), 0)
              ELSE substring(pg_catalog.query_to_xml(format('SELECT count(*) AS n FROM %I.%I', t.nspname, t.relname), false, false, '')::text
                             FROM '<n>([0-9]+)</n>')::bigint END AS row_count
    FROM tables t
)
SELECT name, owner, is_ours, format('table %s: %s%s rows', name, CASE WHEN is_estimate THEN 'about ' ELSE '' END, row_count) AS reason
  FROM counted
 ORDER BY name
