-- Gives each role the password verifier that was computed on the controller, in the transaction of the caller.
-- Input: mission_control.verifiers, JSON of role name and verifier.
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
    EXECUTE format('ALTER ROLE %I PASSWORD %L', entry.key, entry.value);
  END LOOP;
END
$set_passwords$
