"""Write docs/schema.md: a picture of the tables and their columns, from the catalogue of a database that the SQL files made.

    scripts/er_diagram.py          write it (needs PostgreSQL's server programs; makes a throw-away server)

tests/integration/test_sql_schema_page.py compares the committed page with the database of the tests.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "schema.md"
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

GROUPS = {
    "Inventory": ("services", "hosts", "workloads"),
    "Tasks": ("tasks", "task_runs", "task_events", "artifacts"),
    "Language models": ("llm_requests", "llm_responses", "token_usage", "provider_pricing"),
    "Tools and policies": ("tool_definitions", "tool_call_records", "policies"),
    "Audit": ("audit_entries", "audit_links", "audit_head"),
    "Bookkeeping of the migrations": ("schema_migrations", "schema_repeatables", "schema_objects"),
    "Backups": ("backup_runs",),
}
_HEAD = """# The schema

This page is written by `make docs` from the catalogue of a database; do not edit it. What a table, a column or a function is for is
said by its `COMMENT` in the SQL files, from where it comes here.

An arrow leads from a table to the one that refers to it. `|o` is "at most one", `||` is "exactly one", `o{` is "any number".

"""
_COLUMNS = r"""
SELECT c.relname AS table, a.attname AS name, a.attnotnull AS required,
    replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz') AS type,
    coalesce(col_description(a.attrelid, a.attnum), '') AS comment,
    CASE
        WHEN a.attidentity <> '' THEN 'identity'
        WHEN a.attgenerated <> '' THEN 'generated'
        ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    END AS default,
    (
        SELECT string_agg('`' || v[1] || '`', ', ')
        FROM pg_constraint AS k, regexp_matches(pg_get_constraintdef(k.oid), '''([^'']+)''::text', 'g') AS v
        WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
            AND pg_get_constraintdef(k.oid) ~ '^CHECK \(\(\w+ (= ANY|<@) \(?ARRAY'
    ) AS choices,
    EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey)) AS primary_key,
    EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey)) AS foreign_key
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
ORDER BY c.relname, a.attnum
"""
_REFERENCES = """
SELECT k.confrelid::regclass::text AS parent, k.conrelid::regclass::text AS child, a.attname AS column, a.attnotnull AS required,
    CASE k.confdeltype WHEN 'r' THEN 'RESTRICT' WHEN 'n' THEN 'SET NULL' END AS on_delete
FROM pg_constraint AS k
JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
ORDER BY 1, 2, 3
"""
_RELATIONS = """
SELECT relname AS name, relkind AS kind, coalesce(obj_description(oid, 'pg_class'), '') AS comment
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname
"""
_FUNCTIONS = """
SELECT p.proname || '(' || replace(pg_get_function_arguments(p.oid), 'timestamp with time zone', 'timestamptz') || ')' AS signature,
    obj_description(p.oid, 'pg_proc') AS comment
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = 'public'::regnamespace AND l.lanname <> 'internal' AND p.prorettype <> 'trigger'::regtype
ORDER BY 1
"""


def render(session):
    """The page for the database of a session, as text."""
    columns = {}
    for column in session.rows(_COLUMNS):
        columns.setdefault(column["table"], []).append(column)
    relations = {relation["name"]: relation for relation in session.rows(_RELATIONS)}
    tables = [table for group in GROUPS.values() for table in group]
    missing = {name for name, relation in relations.items() if relation["kind"] == "r"} ^ set(tables)
    if missing:
        raise ValueError(f"GROUPS in this script and the tables of the database differ: {', '.join(sorted(missing))}")
    references = session.rows(_REFERENCES)

    lines = [*_HEAD.rstrip("\n").split("\n"), "", *_diagram(tables, columns, references)]
    for group, members in GROUPS.items():
        lines += ["", f"## {group}"]
        for table in members:
            lines += [
                "",
                f"### `{table}`",
                "",
                relations[table]["comment"],
                "",
                *_column_table(table, columns, references),
            ]
    lines += ["", "## Views"]
    for name, relation in relations.items():
        if relation["kind"] == "v":
            lines += ["", f"### `{name}`", "", relation["comment"], "", *_view_table(columns[name])]
    lines += ["", "## Functions", "", "| function | what it does |", "| --- | --- |"]
    lines += [f"| `{function['signature']}` | {_cell(function['comment'])} |" for function in session.rows(_FUNCTIONS)]
    return "\n".join(lines) + "\n"


def _diagram(tables, columns, references):
    yield "```mermaid"
    yield "erDiagram"
    for table in tables:
        yield f"    {table} {{"
        for column in columns[table]:
            keys = [key for key, holds in (("PK", column["primary_key"]), ("FK", column["foreign_key"])) if holds]
            yield f"        {column['type'].split('(')[0]} {column['name']} {', '.join(keys)}".rstrip()
        yield "    }"
    for reference in references:
        parent = "||" if reference["required"] else "|o"
        yield f"    {reference['parent']} {parent}--o{{ {reference['child']} : {reference['column']}"
    yield "```"


def _column_table(table, columns, references):
    targets = {
        reference["column"]: f"→ `{reference['parent']}`, ON DELETE {reference['on_delete']}."
        for reference in references
        if reference["child"] == table
    }
    yield "| column | type | required | default | |"
    yield "| --- | --- | --- | --- | --- |"
    for column in columns[table]:
        default = f"`{_cell(column['default'])}`" if column["default"] else ""
        sentence = column["comment"] and column["comment"].rstrip(".") + "."
        choices = f"One of {column['choices']}." if column["choices"] else ""
        comment = " ".join(text for text in (targets.get(column["name"]), sentence, choices) if text)
        required = "yes" if column["required"] else ""
        yield f"| `{column['name']}` | {column['type']} | {required} | {default} | {_cell(comment)} |".replace(
            "  ", " "
        )


def _view_table(columns):
    yield "| column | type | |"
    yield "| --- | --- | --- |"
    for column in columns:
        yield f"| `{column['name']}` | {column['type']} | {_cell(column['comment'])} |".replace("  ", " ")


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def main():
    with ThrowawayCluster() as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "schema_page")
        layer.provision(database)
        text = render(database.session("admin"))
        database.close()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
