-- Functions of the migration runner. They live in the session's temporary schema, so that nothing of the runner stays in a database
-- and every run uses the version that it ships. plugins/module_utils/schema/runner.py writes the calls.
--
-- A file that fails does not raise an error to the client: its subtransaction is rolled back, and the outcome is returned as a row
-- with SQLSTATE and message. So the caller can name file and cause in a sentence, in every language of the server, without searching
-- an error text that also holds the whole script. What comes after a failed file finds the state "failed" and is not tried.

-- Before the first function is created, since that fires event triggers: one whose owner is not a superuser any more would run with the rights
-- of this session.
DO $runner$
DECLARE
  v_trigger record;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
  SELECT e.evtname AS name, CASE WHEN o.rolsuper THEN f.rolname ELSE o.rolname END AS owner INTO v_trigger
  FROM pg_event_trigger AS e
  JOIN pg_roles AS o ON o.oid = e.evtowner
  JOIN pg_proc AS p ON p.oid = e.evtfoid
  JOIN pg_roles AS f ON f.oid = p.proowner
  WHERE e.evtenabled <> 'D' AND NOT (o.rolsuper AND f.rolsuper)
  ORDER BY e.evtname
  LIMIT 1;
  IF FOUND THEN
    -- Put together here, so that a search for it does not find this source.
    RAISE EXCEPTION '%', format('mission_control%s<%s>', '_outcome', format(
      'The event trigger %I would run code of %s, who is not a superuser, with the rights of this run: run ALTER EVENT TRIGGER %I DISABLE, then this again',
      v_trigger.name, v_trigger.owner, v_trigger.name));
  END IF;
END
$runner$;

-- Every function looks names up in pg_catalog alone: it may run as a superuser, and whoever may create functions in our schema (the owner
-- of the objects) could put one there whose arguments fit better. What a file holds is run as the owner, with our schema in the path.

