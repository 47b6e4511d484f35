# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Functions, views and triggers as the SQL files make them, and as a server's catalogue describes them.

A checksum over a definition in the catalogue shows that somebody has changed an object, whichever way. How a server writes a
definition differs between major versions, so the checksums to compare with come from the same server: a provisioning run
records them in `schema_objects` when it has made the objects, and anew after a major upgrade.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .sql_text import split_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .migrations import SqlFile

SCHEMA_SETTING = "mission_control.schema"
# On these the text of a definition depends. Values as SQL.
DEFINITION_SETTINGS: dict[str, str] = {
    "search_path": "pg_catalog, pg_temp",
    "timezone": "'UTC'",
    "datestyle": "'ISO, MDY'",
    "intervalstyle": "'postgres'",
    "bytea_output": "'hex'",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
}
# Rows kind, name, table_name (of a trigger, else empty), checksum, catalogue row (oid), of all functions, views and triggers in the schema that the setting
# names.
# Privileges are left out: they are compared by themselves. To be sent with search_path = pg_catalog, pg_temp, on which the
# text of a definition depends. No percent sign, no psql variable: psycopg2, psql and EXECUTE of PL/pgSQL take it as it is.
# Each part names the schema by itself: a definition is only worked out for what is in it.
_HOME = (
    f"(SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = pg_catalog.current_setting('{SCHEMA_SETTING}'))"  # noqa: S608
)
DEFINITIONS = f"""
SELECT o.kind, o.name, o.table_name, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(o.definition, 'UTF8')), 'hex') AS checksum,
    o.oid
FROM (
    SELECT 'function' AS kind, pg_catalog.concat(p.proname, '(', pg_catalog.oidvectortypes(p.proargtypes), ')') AS name,
        '' AS table_name, p.oid,
        pg_catalog.concat_ws(E'\\n', pg_catalog.pg_get_functiondef(p.oid), pg_catalog.pg_get_userbyid(p.proowner)) AS definition
    FROM pg_catalog.pg_proc AS p
    WHERE p.prokind IN ('f', 'p') AND p.pronamespace = {_HOME}
    UNION ALL
    SELECT 'view', c.relname::pg_catalog.text, '', c.oid,
        pg_catalog.concat_ws(
            E'\\n', pg_catalog.pg_get_viewdef(c.oid), c.reloptions::pg_catalog.text, pg_catalog.pg_get_userbyid(c.relowner)
        )
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind = 'v' AND c.relnamespace = {_HOME}
    UNION ALL
    SELECT 'trigger', t.tgname::pg_catalog.text, c.relname::pg_catalog.text, t.oid,
        pg_catalog.concat_ws(E'\\n', pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled::pg_catalog.text)
    FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND c.relnamespace = {_HOME}
) AS o
"""  # noqa: S608 - constants
# The rows of schema_objects beside what the catalogue has now: whether it differs, whether the two can be compared (a major version words
# definitions in its own way), and both as a text for people. <schema_objects> is the table's name. As above without percent sign or variable.
DRIFT = f"""
SELECT r.kind, r.name, r.table_name, r.made_by, r.run_id, d.oid,
    pg_catalog.concat(r.kind, ' ', r.name, ' on ' || nullif(r.table_name, ''), CASE WHEN d.oid IS NULL THEN ' is gone' ELSE ' was changed' END) AS text,
    r.server_major = pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000 AS comparable,
    r.checksum IS DISTINCT FROM d.checksum AS differs
FROM ONLY <schema_objects> AS r
LEFT JOIN ({DEFINITIONS}) AS d ON d.kind = r.kind AND d.name = r.name AND d.table_name = r.table_name
ORDER BY r.kind, r.name, r.table_name
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class ShippedFunction:
    """A function that a migration makes and that may be replaced: `role` as SqlFile has it, its name, the statement."""

    role: str
    name: str
    sql: str


@dataclass(frozen=True)
class ShippedTrigger:
    """A trigger that a migration makes: `always`, whether session_replication_role has no influence on it."""

    role: str
    table: str
    name: str
    sql: str
    always: bool


_OURS = r"(?:our_schema\.)?"
_FUNCTION = re.compile(
    rf"CREATE\s+(?:OR\s+REPLACE\s+)?FUNCTION\s+{_OURS}(\w+)\s*(\([^$]*?\))\s*(?=RETURNS|LANGUAGE|STABLE|VOLATILE|SECURITY|SET)",
    re.I,
)
_TRIGGER = re.compile(
    rf"CREATE\s+(?:OR\s+REPLACE\s+)?(?:CONSTRAINT\s+)?TRIGGER\s+(\w+)\s.*?\sON\s+{_OURS}(\w+)\s", re.I | re.S
)
_ALWAYS = re.compile(rf"ALTER\s+TABLE\s+{_OURS}(\w+)\s+ENABLE\s+ALWAYS\s+TRIGGER\s+(\w+)$", re.I)
_VIEW = re.compile(rf"CREATE\s+(?:OR\s+REPLACE\s+)?VIEW\s+{_OURS}(\w+)", re.I)
_DROPPED = re.compile(rf"DROP\s+(FUNCTION|TRIGGER)\s+(?:IF\s+EXISTS\s+)?{_OURS}(\w+)(?:\s+ON\s+{_OURS}(\w+))?", re.I)


def shipped_functions(migrations: Sequence[SqlFile], repeatables: Sequence[SqlFile]) -> list[ShippedFunction]:
    """Functions of migrations as the last of them has them, without those that a repeatable file holds."""
    elsewhere = {name for name, _arguments, _role, _sql in _functions(repeatables)}
    found: dict[tuple[str, str], ShippedFunction] = {}
    for name, arguments, role, sql in _functions(migrations):
        key = (name, " ".join(arguments.lower().split()))
        found.pop(key, None)
        found[key] = ShippedFunction(role, name, sql)
    for kind, name, _table in _removals(migrations):
        if kind == "FUNCTION":
            found = {key: each for key, each in found.items() if key[0] != name}
    return [each for each in found.values() if each.name not in elsewhere]


def shipped_triggers(migrations: Sequence[SqlFile]) -> list[ShippedTrigger]:
    """Triggers of migrations as the last of them has them."""
    found: dict[tuple[str, str], ShippedTrigger] = {}
    for file in migrations:
        for statement in split_statements(file.body):
            made, always, dropped = (pattern.match(statement.text) for pattern in (_TRIGGER, _ALWAYS, _DROPPED))
            if made:
                name, table = made.groups()
                sql = f"DROP TRIGGER IF EXISTS {name} ON our_schema.{table};\n{statement.text}"
                found[table, name] = ShippedTrigger(file.role, table, name, sql, always=False)
            elif always:
                table, name = always.groups()
                earlier = found[table, name]
                sql = f"{earlier.sql};\n{statement.text}"
                found[table, name] = ShippedTrigger(earlier.role, table, name, sql, always=True)
            elif dropped and dropped[1].upper() == "TRIGGER":
                found.pop((dropped[3], dropped[2]), None)
    return list(found.values())


def shipped_views(repeatables: Sequence[SqlFile]) -> list[str]:
    """Names of the views that the repeatable files hold."""
    statements = [statement.text for file in repeatables for statement in split_statements(file.body)]
    return [match[1] for match in map(_VIEW.match, statements) if match]


def shipped_function_names(migrations: Sequence[SqlFile], repeatables: Sequence[SqlFile]) -> list[str]:
    """Names of all functions that the files hold."""
    names = {name for name, _arguments, _role, _sql in _functions(repeatables)}
    return sorted(names | {each.name for each in shipped_functions(migrations, repeatables)})


def _functions(files: Iterable[SqlFile]) -> Iterable[tuple[str, str, str, str]]:
    for file in files:
        for statement in split_statements(file.body):
            match = _FUNCTION.match(statement.text)
            if match:
                sql = re.sub(r"^CREATE\s+FUNCTION", "CREATE OR REPLACE FUNCTION", statement.text, flags=re.I)
                yield match[1], match[2], file.role, sql


def _removals(files: Iterable[SqlFile]) -> Iterable[tuple[str, str, str]]:
    for file in files:
        for statement in split_statements(file.body):
            match = _DROPPED.match(statement.text)
            if match:
                yield match[1].upper(), match[2], match[3]
