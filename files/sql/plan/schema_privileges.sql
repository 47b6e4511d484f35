-- Plans the changes that bring the schema, the default privileges and the privileges on everything in the schema exactly to the desired
-- state. Privileges of roles that are not ours are left alone; nothing is left to PUBLIC.
--
-- Input:  the setting mission_control.wanted (JSON text); its key "privileges" holds files/sql/privileges.yml.
-- Output: ordinal, stage, acting_role, reason, statement; no row when nothing differs.
--   refuse           reason is a sentence that says why nothing may be changed, and the cure; there is no statement
--   absent_role      a grant to a role that does not exist yet; once it does, the plan has it under schema
--   schema           may be applied
--
-- Run it with jit off: it is one large query over few rows, which takes a few milliseconds, but seconds to compile.
-- Objects of privileges.yml that do not exist (yet) are passed over. It reads catalogues that everybody may read.
WITH
input AS (
  SELECT wanted, wanted ->> 'schema' AS schema_name, wanted -> 'privileges' AS privileges
    FROM (SELECT current_setting('mission_control.wanted')::jsonb AS wanted) AS setting
),
wanted_role AS (
  SELECT w.role ->> 'key' AS key, (w.role ->> 'name')::name AS name, r.oid
    FROM input
   CROSS JOIN LATERAL jsonb_array_elements(wanted -> 'roles') AS w (role)
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.role ->> 'name'
),
-- Everything below is about these grantees: our roles, and PUBLIC, whose key is NULL.
grantee AS (
  SELECT key, oid, name, quote_ident(name) AS sql FROM wanted_role
  UNION ALL
  SELECT NULL, 0, 'PUBLIC', 'PUBLIC'
),
schema AS (
  -- A member of the owner who does not inherit from it (a NOINHERIT administrator) has to act as the owner.
  SELECT i.schema_name, n.oid, n.nspowner, o.rolname AS owner_name, n.nspacl,
         CASE WHEN NOT pg_catalog.pg_has_role(n.nspowner, 'USAGE') THEN o.rolname END AS acting_role
    FROM input i
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = i.schema_name
    LEFT JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner
),

-- The objects, and who may do what with them now ---------------------------------------------------------------------------
object AS (
  SELECT 'relation' AS class, 'pg_class'::regclass AS catalogue, c.oid, c.relowner AS owner, w.key AS owner_key, CASE WHEN c.relkind = 'S' THEN 'sequence' ELSE 'table' END AS kind,
         c.relname::text AS name, format('%I.%I', s.schema_name, c.relname) AS sql,
         coalesce(c.relacl, pg_catalog.acldefault(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl,
         pg_catalog.acldefault(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END::"char", c.relowner) AS hard_default
    FROM schema s
    JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    JOIN wanted_role w ON w.oid = c.relowner AND w.key IN ('owner', 'audit')
  UNION ALL
  SELECT 'function', 'pg_proc'::regclass, p.oid, p.proowner, w.key, 'function',
         p.proname || '(' || replace(pg_catalog.oidvectortypes(p.proargtypes), quote_ident(s.schema_name) || '.', '') || ')',
         p.oid::regprocedure::text, coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)), pg_catalog.acldefault('f', p.proowner)
    FROM schema s
    JOIN pg_catalog.pg_proc p ON p.pronamespace = s.oid
    JOIN wanted_role w ON w.oid = p.proowner AND w.key IN ('owner', 'audit')
  UNION ALL
  SELECT 'type', 'pg_type'::regclass, t.oid, t.typowner, w.key, 'type', t.typname::text, format('%I.%I', s.schema_name, t.typname),
         coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner)), pg_catalog.acldefault('T', t.typowner)
    FROM schema s
    JOIN pg_catalog.pg_type t ON t.typnamespace = s.oid
    JOIN wanted_role w ON w.oid = t.typowner AND w.key IN ('owner', 'audit')
   WHERE t.typelem = 0
     AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
     AND t.typtype <> 'm'
),
listed AS (
  SELECT CASE WHEN e.entry ->> 'kind' IN ('function', 'sequence', 'type') THEN e.entry ->> 'kind' ELSE 'table' END AS kind,
         replace(e.entry ->> 'name', ' ', '') AS name, e.entry - '{name,kind,comment}'::text[] AS rules
    FROM input CROSS JOIN LATERAL jsonb_array_elements(coalesce(privileges -> 'objects', '[]')) AS e (entry)
),
-- The time is linear in the number of objects. Objects without an entry of their own whose privileges are the same, as those of ten thousand
-- tables of a homelab are, are compared once, by the one of them that stands for all. What follows joins sets by equality; of NOT EXISTS
-- beside an OR, or where it expects few rows, the planner makes a loop in a loop.
own_object AS (
  SELECT o.*,
         CASE WHEN l.name IS NOT NULL OR c.attrelid IS NOT NULL THEN o.oid
              ELSE min(o.oid) OVER (PARTITION BY o.class, o.kind, o.owner, o.acl::text, l.name IS NULL AND c.attrelid IS NULL) END AS stand_in
    FROM object o
    LEFT JOIN (SELECT DISTINCT kind, name FROM listed) AS l ON l.kind = o.kind AND l.name = replace(o.name, ' ', '')
    LEFT JOIN (SELECT DISTINCT attrelid FROM pg_catalog.pg_attribute WHERE attacl IS NOT NULL) AS c ON o.class = 'relation' AND c.attrelid = o.oid
    LEFT JOIN (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e') AS e ON e.objid = o.oid AND e.classid = o.catalogue
   WHERE e.objid IS NULL
),
compared_object AS (
  SELECT * FROM own_object WHERE stand_in = oid
),
current_privilege AS (
  SELECT p.class, p.oid, p.owner, p.column_name, p.grantor, p.grantee, p.privilege, p.is_grantable
    FROM (SELECT o.class, o.oid, o.owner, ''::text AS column_name, a.grantor, a.grantee, a.privilege_type AS privilege, a.is_grantable
            FROM compared_object o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a
          UNION ALL
          SELECT o.class, o.oid, o.owner, c.attname::text, a.grantor, a.grantee, a.privilege_type, a.is_grantable
            FROM compared_object o
            JOIN pg_catalog.pg_attribute c ON o.class = 'relation' AND c.attrelid = o.oid AND NOT c.attisdropped AND c.attacl IS NOT NULL
           CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) a) AS p
    JOIN grantee g ON g.oid = p.grantee
),