-- Assume a role for the rest of the transaction. An administrator who is not a superuser becomes a member of it first, if necessary;
-- leave_role() revokes that. On PostgreSQL 16 and newer the right to SET ROLE is apart from membership.
CREATE FUNCTION pg_temp.assume_role(p_role name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_set_option CONSTANT boolean := current_setting('server_version_num')::integer >= 160000;
BEGIN
  PERFORM set_config('role', 'none', true);
  IF NOT pg_has_role(session_user, p_role, CASE WHEN v_set_option THEN 'SET' ELSE 'MEMBER' END) THEN
    EXECUTE format('GRANT %I TO %I' || CASE WHEN v_set_option THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END, p_role, session_user);
    PERFORM set_config('mission_control.temporary_member_of', p_role, false);
  END IF;
  PERFORM set_config('role', p_role, true);
END
$runner$;

CREATE FUNCTION pg_temp.leave_role(p_role name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  PERFORM set_config('role', 'none', true);
  IF current_setting('mission_control.temporary_member_of', true) = p_role THEN
    EXECUTE format('REVOKE %I FROM %I', p_role, session_user);
    PERFORM set_config('mission_control.temporary_member_of', '', false);
  END IF;
END
$runner$;

-- The same for statements that cannot run in a transaction: until RESET ROLE, over commits. A membership that this needs
-- ends in the transaction that it began in, so that a session which is killed meanwhile leaves none.
CREATE FUNCTION pg_temp.keep_role(p_role name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  PERFORM pg_temp.assume_role(p_role);
  PERFORM set_config('role', p_role, false);
  IF current_setting('mission_control.temporary_member_of', true) = p_role THEN
    PERFORM pg_temp.end_membership(p_role);
    PERFORM set_config('mission_control.temporary_member_of', '', false);
  END IF;
END
$runner$;

-- As the administrator who created this function, while the session has assumed another role.
CREATE FUNCTION pg_temp.end_membership(p_role name)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  EXECUTE format('REVOKE %I FROM %I', p_role, session_user);
END
$runner$;

-- The boundary: no code of the owners, nor of anybody else who can create something in our schema, runs with an administrator's rights.
--
--   run as an owner   Files, and everything that reads or writes through objects which others may have created, run inside a SECURITY DEFINER
--                     function of the owner. There the server refuses to go back to the administrator (SET ROLE, set_config('role'), RESET
--                     SESSION AUTHORIZATION), which after SET LOCAL ROLE it would not.
--   what outlives it  Settings, temporary objects, cursors WITH HOLD and, up to PostgreSQL 17, deferred triggers act later in the session or
--                     at its commit, with the administrator's rights: settings are put back, and the rest is refused.
--   read directly     The bookkeeping is read by the administrator only after the catalogue has shown, under a lock, ordinary tables whose
--                     planning and reading runs nothing but PostgreSQL's own code.

-- Run a text of SQL as a role. The function is created for each call and dropped before the commit: nobody else ever sees it, and what is run
-- in it can only damage its own. The name cannot be guessed.
CREATE FUNCTION pg_temp.call_as(p_schema text, p_role name, p_sql text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_name CONSTANT text := format('%I.%I', p_schema, 'mission_control_run_' || replace(gen_random_uuid()::text, '-', ''));
  v_temporary CONSTANT text[] := ARRAY(
    SELECT format('%s %s', d.classid, d.objid) FROM pg_depend AS d
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = pg_my_temp_schema() ORDER BY d.classid, d.objid);
  v_function regprocedure;
BEGIN
  PERFORM pg_temp.assume_role(p_role);
  EXECUTE format($sql$
    CREATE FUNCTION %1$s(p_sql text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = %2$I, pg_temp
    AS %3$L $sql$, v_name, p_schema, format(
    'BEGIN EXECUTE p_sql; EXECUTE %L; END', format('DROP FUNCTION IF EXISTS %s(text)', v_name)));
  EXECUTE format('GRANT EXECUTE ON FUNCTION %s(text) TO %I', v_name, session_user);
  PERFORM pg_temp.leave_role(p_role);
  v_function := v_name || '(text)';
  IF NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = v_function AND p.prosecdef AND p.proowner = quote_ident(p_role)::regrole) THEN
    RAISE EXCEPTION 'the function that runs the file does not belong to %: nothing but this run may touch it', p_role;
  END IF;
  EXECUTE format('SELECT %s($1)', v_name) USING p_sql;
  -- First of all: a SET in what was run would affect the lookup of every name from here on.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
  -- Before a function of ours is called again: there may be another one in its place.
  IF v_temporary IS DISTINCT FROM ARRAY(
    SELECT format('%s %s', d.classid, d.objid) FROM pg_depend AS d
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = pg_my_temp_schema() ORDER BY d.classid, d.objid)
  THEN
    RAISE EXCEPTION 'it left temporary objects behind or dropped others: drop what it creates, and nothing else';
  END IF;
  IF EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = v_function) THEN
    RAISE EXCEPTION 'it changed the function that ran it: remove that statement';
  END IF;
END
$runner$;

-- The settings of the session, which something that runs as another role may change.
CREATE FUNCTION pg_temp.session_state()
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  RETURN jsonb_build_object(
    'run_state', coalesce(current_setting('mission_control.run_state', true), ''),
    'settings', (
      SELECT jsonb_object_agg(s.name, s.setting) FROM pg_settings AS s
      WHERE s.context IN ('user', 'superuser') AND s.name NOT LIKE 'transaction\_%' AND s.name NOT IN ('search_path', 'seed')));
END
$runner$;

-- Restore settings, and refuse what would act later with the rights of whoever commits. Raises with the end of a sentence.
CREATE FUNCTION pg_temp.restore_session(p_before jsonb, p_audit name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_now CONSTANT jsonb := pg_temp.session_state();
  v_names text;
  v_setting record;
BEGIN
  SELECT string_agg(quote_ident(c.name), ', ') INTO v_names FROM pg_cursors AS c WHERE c.is_holdable;
  IF v_names IS NOT NULL THEN
    RAISE EXCEPTION 'it left a cursor WITH HOLD open (%), whose query the administrator would run: close it', v_names;
  END IF;
  -- Whoever may have put one on a table that was written holds no stronger lock than ours: what is seen here stays so until the commit.
  -- Foreign keys check as the owner of their table. The two on the audit log act at the commit and never before.
  SELECT string_agg(DISTINCT format('%s on %s', quote_ident(t.tgname), t.tgrelid::regclass), ', ') INTO v_names
  FROM pg_trigger AS t
  JOIN pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_proc AS f ON f.oid = t.tgfoid
  WHERE t.tgdeferrable
    AND c.oid IN (
      SELECT l.relation FROM pg_locks AS l
      WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
        AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
    AND NOT (t.tgname = 'tr_audit_chain' AND c.relowner = to_regrole(quote_ident(p_audit)) AND f.proowner = c.relowner)
    AND CASE
      WHEN NOT t.tgisinternal THEN true
      WHEN f.proname <> 'unique_key_recheck' THEN false
      -- Of a deferred unique or exclusion constraint: its expressions and operators are worked out again at the commit.
      ELSE EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = t.tgconstrindid AND d.refobjid >= 16384
          AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_type'::regclass))
    END;
  IF v_names IS NOT NULL THEN
    RAISE EXCEPTION 'a deferred trigger would run at the commit with the administrator''s rights (%): make it NOT DEFERRABLE', v_names;
  END IF;
  FOR v_setting IN
    SELECT b.key AS name, b.value FROM jsonb_each_text(p_before -> 'settings') AS b
    WHERE v_now -> 'settings' ->> b.key IS DISTINCT FROM b.value
  LOOP
    PERFORM set_config(v_setting.name, v_setting.value, false);
  END LOOP;
  PERFORM set_config('mission_control.run_state', p_before ->> 'run_state', false);
END
$runner$;

-- Run a text as a role and keep its effects: nothing else of it outlives the call.
CREATE FUNCTION pg_temp.run_as(p_schema text, p_role name, p_audit name, p_sql text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_before CONSTANT jsonb := pg_temp.session_state();
BEGIN
  PERFORM pg_temp.call_as(p_schema, p_role, p_sql);
  PERFORM pg_temp.restore_session(v_before, p_audit);
END
$runner$;

-- Why nothing may run in this schema: a list of sentences. Who may create in it, or has, could have put a function there whose arguments fit
-- better than those of one that an owner's code calls.
CREATE FUNCTION pg_temp.reasons_against(p_schema text, p_owner name, p_audit name)
RETURNS text[]
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $runner$
  WITH trusted AS (
    SELECT r.oid FROM pg_roles AS r
    WHERE r.rolsuper OR r.rolname IN (p_owner, p_audit, session_user, 'pg_database_owner')
    UNION
    SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()
  ),
  stranger AS (
    SELECT r.oid, r.rolname AS name FROM pg_roles AS r WHERE r.oid NOT IN (SELECT t.oid FROM trusted AS t)
  ),
  schema AS (
    SELECT n.oid, n.nspname AS name, coalesce(n.nspacl, acldefault('n', n.nspowner)) AS acl FROM pg_namespace AS n WHERE n.nspname = p_schema
  ),
  creator AS (
    SELECT s.name AS schema, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(g.name) END AS grantee
    FROM schema AS s
    CROSS JOIN LATERAL aclexplode(s.acl) AS a
    LEFT JOIN stranger AS g ON g.oid = a.grantee
    WHERE a.privilege_type = 'CREATE' AND (a.grantee = 0 OR g.oid IS NOT NULL)
  ),
  thing AS (
    SELECT 'pg_proc'::regclass AS class, p.oid, p.pronamespace AS schema, p.proowner AS owner FROM pg_proc AS p
    UNION ALL SELECT 'pg_operator'::regclass, o.oid, o.oprnamespace, o.oprowner FROM pg_operator AS o
    UNION ALL SELECT 'pg_opclass'::regclass, o.oid, o.opcnamespace, o.opcowner FROM pg_opclass AS o
    UNION ALL SELECT 'pg_collation'::regclass, c.oid, c.collnamespace, c.collowner FROM pg_collation AS c
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, t.typnamespace, t.typowner FROM pg_type AS t
    WHERE t.typelem = 0 AND (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_class AS c WHERE c.oid = t.typrelid))
  )
  SELECT coalesce(array_agg(DISTINCT r.reason ORDER BY r.reason), '{}') FROM (
    SELECT format('%s can create objects in the schema %I, whose code other roles would run: run REVOKE CREATE ON SCHEMA %I FROM %s.',
      c.grantee, c.schema, c.schema, c.grantee) AS reason
    FROM creator AS c
    UNION ALL
    SELECT format('The schema %I holds %s of %I, which other roles could run by mistake: drop it or move it to another schema.',
      p_schema, pg_describe_object(t.class, t.oid, 0), s.name)
    FROM thing AS t
    JOIN stranger AS s ON s.oid = t.owner
    WHERE t.schema = (SELECT n.oid FROM schema AS n)
    UNION ALL
    -- A call of the other one would not be unique.
    SELECT format('The schema %I holds the function %s of %I beside the one of the audit log with the same name: run DROP FUNCTION %s.',
      p_schema, o.oid::regprocedure, p_owner, o.oid::regprocedure)
    FROM pg_proc AS a
    JOIN pg_proc AS o ON o.proname = a.proname AND o.pronamespace = a.pronamespace
    WHERE a.pronamespace = (SELECT n.oid FROM schema AS n) AND a.proowner = to_regrole(quote_ident(p_audit))
      AND o.proowner = to_regrole(quote_ident(p_owner)) AND a.proowner <> o.proowner
  ) AS r
$runner$;

-- Lock the bookkeeping, with the strongest lock that lets others read and this role may take, and require that reading it runs nobody's code. As
-- the owner only where the administrator may not read it.
CREATE FUNCTION pg_temp.lock_to_read(p_schema text, p_owner name, p_tables text[])
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_table text;
  v_problem text;
BEGIN
  IF (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = session_user) THEN
    LOCK TABLE pg_statistic_ext IN SHARE MODE;
  END IF;
  IF EXISTS (SELECT FROM unnest(p_tables) AS t WHERE NOT has_table_privilege(format('%I.%I', p_schema, t), 'SELECT')) THEN
    PERFORM pg_temp.assume_role(p_owner);
  END IF;
  FOREACH v_table IN ARRAY p_tables LOOP
    EXECUTE format('LOCK TABLE ONLY %I.%I IN %s MODE', p_schema, v_table,
      CASE WHEN has_table_privilege(format('%I.%I', p_schema, v_table), 'INSERT') THEN 'ROW EXCLUSIVE' ELSE 'ACCESS SHARE' END);
  END LOOP;
  PERFORM set_config('mission_control.relations', (
    SELECT jsonb_agg(jsonb_build_object('schema', p_schema, 'name', t)) FROM unnest(p_tables) AS t)::text, true);
  SELECT string_agg(format('%I.%s %s', p_schema, f.name, f.problem), '; ') INTO v_problem FROM pg_temp.foreign_code() AS f;
  IF v_problem IS NOT NULL THEN
    PERFORM pg_temp.raise_outcome(format('The migration history is not as this collection created it: %s. '
      'Somebody with the rights of %I changed it: restore it before the next run', v_problem, p_owner));
  END IF;
END
$runner$;

-- The major version of this server, in which the checksums of definitions count.
CREATE FUNCTION pg_temp.server_major()
RETURNS integer
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $runner$
  SELECT current_setting('server_version_num')::integer / 10000
$runner$;

-- {"drifted": our functions, views and triggers that are not as they were made, or null where that was never recorded, or by another major
-- version; "run_ids": of the runs that made them}.
CREATE FUNCTION pg_temp.object_state(p_schema text, p_audit name)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_state jsonb := '{"drifted": null, "run_ids": []}';
BEGIN
  IF to_regclass(format('%I.schema_objects', p_schema)) IS NOT NULL THEN
    PERFORM pg_temp.lock_to_read(p_schema, p_audit, ARRAY['schema_objects']);
    SELECT jsonb_build_object(
      'drifted', CASE WHEN coalesce(bool_and(r.comparable), true) THEN
        coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.kind, r.name, r.table_name) FILTER (WHERE r.differs), '[]') END,
      'run_ids', coalesce(jsonb_agg(DISTINCT r.run_id), '[]'))
    INTO v_state
    FROM pg_temp.drift(p_schema) AS r;
    PERFORM pg_temp.leave_role(p_audit);
  END IF;
  RETURN v_state;
END
$runner$;

-- Before the files are run again: create the table of the checksums, and drop functions, views and triggers that were changed, so that they can be
-- created again whatever they have become. Without CASCADE: what others depend on stays, and is replaced as far as PostgreSQL allows.
CREATE FUNCTION pg_temp.prepare_objects(p_schema text, p_owner name, p_audit name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_object record;
  v_identity text;
  v_owner name;
BEGIN
  IF to_regclass(format('%I.schema_objects', p_schema)) IS NULL THEN
    PERFORM pg_temp.run_as(p_schema, p_audit, p_audit, $sql$
      CREATE TABLE schema_objects (
        kind text NOT NULL,
        name text NOT NULL,
        table_name text NOT NULL,
        made_by text NOT NULL,
        checksum text NOT NULL,
        server_major integer NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        run_id uuid NOT NULL,
        CONSTRAINT pk_schema_objects PRIMARY KEY (kind, name, table_name),
        CONSTRAINT ck_schema_objects_kind CHECK (kind IN ('function', 'view', 'trigger')),
        CONSTRAINT ck_schema_objects_made_by CHECK (made_by IN ('owner', 'audit'))
      );
      COMMENT ON TABLE schema_objects IS
        'Functions, views and triggers as the server described them when they were made; a run puts back what differs. Belongs to the owner of the audit log';
      COMMENT ON COLUMN schema_objects.name IS 'Name, of a function with the types of its arguments';
      COMMENT ON COLUMN schema_objects.table_name IS 'Table of a trigger; empty for the others';
      COMMENT ON COLUMN schema_objects.made_by IS 'owner: of the objects; audit: owner of the audit log';
      COMMENT ON COLUMN schema_objects.checksum IS 'SHA-256 of the definition in the catalogue, in hexadecimal';
      COMMENT ON COLUMN schema_objects.server_major IS 'Major version of the server that described it; another one may word it otherwise';
      COMMENT ON COLUMN schema_objects.run_id IS 'The provisioning run that made it, or put it back';
    $sql$ || format('GRANT SELECT ON schema_objects TO %I', session_user));
  END IF;
  FOR v_object IN
    SELECT o.kind, o.name, o.table_name, o.made_by, o.oid
    FROM jsonb_to_recordset(coalesce(nullif(pg_temp.object_state(p_schema, p_audit) -> 'drifted', 'null'), '[]'))
      AS o (kind text, name text, table_name text, made_by text, oid oid)
  LOOP
    PERFORM pg_temp.run_as(p_schema, p_audit, p_audit, format(
      'UPDATE schema_objects SET checksum = %L WHERE kind = %L AND name = %L AND table_name = %L',
      '', v_object.kind, v_object.name, v_object.table_name));
    CONTINUE WHEN v_object.oid IS NULL;
    IF v_object.kind = 'trigger' THEN
      SELECT format('TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass), pg_get_userbyid(c.relowner) INTO v_identity, v_owner
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE t.oid = v_object.oid;
      PERFORM pg_temp.call_as(p_schema, v_owner, 'DROP ' || v_identity);
      CONTINUE;
    END IF;
    v_owner := CASE v_object.made_by WHEN 'audit' THEN p_audit ELSE p_owner END;
    v_identity := CASE v_object.kind
      WHEN 'view' THEN format('VIEW %s', v_object.oid::regclass) ELSE format('ROUTINE %s', v_object.oid::regprocedure) END;
    IF v_owner <> (
      SELECT pg_get_userbyid(p.proowner) FROM pg_proc AS p WHERE v_object.kind = 'function' AND p.oid = v_object.oid
      UNION ALL
      SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE v_object.kind = 'view' AND c.oid = v_object.oid) THEN
      EXECUTE format('ALTER %s OWNER TO %I', v_identity, v_owner);
    END IF;
    BEGIN
      PERFORM pg_temp.call_as(p_schema, v_owner, 'DROP ' || v_identity);
    EXCEPTION
      WHEN dependent_objects_still_exist THEN
        NULL;
    END;
  END LOOP;
END
$runner$;

-- Create the triggers that are not as recorded, or were never recorded. p_triggers: [{"table": …, "name": …, "role": …, "sql": …}, …].
CREATE FUNCTION pg_temp.restore_triggers(p_schema text, p_audit name, p_attempts integer, p_triggers jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_changed jsonb;
  v_trigger record;
BEGIN
  EXECUTE format($sql$
    SELECT jsonb_agg(t) FROM jsonb_array_elements($1) AS t
    WHERE NOT EXISTS (
      SELECT FROM ONLY %I.schema_objects AS r
      JOIN pg_temp.definitions(%L) AS d ON d.kind = r.kind AND d.name = r.name AND d.table_name = r.table_name AND d.checksum = r.checksum
      WHERE r.kind = 'trigger' AND r.name = t ->> 'name' AND r.table_name = t ->> 'table' AND r.server_major = pg_temp.server_major())
    $sql$, p_schema, p_schema) INTO v_changed USING p_triggers;
  FOR v_trigger IN
    SELECT t."table" AS table_name, t.name, t.role, t.sql
    FROM jsonb_to_recordset(coalesce(v_changed, '[]')) AS t ("table" text, name text, role name, sql text)
  LOOP
    FOR v_attempt IN 1..p_attempts LOOP
      BEGIN
        PERFORM pg_temp.run_as(p_schema, v_trigger.role, p_audit, v_trigger.sql);
        EXIT;
      EXCEPTION
        WHEN lock_not_available THEN
          IF v_attempt = p_attempts THEN
            PERFORM pg_temp.raise_outcome(format('trigger %s on %s failed: %s', v_trigger.name, v_trigger.table_name,
              concat_ws('; ', SQLERRM, pg_temp.other_holder(p_schema))));
          END IF;
      END;
    END LOOP;
  END LOOP;
END
$runner$;

-- Record what the files have just created. Only functions and views that this transaction created count, so that somebody else's of the
-- same name is never mistaken for ours. p_shipped: {"function": [names], "view": [names], "trigger": [{"table": …, "name": …}]}.
CREATE FUNCTION pg_temp.record_objects(p_schema text, p_audit name, p_run_id uuid, p_shipped jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_objects jsonb;
BEGIN
  SELECT jsonb_agg(jsonb_build_object(
    'kind', d.kind, 'name', d.name, 'table_name', d.table_name, 'checksum', d.checksum,
    'made_by', CASE coalesce(p.proowner, c.relowner, tc.relowner) WHEN to_regrole(quote_ident(p_audit)) THEN 'audit' ELSE 'owner' END))
  INTO v_objects
  FROM pg_temp.definitions(p_schema) AS d
  LEFT JOIN pg_proc AS p ON d.kind = 'function' AND p.oid = d.oid
  LEFT JOIN pg_class AS c ON d.kind = 'view' AND c.oid = d.oid
  LEFT JOIN pg_rewrite AS w ON w.ev_class = c.oid AND w.rulename = '_RETURN'
  LEFT JOIN pg_trigger AS t ON d.kind = 'trigger' AND t.oid = d.oid
  LEFT JOIN pg_class AS tc ON tc.oid = t.tgrelid
  WHERE CASE d.kind
    WHEN 'trigger' THEN p_shipped -> 'trigger' @> jsonb_build_array(jsonb_build_object('table', d.table_name, 'name', d.name))
    ELSE p_shipped -> d.kind ? coalesce(p.proname, c.relname)::text
      AND age(coalesce(p.xmin, w.xmin)) <= age(pg_current_xact_id()::xid)
    END;
  PERFORM pg_temp.run_as(p_schema, p_audit, p_audit, format($sql$
    WITH shipped AS (
      SELECT s.kind, s.name, s.table_name, s.made_by, s.checksum
      FROM pg_catalog.jsonb_to_recordset(%1$L::jsonb) AS s (kind text, name text, table_name text, made_by text, checksum text)
    ),
    gone AS (
      DELETE FROM schema_objects AS r
      WHERE NOT EXISTS (
        SELECT FROM shipped AS s WHERE s.kind = r.kind AND s.name = r.name AND s.table_name = r.table_name)
    )
    INSERT INTO schema_objects AS r (kind, name, table_name, made_by, checksum, server_major, run_id)
    SELECT s.kind, s.name, s.table_name, s.made_by, s.checksum, %2$s, %3$L FROM shipped AS s
    ON CONFLICT (kind, name, table_name) DO UPDATE
    SET made_by = excluded.made_by, checksum = excluded.checksum, server_major = excluded.server_major, run_id = excluded.run_id, applied_at = now()
    WHERE (r.checksum, r.server_major, r.made_by) IS DISTINCT FROM (excluded.checksum, excluded.server_major, excluded.made_by)
    $sql$, v_objects, pg_temp.server_major(), p_run_id));
END
$runner$;

-- {"budgets": those of the role, "time_zone": in which the roll-up of the token usage cuts days, "reporting_time_zone": in which reports do};
-- NULL where the tables are not there yet.
CREATE FUNCTION pg_temp.ledger_state(p_schema text, p_owner name)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_state jsonb;
BEGIN
  IF to_regclass(format('%I.llm_budgets', p_schema)) IS NOT NULL THEN
    PERFORM pg_temp.lock_to_read(p_schema, p_owner, ARRAY['llm_budgets', 'token_usage_rollup']);
    EXECUTE format($sql$
      SELECT jsonb_build_object(
        'budgets', (
          SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'usd', amount_usd::text, 'provider', provider, 'model', model,
            'project', project, 'agent', agent) ORDER BY name), '[]')
          FROM ONLY %1$I.llm_budgets WHERE origin = 'role'),
        'names_of_others', (SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM ONLY %1$I.llm_budgets WHERE origin <> 'role'),
        'time_zone', (SELECT time_zone FROM ONLY %1$I.token_usage_rollup),
        'reporting_time_zone', coalesce(nullif(current_setting('mission_control.reporting_time_zone', true), ''), 'UTC'))
      $sql$, p_schema) INTO v_state;
    PERFORM pg_temp.leave_role(p_owner);
  END IF;
  RETURN v_state;
END
$runner$;

-- {"tools": […], "policies": […], "tokens": [{"name": …, "kind": …, "sha256": …}, …]}; of a database whose tables are older the names alone, all of them
-- made by others; NULL where there are no such tables yet.
CREATE FUNCTION pg_temp.registry_state(p_schema text, p_owner name, p_audit name)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_state jsonb;
BEGIN
  IF to_regclass(format('%I.tool_tokens', p_schema)) IS NOT NULL THEN
    PERFORM pg_temp.lock_to_read(p_schema, p_audit, ARRAY['tool_definitions', 'tool_call_records', 'policies', 'tool_tokens']);
    EXECUTE format($sql$
      SELECT jsonb_build_object(
        'tools', (
          SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'description', t.description, 'arguments_schema', t.arguments_schema,
            'risk_level', t.risk_level, 'connector', t.connector, 'operation', t.operation, 'preset', t.preset, 'timeout_seconds', t.timeout_seconds,
            'output_limit_bytes', t.output_limit_bytes, 'approval_seconds', t.approval_seconds, 'version', t.version, 'enabled', t.enabled,
            'origin', t.origin, 'has_calls', EXISTS (SELECT FROM ONLY %1$I.tool_call_records AS c WHERE c.tool_id = t.id)) ORDER BY t.name), '[]')
          FROM ONLY %1$I.tool_definitions AS t),
        'policies', (
          SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'description', description, 'tools', tools, 'risk_levels', risk_levels,
            'effect', effect, 'conditions', conditions, 'priority', priority, 'enabled', enabled, 'origin', origin) ORDER BY name), '[]')
          FROM ONLY %1$I.policies),
        'tokens', (
          SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'kind', kind, 'sha256', encode(token_sha256, 'hex')) ORDER BY kind, name), '[]')
          FROM ONLY %1$I.tool_tokens))
      $sql$, p_schema) INTO v_state;
    PERFORM pg_temp.leave_role(p_audit);
  ELSIF to_regclass(format('%I.tool_definitions', p_schema)) IS NOT NULL AND to_regclass(format('%I.policies', p_schema)) IS NOT NULL THEN
    PERFORM pg_temp.lock_to_read(p_schema, p_owner, ARRAY['tool_definitions', 'policies']);
    EXECUTE format($sql$
      SELECT jsonb_build_object(
        'tools', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'origin', 'user') ORDER BY name), '[]') FROM ONLY %1$I.tool_definitions),
        'policies', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'origin', 'user') ORDER BY name), '[]') FROM ONLY %1$I.policies),
        'tokens', '[]'::jsonb)
      $sql$, p_schema) INTO v_state;
    PERFORM pg_temp.leave_role(p_owner);
  END IF;
  RETURN v_state;
