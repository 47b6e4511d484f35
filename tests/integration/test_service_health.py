"""/health, /ready, /live and what they say when something is wrong."""

import dataclasses
from types import SimpleNamespace

import pytest
from inventory_rows import add_source
from mission_control.schema.manifest import ExpectedMigration, Manifest
from mission_control_database import Database
from mission_control_service.health import public_check
from processes import wait_for
from replication_lab import Standby, primary
from service_lab import TOKEN, application, close_application


@pytest.fixture
def serve(tmp_path, shared_database):
    """A function that gives a test client for the service with these settings."""
    apps = []

    def start(database=shared_database, **settings):
        apps.append(application(tmp_path, database, **settings))
        return apps[-1].test_client()

    yield start
    for app in apps:
        close_application(app)


def checks_of(answer):
    return {check["name"]: check for check in answer.json["checks"]}


def test_health_has_the_shape_of_the_seed_and_every_check(serve):
    answer = serve(environment="homelab").get("/health")
    assert answer.status_code == 200
    assert answer.json["status"] in ("ok", "degraded")
    assert answer.json["timestamp"].endswith("Z")
    assert answer.json["uptime"] >= 0
    assert answer.json["environment"] == "homelab"
    assert answer.json["version"] == Manifest.built_in().version
    assert answer.json["database"]["connected"] is True
    assert set(answer.json["database"]["pool"]) == {"total", "idle", "waiting"}
    assert answer.json["database"]["pool"]["total"] == 1
    checks = checks_of(answer)
    assert checks["migrations"]["status"] == "pass"
    assert checks["schema_objects"]["status"] == "pass"
    assert checks["audit_chain"]["status"] == "pass"


def test_a_provisioned_database_is_ready(serve):
    answer = serve().get("/ready")
    assert (answer.status_code, answer.json["ready"], answer.json["message"]) == (200, True, None)


def test_a_pending_migration_degrades_health_and_is_not_ready(serve):
    manifest = Manifest.built_in()
    ahead = dataclasses.replace(
        manifest, migrations=(*manifest.migrations, ExpectedMigration("bundle", 999, "999_more.sql", "0" * 64))
    )
    client = serve(manifest=ahead)
    health = client.get("/health")
    assert (health.status_code, health.json["status"]) == (200, "degraded")
    ready = client.get("/ready")
    assert ready.status_code == 503
    assert "999_more.sql" in ready.json["message"]


def test_a_schema_newer_than_the_code_is_not_ready(serve):
    manifest = Manifest.built_in()
    client = serve(manifest=dataclasses.replace(manifest, migrations=manifest.migrations[:-1]))
    assert client.get("/ready").status_code == 503


def test_drift_is_an_error(serve):
    manifest = Manifest.built_in()
    first = dataclasses.replace(manifest.migrations[0], checksum="0" * 64)
    client = serve(manifest=dataclasses.replace(manifest, migrations=(first, *manifest.migrations[1:])))
    health = client.get("/health")
    assert (health.status_code, health.json["status"]) == (503, "error")
    assert health.json["database"]["connected"] is True


def test_without_a_database_only_live_is_well_and_no_answer_tells_more_than_that(serve, shared_database):
    class Nowhere:
        name = "secret_database"

        class cluster:  # noqa: N801 - stands for an object
            socket_directory = "/nowhere/secret_directory"
            port = 1

    client = serve(database=Nowhere)
    live = client.get("/live")
    assert (live.status_code, live.json["live"]) == (200, True)
    answers = [client.get(path) for path in ("/health", "/ready", "/metrics")]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].json["status"] == "error"
    assert answers[0].json["database"]["connected"] is False
    assert "mission_control_up 0.0" in answers[2].text
    api = client.get("/api/v1/inventory/hosts", headers={"Authorization": "Bearer correct-horse-battery-staple"})
    assert api.status_code == 503
    assert api.headers["Retry-After"]
    for answer in (*answers, api):
        assert "secret" not in answer.text
        assert "mission_control_service" not in answer.text
        assert "could not connect" not in answer.text


def test_what_a_login_may_not_see_is_told_as_that(serve):
    checks = checks_of(serve().get("/health"))
    for name in ("backups", "inventory_sources", "budgets"):
        assert checks.pop(name)["status"] == "not checked"  # none is set up
    assert {check["status"] for check in checks.values()} <= {"pass", "warn", "not visible"}


def test_checks_tell_numbers_and_no_names(serve):
    app_checks = checks_of(serve().get("/health"))
    for check in app_checks.values():
        assert all(isinstance(value, (int, float)) for value in check["data"].values())


def test_a_refused_question_is_told_without_the_words_of_the_server():
    from mission_control.health.report import Check

    refused = Check("tables", "fail", 'relation "secret" does not exist', {"sqlstate": "42P01"})
    assert public_check(refused)["message"] == "The server refused the question."
    lost = Check("connection", "fail", "Cannot connect to me@host", {"error": "ConnectError"})
    assert public_check(lost) == {
        "name": "connection",
        "status": "fail",
        "message": "The database cannot be reached.",
        "data": {},
    }


def test_a_silent_source_is_told_without_the_error_of_its_sync(serve, database):
    session = database.session("admin")
    add_source(
        session, "k8s-main", complete_minutes_ago=20, interval_seconds=300, error="https://10.0.0.1:6443 refused."
    )
    answer = serve(database).get("/health")
    check = checks_of(answer)["inventory_sources"]
    assert (check["status"], check["message"]) == ("warn", "The source k8s-main had no complete sync for 20 min.")
    assert check["data"] == {"sources": 1, "by_clock": 1}
    assert "10.0.0.1" not in answer.text


