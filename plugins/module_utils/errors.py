# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can go wrong between a program and its database, in few classes. Every message is a sentence; none holds a password."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class MissionControlError(Exception):
    """Base of every error that the client library raises on purpose."""


class SettingsError(MissionControlError, ValueError):
    """A setting is wrong. The message names it and where it came from."""


class DriverError(MissionControlError):
    """psycopg2 is not installed where this runs."""


class ConnectError(MissionControlError):
    """The server could not be reached, or refused the login."""


class ConnectionLostError(MissionControlError):
    """The connection broke under a statement, or was not waited for to the end.

    Attributes:
        in_commit: it broke during COMMIT, so nobody knows whether the transaction took place; or the wait for a synchronous standby was
            cut short, of a COMMIT or of a single statement, which is durable on one server and perhaps on no other. Otherwise a
            transaction was rolled back by the server; a single statement outside of one may have taken place.
    """

    def __init__(self, message: str, in_commit: bool = False) -> None:
        super().__init__(message)
        self.in_commit = in_commit


class PoolError(MissionControlError):
    """Base of the errors of a caller that got no connection."""


class PoolTimeoutError(PoolError):
    """No connection became free, or could be opened, within the time-out."""


class PoolFullError(PoolError):
    """So many callers wait for a connection already that another one is turned away at once."""


class PoolClosedError(PoolError):
    """The client was disconnected."""


class ParameterError(MissionControlError, ValueError):
    """Parameters do not fit the placeholders, or one has a type or a character that cannot be sent."""


class RowCountError(MissionControlError):
    """There are more rows than the caller asked for, or several columns of one name. A write that gave them has taken place."""


class ResultError(MissionControlError, ValueError):
    """The server sent a value that Python has no form for. A write that gave it has taken place."""


class TransactionError(MissionControlError):
    """A transaction is used against its rules, or did not end as the program supposes."""


class ToolArgumentsError(MissionControlError, ValueError):
    """Arguments do not fit the schema of a tool; nothing was asked for.

    Attributes:
        tool: its name.
        problems: what is wrong, each without a full stop and without a value that the caller gave.
    """

    def __init__(self, tool: str, problems: list[str]) -> None:
        super().__init__(
            f"The arguments of {tool[:100]} are wrong: {'; '.join(each.rstrip('.') for each in problems)}."
        )
        self.tool = tool
        self.problems = problems


class ToolCallError(MissionControlError):
    """A call of a tool did not give its result, or there is no such call.

    Attributes:
        call_id: its identifier (a UUID); None for a call that was not stored.
        status: its status; None where there is no such call.
    """

    def __init__(self, message: str, call_id: UUID | None, status: str | None) -> None:
        super().__init__(message)
        self.call_id = call_id
        self.status = status


class QueryError(MissionControlError):
    """The server refused a statement.

    Attributes:
        sqlstate: PostgreSQL's five-character code.
        reason: the server's message alone, in the server's language.
        detail, hint: what the server adds; a detail may quote values of the row.
        constraint, table, column: what the server names, None where it names none.
        sql: the statement, without its parameters.
    """

    def __init__(
        self,
        sqlstate: str,
        reason: str,
        sql: str,
        detail: str | None = None,
        hint: str | None = None,
        constraint: str | None = None,
        table: str | None = None,
        column: str | None = None,
    ) -> None:
        named = f", constraint {constraint}" if constraint else ""
        more = [each.rstrip(".") for each in (detail, hint) if each]
        text = ". ".join([reason.rstrip(".") if more else reason, *more])
        super().__init__(f"{text} (SQLSTATE {sqlstate}{named})")
        self.sqlstate = sqlstate
        self.reason = reason
        self.sql = sql
        self.detail = detail
        self.hint = hint
        self.constraint = constraint
        self.table = table
        self.column = column

    @property
    def is_missing_reference(self) -> bool:
        """Whether a row refers to one that is not there."""
        return self.sqlstate == "23503"

    @property
    def is_of_older_schema(self) -> bool:
        """Whether there is no such table, column or function, as where migrations are pending."""
        return self.sqlstate in ("42P01", "42703", "42883")

    @property
    def is_of_content(self) -> bool:
        """Whether the server refuses what it was given, and would again: data, constraints, limits. A row that is missing may come."""
        return self.sqlstate[:2] in ("22", "23", "54") and not self.is_missing_reference


class ConstraintError(QueryError):
    """A row breaks a constraint (SQLSTATE class 23)."""


class SerializationError(QueryError):
    """The transaction lost against another one (40001, 40P01); the whole of it may be tried again."""


class StatementCanceledError(QueryError):
    """The statement took longer than its time-out, or somebody cancelled it (57014)."""


class LockTimeoutError(QueryError):
    """A lock was not to be had within the time-out (55P03)."""


def place_of(error: BaseException) -> str:
    """Where an error was raised, as " in FILE line NUMBER"; empty where that is not known.

    For a fault of ours or of a library: what it says may hold anything, where it is holds no secret.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" in {os.path.basename(trace.tb_frame.f_code.co_filename)} line {trace.tb_lineno}" if trace else ""


def query_error_class(sqlstate: str) -> type[QueryError]:
    if sqlstate.startswith("23"):
        return ConstraintError
    return _BY_SQLSTATE.get(sqlstate, QueryError)


_BY_SQLSTATE = {
    "40001": SerializationError,
    "40P01": SerializationError,
    "55P03": LockTimeoutError,
    "57014": StatementCanceledError,
}
