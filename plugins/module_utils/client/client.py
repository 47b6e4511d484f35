# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The client: queries and transactions over a pool of connections."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, overload

from ..database.driver import IDLE
from ..database.pool import Pool, PoolStats
from ..database.results import QueryResult
from ..database.settings import Settings
from ..errors import ConnectionLostError, MissionControlError, SettingsError, TransactionError
from .queries import Queries
from .transaction import Isolation, Transaction, begin_statement

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Callable, TypeVar

    from ..database.driver import Parameters
    from ..database.session import Session
    from ..database.settings import Secret
    from ..tools.calls import Tools

    ModelT = TypeVar("ModelT")

logger = getLogger("mission_control")


@dataclasses.dataclass(frozen=True)
class Health:
    """Whether the database answers, and how the pool stands.

    Attributes:
        connected: a connection was to be had and the server answered on it.
        latency_ms: what the answer took on that connection; None without one.
        checkout_ms: what getting the connection took, the opening of a new one included.
        error: why not, as a sentence; None if it did.
        pool: the pool's statistics.
    """

    connected: bool
    latency_ms: float | None
    checkout_ms: float | None
    error: str | None
    pool: PoolStats

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Client(Queries):
    """A database to ask, from any number of threads.

        with Client() as db:
            for host in db.query_many("SELECT * FROM hosts WHERE status = %s", ["online"]):
                print(host["name"])

    Each statement outside of `transaction()` is a transaction of its own. Nothing is ever sent twice: if a connection
    breaks under a statement, that is a ConnectionLostError, as the statement may have taken place.
    """

    # Each setting by its name and type, so that editors and type checkers know them; a test holds them against Settings.
    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        host: str | None = None,
        port: int | str | None = None,
        database: str | None = None,
        user: str | None = None,
        password: str | Secret | None = None,
        service: str | None = None,
        passfile: str | None = None,
        env_file: str | None = None,
        environment: Mapping[str, str] | None = None,
        sslmode: str | None = None,
        sslrootcert: str | None = None,
        sslcert: str | None = None,
        sslkey: str | None = None,
        channel_binding: str | None = None,
        require_auth: str | None = None,
        target_session_attrs: str | None = None,
        application_name: str | None = None,
        options: str | None = None,
        connect_timeout: float | None = None,
        commit_timeout: float | None = None,
        statement_timeout: float | None = None,
        lock_timeout: float | None = None,
        idle_in_transaction_timeout: float | None = None,
        keepalives_idle: float | None = None,
        keepalives_interval: float | None = None,
        keepalives_count: int | None = None,
        unacknowledged_timeout: float | None = None,
        pool_size: int | None = None,
        pool_timeout: float | None = None,
        pool_max_waiting: int | None = None,
        pool_check_after: float | None = None,
        pool_max_idle: float | None = None,
        pool_max_lifetime: float | None = None,
        slow_query: float | None = None,
        llm_bodies: str | None = None,
        tool_token: str | Secret | None = None,
    ) -> None:
        """Take the settings given, or put them together as `Settings.load` does. Nothing is connected yet.

        Args:
            url: postgresql://user@host:port/database?sslmode=verify-full
            settings: ready ones; then nothing else is given.
            env_file: a file with POSTGRES_HOST and its siblings, or DATABASE_URL.
            environment: variables to look in instead of those of the process.
            host, ..., tool_token: the settings, which `Settings` describes; times are in seconds, and None is not given.

        Raises:
            SettingsError: a setting is wrong; the message names it and where it came from.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "url", "settings")}
        given = {name: value for name, value in given.items() if value is not None}
        if settings is None:
            settings = Settings.load(url, **given)
        elif url is not None or given:
            raise SettingsError("Give either ready settings, or a URL and options to make them from.")
        self.settings = settings
        self.llm_bodies = settings.llm_bodies
        self._pool = Pool(settings)
        self._acquire = self._pool.acquire
        self._release = self._pool.release
        self._tools: Tools | None = None
        # The sessions of the transactions that are open, each with the thread that began it.
        self._open: dict[Session, int] = {}

    def __repr__(self) -> str:
        # Also of one whose settings were refused: a traceback with locals shows it.
        settings: Settings | None = getattr(self, "settings", None)
        return f"<Client of the {settings.describe()}>" if settings else "<Client without settings>"

    def connect(self, wait: float = 0) -> Client:
        """Open the first connection, so that a wrong setting shows now. `wait`: for so long a server may be away.

        Without this, and after it, connections are opened as they are needed; after `disconnect` it is necessary.
        """
        self._pool.open()
        session = self._pool.acquire_within(wait or self.settings.pool_timeout, patient=wait > 0)
        self._pool.release(session)
        return self

    def disconnect(self, timeout: float = 10) -> bool:
        """Take no more work, wait for what is under way, then close. May be called again.

        After `timeout` seconds statements that still run are cancelled and their connections cut. True if none were.
        """
        return self._pool.close(timeout)

    def cut(self) -> None:
        """End the connections on which statements run, from another thread: those get a ConnectionLostError at once, however silent the
        server is. The client goes on with new ones."""
        self._pool.cut()

    def __enter__(self) -> Client:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    @overload
    def query(self, sql: str, parameters: Parameters = None) -> QueryResult[dict[str, Any]]: ...

    @overload
    def query(self, sql: str, parameters: Parameters = None, *, model: type[ModelT]) -> QueryResult[ModelT]: ...

    def query(
        self, sql: str, parameters: Parameters = None, *, model: Callable[..., Any] | None = None
    ) -> QueryResult[Any]:
        session = self._acquire()
        try:
            result = session.query(sql, parameters, model)
            if session.status() != IDLE:
                self._refuse_open_transaction(session)
            return result
        finally:
            self._release(session)

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        with self.transaction() as transaction:
            return transaction.execute_many(sql, rows)

    @contextlib.contextmanager
    def _stream(self, sql: str, parameters: Parameters, model: Any, batch: int) -> Generator[Iterator[Any], None, None]:
        # Who reads a stream has opened no transaction of their own.
        own = Transaction(self._begin, self._release, begin_statement(None, False, False), self.llm_bodies)
        with own as transaction, transaction.stream(sql, parameters, model=model, batch=batch) as rows:
            yield rows

    def transaction(
        self, isolation: Isolation | None = None, *, read_only: bool = False, deferrable: bool = False
    ) -> Transaction:
        """A transaction for a `with` block: committed at its end, rolled back by any error that leaves it.

        `isolation`: "read committed", "repeatable read" or "serializable"; `deferrable`: of a serializable read-only
        one, to wait for a moment in which it can neither fail nor disturb others. Within it, `transaction()` of the
        transaction (not of the client) begins a nested one, a savepoint.
        """
        statement = begin_statement(isolation, read_only, deferrable)

        def begin(statement: str) -> Session:
            session = self._begin(statement)
            self._open[session] = threading.get_ident()
            return session

        def release(session: Session) -> None:
            self._open.pop(session, None)
            self._release(session)

        return Transaction(begin, release, statement, self.llm_bodies)

    def in_transaction(self) -> bool:
        """Whether a `transaction()` that this thread has begun is open."""
        # In one step, since other threads begin and end theirs meanwhile.
        return threading.get_ident() in list(self._open.values())

    def health(self, timeout: float = 5) -> Health:
        """Ask the server for a sign of life. Raises nothing that has to do with the database."""
        began = monotonic()
        checkout = latency = error = None
        try:
            session = self._pool.acquire_within(min(timeout, self.settings.pool_timeout))
            asked = monotonic()
            checkout = (asked - began) * 1000
            try:
                session.query("SELECT 1")
                latency = (monotonic() - asked) * 1000
            finally:
                self._pool.release(session)
        except MissionControlError as problem:
            error = str(problem)
        return Health(error is None, latency, checkout, error, self._pool.stats())

    @contextlib.contextmanager
    def borrow(self, timeout: float) -> Generator[Session, None, None]:
        """One bare connection of the pool for a `with` block, for whom a transaction is too much, as a health check."""
        with self._pool.borrow(timeout) as session:
            yield session

    @property
    def tools(self) -> Tools:
        """Calls of tools: the tools there are, asking for a call, waiting for it, deciding about it."""
        if self._tools is None:
            from ..tools import calls

            self._tools = calls.Tools(self)
        return self._tools

    def pool_stats(self) -> PoolStats:
        return self._pool.stats()

    def _begin(self, statement: str) -> Session:
        """A session in a new transaction. Where BEGIN finds the connection broken nothing is lost but time."""
        deadline = monotonic() + self.settings.pool_timeout
        session = self._acquire()
        while True:
            try:
                session.begin(statement)
                return session
            except ConnectionLostError:
                self._release(session)
                remaining = deadline - monotonic()
                if remaining <= 0:
                    raise
            except BaseException:
                self._release(session)
                raise
            session = self._pool.acquire_within(remaining)

    def _refuse_open_transaction(self, session: Session) -> None:
        with contextlib.suppress(MissionControlError):
            session.command("ROLLBACK")
        raise TransactionError("The statement left a transaction open, which was rolled back: use transaction().")
