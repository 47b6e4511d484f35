# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What workers share that take their work from the database: signals, notifications, waiting, and an absence of the database."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, Callable

from .database.driver import DRIVER_ERRORS
from .errors import ConnectionLostError, MissionControlError, QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .client.client import Client
    from .database.session import Session

    Log = Callable[[str], None]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class WorkerLoop:
    """Works until a signal asks it to end: SIGTERM or SIGINT; SIGHUP has it read its files again.

    Attributes:
        stopping: set when it is to end.
        reread: whether its files are to be read again; whoever does it says so here.
        was_away: whether the database did not answer when it was last asked.
    """

    def __init__(self, client: Client, log: Log, channel: str, poll: float) -> None:
        """
        Args:
            client: one of its connections is used as long as it holds.
            log: told in sentences what happens.
            channel: whose notifications wake it.
            poll: seconds after which it looks where no notification comes through.
        """
        self._client = client
        self._log = log
        self._channel = channel
        self._poll = poll
        self.stopping = threading.Event()
        self.reread = False
        self.was_away = False
        self._waiting, self._waking = socket.socketpair()
        self._listens = True
        self._pause = _FIRST_PAUSE

    def run(self, attend: Callable[[Session], None], finish: Callable[[], None], *, once: bool) -> None:
        """Work until a signal ends it.

        Args:
            attend: works as long as its connection holds, and until `stopping` is set.
            finish: ends what goes on, while further signals wait.
            once: an absence of the database ends it.

        Raises:
            MissionControlError: with `once`, the database could not be asked.
        """
        with self._signals():
            notify("READY=1")
            while not self.stopping.is_set():
                try:
                    with self._client.borrow(self._client.settings.connect_timeout + 1) as session:
                        self._listen(session)
                        attend(session)
                except MissionControlError as error:
                    if once:
                        raise
                    if not self.was_away:
                        self._log(f"{str(error).rstrip('.')}. This is tried again until it succeeds.")
                    self.was_away = True
                    self.wait([], self._pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load, guards nothing
                    self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            notify("STOPPING=1")
            finish()

    def answers(self) -> None:
        """Say that the database answers, so that an absence after this one is told again."""
        self.was_away, self._pause = False, _FIRST_PAUSE

    def wait_for_work(self, session: Session, seconds: float) -> None:
        """Until a notification comes, somebody wakes it, or the time is over.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        self.wait([session.connection.fileno()], seconds)
        try:
            session.connection.poll()
        except DRIVER_ERRORS:
            raise ConnectionLostError(f"The connection to the {self._client.settings.describe()} was lost.") from None
        session.connection.notifies.clear()

    def wait(self, descriptors: list[int], seconds: float) -> None:
        """Until something comes, or the time is over."""
        notify("WATCHDOG=1")
        if self.stopping.is_set() or self.reread:
            # A signal during a statement wakes whoever watches over that instead (database/interruption.py).
            seconds = 0
        waiting = self._waiting.fileno()
        readable, _writable, _odd = select.select([waiting, *descriptors], [], [], seconds)
        if waiting in readable:
            self._waiting.recv(4096)

    @staticmethod
    def tell_alive() -> None:
        """Tell systemd that the worker is alive, where it is busy for long."""
        notify("WATCHDOG=1")

    def wake(self) -> None:
        """End its wait, from another thread."""
        with contextlib.suppress(BlockingIOError):
            self._waking.send(b"\0")

    def _listen(self, session: Session) -> None:
        try:
            session.command(f"LISTEN {self._channel}")
        except QueryError as error:
            if self._listens:
                self._log(
                    f"No notification can be had ({str(error).rstrip('.')}): requests are looked for every {self._poll:.0f} s."
                )
            self._listens = False

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def end(_number: int, _frame: object) -> None:
            self.stopping.set()

        def reread(_number: int, _frame: object) -> None:
            self.reread = True

        for each in (self._waiting, self._waking):
            each.setblocking(False)
        handlers: dict[signal.Signals, Any] = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reread}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        waker = signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(waker)
            for number, handler in before.items():
                signal.signal(number, handler)


def notify(state: str) -> None:
    """Tell systemd, where it has started this process and waits for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
