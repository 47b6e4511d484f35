# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asking the database within bounds, whatever state it is in."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from mission_control import (
    Client,
    MissionControlError,
    ParameterError,
    QueryError,
    SettingsError,
    StatementCanceledError,
)
from mission_control.database.session import Session
from mission_control.database.settings import TOOL_TOKEN_SETTING
from mission_control.health.probe import cut_at

from .configuration import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

    from mission_control.database.driver import Parameters
    from mission_control.database.pool import PoolStats
    from mission_control.database.settings import Secret

    from .configuration import Configuration
    from .credentials import Credentials

    Row = dict[str, Any]

T = TypeVar("T")
logger = getLogger("mission_control_service")
APPLICATION_NAME = "mission_control_service"
_POOL_TIMEOUT = 2.0
_CONNECT_TIMEOUT = 3.0
# What the answer to a statement that the server has cancelled may take to arrive.
_GRACE = 1.0
OUTCOMES = ("succeeded", "cancelled", "refused", "unavailable")
# What stands for the token in a statement. It goes to the server with the login: the text of a statement is shown to all sessions of the
# same login and to who monitors the server, and stands in the server's log where it fails.
TOKEN = f"current_setting('{TOOL_TOKEN_SETTING}')"
# Connections with a token at the same time: whoever reaches the form of the login can have them made.
_TOKENS_AT_ONCE = 2
_AT_ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


class UnavailableError(Exception):
    """The database gave no answer. The message is for the caller of the service and holds nothing of the cause.

    Attributes:
        look_anew: a reading has just met what the latest health check may not know of yet.
    """

    def __init__(self, message: str, look_anew: bool = False) -> None:
        super().__init__(message)
        self.look_anew = look_anew


class Reader:
    """One connection during one reading, or during the one call that writes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def rows(self, sql: str, parameters: Parameters = None) -> list[Row]:
        rows: list[Row] = self._session.query(sql, parameters).rows
        return rows

    def row(self, sql: str, parameters: Parameters = None) -> Row:
        """The one row of the answer."""
        (row,) = self.rows(sql, parameters)
        return row

    def query_one(self, sql: str, parameters: Parameters = None) -> Row | None:
        """The first row, or None: as a client does, for functions of the library that ask one."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None


class Database:
    """The client, with a limit to every reading that also holds if the server does not answer at all.

    A time-out of the server's is of no use if the server hangs. So a reading that is not done in time has its connection
    cut, and the thread that answers a request is free again.
    """

    def __init__(self, client: Client, statement_timeout: float) -> None:
        self.client = client
        self._longest = statement_timeout + _GRACE
        self._with_token = threading.BoundedSemaphore(_TOKENS_AT_ONCE)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(OUTCOMES, 0)
        self._seconds = 0.0

    def read(self, work: Callable[[Reader], T], snapshot: bool = False) -> T:
        """Do `work` on a connection. `snapshot`: all its statements see the database at one moment.

        Raises:
            UnavailableError: there is no connection, it broke, or the answer did not come in time.
        """
        begin = _AT_ONE_MOMENT if snapshot else ""
        return self._counted(lambda: self._do(self.client.borrow(_POOL_TIMEOUT), work, begin))

    def write(self, work: Callable[[Reader], T]) -> T:
        """Do `work` in a transaction that may write, by the functions that the login may call: it has no right on a table.

        What `work` raises undoes it. An UnavailableError may also mean that nobody knows whether it was done.

        Raises:
            UnavailableError: as of `read`.
        """
        return self._counted(lambda: self._do(self.client.borrow(_POOL_TIMEOUT), work, _WRITING))

    def with_token(self, token: Secret, work: Callable[[Reader], T], write: bool = False) -> T:
        """Do `work` on a connection of its own, whose statements say TOKEN where a function asks for a token.

        Args:
            token: of the form that `is_token` knows.
            work: what to do, at one moment of the database.
            write: in a transaction that may write, as of `write`.

        Raises:
            UnavailableError: as of `write`; or too many do this at the moment, or a pooler is in between, which hands no token on.
        """
        begin = _WRITING if write else _AT_ONE_MOMENT
        return self._counted(lambda: self._do(self._session_with(token), work, begin))

    @contextlib.contextmanager
    def _session_with(self, token: Secret) -> Generator[Session, None, None]:
        if not self._with_token.acquire(timeout=_POOL_TIMEOUT):
            raise UnavailableError("Too many ask for this at the same time: try again in a moment.")
        try:
            settings = self.client.settings.renewed() or self.client.settings
            session = Session(dataclasses.replace(settings, tool_token=token))
            try:
                yield session
            finally:
                session.close()
        finally:
            self._with_token.release()

    def _counted(self, do: Callable[[], T]) -> T:
        began = monotonic()
        outcome = "succeeded"
        try:
            return do()
        except StatementCanceledError:
            outcome = "cancelled"
            failure = UnavailableError("The database needed too long for this question.")
        except ParameterError:
            raise
        except QueryError as error:
            outcome = "refused"
            # Not the message, which may quote values.
            logger.error("The database refused a query of the service (SQLSTATE %s)", error.sqlstate)
            failure = UnavailableError("The database refused the question; see /ready for the version of its schema.")
        except MissionControlError:
            outcome = "unavailable"
            failure = UnavailableError("The database cannot be reached at the moment.", look_anew=True)
        finally:
            with self._lock:
                self._counts[outcome] += 1
                self._seconds += monotonic() - began
        raise failure

    def _do(self, connection: contextlib.AbstractContextManager[Session], work: Callable[[Reader], T], begin: str) -> T:
        with connection as session, cut_at(monotonic() + self._longest, session):
            if not begin:
                return work(Reader(session))
            session.command(begin)
            try:
                result = work(Reader(session))
                if begin == _WRITING:
                    session.command("COMMIT")
                return result
            finally:
                # After a commit it does nothing. If the connection is lost so is the transaction, and the pool notices.
                with contextlib.suppress(MissionControlError):
                    session.command("ROLLBACK")

    def counts(self) -> tuple[dict[str, int], float]:
        """How many readings ended in which way, and the seconds that all took together."""
        with self._lock:
            return dict(self._counts), self._seconds

    def pool_stats(self) -> PoolStats:
        return self.client.pool_stats()

    def close(self, timeout: float) -> bool:
        """Wait for what is under way, then cancel what is left. True if nothing was."""
        return self.client.disconnect(timeout)


def open_database(configuration: Configuration, credentials: Credentials) -> Database:
    """The database as the settings name it. Nothing is connected yet: it may come later.

    Raises:
        ConfigurationError: a setting of the database is wrong.
    """
    try:
        client = Client(
            env_file=credentials.env_file,
            application_name=APPLICATION_NAME,
            # To compile a statement takes longer than any of ours runs.
            options="-c default_transaction_read_only=on -c timezone=UTC -c jit=off",
            connect_timeout=_CONNECT_TIMEOUT,
            statement_timeout=configuration.statement_timeout,
            idle_in_transaction_timeout=configuration.statement_timeout + 10,
            unacknowledged_timeout=10,
            pool_size=configuration.pool_size,
            pool_timeout=_POOL_TIMEOUT,
        )
    except SettingsError as error:
        raise ConfigurationError(str(error)) from None
    return Database(client, configuration.statement_timeout)
