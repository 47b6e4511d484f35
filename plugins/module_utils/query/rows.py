# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one statement for the command line, and read its rows as text or as what JSON can hold, as many as there may be."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..client.transaction import begin_statement
from ..database.driver import (
    DRIVER_ERRORS,
    PARAMETER_ERRORS,
    adapt_parameters,
    parameter_error,
    text_cursor,
    translate_error,
)
from ..database.results import name_twice
from ..errors import MissionControlError, QueryError, RowCountError
from ..schema.sql_text import split_statements
from .statements import OUTPUT_STYLE, StatementTextError, column_converts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from typing import Callable, Optional

    from ..client.client import Client
    from ..database.session import Session
    from ..database.settings import Settings

    TextRow = tuple[Optional[str], ...]

BATCH = 2000
_CURSOR = "mission_control_rows"
# With these words begins what a cursor of the server can go over.
_READING = ("SELECT", "VALUES", "TABLE", "WITH")
# OIDs of types, fixed in PostgreSQL's catalogue.
_NUMBERS = frozenset((20, 21, 23, 26, 700, 701, 790, 1700))
_TIMES_AND_UUIDS = frozenset((1082, 1083, 1114, 1184, 1266, 2950))


@dataclass(frozen=True)
class Rows:
    """What a statement gives.

    Attributes:
        columns: names in the order of the statement; empty for one that gives no rows.
        rows: their values in the text in which the server sent them, None for NULL; to be gone over once.
        numeric: for each column whether it holds numbers.
        whole: for each column whether its values are only read as a whole: numbers, dates, times and UUIDs.
        converts: for each column the function that makes of a text what JSON can hold.
        row_count: rows that were changed by a statement that gives none; -1 if the server does not say.
        status: the server's word for what it did, such as `UPDATE 3`.
    """

    columns: tuple[str, ...]
    rows: Iterator[TextRow]
    numeric: tuple[bool, ...]
    whole: tuple[bool, ...]
    converts: Sequence[Callable[[str], Any]]
    row_count: int
    status: str


def check_text(sql: str) -> None:
    """Refuse what is not one statement, or would end the transaction in which it is run.

    Raises:
        StatementTextError: a sentence that says what it is instead.
    """
    found = split_statements(sql)
    if not found:
        raise StatementTextError("There is no SQL to run: give a statement, or write it to standard input.")
    if len(found) > 1:
        raise StatementTextError(
            f"There are {len(found)} statements, the second on line {found[1].line}: give one, a query is one statement."
        )
    if found[0].backslash:
        raise StatementTextError("There is a backslash command of psql, which only psql knows: write it in SQL.")
    if found[0].controls_transaction:
        raise StatementTextError(
            f"The statement controls the transaction ({' '.join(found[0].words[:2])}), of which there is one already: leave it out."
        )


@contextlib.contextmanager
def run_query(
    client: Client,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    write: bool = False,
    unique_names: bool = False,
) -> Generator[Rows, None, None]:
    """Run a statement in a transaction of its own. What it wrote is committed when the block begins.

    Args:
        client: what to run it on.
        sql: one statement, with placeholders %(name)s where there are parameters.
        parameters: their values.
        write: whether it may write; otherwise the server refuses that, and large results are fetched in parts.
        unique_names: whether each column must have a name of its own.

    Raises:
        StatementTextError: it is not one statement; nothing was run.
        RowCountError: two columns have the same name; nothing was written.
        QueryError and the like: the server refused it.
    """
    check_text(sql)
    with client.borrow(client.settings.pool_timeout) as session:
        session.command(begin_statement(None, not write, False))
        try:
            session.query(OUTPUT_STYLE)
            rows = _rows(session, client.settings, sql, parameters, write)
            if unique_names and len(set(rows.columns)) < len(rows.columns):
                raise RowCountError(name_twice(rows.columns))
            if write:
                # Before anything is printed: whoever sees a row may rely on it, and a broken pipe undoes nothing.
                session.command("COMMIT")
            yield rows
            if not write:
                session.command("ROLLBACK")
        except BaseException:
            with contextlib.suppress(MissionControlError):
                session.command("ROLLBACK")
            raise


def _rows(session: Session, settings: Settings, sql: str, parameters: Mapping[str, Any] | None, write: bool) -> Rows:
    cursor = text_cursor(session.connection)
    words = split_statements(sql)[0].words
    in_parts = not write and words[:1] and words[0] in _READING

    def execute(text: str, values: Mapping[str, Any] | None = None) -> list[TextRow]:
        problem: MissionControlError | None = None
        try:
            cursor.execute(text, adapt_parameters(values))
            return [] if cursor.description is None else list(cursor.fetchall())
        except DRIVER_ERRORS as error:
            problem = translate_error(error, session.connection, settings, sql)
        except UnicodeDecodeError:
            problem = QueryError("22021", "a value of the result is not UTF-8 text", sql)
        except PARAMETER_ERRORS as error:
            problem = parameter_error(error, sql, values)
        # Not from the handler: the driver's error quotes the statement with its parameters.
        raise problem

    def fetched(first: list[TextRow]) -> Iterator[TextRow]:
        rows = first
        while rows:
            yield from rows
            rows = execute(fetch) if len(rows) == BATCH else []

    fetch = f"FETCH FORWARD {BATCH} FROM {_CURSOR}"
    if in_parts:
        execute(f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {sql}", parameters)
        first = execute(fetch)
    else:
        first = execute(sql, parameters)
    description = cursor.description or ()
    columns = tuple([column.name for column in description])
    types = [column.type_code for column in description]
    rows = fetched(first) if in_parts else iter(first)
    numeric = tuple([each in _NUMBERS for each in types])
    whole = tuple([each in _NUMBERS | _TIMES_AND_UUIDS for each in types])
    converts = column_converts(session, types)
    return Rows(columns, rows, numeric, whole, converts, cursor.rowcount, str(cursor.statusmessage))
