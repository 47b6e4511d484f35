"""The read API: who gets in, and whether lists and objects are what the tables hold."""

import datetime

import pytest
from sample_rows import fill_every_table
from service_lab import AUTHORIZATION, OTHER_TOKEN, TOKEN, application, close_application

API = "/api/v1"
LISTS = (
    "/inventory",
    "/inventory/hosts",
    "/inventory/workloads",
    "/services",
    "/tasks",
    "/task-runs",
    "/usage/tokens",
    "/budgets",
)


@pytest.fixture(scope="module")
def rows(shared_database):
    """One row of each table, and lists with many that are alike."""
    session = shared_database.session("admin")
    rows = fill_every_table(session)
    session.run(
        "INSERT INTO hosts (name, type, cluster, status) SELECT 'node ' || n % 9, 'vm', 'rack ' || n, "
        "CASE WHEN n % 2 = 0 THEN 'online' ELSE 'offline' END FROM generate_series(1, 45) AS n"
    )
    session.run("INSERT INTO hosts (name, type, gone_at) VALUES ('retired', 'vm', now())")
    session.run("INSERT INTO workloads (name, type) SELECT 'pod ' || n, 'k8s-pod' FROM generate_series(1, 30) AS n")
    # All in one transaction, so with equal times.
    session.run(
        "INSERT INTO task_runs (task_id, status) SELECT %s, 'queued' FROM generate_series(1, 25)", rows["tasks"]["id"]
    )
    session.run(
        "INSERT INTO task_events (task_run_id, sequence, type, payload) "
        "SELECT %s, n, 'log', '{\"secret\": \"hunter2\"}' FROM generate_series(2, 40) AS n",
        rows["task_runs"]["id"],
    )
    return rows


@pytest.fixture(scope="module")
def app(tmp_path_factory, shared_database, rows):
    app = application(tmp_path_factory.mktemp("service"), shared_database, health_cache_seconds=60)
    yield app
    close_application(app)


@pytest.fixture
def get(app):
    """A function that asks the API with a token."""
    client = app.test_client()
    return lambda path, **query: client.get(API + path, query_string=query, headers=AUTHORIZATION)


def pages(get, path, limit, **query):
    """All items of a list, page by page."""
    items = []
    cursor = {}
    while True:
        answer = get(path, limit=limit, **query, **cursor)
        assert answer.status_code == 200, answer.text
        assert len(answer.json["items"]) <= limit
        items += answer.json["items"]
        if answer.json["next_cursor"] is None:
            return items
        assert len(answer.json["items"]) == limit
        cursor = {"cursor": answer.json["next_cursor"]}


def is_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["title"]
    return answer.json["detail"]


@pytest.mark.parametrize("path", [*LISTS, "/summary", "/usage"])
def test_only_a_known_token_opens_the_api(app, path):
    client = app.test_client()
    for headers in (
        {},
        {"Authorization": ""},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"Authorization": "Bearer " + "x" * 6000},
        {"Authorization": "Bearer hunter2-hunter2-\xff"},
    ):
        answer = client.get(API + path, headers=headers)
        detail = is_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert "hunter2" not in detail
    for token in (TOKEN, OTHER_TOKEN):
        assert client.get(API + path, headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_without_a_configured_token_the_api_is_off_and_says_why(tmp_path, shared_database):
    app = application(tmp_path, shared_database, tokens=(), refresh_tokens={})
    client = app.test_client()
    try:
        for path in (*(API + path for path in LISTS), f"{API}/openapi.json", "/", "/login"):
            assert "No API token is configured" in is_problem(client.get(path, headers=AUTHORIZATION), 404)
        for path in ("/health", "/ready", "/live", "/metrics"):
            assert client.get(path).status_code == 200
    finally:
        close_application(app)


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_hold_every_host_once_and_in_order(get, admin_of_shared, limit):
    items = pages(get, "/inventory/hosts", limit)
    assert [host["id"] for host in items] == admin_of_shared.values(
        "SELECT id::text FROM hosts WHERE gone_at IS NULL ORDER BY name, id"
    )


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/inventory/workloads", "SELECT id::text FROM workloads ORDER BY id"),
        ("/task-runs", "SELECT id::text FROM task_runs ORDER BY created_at DESC, id DESC"),
        (
            "/inventory",
            "SELECT id FROM (SELECT 0 AS kind, name, id::text FROM hosts WHERE gone_at IS NULL UNION ALL "
            "SELECT 1, '', id::text FROM workloads) AS i ORDER BY kind, name, id",
        ),
    ],
)
def test_pages_of_other_lists_hold_every_row_once(get, admin_of_shared, path, query):
    for limit in (4, 11, 1000):
        assert [item["id"] for item in pages(get, path, limit)] == admin_of_shared.values(query)


