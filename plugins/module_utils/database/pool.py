# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sessions that are shared by the threads of a process: at most so many, first come first served."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import sys
import threading
import weakref
from _thread import get_ident
from collections import deque
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import (
    ConnectError,
    DriverError,
    MissionControlError,
    PoolClosedError,
    PoolFullError,
    PoolTimeoutError,
)
from .driver import IDLE, IN_ERROR, IN_TRANSACTION
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from .settings import Settings

logger = getLogger("mission_control")
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_SWEEP_EVERY = 30.0
# How long an interrupted statement has to come back before its connection is cut.
_GRACE = 1.0


@dataclasses.dataclass(frozen=True)
class PoolStats:
    """The pool at one moment, and what has happened since the client was made (or since this process was forked).

    Attributes:
        total: connections that are open or being opened; opening: the latter alone; max_size: the most that may be.
        idle: those that nobody uses; waiting: callers in the queue.
        checkouts: how often a connection was given back after use.
        waits, wait_seconds: how often a caller did not get one at once, and how long such callers waited in sum.
        timeouts, refusals: callers that waited in vain, and that found too many waiting already.
        opened, open_errors: attempts to connect that did, and did not, succeed.
        lost: connections found broken; expired: replaced for their age or closed for lack of use.
        rolled_back: connections given back in the middle of a transaction.
        last_error: why the last attempt to connect failed; None if it succeeded.
    """

    total: int
    idle: int
    waiting: int
    opening: int
    max_size: int
    checkouts: int
    waits: int
    wait_seconds: float
    timeouts: int
    refusals: int
    opened: int
    open_errors: int
    lost: int
    expired: int
    rolled_back: int
    last_error: str | None

    @property
    def in_use(self) -> int:
        return self.total - self.opening - self.idle


_HOLDERS_NAMED = 5
_LIBRARY = __name__.rpartition(".")[0]
_STANDARD_LIBRARY = os.path.dirname(os.__file__)


def _place(frame: FrameType | None) -> str:
    """Where a thread is now in the program itself: not in this library, nor in Python's."""
    while frame is not None:
        code = frame.f_code
        path = code.co_filename
        of_python = path.startswith((_STANDARD_LIBRARY, "<frozen")) and "-packages" not in path
        if not of_python and frame.f_globals.get("__name__", "").rpartition(".")[0] != _LIBRARY:
            return f", now in {code.co_name} ({os.path.basename(path)} line {frame.f_lineno})"
        frame = frame.f_back
    return ""


class _Waiter:
    """A caller in the queue. Its lock is released when its session, or the reason why there is none, is there."""

    __slots__ = ("error", "patient", "session", "signal")

    def __init__(self, patient: bool) -> None:
        self.session: Session | None = None
        self.error: MissionControlError | None = None
        self.patient = patient
        self.signal = threading.Lock()
        self.signal.acquire()

    def give(self, session: Session) -> None:
        self.session = session
        self.signal.release()

    def fail(self, error: MissionControlError) -> None:
        self.error = error
        self.signal.release()


