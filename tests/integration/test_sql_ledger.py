"""Sums by day, budgets, costs of runs: exact, whatever writers do."""

import datetime
from decimal import Decimal

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_migrations

BUCKETS = (
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "reasoning",
    "audio_input",
    "audio_cache_read",
    "audio_output",
    "image_input",
    "image_cache_read",
    "image_output",
)
KEY = "day, provider, model, project, agent, cost_source"
SUMS = ", ".join(f"sum({name}_tokens)::bigint AS {name}_tokens" for name in BUCKETS)
RAW = f"""
    SELECT (occurred_at AT TIME ZONE reporting_time_zone())::date AS day, provider, model, project, agent, cost_source,
        count(*) AS calls, {SUMS}, sum(estimated_cost_usd) AS cost_usd, sum(subscription_value_usd) AS subscription_value_usd
    FROM token_usage GROUP BY 1, 2, 3, 4, 5, 6
"""
DAILY = f"""
    SELECT {KEY}, calls, {", ".join(f"{name}_tokens" for name in BUCKETS)}, cost_usd, subscription_value_usd
    FROM daily_token_usage
"""
DIFFERENCES = f"({RAW} EXCEPT ALL {DAILY}) UNION ALL ({DAILY} EXCEPT ALL {RAW})"


def usage(session, provider="openai", model="gpt-5", **columns):
    """Insert usage; buckets are given by their names without _tokens."""
    columns = {f"{name}_tokens" if name in BUCKETS else name: value for name, value in columns.items()}
    return session.insert("token_usage", provider=provider, model=model, **columns)


def test_days_are_summed_from_rows_of_before_the_migration(cluster, template):
    """The days of a homelab that has used the ledger for long."""
    database = layer.create_database(cluster, "mission_control_ledger_before")
    try:
        layer.apply_privileges(database)
        migrations = read_migrations(str(layer.SQL / "migrations"))
        layer.apply_migrations(database, migrations[:11])
        admin = database.session("admin")
        for number in range(50):
            admin.insert(
                "token_usage",
                provider="ollama",
                model=f"model {number % 3}",
                project="x" if number % 2 else None,
                input_tokens=number,
                occurred_at=datetime.datetime(2026, 3, 28 + number % 3, number % 24, tzinfo=datetime.timezone.utc),
            )
        # Where nobody would write any more, and where the sums by day pass over it.
        admin.insert("token_usage", provider="ollama", model="m", occurred_at="-infinity")
        admin.run(
            "CREATE VIEW site_costs AS SELECT u.*, p.input_usd_per_mtok FROM token_usage u LEFT JOIN provider_pricing p ON p.id = u.price_id"
        )
        layer.apply_migrations(database, migrations[11:])
        admin.insert("token_usage", provider="ollama", model="meanwhile", input_tokens=7, project="x")
        assert admin.value("SELECT count(*) FROM token_usage_changes") == 1
        layer.apply_repeatables(database)
        assert admin.value("SELECT time_zone FROM token_usage_rollup") == "UTC"
        assert admin.value("SELECT count(*) FROM token_usage_changes") == 0
        assert admin.value("SELECT sum(calls) FROM token_usage_days") == 51
        assert (
            admin.rows(DIFFERENCES.replace("FROM token_usage ", "FROM token_usage WHERE isfinite(occurred_at) ")) == []
        )
        with pytest.raises(psycopg2.errors.CheckViolation, match="ck_token_usage_occurred_at"):
            admin.insert("token_usage", provider="ollama", model="m", occurred_at="infinity")
    finally:
        database.drop()


