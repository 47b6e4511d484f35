"""Traps: objects of a lesser role whose code says, when it runs, with whose rights, after it has tried to take more.

`plant` puts one of a sort under the name of a table, `fired` tells in whose name it ran. What ran is read in the server's log,
which no rollback and no READ ONLY takes back. `CONTROLS` holds for each sort the statement that sets it off where nothing
protects: a test of a protection shows with it that its trap is armed.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass

import psycopg2
from mission_control_database import Session

_numbers = itertools.count(1)
_SAID = re.compile(r"TRAP (\w+) ran as (\S+) in a session of (\S+)")
# Each way back to the rights of the session, one after the other; what is refused is passed over.
_FIRE = """
CREATE FUNCTION {schema}.{tag}() RETURNS integer LANGUAGE plpgsql VOLATILE AS $trap$
DECLARE
    attempt text;
BEGIN
    FOREACH attempt IN ARRAY ARRAY[
        'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT',
        'SELECT pg_catalog.set_config(''role'', ''none'', true)', 'SELECT pg_catalog.set_config(''role'', ''none'', false)',
        'SELECT pg_catalog.set_config(''session_authorization'', session_user::text, false)',
        'ALTER ROLE {planter} SUPERUSER'
    ] LOOP
        BEGIN
            EXECUTE attempt;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RAISE LOG 'TRAP {tag} ran as % in a session of %', current_user, session_user;
    RETURN 1;
