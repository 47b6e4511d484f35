"""Who may ask, on the Flask and gunicorn of each Debian release."""

from __future__ import annotations

import pytest

testinfra_hosts = ["debian12", "debian13"]
TOKENS = ["token-Hk4WdSz7Pn-of-the-service", "token-Jt9XcMv2Lb-of-the-service"]
REFRESH_TOKEN = "token-Lx6QrGd8Vm-that-refreshes"
PATH = "/api/v1/inventory/hosts"
REFRESH = "/api/v1/inventory/refresh"


@pytest.mark.parametrize("token", TOKENS)
def test_each_token_opens_the_api(service, token):
    answer = service.get(PATH, token)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "token",
    ["", "wrong", TOKENS[0][:-1], TOKENS[0] + "x", TOKENS[0].upper(), ", ".join(TOKENS), "x" * 4000],
    ids=["none", "wrong", "shorter", "longer", "capitals", "both", "oversized"],
)
def test_anything_else_is_refused_with_a_problem_document(service, token):
    answer = service.get(PATH, token)
    assert answer.status == 401, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "hosts" not in answer.json


def test_a_refresh_token_opens_the_refresh_alone(service):
    """Its function answers that there is no source, which is an answer of the database to the service's own login."""
    answer = service.post(REFRESH, REFRESH_TOKEN)
    assert (answer.status, answer.json["detail"]) == (
        409,
        "No source of the inventory is enabled, so there is nothing to refresh.",
    )
    assert service.status(PATH, REFRESH_TOKEN) == 403
    assert service.post(REFRESH, TOKENS[0]).status == 403
    assert service.post(REFRESH, REFRESH_TOKEN + "x").status == 401


def test_a_header_beyond_all_limits_is_refused_and_the_service_goes_on(service):
    assert service.status(PATH, "x" * 100_000) in (400, 401, 431)
    assert service.status(PATH, TOKENS[0]) == 200


def test_probes_need_no_token(service):
    answers = {path: service.status(path) for path in ("/live", "/ready", "/health", "/metrics")}
    assert answers == dict.fromkeys(answers, 200)