END
$runner$;

-- What is recorded, as {"server_version": …, "server_version_num": …, "problems": […], "migrations": […], "repeatables": […], "objects": […],
-- "run_ids": […]}; the lists are empty where nothing was ever applied. Of the objects those are listed that are not as they were made; null: that
-- was never recorded. The last are the ids of the runs that made what is there.
CREATE FUNCTION pg_temp.read_history(p_schema text, p_owner name, p_audit name)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_migrations jsonb := '[]';
  v_repeatables jsonb := '[]';
  v_run_ids jsonb := '[]';
  v_objects CONSTANT jsonb := pg_temp.object_state(p_schema, p_audit);
  v_ledger CONSTANT jsonb := pg_temp.ledger_state(p_schema, p_owner);
BEGIN
  IF to_regclass(format('%I.schema_repeatables', p_schema)) IS NOT NULL THEN
    PERFORM pg_temp.lock_to_read(p_schema, p_owner, ARRAY['schema_migrations', 'schema_repeatables']);
    EXECUTE format($sql$
      SELECT coalesce(jsonb_agg(jsonb_build_object(
        'origin', origin, 'version', version, 'name', name, 'checksum', checksum,
        'applied_at', to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')) ORDER BY origin, version), '[]')
      FROM ONLY %I.schema_migrations $sql$, p_schema) INTO v_migrations;
    EXECUTE format($sql$
      SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'checksum', checksum) ORDER BY name), '[]'), coalesce(jsonb_agg(run_id), '[]')
      FROM ONLY %I.schema_repeatables $sql$, p_schema) INTO v_repeatables, v_run_ids;
    PERFORM pg_temp.leave_role(p_owner);
  END IF;
  RETURN jsonb_build_object(
    'server_version', current_setting('server_version'),
    'server_version_num', current_setting('server_version_num')::integer,
    'problems', to_jsonb(pg_temp.reasons_against(p_schema, p_owner, p_audit)),
    'migrations', v_migrations,
    'repeatables', v_repeatables,
    'objects', v_objects -> 'drifted',
    'ledger', v_ledger,
    'run_ids', v_run_ids || (v_objects -> 'run_ids'));
