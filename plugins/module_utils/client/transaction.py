# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Transactions and, within them, savepoints."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Callable, Literal, NoReturn, overload

from ..database.bulk import PAGE_ROWS, insert_pages, made_ahead, split_insert
from ..database.driver import IDLE, IN_ERROR, IN_TRANSACTION
from ..errors import MissionControlError, TransactionError
from .queries import Queries

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from types import TracebackType

    from ..database.driver import Parameters
    from ..database.results import QueryResult
    from ..database.session import Session
    from .queries import ModelT, Row

Isolation = Literal["read committed", "repeatable read", "serializable"]
_ISOLATION = {
    "read committed": "ISOLATION LEVEL READ COMMITTED",
    "repeatable read": "ISOLATION LEVEL REPEATABLE READ",
    "serializable": "ISOLATION LEVEL SERIALIZABLE",
}


def begin_statement(isolation: str | None, read_only: bool, deferrable: bool) -> str:
    if isolation is not None and isolation not in _ISOLATION:
        raise TransactionError(f"The isolation level must be one of {', '.join(_ISOLATION)}, not {isolation!r}.")
    if deferrable and not (read_only and isolation == "serializable"):
        raise TransactionError("A transaction can be deferrable only if it is read-only and serializable.")
    words = ["BEGIN"]
    words += [_ISOLATION[isolation]] if isolation else []
    words += ["READ ONLY"] if read_only else []
    words += ["DEFERRABLE"] if deferrable else []
    return " ".join(words)


class Transaction(Queries):
    """A transaction of one `with` block, on one connection. Use it from one thread at a time."""

    def __init__(
        self,
        begin: Callable[[str], Session],
        release: Callable[[Session], None],
        statement: str,
        llm_bodies: str,
        depth: int = 0,
    ) -> None:
        self.llm_bodies = llm_bodies
        self._begin = begin
        self._release = release
        self._statement = statement
        self._depth = depth
        self._session: Session | None = None
        self._names = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Transaction, {'open' if self._session else 'not open'}>"

    def __enter__(self) -> Transaction:
        if self._session is not None:
            raise TransactionError("The transaction has begun already.")
        self._session = self._begin(self._statement)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session = self._open_session()
        self._session = None
        try:
            if error is None:
                self._commit(session)
            else:
                # What ends the block is the error that the caller gets, not one of the rollback after it.
                with contextlib.suppress(MissionControlError):
                    self._roll_back(session)
        finally:
            self._release(session)

    def _commit(self, session: Session) -> None:
        status = session.status()
        if status == IN_ERROR:
            self._roll_back(session)
            raise TransactionError(
                "A statement of the transaction had failed, so it was rolled back although its block ended without an error."
            )
        if status == IDLE:
            raise TransactionError(
                "A statement within the transaction had ended it: COMMIT and ROLLBACK are not for queries."
            )
        try:
            tag = session.command(self._end_statement("COMMIT", "RELEASE"))
        except BaseException:
            self._roll_back_if_open(session)
            raise
        if tag == "ROLLBACK":
            raise TransactionError("The server rolled the transaction back when it was to be committed.")

    def _roll_back(self, session: Session) -> None:
        if session.status() in (IN_TRANSACTION, IN_ERROR):
            session.command(self._end_statement("ROLLBACK", "ROLLBACK TO"))

    def _roll_back_if_open(self, session: Session) -> None:
        with contextlib.suppress(MissionControlError):
            self._roll_back(session)

    def _end_statement(self, outermost: str, nested: str) -> str:
        return f"{nested} {_savepoint(self._depth)}" if self._depth else outermost

    def _open_session(self) -> Session:
        if self._session is None:
            raise TransactionError("The transaction is not open: use it within its with block.")
        return self._session

    @overload
    def query(self, sql: str, parameters: Parameters = None) -> QueryResult[Row]: ...

    @overload
    def query(self, sql: str, parameters: Parameters = None, *, model: type[ModelT]) -> QueryResult[ModelT]: ...

    def query(
        self, sql: str, parameters: Parameters = None, *, model: Callable[..., Any] | None = None
    ) -> QueryResult[Any]:
        return self._open_session().query(sql, parameters, model)

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        session = self._open_session()
        insert = split_insert(sql)
        if insert is None:
            return sum(max(0, session.query(sql, row).row_count) for row in rows)
        pages = insert_pages(insert, rows, session.mogrify)
        # Only rows that are there already: a generator of the caller's may be bound to its thread, or use this transaction.
        if isinstance(rows, (list, tuple)) and len(rows) > PAGE_ROWS:
            with contextlib.closing(made_ahead(pages)) as ready:
                return sum(session.query(sql, ready=page).row_count for page in ready)
        return sum(session.query(sql, ready=page).row_count for page in pages)

    @contextlib.contextmanager
    def _stream(self, sql: str, parameters: Parameters, model: Any, batch: int) -> Generator[Iterator[Any], None, None]:
        session = self._open_session()
        if batch < 1:
            raise ValueError("The batch of a stream must be 1 row or more.")
        cursor = f"mission_control_{self._depth}_{next(self._names)}"
        session.query(f"DECLARE {cursor} NO SCROLL CURSOR FOR {sql}", parameters)
        try:
            yield self._fetched(f"FETCH FORWARD {batch:d} FROM {cursor}", model, batch)
        finally:
            # Not after a failure, when the server has closed it and would refuse another statement.
            if self._session is session and session.status() == IN_TRANSACTION:
                session.command(f"CLOSE {cursor}")

    @property
    def tools(self) -> NoReturn:
        """Refused: a call that was carried out cannot be undone by a transaction."""
        raise TransactionError(
            "A call of a tool is no part of a transaction, which could not undo it: use client.tools."
        )

    def _fetched(self, fetch: str, model: Any, batch: int) -> Iterator[Any]:
        while True:
            rows: list[Any] = self.query(fetch, model=model).rows
            yield from rows
            if len(rows) < batch:
                return

    def transaction(self) -> Transaction:
        """A nested transaction: an error that leaves its block undoes what was done in it, and nothing else."""
        session = self._open_session()
        depth = self._depth + 1

        def begin(statement: str) -> Session:
            session.command(statement)
            return session

        def keep(session: Session) -> None:
            """The connection goes on with the outer transaction."""

        return Transaction(begin, keep, f"SAVEPOINT {_savepoint(depth)}", self.llm_bodies, depth)


def make_durable(transaction: Transaction) -> None:
    """Let what it commits outlive a crash of the server, also where the server does not wait for its log otherwise."""
    transaction.query(
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    )


def wait_for_standbys(transaction: Transaction) -> None:
    """Let its COMMIT wait for synchronous standbys as if it had written, so that what it has read is on them too.

    For who looks up what a COMMIT has left in doubt: the row may be on one server only.
    """
    transaction.query("SELECT pg_catalog.pg_logical_emit_message(true, 'mission_control', '')")


def _savepoint(depth: int) -> str:
    return f"mission_control_{depth}"
