# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may see what: bearer tokens for programs, a cookie with the name of a session for browsers.

Tokens that read and that ask for a refresh are the service's own. Those of approvers the database knows.
"""

from __future__ import annotations

import hmac
import re
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Response, render_template, request, url_for
from mission_control.database.settings import Secret

from .database import UnavailableError
from .problems import ProblemError
from .sessions import APPROVES_FOR, LIFETIME, Approver, Session, Sessions, form_key

if TYPE_CHECKING:
    from flask import Flask

    from .approvals import Approvals
    from .configuration import Configuration
    from .credentials import Credentials
    from .metrics import RequestMetrics
    from .tokens import Tokens

COOKIE = "mission_control_session"
OFF = "No API token is configured, so API and page are off: put one into the file api-tokens and restart the service."
NO_REFRESH = "No refresh token is configured, so nobody may ask for a refresh: put one into the file refresh-tokens and restart the service."
_READS_ONLY = "An API token may read and ask for nothing: send a refresh token."
_REFRESHES_ONLY = "A refresh token may ask for a refresh of the inventory and read nothing: send an API token."
_CHALLENGE = 'Bearer realm="mission-control"'
_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Access:
    """Checks requests against the configured tokens."""

    def __init__(
        self, configuration: Configuration, credentials: Credentials, metrics: RequestMetrics, approvals: Approvals
    ) -> None:
        self._tokens = credentials.tokens
        self._refresh_tokens = credentials.refresh_tokens
        self._secure = configuration.cookie_secure
        self._sessions = Sessions()
        self._metrics = metrics
        self._approvals = approvals

    def require_on(self) -> None:
        """Raises: ProblemError 404 while no token of either kind is configured."""
        if not self._tokens and not self._refresh_tokens:
            raise ProblemError(404, OFF)

    def require_token(self) -> None:
        """Raises: ProblemError 404 while no API token is configured; 401 without a known bearer token; 403 with a refresh token."""
        self._bearer(self._tokens, OFF, self._refresh_tokens, _REFRESHES_ONLY)

    def require_refresh_token(self) -> str:
        """The name of the refresh token of this request.

        Raises:
            ProblemError: 404 while no refresh token is configured; 401 without a known bearer token; 403 with an API token.
        """
        token = self._bearer(self._refresh_tokens, NO_REFRESH, self._tokens, _READS_ONLY)
        return self._refresh_tokens.name_of(token) or ""

    def _bearer(self, wanted: Tokens, off: str, others: Tokens, refusal: str) -> str:
        if not wanted:
            raise ProblemError(404, off)
        header = request.headers.get("Authorization")
        if header is None:
            raise ProblemError(
                401, "Send a token: Authorization: Bearer TOKEN.", headers={"WWW-Authenticate": _CHALLENGE}
            )
        match = _BEARER.fullmatch(header)
        if match is not None and wanted.know(match[1]):
            return match[1]
        if match is not None and others.know(match[1]):
            challenge = f'{_CHALLENGE}, error="insufficient_scope"'
            raise ProblemError(403, refusal, headers={"WWW-Authenticate": challenge})
        if match is not None:
            self._metrics.rejected_tokens.inc()
        challenge = f'{_CHALLENGE}, error="invalid_token"'
        raise ProblemError(401, "The token is not known here.", headers={"WWW-Authenticate": challenge})

    @property
    def refreshable(self) -> bool:
        """Whether anybody may ask for a refresh."""
        return bool(self._refresh_tokens)

    def forget_tokens(self) -> None:
        """Let go of the approvers' tokens whose time is over."""
        self._sessions.forget_tokens()

    def session(self) -> Session | None:
        """The session that the cookie of the request names; None where it has ended or there is none."""
        return self._sessions.find(request.cookies.get(COOKIE, ""))

    def form_key(self) -> str:
        """What the forms of this session hold, so that nobody else can have made them."""
        return form_key(request.cookies.get(COOKIE, ""))

    def require_own_form(self) -> None:
        """Raises: ProblemError 403; the form is not one that this service has made for this session. 411; it has no length."""
        require_form()
        given = request.form.get("key", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self.form_key().encode()):
            raise ProblemError(403, "This form is of another session than this one: go to the page and try again.")

    def log_in(self, token: str) -> Response | None:
        """An answer that sets the cookie; None if the token is not known. Who is logged in keeps the rights of all tokens.

        Raises:
            UnavailableError: it may be an approver's, and the database cannot be asked.
        """
        session = Session(self._tokens.know(token), self._refresh_tokens.name_of(token))
        if not session.may_anything:
            name = self._approvals.name_of(token)
            if name is not None:
                session.approver = Approver(name, Secret(token), monotonic() + APPROVES_FOR)
        if not session.may_anything:
            self._metrics.rejected_tokens.inc()
            return None
        place = url_for("tool_pages.show_calls") if session.approver else "/"
        before = self.session()
        if before is not None:
            session.reads = session.reads or before.reads
            session.refresher = session.refresher or before.refresher
            session.approver = session.approver or before.approver
            self._sessions.end(request.cookies.get(COOKIE, ""))
        answer = Response(status=303, headers={"Location": place})
        secure = self._secure == "always" or (self._secure == "auto" and request.is_secure)
        answer.set_cookie(
            COOKIE,
            self._sessions.begin(session),
            max_age=LIFETIME,
            httponly=True,
            samesite="Strict",
            secure=secure,
            path="/",
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
    # Also where nobody looks at the page: probes and scrapes come every few seconds.
    app.before_request(access.forget_tokens)

    @app.get("/login")
    def show_login() -> Response:
        access.require_on()
        if access.session() is not None:
            return Response(status=303, headers={"Location": "/"})
        return Response(render_template("login.html", problem=None))

    @app.post("/login")
    def log_in() -> Response:
        access.require_on()
        require_form()
        try:
            answer = access.log_in(request.form.get("token", "").strip())
        except UnavailableError as error:
            if error.look_anew:
                app.extensions["mission_control_health"].expire()
            problem = (
                f"This service does not know the token, and whether it is an approver's cannot be asked now: {error}"
            )
            return Response(render_template("login.html", problem=problem), 503)
        return answer or Response(render_template("login.html", problem="This token is not known here."), 403)

    @app.post("/logout")
    def log_out() -> Response:
        access.require_on()
        _require_own_origin()
        return access.log_out()


def require_form() -> None:
    """Raises: ProblemError 403; the form is one of another site. 411; it has no length."""
    _require_own_origin()
    if request.content_length is None:
        # A body without a length would be read to its end, however far that is.
        raise ProblemError(411, "The request has no Content-Length.")


def _require_own_origin() -> None:
    if from_elsewhere():
        raise ProblemError(
            403,
            "This form was sent from another site than this one, so it was refused: log in at the address that the browser shows. "
            "A proxy before the service has to hand on the header Host.",
        )