END
$runner$;

-- Report a reason to the client by an error. Its text is put together here, so that a search for it does not find this source, which the client's
-- error message may hold as well.
CREATE FUNCTION pg_temp.raise_outcome(p_outcome text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  RAISE EXCEPTION '%', format('mission_control%s<%s>', '_outcome', p_outcome);
END
$runner$;

CREATE FUNCTION pg_temp.require_trusted_schema(p_schema text, p_owner name, p_audit name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_reasons CONSTANT text[] := pg_temp.reasons_against(p_schema, p_owner, p_audit);
BEGIN
  IF v_reasons <> '{}' THEN
    PERFORM pg_temp.raise_outcome(array_to_string(v_reasons, ' '));
  END IF;
END
$runner$;

-- Take the lock and create the history tables under it. Returns {"locked": true}, or {"locked": false, "holder": …}.
-- The lock is tried, never waited for: a session that waits in a query would hold up the holder's CREATE INDEX CONCURRENTLY.
CREATE FUNCTION pg_temp.begin_run(p_schema text, p_owner name, p_audit name, p_lock_key bigint)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_holder text;
BEGIN
  PERFORM set_config('mission_control.run_state', '', false);
  IF NOT pg_try_advisory_lock(p_lock_key) THEN
    SELECT format('process %s of role %s, connected at %s', a.pid, a.usename, a.backend_start) INTO v_holder
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND (l.classid::bigint << 32 | l.objid::bigint) = p_lock_key
      AND a.datname = current_database();
    RETURN jsonb_build_object('locked', false, 'holder', v_holder);
  END IF;

  PERFORM pg_temp.require_trusted_schema(p_schema, p_owner, p_audit);
  IF to_regclass(format('%I.schema_repeatables', p_schema)) IS NULL THEN
    PERFORM pg_temp.run_as(p_schema, p_owner, p_audit, $sql$
      CREATE TABLE schema_migrations (
        origin text NOT NULL,
        version integer NOT NULL,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        applied_by name NOT NULL DEFAULT session_user,
        duration_ms bigint NOT NULL,
        CONSTRAINT pk_schema_migrations PRIMARY KEY (origin, version),
        CONSTRAINT ck_schema_migrations_origin CHECK (origin IN ('bundle', 'site')),
        CONSTRAINT ck_schema_migrations_version CHECK (version > 0)
      );
      COMMENT ON TABLE schema_migrations IS 'Migrations that were applied, one row each, written in the transaction that applied it';
      COMMENT ON COLUMN schema_migrations.origin IS 'bundle: brought by the collection; site: from a directory of the homelab''s own';
      COMMENT ON COLUMN schema_migrations.version IS 'Number of the file; each origin counts for itself';
      COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the file''s text in hexadecimal';
      COMMENT ON COLUMN schema_migrations.applied_by IS 'Database role that was logged in';
      COMMENT ON COLUMN schema_migrations.duration_ms IS 'Time the file took, in milliseconds';
      CREATE TABLE schema_repeatables (
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        applied_by name NOT NULL DEFAULT session_user,
        run_id uuid NOT NULL,
        CONSTRAINT pk_schema_repeatables PRIMARY KEY (name)
      );
      COMMENT ON TABLE schema_repeatables IS 'Functions, views and price lists as they were last applied, one row for each file or list';
      COMMENT ON COLUMN schema_repeatables.checksum IS 'SHA-256 of the file or list in hexadecimal';
      COMMENT ON COLUMN schema_repeatables.run_id IS 'The provisioning run that applied it';
    $sql$ || format('GRANT SELECT, INSERT ON schema_migrations, schema_repeatables TO %I', session_user));
  END IF;
  PERFORM set_config('mission_control.run_state', 'running', false);
  RETURN jsonb_build_object('locked', true);
END
$runner$;

-- The same lock for a script in one transaction, which cannot return a row to the client: raise if it is not available.
CREATE FUNCTION pg_temp.require_lock(p_lock_key bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  IF NOT pg_try_advisory_xact_lock(p_lock_key) THEN
    PERFORM pg_temp.raise_outcome('locked');
  END IF;
END
$runner$;

-- Why a file must not be applied now; NULL where it may be.
CREATE FUNCTION pg_temp.reason_to_skip(p_schema text, p_owner name, p_origin text, p_version integer, p_checksum text)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_recorded text;
BEGIN
  IF current_setting('mission_control.run_state', true) IS DISTINCT FROM 'running' THEN
    RETURN 'not tried';
  END IF;
  PERFORM pg_temp.lock_to_read(p_schema, p_owner, ARRAY['schema_migrations']);
  EXECUTE format('SELECT m.checksum FROM ONLY %I.schema_migrations AS m WHERE m.origin = $1 AND m.version = $2', p_schema)
  INTO v_recorded USING p_origin, p_version;
  PERFORM pg_temp.leave_role(p_owner);
  RETURN CASE WHEN v_recorded = p_checksum THEN 'already applied' WHEN v_recorded IS NOT NULL THEN 'drifted' END;
END
$runner$;

-- The statement that records a file; run it as the owner.
CREATE FUNCTION pg_temp.record_of(p_origin text, p_version integer, p_name text, p_checksum text, p_started timestamptz)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $runner$
  SELECT format('INSERT INTO schema_migrations (origin, version, name, checksum, duration_ms) VALUES (%L, %s, %L, %L, %s)',
    p_origin, p_version, p_name, p_checksum, (extract(epoch FROM clock_timestamp() - p_started) * 1000)::bigint)
$runner$;

-- What is deferred has to fail while the file can still be named, and not at the commit. ALL would name constraint triggers too, and
-- that of the audit log acts at the commit and never before.
CREATE FUNCTION pg_temp.check_deferred_constraints(p_schema text, p_role name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_names text;
BEGIN
  SELECT string_agg(DISTINCT format('%I.%I', p_schema, c.conname), ', ') INTO v_names
  FROM pg_constraint AS c
  WHERE c.condeferrable AND c.contype <> 't' AND c.connamespace = to_regnamespace(quote_ident(p_schema));
  IF v_names IS NOT NULL THEN
    PERFORM pg_temp.call_as(p_schema, p_role, 'SET CONSTRAINTS ' || v_names || ' IMMEDIATE');
  END IF;
END
$runner$;

-- Who may block a file that did not get its locks: the oldest other transaction with locks on relations of the schema.
CREATE FUNCTION pg_temp.other_holder(p_schema text)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $runner$
  SELECT format('process %s of role %s, connected at %s, holds locks there', a.pid, a.usename, a.backend_start)
  FROM pg_catalog.pg_locks AS l
  JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
  JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
  WHERE l.granted AND l.pid <> pg_backend_pid() AND c.relnamespace = to_regnamespace(quote_ident(p_schema))
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
  ORDER BY a.xact_start NULLS LAST, l.mode = 'AccessExclusiveLock' DESC, a.pid
  LIMIT 1
$runner$;

-- Apply one file and record it, both or neither. A file that does not get a lock within lock_timeout is tried p_attempts times.
-- Returns {"outcome": "applied" | "already applied" | "not tried" | "failed", "name": …, "sqlstate": …, "message": …}.
CREATE FUNCTION pg_temp.apply_migration(
  p_schema text, p_owner name, p_audit name, p_role name, p_attempts integer,
  p_origin text, p_version integer, p_name text, p_checksum text, p_body text)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_skip CONSTANT text := pg_temp.reason_to_skip(p_schema, p_owner, p_origin, p_version, p_checksum);
  v_started CONSTANT timestamptz := clock_timestamp();
  v_before jsonb;
  v_sqlstate text;
  v_message text;
  v_detail text;
  v_hint text;
BEGIN
  IF v_skip = 'drifted' THEN
    PERFORM set_config('mission_control.run_state', 'failed', false);
    RETURN jsonb_build_object('outcome', 'failed', 'name', p_name, 'sqlstate', '',
      'message', 'another run has applied a different file with this number: use the same version of the collection everywhere');
  ELSIF v_skip IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', v_skip, 'name', p_name);
  END IF;
  FOR v_attempt IN 1..p_attempts LOOP
    BEGIN
      v_before := pg_temp.session_state();
      PERFORM pg_temp.call_as(p_schema, p_role, p_body);
      PERFORM pg_temp.check_deferred_constraints(p_schema, p_role);
      PERFORM pg_temp.call_as(
        p_schema, p_owner, pg_temp.record_of(p_origin, p_version, p_name, p_checksum, v_started));
      PERFORM pg_temp.restore_session(v_before, p_audit);
      RETURN jsonb_build_object('outcome', 'applied', 'name', p_name);
    EXCEPTION
      WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
          v_sqlstate = RETURNED_SQLSTATE, v_message = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL, v_hint = PG_EXCEPTION_HINT;
    END;
    EXIT WHEN v_sqlstate <> '55P03';  -- lock_not_available
    v_detail := concat_ws('; ', nullif(v_detail, ''), pg_temp.other_holder(p_schema));
  END LOOP;
  PERFORM set_config('mission_control.run_state', 'failed', false);
  RETURN jsonb_build_object('outcome', 'failed', 'name', p_name, 'sqlstate', v_sqlstate,
    'message', concat_ws('; ', v_message, nullif(v_detail, ''), nullif(v_hint, '')));
END
$runner$;

-- Before a statement that cannot run in a function: raise unless it may be applied now.
CREATE FUNCTION pg_temp.require_pending(p_schema text, p_owner name, p_origin text, p_version integer, p_checksum text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_skip CONSTANT text := pg_temp.reason_to_skip(p_schema, p_owner, p_origin, p_version, p_checksum);
BEGIN
  IF v_skip IS NOT NULL THEN
    PERFORM pg_temp.raise_outcome(v_skip);
  END IF;
END
$runner$;

-- Before CREATE or DROP INDEX CONCURRENTLY is tried again: drop what an earlier try has left, which is never used. One that another
-- session is building has a lock on its table, so it is not dropped but fails this run.
CREATE FUNCTION pg_temp.drop_half_built_index(p_schema text, p_role name, p_index text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  IF EXISTS (
    SELECT
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname = p_schema AND c.relname = p_index
  ) THEN
    PERFORM pg_temp.assume_role(p_role);
    EXECUTE format('DROP INDEX %I.%I', p_schema, p_index);
    PERFORM pg_temp.leave_role(p_role);
  END IF;
END
$runner$;

-- After CREATE INDEX CONCURRENTLY: an index that it left invalid is never used, and IF NOT EXISTS would hide it in the next run.
CREATE FUNCTION pg_temp.require_valid_indexes(p_schema text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_names text;
BEGIN
  SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ') INTO v_names
  FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE NOT i.indisvalid AND n.nspname = p_schema;
  IF v_names IS NOT NULL THEN
    PERFORM pg_temp.raise_outcome('invalid index: ' || v_names);
  END IF;
END
$runner$;

-- Run one part of the script, or raise its error with the name of the part before it.
CREATE FUNCTION pg_temp.apply_repeatable(p_schema text, p_role name, p_audit name, p_name text, p_body text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_message text;
  v_detail text;
BEGIN
  BEGIN
    PERFORM pg_temp.run_as(p_schema, p_role, p_audit, p_body);
  EXCEPTION
    WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS v_message = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL;
  END;
  IF v_message IS NOT NULL THEN
    PERFORM pg_temp.raise_outcome(format('%s failed: %s', p_name, concat_ws('; ', v_message, nullif(v_detail, ''))));
  END IF;
END
$runner$