-- Who shall be allowed what ------------------------------------------------------------------------------------------------
rule AS (
  SELECT o.class, o.oid, k.key, p.privilege
    FROM compared_object o
    LEFT JOIN listed l ON l.kind = o.kind AND l.name = replace(o.name, ' ', '')
   CROSS JOIN input i
   CROSS JOIN LATERAL jsonb_each(coalesce(
           l.rules,
           CASE WHEN o.owner_key = 'owner' THEN i.privileges -> 'defaults' -> (o.kind || 's') END, '{}')) AS k (key, privileges)
   CROSS JOIN LATERAL jsonb_array_elements_text(k.privileges) AS p (privilege)
),
-- "INSERT (actor, action)" means the privilege on these columns only.
ruled AS (
  SELECT r.class, r.oid, coalesce(trim(c.column_name), '') AS column_name, r.key, upper(trim(split_part(r.privilege, '(', 1))) AS privilege
    FROM rule r
    LEFT JOIN LATERAL string_to_table(nullif(trim(trailing ') ' FROM split_part(r.privilege, '(', 2)), ''), ',') AS c (column_name) ON true
),
wanted_privilege AS (
  SELECT r.class, r.oid, r.column_name, g.oid AS grantee, g.name AS grantee_name, g.sql AS grantee_sql, r.privilege
    FROM ruled r
    JOIN grantee g ON g.key = r.key
    LEFT JOIN pg_catalog.pg_attribute a ON r.column_name <> '' AND a.attrelid = r.oid AND a.attname = r.column_name AND NOT a.attisdropped
   WHERE r.column_name = '' OR a.attrelid IS NOT NULL
  UNION
  -- The owner of an object keeps what PostgreSQL gives to every owner: foreign keys and SECURITY DEFINER functions act with it.
  SELECT o.class, o.oid, '', g.oid, g.name, g.sql, a.privilege_type
    FROM compared_object o
   CROSS JOIN LATERAL pg_catalog.aclexplode(o.hard_default) a
    JOIN grantee g ON g.oid = o.owner
   WHERE a.grantee = o.owner
),
compared AS (
  SELECT class, oid, column_name, grantee, privilege, w.grantee_name, w.grantee_sql, c.owner, c.grantor,
         w.grantee_sql IS NOT NULL AS is_wanted, c.grantor IS NOT NULL AS is_held,
         c.grantor IS NOT NULL AND (w.grantee_sql IS NULL OR (c.is_grantable AND grantee <> c.owner)) AS is_excess
    FROM current_privilege c
    FULL JOIN wanted_privilege w USING (class, oid, column_name, grantee, privilege)
),
excess AS (
  SELECT c.class, c.oid, c.owner, c.column_name, c.grantor, c.grantee, c.privilege, g.name AS grantee_name, g.sql AS grantee_sql,
         b.rolname AS grantor_name
    FROM compared c
    JOIN grantee g ON g.oid = c.grantee
    LEFT JOIN pg_catalog.pg_roles b ON b.oid = c.grantor
   WHERE c.is_excess
),
-- A privilege counts as missing, too, where a revocation takes it along: one with the grant option, or one on a column whose
-- table loses the same privilege.
missing AS (
  SELECT c.class, c.oid, c.column_name, c.grantee, c.privilege, c.grantee_name, c.grantee_sql
    FROM compared c
    LEFT JOIN excess e ON c.column_name <> '' AND e.column_name = '' AND e.class = c.class AND e.oid = c.oid AND e.grantee = c.grantee
                      AND e.grantor = c.grantor AND e.privilege = c.privilege
   WHERE c.is_wanted
   GROUP BY c.class, c.oid, c.column_name, c.grantee, c.privilege, c.grantee_name, c.grantee_sql
  HAVING NOT bool_or(c.is_held AND NOT c.is_excess AND e.oid IS NULL)
),

