-- Plans again under a lock and applies what still differs, all in the transaction of the caller.
--
-- Input (settings of this transaction):
--   mission_control.wanted   what the plans read
--   mission_control.plans    JSON list of plan queries (the text of roles.sql and so on), applied one after the other
--   mission_control.stages   JSON list of the stages that may be applied here
-- Output: mission_control.applied, a JSON list of the reasons.
--
-- Two runs at once: the second waits for the first, plans after it and finds nothing to do. Without the lock PostgreSQL would
-- fail one of them with "tuple concurrently updated".
--
-- A statement that must be run by the owner of an object says so in acting_role. An administrator who is no superuser becomes a
-- member of that role for the rest of this transaction, which nobody else ever sees.
--
-- SET LOCAL ROLE is no boundary: code that ran there could say RESET ROLE. None does: what is executed as somebody else is GRANT, REVOKE and ALTER
-- DEFAULT PRIVILEGES, which write catalogues and fire nothing but event triggers, and strangers.sql has refused those of anybody but superusers.
DO $apply$
DECLARE
  administrator constant name := current_user;
  is_superuser boolean;
  since_16 boolean;
  membership_kind text;
  joined name[] := '{}';
  applied text[] := '{}';
  steps jsonb;
  plan text;
  step record;
BEGIN
  -- Names are looked up nowhere else: in our schema its owner could have put a function that fits the arguments better.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  is_superuser := (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
  since_16 := current_setting('server_version_num')::int >= 160000;
  membership_kind := CASE WHEN since_16 THEN 'SET' ELSE 'MEMBER' END;
  -- A plan is one large query over few rows; compiling it takes seconds, running it a few milliseconds.
  PERFORM pg_catalog.set_config('jit', 'off', true);
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('mission_control: roles and privileges', 0));
  FOR plan IN SELECT value FROM jsonb_array_elements_text(current_setting('mission_control.plans')::jsonb) LOOP
    -- The whole plan is read before its first statement runs, which changes the catalogues that it reads.
    EXECUTE format('SELECT jsonb_agg(to_jsonb(p) ORDER BY p.ordinal) FROM (%s) AS p', plan) INTO steps;
    FOR step IN
      SELECT * FROM jsonb_to_recordset(coalesce(steps, '[]')) AS s (ordinal bigint, stage text, acting_role name, reason text, statement text)
       ORDER BY s.ordinal
    LOOP
      IF step.stage = 'refuse' THEN
        RAISE EXCEPTION USING MESSAGE = step.reason, ERRCODE = 'object_not_in_prerequisite_state';
      END IF;
      CONTINUE WHEN NOT current_setting('mission_control.stages')::jsonb ? step.stage;
      BEGIN
        IF step.acting_role IS NULL THEN
          EXECUTE step.statement;
        ELSE
          IF NOT is_superuser AND NOT pg_catalog.pg_has_role(step.acting_role, membership_kind) THEN
            EXECUTE format('GRANT %I TO %I', step.acting_role, administrator) || CASE WHEN since_16 THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END;
            joined := joined || step.acting_role;
          END IF;
          EXECUTE format('SET LOCAL ROLE %I', step.acting_role);
          EXECUTE step.statement;
          -- Not RESET, which would bring back a role that was set for the administrator.
          SET LOCAL ROLE NONE;
        END IF;
      EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION USING MESSAGE = format('%s: %s', step.reason, SQLERRM), ERRCODE = SQLSTATE;
      END;
      applied := pg_catalog.array_append(applied, step.reason);
    END LOOP;
  END LOOP;
  FOR step IN SELECT unnest(joined) AS role_name LOOP
    EXECUTE format('REVOKE %I FROM %I', step.role_name, administrator);
  END LOOP;
  PERFORM set_config('mission_control.applied', pg_catalog.to_jsonb(applied)::text, true);
END
$apply$
