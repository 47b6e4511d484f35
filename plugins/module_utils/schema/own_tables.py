# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read tables of the schema in a session that may have more rights than their owner, without running the owner's code.

Such a session binds its names before anything else: `BIND` notes where the login's own search_path leads to and then leaves
nothing on the path but PostgreSQL's own. `FIND` looks up the tables, `hold` locks them and asks whether they are ordinary ones,
and `named` puts their names, with their schema, into the statements.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import MissionControlError
from .foreign_code import BOUND_PATH, FOREIGN_CODE_OF_READING, SETTING, quoted, relations_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from contextlib import AbstractContextManager

    from ..database.driver import Parameters
    from ..database.executor import Reader

_PATH = "mission_control.search_path"
# For this transaction alone. The first statement of it: each name in it has its schema, and there is no operator.
BIND = (
    f"SELECT pg_catalog.set_config('{_PATH}', pg_catalog.current_schemas(true)::pg_catalog.text, true) AS found, "
    f"pg_catalog.set_config('search_path', '{BOUND_PATH}', true) AS bound"
)
# Parameters: names of tables, names of views. Of several with one name the reachable one comes last, and before it one in a
# schema that this login may not use.
FIND = f"""
SELECT f.name, f.oid, f.schema, f.kind, f.reachable, f.usable, f.readable, f.lock_mode, f.superuser, f.triggers
FROM (
    SELECT c.relname::text AS name, c.oid::bigint AS oid, n.nspname::text AS schema, c.relkind::text AS kind,
        p.place IS NOT NULL AND p.place = min(p.place) OVER (PARTITION BY c.relname) AS reachable,
        has_schema_privilege(n.oid, 'USAGE') AS usable, has_any_column_privilege(c.oid, 'SELECT') AS readable,
        CASE
            WHEN has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') THEN 'ROW EXCLUSIVE'
            WHEN has_table_privilege(c.oid, 'SELECT') THEN 'ACCESS SHARE'
        END AS lock_mode,
        current_setting('is_superuser')::boolean AND NOT pg_is_in_recovery() AS superuser,
        (
            SELECT jsonb_object_agg(t.tgname, t.tgenabled)
            FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        ) AS triggers
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT array_position(current_setting('{_PATH}')::name[], n.nspname) AS place
    ) AS p
    WHERE c.relname = ANY (%(tables)s || %(views)s)
) AS f
WHERE (f.name = ANY (%(tables)s) AND f.kind IN ('r', 'p', 'v', 'm', 'f')) OR (f.name = ANY (%(views)s) AND f.kind = 'v')
ORDER BY f.reachable, f.usable DESC
"""  # noqa: S608 - constants
_TABLE_KINDS = ("r", "p")
# Making statistics, renaming a schema and making a function are held up by no lock on a table. Only a superuser may lock these.
_CATALOGUES = "LOCK TABLE pg_catalog.pg_statistic_ext, pg_catalog.pg_namespace{functions} IN SHARE MODE{wait}"


class ForeignCodeError(MissionControlError):
    """What was to be read, or called, would run code of another role with the rights of this login."""


@dataclass(frozen=True)
class Relation:
    """A table or view that the catalogue has.

    Attributes:
        kind: pg_class.relkind. What has the name of a table of ours need not be one.
        reachable: a statement that names it without a schema, with the search_path of this login, finds it.
        usable: this login may use its schema.
        readable: this login may read columns of it; the login of the HTTP service may not read them all.
        lock_mode: the strongest lock that this login may take on it, of those that hold up neither readers nor writers.
        superuser: this login may lock catalogues of the server.
        triggers: name and state (pg_trigger.tgenabled) of those on it.
    """

    oid: int
    schema: str
    kind: str
    reachable: bool
    usable: bool
    readable: bool
    lock_mode: str | None
    superuser: bool
    triggers: dict[str, str]

    @property
    def is_table(self) -> bool:
        """Whether it is stored in this database; else the name of a table of ours is a view's, or a foreign table's."""
        return self.kind in _TABLE_KINDS


def found_relations(rows: Iterable[dict[str, Any]]) -> dict[str, Relation]:
    """The relations of the rows of `FIND` by name."""
    return {row.pop("name"): Relation(**{**row, "triggers": row["triggers"] or {}}) for row in rows}


def reachable(rows: Iterable[dict[str, Any]]) -> dict[str, Relation]:
    """Those of them to which names without a schema lead."""
    return {name: found for name, found in found_relations(rows).items() if found.reachable}


def hold(
    relations: Mapping[str, Relation], wait: bool, functions: bool = False, then: str = ""
) -> tuple[str, list[Any]]:
    """The statements that lock tables until the transaction ends and then judge them, with their parameters.

    Its rows are those of `FOREIGN_CODE`: none where all may be read.

    Args:
        relations: the tables.
        wait: whether to wait for locks of others.
        functions: keep functions too from being replaced.
        then: a statement between the locks and the judgement.
    """
    mode = "" if wait else " NOWAIT"
    statements = []
    if any(found.superuser for found in relations.values()):
        more = ", pg_catalog.pg_proc" if functions else ""
        statements.append(_CATALOGUES.format(functions=more, wait=mode))
    for lock in ("ROW EXCLUSIVE", "ACCESS SHARE"):
        names = [
            f"ONLY {quoted(found.schema, name)}"
            for name, found in relations.items()
            if found.is_table and found.lock_mode == lock
        ]
        if names:
            # Doubled, as it is sent with a parameter.
            statements.append(f"LOCK TABLE {', '.join(names)} IN {lock} MODE{mode}".replace("%", "%%"))
    statements += [then] if then else []
    statements.append(f"SELECT pg_catalog.set_config('{SETTING}', %s, true)")
    wanted = relations_json({"schema": found.schema, "name": name} for name, found in relations.items())
    return "; ".join([*statements, FOREIGN_CODE_OF_READING]), [wanted]


