# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists by HTTP, as JSON, of sources whose library speaks through a session of requests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from typing import TYPE_CHECKING, Any

from ...errors import MissionControlError
from ..values import text_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECT_SECONDS = 10
# Without a byte; how long a whole fetch may take is limited by whoever runs it.
READ_SECONDS = 30
# Statuses of a list that is kept from us.
REFUSED = (401, 403)
_LONGEST_CAUSE = 200


class NoList(MissionControlError):  # noqa: N818  # not always an error: often one list of several
    """A list could not be had. The message is the end of a sentence, such as "answered 403 Forbidden".

    Attributes:
        status: of the answer; None where there was none.
        unsure: whether a request that changes something may have been carried out nevertheless.
    """

    def __init__(self, clause: str, status: int | None = None, unsure: bool = False) -> None:
        super().__init__(clause)
        self.status = status
        self.unsure = unsure


@contextlib.contextmanager
def files_of(*contents: str | None) -> Iterator[list[str | None]]:
    """Paths by which this process alone reads these texts, for libraries that want files; None stays None.

    The files have no name in any directory, so that a process that is killed leaves nothing behind.
    """
    with contextlib.ExitStack() as stack:
        paths: list[str | None] = []
        for content in contents:
            if content is None:
                paths.append(None)
                continue
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(content.encode("utf-8", "replace"))
            file.flush()
            paths.append(f"/proc/self/fd/{file.fileno()}")
        yield paths


def prepare(session: Any) -> None:
    """Let a requests.Session ask a source as the source is configured, and as nothing else says."""
    import requests.adapters
    import urllib3.util.ssl_

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
            context = urllib3.util.ssl_.create_urllib3_context()
            # From Python 3.13 on it also asks for extensions that many a home-made certificate lacks, that of Proxmox VE too.
            # Chain, name and time are judged with and without it.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            super().init_poolmanager(*arguments, ssl_context=context, **settings)

    session.mount("https://", Adapter())
    # Neither proxies nor certificates nor .netrc of whoever runs this.
    session.trust_env = False


def read_list(session: Any, url: str, read_seconds: float | None = None) -> Any:
    """The JSON value that a GET of this address answers; as `ask`."""
    return json_of(ask(session, "GET", url, read_seconds=read_seconds))


def ask(
    session: Any,
    method: str,
    url: str,
    *,
    read_seconds: float | None = None,
    expected: Sequence[int] = (200,),
    **more: Any,
) -> Any:
    """The response to a request.

    Args:
        session: a requests.Session with what it needs to be let in, after prepare().
        method: of HTTP.
        url: whole address.
        read_seconds: patience without a byte; READ_SECONDS where it is None.
        expected: statuses of an answer.
        more: what requests takes beside it, such as data.

    Raises:
        NoList: no connection, no answer, or another status.
    """
    import requests

    patience = READ_SECONDS if read_seconds is None else read_seconds
    try:
        response = session.request(
            method,
            url,
            timeout=(min(CONNECT_SECONDS, patience), patience),
            # What is there may be anybody's, and would get our credentials.
            allow_redirects=False,
            **more,
        )
    except requests.Timeout as error:
        raise NoList("did not answer in time", unsure=may_have_arrived(error)) from None
    except (requests.RequestException, OSError, ValueError) as error:
        raise NoList(f"could not be read: {cause_of(error)}", unsure=may_have_arrived(error)) from None
    if response.status_code not in expected:
        raise NoList(f"answered {_status_line(response)}", response.status_code)
    return response


def json_of(response: Any) -> Any:
    """The JSON value of a response.

    Raises:
        NoList: it is no JSON.
    """
    try:
        return response.json()
    except (ValueError, RecursionError):
        kind = text_or_none(response.headers.get("Content-Type", ""), 60) or "of no known type"
        raise NoList(f"answered {len(response.content)} bytes that are no JSON ({kind})", 200) from None


def may_have_arrived(error: BaseException) -> bool:
    """Whether a request that ended with this exception may have reached the server: no for one that never had a connection."""
    import requests
    import urllib3

    never = (
        *(urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError, requests.ConnectTimeout),
        *(urllib3.exceptions.SSLError, ssl.SSLError, socket.gaierror),
        *(ConnectionRefusedError, FileNotFoundError, PermissionError),
    )
    return not any(isinstance(each, never) for each in _causes(error))


def cause_of(error: BaseException) -> str:
    """What is at the bottom of a library's exception, without the layers above it."""
    *_layers, innermost = _causes(error)
    if isinstance(innermost, ssl.SSLCertVerificationError):
        text = f"its certificate is not trusted, {innermost.verify_message}"
    elif isinstance(innermost, ssl.SSLError) and innermost.reason:
        reason = innermost.reason
        refused = "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)
        text = "it wants another client certificate" if refused else f"TLS failed, {reason.replace('_', ' ').lower()}"
    elif isinstance(innermost, (socket.timeout, TimeoutError)):
        text = "the rest did not come in time"
    else:
        text = getattr(innermost, "strerror", None) or str(innermost)
    return _clause(text) or type(innermost).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what is below it."""
    seen: set[int] = set()
    innermost: BaseException | None = error
    while innermost is not None:
        yield innermost
        seen.add(id(innermost))
        # What was being handled may be a detour of the library's own, such as a call that an older Python does not know.
        handled = innermost.__context__ if isinstance(innermost.__context__, OSError) else None
        below = (getattr(innermost, "reason", None), *innermost.args, innermost.__cause__, handled)
        innermost = next((each for each in below if isinstance(each, BaseException) and id(each) not in seen), None)


def _status_line(response: Any) -> str:
    """Status and reason, and what an engine says of it in its body: {"message": "..."}."""
    message = ""
    with contextlib.suppress(ValueError, RecursionError):
        body = response.json()
        message = _clause(body.get("message")) if isinstance(body, dict) else ""
    words = f"{response.status_code} {_clause(response.reason)}".strip()
    return f"{words}: {message}" if message else words


def _clause(text: object) -> str:
    """A text of others as a part of a sentence, on one line."""
    return " ".join((text_or_none(text, _LONGEST_CAUSE) or "").split()).rstrip(".")
