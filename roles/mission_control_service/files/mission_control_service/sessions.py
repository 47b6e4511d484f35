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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mission_control.database.settings import Secret

# Seconds.
LIFETIME = 12 * 3600
APPROVES_FOR = 3600
_MOST = 1000


@dataclass
class Approver:
    """The right of a session to decide about calls of tools, which ends before the session does.

    Attributes:
        name: of the token, as the database knows it.
        token: goes to the database with each decision, since that trusts nobody's word for it.
        end: of the right (monotonic), from when on the token is kept nowhere.
    """

    name: str
    token: Secret
    end: float


@dataclass
class Session:
    """What somebody who has logged in may do.

    Attributes:
        reads: whether an API token was shown, so that the page may be read.
        refresher: name of the refresh token that was shown, so that a refresh may be asked for; None for none.
        approver: who has shown an approver's token within APPROVES_FOR; None for nobody.
        notice: what became of the last form, for the next page that is shown.
        end: of the session (monotonic).
    """

    reads: bool
    refresher: str | None = None
    approver: Approver | None = None
    notice: str = ""
    end: float = 0.0

    @property
    def may_anything(self) -> bool:
        """Whether a right is left."""
        return self.reads or self.refresher is not None or self.approver is not None


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
        self.forget_tokens()
        with self._lock:
            session = self._sessions.get(_digest(name))
        return session if session is not None and session.end > monotonic() and session.may_anything else None

    def forget_tokens(self) -> None:
        """Let go of the approvers' tokens whose time is over."""
        now = monotonic()
        with self._lock:
            for session in self._sessions.values():
                if session.approver is not None and session.approver.end <= now:
                    session.approver = None

    def end(self, name: str) -> None:
        with self._lock:
            self._sessions.pop(_digest(name), None)


def form_key(name: str) -> str:
    """What a form that changes something has to hold: made from the session's name, which it does not give away."""
    return hmac.new(name.encode("utf-8", "replace"), b"form", hashlib.sha256).hexdigest()


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
