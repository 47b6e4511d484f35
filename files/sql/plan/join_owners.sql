-- Makes an administrator who is no superuser a member of both owners, so that pg_dump can read what they own, or ends that.
--
-- Input (settings of this transaction): mission_control.wanted (JSON text), mission_control.join ('true' or 'false').
DO $join_owners$
DECLARE
  since_16 constant boolean := current_setting('server_version_num')::int >= 160000;
  role_name text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    RETURN;
  END IF;
  FOR role_name IN
    SELECT r.rolname
      FROM jsonb_array_elements(current_setting('mission_control.wanted')::jsonb -> 'roles') AS w (role)
      JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
     WHERE w.role ->> 'key' IN ('owner', 'audit')
  LOOP
    IF current_setting('mission_control.join')::boolean THEN
      EXECUTE format('GRANT %I TO %I', role_name, current_user) || CASE WHEN since_16 THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END;
    ELSE
      EXECUTE format('REVOKE %I FROM %I', role_name, current_user);
    END IF;
  END LOOP;
END
$join_owners$
