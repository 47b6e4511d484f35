# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a list of statements in one transaction, for the module query: all or none, with rows that JSON can hold."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..client.transaction import Transaction, begin_statement
from ..database.driver import (
    DRIVER_ERRORS,
    PARAMETER_ERRORS,
    adapt_parameters,
    parameter_error,
    refuse_surplus,
    text_cursor,
    translate_error,
)
from ..database.results import name_twice
from ..database.session import Session
from ..errors import MissionControlError, QueryError, RowCountError
from ..schema.sql_text import split_statements
from .changes import WrittenRows
from .json_values import SCALARS, TEXTS, array_convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Callable, Literal, Union

    from ..database.settings import Settings

    Fetch = Literal["all", "one", "value", "none"]
    Parameters = Union[Sequence[Any], Mapping[str, Any], None]

# The forms in which json_values reads dates, intervals, binary and floating-point values; for this transaction alone.
OUTPUT_STYLE = (
    "SELECT pg_catalog.set_config(name, value, true) FROM (VALUES ('datestyle', 'ISO'), ('intervalstyle', 'iso_8601'),"
    " ('bytea_output', 'hex'), ('extra_float_digits', '1')) AS style (name, value)"
)
_ARRAY_TYPES = (
    "SELECT t.oid, CASE WHEN e.typbasetype OPERATOR(pg_catalog.<>) '0'::pg_catalog.oid THEN e.typbasetype ELSE e.oid END AS element,"
    " t.typdelim AS delimiter FROM pg_catalog.pg_type AS t"
    " JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) t.typelem"
    " WHERE t.oid OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.oid[])"
    " AND t.typoutput OPERATOR(pg_catalog.=) 'pg_catalog.array_out'::pg_catalog.regproc"
)
_NOT_IN_A_TRANSACTION = "25001"
# A shorter text could be a word of any message.
_SHORTEST_MASKED = 4


class StatementTextError(MissionControlError, ValueError):
    """The text of a statement cannot be run as it is, found before anything was run."""


class StatementError(MissionControlError):
    """A statement failed, and the transaction was rolled back.

    Attributes:
        number: of the statement, from 1; None where the commit failed.
        sqlstate: PostgreSQL's code; None where it did not come from the server.
        constraint: the constraint that PostgreSQL names, None where it names none.
    """

    def __init__(self, message: str, number: int | None, error: MissionControlError) -> None:
        super().__init__(message)
        self.number = number
        self.sqlstate: str | None = getattr(error, "sqlstate", None)
        self.constraint: str | None = getattr(error, "constraint", None)


@dataclass(frozen=True)
class Statement:
    """One statement with its parameters: a list for `%s`, a mapping for `%(name)s`, None for none."""

    text: str
    parameters: Parameters = None