-- Statements ---------------------------------------------------------------------------------------------------------------
create_schema AS (
  SELECT 100 AS ordinal, 'schema' AS stage, NULL::name AS acting_role, format('create schema %s', schema_name) AS reason,
         format('CREATE SCHEMA %I', schema_name) AS statement
    FROM schema WHERE oid IS NULL
),
schema_wanted AS (
  SELECT g.key, g.oid AS grantee, g.name AS grantee_name, g.sql AS grantee_sql, p.privilege
    FROM grantee g
   CROSS JOIN LATERAL unnest(CASE WHEN g.key IN ('owner', 'audit') THEN '{CREATE,USAGE}' WHEN g.key IS NOT NULL THEN '{USAGE}' ELSE '{}' END::text[])
         AS p (privilege)
),
schema_current AS (
  SELECT a.grantor, a.grantee, g.name AS grantee_name, g.sql AS grantee_sql, a.privilege_type AS privilege, a.is_grantable, s.nspowner
    FROM schema s
   CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(s.nspacl, pg_catalog.acldefault('n', s.nspowner))) a
    JOIN grantee g ON g.oid = a.grantee
   WHERE s.oid IS NOT NULL AND a.grantee <> s.nspowner
),
schema_excess AS (
  SELECT c.*, b.rolname AS grantor_name
    FROM schema_current c LEFT JOIN pg_catalog.pg_roles b ON b.oid = c.grantor
   WHERE c.is_grantable
      OR NOT EXISTS (SELECT FROM schema_wanted w WHERE w.grantee = c.grantee AND w.privilege = c.privilege)
),
change_schema AS (
  SELECT 110 AS ordinal, 'schema' AS stage, CASE WHEN e.grantor <> e.nspowner THEN e.grantor_name ELSE s.acting_role END AS acting_role,
         format('schema %s: revoke %s from %s', s.schema_name, string_agg(e.privilege, ', ' ORDER BY e.privilege), e.grantee_name) AS reason,
         format('REVOKE %s ON SCHEMA %I FROM %s CASCADE', string_agg(e.privilege, ', ' ORDER BY e.privilege), s.schema_name, e.grantee_sql) AS statement
    FROM schema_excess e CROSS JOIN schema s
   GROUP BY s.schema_name, s.acting_role, e.grantee_name, e.grantee_sql, e.grantor, e.grantor_name, e.nspowner
  UNION ALL
  SELECT 120, CASE WHEN w.grantee IS NULL THEN 'absent_role' ELSE 'schema' END, s.acting_role,
         format('schema %s: grant %s to %s', s.schema_name, string_agg(w.privilege, ', ' ORDER BY w.privilege), w.grantee_name),
         format('GRANT %s ON SCHEMA %I TO %s', string_agg(w.privilege, ', ' ORDER BY w.privilege), s.schema_name, w.grantee_sql)
    FROM schema_wanted w CROSS JOIN schema s
   WHERE NOT EXISTS (SELECT FROM schema_current c WHERE c.grantee = w.grantee AND c.privilege = w.privilege AND NOT c.is_grantable)
   GROUP BY s.schema_name, s.acting_role, w.grantee, w.grantee_name, w.grantee_sql
),