def named(sql: str, relations: Mapping[str, Relation | None], parameters: Parameters = None) -> str:
    """The statement with the names, with their schema, in the places of `{name}`.

    What is not there is left without a schema, so that the server says so.
    """
    for name, found in relations.items():
        full = f'"{name}"' if found is None else quoted(found.schema, name)
        sql = sql.replace(f"{{{name}}}", full.replace("%", "%%") if parameters else full)
    return sql


def not_read(name: str, problem: str) -> str:
    """The sentence about a table that is no ordinary one."""
    return f"{name} {problem}; it was not read, since that could run code of others with the rights of this login."


def not_called(function: str) -> str:
    """The sentence about a function that is not the one of the schema."""
    return (
        f"There is no function {function} that belongs to the owner of the audit log and runs as that role, so none was called: "
        "apply the schema again."
    )


class _DoneError(Exception):
    """Leaves the transaction so that it is rolled back."""


class OwnTables:
    """Tables that have been found to be ordinary ones, in a read-only transaction that is rolled back at its end."""

    def __init__(self, transaction: Reader, relations: Mapping[str, Relation | None]) -> None:
        self.transaction = transaction
        self.relations = relations

    def rows(self, sql: str, parameters: Parameters = None) -> list[dict[str, Any]]:
        """All rows of a statement, in which `{name}` stands for a table; read it by FROM ONLY."""
        return self.transaction.query_many(named(sql, self.relations, parameters), parameters)

    def call(self, function: str, types: str, sql: str, parameters: Parameters) -> dict[str, Any] | None:
        """The row of a statement that calls a function, in which `{function}` stands for its name.

        What belongs to the owner of the audit log and runs as that role cannot become this login: going back to it is
        refused within such a function, and what it has left behind is undone.

        Args:
            function, types: name and argument types, as PostgreSQL lists them in `pg_proc.proargtypes`.
            sql: the statement. Each argument has its type written out.

        Raises:
            ForeignCodeError: there is no such function, or it would run with the rights of this login.
        """
        schemas = {found.schema for found in self.relations.values() if found is not None}
        schema = min(schemas) if len(schemas) == 1 else ""
        if not self.transaction.query_many(TRUSTED, [schema, function, types]):
            raise ForeignCodeError(not_called(function))
        self.transaction.query("SAVEPOINT mission_control_call")
        name = quoted(schema, function).replace("%", "%%")
        row = self.transaction.query_one(sql.replace("{function}", name), parameters)
        self.transaction.query("ROLLBACK TO SAVEPOINT mission_control_call")
        return row


# Parameters: schema, name and types of arguments of a function. No row where it is not the audit owner's own, run as that role.
TRUSTED = """
SELECT p.oid
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = %s AND p.proname = %s AND p.proargtypes = %s::oidvector AND p.prosecdef AND p.prokind = 'f' AND (
    SELECT count(*) FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = p.pronamespace AND c.relname IN ('audit_entries', 'audit_links', 'audit_head') AND c.relowner = p.proowner
) = 3
"""


@contextlib.contextmanager
def own_tables(
    executor: Any, *names: str, isolation: str | None = None, functions: bool = False
) -> Generator[OwnTables, None, None]:
    """A read-only transaction in which these tables may be read.

    Args:
        executor: a client, or a transaction, in which it is a nested one.
        names: of the tables.
        isolation: of a client's transaction.
        functions: whether a function will be called.

    Raises:
        ForeignCodeError: one of them is no ordinary table; nothing was read.
        QueryError: among others where a lock was not to be had.
    """
    parameters = {"tables": list(names), "views": []}
    with contextlib.suppress(_DoneError), _transaction(executor, None) as transaction:
        transaction.query(BIND)
        relations = reachable(transaction.query_many(FIND, parameters))
        # In its own transaction, as a snapshot that is older than the locks would not show what was changed before them.
        raise _DoneError
    with contextlib.suppress(_DoneError), _transaction(executor, isolation) as transaction:
        transaction.query(f"SET LOCAL search_path = {BOUND_PATH}")
        transaction.query("SET TRANSACTION READ ONLY")
        if relations:
            sql, values = hold(relations, wait=True, functions=functions)
            for row in transaction.query_many(sql, values):
                raise ForeignCodeError(not_read(row["name"], row["problem"]))
        yield OwnTables(transaction, {name: relations.get(name) for name in names})
        raise _DoneError


def _transaction(executor: Any, isolation: str | None) -> AbstractContextManager[Reader]:
    is_client = hasattr(executor, "borrow")
    begun = executor.transaction(isolation, read_only=True) if is_client else executor.transaction()
    return cast("AbstractContextManager[Reader]", begun)