@dataclass(frozen=True)
class StatementResult:
    """What a statement gave.

    Attributes:
        columns: names, in the order of the statement.
        rows: dicts of what JSON can hold; empty where rows were not wanted.
        row_count: rows returned, or changed where none are returned; -1 where the server does not say.
        status: the server's word for what it did, such as `INSERT 0 1`.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    row_count: int
    status: str


@dataclass(frozen=True)
class Outcome:
    """What a list of statements did.

    Attributes:
        changed: something was written, or would have been in a dry run.
        results: one for each statement.
    """

    changed: bool
    results: tuple[StatementResult, ...]


def check_texts(statements: Sequence[Statement]) -> None:
    """Refuse what is not one statement, or would end the transaction.

    Raises:
        StatementTextError: a sentence that names the statement.
    """
    if not statements:
        raise StatementTextError("There is no statement to run: queries is empty.")
    for number, statement in enumerate(statements, start=1):
        name = _name(number, len(statements))
        found = split_statements(statement.text)
        if not found:
            raise StatementTextError(f"{name} holds no SQL: write one, or leave it out.")
        if len(found) > 1:
            raise StatementTextError(
                f"{name} holds {len(found)} statements, the second on line {found[1].line}: give them one by one in queries, "
                "which runs them in one transaction."
            )
        if found[0].backslash:
            raise StatementTextError(
                f"{name} holds a backslash command of psql, which only psql knows: write it in SQL."
            )
        if found[0].controls_transaction:
            raise StatementTextError(
                f"{name} controls the transaction ({' '.join(found[0].words[:2])}): leave it out, all statements of a task are "
                "one transaction already."
            )


def run_statements(
    settings: Settings,
    statements: Sequence[Statement],
    fetch: Fetch = "all",
    read_only: bool = False,
    keep: bool = True,
) -> Outcome:
    """Run the statements in one transaction on a connection of its own.

    Args:
        settings: of the connection.
        statements: at least one.
        fetch: `all` rows; `one` row or `value` at most, more are an error; `none`.
        read_only: whether the server refuses to write.
        keep: commit at the end; otherwise roll back.

    Raises:
        StatementTextError: a text was refused, nothing was run.
        ConnectError: there is no connection.
        StatementError: a statement or the commit failed, nothing was kept.
    """
    check_texts(statements)
    session = Session(settings)
    try:
        return _run(session, settings, statements, fetch, read_only, keep)
    finally:
        session.close()


class _DryRunError(Exception):
    """Leaves the transaction so that it is rolled back."""


def _run(
    session: Session, settings: Settings, statements: Sequence[Statement], fetch: Fetch, read_only: bool, keep: bool
) -> Outcome:
    def begin(command: str) -> Session:
        session.command(command)
        return session

    changed = False
    results: list[StatementResult] = []
    problem: StatementError | None = None
    try:
        with (
            contextlib.suppress(_DryRunError),
            Transaction(
                begin, lambda _session: None, begin_statement(None, read_only, False), settings.llm_bodies
            ) as transaction,
        ):
            transaction.query(OUTPUT_STYLE)
            written = WrittenRows(transaction)
            for statement in statements:
                results.append(_result(session, settings, statement, fetch))
            changed = written.since_then([statement.text for statement in statements])
            if not keep:
                raise _DryRunError
    except MissionControlError as error:
        number = len(results) + 1 if len(results) < len(statements) else None
        problem = _failure(error, statements, number)
    if problem is not None:
        raise problem
    return Outcome(changed, tuple(results))


def _result(session: Session, settings: Settings, statement: Statement, fetch: Fetch) -> StatementResult:
    """Run one statement. Raises errors of the library that hold no parameters but those that PostgreSQL repeats."""
    cursor = text_cursor(session.connection)
    problem: MissionControlError | None = None
    rows: list[tuple[Any, ...]] = []
    try:
        parameters = adapt_parameters(statement.parameters)
        refuse_surplus(statement.text, parameters)
        cursor.execute(statement.text, parameters)
        if cursor.description is not None and fetch != "none":
            rows = cursor.fetchall()
    except DRIVER_ERRORS as error:
        problem = translate_error(error, session.connection, settings, statement.text)
    except UnicodeDecodeError:
        problem = QueryError("22021", "a value of the result is not UTF-8 text", statement.text)
    except PARAMETER_ERRORS as error:
        problem = parameter_error(error, statement.text, statement.parameters)
    if problem is not None:
        raise problem
    description = cursor.description or ()
    columns = tuple([column.name for column in description])
    result = StatementResult(columns, [], cursor.rowcount, str(cursor.statusmessage))
    if fetch != "none":
        _check_shape(result, fetch)
        converts = column_converts(session, [column.type_code for column in description])
        for row in rows:
            values = [None if value is None else convert(value) for value, convert in zip(row, converts)]
            result.rows.append(dict(zip(columns, values)))
    return result


def _check_shape(result: StatementResult, fetch: Fetch) -> None:
    if len(set(result.columns)) < len(result.columns):
        raise RowCountError(name_twice(result.columns))
    if not result.columns:
        return
    if fetch in ("one", "value") and result.row_count > 1:
        raise RowCountError(f"The result has {result.row_count} rows where fetch {fetch} takes one at most.")
    if fetch == "value" and len(result.columns) > 1:
        raise RowCountError(f"The result has {len(result.columns)} columns where fetch value takes one.")


def column_converts(session: Session, types: Sequence[int]) -> list[Callable[[str], Any]]:
    """The conversion of each column; only the server knows which of the less common types are arrays."""
    unknown = sorted({each for each in types if each not in SCALARS and each not in TEXTS})
    arrays = (
        {
            row["oid"]: array_convert(row["element"], row["delimiter"])
            for row in session.query(_ARRAY_TYPES, [unknown]).rows
        }
        if unknown
        else {}
    )
    return [SCALARS.get(each) or arrays.get(each) or str for each in types]


def _failure(error: MissionControlError, statements: Sequence[Statement], number: int | None) -> StatementError:
    reason = _without_parameters(str(error), statements).rstrip(".")
    if number is None:
        return StatementError(f"The transaction could not be committed: {reason}.", None, error)
    if getattr(error, "sqlstate", None) == _NOT_IN_A_TRANSACTION:
        reason += (
            "; this module always uses a transaction, so run the statement by itself with "
            "community.postgresql.postgresql_query and autocommit"
        )
    name = _name(number, len(statements))
    kept = " Nothing of the list was kept." if len(statements) > 1 else ""
    return StatementError(f"{name} failed: {reason}.{kept}", number, error)


def _name(number: int, count: int) -> str:
    return "The statement" if count == 1 else f"Statement {number} of {count}"


def _without_parameters(text: str, statements: Sequence[Statement]) -> str:
    """PostgreSQL repeats a value that it could not read. It may be a secret."""
    secrets = {
        value for statement in statements for value in _texts(statement.parameters) if len(value) >= _SHORTEST_MASKED
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "********")
    return text


def _texts(value: Any) -> list[str]:
    """The texts anywhere within a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in _texts(each)]
    return []