def test_a_page_may_end_where_the_hosts_end(get, admin_of_shared):
    hosts = admin_of_shared.value("SELECT count(*)::int FROM hosts WHERE gone_at IS NULL")
    first = get("/inventory", limit=hosts).json
    assert {item["kind"] for item in first["items"]} == {"host"}
    second = get("/inventory", limit=hosts, cursor=first["next_cursor"]).json
    assert {item["kind"] for item in second["items"]} == {"workload"}
    assert second["next_cursor"] is None


def test_filters_choose_rows(get, rows):
    online = pages(get, "/inventory/hosts", 10, status="online", type="vm")
    assert len(online) == 22
    assert {(host["status"], host["type"]) for host in online} == {("online", "vm")}
    assert [host["name"] for host in get("/inventory/hosts", name="pve1").json["items"]] == ["pve1"]
    assert get("/inventory/hosts", cluster="nowhere").json == {"items": [], "next_cursor": None}
    assert get("/inventory/hosts", name="retired").json["items"] == []
    assert len(get("/inventory/hosts", name="retired", include_gone="true").json["items"]) == 1
    on_host = get("/inventory/workloads", host_id=rows["hosts"]["id"]).json["items"]
    assert [workload["name"] for workload in on_host] == ["plex"]
    assert len(pages(get, "/task-runs", 10, task_id=rows["tasks"]["id"], status="queued")) == 26
    assert get("/task-runs", created_before="2020-01-01T00:00:00Z").json["items"] == []
    assert get("/tasks", is_template="true").json["items"] == []
    assert len(get("/tasks", is_template="false").json["items"]) == 1


def test_objects_have_the_values_of_their_rows(get, rows):
    host = get(f"/inventory/hosts/{rows['hosts']['id']}").json
    stored = rows["hosts"]
    assert (host["name"], host["cpu_cores"], host["memory_bytes"]) == ("pve1", 8.0, 2**36)
    assert datetime.datetime.fromisoformat(host["created_at"].replace("Z", "+00:00")) == stored["created_at"]
    assert host["metadata"] == {}
    workload = get(f"/inventory/workloads/{rows['workloads']['id']}").json
    assert (workload["host_id"], workload["service_id"]) == (rows["hosts"]["id"], rows["services"]["id"])
    run = get(f"/task-runs/{rows['task_runs']['id']}").json
    assert (run["task_title"], run["event_count"], run["tool_call_count"]) == ("Restart Plex", 40, 1)
    service = get("/services").json["items"][0]
    assert (service["name"], service["slo_availability_percent"]) == ("plex", 99.9)


def test_runs_and_tasks_say_what_the_language_models_cost_on_their_behalf(get, rows, admin_of_shared):
    used = {"task_run_id": rows["task_runs"]["id"], "provider": "openai", "model": "nobody knows"}
    admin_of_shared.insert("token_usage", **used, input_tokens=1)
    admin_of_shared.insert("token_usage", **used, cost_source="provider", estimated_cost_usd="1.25")
    # With the call of the sample.
    expected = {"llm_calls": 3, "unpriced_llm_calls": 1, "cost_usd": "1.252000000000"}
    run = get(f"/task-runs/{rows['task_runs']['id']}").json
    assert {name: run[name] for name in expected} == expected
    listed = {each["id"]: each for each in pages(get, "/task-runs", 10)}
    assert {name: listed[rows["task_runs"]["id"]][name] for name in expected} == expected
    others = [each for each in listed.values() if each["id"] != rows["task_runs"]["id"]]
    assert {(each["llm_calls"], each["unpriced_llm_calls"], each["cost_usd"]) for each in others} == {(0, 0, None)}
    task = get(f"/tasks/{rows['tasks']['id']}").json
    assert (task["runs_30d"], task["llm_calls_30d"], task["cost_30d_usd"]) == (len(listed), 3, "1.252000000000")


