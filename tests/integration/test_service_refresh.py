"""The one request that changes something: who may ask for a refresh, what becomes of it, and that it opens nothing else."""

import json
import threading

import psycopg2
import pytest
from inventory_rows import add_source, end_queued
from mission_control_service.access import COOKIE
from mission_control_service.sessions import form_key
from service_lab import (
    AUTHORIZATION,
    OTHER_TOKEN,
    REFRESH_AUTHORIZATION,
    REFRESH_TOKEN,
    REFRESHER,
    TOKEN,
    application,
    close_application,
)

PATH = "/api/v1/inventory/refresh"
QUEUED = "SELECT count(*) FROM task_runs WHERE status = 'queued'"


@pytest.fixture
def session(database):
    session = database.session("admin")
    for name in ("k8s-main", "nas"):
        add_source(session, name, interval_seconds=300)
    add_source(session, "old", "docker", enabled=False)
    return session


@pytest.fixture
def app(tmp_path, database, session):
    app = application(tmp_path, database, health_cache_seconds=60)
    yield app
    close_application(app)


@pytest.fixture
def client(app):
    return app.test_client()


def refresh(client, body=None, headers=REFRESH_AUTHORIZATION, **more):
    return client.post(PATH, json=body, headers=headers, **more)


def is_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    return answer.json["detail"]


def test_a_run_is_queued_for_each_enabled_source_and_asking_again_gives_the_same_ones(client, session):
    session.run("LISTEN mission_control_inventory")
    first = refresh(client)
    assert first.status_code == 202
    runs = session.rows(
        "SELECT s.name AS source, r.id::text AS task_run_id, r.status FROM task_runs AS r "
        "JOIN inventory_sources AS s USING (task_id) ORDER BY s.name"
    )
    assert first.json == {"items": runs}
    assert [(run["source"], run["status"]) for run in runs] == [("k8s-main", "queued"), ("nas", "queued")]
    assert first.headers["Location"] == f"/api/v1/task-runs/{runs[0]['task_run_id']}"
    assert client.get(first.headers["Location"], headers=AUTHORIZATION).json["status"] == "queued"
    for body in (None, {}, {"sources": ["nas", "k8s-main", "nas"]}):
        again = refresh(client, body)
        assert (again.status_code, again.json) == (202, first.json)
    assert session.value(QUEUED) == 2
    session.connection.poll()
    assert [each.channel for each in session.connection.notifies] == ["mission_control_inventory"]


def test_the_run_keeps_the_name_of_the_token_and_no_token(client, session):
    refresh(client, {"sources": ["nas"]}, headers={**REFRESH_AUTHORIZATION, "X-Requested-By": "somebody else"})
    [event] = session.values("SELECT payload FROM task_events")
    assert event["requested_by"] == REFRESHER
    assert event["database_role"] == "mission_control_service"
    assert REFRESH_TOKEN not in json.dumps(event)


def test_what_cannot_be_refreshed_is_refused_as_a_whole(client, session):
    assert "There is no source misspelt" in is_problem(refresh(client, {"sources": ["nas", "misspelt"]}), 422)
    # The function would queue the other one.
    assert "Disabled, or synced by a playbook, so it cannot be refreshed: old." in is_problem(
        refresh(client, {"sources": ["nas", "old"]}), 409
    )
    assert session.value(QUEUED) == 0
    session.run("UPDATE inventory_sources SET enabled = false")
    assert "No source of the inventory is enabled" in is_problem(refresh(client), 409)


