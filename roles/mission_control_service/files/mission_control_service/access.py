# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may see what: bearer tokens for programs, a cookie with the name of a session for browsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Response, render_template, request

from .problems import ProblemError
from .sessions import LIFETIME, Sessions
from .tokens import LONGEST

if TYPE_CHECKING:
    from flask import Flask

    from .configuration import Configuration
    from .credentials import Credentials
    from .metrics import RequestMetrics

COOKIE = "mission_control_session"
OFF = "No API token is configured, so API and page are off: put one into the file api-tokens and restart the service."
_CHALLENGE = 'Bearer realm="mission-control"'
_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Access:
    """Checks requests against the configured tokens."""

    def __init__(self, configuration: Configuration, credentials: Credentials, metrics: RequestMetrics) -> None:
        self._tokens = credentials.tokens
        self._secure = configuration.cookie_secure
        self._sessions = Sessions()
        self._metrics = metrics

    def require_on(self) -> None:
        """Raises: ProblemError 404 while no token is configured."""
        if not self._tokens:
            raise ProblemError(404, OFF)

    def require_token(self) -> None:
        """Raises: ProblemError 404 as above; 401 without a known bearer token."""
        self.require_on()
        header = request.headers.get("Authorization")
        if header is None:
            raise ProblemError(
                401, "Send an API token: Authorization: Bearer TOKEN.", headers={"WWW-Authenticate": _CHALLENGE}
            )
        match = _BEARER.fullmatch(header)
        if match is None or not self._knows(match[1]):
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise ProblemError(401, "The API token is not known here.", headers={"WWW-Authenticate": challenge})

    def _knows(self, token: str) -> bool:
        known = len(token) <= LONGEST and self._tokens.know(token)
        if not known:
            self._metrics.rejected_tokens.inc()
        return known

    def logged_in(self) -> bool:
        """Whether the request has the cookie of a session that has not ended."""
        return self._sessions.know(request.cookies.get(COOKIE, ""))

    def log_in(self, token: str) -> Response | None:
        """An answer that sets the cookie; None if the token is not known."""
        if not self._knows(token):
            return None
        answer = Response(status=303, headers={"Location": "/"})
        secure = self._secure == "always" or (self._secure == "auto" and request.is_secure)
        answer.set_cookie(
            COOKIE, self._sessions.begin(), max_age=LIFETIME, httponly=True, samesite="Strict", secure=secure, path="/"
        )
        return answer

    def log_out(self) -> Response:
        """End the session of the request here, not only in the browser: its cookie may have been copied."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        answer = Response(status=303, headers={"Location": "/login"})
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return answer


def from_elsewhere() -> bool:
    """Whether a form was sent by a page of another origin. Browsers say so by themselves; programs have no cookie to abuse."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def register_login(app: Flask, access: Access) -> None:
    @app.get("/login")
    def show_login() -> Response:
        access.require_on()
        if access.logged_in():
            return Response(status=303, headers={"Location": "/"})
        return Response(render_template("login.html", wrong=False))

    @app.post("/login")
    def log_in() -> Response:
        access.require_on()
        _require_own_form()
        if request.content_length is None:
            # A body without a length would be read to its end, however far that is.
            raise ProblemError(411, "The request has no Content-Length.")
        answer = access.log_in(request.form.get("token", "").strip())
        return answer or Response(render_template("login.html", wrong=True), 403)

    @app.post("/logout")
    def log_out() -> Response:
        access.require_on()
        _require_own_form()
        return access.log_out()


def _require_own_form() -> None:
    if from_elsewhere():
        raise ProblemError(
            403,
            "This form was sent from another site than this one, so it was refused: log in at the address that the browser shows. "
            "A proxy before the service has to hand on the header Host.",
        )
