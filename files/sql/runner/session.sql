-- Functions of the migration runner. They live in the session's temporary schema, so that nothing of the runner stays in a database
-- and every run uses the version that it brought along. plugins/module_utils/migration_runner.py writes the calls.
--
-- A file that fails does not raise an error to the client: its subtransaction is rolled back, and the outcome is returned as a row
-- with SQLSTATE and message. So the caller can name file and cause in a sentence, in every language of the server, without searching
-- an error text that also holds the whole script. What comes after a failed file finds the state "failed" and is not tried.

-- Every function looks names up in pg_catalog alone: it may run as a superuser, and whoever may create functions in our schema (the owner
-- of the objects) could put one there whose arguments fit better. What a file holds is run as the owner, with our schema in the path.

-- Take on a role for the rest of the transaction. An administrator who may not do so as yet, since no superuser, becomes a member of it
-- first; leave_role() ends that again. On PostgreSQL 16 and newer the right to SET ROLE is apart from membership.
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

-- The same for statements that cannot run in a transaction: until RESET ROLE, over commits. A membership that is needed to take the role on
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

-- As the administrator who made this function, while the session has taken on another role.
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

-- Read the bookkeeping tables as their owner, who could have put a view in place of one: its functions run as whoever reads it. Only an
-- administrator who would have to become a member for that reads them as himself, where he may.
CREATE FUNCTION pg_temp.read_as(p_schema text, p_owner name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  IF pg_has_role(session_user, p_owner, CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    OR NOT has_table_privilege(format('%I.schema_migrations', p_schema), 'SELECT')
    OR NOT has_table_privilege(format('%I.schema_repeatables', p_schema), 'SELECT') THEN
    PERFORM pg_temp.assume_role(p_owner);
  END IF;
END
$runner$;

-- What is recorded, as {"server_version": …, "server_version_num": …, "migrations": […], "repeatables": […]}; the lists are empty where
-- nothing was ever applied.
CREATE FUNCTION pg_temp.read_history(p_schema text, p_owner name)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_migrations jsonb := '[]';
  v_repeatables jsonb := '[]';
BEGIN
  IF to_regclass(format('%I.schema_repeatables', p_schema)) IS NOT NULL THEN
    PERFORM pg_temp.read_as(p_schema, p_owner);
    EXECUTE format($sql$
      SELECT coalesce(jsonb_agg(jsonb_build_object(
        'origin', origin, 'version', version, 'name', name, 'checksum', checksum,
        'applied_at', to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')) ORDER BY origin, version), '[]')
      FROM %I.schema_migrations $sql$, p_schema) INTO v_migrations;
    EXECUTE format($sql$
      SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'checksum', checksum) ORDER BY name), '[]')
      FROM %I.schema_repeatables $sql$, p_schema) INTO v_repeatables;
    PERFORM pg_temp.leave_role(p_owner);
  END IF;
  RETURN jsonb_build_object(
    'server_version', current_setting('server_version'),
    'server_version_num', current_setting('server_version_num')::integer,
    'migrations', v_migrations,
    'repeatables', v_repeatables);
END
$runner$;

-- Tell the client a reason by an error. Its text is put together here, so that a search for it does not find this source, which the client's
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

-- Take the lock and make the bookkeeping tables under it. Returns {"locked": true}, or {"locked": false, "holder": …}.
-- The lock is tried, never waited for: a session that waits in a query would hold up the holder's CREATE INDEX CONCURRENTLY.
CREATE FUNCTION pg_temp.begin_run(p_schema text, p_owner name, p_lock_key bigint)
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

  IF to_regclass(format('%I.schema_repeatables', p_schema)) IS NULL THEN
    PERFORM pg_temp.assume_role(p_owner);
    PERFORM set_config('search_path', format('%I, pg_temp', p_schema), true);
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
    EXECUTE format('GRANT SELECT ON schema_migrations, schema_repeatables TO %I', session_user);
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pg_temp.leave_role(p_owner);
  END IF;
  PERFORM set_config('mission_control.run_state', 'running', false);
  RETURN jsonb_build_object('locked', true);
END
$runner$;

-- The same lock for a script in one transaction, where a row cannot be returned to the client: raise if it is not to be had.
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

-- Say why a file is not to be applied now, or NULL where it is.
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
  PERFORM pg_temp.read_as(p_schema, p_owner);
  EXECUTE format('SELECT checksum FROM %I.schema_migrations WHERE origin = $1 AND version = $2', p_schema)
  INTO v_recorded USING p_origin, p_version;
  PERFORM pg_temp.leave_role(p_owner);
  RETURN CASE WHEN v_recorded = p_checksum THEN 'already applied' WHEN v_recorded IS NOT NULL THEN 'drifted' END;
END
$runner$;

CREATE FUNCTION pg_temp.record_migration(
  p_schema text, p_owner name, p_origin text, p_version integer, p_name text, p_checksum text, p_started timestamptz)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
BEGIN
  PERFORM pg_temp.assume_role(p_owner);
  EXECUTE format(
    'INSERT INTO %I.schema_migrations (origin, version, name, checksum, duration_ms) VALUES ($1, $2, $3, $4, $5)', p_schema)
  USING p_origin, p_version, p_name, p_checksum,
    (extract(epoch FROM clock_timestamp() - p_started) * 1000)::bigint;
  PERFORM pg_temp.leave_role(p_owner);
END
$runner$;

-- What is deferred has to fail while the file can still be named, and not at the commit. ALL would name constraint triggers too, and
-- that of the audit log acts at the commit and never before.
CREATE FUNCTION pg_temp.check_deferred_constraints(p_schema text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_names text;
BEGIN
  SELECT string_agg(DISTINCT format('%I.%I', p_schema, conname), ', ') INTO v_names
  FROM pg_catalog.pg_constraint
  WHERE condeferrable AND contype <> 't' AND connamespace = to_regnamespace(quote_ident(p_schema));
  IF v_names IS NOT NULL THEN
    EXECUTE 'SET CONSTRAINTS ' || v_names || ' IMMEDIATE';
  END IF;
END
$runner$;

-- Who may be in the way of a file that did not get its locks: the oldest other transaction with locks on relations of the schema.
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

-- Apply one file and record it, both or neither. A lock that is not to be had within lock_timeout is tried again p_attempts times.
-- Returns {"outcome": "applied" | "already applied" | "not tried" | "failed", "name": …, "sqlstate": …, "message": …}.
CREATE FUNCTION pg_temp.apply_migration(
  p_schema text, p_owner name, p_role name, p_attempts integer,
  p_origin text, p_version integer, p_name text, p_checksum text, p_body text)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_skip CONSTANT text := pg_temp.reason_to_skip(p_schema, p_owner, p_origin, p_version, p_checksum);
  v_started CONSTANT timestamptz := clock_timestamp();
  v_sqlstate text;
  v_message text;
  v_detail text;
  v_hint text;
BEGIN
  IF v_skip = 'drifted' THEN
    PERFORM set_config('mission_control.run_state', 'failed', false);
    RETURN jsonb_build_object('outcome', 'failed', 'name', p_name, 'sqlstate', '',
      'message', 'another run has applied a different file under this number');
  ELSIF v_skip IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', v_skip, 'name', p_name);
  END IF;
  FOR v_attempt IN 1..p_attempts LOOP
    BEGIN
      PERFORM pg_temp.assume_role(p_role);
      PERFORM set_config('search_path', format('%I, pg_temp', p_schema), true);
      EXECUTE p_body;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
      PERFORM pg_temp.check_deferred_constraints(p_schema);
      PERFORM pg_temp.leave_role(p_role);
      PERFORM pg_temp.record_migration(p_schema, p_owner, p_origin, p_version, p_name, p_checksum, v_started);
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

-- Before a statement that cannot run in a function: raise unless it is to be applied now.
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

-- Before CREATE or DROP INDEX CONCURRENTLY is tried again: away with what an earlier try has left, which is never used. One that another
-- session is building has a lock on its table, so it is not taken away but fails this run.
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

-- Replace functions and views, or pass on what went wrong with the name of the file before it.
CREATE FUNCTION pg_temp.apply_repeatable(p_schema text, p_role name, p_name text, p_body text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $runner$
DECLARE
  v_message text;
  v_detail text;
BEGIN
  PERFORM pg_temp.assume_role(p_role);
  PERFORM set_config('search_path', format('%I, pg_temp', p_schema), true);
  BEGIN
    EXECUTE p_body;
  EXCEPTION
    WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS v_message = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL;
  END;
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  IF v_message IS NOT NULL THEN
    v_message := concat_ws('; ', v_message, nullif(v_detail, ''));
    PERFORM set_config('role', 'none', true);
    PERFORM pg_temp.raise_outcome(format('%s failed: %s', p_name, v_message));
  END IF;
  PERFORM pg_temp.leave_role(p_role);
END
$runner$
