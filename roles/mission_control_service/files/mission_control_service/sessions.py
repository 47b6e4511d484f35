# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who is logged in. It is kept in the memory of the one worker process, so an end is an end: also a restart is one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from time import monotonic

# Seconds.
LIFETIME = 12 * 3600
_MOST = 1000


@dataclass
class Session:
    """What somebody who has logged in may do.

    Attributes:
        reads: whether an API token was shown, so that the page may be read.
        refresher: name of the refresh token that was shown, so that a refresh may be asked for; None for none.
        notice: what became of the last form, for the next page that is shown.
        end: of the session (monotonic).
    """

    reads: bool
    refresher: str | None = None
    notice: str = ""
    end: float = 0.0


class Sessions:
    """Sessions by the digests of their names, so that no name is left in the memory; the oldest goes where there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # In the order of their beginnings, which is that of their ends.
        self._sessions: dict[bytes, Session] = {}

    def begin(self, session: Session) -> str:
        """A name that nobody can guess."""
        name = secrets.token_urlsafe(32)
        now = monotonic()
        session.end = now + LIFETIME
        with self._lock:
            over = [digest for digest, each in self._sessions.items() if each.end <= now]
            kept = len(self._sessions) - len(over)
            for digest in over + list(self._sessions)[len(over) :][: max(0, kept - _MOST + 1)]:
                del self._sessions[digest]
            self._sessions[_digest(name)] = session
        return name

    def find(self, name: str) -> Session | None:
        """The session of this name; None if there is none, or it has ended."""
        with self._lock:
            session = self._sessions.get(_digest(name))
        return session if session is not None and session.end > monotonic() else None

    def end(self, name: str) -> None:
        with self._lock:
            self._sessions.pop(_digest(name), None)


def form_key(name: str) -> str:
    """What a form that changes something has to hold: made from the session's name, which it does not give away."""
    return hmac.new(name.encode("utf-8", "replace"), b"form", hashlib.sha256).hexdigest()


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