class Pool:
    """Sessions for callers, who give each back as they got it.

    While anybody waits no session is idle: one that is given back or opened goes straight to the first in the queue.
    So the queue is fair, and an idle session may be taken without the lock. Connections are opened by threads of their
    own, so that a caller never waits for its own attempt while another session becomes free, and its time-out holds
    however long an attempt takes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closed = False
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sessions: set[Session] = set()
        self._idle: deque[Session] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._opening = 0
        self._outage = False
        self._was_connected = False
        self._sweep_at = monotonic() + _SWEEP_EVERY
        self._last_error: str | None = None
        self._checkouts = 0
        self._waits = 0
        self._wait_seconds = 0.0
        self._timeouts = 0
        self._refusals = 0
        self._opened = 0
        self._open_errors = 0
        self._lost = 0
        self._expired = 0
        self._rolled_back = 0

    # -- for callers --------------------------------------------------------------------------------------------------

    def acquire(self) -> Session:
        """A session that is connected and in no transaction, as far as can be known before it is used."""
        try:
            session: Session | None = self._idle.pop()
        except IndexError:
            session = None
        if session is not None:
            now = monotonic()
            if now < session.check_at and not session.poll(0):
                session.holder = get_ident()
                session.taken_at = now
                return session
        return self._taken(self._acquire_slowly(session, self._settings.pool_timeout))

    def acquire_within(self, timeout: float, patient: bool | None = None) -> Session:
        """The same with another time-out. A patient caller goes on waiting where no connection can be opened.

        By itself a caller is patient once the server was reached: a first failure is more often a wrong setting, which
        no waiting mends; a later one is a restart.
        """
        return self._taken(self._acquire_slowly(None, timeout, patient))

    @staticmethod
    def _taken(session: Session) -> Session:
        session.holder = get_ident()
        session.taken_at = monotonic()
        return session

    def release(self, session: Session) -> None:
        """Take a session back. What is broken, too old or in a transaction does not become idle."""
        now = monotonic()
        if now >= session.expires_at or session.status() != IDLE or session.lost:
            self._release_unfit(session, now)
        else:
            self._put_back(session, now)

    @contextlib.contextmanager
    def borrow(self, timeout: float) -> Generator[Session, None, None]:
        """A session for a `with` block.

        It is to be had within `timeout` seconds or not at all; where none can be opened the caller hears of it at once.
        """
        session = self.acquire_within(timeout, patient=False)
        try:
            yield session
        finally:
            self.release(session)

    def open(self) -> None:
        with self._lock:
            self._closed = False

    def close(self, timeout: float) -> bool:
        """Turn callers away, wait for sessions in use, then end those that are left. True if there were none."""
        deadline = monotonic() + timeout
        with self._lock:
            self._closed = True
            self._was_connected = False
            for waiter in self._waiters:
                waiter.fail(PoolClosedError("The client was disconnected."))
            self._waiters.clear()
            self._changed.notify_all()
            idle = self._take_idle()
        for session in idle:
            self._drop(session)
        if self._wait_until_empty(deadline):
            return True
        with self._lock:
            left = list(self._sessions)
        if left:
            logger.warning("Disconnecting under %d connections that are still in use", len(left))
        for session in left:
            # In threads, as a server that does not answer would hold them up; at the interpreter's exit there are none.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=session.interrupt, daemon=True).start()
        if not self._wait_until_empty(monotonic() + _GRACE):
            for session in left:
                session.cut()
            with self._lock:
                self._sessions.difference_update(left)
        return False

    def cut(self) -> None:
        """End the connections in use, without a word to the server, for which nobody can say how long it would take."""
        with self._lock:
            in_use = self._sessions.difference(self._idle)
        for session in in_use:
            session.cut()

    def stats(self) -> PoolStats:
        self._sweep(monotonic())
        with self._lock:
            return PoolStats(
                total=len(self._sessions) + self._opening,
                idle=len(self._idle),
                waiting=len(self._waiters),
                opening=self._opening,
                max_size=self._settings.pool_size,
                checkouts=self._checkouts,
                waits=self._waits,
                wait_seconds=self._wait_seconds,
                timeouts=self._timeouts,
                refusals=self._refusals,
                opened=self._opened,
                open_errors=self._open_errors,
                lost=self._lost,
                expired=self._expired,
                rolled_back=self._rolled_back,
                last_error=self._last_error,
            )

    # -- getting a session the long way -------------------------------------------------------------------------------

    def _acquire_slowly(self, session: Session | None, timeout: float, patient: bool | None = None) -> Session:
        deadline = monotonic() + timeout
        retried = session is not None
        while True:
            if session is not None:
                if session.answers():
                    return session
                self._discard_unusable(session)
                retried = True
            session = self._idle_or_queued(deadline, timeout, patient, first=retried)
            # One that was just opened or just given back needs no question, but may have been lost in between.
            if monotonic() < session.check_at and not session.poll(0):
                return session

    def _idle_or_queued(self, deadline: float, timeout: float, patient: bool | None, first: bool) -> Session:
        """An idle session, or the one that comes to this caller in the queue; at its head if it has waited before."""
        began = monotonic()
        with self._lock:
            if self._closed:
                raise PoolClosedError("The client is disconnected: call connect() first.")
            if self._idle:
                return self._idle.pop()
            if self._is_full() and not first:
                self._refusals += 1
                raise PoolFullError(
                    f"Too many callers wait for a connection already: {self._situation()}.{self._holders()}"
                )
            waiter = _Waiter(self._was_connected if patient is None else patient)
            if first:
                self._waiters.appendleft(waiter)
            else:
                self._waiters.append(waiter)
            self._waits += 1
            openers = self._reserve_openers()
        try:
            self._start_openers(openers)
            waiter.signal.acquire(timeout=min(max(0.0, deadline - monotonic()), threading.TIMEOUT_MAX))
        except BaseException:
            with self._lock, contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            if waiter.session is not None:
                self.release(waiter.session)
            raise
        with self._lock:
            self._wait_seconds += monotonic() - began
            if waiter.session is not None:
                return waiter.session
            if waiter.error is not None:
                raise waiter.error
            self._waiters.remove(waiter)
            self._timeouts += 1
            raise PoolTimeoutError(f"No connection within {timeout:g} s: {self._situation()}.{self._holders()}")

    def _discard_unusable(self, session: Session) -> None:
        expired = monotonic() >= session.expires_at
        with self._lock:
            if expired:
                self._expired += 1
            else:
                self._lost += 1
        self._drop(session)

    # -- the rest is called with the lock held ... --------------------------------------------------------------------

    def _free_slots(self) -> int:
        return self._settings.pool_size - len(self._sessions) - self._opening

    def _is_full(self) -> bool:
        """Whether one more caller would wait beyond the limit. Those whose connection is being opened do not count."""
        opens_one = self._free_slots() > 0 and not (self._outage and self._opening)
        return not opens_one and len(self._waiters) - self._opening >= self._settings.pool_max_waiting

    def _situation(self) -> str:
        total = len(self._sessions) + self._opening
        error = f"last connection error: {self._last_error}" if self._last_error else "no connection error"
        return (
            f"total {total} of at most {self._settings.pool_size}, idle {len(self._idle)}, "
            f"waiting {len(self._waiters)}, {error.rstrip('.')}"
        )

    def _holders(self) -> str:
        """A sentence about who holds connections, those first that have held one for longest; never what they were asked."""
        held = sorted(self._sessions.difference(self._idle), key=lambda session: session.taken_at)
        if not held:
            return ""
        now = monotonic()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames()
        texts = []
        for session in held[:_HOLDERS_NAMED]:
            who = names.get(session.holder, "a thread that has ended")
            who += " (this one: use its transaction, not the client)" if session.holder == get_ident() else ""
            texts.append(f"{who} for {now - session.taken_at:.1f} s{_place(frames.get(session.holder))}")
        more = len(held) - len(texts)
        return f" Held by {'; '.join(texts)}{f'; and {more} more' if more else ''}."

    def _reserve_openers(self) -> int:
        """How many more connections to open for those who wait. While the server is away one attempt is enough."""
        if self._closed:
            return 0
        wanted = min(len(self._waiters) - self._opening, self._free_slots())
        if self._outage:
            wanted = min(wanted, 1 - self._opening)
        wanted = max(wanted, 0)
        self._opening += wanted
        return wanted

    def _hand_over(self, session: Session) -> None:
        if self._waiters:
            self._waiters.popleft().give(session)
        else:
            self._idle.append(session)

    def _note_failure(self, error: MissionControlError) -> None:
        self._open_errors += 1
        self._outage = True
        self._last_error = str(error)
        hopeless = isinstance(error, DriverError)
        for waiter in [each for each in self._waiters if hopeless or not each.patient]:
            self._waiters.remove(waiter)
            waiter.fail(type(error)(str(error)))

    # -- ... and this without it --------------------------------------------------------------------------------------

    def _start_openers(self, count: int) -> None:
        for _each in range(count):
            opener = threading.Thread(target=self._open_session, name="mission_control-opener", daemon=True)
            try:
                opener.start()
            except RuntimeError:
                # No thread is to be had, at the interpreter's exit for one: the caller opens it then.
                self._open_session()

    def _open_session(self) -> None:
        """Open a connection for the queue, again and again while somebody waits for it."""
        pause = _FIRST_PAUSE
        while True:
            session: Session | None = None
            failure: MissionControlError | None = None
            settings = self._settings
            try:
                session = Session(settings)
            except MissionControlError as error:
                if isinstance(error, ConnectError) and self._renew(settings):
                    continue
                failure = error
            except Exception as error:
                failure = ConnectError(f"Cannot connect to the {self._settings.describe()}: {type(error).__name__}")
            if failure is None and session is not None:
                if session.settings is not settings and self._settings is settings:
                    self._settings = session.settings
                self._add(session)
                return
            with self._changed:
                if failure is not None:
                    self._note_failure(failure)
                if self._opening == 1:
                    wait = pause * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
                    self._changed.wait_for(lambda: self._closed or not self._waiters, timeout=wait)
                if self._closed or not self._waiters or self._opening > 1:
                    self._opening -= 1
                    self._changed.notify_all()
                    return
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _renew(self, tried: Settings) -> bool:
        """Whether there is another password by now than the one that was tried. What was refused is not asked: a server may say
        it in any language."""
        if self._settings is tried:
            renewed = tried.renewed()
            if renewed is None:
                return False
            logger.info("Going on with the password that %s holds now", tried.env_file)
            self._settings = renewed
        return True

    def _add(self, session: Session) -> None:
        openers = 0
        with self._changed:
            self._opening -= 1
            self._opened += 1
            self._outage = False
            self._last_error = None
            closed = self._closed
            if not closed:
                self._was_connected = True
                self._sessions.add(session)
                self._hand_over(session)
                openers = self._reserve_openers()
            self._changed.notify_all()
        if closed:
            session.close()
        self._start_openers(openers)

    def _put_back(self, session: Session, now: float) -> None:
        session.rest(now)
        with self._lock:
            self._checkouts += 1
            closed = self._closed
            if not closed:
                if self._waiters:
                    self._waiters.popleft().give(session)
                else:
                    self._idle.append(session)
        if closed:
            self._drop(session)
        elif now >= self._sweep_at:
            self._sweep(now)

    def _release_unfit(self, session: Session, now: float) -> None:
        if session.orphaned:
            return
        rolled_back = not session.lost and session.status() in (IN_TRANSACTION, IN_ERROR)
        if rolled_back:
            logger.warning("A connection was given back in the middle of a transaction, which is rolled back")
            with contextlib.suppress(MissionControlError):
                session.command("ROLLBACK")
        lost = session.lost or session.status() != IDLE
        expired = not lost and now >= session.expires_at
        with self._lock:
            self._rolled_back += rolled_back
            self._lost += lost
            self._expired += expired
            if lost or expired:
                self._checkouts += 1
        if lost or expired:
            self._drop(session)
        else:
            self._put_back(session, now)

    def _drop(self, session: Session) -> None:
        session.close()
        # A server, or the way to it, that is silent: the other sessions would each be found dead by a caller that waits for it.
        silent = self._take_idle() if session.silent else []
        for each in silent:
            each.close()
        with self._changed:
            self._sessions.difference_update((session, *silent))
            self._lost += len(silent)
            if session.lost and self._settings.has_several_hosts:
                for other in self._idle.copy():
                    other.check_at = 0.0
            openers = self._reserve_openers()
            self._changed.notify_all()
        self._start_openers(openers)

    def _take_idle(self) -> list[Session]:
        taken = []
        with contextlib.suppress(IndexError):  # one may be taken without the lock
            while True:
                taken.append(self._idle.pop())
        return taken

    def _sweep(self, now: float) -> None:
        """Close what nobody has used for long: at the left end, as sessions are taken from and put to the right one."""
        old: list[Session] = []
        with self._lock:
            self._sweep_at = now + min(_SWEEP_EVERY, self._settings.pool_max_idle)
            with contextlib.suppress(IndexError):  # an idle session may be taken without the lock
                while (
                    len(self._sessions) - len(old) > 1 and now - self._idle[0].idle_since > self._settings.pool_max_idle
                ):
                    old.append(self._idle.popleft())
            self._expired += len(old)
        for session in old:
            self._drop(session)

    def _wait_until_empty(self, deadline: float) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._sessions and not self._opening, timeout=max(0.0, deadline - monotonic())
            )

    def leave_to_parent(self) -> None:
        """In a forked child: begin anew. Threads that held a lock, waited or opened a connection are not in the child."""
        for session in self._sessions:
            session.orphan()
        self._reset()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for pool in list(_pools):
        pool.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