def test_every_kind_of_change_is_in_the_days(database):
    session, owner = database.session("application"), database.session("owner")
    for number, name in enumerate(BUCKETS):
        usage(session, **{name: 10**number}, project="a" if number % 2 else None)
    usage(session, cost_source="subscription", input=1_000_000)
    usage(session, model="gpt-99", input=5)
    assert session.rows(DIFFERENCES) == []
    assert session.value("SELECT roll_up_token_usage()") == len(BUCKETS) + 2
    assert session.value("SELECT roll_up_token_usage()") == 0
    assert session.rows(DIFFERENCES) == []
    session.run("UPDATE token_usage SET project = 'b', agent = 'planner' WHERE project = 'a'")
    owner.run(
        "SELECT apply_provider_prices(%s::jsonb, 'user')",
        '[{"provider": "openai", "model": "gpt-99", "input": 1, "output": 2, "valid_from": "2020-01-01"}]',
    )
    assert session.value("SELECT fill_unpriced_token_usage()") == 1
    owner.run("DELETE FROM token_usage WHERE cost_source = 'subscription'")
    assert session.rows(DIFFERENCES) == []
    assert session.value("SELECT roll_up_token_usage()") > 0
    assert session.rows(DIFFERENCES) == []
    assert session.value("SELECT count(*) FROM token_usage_days WHERE calls = 0") == 0
    owner.run("TRUNCATE token_usage")
    assert session.rows("SELECT * FROM daily_token_usage") == []


def test_a_roll_up_comes_by_itself_about_every_thousand_rows(database):
    session = database.session("application")
    many = "INSERT INTO token_usage (provider, model, input_tokens) SELECT 'openai', 'gpt-5', n FROM generate_series(1, 2100) AS n"
    session.run(many)
    assert session.value("SELECT sum(calls) FROM token_usage_days") == 2100
    assert session.value("SELECT count(*) FROM token_usage_changes") == 0
    with session.transaction("REPEATABLE READ"):
        session.run(many)
        assert session.value("SELECT roll_up_token_usage()") == 0
    assert session.value("SELECT sum(calls) FROM daily_token_usage") == 4200
    assert session.rows(DIFFERENCES) == []


def test_another_time_zone_reads_the_rows_themselves(database):
    session, owner = database.session("application"), database.session("owner")
    # The clocks of the Azores go back over midnight: from 01:00 to 00:00 on 2026-10-25, at 01:00 UTC.
    for minute in range(0, 60 * 30, 20):
        moment = datetime.datetime(2026, 10, 24, 12, tzinfo=datetime.timezone.utc) + datetime.timedelta(minutes=minute)
        usage(session, input=1 + minute, occurred_at=moment)
    session.value("SELECT roll_up_token_usage()")
    for zone in ("Atlantic/Azores", "Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu", "UTC"):
        for each in (session, owner):
            each.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", zone)
        assert session.rows(DIFFERENCES) == []
        owner.value("SELECT rebuild_token_usage_days()")
        assert session.value("SELECT time_zone FROM token_usage_rollup") == zone
        assert session.rows(DIFFERENCES) == []
        assert session.value("SELECT sum(calls) FROM token_usage_days") == 90


def test_sums_may_be_larger_than_a_count(application):
    """Nobody's absurd count keeps another from writing."""
    for _ in range(3):
        usage(application, "ollama", "m", input=2**62)
    application.value("SELECT roll_up_token_usage()")
    usage(application, model="other")
    assert application.value("SELECT roll_up_token_usage()") == 1
    assert application.value("SELECT max(input_tokens) FROM token_usage_days") == 3 * 2**62


def budgets(session, *entries):
    return session.value("SELECT apply_llm_budgets(%s::jsonb)", psycopg2.extras.Json(list(entries)))


