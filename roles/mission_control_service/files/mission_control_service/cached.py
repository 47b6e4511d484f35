# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values that are costly to come by: computed in the background, once for all who ask."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from logging import getLogger
from time import monotonic
from typing import Callable, Generic, TypeVar

T = TypeVar("T")
logger = getLogger("mission_control_service")


@dataclass(frozen=True)
class Snapshot(Generic[T]):
    """A value with the time at which its computation began (monotonic) and the seconds that it took."""

    value: T
    taken_at: float
    seconds: float

    @property
    def age(self) -> float:
        return monotonic() - self.taken_at


class Cached(Generic[T]):
    """The latest value of a computation, made anew on demand and never by two threads at once.

    Nobody who asks waits longer than `patience` after a computation began, however long it takes: then the value before
    it is what there is. Whether that is too old is for the caller to judge.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[], T],
        fresh_for: float,
        patience: float,
        rest_factor: float = 0,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            name: for the log and the thread.
            compute: gives the value; runs in a thread of its own.
            fresh_for: seconds for which a value is given as it is. For as long again it is given while the next is made.
            patience: seconds that a caller waits at most.
            rest_factor: a computation is not repeated before so many times its own duration have passed.
            expected: errors of the computation that are not worth a traceback in the log.
        """
        self._name = name
        self._compute = compute
        self._fresh_for = fresh_for
        self._patience = patience
        self._rest_factor = rest_factor
        self._expected = expected
        self._changed = threading.Condition()
        self._running_since: float | None = None
        self._due = 0.0
        self._snapshot: Snapshot[T] | None = None
        self.failures = 0

    def get(self) -> Snapshot[T] | None:
        """The value as new as it can be had; None if there never was one."""
        with self._changed:
            self._start_if_due()
            if self._running_since is not None and not self._usable():
                left = self._running_since + self._patience - monotonic()
                self._changed.wait_for(lambda: self._running_since is None, timeout=max(0.0, left))
            return self._snapshot

    def latest(self) -> Snapshot[T] | None:
        """The value that there is, however old; nothing is begun."""
        with self._changed:
            return self._snapshot

    def refresh(self) -> None:
        """Begin to compute the value if it is time for that, and wait for nothing."""
        with self._changed:
            self._start_if_due()

    def expire(self) -> None:
        """Give the value to nobody any more without a look whether there is a newer one."""
        with self._changed:
            self._due = 0.0
            if self._snapshot is not None:
                stale = monotonic() - 2 * self._fresh_for - 1
                self._snapshot = Snapshot(
                    self._snapshot.value, min(self._snapshot.taken_at, stale), self._snapshot.seconds
                )

    def _usable(self) -> bool:
        return self._snapshot is not None and self._snapshot.age <= 2 * self._fresh_for

    def _start_if_due(self) -> None:
        now = monotonic()
        if self._running_since is not None or now < self._due:
            return
        self._running_since = now
        try:
            threading.Thread(target=self._run, name=f"compute-{self._name}", daemon=True).start()
        except RuntimeError:
            # No thread is to be had: the next caller tries again.
            self._running_since = None

    def _run(self) -> None:
        began = monotonic()
        snapshot = None
        try:
            value = self._compute()
            snapshot = Snapshot(value, began, monotonic() - began)
        except self._expected as error:
            logger.warning("No new value of %s: %s", self._name, error)
        except Exception:
            logger.exception("No new value of %s", self._name)
        with self._changed:
            ended = monotonic()
            if snapshot is not None:
                self._snapshot = snapshot
            else:
                self.failures += 1
            self._due = ended + max(self._fresh_for, self._rest_factor * (ended - began))
            self._running_since = None
            self._changed.notify_all()
