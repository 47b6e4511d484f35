# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GET /metrics in Prometheus' text format."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

from .metric_families import ServiceCollector

if TYPE_CHECKING:
    from decimal import Decimal

    from flask import Flask

    from .health import Health
    from .statistics import Statistics

# The format that every Prometheus since 0.4 reads; prometheus_client's constant says something else from version to version.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestMetrics:
    """Counts of the requests that this process has answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "mission_control_http_requests",
            "Requests answered, by route, method and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "mission_control_http_request_duration_seconds",
            "Time from the request to the complete answer, by route.",
            ("route",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self.rejected_tokens = Counter(
            "mission_control_rejected_tokens", "Requests and logins with a wrong token.", registry=registry
        )

    def register(self, app: Flask) -> None:
        @app.before_request
        def begin() -> None:
            g.began = perf_counter()

        @app.after_request
        def end(answer: Response) -> Response:
            # The pattern of the route and not the path, of which there is no end.
            route = request.url_rule.rule if request.url_rule else "none"
            method = request.method if request.method in _METHODS else "other"
            self._requests.labels(route, method, str(answer.status_code)).inc()
            self._seconds.labels(route).observe(perf_counter() - g.began)
            return answer


_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS"))


def metrics_blueprint(
    registry: CollectorRegistry, health: Health, statistics: Statistics, budget_usd: Decimal | None
) -> Blueprint:
    collector: Any = ServiceCollector(health, statistics, budget_usd)
    registry.register(collector)
    ProcessCollector(registry=registry)
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def show_metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE)

    return blueprint
