"""The OpenAPI document is served and true: answers are compared with it, also those to questions that make no sense."""

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from mission_control_service.resources import RESOURCES
from playbook_rows import add_playbook_run, play, result, task
from sample_rows import fill_every_table
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from service_lab import AUTHORIZATION, REFRESH_AUTHORIZATION, TOKEN, application, close_application

DOCUMENT = "/api/v1/openapi.json"


@pytest.fixture(scope="module")
def rows(shared_database):
    rows = fill_every_table(shared_database.session("admin"))
    session = shared_database.session("admin")
    session.run("INSERT INTO hosts (name, type) SELECT 'h' || n, 'vm' FROM generate_series(1, 10) AS n")
    host = {rows["hosts"]["name"]: {"host_id": rows["hosts"]["id"]}}
    steps = [play("Web"), task("Copy it"), result("Copy it", "web1")]
    run = add_playbook_run(session, hosts=host, steps=steps)
    return {**rows, "playbook_run_overview": {"id": run}}


@pytest.fixture(scope="module")
def app(tmp_path_factory, shared_database, rows):
    app = application(tmp_path_factory.mktemp("service"), shared_database, health_cache_seconds=60)
    yield app
    close_application(app)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_what_the_document_says(app, subtests, mode):
    """Also to questions that the document forbids: those are refused with a problem."""
    schema = schemathesis.openapi.from_wsgi(DOCUMENT, app)
    for found in schema.get_all_operations():
        operation = found.ok()
        with subtests.test(operation.path):
            ask_in_every_way(operation, mode)


def ask_in_every_way(operation, mode):
    # A range of days may be refused although each of the days is one, and a source that is not there: no schema can say that.
    excluded = [positive_data_acceptance] if operation.path in ("/usage", "/usage/tokens", "/inventory/refresh") else []
    authorization = REFRESH_AUTHORIZATION if operation.method == "post" else AUTHORIZATION

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        if mode is GenerationMode.POSITIVE:
            # One that no list has given is refused, and no schema can tell it from the others.
            case.query.pop("cursor", None)
        case.call_and_validate(headers=authorization, excluded_checks=excluded)

    ask()


def test_the_document_is_served_without_a_token_and_asks_for_one(app):
    answer = app.test_client().get(DOCUMENT)
    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.0"
    assert answer.json["security"] == [{"token": []}]
    assert TOKEN not in answer.text


def test_every_address_of_the_api_is_documented_and_nothing_else(app):
    document = app.test_client().get(DOCUMENT).json
    served = {
        rule.rule.removeprefix("/api/v1").replace("<uuid:identifier>", "{id}")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
    }
    assert served - {"/openapi.json"} == set(document["paths"])


def test_a_filled_answer_has_every_documented_field(app, rows):
    document = app.test_client().get(DOCUMENT).json
    single = {f"{each.path}/{{id}}": rows[each.source]["id"] for each in RESOURCES if each.single}
    single |= {each.path: rows[each.within[0].source]["id"] for each in RESOURCES if each.within}
    for path, operations in document["paths"].items():
        address = path.replace("{id}", str(single.get(path, "")))
        [(method, operation)] = operations.items()
        authorization = AUTHORIZATION if method == "get" else REFRESH_AUTHORIZATION
        answer = app.test_client().open(f"/api/v1{address}", method=method.upper(), headers=authorization)
        status = min(operation["responses"])
        assert answer.status_code == int(status), answer.text
        named = operation["responses"][status]["content"]["application/json"]["schema"]
        jsonschema.validate(
            answer.json,
            {**named, "components": document["components"]},
            jsonschema.Draft202012Validator,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        assert answer.json.get("items", True), f"{path} is empty"
