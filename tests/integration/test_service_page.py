"""The page: who may see it, and what the login lets through."""

import re

import pytest
from mission_control_service.access import COOKIE
from service_lab import OTHER_TOKEN, TOKEN, application, close_application

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def app(tmp_path_factory, shared_database):
    session = shared_database.session("admin")
    session.run("INSERT INTO hosts (name, type, status) VALUES ('nas', 'vm', 'online')")
    task = session.insert("tasks", title=SCRIPT, created_by="me")
    session.insert("task_runs", task_id=task["id"], status="running")
    app = application(tmp_path_factory.mktemp("service"), shared_database, environment="homelab")
    yield app
    close_application(app)


@pytest.fixture
def client(app):
    return app.test_client()


def log_in(client, token=TOKEN, **headers):
    return client.post("/login", data={"token": token}, headers=headers)


def test_nobody_sees_the_page_without_logging_in(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    form = client.get("/login")
    assert form.status_code == 200
    assert '<form method="post" action="/login">' in form.text


def test_a_bearer_token_is_not_taken_for_a_login(client):
    assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 303


@pytest.mark.parametrize("token", [TOKEN, f"  {OTHER_TOKEN}\n"])
def test_a_token_logs_in_and_the_cookie_is_kept_from_scripts_and_other_sites(client, token):
    answer = log_in(client, token)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="):
        assert attribute in cookie
    assert "Secure" not in cookie
    assert token.strip() not in cookie
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"


def test_over_https_the_cookie_is_secure(app):
    answer = app.test_client().post("/login", data={"token": TOKEN}, base_url="https://mission-control.lab")
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "mistaken", TOKEN[:-1], "x" * 5000, "<b>"])
def test_a_wrong_token_does_not_log_in(client, token):
    answer = log_in(client, token)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert "This token is not known here." in answer.text
    assert token not in answer.text or not token
    assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_is_refused(client, headers):
    assert log_in(client, **headers).status_code == 403
    assert log_in(client).status_code == 303
    assert client.post("/logout", headers=headers).status_code == 403
    assert client.get("/").status_code == 200


def test_a_person_is_told_on_a_page_and_a_program_in_a_problem_document(client):
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    for answer in (log_in(client, Origin="null", **browser), client.get("/nothing", headers=browser)):
        assert answer.status_code in (403, 404)
        assert answer.mimetype == "text/html"
        assert '<p role="alert">' in answer.text
        assert 'href="/"' in answer.text
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert log_in(client, Origin="null", **headers).mimetype == "application/problem+json"


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}])
def test_a_form_of_our_own_is_taken(client, headers):
    assert log_in(client, **headers).status_code == 303


def test_logging_out_ends_the_session_for_copies_of_its_cookie_too(app, client):
    log_in(client)
    copy, other = app.test_client(), app.test_client()
    copy.set_cookie(COOKIE, client.get_cookie(COOKIE).value)
    log_in(other)
    assert copy.get("/").status_code == 200
    assert client.post("/logout").headers["Location"] == "/login"
    assert client.get("/").status_code == 303
    assert copy.get("/").status_code == 303
    # Another browser of the same person is not logged out.
    assert other.get("/").status_code == 200


def test_a_cookie_that_was_changed_or_is_of_another_process_is_worth_nothing(tmp_path, app, shared_database):
    client = app.test_client()
    log_in(client)
    value = client.get_cookie(COOKIE).value
    for other in (value[:-2], value[1:], "", "x.y.z", "Ä"):
        client.set_cookie(COOKIE, other)
        assert client.get("/").status_code == 303
    elsewhere = application(tmp_path, shared_database).test_client()
    elsewhere.set_cookie(COOKIE, value)
    assert elsewhere.get("/").status_code == 303
    close_application(elsewhere.application)


def test_the_page_shows_the_state_and_escapes_what_others_wrote(client):
    log_in(client)
    page = client.get("/")
    assert re.search("<title>Database: .+ · Mission Control</title>", page.text)
    # How old each figure is, and not a promise.
    for name in ("inventory", "sources", "runs", "playbooks", "usage", "budgets", "tools", "audit", "health checks"):
        assert re.search(rf"\d s ago: {name}\b", page.text)
    assert ">homelab<" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert SCRIPT not in page.text
    assert 'scope="col"' in page.text
    # Who records no playbook is told how.
    assert "name <code>homelab.mission_control.recorder</code> in <code>callbacks_enabled</code>" in page.text


def test_what_is_not_well_in_the_inventory_is_shown_beside_what_the_checks_say(tmp_path, database):
    session = database.session("admin")
    for name, status in (("nas-away", "offline"), ("pi-slow", "degraded"), ("web-fine", "online")):
        session.insert("hosts", name=name, type="vm", status=status)
    session.insert("workloads", name="plex-crashed", type="k8s-pod", status="failed")
    app = application(tmp_path, database)
    try:
        client = app.test_client()
        log_in(client)
        text = client.get("/").text
    finally:
        close_application(app)
    assert "All well" not in text
    assert "Inventory: 3 not well" in text
    unwell = text.split('id="unwell"')[1].split("</section>")[0]
    assert re.findall(r'<th scope="row">(?:<a [^>]+>)?([^<]+)', unwell) == ["nas-away", "pi-slow", "plex-crashed"]


def test_every_answer_forbids_scripts_and_frames(client):
    log_in(client)
    for path in ("/", "/login", "/health", "/nothing", "/static/style.css", "/api/v1/tasks"):
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
    page = client.get("/").text
    assert "<script" not in page
    assert "style=" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_without_the_database_the_page_still_says_so(tmp_path):
    class Nowhere:
        name = "secret_database"

        class cluster:  # noqa: N801 - stands for an object
            socket_directory = "/nowhere/secret_directory"
            port = 1

    app = application(tmp_path, Nowhere, health_cache_seconds=60)
    client = app.test_client()
    try:
        log_in(client)
        page = client.get("/")
        assert page.status_code == 200
        assert "Not connected" in page.text
        assert "Not to be had at the moment." in page.text
        assert "secret" not in page.text
    finally:
        close_application(app)


def test_a_form_that_is_too_large_or_has_no_length_is_refused(client):
    assert client.post("/login", data={"token": "x" * 20_000}).status_code == 413
    endless = client.post("/login", input_stream=open("/dev/zero", "rb"), headers={"Transfer-Encoding": "chunked"})  # noqa: SIM115
    assert endless.status_code == 411