def test_too_soon_says_when_it_is_time_again(client, session):
    refresh(client, {"sources": ["nas"]})
    end_queued(session, minutes_ago=0)
    answer = refresh(client)
    assert "A refresh of nas was asked for a moment ago" in is_problem(answer, 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert session.value(QUEUED) == 0
    end_queued(session)
    session.run("UPDATE task_runs SET created_at = now() - interval '1 minute'")
    assert refresh(client).status_code == 202


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"sources=nas", "application/x-www-form-urlencoded", 415),
        (b'{"sources": ["nas"]}', "text/plain", 415),
        (b'{"sources": ["nas"]}', None, 415),
        (b'{"sources": ["nas"', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 16_000, "application/json", 400),
        (b'["nas"]', "application/json", 400),
        (b"null", "application/json", 400),
        (b'{"source": ["nas"]}', "application/json", 400),
        (b'{"sources": "nas"}', "application/json", 400),
        (b'{"sources": null}', "application/json", 400),
        (b'{"sources": []}', "application/json", 400),
        (b'{"sources": ["nas", 1]}', "application/json", 400),
        (b'{"sources": ["\\ud800"]}', "application/json", 400),
        (b'{"sources": ["nas\\u0000"]}', "application/json", 400),
        (b'{"sources": ["' + b"x" * 20_000 + b'"]}', "application/json", 413),
    ],
)
def test_a_body_that_is_not_what_it_has_to_be_is_refused(client, session, body, content_type, status):
    is_problem(client.post(PATH, data=body, content_type=content_type, headers=REFRESH_AUTHORIZATION), status)
    assert session.value(QUEUED) == 0


def test_a_body_without_an_end_and_a_parameter_are_refused(client):
    endless = {**REFRESH_AUTHORIZATION, "Transfer-Encoding": "chunked"}
    with open("/dev/zero", "rb") as zeros:
        is_problem(client.post(PATH, input_stream=zeros, headers=endless), 411)
    assert client.post(f"{PATH}?force=true", headers=REFRESH_AUTHORIZATION).json["parameter"] == "force"


def test_a_charset_and_a_missing_body_are_no_problem(client):
    body = {"data": b'{"sources": ["nas"]}', "content_type": "application/json; charset=utf-8"}
    assert client.post(PATH, headers=REFRESH_AUTHORIZATION, **body).status_code == 202
    assert client.post(PATH, headers=REFRESH_AUTHORIZATION).status_code == 202


def test_each_kind_of_token_opens_its_own_and_nothing_else(client, session):
    for token in (TOKEN, OTHER_TOKEN):
        answer = refresh(client, headers={"Authorization": f"Bearer {token}"})
        assert "An API token may read" in is_problem(answer, 403)
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    for path in ("/summary", "/inventory/sources", "/inventory/hosts", "/task-runs", "/usage/tokens"):
        answer = client.get(f"/api/v1{path}", headers=REFRESH_AUTHORIZATION)
        assert "A refresh token may ask for a refresh" in is_problem(answer, 403)
    for headers in (
        {},
        {"Authorization": REFRESH_TOKEN},
        {"Authorization": f"Bearer {REFRESH_TOKEN}x"},
        {"Authorization": f"Bearer {REFRESHER} {REFRESH_TOKEN}"},
    ):
        answer = refresh(client, headers=headers)
        is_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    # A browser's session does not stand for a token, whatever it may do on the page.
    client.post("/login", data={"token": REFRESH_TOKEN})
    is_problem(refresh(client, headers={}), 401)
    assert session.value(QUEUED) == 0


def test_without_a_refresh_token_nobody_may_ask_for_one(tmp_path, database, session):
    app = application(tmp_path, database, refresh_tokens={})
    try:
        assert "No refresh token is configured" in is_problem(refresh(app.test_client(), headers=AUTHORIZATION), 404)
    finally:
        close_application(app)
    assert session.value(QUEUED) == 0


