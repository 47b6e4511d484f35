"""The three views: their values, their days, and how they are read when the logs are large."""

import datetime
from decimal import Decimal

import psycopg2
import pytest
from large_data import load_runs, load_usage
from sample_rows import insert_as_superuser

LOGS = {"task_runs", "task_events", "tool_call_records", "token_usage"}


@pytest.fixture
def run(application):
    def new_run(**columns):
        task = application.insert("tasks", title="t", created_by="me")
        return application.insert("task_runs", task_id=task["id"], **columns)

    return new_run


def test_active_runs_are_those_that_are_not_finished(application, run):
    states = {}
    for status in ("queued", "running", "waiting_approval"):
        states[status] = run(status=status, user_prompt=status, created_at="2026-01-01T00:00:00Z")
    for status in ("succeeded", "failed", "cancelled"):
        run(status=status, finished_at="2026-01-02Z")
    busy = states["running"]["id"]
    tool = insert_as_superuser(application, "tool_definitions", name="x", risk_level="READ_ONLY")
    for sequence in range(3):
        application.insert("task_events", task_run_id=busy, sequence=sequence, type="log")
    for _ in range(2):
        insert_as_superuser(application, "tool_call_records", task_run_id=busy, tool_id=tool["id"])
    rows = {row["status"]: row for row in application.rows("SELECT * FROM active_task_runs")}
    assert set(rows) == set(states)
    assert (rows["running"]["event_count"], rows["running"]["tool_call_count"]) == (3, 2)
    assert (rows["queued"]["event_count"], rows["queued"]["tool_call_count"]) == (0, 0)
    for status, row in rows.items():
        assert row["id"] == states[status]["id"]
        assert row["task_id"] == states[status]["task_id"]
        assert (row["task_title"], row["user_prompt"]) == ("t", status)
        assert row["created_at"] == states[status]["created_at"]
        assert row["age"] > datetime.timedelta(days=30)


def test_usage_is_summed_by_provider_and_model(application):
    def usage(model, **columns):
        return application.insert("token_usage", provider="openai", model=model, **columns)

    buckets = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
    first = usage("gpt-5", **{f"{name}_tokens": 10 ** (6 - number) for number, name in enumerate(buckets)})
    second = usage("gpt-5", input_tokens=7)
    usage("gpt-5", cost_source="subscription", input_tokens=1_000_000)
    usage("gpt-5", input_tokens=1, occurred_at="2020-01-01Z")
    unknown = usage("gpt-99", input_tokens=5)
    rows = {row["model"]: row for row in application.rows("SELECT * FROM recent_token_usage_summary")}
    assert set(rows) == {"gpt-5", "gpt-99"}
    known = rows["gpt-5"]
    assert known["requests"] == 3
    assert [known[f"{name}_tokens"] for name in buckets] == [2_000_007, 100_000, 10_000, 1_000, 100, 10]
    assert known["total_cost_usd"] == first["estimated_cost_usd"] + second["estimated_cost_usd"]
    assert known["subscription_value_usd"] == Decimal("1.25")
    assert known["unpriced_requests"] == 0
    assert rows["gpt-99"]["total_cost_usd"] is None
    assert rows["gpt-99"]["unpriced_requests"] == 1
    assert rows["gpt-99"]["last_used_at"] == unknown["occurred_at"]
    assert all(isinstance(known[f"{name}_tokens"], int) for name in buckets)


def test_thirty_days_are_cut_in_the_reporting_time_zone(application):
    application.run("SET timezone = 'Asia/Tokyo'")
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin"):
        application.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", zone)
        start = application.value("SELECT reporting_day_start(29)")
        expected = application.value(
            "SELECT ((now() AT TIME ZONE %s)::date - 29)::timestamp AT TIME ZONE %s", zone, zone
        )
        assert start == expected
        model = f"gpt-5 in {zone}"
        for moment in (start, start - datetime.timedelta(microseconds=1)):
            application.insert("token_usage", provider="openai", model=model, occurred_at=moment)
        assert application.values("SELECT requests FROM recent_token_usage_summary WHERE model = %s", model) == [1]


def test_a_day_begins_at_midnight_across_a_change_of_daylight_saving(application):
    application.run("SET mission_control.reporting_time_zone = 'Europe/Berlin'")
    starts = application.values(
        "SELECT (reporting_day_start(n) AT TIME ZONE 'Europe/Berlin')::time::text FROM generate_series(0, 400) AS n"
    )
    assert set(starts) == {"00:00:00"}
    lengths = application.values(
        "SELECT DISTINCT extract(hour FROM reporting_day_start(n) - reporting_day_start(n + 1))::int FROM generate_series(0, 400) AS n"
    )
    # A span of 400 days holds a short and a long day; whole days come out as 0 hours and a day.
    assert {0, 1, 23} >= set(lengths) > {23}


