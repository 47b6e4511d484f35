# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requests that wait for a thread, taken from each client in turn."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue without an end in which who asks for much waits behind himself and not before the others."""

    def __init__(self) -> None:
        # One for each that waits: a SimpleQueue is what a thread can wait for at the least cost.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        # How many wait or are worked on.
        self.open = 0

    def put(self, group: str, item: T) -> None:
        with self._lock:
            self._waiting.setdefault(group, deque()).append(item)
            self.open += 1
        self._tokens.put(None)

    def get(self) -> T:
        """Wait for one; of those that wait, the oldest of the group whose turn it is."""
        self._tokens.get()
        with self._lock:
            group, items = self._waiting.popitem(last=False)
            item = items.popleft()
            if items:
                self._waiting[group] = items
        return item

    def done(self) -> None:
        """One that was got is no longer worked on."""
        with self._lock:
            self.open -= 1
