# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may see what: bearer tokens for programs, a signed cookie for browsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Response, render_template, request
from itsdangerous import BadData, URLSafeTimedSerializer

from .problems import ProblemError
from .tokens import LONGEST

if TYPE_CHECKING:
    from flask import Flask

    from .configuration import Configuration
    from .credentials import Credentials
    from .metrics import RequestMetrics

COOKIE = "mission_control_session"
LIFETIME = 12 * 3600
OFF = "No API token is configured, so API and page are off: put one into the file api-tokens and restart the service."
_CHALLENGE = 'Bearer realm="mission-control"'
_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Access:
    """Checks requests against the configured tokens."""

    def __init__(self, configuration: Configuration, credentials: Credentials, metrics: RequestMetrics) -> None:
        self._tokens = credentials.tokens
        self._secure = configuration.cookie_secure
        self._serializer = URLSafeTimedSerializer(credentials.cookie_key, salt="mission-control-page")
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
        if match is None or self._fingerprint(match[1]) is None:
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise ProblemError(401, "The API token is not known here.", headers={"WWW-Authenticate": challenge})

    def _fingerprint(self, token: str) -> str | None:
        found = self._tokens.fingerprint(token) if len(token) <= LONGEST else None
        if found is None:
            self._metrics.rejected_tokens.inc()
        return found

    def logged_in(self) -> bool:
        """Whether the request has a cookie of ours that has not expired, and whose token is still known."""
        try:
            fingerprint = self._serializer.loads(request.cookies.get(COOKIE, ""), max_age=LIFETIME)
        except BadData:
            return False
        return isinstance(fingerprint, str) and self._tokens.has_fingerprint(fingerprint)

    def log_in(self, token: str) -> Response | None:
        """An answer that sets the cookie; None if the token is not known."""
        fingerprint = self._fingerprint(token)
        if fingerprint is None:
            return None
        answer = Response(status=303, headers={"Location": "/"})
        value = self._serializer.dumps(fingerprint)
        text = value if isinstance(value, str) else value.decode()
        secure = self._secure == "always" or (self._secure == "auto" and request.is_secure)
        answer.set_cookie(COOKIE, text, max_age=LIFETIME, httponly=True, samesite="Strict", secure=secure, path="/")
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
        answer = Response(status=303, headers={"Location": "/login"})
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return answer


def _require_own_form() -> None:
    if from_elsewhere():
        raise ProblemError(403, "This form was sent from another site.")
