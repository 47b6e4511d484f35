# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers that are errors: problem documents (RFC 9457), or a page where a browser asks."""

from __future__ import annotations

import json
from http import HTTPStatus
from logging import getLogger
from typing import TYPE_CHECKING, Any

from flask import Response, render_template, request
from werkzeug.exceptions import HTTPException

from .database import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Flask

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER = "5"
logger = getLogger("mission_control_service")


class ProblemError(Exception):
    """An answer that is an error, with what the caller should know.

    Attributes:
        status: of HTTP.
        detail: a sentence.
        parameter: the query parameter, or the member of the body, that is wrong, if one is.
        headers: further ones of the answer.
    """

    def __init__(
        self, status: int, detail: str, parameter: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.headers = dict(headers or {})


def problem(
    status: int, detail: str, parameter: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if parameter is not None:
        content["parameter"] = parameter
    if request.accept_mimetypes.best_match((MEDIA_TYPE, "text/html")) == "text/html":
        answer = Response(render_template("problem.html", problem=content), status)
    else:
        answer = Response(json.dumps(content), status, mimetype=MEDIA_TYPE)
    answer.headers.update(headers or {})
    return answer


def register_errors(app: Flask) -> None:
    @app.errorhandler(ProblemError)
    def show_problem(error: ProblemError) -> Response:
        return problem(error.status, error.detail, error.parameter, error.headers)

    @app.errorhandler(UnavailableError)
    def show_unavailable(error: UnavailableError) -> Response:
        # Look anew, unless it is a check that has found it out just now.
        if error.look_anew:
            app.extensions["mission_control_health"].expire()
        return problem(503, str(error), headers={"Retry-After": _RETRY_AFTER})

    @app.errorhandler(HTTPException)
    def show_http_error(error: HTTPException) -> Response | HTTPException:
        code = error.code or 500
        if code < 400:
            return error
        kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        return problem(code, _DETAILS.get(code, HTTPStatus(code).description or HTTPStatus(code).phrase), headers=kept)

    @app.errorhandler(Exception)
    def show_failure(error: Exception) -> Response:
        # The traceback is for the log alone.
        logger.error("Answering %s %s failed", request.method, request.path, exc_info=error)
        return problem(500, "Something went wrong in the service; its log says what.")


_DETAILS = {
    400: "The request cannot be understood.",
    404: "There is nothing at this address.",
    405: "This address does not take this method; see the header Allow.",
    413: "The body of the request is too large.",
}