def test_hundreds_of_requests_at_once_leave_one_queued_run_for_each_source(app, session):
    statuses = []

    def ask():
        client = app.test_client()
        statuses.extend(refresh(client).status_code for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Under load the database may be too busy for some of them.
    assert len(statuses) == 300
    assert set(statuses) <= {202, 503}
    assert statuses.count(202) > 0
    assert session.value(QUEUED) == 2
    assert session.value("SELECT count(*) FROM task_events") == 2


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO task_runs (task_id) SELECT task_id FROM inventory_sources",
        "UPDATE inventory_sources SET enabled = false",
        "DELETE FROM hosts",
        "INSERT INTO task_events (task_run_id, sequence, type) SELECT id, 1, 'log' FROM task_runs",
        "SELECT forget_gone_inventory('1 day')",
    ],
)
def test_the_login_of_the_service_may_write_by_this_call_alone(database, session, statement):
    """Also in a transaction like the one of the call."""
    service = database.session("service")
    service.run("BEGIN READ WRITE")
    service.run("SELECT request_inventory_refresh()")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        service.run(statement)
    service.run("ROLLBACK")


def test_other_readings_of_the_service_stay_read_only(app):
    database = app.extensions["mission_control_database"]
    read_only = "SELECT current_setting('transaction_read_only') AS read_only"
    assert database.write(lambda caller: caller.row(read_only)) == {"read_only": "off"}
    for snapshot in (False, True):
        assert database.read(lambda reader: reader.row(read_only), snapshot) == {"read_only": "on"}


def test_the_sources_are_listed_with_what_became_of_their_last_sync(client, session):
    session.insert("hosts", name="node1", type="k8s-node", source="nas", external_id="node/1")
    gone = session.value("SELECT now()")
    session.insert("workloads", name="web", type="k8s-pod", source="nas", external_id="pod/1", gone_at=gone)
    add_source(session, "zeta", "proxmox", complete_minutes_ago=4, cluster="home")
    add_source(session, "dead", "docker", error="The engine at unix:///run/docker.sock does not answer.")
    items = {
        item["name"]: item for item in client.get("/api/v1/inventory/sources", headers=AUTHORIZATION).json["items"]
    }
    assert list(items) == ["dead", "k8s-main", "nas", "old", "zeta"]
    assert [items["nas"][name] for name in ("hosts", "services", "workloads", "gone")] == [1, 0, 0, 1]
    assert (items["nas"]["complete_seconds"], items["nas"]["last_run_status"]) == (None, None)
    assert 240 <= items["zeta"]["complete_seconds"] < 600
    assert (items["zeta"]["cluster"], items["zeta"]["last_run_status"]) == ("home", "succeeded")
    assert items["dead"]["last_run_status"] == "failed"
    assert items["dead"]["last_run_error"] == "The engine at unix:///run/docker.sock does not answer."
    for query, names in (("enabled=false", ["old"]), ("connector=proxmox", ["zeta"]), ("name=nas", ["nas"])):
        answer = client.get(f"/api/v1/inventory/sources?{query}", headers=AUTHORIZATION)
        assert [item["name"] for item in answer.json["items"]] == names


# The page ---------------------------------------------------------------------------------------------------------------


def log_in(client, *tokens):
    for token in tokens:
        answer = client.post("/login", data={"token": token})
        assert answer.status_code == 303, answer.text


def form_of(text):
    """What the form of the page that asks for a refresh sends; None where there is none."""
    if 'action="/inventory/refresh"' not in text:
        return None
    return {"key": text.split('name="key" value="')[1].split('"')[0]}


def section(text):
    return text.split('id="sources"')[1].split("</section>")[0]


