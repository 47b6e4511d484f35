# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let Ctrl-C end a statement that the server works on.

Python handles a signal between two steps of its main thread, and a statement is a single step of psycopg2. So while the
main thread is in one, the interpreter is asked to write the number of a signal to a pipe, as soon as it comes, and a thread
that reads the pipe has the server cancel the statement. Only where SIGINT raises KeyboardInterrupt: a handler of the
program's own may as well let the statement end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from _thread import get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

# How long a cancelled statement has to come back before its connection is cut, and between two requests to cancel it: the
# first may have come before the statement.
_GRACE = 1.0
_AGAIN = 0.1
# A signal that is heard of so early may have come before the statement, which then is what a program does about it.
_TOO_SOON = 0.02
# To arm costs system calls, so it is done again only now and then, in case an event loop has taken the place and left it.
_ARMED_FOR = 1.0
_STOP = 0  # no signal has this number


class _Watch:
    """The statement of the main thread and who watches over it; one for the process."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.number = 0
        self.began = 0.0
        self.arm_at = 0.0
        self.before = -1
        self.ended = threading.Event()
        self.ended.set()
        self.reader = self.writer = -1
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        if self.writer < 0:
            self.reader, self.writer = os.pipe()
            os.set_blocking(self.writer, False)
        self.thread = threading.Thread(target=self._watch, name="mission_control-interruption", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Before a fork, which is for processes of one thread. The next statement begins anew."""
        thread, self.thread = self.thread, None
        self.arm_at = 0.0
        if thread is not None:
            os.write(self.writer, bytes((_STOP,)))
            thread.join(_GRACE)

    def _watch(self) -> None:
        while True:
            for number in os.read(self.reader, 64):
                if number == _STOP:
                    return
                if self.before >= 0:
                    # Whoever waits for signals in this way too, as an event loop does.
                    with contextlib.suppress(OSError):
                        os.write(self.before, bytes((number,)))
                if number == signal.SIGINT and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                    self._end()

    def arm(self, began: float) -> int:
        """Have signals written to the pipe. What was there before, to be put back after the statement; -1 where nothing was."""
        if self.thread is None:
            self.start()
        try:
            before = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        except ValueError:  # a main thread that gets no signals, as in an embedded interpreter
            return -1
        if before in (-1, self.writer):
            self.arm_at = began + _ARMED_FOR
            return -1
        self.before = before
        return before

    def _end(self) -> None:
        if monotonic() - self.began < _TOO_SOON:
            return
        self.ended.clear()
        session, number, deadline = self.session, self.number, monotonic() + _GRACE
        while session is not None and self.session is session and self.number == number:
            if monotonic() >= deadline:
                session.cut()
                break
            # In a thread, as a server that does not answer would hold it up.
            request = threading.Thread(target=session.interrupt, args=(True,), daemon=True)
            request.start()
            request.join(_GRACE)
            pause = monotonic() + _AGAIN
            while self.session is session and monotonic() < pause:
                sleep(0.005)
        self.ended.set()


_watch = _Watch()
# The only thread in which Python handles signals: the caller looks, as a call for nothing costs each statement of the others.
main_thread = threading.main_thread().ident


def begin_statement(session: Session, began: float) -> int:
    """Watch over a statement of the main thread from now on. What comes back is for `end_statement`."""
    watch = _watch
    watch.session = session
    watch.number += 1
    watch.began = began
    return watch.arm(began) if began >= watch.arm_at else -1


def end_statement(before: int) -> None:
    """The statement has ended. Where it was cancelled, wait until no request to do so is under way that would hit the next."""
    watch = _watch
    watch.session = None
    if before >= 0:
        signal.set_wakeup_fd(before)
        watch.before = -1
    if not watch.ended.is_set():
        watch.ended.wait(_GRACE)


def _begin_anew() -> None:
    """In a forked child: what the parent reads from is not its own."""
    global _watch, main_thread
    main_thread = get_ident()
    before, _watch = _watch, _Watch()
    others = signal.set_wakeup_fd(-1)
    if others not in (-1, before.writer):
        signal.set_wakeup_fd(others)
    for descriptor in (before.reader, before.writer):
        if descriptor >= 0:
            os.close(descriptor)


def _stop_before_fork() -> None:
    # Looked up when it is called: a child has a watch of its own.
    _watch.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_stop_before_fork, after_in_child=_begin_anew)
