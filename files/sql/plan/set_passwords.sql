-- Sets the password verifier that was computed on the controller for each role, in the transaction of the caller.
-- Output: mission_control.passwords_there, JSON of role name and verifier, of those that another run set first; they keep theirs.
-- Input: mission_control.verifiers, JSON of role name and verifier; mission_control.first_passwords, JSON list of the roles whose password was
-- generated since they had none. Two controllers may do so at once: the second must not lock out the first, nor store a password that
-- nobody uses. An administrator who is no superuser cannot see whether a role has one.
--
-- A verifier is not a password, but passwords can be guessed against it, so a superuser keeps it out of the log, too. Statements inside
-- a DO block are not logged by log_statement, but they would be if they failed.
DO $set_passwords$
DECLARE
  entry record;
  there text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    PERFORM set_config('log_min_error_statement', 'panic', true);
  END IF;
  PERFORM set_config('mission_control.passwords_there', '{}', true);
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('mission_control: roles and privileges', 0));
  FOR entry IN SELECT key, value FROM jsonb_each_text(current_setting('mission_control.verifiers')::jsonb) LOOP
    IF coalesce(current_setting('mission_control.first_passwords', true), '[]')::jsonb ? entry.key
      AND has_table_privilege('pg_catalog.pg_authid', 'SELECT') THEN
      SELECT rolpassword INTO there FROM pg_catalog.pg_authid WHERE rolname = entry.key;
      IF there IS NOT NULL THEN
        PERFORM set_config(
          'mission_control.passwords_there',
          (current_setting('mission_control.passwords_there')::jsonb || jsonb_build_object(entry.key, there))::text, true
        );
        CONTINUE;
      END IF;
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', entry.key, entry.value);
  END LOOP;
END
$set_passwords$