def test_budgets_of_the_role_are_what_the_list_says(database):
    owner, session = database.session("owner"), database.session("application")
    mine = session.insert("llm_budgets", name="mine", amount_usd=5)
    first = {"name": "all", "usd": 20}
    second = {"name": "lab", "usd": "7.5", "project": "homelab", "provider": "claude", "model": "m", "agent": "a"}
    assert budgets(owner, first, second) == 2
    assert budgets(owner, first, second) == 0
    assert budgets(owner, {**first, "usd": 25}) == 2
    rows = session.rows("SELECT name, amount_usd, origin FROM llm_budgets ORDER BY name")
    assert rows == [
        {"name": "all", "amount_usd": Decimal(25), "origin": "role"},
        {"name": "mine", "amount_usd": Decimal(5), "origin": "user"},
    ]
    for statement in ("DELETE FROM llm_budgets WHERE name = 'all'", "UPDATE llm_budgets SET amount_usd = 1"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="mission_control_schema_budgets"):
            session.run(statement)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        session.insert("llm_budgets", name="x", amount_usd=1, origin="role")
    assert session.run("DELETE FROM llm_budgets WHERE id = %s", mine["id"]) == 1


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"name": "x"}, "budgets must be a list"),
        (["all"], "a budget must be a mapping"),
        ([{"usd": 1}], "a budget needs a name"),
        ([{"name": " ", "usd": 1}], "a budget needs a name"),
        ([{"name": 7, "usd": 1}], "a budget needs a name"),
        ([{"name": "a", "usd": 1, "projekt": "x"}], "budget a: unknown key projekt"),
        ([{"name": "a"}], "budget a: usd must be an amount"),
        ([{"name": "a", "usd": -1}], "budget a: usd must be an amount"),
        ([{"name": "a", "usd": 0}], "budget a: usd must be more than 0"),
        ([{"name": "a", "usd": "NaN"}], "budget a: usd must be an amount"),
        ([{"name": "a", "usd": "0.0000001"}], "budget a: usd must be an amount"),
        ([{"name": "a", "usd": 100_000_000}], "budget a: usd must be an amount"),
        ([{"name": "a", "usd": 1, "project": ""}], "budget a: project must be a text that is not empty"),
        ([{"name": "a", "usd": 1, "agent": 5}], "budget a: agent must be a text"),
        ([{"name": "a", "usd": 1, "provider": "OpenAI"}], "budget a: provider must be in lower case"),
        ([{"name": "a", "usd": 1}, {"name": "a", "usd": 2}], "budget a: the list has two budgets of this name"),
        ([{"name": "mine", "usd": 1}], "budget mine: there is one of this name already"),
    ],
)
def test_a_bad_list_of_budgets_is_refused_whole_in_one_sentence(budget_owner, entries, sentence):
    payload = [{"name": "good", "usd": 1}, *entries] if isinstance(entries, list) else entries
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match=sentence) as refused:
        budget_owner.value("SELECT apply_llm_budgets(%s::jsonb)", psycopg2.extras.Json(payload))
    assert "\n" not in refused.value.diag.message_primary
    assert budget_owner.values("SELECT name FROM llm_budgets") == ["mine"]


@pytest.fixture(scope="module")
def budget_owner(shared_database):
    shared_database.session("application").insert("llm_budgets", name="mine", amount_usd=5)
    return shared_database.session("owner")


def test_which_price_list_is_in_force(database):
    owner, session = database.session("owner"), database.session("readonly")
    note = "SELECT note_price_list('seed', %s, %s)"
    assert owner.value(note, "genai-prices 0.2.3", "2026-11-01") == 1
    assert owner.value(note, "genai-prices 0.2.3", "2026-11-01") == 0
    assert owner.value(note, "genai-prices 0.2.3", "2026-11-27") == 1
    (row,) = session.rows("SELECT origin, source, read_on FROM price_lists")
    assert row == {"origin": "seed", "source": "genai-prices 0.2.3", "read_on": datetime.date(2026, 11, 27)}
    for arguments in (("'guess'", "'x'", "'2026-01-01'"), ("'seed'", "' '", "'2026-01-01'"), ("'seed'", "'x'", "NULL")):
        with pytest.raises(psycopg2.errors.InvalidParameterValue):
            owner.run(f"SELECT note_price_list({', '.join(arguments)})")


def test_a_run_knows_what_it_cost(database):
    session = database.session("application")
    task = session.insert("tasks", title="t", created_by="me")
    run, idle = (session.insert("task_runs", task_id=task["id"])["id"] for _ in range(2))
    for number, name in enumerate(BUCKETS):
        usage(session, **{name: 2**number}, task_run_id=run)
    usage(session, model="gpt-99", input=1, task_run_id=run)
    usage(session, input=1)
    costs = {row.pop("task_run_id"): row for row in session.rows("SELECT * FROM task_run_costs")}
    output = sum(2**number for number, name in enumerate(BUCKETS) if name.endswith(("output", "reasoning")))
    assert costs[run] == {
        "calls": 13,
        "unpriced_calls": 1,
        "input_tokens": 2**12 - 1 - output + 1,
        "output_tokens": output,
        "cost_usd": session.value("SELECT sum(estimated_cost_usd) FROM token_usage WHERE task_run_id = %s", run),
        "subscription_value_usd": None,
    }
    assert (costs[idle]["calls"], costs[idle]["input_tokens"], costs[idle]["cost_usd"]) == (0, 0, None)
