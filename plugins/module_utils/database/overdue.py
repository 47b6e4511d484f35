# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cut the connection of a statement whose answer is overdue: no time-out of the server's ends a COMMIT that waits for a standby.

One thread looks at all statements of the process that are to be watched over, four times a second while there are any; a
statement only writes down when its answer is overdue. A COMMIT is cut then, whatever holds it up. A single statement may be a
query that takes hours, so the server is asked on another connection whether it waits for a synchronous standby; a server that
does not say so leaves it as it is.
"""

from __future__ import annotations

import os
import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

_EVERY = 0.25
# Rounds without any statement after which the thread sleeps until there is one.
_IDLE_ROUNDS = 8
# How long a server that said no, or nothing, is not asked again about the same statement.
_ASK_AGAIN = 5.0
_PATIENCE = 1.0


class _Watch:
    """The statements and who watches over them; one for the process."""

    def __init__(self) -> None:
        self.sessions: set[Session] = set()
        self.asleep = True
        self._ended = False
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Servers that are being asked, each by one thread at most.
        self._asked: set[tuple[str, int]] = set()

    def rouse(self) -> None:
        with self._lock:
            self.asleep = self._ended = False
            self._news.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mission_control-overdue", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    # At the interpreter's exit no thread is to be had: the statement waits as long as the server does. The next one tries again.
                    self._thread = None
                    self.asleep = True

    def stop(self) -> None:
        """Before a fork, which is for processes of one thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self.asleep = self._ended = True
            self._news.set()
        if thread is not None:
            thread.join(_PATIENCE)

    def resume(self) -> None:
        """After the fork: other threads of the parent may have statements under way."""
        if self.sessions:
            self.rouse()

    def _run(self) -> None:
        idle_rounds = 0
        while not self._ended:
            self._look(monotonic())
            idle_rounds = 0 if self.sessions else idle_rounds + 1
            if idle_rounds < _IDLE_ROUNDS:
                self._news.wait(_EVERY)
            else:
                self.asleep = True
                # A statement that began in between saw it awake.
                if not self.sessions:
                    self._news.wait()
                with self._lock:
                    # Whoever stopped it has written down that nobody watches.
                    self.asleep = self._ended
                idle_rounds = 0
            self._news.clear()

    def _look(self, now: float) -> None:
        doubtful: dict[tuple[str, int], list[Session]] = {}
        for session in self.sessions.copy():
            if now < session.overdue_at:
                continue
            if session.asks_first:
                session.overdue_at = now + _ASK_AGAIN
                doubtful.setdefault(session.server, []).append(session)
            else:
                session.cut_overdue()
        for server, sessions in doubtful.items():
            if server not in self._asked:
                self._asked.add(server)
                try:
                    threading.Thread(target=self._ask, args=(server, sessions), daemon=True).start()
                except RuntimeError:
                    # No thread is to be had now; they are asked about again.
                    self._asked.discard(server)

    def _ask(self, server: tuple[str, int], sessions: list[Session]) -> None:
        numbers = [session.number for session in sessions]
        try:
            waiting = sessions[0].waiting_for_standbys()
            for session, number in zip(sessions, numbers):
                if session.number == number and session in self.sessions and session.backend_pid in waiting:
                    session.cut_overdue()
        finally:
            self._asked.discard(server)


_watch = _Watch()


def begin_wait(session: Session) -> None:
    """A statement begins whose answer is overdue at `session.overdue_at`."""
    watch = _watch
    watch.sessions.add(session)
    if watch.asleep:
        watch.rouse()


def end_wait(session: Session) -> None:
    _watch.sessions.discard(session)


def _begin_anew() -> None:
    """In a forked child, which has none of the threads."""
    global _watch
    _watch = _Watch()


# Looked up when they are called: a child has a watch of its own.
def _stop_before_fork() -> None:
    _watch.stop()


def _resume_after_fork() -> None:
    _watch.resume()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_stop_before_fork, after_in_parent=_resume_after_fork, after_in_child=_begin_anew)