END
$trap$;
-- For where only an immutable function may stand; what it calls need not keep the promise.
CREATE FUNCTION {schema}.{tag}_still(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $trap$
BEGIN
    RETURN {schema}.{tag}();
END
$trap$;
GRANT EXECUTE ON FUNCTION {schema}.{tag}(), {schema}.{tag}_still(integer) TO PUBLIC;
"""
_REPLACE = "ALTER TABLE {table} RENAME TO {tag}_kept;"
_CHILD = "CREATE TABLE {schema}.{tag}_child (CHECK ({still} = 1)) INHERITS ({table}); GRANT SELECT ON {schema}.{tag}_child TO PUBLIC;"
# With a condition: without one the planner does not look at constraints.
_READ = "SELECT * FROM {table} WHERE {column}::text <> ''"
_ADD = "INSERT INTO {table} ({others}) SELECT {others} FROM {table} LIMIT 1"


@dataclass(frozen=True)
class Sort:
    """A sort of trap: the SQL that plants it, and what sets it off.

    In both: {table} with its schema, {column} one of its columns, {schema}, {tag} a name of this trap's own, {fire} and {still}
    calls of its code, the second one IMMUTABLE and with constants.
    """

    plant: str
    control: str = _READ


# On a table that is there and belongs to the planter.
ON_TABLES = {
    "view": Sort(_REPLACE + "CREATE VIEW {table} AS SELECT k.* FROM {schema}.{tag}_kept AS k WHERE {fire} = 1;"),
    "view of a view": Sort(
        _REPLACE + "CREATE VIEW {schema}.{tag}_inner AS SELECT k.* FROM {schema}.{tag}_kept AS k WHERE {fire} = 1;"
        "CREATE VIEW {table} AS SELECT * FROM {schema}.{tag}_inner;"
    ),
    "partitioned table": Sort(
        _REPLACE + "CREATE TABLE {table} (LIKE {schema}.{tag}_kept) PARTITION BY LIST ({column});"
        "CREATE TABLE {schema}.{tag}_part PARTITION OF {table} (CHECK ({still} = 1)) DEFAULT;"
        "CREATE INDEX {tag}_index ON {table} (({still}));"
    ),
    "child": Sort(_CHILD),
    "index expression": Sort("CREATE INDEX {tag}_index ON {table} (({still}));"),
    "index predicate": Sort("CREATE INDEX {tag}_index ON {table} ({column}) WHERE {still} = 1;"),
    "statistics": Sort(
        "CREATE STATISTICS {schema}.{tag}_statistics ON ({column}::text || {still}::text) FROM {table};"
    ),
    "constraint": Sort(
        "ALTER TABLE {table} ADD CONSTRAINT {tag}_check CHECK ({still} = 1) NOT VALID;"
        "ALTER TABLE {table} VALIDATE CONSTRAINT {tag}_check;",
        "SET LOCAL constraint_exclusion = on;" + _READ,
    ),
    "default": Sort(
        "ALTER TABLE {table} ADD COLUMN {tag}_column integer;"
        "ALTER TABLE {table} ALTER COLUMN {tag}_column SET DEFAULT {fire};",
        _ADD,
    ),
    "server function that runs a text": Sort(
        "ALTER TABLE {table} ADD COLUMN {tag}_column text;"
        "ALTER TABLE {table} ALTER COLUMN {tag}_column SET DEFAULT query_to_xml('SELECT {fire}', true, true, '')::text;",
        _ADD,
    ),
    "domain": Sort(
        "CREATE DOMAIN {schema}.{tag}_domain AS integer DEFAULT 1 CHECK ({fire} = 1);"
        "ALTER TABLE {table} ADD COLUMN {tag}_column {schema}.{tag}_domain;",
        _ADD,
    ),
    "generated column": Sort(
        "ALTER TABLE {table} ADD COLUMN {tag}_column integer GENERATED ALWAYS AS ({still}) STORED;",
        # Since PostgreSQL 18 it is computed only after the triggers, of which one of the audit log refuses.
        "ALTER TABLE {table} DISABLE TRIGGER USER;" + _ADD,
    ),
    "trigger": Sort(
        "CREATE FUNCTION {schema}.{tag}_trigger() RETURNS trigger LANGUAGE plpgsql AS"
        " $trap$ BEGIN PERFORM {fire}; RETURN NULL; END $trap$;"
        "CREATE TRIGGER {tag}_trigger BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{tag}_trigger();",
        _ADD,
    ),
    "rule": Sort("CREATE RULE {tag}_rule AS ON INSERT TO {table} DO INSTEAD SELECT {fire};", _ADD),
    # A superuser is above policies; a login that reads everything is not.
    "policy": Sort(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; CREATE POLICY {tag}_policy ON {table} USING ({fire} = 1);",
        "SET LOCAL ROLE pg_read_all_data;" + _READ,
    ),
    "cast": Sort(
        "CREATE TYPE {schema}.{tag}_type AS ENUM ('a');"
        "CREATE FUNCTION {schema}.{tag}_cast({schema}.{tag}_type) RETURNS boolean LANGUAGE plpgsql AS"
        " $trap$ BEGIN RETURN {fire} = 1; END $trap$;"
        "CREATE CAST ({schema}.{tag}_type AS boolean) WITH FUNCTION {schema}.{tag}_cast({schema}.{tag}_type) AS IMPLICIT;"
        "ALTER TABLE {table} ADD COLUMN {tag}_column {schema}.{tag}_type;"
        "ALTER TABLE {table} ALTER COLUMN {tag}_column SET DEFAULT 'a';",
        "SELECT 1 WHERE 'a'::{schema}.{tag}_type",
    ),
}
# What a name or an operator without a schema leads to where arguments fit better than those of PostgreSQL's own.
BY_NAME = {
    "aggregate": Sort(
        'CREATE FUNCTION {schema}.{tag}_step(jsonb, name, "char") RETURNS jsonb LANGUAGE plpgsql AS'
        " $trap$ BEGIN PERFORM {fire}; RETURN '{{}}'; END $trap$;"
        "CREATE AGGREGATE {schema}.jsonb_object_agg(name, \"char\") (SFUNC = {schema}.{tag}_step, STYPE = jsonb, INITCOND = '{{}}');",
        "SELECT jsonb_object_agg(relname, relkind) FROM (SELECT relname, relkind FROM pg_class LIMIT 1) AS c",
    ),
    "operator": Sort(
        "CREATE FUNCTION {schema}.{tag}_times(numeric, integer) RETURNS numeric LANGUAGE plpgsql AS"
        " $trap$ BEGIN PERFORM {fire}; RETURN pg_catalog.numeric_mul($1, $2::numeric); END $trap$;"
        "CREATE OPERATOR {schema}.* (FUNCTION = {schema}.{tag}_times, LEFTARG = numeric, RIGHTARG = integer);",
        "SELECT extract(epoch FROM now()) * 1000000",
    ),
    "function": Sort(
        "CREATE FUNCTION {schema}.current_setting(varchar) RETURNS text LANGUAGE plpgsql AS"
        " $trap$ BEGIN PERFORM {fire}; RETURN pg_catalog.current_setting($1::text); END $trap$;",
        "SELECT current_setting('port'::varchar)",
    ),
}
SORTS = {**ON_TABLES, **BY_NAME}


@dataclass(frozen=True)
class Trap:
    """One that was planted."""

    tag: str
    control: str


def plant(session, sort: str, table: str = "hosts", schema: str = "public") -> Trap:
    """Plant one as the role of the session, which has to own the table where the sort stands on one.

    Use a session of `planter`: one that a superuser has begun is no lesser role's, whatever it has set, and a trap that goes off
    while it is planted would find that out.
    """
    tag = f"trap_{next(_numbers)}"
    planter = session.value("SELECT quote_ident(session_user)")
    columns = session.values(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        " AND attidentity = '' AND attgenerated = '' ORDER BY attnum",
        f"{schema}.{table}",
    )
    words = {
        "schema": schema,
        "table": f"{schema}.{table}",
        "tag": tag,
        "planter": planter,
        "column": columns[0] if columns else "x",
        "others": ", ".join(columns),
        "fire": f"{schema}.{tag}()",
        "still": f"{schema}.{tag}_still(1)",
    }
    # Whoever reads the table may read what stands in its place.
    share = f"GRANT SELECT ON {schema}.{table} TO PUBLIC;" if columns and sort in ON_TABLES else ""
    session.run(_FIRE.format(**words))
    session.run(SORTS[sort].plant.format(**words) + share)
    return Trap(tag, SORTS[sort].control.format(**words))


@contextlib.contextmanager
def planter(database, of="mission_control_owner"):
    """A session of a login of its own that is a member of the role `of` and acts as it; without one of nobody but itself."""
    name = f"planter_{next(_numbers)}"
    with contextlib.closing(Session(database.cluster.connect(database.name))) as admin:
        admin.run(f"CREATE ROLE {name} LOGIN" + (f" IN ROLE {of}" if of else ""))
        try:
            with contextlib.closing(Session(database.cluster.connect(database.name, name))) as session:
                if of:
                    session.run(f"SET ROLE {of}")
                yield session
        finally:
            admin.run(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def set_off(session, trap: Trap):
    """Do what the trap is set for, with nothing in its way; what it changed, but for rights and the log, is taken back."""
    session.run("BEGIN")
    try:
        # The trap answers with what may not fit the statement.
        with contextlib.suppress(psycopg2.Error):
            session.run(trap.control)
    finally:
        session.run("ROLLBACK")


def fired(cluster, trap: Trap, but=()) -> set[str]:
    """In whose name it ran, without those (its planter) in whose name it may run."""
    with open(cluster.log_file, encoding="utf-8", errors="replace") as log:
        said = [found.groups() for found in map(_SAID.search, log) if found]
    return {user for tag, user, _session in said if tag == trap.tag} - set(but)
