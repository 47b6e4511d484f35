# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a connector gets of a call, and how it says that one went wrong."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...errors import MissionControlError
from ...inventory.snapshot import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...inventory.connectors.http_lists import NoList

# What is left of a call's time for saying how it stands.
_RESERVE = 2.0
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Call:
    """A call, as a connector carries it out.

    Attributes:
        source: name of the source.
        options: of the source, with defaults.
        secrets: of the source.
        arguments: of the operation, with defaults; right, as operations.py judges them.
        right: what the operation needs of the login, as a clause.
        deadline: of time.monotonic().
        most_bytes: of what a text may hold; more is cut from its beginning.
    """

    source: str
    options: Mapping[str, Any]
    secrets: Mapping[str, str]
    arguments: Mapping[str, Any]
    right: str
    deadline: float
    most_bytes: int

    @property
    def seconds(self) -> float:
        """What is left to wait, at least one second."""
        return max(1.0, self.deadline - _RESERVE - time.monotonic())


class CallError(MissionControlError):
    """A call went wrong. The message is a sentence that names the source.

    Attributes:
        status: failed; timed_out for one that the source still works on; unknown where it may have been carried out.
        result: what is known nevertheless, or None.
    """

    def __init__(
        self,
        sentence: str,
        status: Literal["failed", "timed_out", "unknown"] = "failed",
        result: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status: Literal["failed", "timed_out", "unknown"] = status
        self.result = result


def refused(call: Call, status: int | None, message: str | None = None) -> str:
    """The sentence about a login that may not do what is asked for; empty where that is not what the status says.

    Args:
        call: what was to be done.
        status: of the answer.
        message: what the source says of it.
    """
    if status not in _REFUSED:
        return ""
    said = f" ({message})" if message else ""
    if status == 401:
        return f"The source {call.source} refuses the login{said}: give the source tool_credentials that are valid."
    return f"The login of the source {call.source} lacks the right{said}: it needs {call.right}; give the source tool_credentials."


def failure_of(call: Call, subject: str, asked: str, error: NoList) -> CallError:
    """The error of a call whose request got no answer, or another one than it should.

    Args:
        call: what was to be done.
        subject: what the call is about, as the beginning of a sentence.
        asked: who was asked, such as "the engine".
        error: of the request.
    """
    if error.unsure:
        return CallError(f"{subject} {error}, so whether it took place is not known.", "unknown")
    return CallError(refused(call, error.status, str(error)) or f"{subject}: {asked} {error}.")


@contextlib.contextmanager
def in_words_of(call: Call) -> Iterator[None]:
    """Let what keeps a source from being asked at all be an error of the call."""
    try:
        yield
    except FetchError as error:
        raise CallError(f"The source {call.source} cannot be asked: {error}") from None
