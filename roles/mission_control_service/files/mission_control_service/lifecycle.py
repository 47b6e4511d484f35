# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The service as a process: told to systemd, watched by it, and stopped without losing an answer."""

from __future__ import annotations

import os
import threading
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable

from gunicorn.systemd import sd_notify

if TYPE_CHECKING:
    from .database import Database

logger = getLogger("mission_control_service")
_PACE = 0.5
# Without a turn of the accept loop for so long the worker is stuck. Its turns are a second apart at most.
_LONGEST_TURN = 10.0


def watchdog_interval() -> float | None:
    """How often systemd is given a sign of life, in seconds: twice as often as it demands. None without a watchdog."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() and int(text) else None


class Lifecycle:
    """A thread of the worker that watches its accept loop, and that ends the readings of the database at a stop.

    The watchdog hears of the process alone: a database that is away is no reason to restart it.
    """

    def __init__(self, worker: Any, database: Database, graceful_timeout: float, notify: Callable[[str], None]) -> None:
        self._worker = worker
        self._database = database
        # Cancelled readings still have to be answered before the worker is killed.
        self._patience = max(graceful_timeout - 2.0, graceful_timeout / 2)
        self._notify = notify
        self._turn = monotonic()
        self._interval = watchdog_interval()
        self._stopping = False

    def start(self) -> None:
        turn = self._worker.notify

        def notify_and_note() -> None:
            self._turn = monotonic()
            turn()
            if not self._worker.alive:
                self._say_stopping()

        # Called by the accept loop at each turn, to tell gunicorn's master the same.
        self._worker.notify = notify_and_note
        threading.Thread(target=self._attend, name="lifecycle", daemon=True).start()

    def sound(self) -> bool:
        """Whether the accept loop has turned lately."""
        return monotonic() - self._turn < _LONGEST_TURN

    def _say_stopping(self) -> None:
        """Once, or at most twice: systemd takes no offence."""
        if not self._stopping:
            self._stopping = True
            self._notify("STOPPING=1")

    def _attend(self) -> None:
        next_sign = 0.0
        pause = threading.Event()
        while self._worker.alive:
            now = monotonic()
            if self._interval is not None and now >= next_sign and self.sound():
                self._notify("WATCHDOG=1")
                next_sign = now + self._interval
            pause.wait(_PACE)
        self._say_stopping()
        pause.wait(self._patience)
        # What has not ended by now is cancelled, and answered with a problem.
        logger.warning("The stop takes long: cancelling what still reads the database")
        self._database.close(0)


def notify_systemd(state: str) -> None:
    """Nothing where there is no systemd."""
    sd_notify(state, logger)
