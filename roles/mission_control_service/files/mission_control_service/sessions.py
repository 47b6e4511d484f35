# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who is logged in. It is kept in the memory of the one worker process, so an end is an end: also a restart is one."""

from __future__ import annotations

import hashlib
import secrets
import threading
from time import monotonic

# Seconds.
LIFETIME = 12 * 3600
_MOST = 1000


class Sessions:
    """Sessions by the digests of their names, so that no name is left in the memory; the oldest goes where there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # In the order of their beginnings, which is that of their ends.
        self._ends: dict[bytes, float] = {}

    def begin(self) -> str:
        """A name that nobody can guess."""
        name = secrets.token_urlsafe(32)
        now = monotonic()
        with self._lock:
            over = [digest for digest, end in self._ends.items() if end <= now]
            kept = len(self._ends) - len(over)
            for digest in over + list(self._ends)[len(over) :][: max(0, kept - _MOST + 1)]:
                del self._ends[digest]
            self._ends[_digest(name)] = now + LIFETIME
        return name

    def know(self, name: str) -> bool:
        """Whether there is such a session, and it has not ended."""
        with self._lock:
            return self._ends.get(_digest(name), 0.0) > monotonic()

    def end(self, name: str) -> None:
        with self._lock:
            self._ends.pop(_digest(name), None)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
