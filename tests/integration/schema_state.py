"""What the schema of a database consists of, by names and not by numbers, so that two databases can be compared in a moment."""

# Who provisions may read the tables of the bookkeeping; who that is differs from run to run.
_ACL = """(SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest({acl}) AS a
           WHERE a::text NOT LIKE 'keeper=%%' AND a::text NOT LIKE 'postgres=%%')"""
_OURS = "= 'public'::regnamespace"
# An index that was left half built is none; the tests look for it by themselves.
_PARTS = (
    f"""SELECT 'relation', c.relname, c.relkind, c.relowner::regrole, c.reloptions, c.relpersistence, {_ACL.format(acl="c.relacl")}
        FROM pg_class AS c WHERE c.relnamespace {_OURS} AND c.relkind NOT IN ('i', 'I')""",
    f"""SELECT 'column', a.attrelid::regclass, a.attname, a.attnum, a.atttypid::regtype, a.attnotnull, a.attidentity, a.attgenerated,
               pg_get_expr(d.adbin, d.adrelid), {_ACL.format(acl="a.attacl")}
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid LEFT JOIN pg_attrdef AS d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE c.relnamespace {_OURS} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('i', 'I')""",
    f"""SELECT 'constraint', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid), c.convalidated
        FROM pg_constraint AS c WHERE c.connamespace {_OURS}""",
    f"""SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE c.relnamespace {_OURS} AND i.indisvalid""",
    f"""SELECT 'trigger', pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace {_OURS} AND NOT t.tgisinternal""",
    f"""SELECT 'function', p.oid::regprocedure, CASE WHEN p.prokind = 'f' THEN pg_get_functiondef(p.oid) END, p.proowner::regrole,
               {_ACL.format(acl="p.proacl")}
        FROM pg_proc AS p WHERE p.pronamespace {_OURS}""",
    f"SELECT 'view', c.relname, pg_get_viewdef(c.oid) FROM pg_class AS c WHERE c.relnamespace {_OURS} AND c.relkind = 'v'",
    f"SELECT 'type', t.typname, t.typtype, t.typowner::regrole, {_ACL.format(acl='t.typacl')} FROM pg_type AS t WHERE t.typnamespace {_OURS}",
    f"SELECT 'rule', r.ev_class::regclass, r.rulename, r.ev_enabled FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class "
    f"WHERE c.relnamespace {_OURS}",
    "SELECT 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description FROM pg_description AS d WHERE d.objoid >= 16384",
    f"SELECT 'schema', n.nspname, {_ACL.format(acl='n.nspacl')} FROM pg_namespace AS n WHERE n.nspname !~ '^pg_(toast_)?temp_'",
    f"SELECT 'defaults', d.defaclrole::regrole, d.defaclobjtype, {_ACL.format(acl='d.defaclacl')} FROM pg_default_acl AS d",
)
_LINES = " UNION ALL ".join(f"SELECT part::text AS line FROM ({part}) AS part" for part in _PARTS)
_ROWS = """
    SELECT (origin, version, name, checksum)::text FROM schema_migrations
    UNION ALL SELECT (name, checksum)::text FROM schema_repeatables
    ORDER BY 1
"""


def schema_state(session):
    """Lines that are the same for two databases with the same schema, the same privileges and the same bookkeeping."""
    lines = session.values(f"SELECT line FROM ({_LINES.replace('%%', '%')}) AS lines ORDER BY line")
    recorded = session.value("SELECT to_regclass('schema_repeatables')") is not None
    return tuple(lines) + tuple(session.values(_ROWS) if recorded else ())
