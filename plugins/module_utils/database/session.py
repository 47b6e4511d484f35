# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One connection to the server, and what is known about it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import select
import socket
import threading
from _thread import get_ident
from logging import DEBUG, getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ..errors import ConnectError, ConnectionLostError, MissionControlError, RowCountError
from . import interruption
from .driver import (
    DRIVER_ERRORS,
    IDLE,
    PARAMETER_ERRORS,
    RESULT_ERRORS,
    Canceller,
    adapt_parameters,
    is_cancelled_wait,
    is_read_only,
    open_connection,
    parameter_error,
    refuse_surplus,
    result_error,
    translate_error,
)
from .interruption import begin_statement, end_statement
from .overdue import begin_wait, end_wait
from .results import QueryResult, dict_rows, model_rows, name_twice

if TYPE_CHECKING:
    from .settings import Settings

logger = getLogger("mission_control")
# A cursor holds the last result until its next statement; after a large one it is better let go.
_ROWS_HELD = 200
_LIFETIME_JITTER = 0.1
_new = object.__new__
_BEGINS = re.compile(r"\s*(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_COMMIT = "COMMIT"
_NEVER = float("inf")
_READ_ONLY = "25006"
# What a server reports of itself when it takes no writes any more, by which server is wanted.
_UNWANTED = {"read-write": ("in_hot_standby", "default_transaction_read_only"), "primary": ("in_hot_standby",)}
# What libpq says of such a server, and where the setting of a login comes from.
_NO_WRITES = "session is read-only"
_OF_LOGIN = ("user", "database user", "database")
# The server shuts down, has crashed, or takes no calls yet.
_GOING = ("57P01", "57P02", "57P03")
# Logins that have got a read-write server.
_writers: set[tuple[Any, ...]] = set()
_counting = threading.Lock()


def _opened(settings: Settings) -> tuple[Any, str, Settings]:
    """A connection, as of `open_connection`, and the settings that it has.

    libpq finds no read-write server for a login that is read-only by itself: for that one it is the primary.
    """
    login = (settings.host, settings.port, settings.user, settings.database)
    failure: ConnectError
    try:
        opened = open_connection(settings)
        if settings.wanted_server == "read-write":
            _writers.add(login)
        return (*opened, settings)
    except ConnectError as error:
        # It says the same of a standby, and while a primary is looked for no time is to be lost.
        if settings.wanted_server != "read-write" or login in _writers or _NO_WRITES not in str(error):
            raise
        failure = error
    settings = dataclasses.replace(settings, target_session_attrs="primary")
    try:
        connection, local = open_connection(settings)
    except ConnectError:
        connection = None
    if connection is None:
        raise failure
    with connection.cursor() as cursor:
        cursor.execute("SELECT source FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'")
        ((source,),) = cursor.fetchall()
    if source in _OF_LOGIN:
        return connection, local, settings
    # The server is, which may be an old primary that was fenced.
    connection.close()
    raise failure


class Session:
    """A connection of the pool. It is used by one caller at a time; only `interrupt` may come from another thread.

    Attributes:
        connection: psycopg2's, always in autocommit mode.
        settings: those it was opened with; other ones than were given where the login is read-only by itself.
        server, backend_pid: which host and port of several it is on, and its process there.
        check_at: when a mere look at the socket is no longer enough before the next use (monotonic).
        expires_at: when it is to be replaced.
        idle_since: the end of its last use.
        lost: a statement found it broken, whatever libpq believes, or it is not to be used again.
        silent: it was cut as an answer was overdue.
        number, overdue_at, asks_first: of the statement that `overdue` watches over: which one it is, when its answer is overdue
            (monotonic), and whether the server is asked before the connection is cut.
        orphaned: it belongs to the parent process.
        holder, taken_at: the thread to which the pool gave it last, and when (monotonic).
        poll: `poll(0)` is not empty if something came from the server that was not asked, which mostly is the end.
        status: whether it is in a transaction, and UNKNOWN when it is not connected. Like `poll` not wrapped in a method
            of Python's, as both are called for each query.
    """

    __slots__ = (
        "_beginning",
        "_by_signal",
        "_cancel",
        "_cancels",
        "_commit_timeout",
        "_cursor",
        "_interrupted",
        "_local",
        "_notices",
        "_patience",
        "_settings",
        "_slow",
        "_unwanted",
        "asks_first",
        "backend_pid",
        "check_at",
        "connection",
        "expires_at",
        "holder",
        "idle_since",
        "lost",
        "number",
        "orphaned",
        "overdue_at",
        "poll",
        "server",
        "settings",
        "silent",
        "status",
        "taken_at",
    )

    def __init__(self, settings: Settings) -> None:
        self.connection, self._local, settings = _opened(settings)
        self._settings = self.settings = settings
        self._slow = settings.slow_query
        self._cursor = self.connection.cursor()
        # The list to which psycopg2 adds what the server says beside its answers.
        self._notices: list[str] = self.connection.notices
        # Whether the library has interrupted the statement that runs, and requests to cancel it that are under way.
        self._interrupted = False
        self._by_signal = False
        self._cancels = 0
        self._cancel = Canceller(self.connection)
        self._unwanted = _UNWANTED.get(settings.wanted_server or "", ())
        # How long to wait for the end of a transaction, and for an answer that takes the server no time; None: as long as it takes.
        self._commit_timeout = settings.commit_timeout
        self._patience = settings.connect_timeout if settings.has_several_hosts else None
        # Whether what runs is one of the library's own statements that write nothing and that it may send again.
        self._beginning = False
        self.server: tuple[str, int] = (self.connection.info.host, self.connection.info.port)
        self.backend_pid: int = self.connection.info.backend_pid
        self.silent = False
        self.number = 0
        self.overdue_at = _NEVER
        self.asks_first = False
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
        # An interrupt may have come before the end of its last statement was written down.
        self.overdue_at = _NEVER
        check_at = now + self._settings.pool_check_after
        self.check_at = check_at if check_at < self.expires_at else self.expires_at

    def answers(self) -> bool:
        """Ask the server a question. False if there is no answer, or if it is time for another connection."""
        if monotonic() >= self.expires_at:
            return False
        self._expect_soon()
        try:
            self._cursor.execute("SELECT 1")
        except DRIVER_ERRORS:
            return False
        finally:
            self._expected()
        # What a server reports by itself, as that it is to take no writes from now on, was read before the answer.
        return self.status() == IDLE and not is_read_only(self.connection, self._unwanted)

    def begin(self, sql: str) -> None:
        """Begin a transaction; where there is another host, within the time that a server needs at most to say yes."""
        self._expect_soon()
        try:
            self.command(sql)
        finally:
            self._expected()

    def _expect_soon(self) -> None:
        self._beginning = True
        if self._patience is not None:
            self._begin_wait(monotonic() + self._patience, asks_first=False)

    def _expected(self) -> None:
        self._beginning = False
        if self._patience is not None:
            end_wait(self)

    def _begin_wait(self, overdue_at: float, asks_first: bool) -> None:
        self.number += 1
        self.asks_first = asks_first
        self.overdue_at = overdue_at
        begin_wait(self)

    def query(
        self,
        sql: str,
        parameters: Any = None,
        model: Callable[..., Any] | None = None,
        ready: bytes | None = None,
    ) -> QueryResult[Any]:
        """Execute one statement and fetch all its rows. `ready`: the same statement with its parameters in place."""
        cursor = self._cursor
        outside = self.status() == IDLE
        if self._local and outside and not _BEGINS.match(str(sql)):
            return self._query_in_transaction(sql, parameters, model, ready)
        problem: MissionControlError | None = None
        watched: int | None = None
        limited = False
        if self._interrupted:
            self._forget_interruption()
        began = monotonic()
        try:
            adapted = adapt_parameters(parameters) if parameters else None
            if adapted is not None:
                refuse_surplus(sql, adapted)
            if get_ident() == interruption.main_thread:
                watched = begin_statement(self, began)
            if self._commit_timeout is not None and (sql == _COMMIT or (outside and not self._beginning)):
                limited = True
                self._begin_wait(began + self._commit_timeout, outside)
            cursor.execute(sql if ready is None else ready, adapted)
        except DRIVER_ERRORS as error:
            problem = translate_error(error, self.connection, self._settings, sql)
        except PARAMETER_ERRORS as error:
            problem = parameter_error(error, sql, parameters)
        finally:
            if limited:
                end_wait(self)
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
            self.lost = self.lost or self._is_useless_after(problem)
            if isinstance(problem, ConnectionLostError):
                problem = self._what_is_known(problem, sql, outside)
            if self._by_signal:
                self._interrupt_caller(problem)
            # Not from the handler: the driver's error quotes the statement with its parameters, and would be shown too.
            raise problem
        if self._notices or self._interrupted:
            self._refuse_to_call_it_done(sql, outside)
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

    def _is_useless_after(self, problem: MissionControlError) -> bool:
        """Whether the session is not for another caller: it is broken, its server goes, or takes no writes where these are wanted."""
        code = getattr(problem, "sqlstate", None)
        if code == _READ_ONLY:
            # Else the transaction is read-only, and not the server.
            return is_read_only(self.connection, self._unwanted)
        return isinstance(problem, ConnectionLostError) or code in _GOING

    def _what_is_known(self, problem: ConnectionLostError, sql: str, outside: bool) -> ConnectionLostError:
        """The error of a connection that broke, with what became of the statement."""
        settings = self._settings
        if self._beginning:
            return problem
        if any(map(is_cancelled_wait, self._notices)):
            # Whoever ends a session that waits cancels its wait, and so does a server that is shut down.
            return ConnectionLostError(
                f"{problem} What it wrote is durable on this server and perhaps on no other.", True
            )
        if self.silent and sql == _COMMIT:
            return ConnectionLostError(
                f"COMMIT had no answer within {settings.commit_timeout:g} s (commit_timeout), so the connection to the "
                f"{settings.describe()} was cut. Whether the transaction was committed is not known.",
                True,
            )
        if self.silent and outside and self.asks_first:
            return ConnectionLostError(
                f"The statement waited for a synchronous standby for {settings.commit_timeout:g} s (commit_timeout), so the "
                f"connection to the {settings.describe()} was cut. What it wrote is durable on this server and perhaps on no other.",
                True,
            )
        if sql == _COMMIT:
            return ConnectionLostError(f"{problem} Whether the transaction was committed is not known.", True)
        if self._interrupted and outside:
            return ConnectionLostError(f"{problem} Whether the statement took place is not known.", True)
        return problem

    def _refuse_to_call_it_done(self, sql: str, outside: bool) -> None:
        """An error where a statement has ended a transaction, and was cancelled while it may have waited for a synchronous standby.

        The server calls that a success, with a warning. The library knows of its own requests too where warnings are off.
        """
        warned = any(map(is_cancelled_wait, self._notices))
        self._notices.clear()
        cut_short = self._interrupted and (outside or sql == _COMMIT) and self._cursor.statusmessage != "ROLLBACK"
        if not (warned or (cut_short and self.status() == IDLE)):
            return
        self.lost = True
        what = "COMMIT" if sql == _COMMIT else "The statement"
        problem = ConnectionLostError(
            f"{what} was cancelled at the {self._settings.describe()} while it may have waited for a synchronous standby: what it "
            "wrote is durable on this server and perhaps on no other.",
            True,
        )
        if self._by_signal:
            self._interrupt_caller(problem)
        raise problem

    @staticmethod
    def _interrupt_caller(problem: MissionControlError) -> NoReturn:
        """What Python raises by itself, unless it comes while psycopg2 takes in what the server says beside its answer: it drops it."""
        raise KeyboardInterrupt from problem

    def _query_in_transaction(self, *arguments: Any) -> QueryResult[Any]:
        """One statement with the settings of the session, where a pooler hands each transaction to any connection."""
        self.command("BEGIN")
        try:
            result = self.query(*arguments)
        except BaseException:
            with contextlib.suppress(MissionControlError):
                self.command("ROLLBACK")
            raise
        self.command(_COMMIT)
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

    def interrupt(self, by_signal: bool = False) -> None:
        """Cancel what runs on it; called from another thread. May block as long as the network does.

        `by_signal`: the caller is to get a KeyboardInterrupt. A request that comes late may hit the next statement, so nobody else is to
        have the session then.
        """
        with _counting:
            self._cancels += 1
            self._interrupted = self.lost = True
            self._by_signal = by_signal
        try:
            self._cancel()
        finally:
            with _counting:
                self._cancels -= 1

    def _forget_interruption(self) -> None:
        """Before a statement: what was interrupted came before it, unless a request to cancel is still under way."""
        with _counting:
            self._interrupted = self._cancels > 0
            self._by_signal = False

    def cut_overdue(self) -> None:
        self.silent = True
        self.cut()

    def cut(self) -> None:
        """End the connection under whoever is using it, without waiting for psycopg2's lock on it."""
        self._interrupted = True
        with contextlib.suppress(OSError, *DRIVER_ERRORS):
            descriptor = os.dup(self.connection.fileno())
            with socket.socket(fileno=descriptor) as line:
                line.shutdown(socket.SHUT_RDWR)

    def waiting_for_standbys(self) -> set[int]:
        """Process ids of the sessions of this login that wait for a synchronous standby: asked of the same server on another connection.

        Empty where it does not answer.
        """
        settings = self._settings.renewed() or self._settings
        if settings.has_several_hosts:
            settings = settings.on_host(*self.server)
        with contextlib.suppress(MissionControlError, *DRIVER_ERRORS):
            connection, _local = open_connection(settings)
            with contextlib.closing(connection), connection.cursor() as cursor:
                cursor.execute("SELECT pid FROM pg_catalog.pg_stat_activity WHERE wait_event = 'SyncRep'")
                return {pid for (pid,) in cursor.fetchall()}
        return set()

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