-- What later objects get by themselves. PUBLIC is shut out of functions and types for the whole database, because a default
-- of one schema can only add to the global one.
default_kind AS (
  SELECT * FROM (VALUES ('r'::"char", 'r'::"char", 'TABLES', 'tables'), ('S', 's', 'SEQUENCES', 'sequences'),
                        ('f', 'f', 'FUNCTIONS', 'functions'), ('T', 'T', 'TYPES', 'types')) AS k (object_type, acl_type, sql, name)
),
default_scope AS (
  SELECT w.key AS creator_key, w.oid AS creator, w.name AS creator_name, k.*, x.in_schema,
         CASE WHEN x.in_schema THEN format(' IN SCHEMA %I', s.schema_name) ELSE '' END AS scope_sql,
         CASE WHEN x.in_schema THEN format(' in schema %s', s.schema_name) ELSE '' END AS scope_name,
         CASE WHEN x.in_schema THEN d.defaclacl
              ELSE coalesce(d.defaclacl, pg_catalog.acldefault(k.acl_type, coalesce(w.oid, 10))) END AS acl
    FROM wanted_role w
   CROSS JOIN default_kind k
   CROSS JOIN schema s
   CROSS JOIN (VALUES (false), (true)) AS x (in_schema)
    LEFT JOIN pg_catalog.pg_default_acl d
           ON d.defaclrole = w.oid AND d.defaclobjtype = k.object_type AND d.defaclnamespace = CASE WHEN x.in_schema THEN s.oid ELSE 0 END
   WHERE w.key IN ('owner', 'audit')
),
default_wanted AS (
  SELECT d.creator_name, d.object_type, d.in_schema, g.oid AS grantee, g.name AS grantee_name, g.sql AS grantee_sql, p.privilege
    FROM default_scope d
   CROSS JOIN input i
   CROSS JOIN LATERAL jsonb_each(coalesce(i.privileges -> 'defaults' -> d.name, '{}')) AS k (key, privileges)
   CROSS JOIN LATERAL jsonb_array_elements_text(k.privileges) AS p (privilege)
    JOIN grantee g ON g.key = k.key
   WHERE d.creator_key = 'owner' AND d.in_schema AND g.name <> d.creator_name
),
default_current AS (
  SELECT d.creator_name, d.object_type, d.in_schema, d.scope_sql, d.scope_name, d.sql, g.oid AS grantee, g.name AS grantee_name,
         g.sql AS grantee_sql, a.privilege_type AS privilege, a.is_grantable
    FROM default_scope d
   CROSS JOIN LATERAL pg_catalog.aclexplode(d.acl) a
    JOIN grantee g ON g.oid = a.grantee
   WHERE a.grantee IS DISTINCT FROM d.creator
),
change_default AS (
  SELECT 200 AS ordinal, 'schema' AS stage, c.creator_name AS creator,
         format('default privileges of %s%s: revoke %s on %s from %s', c.creator_name, c.scope_name,
                string_agg(c.privilege, ', ' ORDER BY c.privilege), lower(c.sql), c.grantee_name) AS reason,
         format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE %s ON %s FROM %s', c.creator_name, c.scope_sql,
                string_agg(c.privilege, ', ' ORDER BY c.privilege), c.sql, c.grantee_sql) AS statement
    FROM default_current c
   WHERE c.is_grantable
      OR NOT EXISTS (SELECT FROM default_wanted w
                      WHERE w.creator_name = c.creator_name AND w.object_type = c.object_type AND w.in_schema = c.in_schema
                        AND w.grantee = c.grantee AND w.privilege = c.privilege)
   GROUP BY c.creator_name, c.scope_name, c.scope_sql, c.sql, c.grantee_name, c.grantee_sql
  UNION ALL
  SELECT 210, CASE WHEN w.grantee IS NULL THEN 'absent_role' ELSE 'schema' END, w.creator_name,
         format('default privileges of %s%s: grant %s on %s to %s', w.creator_name, d.scope_name,
                string_agg(w.privilege, ', ' ORDER BY w.privilege), lower(d.sql), w.grantee_name),
         format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %s', w.creator_name, d.scope_sql,
                string_agg(w.privilege, ', ' ORDER BY w.privilege), d.sql, w.grantee_sql)
    FROM default_wanted w
    JOIN default_scope d ON d.creator_name = w.creator_name AND d.object_type = w.object_type AND d.in_schema = w.in_schema
   WHERE NOT EXISTS (SELECT FROM default_current c
                      WHERE c.creator_name = w.creator_name AND c.object_type = w.object_type AND c.in_schema = w.in_schema
                        AND c.grantee = w.grantee AND c.privilege = w.privilege AND NOT c.is_grantable)
   GROUP BY w.creator_name, d.scope_name, d.scope_sql, d.sql, w.grantee, w.grantee_name, w.grantee_sql
),
change_object AS (
  SELECT 300 AS ordinal, 'schema' AS stage, e.class, e.oid, CASE WHEN e.grantor <> e.owner THEN e.grantor_name END AS grantor_name, 'revoke' AS verb,
         string_agg(e.privilege || coalesce(' (' || quote_ident(nullif(e.column_name, '')) || ')', ''), ', '
                    ORDER BY e.column_name, e.privilege) AS privileges, e.grantee_name, e.grantee_sql
    FROM excess e
   GROUP BY e.class, e.oid, e.grantor, e.grantor_name, e.owner, e.grantee_name, e.grantee_sql
  UNION ALL
  SELECT 310, CASE WHEN m.grantee IS NULL THEN 'absent_role' ELSE 'schema' END, m.class, m.oid, NULL, 'grant',
         string_agg(m.privilege || coalesce(' (' || quote_ident(nullif(m.column_name, '')) || ')', ''), ', '
                    ORDER BY m.column_name, m.privilege), m.grantee_name, m.grantee_sql
    FROM missing m
   GROUP BY m.class, m.oid, m.grantee, m.grantee_name, m.grantee_sql
),
action AS (
  SELECT ordinal, stage, acting_role, reason, statement FROM create_schema
  UNION ALL
  SELECT ordinal, stage, acting_role, reason, statement FROM change_schema
  UNION ALL
  SELECT ordinal, stage, creator, reason, statement FROM change_default
  UNION ALL
  SELECT c.ordinal, c.stage, coalesce(c.grantor_name, r.rolname), format('%s %s: %s %s %s %s', o.kind, o.name, c.verb, c.privileges,
                                                             CASE c.verb WHEN 'grant' THEN 'to' ELSE 'from' END, c.grantee_name),
         format('%s %s ON %s %s %s %s', upper(c.verb), c.privileges, CASE o.kind WHEN 'function' THEN 'ROUTINE' ELSE upper(o.kind) END, o.sql,
                CASE c.verb WHEN 'grant' THEN 'TO' ELSE 'FROM' END, c.grantee_sql) || CASE c.verb WHEN 'revoke' THEN ' CASCADE' ELSE '' END
    FROM change_object c
    JOIN own_object o ON o.class = c.class AND o.stand_in = c.oid
    JOIN pg_catalog.pg_roles r ON r.oid = o.owner
),
refusal AS (
  SELECT 1 AS ordinal, format('The schema %s belongs to %s, so %s cannot change its privileges: choose another mission_control_database_schema '
                              'or connect as a superuser.', s.schema_name, s.owner_name, current_user) AS reason
    FROM schema s
   WHERE s.oid IS NOT NULL AND NOT pg_catalog.pg_has_role(s.nspowner, 'MEMBER') AND EXISTS (SELECT FROM change_schema)
  UNION ALL
  -- Whoever owns a schema may drop everything in it, whoever owns that.
  SELECT 2, format('The schema %s belongs to %s, which could then drop the audit log: run ALTER SCHEMA %I OWNER TO %I.',
                   s.schema_name, w.name, s.schema_name, current_user)
    FROM schema s JOIN wanted_role w ON w.oid = s.nspowner
  UNION ALL
  -- The words become part of statements. (No backslash stands in any plan, since a server may read it as the beginning of an escape.)
  SELECT 3, format('%s is not a privilege that %s can have on the %s %s: correct it in mission_control_database_privileges.', quote_literal(r.privilege), r.key, o.kind, o.name)
    FROM rule r JOIN own_object o ON o.class = r.class AND o.oid = r.oid
   WHERE r.privilege !~* '^[[:space:]]*[a-z]+[[:space:]]*([(][^()]*[)][[:space:]]*)?$'
)
SELECT row_number() OVER (ORDER BY plan.ordinal, plan.reason) AS ordinal, plan.stage, plan.acting_role::text, plan.reason, plan.statement
  FROM (SELECT ordinal, 'refuse' AS stage, NULL::name AS acting_role, reason, NULL AS statement FROM refusal
        UNION ALL
        SELECT ordinal, stage, acting_role, reason, statement FROM action) AS plan
 ORDER BY ordinal
