"""Who may do what: every role, every object, every privilege, as the live catalogue answers.

What a role may do counts, not what was granted to it: PostgreSQL is asked by has_…_privilege(), so that memberships and
PUBLIC are in it. Roles are those that the database itself depends on, so a new one appears by itself.
"""

import pathlib

import yaml

FILE = pathlib.Path(__file__).with_name("permissions.yml")
HEAD = """---
# Who may do what in the database, written by `make docs` from the catalogue of a provisioned database; do not edit it. The owner of an
# object may do everything with it and is not listed again; whoever is not listed may do nothing but what PUBLIC may. "INSERT (a, b)" is
# the privilege on these columns only; "*" behind a privilege means that it may be passed on.
"""
_ROLES = """
SELECT 'PUBLIC' AS role
UNION
SELECT r.rolname::text FROM pg_roles AS r
WHERE NOT r.rolsuper AND r.oid >= 16384 AND (
    EXISTS (
        SELECT FROM pg_shdepend AS s
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
            AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    OR EXISTS (
        SELECT FROM pg_database AS d, aclexplode(d.datacl) AS a WHERE d.datname = current_database() AND a.grantee = r.oid
    )
)
ORDER BY role
"""
# section, name, owner, and what the object is asked about: its oid, the function that answers, and the privileges there are.
_OBJECTS = """
SELECT CASE c.relkind WHEN 'S' THEN 'sequences' WHEN 'v' THEN 'views' ELSE 'tables' END AS section, c.relname::text AS name,
    pg_get_userbyid(c.relowner)::text AS owner, c.oid,
    CASE c.relkind WHEN 'S' THEN 'has_sequence_privilege' ELSE 'has_table_privilege' END AS asks,
    CASE c.relkind WHEN 'S' THEN '{USAGE,SELECT,UPDATE}'
        ELSE '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}' END::text[] AS privileges, NULL AS how
FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c', 't')
UNION ALL
SELECT 'functions', p.proname || '(' || oidvectortypes(p.proargtypes) || ')', pg_get_userbyid(p.proowner), p.oid,
    'has_function_privilege', '{EXECUTE}',
    concat_ws(', ', CASE WHEN p.prosecdef THEN 'as its owner' ELSE 'as its caller' END, CASE
        WHEN p.prosqlbody IS NOT NULL THEN 'names bound when it was created'
        WHEN p.prolang = (SELECT l.oid FROM pg_language AS l WHERE l.lanname = 'internal') THEN 'built in'
        ELSE coalesce((SELECT replace(s, '=', ' ') FROM unnest(p.proconfig) AS s WHERE s LIKE 'search_path=%'), 'any search_path')
    END)
FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace
UNION ALL
-- Without array types and the row types of tables, which have no privileges that a grant could narrow usefully.
SELECT 'types', t.typname, pg_get_userbyid(t.typowner), t.oid, 'has_type_privilege', '{USAGE}', NULL
FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
WHERE t.typnamespace = 'public'::regnamespace AND t.typelem = 0 AND t.typtype <> 'm' AND coalesce(c.relkind, 'c') = 'c'
UNION ALL
SELECT 'schemas', n.nspname, pg_get_userbyid(n.nspowner), n.oid, 'has_schema_privilege', '{USAGE,CREATE}', NULL
FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
-- PostgreSQL lets PUBLIC call them.
SELECT 'large objects', p.proname || '(' || oidvectortypes(p.proargtypes) || ')', pg_get_userbyid(p.proowner), p.oid,
    'has_function_privilege', '{EXECUTE}', NULL
FROM pg_proc AS p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import')
UNION ALL
SELECT 'database', 'mission_control', pg_get_userbyid(d.datdba), d.oid, 'has_database_privilege', '{CONNECT,CREATE,TEMPORARY}', NULL
FROM pg_database AS d WHERE d.datname = current_database()
"""
_COLUMNS = """
SELECT a.attname::text AS name, p.privilege,
    has_column_privilege(%s, a.attrelid, a.attnum, p.privilege || ' WITH GRANT OPTION') AS grantable
FROM pg_attribute AS a, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) WITH ORDINALITY AS p (privilege, position)
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
    AND NOT has_table_privilege(%s, a.attrelid, p.privilege)
    AND has_column_privilege(%s, a.attrelid, a.attnum, p.privilege)
ORDER BY p.position, a.attnum
"""
_DEFAULTS = """
SELECT d.defaclrole::regrole::text || coalesce(' in schema ' || n.nspname, '') AS creator,
    CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' END AS kind,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee,
    string_agg(a.privilege_type || CASE WHEN a.is_grantable AND a.grantee <> d.defaclrole THEN '*' ELSE '' END, ', ' ORDER BY a.privilege_type) AS may
FROM pg_default_acl AS d
LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_RIGHTS = """
SELECT r.rolname::text AS role, array_to_string(array_remove(ARRAY[
        CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
        CASE WHEN r.rolreplication THEN 'REPLICATION' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL), ', ') AS rights,
    ARRAY(SELECT m.roleid::regrole::text FROM pg_auth_members AS m WHERE m.member = r.oid ORDER BY 1) AS member_of
FROM pg_roles AS r WHERE r.rolname = ANY (%s) ORDER BY 1
"""


def matrix(session):
    """The whole matrix as mappings of names to names to text, in the order of the file."""
    roles = session.values(_ROLES)
    found = {
        "roles": {
            row["role"]: {"rights": row["rights"] or "none", "member_of": row["member_of"]}
            for row in session.rows(_RIGHTS, roles)
        }
    }
    objects = session.rows(_OBJECTS)
    for section in ("database", "schemas", "tables", "views", "sequences", "functions", "types", "large objects"):
        of_section = sorted((row for row in objects if row["section"] == section), key=lambda row: row["name"])
        found[section] = {row["name"]: _of_object(session, row, roles) for row in of_section}
    found["what later objects get"] = {}
    for row in session.rows(_DEFAULTS):
        kinds = found["what later objects get"].setdefault(row["creator"], {})
        kinds.setdefault(row["kind"], {})[row["grantee"]] = row["may"]
    return found


def _of_object(session, row, roles):
    entry = {"owner": row["owner"]} | ({"runs": row["how"]} if row["how"] else {})
    public = _held(session, row, "PUBLIC")
    for role in roles:
        held = public if role == "PUBLIC" else _held(session, row, role)
        if held and role != row["owner"] and (role == "PUBLIC" or held != public):
            entry[role] = held
    return entry


def _held(session, row, role):
    role = role.replace("PUBLIC", "public")
    answers = session.rows(
        f"SELECT p AS privilege, {row['asks']}(%s, %s::oid, p) AS may, "
        f"{row['asks']}(%s, %s::oid, p || ' WITH GRANT OPTION') AS grantable FROM unnest(%s::text[]) AS p",
        *[role, row["oid"]] * 2,
        row["privileges"],
    )
    held = [answer["privilege"] + "*" * answer["grantable"] for answer in answers if answer["may"]]
    if row["section"] in ("tables", "views"):
        by_privilege = {}
        for column in session.rows(_COLUMNS, role, row["oid"], role, role):
            by_privilege.setdefault(column["privilege"], []).append(column["name"] + "*" * column["grantable"])
        held += [f"{privilege} ({', '.join(columns)})" for privilege, columns in by_privilege.items()]
    return ", ".join(held)


def text(found):
    return HEAD + yaml.safe_dump(found, sort_keys=False, width=120, allow_unicode=True)


def expected_text(server_version):
    """The committed file, as a server of this version (such as 150004) has it."""
    text = FILE.read_text(encoding="utf-8")
    # Up to 14 the schema public belongs to the superuser that made the server.
    return text if server_version >= 150000 else text.replace("owner: pg_database_owner\n", "owner: postgres\n")


def expected(server_version):
    return yaml.safe_load(expected_text(server_version))
