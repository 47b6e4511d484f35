-- Grants the owner roles to an administrator who is not a superuser and lacks them, so that pg_dump can read what they own, or revokes them.
--
-- While it is a member, others can no more than before: its own sessions alone have the owners' rights, and what runs in them is GRANT, REVOKE and
-- pg_dump, which reads with row security off, evaluates no expression of a table and calls no function that the tables' owners made.
--
-- Input (settings of this transaction): mission_control.leave, a JSON list of the roles to revoke, or empty to grant;
--   mission_control.wanted (JSON text) where roles are to be granted.
-- Output: mission_control.joined, a JSON list of the roles that it has granted.
DO $join_owners$
DECLARE
  since_16 constant boolean := pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 160000;
  to_leave constant text := pg_catalog.current_setting('mission_control.leave');
  joined name[] := '{}';
  role_name name;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  IF to_leave <> '' THEN
    FOR role_name IN SELECT value FROM jsonb_array_elements_text(to_leave::jsonb) LOOP
      EXECUTE format('REVOKE %I FROM %I', role_name, current_user);
    END LOOP;
    RETURN;
  END IF;
  FOR role_name IN
    SELECT r.rolname
      FROM jsonb_array_elements(current_setting('mission_control.wanted')::jsonb -> 'roles') AS w (role)
      JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
     WHERE w.role ->> 'key' IN ('owner', 'audit')
       -- It is true for a superuser.
       AND NOT pg_catalog.pg_has_role(r.oid, 'USAGE')
  LOOP
    EXECUTE format('GRANT %I TO %I', role_name, current_user) || CASE WHEN since_16 THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END;
    joined := joined || role_name;
  END LOOP;
  PERFORM set_config('mission_control.joined', to_jsonb(joined)::text, true);
END
$join_owners$