def test_a_session_that_may_reads_the_sources_and_refreshes_them_from_the_page(client, session):
    add_source(session, "zeta", "proxmox", complete_minutes_ago=4)
    log_in(client, TOKEN, REFRESH_TOKEN)
    page = client.get("/").text
    for text in ("k8s-main", "Kubernetes", "never", "zeta", "Proxmox", "4 minutes ago", "not enabled", "none yet"):
        assert text in section(page), text
    assert page.count('<input id="token"') == 0
    answer = client.post("/inventory/refresh", data=form_of(page), headers={"Origin": "http://localhost"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/#sources")
    assert session.value(QUEUED) == 3
    assert set(session.values("SELECT payload ->> 'requested_by' FROM task_events")) == {REFRESHER}
    assert "Queued: k8s-main, nas, zeta." in client.get("/").text
    assert "Queued:" not in client.get("/").text
    end_queued(session, minutes_ago=0)
    client.post("/inventory/refresh", data=form_of(page))
    assert "was asked for a moment ago: try again in" in section(client.get("/").text)


def test_a_session_without_the_right_cannot_and_is_shown_how_to_get_it(client, session):
    log_in(client, TOKEN)
    page = client.get("/").text
    assert form_of(page) is None
    assert "<summary>Refresh the inventory" in section(page)
    other = client.application.test_client()
    log_in(other, TOKEN, REFRESH_TOKEN)
    stolen = form_of(other.get("/").text)
    for form in ({"other": "x"}, {"key": ""}, stolen):
        is_problem(client.post("/inventory/refresh", data=form), 403)
    # The right key of this session, by which nothing is won without the right.
    form = {"key": form_key(client.get_cookie(COOKIE).value)}
    assert "This session may read only" in is_problem(client.post("/inventory/refresh", data=form), 403)
    assert session.value(QUEUED) == 0
    log_in(client, REFRESH_TOKEN)
    assert form_of(client.get("/").text)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_or_another_session_is_refused(client, session, headers):
    log_in(client, TOKEN, REFRESH_TOKEN)
    form = form_of(client.get("/").text)
    is_problem(client.post("/inventory/refresh", data=form, headers=headers), 403)
    is_problem(client.post("/inventory/refresh", data={"key": form["key"][:-1] + "x"}), 403)
    is_problem(client.post("/inventory/refresh", data={"key": "\u00e9"}), 403)
    assert session.value(QUEUED) == 0
    nobody = client.application.test_client()
    assert nobody.post("/inventory/refresh", data=form).headers["Location"] == "/login"
    client.post("/logout")
    assert client.post("/inventory/refresh", data=form).headers["Location"] == "/login"
    assert session.value(QUEUED) == 0


def test_with_a_refresh_token_alone_a_session_reads_nothing(client, session):
    session.insert("hosts", name="secret-host", type="vm", status="offline")
    log_in(client, REFRESH_TOKEN)
    page = client.get("/").text
    for text in ("secret-host", "k8s-main", "Health checks", "Cost"):
        assert text not in page
    assert client.post("/inventory/refresh", data=form_of(page)).headers["Location"] == "/"
    assert "Queued: k8s-main, nas." in client.get("/").text


def test_without_a_source_the_page_says_how_one_is_added(client, session):
    session.run("DELETE FROM inventory_sources")
    log_in(client, TOKEN, REFRESH_TOKEN)
    page = client.get("/").text
    assert "docs/inventory.md" in section(page)
    client.post("/inventory/refresh", data=form_of(page))
    assert "No source of the inventory is enabled" in section(client.get("/").text)


def test_what_a_source_says_is_escaped(client, session):
    add_source(session, "odd", error="<script>alert(1)</script>")
    log_in(client, TOKEN)
    assert "&lt;script&gt;" in section(client.get("/").text)
    assert "<script" not in client.get("/").text


def test_no_token_and_no_form_key_is_in_an_answer_or_a_log(client, session, caplog):
    log_in(client, TOKEN, REFRESH_TOKEN)
    form = form_of(client.get("/").text)
    session.run("ALTER FUNCTION request_inventory_refresh(text[], text) RENAME TO away")
    answers = [
        refresh(client),
        refresh(client, headers={"Authorization": f"Bearer {REFRESH_TOKEN}x"}),
        client.get("/api/v1/summary", headers=REFRESH_AUTHORIZATION),
        client.post("/inventory/refresh", data=form),
        client.get("/metrics"),
        client.get("/health"),
    ]
    assert answers[0].status_code == 503
    told = [answer.text for answer in answers] + [caplog.text]
    assert caplog.text
    for secret in (TOKEN, REFRESH_TOKEN, form["key"]):
        assert all(secret not in text for text in told)