def test_budgets_say_what_is_spent_of_them(get, admin_of_shared):
    admin_of_shared.insert("llm_budgets", name="all", amount_usd=1)
    admin_of_shared.insert("llm_budgets", name="claude", amount_usd=5, provider="claude")
    [first, second] = [each for each in get("/budgets").json["items"] if each["name"] in ("all", "claude")]
    assert (first["name"], first["level"], first["amount_usd"], first["project"]) == ("all", "spent", "1.000000", None)
    assert (second["provider"], second["spent_share"], second["level"]) == ("claude", 0, "ok")
    assert [each["name"] for each in get("/budgets", level="spent").json["items"]] == ["all"]
    assert get("/budgets", project="none").json["items"] == []


def test_events_of_a_run_come_in_order_and_without_their_payload(get, rows):
    path = f"/task-runs/{rows['task_runs']['id']}/events"
    events = pages(get, path, 7)
    assert [event["sequence"] for event in events] == list(range(1, 41))
    assert "hunter2" not in get(path).text
    assert get(path, type="error").json["items"] == []


MISSING = "6f1f9a63-3f1c-4a39-8b8e-0a4c1f6f3d55"


@pytest.mark.parametrize(
    "path",
    [
        f"/inventory/hosts/{MISSING}",
        f"/inventory/workloads/{MISSING}",
        f"/task-runs/{MISSING}",
        f"/task-runs/{MISSING}/events",
        "/inventory/hosts/pve1",
        "/inventory/hosts/",
        "/nothing",
        "//inventory/hosts",
    ],
)
def test_what_is_not_there_is_a_404_problem(get, path):
    is_problem(get(path), 404)


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/inventory/hosts", {"limit": "0"}, "limit"),
        ("/inventory/hosts", {"limit": "1001"}, "limit"),
        ("/inventory/hosts", {"limit": ["1", "2"]}, "limit"),
        ("/inventory/hosts", {"colour": "red"}, "colour"),
        ("/inventory/hosts", {"status": "asleep"}, "status"),
        ("/inventory/hosts", {"name": "\0"}, "name"),
        ("/inventory/hosts", {"cursor": "nonsense"}, "cursor"),
        ("/inventory/workloads", {"host_id": "pve1"}, "host_id"),
        ("/task-runs", {"created_after": "yesterday"}, "created_after"),
        ("/usage/tokens", {"from": "2026-02-30"}, "from"),
        ("/usage/tokens", {"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ("/usage/tokens", {"from": "2020-01-01", "to": "2026-02-01"}, "from"),
        ("/usage", {"by": "colour"}, "by"),
        ("/usage", {"by": "day,day"}, "by"),
        ("/usage", {"by": ""}, "by"),
        ("/usage", {"from": "2020-01-01", "to": "2026-02-01"}, "from"),
        ("/budgets", {"level": "high"}, "level"),
        ("/summary", {"limit": "5"}, "limit"),
        ("/openapi.json", {"limit": "5"}, "limit"),
    ],
)
def test_a_wrong_parameter_is_a_400_problem_that_names_it(get, path, query, parameter):
    answer = get(path, **query)
    is_problem(answer, 400)
    assert answer.json["parameter"] == parameter


def test_a_cursor_of_another_list_is_refused(get):
    cursor = get("/inventory/workloads", limit=1).json["next_cursor"]
    is_problem(get("/task-runs", cursor=cursor), 400)


def test_methods_that_do_not_exist_are_a_405_problem(app):
    client = app.test_client()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = client.open(f"{API}/inventory/hosts", method=method, headers=AUTHORIZATION)
        is_problem(answer, 405)
        assert "GET" in answer.headers["Allow"]


def test_a_value_never_becomes_a_part_of_a_statement(get, admin_of_shared):
    hosts = admin_of_shared.value("SELECT count(*) FROM hosts")
    for text in ("'; DROP TABLE hosts; --", "%s", "%(name)s", "x' OR '1'='1"):
        assert get("/inventory/hosts", name=text).json["items"] == []
    assert admin_of_shared.value("SELECT count(*) FROM hosts") == hosts


@pytest.fixture
def admin_of_shared(shared_database):
    return shared_database.session("admin")
