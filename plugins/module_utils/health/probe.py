# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Questions of a health check to the server, each within bounds and without consequences for the next one."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..errors import MissionControlError
from ..schema.own_tables import BIND, hold
from .thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ..database.driver import Parameters
    from ..database.session import Session
    from ..schema.manifest import Manifest
    from ..schema.own_tables import Relation

    Row = dict[str, Any]

AnswerT = TypeVar("AnswerT")
_SAVEPOINT = "mission_control_health"
_LONGEST_LOCK_WAIT = 1.0


@dataclass
class Probe:
    """A read-only transaction that is asked questions.

    Attributes:
        thresholds, manifest: what the answers are compared with.
        deadline: when the last answer must be there (monotonic).
        tables: those that any check reads.
        expected_role: primary, standby, or '' for any.
        connect_ms, query_ms: milliseconds that the connection and a trivial query have taken.
    """

    session: Session
    deadline: float
    thresholds: Thresholds
    manifest: Manifest | None
    tables: tuple[str, ...]
    expected_role: str
    connect_ms: float
    query_ms: float = 0.0
    _answers: dict[Callable[[Probe], Any], Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """Read-only, at the level that sees what is there now. The end of the block ends it in any case.

        No name and no operator in it leads to what others have made: the session may be a superuser's.
        """
        lock_timeout = min(_LONGEST_LOCK_WAIT, self._time_left() / 4)
        self.session.command(
            f"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL statement_timeout = {_milliseconds(self._time_left())}; "
            f"SET LOCAL lock_timeout = {_milliseconds(lock_timeout)}; {BIND}; SAVEPOINT {_SAVEPOINT}"
        )
        try:
            yield
        finally:
            # Where the connection is lost the transaction is, too.
            with contextlib.suppress(MissionControlError):
                self.session.command("ROLLBACK")

    def rows(self, sql: str, parameters: Parameters = None) -> list[Row]:
        """All rows of the answer.

        One round trip: what is sent first undoes what a question before has left behind, an error included, and gives
        this one half of the time that is left, so that a slow answer does not take it all from the others.

        Raises:
            ConnectionLostError: also where the time was over and the connection was cut.
            QueryError: the server refused it or did not answer in time; the next question may be asked all the same.
        """
        return self.session.query(self._prefix() + sql, parameters).rows

    def row(self, sql: str, parameters: Parameters = None) -> Row:
        """The one row of the answer."""
        (row,) = self.rows(sql, parameters)
        return row

    def hold(self, relations: Mapping[str, Relation], wait: bool) -> dict[str, str]:
        """Keep tables as they are from now on, and say which of them are no ordinary ones, and why.

        Args:
            relations: the tables.
            wait: whether to wait for locks of others, for as long as a check may wait.
        """
        # The questions after it go back to this savepoint and so keep the locks.
        sql, parameters = hold(relations, wait, then=f"SAVEPOINT {_SAVEPOINT}")
        return {row["name"]: row["problem"] for row in self.session.query(self._prefix() + sql, parameters).rows}

    def _prefix(self) -> str:
        return f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; SET LOCAL statement_timeout = {_milliseconds(self._time_left() / 2)}; "

    def remember(self, question: Callable[[Probe], AnswerT]) -> AnswerT:
        """What a question found, asked once for all checks that need it."""
        if question not in self._answers:
            self._answers[question] = question(self)
        answer: AnswerT = self._answers[question]
        return answer

    def _time_left(self) -> float:
        return self.deadline - monotonic()


def _milliseconds(seconds: float) -> int:
    """For a time-out of the server's; 0 would switch it off."""
    return max(1, round(seconds * 1000))


@contextlib.contextmanager
def cut_at(deadline: float, session: Session) -> Generator[None, None, None]:
    """End the connection if it is still in use at the deadline: a time-out of the server's is no help if it hangs."""
    lock = threading.Lock()
    done = False

    def cut() -> None:
        with lock:
            if not done:
                session.cut()

    timer = threading.Timer(max(0.0, deadline - monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        # Under the lock: from here on the connection may be somebody else's.
        with lock:
            done = True