@pytest.fixture(scope="module")
def pair(server_version):
    """A provisioned database on a primary with a standby, and the same database on that standby."""
    with primary() as database, Standby(database.cluster, "db2") as standby:
        standby.wait_until_caught_up()
        yield database, Database(standby, database.name)


def test_ready_asks_whether_the_database_takes_writes_where_that_is_wanted(serve, pair):
    clients = [serve(database) for database in pair]
    assert [client.get("/ready").status_code for client in clients] == [200, 200]
    assert [client.get("/ready?writable=false").status_code for client in clients] == [200, 200]
    of_primary, of_standby = (client.get("/ready?writable=true") for client in clients)
    assert (of_primary.status_code, of_primary.json["message"]) == (200, None)
    assert (of_standby.status_code, of_standby.json["ready"]) == (503, False)
    assert of_standby.json["message"] == (
        "The database is not known to take writes: The server is a standby, which takes no writes."
    )
    wrong = clients[0].get("/ready?writable=perhaps")
    assert (wrong.status_code, wrong.mimetype) == (400, "application/problem+json")
    assert wrong.json["detail"] == "writable must be true or false, not 'perhaps'."


def test_a_service_with_several_hosts_goes_on_at_the_new_primary(serve, server_version):
    """Its login is read only, which is no reason to take the primary for a server that takes no writes."""
    with primary() as database, Standby(database.cluster, "db2") as standby:
        standby.wait_until_caught_up()
        # The standby is named first.
        members = SimpleNamespace(
            socket_directory=f"{standby.socket_directory},{database.cluster.socket_directory}",
            port=f"{standby.port},{database.cluster.port}",
        )
        client = serve(Database(members, database.name))
        before = client.get("/ready?writable=true")
        database.cluster.kill()
        standby.promote()
        wait_for(lambda: client.get("/ready?writable=true").status_code == 200)
        after = checks_of(client.get("/health"))
    assert (before.status_code, before.json["message"]) == (200, None)
    assert after["replication"]["data"]["timeline"] == 2


def test_a_standby_is_shown_without_the_address_of_its_primary(serve, pair):
    database, _ = pair
    database.cluster.query("GRANT pg_monitor TO mission_control_service")
    try:
        clients = [serve(each) for each in pair]
        answers = [client.get("/health") for client in clients]
        pages = [page_of(client) for client in clients]
    finally:
        database.cluster.query("REVOKE pg_monitor FROM mission_control_service")
    of_primary, of_standby = (checks_of(answer)["replication"] for answer in answers)
    assert of_primary["message"].startswith("A primary on timeline 1, with 1 standby (1 streaming, 0 synchronous)")
    assert of_standby["message"].startswith("A standby on timeline 1 that streams, ")
    for of, check in zip(pages, (of_primary, of_standby)):
        tile = of.partition('id="database"')[2].partition("</article>")[0]
        assert check["message"].partition(",")[0] in tile
    for text in (*pages, *(answer.text for answer in answers)):
        assert database.cluster.socket_directory not in text


def test_a_database_without_standbys_has_no_word_about_them_on_the_page(serve):
    tile = page_of(serve()).partition('id="database"')[2].partition("</article>")[0]
    assert "a primary" in tile
    assert "timeline" not in tile


def page_of(client):
    client.post("/login", data={"token": TOKEN})
    return client.get("/").text


def test_head_and_options_are_answered(serve):
    client = serve()
    head = client.head("/health")
    assert (head.status_code, head.data) == (200, b"")
    assert "GET" in client.options("/health").headers["Allow"]
    wrong = client.post("/health")
    assert (wrong.status_code, wrong.mimetype) == (405, "application/problem+json")
    assert "GET" in wrong.headers["Allow"]


def test_many_callers_are_answered_from_one_check(serve, shared_database):
    client = serve(health_cache_seconds=60)
    bodies = [client.get("/health").json for _ in range(5)]
    assert len({body["checked_at"] for body in bodies}) == 1


def test_budgets_are_told_without_their_names_and_amounts(serve, database):
    session = database.session("application")
    session.insert("token_usage", provider="lab", model="m", cost_source="provider", estimated_cost_usd=9)
    for name, usd in (("family", 10), ("all", 1000)):
        session.insert("llm_budgets", name=name, amount_usd=usd)
    check = checks_of(serve(database).get("/health"))["budgets"]
    assert check == {
        "name": "budgets",
        "status": "warn",
        "message": "2 budgets for language models, of which 1 is nearly spent this month or more than spent.",
        "data": {"near": 1},
    }


def test_calls_without_a_price_are_told_without_their_models(serve, database):
    database.session("application").insert("token_usage", provider="openai", model="ft:of-the-family", input_tokens=1)
    check = checks_of(serve(database).get("/health"))["prices"]
    assert check["status"] == "warn"
    assert check["message"].endswith(" days ago; 1 call of the last 30 days without a price.")
    assert set(check["data"]) == {"age_days", "unpriced_calls"}


def test_a_policy_with_unknown_conditions_is_told_without_its_name(serve, database):
    session = database.session("admin")
    # As one from before that is understood no longer.
    session.run("ALTER TABLE policies DROP CONSTRAINT ck_policies_conditions_known")
    session.insert("policies", name="a-name", tools=["*"], effect="allow", conditions={"weekday": "monday"})
    check = checks_of(serve(database).get("/health"))["tools"]
    message = "1 policy denies all it covers, since its conditions are not known."
    assert (check["status"], check["message"]) == ("warn", message)
    assert "a-name" not in str(check)
