"""Usage, summary and metrics against the rows they speak of."""

import datetime
import pathlib
import re
from decimal import Decimal

import pytest
from inventory_rows import add_source
from mission_control_service.figures import PROJECTS_TOLD, AuditReader, read_budgets, read_usage
from prometheus_client.parser import text_string_to_metric_families
from service_lab import AUTHORIZATION, application, close_application

BUDGET = Decimal(10)


@pytest.fixture
def session(database):
    return database.session("admin")


@pytest.fixture
def client(tmp_path, database):
    app = application(tmp_path, database, budget_usd=BUDGET)
    yield app.test_client()
    close_application(app)


def use(session, provider="openai", model="sample", days_ago=0, cost="0.25", **columns):
    """A record of use whose cost the provider has told."""
    row = {
        "provider": provider,
        "model": model,
        "input_tokens": 100,
        "output_tokens": 10,
        "estimated_cost_usd": cost,
        "cost_source": "provider",
        **columns,
    }
    at = session.value("SELECT reporting_day_start(%s) + interval '1 hour'", days_ago)
    return session.insert("token_usage", occurred_at=at, **row)


def get(client, path, **query):
    answer = complete(client, "/api/v1" + path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json


def complete(client, path, **query):
    """The answer when all figures are there: on a machine under load they may take longer than a caller waits."""
    for _ in range(20):
        answer = client.get(path, query_string=query, headers=AUTHORIZATION)
        if answer.status_code != 503 and not re.search(r"figures_up\{.*\} 0", answer.text):
            break
    return answer


def metrics(client):
    """Values by name and labels, from what a parser makes of the text."""
    answer = complete(client, "/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def test_usage_is_added_up_by_day_provider_and_model(client, session):
    for days_ago, model in ((0, "a"), (0, "a"), (0, "b"), (1, "a"), (40, "a")):
        use(session, model=model, days_ago=days_ago)
    use(session, provider="claude", model="a", days_ago=1)
    use(session, model="b", cost=None, cost_source="unpriced")
    items = get(client, "/usage/tokens")["items"]
    today = session.value("SELECT (now() AT TIME ZONE reporting_time_zone())::date")
    yesterday = today - datetime.timedelta(days=1)
    assert [(item["day"], item["provider"], item["model"], item["requests"]) for item in items] == [
        (str(today), "openai", "a", 2),
        (str(today), "openai", "b", 2),
        (str(yesterday), "claude", "a", 1),
        (str(yesterday), "openai", "a", 1),
    ]
    assert items[0]["cost_usd"] == "0.500000000000"
    assert (items[1]["cost_usd"], items[1]["unpriced_requests"]) == ("0.250000000000", 1)
    assert items[0]["input_tokens"] == 200
    old = get(client, "/usage/tokens", **{"from": str(today - datetime.timedelta(days=50)), "to": str(yesterday)})
    assert len(old["items"]) == 3
    assert len(get(client, "/usage/tokens", provider="claude")["items"]) == 1
    assert len(get(client, "/usage/tokens", model="b")["items"]) == 1


def test_usage_is_reported_by_what_is_asked_for_with_its_total(client, session):
    use(session, project="plex", agent="me", cost="1.5")
    use(session, project="plex", days_ago=1, cost="2", audio_output_tokens=7)
    use(session, project="blog", cost=None, cost_source="unpriced")
    use(session, provider="claude", cost="0.25", days_ago=40)
    use(session, provider="claude", cost="0.25")
    today = session.value("SELECT (now() AT TIME ZONE reporting_time_zone())::date")
    by_project = get(client, "/usage", by="project")
    assert [(row["project"], row["calls"], row["cost_usd"]) for row in by_project["items"]] == [
        ("plex", 2, "3.500000000000"),
        (None, 1, "0.250000000000"),
        ("blog", 1, None),
    ]
    assert (by_project["by"], by_project["groups"], by_project["time_zone"]) == (["project"], 3, "UTC")
    assert (by_project["from"], by_project["to"]) == (str(today - datetime.timedelta(days=29)), str(today))
    total = by_project["total"]
    assert (total["calls"], total["unpriced_calls"], total["cost_usd"]) == (4, 1, "3.750000000000")
    assert (total["audio_output_tokens"], total["input_tokens"]) == (7, 400)
    by_day = get(client, "/usage", by="day,agent", project="plex", limit=1)
    assert [(row["day"], row["agent"], row["cost_usd"]) for row in by_day["items"]] == [
        (str(today), "me", "1.500000000000")
    ]
    assert (by_day["groups"], by_day["total"]["cost_usd"]) == (2, "3.500000000000")
    old = get(client, "/usage", by="month", provider="claude", **{"from": str(today - datetime.timedelta(days=60))})
    assert sum(row["calls"] for row in old["items"]) == old["total"]["calls"] == 2
    nothing = get(client, "/usage", model="none")
    assert (nothing["items"], nothing["groups"], nothing["total"]["cost_usd"]) == ([], 0, None)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_usage_hold_every_sum_once(client, session, limit):
    for days_ago in range(4):
        for provider, model in (("openai", "a"), ("openai", "b"), ("claude", "a")):
            use(session, provider, model, days_ago)
    whole = get(client, "/usage/tokens")["items"]
    assert len(whole) == 12
    items = []
    cursor = {}
    while True:
        page = get(client, "/usage/tokens", limit=limit, **cursor)
        items += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert items == whole


def test_days_are_cut_in_the_reporting_time_zone(tmp_path, database, session):
    session.run(f"ALTER DATABASE {database.name} SET mission_control.reporting_time_zone = 'Pacific/Kiritimati'")
    other = database.session("admin")
    use(other)
    app = application(tmp_path, database)
    try:
        items = get(app.test_client(), "/usage/tokens")["items"]
    finally:
        close_application(app)
    assert items[0]["day"] == str(other.value("SELECT (now() AT TIME ZONE 'Pacific/Kiritimati')::date"))


def fill(session):
    """Some of everything that is counted."""
    session.run(
        "INSERT INTO hosts (name, type, status) SELECT 'h' || n, 'vm', (ARRAY['online', 'offline'])[1 + n % 2] "
        "FROM generate_series(1, 5) AS n"
    )
    session.insert("hosts", name="gone", type="vm", status="online", gone_at=session.value("SELECT now()"))
    session.insert("workloads", name="w", type="k8s-pod", status="failed")
    session.insert("services", name="plex")
    add_source(session, "nas", "docker", complete_minutes_ago=4)
    add_source(session, "never")
    session.insert("workloads", name="web", type="docker-container", source="nas", external_id="container/web")
    session.insert(
        "workloads",
        name="old",
        type="docker-container",
        source="nas",
        external_id="container/old",
        gone_at=session.value("SELECT now()"),
    )
    # Of something that is no source, which must not become a label.
    session.insert("workloads", name="odd", type="docker-container", source="whatever somebody writes", external_id="1")
    task = session.insert("tasks", title="t", created_by="me")
    runs = [
        session.insert("task_runs", task_id=task["id"], status=status, finished_at=finished)
        for status, finished in (
            ("queued", None),
            ("running", None),
            ("succeeded", session.value("SELECT now()")),
            ("failed", session.value("SELECT now()")),
        )
    ]
    tool = session.insert("tool_definitions", name="restart", risk_level="SAFE_MUTATE")
    for status in ("succeeded", "succeeded", "succeeded", "failed", "denied", "pending"):
        finished = session.value("SELECT now()") if status in ("succeeded", "failed") else None
        session.insert(
            "tool_call_records", task_run_id=runs[1]["id"], tool_id=tool["id"], status=status, finished_at=finished
        )
    for status, minutes, checked in (
        ("pending", 20, 15),
        ("pending", 90_000, 90_000),
        ("unknown", 20, 15),
        # Approved a day later, and begun just now.
        ("unknown", 2000, 15),
        ("unknown", 90_000, 90_000),
    ):
        session.run(
            "INSERT INTO tool_call_records (task_run_id, tool_id, status, created_at, checked_at, started_at) "
            "VALUES (%s, %s, %s, now() - %s * interval '1 minute', now() - %s * interval '1 minute', now() - %s * interval '1 minute')",
            *(runs[1]["id"], tool["id"], status, minutes, checked, checked),
        )
    use(session, cost="2.5", project="homelab")
    use(session, cost=None, cost_source="unpriced")
    session.insert("llm_budgets", name="homelab", amount_usd=3, project="homelab")
    session.run("SELECT note_price_list('seed', 'a list', (now() AT TIME ZONE 'UTC')::date - 40)")
    session.insert("audit_entries", actor="me", action="test", outcome="success")


def test_the_summary_is_flat_and_right(client, session):
    fill(session)
    summary = get(client, "/summary")
    assert all(isinstance(value, (str, int, float)) for value in summary.values())
    # On a machine under load the server's answers may be slow, which is a warning.
    assert summary["status"] in ("ok", "degraded")
    expected = {
        "hosts": 5,
        "hosts_online": 2,
        "hosts_offline": 3,
        "workloads_failed": 1,
        "services": 1,
        "runs_open": 2,
        "runs_succeeded_24h": 1,
        "runs_failed_24h": 1,
        "cost_today_usd": 2.5,
        "cost_month_usd": 2.5,
        "budget_usd": 10,
        "budget_used_percent": 25.0,
        "budgets_near": 1,
        "budgets_spent": 0,
        "unpriced_requests_30d": 1,
        "tokens_30d": 220,
        "tool_calls": 11,
        "tool_calls_waiting": 1,
        "tool_success_percent": 75.0,
    }
    assert {name: summary[name] for name in expected} == expected


def test_calls_that_cannot_be_counted_leave_the_other_figures(tmp_path, session, database):
    fill(session)
    # A lock as a stand-in for a log that is too large: the reading ends with the statement's time-out.
    app = application(tmp_path, database, statement_timeout=2)
    client, blocker = app.test_client(), database.session("admin")
    # Its checks, too, take longer while the table is locked.
    client.get("/health")
    with blocker.transaction():
        blocker.run("LOCK TABLE tool_call_records IN ACCESS EXCLUSIVE MODE")
        summary = get(client, "/summary")
        found = client.get("/metrics").text
    close_application(app)
    assert summary["hosts"] == 5
    assert summary["tool_calls"] is None
    assert 'mission_control_figures_up{group="tools"} 0.0' in found
    assert 'mission_control_figures_up{group="usage"} 1.0' in found


def test_the_metrics_are_right(client, session):
    fill(session)
    client.get("/live")
    found = metrics(client)
    expected = {
        ("mission_control_up",): 1,
        ("mission_control_ready",): 1,
        ("mission_control_hosts", ("status", "online")): 2,
        ("mission_control_workloads", ("status", "failed")): 1,
        ("mission_control_inventory_source_last_sync_success", ("connector", "docker"), ("source", "nas")): 1,
        ("mission_control_inventory_rows", ("kind", "workloads"), ("source", "nas"), ("state", "live")): 1,
        ("mission_control_inventory_rows", ("kind", "workloads"), ("source", "nas"), ("state", "gone")): 1,
        ("mission_control_inventory_rows", ("kind", "hosts"), ("source", "never"), ("state", "live")): 0,
        ("mission_control_task_runs_open", ("status", "running")): 1,
        ("mission_control_task_runs_finished_total", ("status", "failed")): 1,
        ("mission_control_tokens_total", ("bucket", "input"), ("model", "sample"), ("provider", "openai")): 200,
        ("mission_control_llm_cost_usd_total", ("model", "sample"), ("provider", "openai")): 2.5,
        ("mission_control_llm_unpriced_requests_total", ("model", "sample"), ("provider", "openai")): 1,
        ("mission_control_month_cost_usd",): 2.5,
        ("mission_control_budget_usd",): 10,
        ("mission_control_llm_project_month_cost_usd", ("project", "homelab")): 2.5,
        ("mission_control_llm_budget_usd", ("budget", "homelab")): 3,
        ("mission_control_llm_budget_spent_usd", ("budget", "homelab")): 2.5,
        ("mission_control_llm_budget_share", ("budget", "homelab")): pytest.approx(0.833333),
        # The setting of the service, since no budget is one of everything.
        ("mission_control_llm_budget_usd", ("budget", "all")): 10,
        ("mission_control_llm_budget_share", ("budget", "all")): 0.25,
        ("mission_control_prices_age_days", ("origin", "seed")): 40,
        ("mission_control_tool_calls_total", ("outcome", "succeeded"), ("tool", "restart")): 3,
        ("mission_control_tool_calls_total", ("outcome", "denied"), ("tool", "restart")): 1,
        ("mission_control_tool_calls_open", ("status", "pending")): 3,
        ("mission_control_tool_calls_waiting",): 1,
        ("mission_control_tool_calls_unknown",): 2,
        ("mission_control_tool_call_oldest_seconds", ("state", "approved")): 0,
        ("mission_control_audit_links_total",): 1,
        ("mission_control_audit_chain_valid",): 1,
        ("mission_control_migrations", ("state", "pending")): 0,
        ("mission_control_health_check_status", ("check", "connection"), ("status", "pass")): 1,
        ("mission_control_http_requests_total", ("method", "GET"), ("route", "/live"), ("status", "200")): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    # The one that has expired is not told of.
    assert 900 <= found["mission_control_tool_call_oldest_seconds", ("state", "waiting")] < 1500
    assert 0 < found["mission_control_tool_call_oldest_seconds", ("state", "unchecked")] < 600
    assert found["mission_control_table_size_bytes", ("table", "hosts")] > 0
    # Few models use audio and images: no series for the others.
    assert not any(("bucket", "audio_input") in key for key in found)
    ages = {
        key[2][1]: value for key, value in found.items() if key[0] == "mission_control_inventory_source_age_seconds"
    }
    assert list(ages) == ["nas"]
    assert 240 <= ages["nas"] < 600
    successes = [key for key in found if key[0] == "mission_control_inventory_source_last_sync_success"]
    assert len(successes) == 1
    assert not any("whatever" in str(key) for key in found)
    assert found["mission_control_queries_total", ("outcome", "succeeded")] >= 5
    assert found["mission_control_pool_connections_limit",] == 10
    assert found["process_resident_memory_bytes",] > 0


def test_the_deprecated_setting_is_a_budget_as_the_database_would_have_it(client, session):
    read = client.application.extensions["mission_control_database"].read
    for days_ago in range(9):
        use(session, days_ago=days_ago, cost="0.7")
    use(session, cost=None, cost_source="unpriced")
    [deprecated] = read(read_usage, snapshot=True).with_deprecated_budget(read(read_budgets), BUDGET)
    session.insert("llm_budgets", name="everything", amount_usd=BUDGET)
    usage, budgets = read(read_usage), read(read_budgets)
    # Now the database has one of that scope.
    [own] = usage.with_deprecated_budget(budgets, BUDGET)
    for name in ("amount_usd", "spent_usd", "month", "unpriced_calls", "level", "provider", "project"):
        assert deprecated[name] == own[name], name
    for name in ("spent_share", "projected_usd", "projected_share"):
        # The rest of the month has become a little shorter meanwhile.
        assert float(deprecated[name]) == pytest.approx(float(own[name]), rel=1e-3)
    session.run("UPDATE llm_budgets SET name = 'all', project = 'x'")
    assert [row["project"] for row in usage.with_deprecated_budget(read(read_budgets), BUDGET)] == ["x"]
    assert usage.with_deprecated_budget(read(read_budgets), None) == read(read_budgets).rows


def test_the_number_of_projects_in_metrics_is_bounded(client, session):
    session.run(
        "INSERT INTO token_usage (provider, model, project, estimated_cost_usd, cost_source) "
        "SELECT 'lab', 'm', 'p' || n, n, 'provider' FROM generate_series(1, %s) AS n",
        PROJECTS_TOLD + 5,
    )
    projects = [key[1][1] for key in metrics(client) if key[0] == "mission_control_llm_project_month_cost_usd"]
    assert len(projects) == PROJECTS_TOLD
    assert f"p{PROJECTS_TOLD + 5}" in projects
    assert "p1" not in projects


def test_use_that_is_recorded_late_counts_with_the_next_reading(client, session):
    read = client.application.extensions["mission_control_database"].read
    use(session, cost="1")
    read(read_usage)
    use(session, days_ago=12, cost="16.40")
    assert sum(row["cost_usd"] for row in read(read_usage).rows) == Decimal("17.40")


def test_names_of_metrics_follow_the_conventions(client, session):
    fill(session)
    families = list(text_string_to_metric_families(complete(client, "/metrics").text))
    units = ("_milliseconds", "_ms", "_minutes", "_kilobytes", "_percent")
    for family in families:
        assert family.name.startswith(("mission_control_", "process_")), family.name
        assert family.name == family.name.lower()
        assert family.documentation, family.name
        assert not family.name.endswith(units), family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample.name
            elif family.type == "gauge":
                assert not sample.name.endswith(("_total", "_count", "_sum")), sample.name


def test_a_chain_that_was_rewritten_while_the_service_ran_is_found_out(client, session):
    session.insert("audit_entries", actor="me", action="one", outcome="success")
    session.insert("audit_entries", actor="me", action="two", outcome="success")
    reader = AuditReader()
    read = client.application.extensions["mission_control_database"].read
    assert read(reader.read).valid
    # What a superuser can do: remove the newest entry and everything that speaks of it.
    with session.transaction():
        session.run("SET LOCAL session_replication_role = replica")
        for table in ("audit_entries", "audit_links", "audit_head"):
            session.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        session.run("DELETE FROM audit_entries WHERE action = 'two'")
        session.run("DELETE FROM audit_links WHERE sequence = 2")
        session.run("UPDATE audit_head SET sequence = 1, digest = (SELECT digest FROM audit_links WHERE sequence = 1)")
        for table in ("audit_entries", "audit_links", "audit_head"):
            session.run(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
    found = read(reader.read)
    assert not found.valid
    assert "before the expected" in found.problem or "not in the chain" in found.problem
    # Only somebody who kept the head could tell: the chain by itself is whole again.
    assert read(AuditReader().read).valid


def test_the_login_of_the_service_reads_only_what_it_shows(database):
    service = database.session("service")
    for column, table in (
        ("payload", "task_events"),
        ("arguments", "tool_call_records"),
        ("details", "audit_entries"),
        ("messages", "llm_requests"),
        ("content", "llm_responses"),
        ("parameters", "tasks"),
    ):
        with pytest.raises(Exception, match="permission denied"):
            service.run(f"SELECT {column} FROM {table}")
    with pytest.raises(Exception, match="permission denied"):
        service.run("INSERT INTO hosts (name, type) VALUES ('x', 'vm')")


def test_the_page_about_the_service_names_every_metric_and_no_other(client, session):
    fill(session)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
    table = page.split("| metric (after `mission_control_`)")[1].split("\n\n")[0]
    documented = set()
    for line in table.splitlines()[2:]:
        documented.update(re.findall(r"`(\w+)`", line.split("|")[1]))
    served = {
        family.name.removeprefix("mission_control_") + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(complete(client, "/metrics").text)
        if family.name.startswith("mission_control_")
    }
    assert documented == served
