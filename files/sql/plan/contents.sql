-- The tables of the database: how many rows each has, and whether it is one of ours.
--
-- Input:  the setting mission_control.wanted (JSON text).
-- Output: mission_control.contents, a JSON list of name, owner, is_ours and reason (a line to show).
--
-- A table is counted only where the catalogue shows, under a lock that keeps others from changing it, that planning and reading it runs no code but
-- PostgreSQL's own: the expression of an index or of statistics is evaluated by the planner, in the name of whoever asks. The rows of other tables,
-- of large ones, and of those that are in use or that we have no permission to read are estimated. Each lock ends before the next table, so that
-- neither others wait nor the server's table of locks fills up.
DO $contents$
DECLARE
  found jsonb[] := '{}';
  t record;
  row_count bigint;
  is_estimate boolean;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  PERFORM pg_catalog.set_config('lock_timeout', '500ms', true);
  FOR t IN
    SELECT c.oid, n.oid AS schema_oid, n.nspname, c.relname, o.rolname AS owner, ours.name IS NOT NULL AS is_ours,
           c.relkind = 'r' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may_be_counted
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
      LEFT JOIN (SELECT w.role ->> 'name' AS name
                   FROM jsonb_array_elements(current_setting('mission_control.wanted')::jsonb -> 'roles') AS w (role)
                  WHERE w.role ->> 'key' IN ('owner', 'audit')) AS ours ON ours.name = o.rolname
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
     ORDER BY n.nspname, c.relname
  LOOP
    is_estimate := true;
    row_count := (SELECT coalesce(sum(greatest(pg_catalog.pg_stat_get_live_tuples(p.oid), 0)), 0)
                    FROM (SELECT t.oid UNION SELECT relid FROM pg_catalog.pg_partition_tree(t.oid)) AS p (oid));
    IF t.may_be_counted THEN
      BEGIN
        EXECUTE format('LOCK TABLE ONLY %I.%I IN SHARE UPDATE EXCLUSIVE MODE', t.nspname, t.relname);
        -- What is locked may be another table by now.
        IF EXISTS (
          SELECT FROM pg_catalog.pg_class c
           WHERE c.oid = t.oid AND c.relname = t.relname AND c.relnamespace = t.schema_oid AND c.relkind = 'r'
             AND NOT c.relrowsecurity AND NOT c.relhasrules AND pg_catalog.pg_relation_size(c.oid) <= 256 * 1024 * 1024
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
             AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend d
                WHERE d.refobjid >= 16384
                  AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass, 'pg_catalog.pg_type'::regclass,
                                       'pg_catalog.pg_opclass'::regclass, 'pg_catalog.pg_opfamily'::regclass, 'pg_catalog.pg_collation'::regclass)
                  AND (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid IN (SELECT x.indexrelid FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid)
                       OR d.classid = 'pg_catalog.pg_statistic_ext'::regclass
                          AND d.objid IN (SELECT s.oid FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid)
                       OR d.classid = 'pg_catalog.pg_constraint'::regclass
                          AND d.objid IN (SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid)))
        ) THEN
          EXECUTE format('SELECT pg_catalog.count(*) FROM ONLY %I.%I', t.nspname, t.relname) INTO row_count;
          is_estimate := false;
        END IF;
        -- Ends the lock.
        RAISE EXCEPTION USING ERRCODE = 'MCOUT';
      EXCEPTION
        WHEN SQLSTATE 'MCOUT' OR lock_not_available OR insufficient_privilege OR undefined_table THEN NULL;
      END;
    END IF;
    found := array_append(found, jsonb_build_object(
      'name', format('%I.%I', t.nspname, t.relname), 'owner', t.owner, 'is_ours', t.is_ours,
      'reason', format('table %I.%I: %s%s rows', t.nspname, t.relname, CASE WHEN is_estimate THEN 'about ' ELSE '' END, row_count)));
  END LOOP;
  PERFORM pg_catalog.set_config('mission_control.contents', to_jsonb(found)::text, true);
END
$contents$
