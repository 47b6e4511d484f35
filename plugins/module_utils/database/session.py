# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One connection to the server, and what is known about it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import socket
from _thread import get_ident
from logging import DEBUG, getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable

from ..errors import ConnectionLostError, MissionControlError, RowCountError
from . import interruption
from .driver import (
    DRIVER_ERRORS,
    IDLE,
    PARAMETER_ERRORS,
    RESULT_ERRORS,
    adapt_parameters,
    open_connection,
    parameter_error,
    refuse_surplus,
    result_error,
    translate_error,
)
from .interruption import begin_statement, end_statement
from .results import QueryResult, dict_rows, model_rows, name_twice

if TYPE_CHECKING:
    from .settings import Settings

logger = getLogger("mission_control")
# A cursor holds the last result until its next statement; after a large one it is better let go.
_ROWS_HELD = 200
_LIFETIME_JITTER = 0.1
_new = object.__new__
_BEGINS = re.compile(r"\s*(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b", re.IGNORECASE)


class Session:
    """A connection of the pool. It is used by one caller at a time; only `interrupt` may come from another thread.

    Attributes:
        connection: psycopg2's, always in autocommit mode.
        check_at: when a mere look at the socket is no longer enough before the next use (monotonic).
        expires_at: when it is to be replaced.
        idle_since: the end of its last use.
        lost: a statement found it broken, whatever libpq believes.
        orphaned: it belongs to the parent process.
        holder, taken_at: the thread to which the pool gave it last, and when (monotonic).
        poll: `poll(0)` is not empty if something came from the server that was not asked, which mostly is the end.
        status: whether it is in a transaction, and UNKNOWN when it is not connected. Like `poll` not wrapped in a method
            of Python's, as both are called for each query.
    """

    __slots__ = (
        "_cursor",
        "_local",
        "_settings",
        "_slow",
        "check_at",
        "connection",
        "expires_at",
        "holder",
        "idle_since",
        "lost",
        "orphaned",
        "poll",
        "status",
        "taken_at",
    )

    def __init__(self, settings: Settings) -> None:
        self.connection, self._local = open_connection(settings)
        self._settings = settings
        self._slow = settings.slow_query
        self._cursor = self.connection.cursor()
        self.status: Callable[[], int] = self.connection.get_transaction_status
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLIN)
        self.poll = poller.poll
        now = monotonic()
        jitter = 1 - _LIFETIME_JITTER * random.random()  # noqa: S311 - spreads load, guards nothing
        self.expires_at = now + settings.pool_max_lifetime * jitter
        self.idle_since = now
        self.check_at = now
        self.orphaned = False
        self.lost = False
        self.holder = 0
        self.taken_at = now
        self.rest(now)

    def rest(self, now: float) -> None:
        """Note that it is idle from now on."""
        self.idle_since = now
        check_at = now + self._settings.pool_check_after
        self.check_at = check_at if check_at < self.expires_at else self.expires_at

    def answers(self) -> bool:
        """Ask the server a question. False if there is no answer, or if it is time for another connection."""
        if monotonic() >= self.expires_at:
            return False
        try:
            self._cursor.execute("SELECT 1")
        except DRIVER_ERRORS:
            return False
        return self.status() == IDLE

    def query(
        self,
        sql: str,
        parameters: Any = None,
        model: Callable[..., Any] | None = None,
        ready: bytes | None = None,
    ) -> QueryResult[Any]:
        """Execute one statement and fetch all its rows. `ready`: the same statement with its parameters in place."""
        cursor = self._cursor
        if self._local and self.status() == IDLE and not _BEGINS.match(str(sql)):
            return self._query_in_transaction(sql, parameters, model, ready)
        problem: MissionControlError | None = None
        watched: int | None = None
        began = monotonic()
        try:
            adapted = adapt_parameters(parameters) if parameters else None
            if adapted is not None:
                refuse_surplus(sql, adapted)
            if get_ident() == interruption.main_thread:
                watched = begin_statement(self, began)
            cursor.execute(sql if ready is None else ready, adapted)
        except DRIVER_ERRORS as error:
            problem = translate_error(error, self.connection, self._settings, sql)
        except PARAMETER_ERRORS as error:
            problem = parameter_error(error, sql, parameters)
        finally:
            if watched is not None:
                try:
                    end_statement(watched)
                except BaseException:
                    # A signal that came just now.
                    end_statement(watched)
                    raise
        elapsed = monotonic() - began
        if problem is not None:
            self._log_failure(sql, elapsed, problem)
            # Closed when it is given back: until then another thread may be preparing parameters with it.
            self.lost = self.lost or isinstance(problem, ConnectionLostError)
            # Not from the handler: the driver's error quotes the statement with its parameters, and would be shown too.
            raise problem
        rows: list[Any]
        row_count = cursor.rowcount
        description = cursor.description
        if description is None:
            columns: tuple[str, ...] = ()
            rows = []
        else:
            columns = tuple([column.name for column in description])
            if len(columns) > 1 and len(set(columns)) < len(columns):
                raise RowCountError(name_twice(columns))
            try:
                tuples = cursor.fetchall()
            except RESULT_ERRORS as error:
                problem = result_error(error, cursor, sql)
            if problem is not None:
                raise problem
            rows = dict_rows(columns, tuples) if model is None else model_rows(model, columns, tuples)
            if row_count > _ROWS_HELD:
                self._cursor = self.connection.cursor()
        if elapsed >= self._slow or logger.isEnabledFor(DEBUG):
            self._log(sql, elapsed, row_count)
        # As QueryResult(...) would, in a third of the time.
        result: QueryResult[Any] = _new(QueryResult)
        result.rows = rows
        result.row_count = row_count
        result.columns = columns
        return result

    def _query_in_transaction(self, *arguments: Any) -> QueryResult[Any]:
        """One statement with the settings of the session, where a pooler hands each transaction to any connection."""
        self.command("BEGIN")
        try:
            result = self.query(*arguments)
        except BaseException:
            with contextlib.suppress(MissionControlError):
                self.command("ROLLBACK")
            raise
        self.command("COMMIT")
        return result

    def command(self, sql: str) -> str:
        """Execute a statement of the library's own, and return the server's command tag."""
        if self._local and sql.startswith("BEGIN"):
            begin, semicolon, rest = sql.partition(";")
            sql = f"{begin}; {self._local}{semicolon}{rest}"
        self.query(sql)
        return str(self._cursor.statusmessage)

    def mogrify(self, sql: str, parameters: Any) -> bytes:
        """The statement with its parameters in place, as it would be sent."""
        try:
            return bytes(self._cursor.mogrify(sql, adapt_parameters(parameters)))
        except PARAMETER_ERRORS + DRIVER_ERRORS as error:
            problem = parameter_error(error, sql, parameters)
        raise problem

    def _log(self, sql: str, elapsed: float, row_count: int) -> None:
        """The text of the statement as the program wrote it; never its parameters."""
        text = self._settings.redact(sql)
        if elapsed >= self._slow:
            logger.warning("Slow statement: %.1f ms, %d rows: %s", elapsed * 1000, row_count, text)
        else:
            logger.debug("%.1f ms, %d rows: %s", elapsed * 1000, row_count, text)

    def _log_failure(self, sql: str, elapsed: float, problem: MissionControlError) -> None:
        # Not the message: it may quote a value.
        code = getattr(problem, "sqlstate", type(problem).__name__)
        logger.debug("Failed after %.1f ms (%s): %s", elapsed * 1000, code, self._settings.redact(sql))

    def close(self) -> None:
        if not self.orphaned:
            with contextlib.suppress(*DRIVER_ERRORS):
                self.connection.close()

    def interrupt(self) -> None:
        """Cancel what runs on it; called from another thread. May block as long as the network does."""
        with contextlib.suppress(*DRIVER_ERRORS):
            self.connection.cancel()

    def cut(self) -> None:
        """End the connection under whoever is using it, without waiting for psycopg2's lock on it."""
        with contextlib.suppress(OSError, *DRIVER_ERRORS):
            descriptor = os.dup(self.connection.fileno())
            with socket.socket(fileno=descriptor) as line:
                line.shutdown(socket.SHUT_RDWR)

    def orphan(self) -> None:
        """In a forked child: let go of the parent's connection so that nothing done here can reach its server.

        Its file descriptor becomes one end of a line that nobody listens to. Whatever the child still does with the
        connection, closing it included, ends there.
        """
        self.orphaned = True
        self.expires_at = 0.0
        with contextlib.suppress(OSError, *DRIVER_ERRORS):
            dead_end, other_end = socket.socketpair()
            other_end.close()
            with dead_end:
                os.dup2(dead_end.fileno(), self.connection.fileno(), inheritable=False)