@pytest.mark.parametrize("setting", ["", None])
def test_reports_are_in_utc_where_nothing_is_set(application, setting):
    if setting is not None:
        application.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", setting)
    assert application.value("SELECT reporting_time_zone()") == "UTC"


def test_a_time_zone_that_does_not_exist_is_an_error_and_not_utc(application):
    application.run("SET mission_control.reporting_time_zone = 'Mars/Olympus'")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="Mars/Olympus"):
        application.rows("SELECT * FROM recent_token_usage_summary")


def test_success_rate_of_every_tool(application, run):
    busy = run()["id"]
    tools = {
        name: insert_as_superuser(application, "tool_definitions", name=name, risk_level="READ_ONLY")["id"]
        for name in ("used", "never called", "only denied")
    }

    def call(tool, status, seconds=None):
        times = (
            {"started_at": "2026-01-01T00:00:00Z", "finished_at": f"2026-01-01T00:00:0{seconds}Z"} if seconds else {}
        )
        insert_as_superuser(
            application, "tool_call_records", task_run_id=busy, tool_id=tools[tool], status=status, **times
        )

    for status, seconds in (
        ("succeeded", 1),
        ("succeeded", 2),
        ("failed", 3),
        ("timed_out", 5),
        ("denied", None),
        ("pending", None),
    ):
        call("used", status, seconds)
    call("only denied", "denied")
    rows = {row["tool_name"]: row for row in application.rows("SELECT * FROM tool_call_success_rate")}
    counts = ("total_calls", "succeeded", "failed", "timed_out", "denied", "success_rate", "average_duration_ms")
    assert [rows["used"][name] for name in counts] == [6, 2, 1, 1, 1, Decimal("0.5000"), Decimal("2750.0")]
    assert [rows["never called"][name] for name in counts] == [0, 0, 0, 0, 0, None, None]
    assert [rows["only denied"][name] for name in counts] == [1, 0, 0, 0, 1, None, None]
    assert application.value("SELECT count(*) FROM tool_call_success_rate WHERE total_calls > 0") == 2


def test_those_who_read_may_read_the_views(database):
    for role in ("readonly", "monitor", "service", "owner"):
        session = database.session(role)
        for view in ("active_task_runs", "recent_token_usage_summary", "tool_call_success_rate"):
            session.rows(f"SELECT * FROM {view}")


def scanned_whole(plan):
    """Names of tables that a plan reads from beginning to end."""
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return found.union(*(scanned_whole(child) for child in plan.get("Plans", [])))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM active_task_runs",
        "SELECT * FROM active_task_runs ORDER BY created_at DESC LIMIT 10",
        "SELECT count(*) FROM active_task_runs",
        "SELECT * FROM recent_token_usage_summary ORDER BY total_cost_usd DESC",
        "SELECT project, sum(cost_usd) FROM daily_token_usage WHERE day >= '2026-01-01' GROUP BY project",
        "SELECT * FROM llm_budget_status",
        "SELECT * FROM task_run_costs WHERE task_run_id = '00000000-0000-0000-0000-000000000000'",
        "SELECT * FROM active_task_runs AS r JOIN task_run_costs AS c ON c.task_run_id = r.id",
        "SELECT * FROM tool_call_success_rate WHERE total_calls > 0",
    ],
)
def test_no_log_is_read_whole(large, query):
    plan = large.value(f"EXPLAIN (FORMAT JSON) {query}")[0]["Plan"]
    assert scanned_whole(plan) & LOGS == set()


@pytest.mark.parametrize("view", ["recent_token_usage_summary", "llm_budget_status"])
def test_another_time_zone_than_that_of_the_sums_reads_only_the_days_asked_for(large, view):
    with large.transaction():
        large.run("SET LOCAL mission_control.reporting_time_zone = 'Asia/Kathmandu'")
        large.rows(f"SELECT * FROM {view}")
        read = large.row("SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'token_usage'")
    assert read["seq_scan"] == 0
    # Of 365 days at most 38, with the hours around each of them.
    assert 0 < read["idx_tup_fetch"] < 100_000 * 50 / 365


@pytest.fixture(scope="module")
def large(shared_database):
    """Logs that are large enough for the planner to decide as it would in earnest."""
    admin = shared_database.session("admin")
    load_runs(admin.connection, runs=5_000, events=100_000, calls=20_000)
    load_usage(admin.connection, usage=100_000, days=365)
    return shared_database.session("application")
