-- The roles that log in: do they exist, may they log in, and (for a superuser only) which password verifier is stored.
--
-- Input:  the setting mission_control.wanted (JSON text).
-- Output: name, can_log_in (NULL: there is no such role), verifier_readable, verifier. A secret: the task that runs this has no_log.
--
-- pg_authid is read through query_to_xml(), which checks the right to read it only where CASE has seen that we have it.
SELECT w.role ->> 'key' AS key, w.role ->> 'name' AS name, r.rolcanlogin AS can_log_in, right_to_read.granted AS verifier_readable,
       CASE WHEN right_to_read.granted
            THEN substring(pg_catalog.query_to_xml(
                   format('SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %L', w.role ->> 'name'), false, false, '')::text
                   FROM '<rolpassword>([^<]*)</rolpassword>') END AS verifier
  FROM jsonb_array_elements(current_setting('mission_control.wanted')::jsonb -> 'roles') AS w (role)
  LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
 CROSS JOIN (SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS granted) AS right_to_read
 WHERE (w.role ->> 'login')::boolean
