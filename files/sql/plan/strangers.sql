-- What others could do to us in the database with more rights than they have: checked before anything else is done.
-- Ours are the wanted roles. Trusted are superusers, whoever may become one, the administrator who asks, and the owner of the database that
-- mission_control_database_administrator names. Everybody else is a stranger, a superuser of yesterday included.
--
-- Input:  the setting mission_control.wanted (JSON text).
-- Output: ordinal, stage, acting_role, reason, statement; no row when there is nothing to report.
--   refuse           reason is a sentence that says why nothing may be changed, with the statement that cures it
--   schema           may be applied: what can be revoked without asking
--   note             reason is for information; nothing is changed
--
-- It reads catalogues that everybody may read, and the time is linear in the number of objects.
WITH
input AS (
  SELECT wanted, wanted ->> 'schema' AS schema_name, wanted -> 'privileges' AS privileges
    FROM (SELECT current_setting('mission_control.wanted')::jsonb AS wanted) AS setting
),
ours AS (
  SELECT w.role ->> 'key' AS key, r.oid
    FROM input
   CROSS JOIN LATERAL jsonb_array_elements(wanted -> 'roles') AS w (role)
    JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
),
superuser AS (
  SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper
),
trusted AS (
  SELECT r.oid
    FROM pg_catalog.pg_roles r
   CROSS JOIN input
   WHERE r.rolsuper OR r.rolname = current_user OR r.rolname = wanted -> 'database' ->> 'owner'
      OR EXISTS (SELECT FROM superuser s WHERE pg_catalog.pg_has_role(r.oid, s.oid, 'MEMBER'))
),
-- The one that it has when the plan is carried out.
database AS (
  SELECT d.datname AS name, o.oid AS owner, o.rolname AS owner_name
    FROM pg_catalog.pg_database d
   CROSS JOIN input
    LEFT JOIN pg_catalog.pg_roles w ON w.rolname = nullif(wanted -> 'database' ->> 'owner', '')
    JOIN pg_catalog.pg_roles o ON o.oid = coalesce(w.oid, d.datdba)
   WHERE d.datname = pg_catalog.current_database()
),
stranger AS (
  SELECT r.oid, r.rolname AS name
    FROM pg_catalog.pg_roles r
    LEFT JOIN trusted t ON t.oid = r.oid
    LEFT JOIN ours o ON o.oid = r.oid
   WHERE t.oid IS NULL AND o.oid IS NULL
     -- It stands for the owner of the database, who is looked at himself.
     AND r.rolname <> 'pg_database_owner'
),
schema AS (
  SELECT n.oid, n.nspname AS name, n.nspowner, n.nspacl FROM input JOIN pg_catalog.pg_namespace n ON n.nspname = schema_name
),
-- Code, and what leads to it, in our schema.
code AS (
  SELECT 'pg_catalog.pg_proc'::regclass AS catalogue, p.oid, p.proowner AS owner FROM schema s JOIN pg_catalog.pg_proc p ON p.pronamespace = s.oid
  UNION ALL
  SELECT 'pg_catalog.pg_operator'::regclass, o.oid, o.oprowner FROM schema s JOIN pg_catalog.pg_operator o ON o.oprnamespace = s.oid
  UNION ALL
  SELECT 'pg_catalog.pg_collation'::regclass, c.oid, c.collowner FROM schema s JOIN pg_catalog.pg_collation c ON c.collnamespace = s.oid
  UNION ALL
  SELECT 'pg_catalog.pg_conversion'::regclass, c.oid, c.conowner FROM schema s JOIN pg_catalog.pg_conversion c ON c.connamespace = s.oid
  UNION ALL
  -- Without array types and the row types of tables, which come and go with these.
  SELECT 'pg_catalog.pg_type'::regclass, t.oid, t.typowner
    FROM schema s
    JOIN pg_catalog.pg_type t ON t.typnamespace = s.oid
    LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
   WHERE coalesce(c.relkind, 'c') = 'c' AND t.typtype <> 'm' AND (t.typelem = 0 OR t.typcategory <> 'A')
),
relation AS (
  SELECT c.oid, c.relname AS name, c.relkind, c.relowner AS owner, c.relacl, s.name AS schema_name
    FROM schema s JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
),
our_name AS (
  SELECT DISTINCT e.entry ->> 'name' AS name
    FROM input CROSS JOIN LATERAL jsonb_array_elements(coalesce(privileges -> 'objects', '[]')) AS e (entry)
   WHERE coalesce(e.entry ->> 'kind', 'table') IN ('table', 'view', 'sequence')
),
foreign_relation AS (
  SELECT r.*, g.name AS owner_name, n.name IS NOT NULL AS has_our_name
    FROM relation r JOIN stranger g ON g.oid = r.owner LEFT JOIN our_name n ON n.name = r.name
),
refusal AS (
  SELECT 1 AS rank, format('The database %s belongs to %s, who can change everything in it: set mission_control_database_administrator to the '
                           'role that should own it, even if that is %s.', d.name, d.owner_name, d.owner_name) AS sentence
    FROM database d JOIN stranger g ON g.oid = d.owner
  UNION ALL
  SELECT 2, format('The schema %s belongs to %s, who can replace and drop everything in it: run ALTER SCHEMA %I OWNER TO %I.', s.name, g.name, s.name, current_user)
    FROM schema s JOIN stranger g ON g.oid = s.nspowner
  UNION ALL
  -- Of PUBLIC, and of our roles, it is taken away by the plan for the schema.
  SELECT 3, format('The role %s can create functions in the schema %s, which other roles would call: run %sREVOKE CREATE ON SCHEMA %I FROM %I CASCADE.', g.name, s.name,
                   CASE WHEN a.grantor <> s.nspowner THEN format('SET ROLE %I; ', b.rolname) ELSE '' END, s.name, g.name)
    FROM schema s
   CROSS JOIN LATERAL pg_catalog.aclexplode(s.nspacl) a
    JOIN stranger g ON g.oid = a.grantee
    LEFT JOIN pg_catalog.pg_roles b ON b.oid = a.grantor
   WHERE a.privilege_type = 'CREATE' AND a.grantee <> s.nspowner
  UNION ALL
  SELECT 4, format('The %s %s belongs to %s, which is not one of our roles, and other roles would run it: run DROP %s %s, or move it to another schema.',
                   i.type, i.identity, g.name, upper(i.type), i.identity)
    FROM code c
    JOIN stranger g ON g.oid = c.owner
   CROSS JOIN LATERAL pg_catalog.pg_identify_object(c.catalogue, c.oid, 0) AS i
  UNION ALL
  SELECT 5, format('The %s %s belongs to %s and has the name of one of our objects: run ALTER TABLE %I.%I RENAME TO another name, or drop it.',
                   i.type, i.identity, f.owner_name, f.schema_name, f.name)
    FROM foreign_relation f
   CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::regclass, f.oid, 0) AS i
   WHERE f.has_our_name
  UNION ALL
  SELECT 6, format('The trigger %s on %I.%I runs a function of %s whenever somebody writes to the table: run DROP TRIGGER %I ON %I.%I.', t.tgname, r.schema_name, r.name,
                   g.name, t.tgname, r.schema_name, r.name)
    FROM relation r
    JOIN ours o ON o.oid = r.owner
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN stranger g ON g.oid = p.proowner
  UNION ALL
  -- It would run with the rights of whoever is the next to change something, or to log in. Only a superuser can make one.
  SELECT 7, format('The event trigger %s runs code of %s, who is not a superuser any more, with the rights of whoever changes the database: run ALTER EVENT TRIGGER %I DISABLE.',
                   e.evtname, coalesce(o.rolname, p.rolname), e.evtname)
    FROM pg_catalog.pg_event_trigger e
    JOIN pg_catalog.pg_proc f ON f.oid = e.evtfoid
    LEFT JOIN pg_catalog.pg_roles o ON o.oid = e.evtowner AND NOT o.rolsuper
    LEFT JOIN pg_catalog.pg_roles p ON p.oid = f.proowner AND NOT p.rolsuper
   WHERE e.evtenabled <> 'D' AND (o.oid IS NOT NULL OR p.oid IS NOT NULL)
),
-- Who has it may lay a function on the table that then runs for whoever writes there.
take_away_triggers AS (
  SELECT 10 AS ordinal, CASE WHEN a.grantor <> r.owner THEN b.rolname ELSE o.rolname END AS acting_role,
         format('table %s: revoke TRIGGER from %s', r.name, g.name) AS reason,
         format('REVOKE TRIGGER ON TABLE %I.%I FROM %I CASCADE', r.schema_name, r.name, g.name) AS statement
    FROM relation r
    JOIN ours w ON w.oid = r.owner
    JOIN pg_catalog.pg_roles o ON o.oid = r.owner
   CROSS JOIN LATERAL pg_catalog.aclexplode(r.relacl) a
    JOIN stranger g ON g.oid = a.grantee
    LEFT JOIN pg_catalog.pg_roles b ON b.oid = a.grantor
   WHERE a.privilege_type = 'TRIGGER'
),
-- PostgreSQL lets everybody make large objects, roles that only read included. Nobody but a superuser can take that away, and where others
-- have made some it is theirs to say who may.
large_object AS (
  SELECT pg_catalog.count(*) FILTER (WHERE o.oid IS NULL) AS of_others, min(r.rolname) FILTER (WHERE o.oid IS NULL) AS owner_name
    FROM pg_catalog.pg_largeobject_metadata m
    LEFT JOIN ours o ON o.oid = m.lomowner
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = m.lomowner
),
maker AS (
  SELECT string_agg(format('%I.%I(%s)', 'pg_catalog', p.proname, pg_catalog.oidvectortypes(p.proargtypes)), ', ' ORDER BY p.proname) AS functions
    FROM pg_catalog.pg_proc p
   WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea')
     AND EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a WHERE a.grantee = 0)
),
take_away_large_objects AS (
  SELECT 11 AS ordinal, NULL::name AS acting_role,
         format('database %s: revoke EXECUTE on lo_creat, lo_create, lo_from_bytea from PUBLIC, so that roles that only read cannot create large objects', d.name) AS reason,
         format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', m.functions) AS statement
    FROM maker m CROSS JOIN large_object l CROSS JOIN database d
   WHERE m.functions IS NOT NULL AND l.of_others = 0 AND EXISTS (SELECT FROM superuser s JOIN pg_catalog.pg_roles r ON r.oid = s.oid WHERE r.rolname = current_user)
),
note AS (
  SELECT 20 AS ordinal, format('The schema %s also holds %s of others, such as %I.%I of %s, which %s left alone.', min(f.schema_name),
                               CASE count(*) WHEN 1 THEN 'a table, view or sequence' ELSE count(*) || ' tables, views and sequences' END,
                               min(f.schema_name), (array_agg(f.name ORDER BY f.name))[1], (array_agg(f.owner_name ORDER BY f.name))[1],
                               CASE count(*) WHEN 1 THEN 'is' ELSE 'are' END) AS reason
    FROM foreign_relation f WHERE NOT f.has_our_name
  HAVING count(*) > 0
  UNION ALL
  SELECT 21, format('The large objects in the database %s belong to %s and others, so PUBLIC can still create some.', d.name, l.owner_name)
    FROM large_object l CROSS JOIN database d CROSS JOIN maker m
   WHERE l.of_others > 0 AND m.functions IS NOT NULL
)
SELECT row_number() OVER (ORDER BY plan.ordinal, plan.reason) AS ordinal, plan.stage, plan.acting_role::text, plan.reason, plan.statement
  FROM (SELECT rank AS ordinal, 'refuse' AS stage, NULL::name AS acting_role, sentence AS reason, NULL AS statement FROM refusal
        UNION ALL
        SELECT ordinal, 'schema', acting_role, reason, statement FROM take_away_triggers
        UNION ALL
        SELECT ordinal, 'schema', acting_role, reason, statement FROM take_away_large_objects
        UNION ALL
        SELECT ordinal, 'note', NULL, reason, NULL FROM note) AS plan
 ORDER BY ordinal
