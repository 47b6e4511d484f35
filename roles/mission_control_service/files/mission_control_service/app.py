# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The application: all parts put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, request
from prometheus_client import CollectorRegistry

from .access import Access, register_login
from .approvals import Approvals
from .health import Health, health_blueprint
from .incoming import LARGEST_BODY
from .inventory import inventory_blueprint
from .json_values import JsonProvider
from .metrics import RequestMetrics, metrics_blueprint
from .openapi import openapi_blueprint
from .page import page_blueprint
from .problems import ProblemError, register_errors
from .refresh import refresh_blueprint
from .run_pages import run_pages_blueprint
from .statistics import Statistics
from .summary import summary_blueprint
from .template_filters import register_filters
from .tool_pages import tool_pages_blueprint
from .usage_api import usage_blueprint

if TYPE_CHECKING:
    from mission_control.schema.manifest import Manifest

    from .configuration import Configuration
    from .credentials import Credentials
    from .database import Database

API = "/api/v1"
_LONGEST_PATH = 2048
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a browser then sends our own forms with "Origin: null", which a form of a stranger may have too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def create_app(
    configuration: Configuration, credentials: Credentials, database: Database, manifest: Manifest | None
) -> Flask:
    """The WSGI application. Nothing is connected and no thread is started before the first request."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.json = JsonProvider(app)
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    metrics.register(app)
    health = Health(database, manifest, configuration)
    app.extensions["mission_control_health"] = health
    statistics = Statistics(database)
    approvals = Approvals(database, health)
    access = Access(configuration, credentials, metrics, approvals)
    _limit_requests(app)
    register_errors(app)
    register_filters(app)
    register_login(app, access)
    app.register_blueprint(health_blueprint(health))
    app.register_blueprint(metrics_blueprint(registry, health, statistics, configuration.budget_usd))
    app.register_blueprint(page_blueprint(configuration, access, database, health, statistics))
    app.register_blueprint(run_pages_blueprint(access, database, health))
    app.register_blueprint(tool_pages_blueprint(access, approvals, database, health))
    api = Blueprint("api", __name__, url_prefix=API)
    api.before_request(access.require_token)
    api.before_request(health.require_connection)
    for part in (
        summary_blueprint(health, statistics, configuration.budget_usd),
        inventory_blueprint(database),
        usage_blueprint(database),
    ):
        api.register_blueprint(part)
    app.register_blueprint(api)
    app.register_blueprint(refresh_blueprint(API, access, health, database), url_prefix=API)
    app.register_blueprint(openapi_blueprint(API, health.version, access), url_prefix=API)
    return app


def _limit_requests(app: Flask) -> None:
    @app.before_request
    def refuse_what_is_too_large() -> None:
        if len(request.path) > _LONGEST_PATH:
            raise ProblemError(414, "The address is too long.")
        if "//" in request.path:
            # Flask would redirect to the address with one of them.
            raise ProblemError(404, "There is nothing at this address.")
        if (request.content_length or 0) > LARGEST_BODY:
            raise ProblemError(413, "The body of the request is too large.")

    @app.after_request
    def add_headers(answer: Response) -> Response:
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        if request.path.startswith("/static/") and answer.status_code == 200:
            answer.headers["Cache-Control"] = "max-age=3600"
        return answer
