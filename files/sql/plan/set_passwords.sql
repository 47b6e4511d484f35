-- Gives each role the password verifier that was computed on the controller, in the transaction of the caller.
-- Input: mission_control.verifiers, JSON of role name and verifier; mission_control.first_passwords, JSON list of the roles whose password was
-- generated since they had none. Two controllers may do so at once: the second must not take the login from the first, nor keep a password that
-- nobody has. An administrator who is no superuser cannot see whether a role has one.
--
-- A verifier is no password, but whoever has it can guess passwords against it, so as a superuser we keep it from the log, too. Statements inside
-- a DO block are not logged by log_statement, but they would be if they failed.
DO $set_passwords$
DECLARE
  entry record;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    PERFORM set_config('log_min_error_statement', 'panic', true);
  END IF;
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('mission_control: roles and privileges', 0));
  FOR entry IN SELECT key, value FROM jsonb_each_text(current_setting('mission_control.verifiers')::jsonb) LOOP
    IF coalesce(current_setting('mission_control.first_passwords', true), '[]')::jsonb ? entry.key
      AND has_table_privilege('pg_catalog.pg_authid', 'SELECT') THEN
      IF EXISTS (SELECT FROM pg_catalog.pg_authid WHERE rolname = entry.key AND rolpassword IS NOT NULL) THEN
        RAISE EXCEPTION '%', format('another run has given the role %s a password meanwhile, so the one that was generated here is discarded: run again', entry.key)
          USING ERRCODE = 'object_not_in_prerequisite_state';
      END IF;
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', entry.key, entry.value);
  END LOOP;
END
$set_passwords$
