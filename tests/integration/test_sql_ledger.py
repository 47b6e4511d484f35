"""Sums by day, budgets, costs of runs: exact, whatever writers do."""

import datetime
import os
import random
import re
import subprocess
from decimal import Decimal

import mission_control_database as layer
import psycopg2
import psycopg2.errors
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.prices import prices_in_force
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_migrations
from client_threads import run_threads
from library_client import client_of
from throwaway_cluster import server_bindir

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


ISOLATIONS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
GROUPS = ("project", "provider, model", "agent, cost_source", "day", "day, project")


def same_by_any_group(session):
    """Whether the days are the rows, as they are and summed up further, in the zone of the sums and in others."""
    for zone in (session.value("SELECT time_zone FROM token_usage_rollup"), "Asia/Kathmandu"):
        session.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", zone)
        assert session.rows(DIFFERENCES) == [], zone
        for group in GROUPS:
            sums = f"sum(calls), {', '.join(f'sum({name}_tokens)' for name in BUCKETS)}, sum(cost_usd), sum(subscription_value_usd)"
            one, other = (f"SELECT {group}, {sums} FROM ({rows}) AS r GROUP BY {group}" for rows in (RAW, DAILY))
            assert session.rows(f"({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one})") == [], (zone, group)


class Writers:
    """Sessions that do at random what programs do to the ledger, with transactions that stay open meanwhile."""

    def __init__(self, database, seed):
        self.database = database
        self.random = random.Random(seed)
        self.open = {}
        self.sessions = [self.connect(role) for role in ("application", "application", "application", "owner")]
        self.done = {}

    def connect(self, role):
        session = self.database.session(role)
        # For another's row; a roll-up is never waited for.
        session.run("SET lock_timeout = '20ms'")
        return session

    def step(self):
        number = self.random.randrange(4)
        session, owner = self.sessions[number], number == 3
        names = ["rows", "rows", "single", "single", "again", "labels", "fill", "roll_up", "begin", "end", "savepoint"]
        names += ["kill"] if self.random.random() < 0.2 else []
        names += ["remove", "prices", "rebuild"] if owner else []
        name = self.random.choice(names)
        try:
            getattr(self, name)(session, number)
            self.done[name] = self.done.get(name, 0) + 1
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.SerializationFailure):
            # Of two who change one row the later has to wait, or to begin again: as before there were sums.
            assert name in ("labels", "fill", "remove", "rebuild", "prices", "again"), name
            if number in self.open:
                self.open.pop(number)
                session.run("ROLLBACK")

    def moment(self):
        return datetime.datetime(2026, 10, 24, tzinfo=datetime.timezone.utc) + datetime.timedelta(
            seconds=self.random.randrange(4 * 86400)
        )

    def columns(self):
        pick = self.random.choice
        return {
            "model": pick(("gpt-5", "gpt-99", "gpt-5-mini")),
            "project": pick((None, "a", "b", "")),
            "agent": pick((None, "planner")),
            "cost_source": pick(("computed", "computed", "subscription", "local")),
            "occurred_at": self.moment(),
            **{pick(BUCKETS): self.random.randrange(10**6) for _ in range(3)},
        }

    def single(self, session, _number):
        usage(session, **self.columns())

    def rows(self, session, _number):
        session.run(
            "INSERT INTO token_usage (provider, model, input_tokens, project, occurred_at) "
            "SELECT 'claude', 'claude-opus-5', n, 'p' || n %% 3, %s - n * interval '7 minutes' FROM generate_series(1, %s) AS n",
            self.moment(),
            self.random.choice((1, 10, 400)),
        )

    def again(self, session, _number):
        session.run(
            "INSERT INTO token_usage (provider, model, output_tokens, source, external_id, occurred_at) "
            "VALUES ('ollama', 'm', 5, 's', %s, %s) ON CONFLICT DO NOTHING",
            str(self.random.randrange(30)),
            self.moment(),
        )

    def labels(self, session, _number):
        session.run(
            "UPDATE token_usage SET project = %s, agent = 'corrected' WHERE id %% 5 = %s",
            self.random.choice((None, "a", "c")),
            self.random.randrange(5),
        )

    def fill(self, session, _number):
        session.run("SELECT fill_unpriced_token_usage()")

    def roll_up(self, session, _number):
        session.run("SELECT roll_up_token_usage()")

    def begin(self, session, number):
        if number not in self.open:
            session.run(f"BEGIN ISOLATION LEVEL {self.random.choice(ISOLATIONS)}")
            self.open[number] = False

    def savepoint(self, session, number):
        if number in self.open:
            session.run("ROLLBACK TO SAVEPOINT s" if self.open[number] else "SAVEPOINT s")
            self.open[number] = not self.open[number]

    def end(self, session, number):
        if number in self.open:
            self.open.pop(number)
            session.run(self.random.choice(("COMMIT", "COMMIT", "ROLLBACK")))

    def kill(self, session, number):
        self.open.pop(number, None)
        with pytest.raises(psycopg2.Error):
            session.run("SELECT pg_terminate_backend(pg_backend_pid())")
        self.sessions[number] = self.connect("owner" if number == 3 else "application")

    def remove(self, session, _number):
        session.run("DELETE FROM token_usage WHERE id %% 11 = %s", self.random.randrange(11))

    def prices(self, session, _number):
        entry = {"provider": "openai", "model": "gpt-99", "input": self.random.randrange(1, 9), "output": 1}
        session.run("SELECT apply_provider_prices(%s::jsonb, 'user')", psycopg2.extras.Json([entry]))

    def rebuild(self, session, number):
        zone = self.random.choice(("UTC", "Europe/Berlin", "Atlantic/Azores"))
        session.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", zone)
        session.run("SELECT rebuild_token_usage_days()")


@pytest.mark.parametrize("seed", range(2))
def test_the_days_are_the_rows_whatever_writers_do(database, seed):
    writers = Writers(database, seed)
    reader = database.session("readonly")
    for _ in range(12):
        for _ in range(25):
            writers.step()
        same_by_any_group(reader)
    for number in list(writers.open):
        writers.sessions[number].run("COMMIT")
    same_by_any_group(reader)
    assert set(writers.done) >= {
        "rows",
        "single",
        "again",
        "labels",
        "fill",
        "roll_up",
        "begin",
        "end",
        "savepoint",
        "rebuild",
    }


def test_nobody_waits_for_a_roll_up(database):
    mover, writer = database.session("application"), database.session("application")
    usage(writer)
    mover.run("BEGIN")
    assert mover.value("SELECT roll_up_token_usage()") == 1
    writer.run("SET lock_timeout = '10ms'")
    usage(writer)
    assert writer.value("SELECT roll_up_token_usage()") == 0
    # Many enough that the trigger wants to sum them up.
    many = "INSERT INTO token_usage (provider, model) SELECT 'openai', 'gpt-5' FROM generate_series(1, 1500)"
    for isolation in ISOLATIONS:
        with writer.transaction(isolation):
            writer.run(many)
    mover.run("ROLLBACK")
    assert writer.rows(DIFFERENCES) == []


def test_writers_at_the_same_time_neither_fail_nor_lose(database):
    def write(number):
        session = database.session("application")
        for turn in range(20):
            with session.transaction(ISOLATIONS[(number + turn) % 4]):
                session.run(
                    "INSERT INTO token_usage (provider, model, input_tokens, project) "
                    "SELECT 'openai', 'gpt-5', n, 'p' || n %% 4 FROM generate_series(1, %s) AS n",
                    1 + 400 * (turn % 2),
                )
            if number % 4 == 0:
                session.run("SELECT roll_up_token_usage()")

    assert run_threads(8, write) == [None] * 8
    reader = database.session("readonly")
    assert reader.value("SELECT sum(calls) FROM daily_token_usage") == 8 * (20 + 10 * 400)
    same_by_any_group(reader)


def test_a_dump_takes_the_days_along(cluster, database):
    """Also one that is made while changes are not in the days yet, and others write."""
    session, late = database.session("application"), database.session("application")
    usage(session, input=10, project="a")
    session.run("SELECT roll_up_token_usage()")
    usage(session, input=20, project="a")
    late.run("BEGIN")
    usage(late, input=40)
    copy = layer.create_database(cluster, f"{database.name}_copy")
    try:
        where = [f"--host={cluster.socket_directory}", f"--port={cluster.port}", "--username=postgres"]
        dump = subprocess.run(
            [os.path.join(server_bindir(), "pg_dump"), *where, database.name], check=True, capture_output=True
        )
        subprocess.run(
            [os.path.join(server_bindir(), "psql"), *where, "--quiet", "--set=ON_ERROR_STOP=1", copy.name],
            check=True,
            input=dump.stdout,
            stdout=subprocess.DEVNULL,
        )
        restored = copy.session("application")
        usage(restored, input=80, project="a")
        assert restored.value("SELECT sum(input_tokens) FROM daily_token_usage") == 110
        same_by_any_group(restored)
        restored.run("SELECT roll_up_token_usage()")
        same_by_any_group(restored)
    finally:
        copy.drop()


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


def status_at(session, moment, zone="UTC"):
    """What llm_budget_status says at another time: the view's own text with the time in the place of now()."""
    session.run("SELECT set_config('mission_control.reporting_time_zone', %s, false)", zone)
    text = session.value("SELECT pg_get_viewdef('llm_budget_status'::regclass)")
    assert text.count("now()") > 3
    return {
        row["name"]: row
        for row in session.rows(re.sub(r"\bnow\(\)", "%s::timestamptz", text), *[moment] * text.count("now()"))
    }


def spend(session, usd, at, **columns):
    usage(session, cost_source="provider", estimated_cost_usd=usd, occurred_at=at, **columns)


def test_a_budget_counts_what_it_names(application):
    for name, of in (
        ("all", {}),
        ("claude", {"provider": "claude"}),
        ("lab", {"project": "lab"}),
        ("both", {"project": "lab", "agent": "a", "model": "m"}),
        ("none", {"project": "x"}),
    ):
        application.insert("llm_budgets", name=name, amount_usd=10, **of)
    now = "2026-11-20T12:00:00Z"
    spend(application, 5, now, project="lab")
    spend(application, 3, now, provider="claude", model="m", project="lab", agent="a")
    spend(application, "1.999999", "2026-11-01T00:00:00Z")
    spend(application, "0.000001", "2026-11-30T23:59:59Z")
    spend(application, 50, "2026-10-31T23:59:59Z")
    spend(application, 50, "2026-12-01T00:00:00Z")
    usage(application, model="gpt-99", input=1, occurred_at=now, project="lab")
    found = status_at(application, now)
    assert {name: (row["spent_usd"], row["level"], row["unpriced_calls"]) for name, row in found.items()} == {
        "all": (Decimal(10), "spent", 1),
        "claude": (Decimal(3), "ok", 0),
        "lab": (Decimal(8), "near", 1),
        "both": (Decimal(3), "ok", 0),
        "none": (Decimal(0), "ok", 0),
    }
    assert found["lab"]["month"] == datetime.date(2026, 11, 1)
    assert (found["lab"]["spent_share"], found["none"]["projected_usd"]) == (Decimal("0.8"), 0)


@pytest.mark.parametrize(
    ("zone", "moment", "month", "spent", "projected"),
    [
        # A day of 7 USD each day up to and without today: the mean is 7, and spent are the days of the month so far.
        ("UTC", "2026-11-11T00:00:00Z", "2026-11-01", 70, 70 + 7 * 20),
        ("UTC", "2026-11-11T12:00:00Z", "2026-11-01", 70, 70 + Decimal("136.5")),
        # The first minutes of a month: the week before is that of the last month.
        ("UTC", "2026-12-01T00:00:00Z", "2026-12-01", 0, 7 * 31),
        ("UTC", "2026-11-30T23:59:59Z", "2026-11-01", 29 * 7, 29 * 7 + Decimal(7) / 86400),
        # The end of January, of February, of a leap year's.
        ("UTC", "2026-01-31T12:00:00Z", "2026-01-01", 30 * 7, 30 * 7 + Decimal("3.5")),
        ("UTC", "2026-02-28T12:00:00Z", "2026-02-01", 27 * 7, 27 * 7 + Decimal("3.5")),
        ("UTC", "2028-02-28T12:00:00Z", "2028-02-01", 27 * 7, 27 * 7 + Decimal("10.5")),
        # The month that has already begun elsewhere.
        ("Pacific/Kiritimati", "2026-11-30T10:00:00Z", "2026-12-01", 0, 7 * 31),
        ("Pacific/Pago_Pago", "2026-12-01T10:59:59Z", "2026-11-01", 29 * 7, 29 * 7 + Decimal(7) / 86400),
        # A day with a change of the clocks is a day, whichever way, and whatever is left of it.
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-01", 28 * 7, 28 * 7 + 3 * 7),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-01", 24 * 7, 24 * 7 + 7 * 7),
        ("Europe/Berlin", "2026-10-31T22:59:59Z", "2026-10-01", 30 * 7, 30 * 7 + Decimal(7) / 86400),
    ],
)
def test_the_end_of_the_month_is_projected_from_the_last_seven_days(application, zone, moment, month, spent, projected):
    application.insert("llm_budgets", name="all", amount_usd=1000)
    today = application.value("SELECT (%s::timestamptz AT TIME ZONE %s)::date", moment, zone)
    # Seven costs on the days before, in their first and their last moment.
    for ago in range(1, 40):
        for at in ("00:00", "12:30", "23:59:59"):
            day = today - datetime.timedelta(days=ago)
            at = application.value("SELECT %s::timestamp AT TIME ZONE %s", f"{day} {at}", zone)
            spend(application, Decimal(7) / 2 if at.minute == 30 else Decimal("1.75"), at)
    row = status_at(application, moment, zone)["all"]
    assert (row["month"].isoformat(), row["spent_usd"]) == (month, spent)
    assert row["projected_usd"] == pytest.approx(Decimal(projected), abs=Decimal("1e-11"))
    assert row["projected_share"] == round(row["projected_usd"] / 1000, 6)


def test_the_status_is_that_of_now(application):
    application.insert("llm_budgets", name="all", amount_usd=4)
    spend(application, 5, datetime.datetime.now(datetime.timezone.utc))
    row = application.row("SELECT * FROM llm_budget_status")
    assert (row["spent_usd"], row["spent_share"], row["level"]) == (5, Decimal("1.25"), "spent")
    assert row["month"] == application.value("SELECT date_trunc('month', now())::date")


@pytest.mark.parametrize(
    ("prices", "bucket", "usd"),
    [
        ({}, "audio_input", 1),
        ({}, "audio_cache_read", 1),
        ({"cache_read": 3}, "audio_cache_read", 3),
        ({"audio_cache_read": 5, "cache_read": 3}, "audio_cache_read", 5),
        ({}, "audio_output", 2),
        ({"audio_output": 7}, "audio_output", 7),
        ({"audio_input": 7}, "audio_input", 7),
        ({}, "image_input", 1),
        ({"image_input": 7}, "image_input", 7),
        ({"image_input": 7}, "image_cache_read", 1),
        ({"cache_read": 3}, "image_cache_read", 3),
        ({"image_cache_read": 5}, "image_cache_read", 5),
        ({}, "image_output", 2),
        ({"image_output": 7, "reasoning": 3}, "image_output", 7),
        ({"audio_input": 0}, "audio_input", 0),
    ],
)
def test_a_bucket_without_a_price_costs_what_the_more_general_one_does(database, prices, bucket, usd):
    entry = {"provider": "acme", "model": "m", "input": 1, "output": 2, **prices}
    database.session("owner").run("SELECT apply_provider_prices(%s::jsonb, 'seed')", psycopg2.extras.Json([entry]))
    row = usage(database.session("application"), "acme", "m", **{bucket: 10**6})
    assert row["estimated_cost_usd"] == usd


@pytest.mark.parametrize("bucket", [name for name in BUCKETS if not name.endswith(("output", "reasoning"))])
def test_a_tier_looks_at_all_input(database, bucket):
    entries = [
        {"provider": "acme", "model": "m", "above_input_tokens": above, "input": price, "output": 1}
        for above, price in ((0, 1), (100, 2))
    ]
    database.session("owner").run("SELECT apply_provider_prices(%s::jsonb, 'seed')", psycopg2.extras.Json(entries))
    application = database.session("application")
    costs = [usage(application, "acme", "m", **{bucket: count})["estimated_cost_usd"] for count in (100, 101)]
    assert costs == [Decimal("0.0001"), Decimal("0.000202")]


def test_a_dated_price_is_that_of_the_names_with_a_date(database):
    entries = [
        {"provider": "acme", "model": "m", "dated": True, "input": 2, "output": 1},
        {"provider": "acme", "model": "plain", "input": 3, "output": 1},
        {"provider": "acme", "model": "m-20260101", "input": 4, "output": 1},
        {"provider": "acme", "model": "*", "input": 9, "output": 1},
    ]
    owner, application = database.session("owner"), database.session("application")
    assert owner.value("SELECT apply_provider_prices(%s::jsonb, 'seed')", psycopg2.extras.Json(entries)) == 4
    assert owner.value("SELECT apply_provider_prices(%s::jsonb, 'seed')", psycopg2.extras.Json(entries)) == 0
    expected = {
        "m": 2,
        "m-20250305": 2,
        "m-2025-03-05": 2,
        "m@20250305": 2,
        "m-20260101": 4,
        "m-2025-0305": 9,
        "m-latest": 9,
        "m-20250305-v2": 9,
        "plain": 3,
        "plain-20250305": 9,
        "other": 9,
    }
    found = {model: usage(application, "acme", model, input=10**6)["estimated_cost_usd"] for model in expected}
    assert found == expected


def test_a_dated_price_of_ones_own_goes_before_the_collections_of_the_names_with_a_date(database):
    owner, application = database.session("owner"), database.session("application")
    tier = {"model": "m-20260101", "above_input_tokens": 10, "input": 3}
    names = ("m", "m-20260101", "m-2026-02-01", "m-20260301")
    for origin, entries in (
        ("seed", [*({"model": name, "input": 2} for name in names[:3]), tier]),
        ("seed", [{"model": "m-20260101", "billing_mode": "batch", "input": 2}]),
        ("user", [{"model": "m", "dated": True, "input": 5}, {"model": "m-2026-02-01", "input": 7}]),
    ):
        whole = psycopg2.extras.Json([{"provider": "acme", "output": 1, **entry} for entry in entries])
        owner.run("SELECT apply_provider_prices(%s::jsonb, %s)", whole, origin)
    found = [usage(application, "acme", name, input=10**6) for name in names]
    found.append(usage(application, "acme", "m-20260101", input=10**6, billing_mode="batch"))
    assert [row["estimated_cost_usd"] for row in found] == [5, 5, 7, 5, 2]
    with client_of(database, "readonly") as client:
        for row in found:
            (shown,) = prices_in_force(client, row["occurred_at"], model=row["model"], modes=[row["billing_mode"]])
            assert shown["input_usd_per_mtok"] == row["estimated_cost_usd"]


@pytest.mark.parametrize("mode", ["batch", "flex", "priority", "fast"])
def test_each_billing_mode_has_its_own_price(database, mode):
    entry = {"provider": "acme", "model": "m", "billing_mode": mode, "input": 5, "output": 1}
    database.session("owner").run("SELECT apply_provider_prices(%s::jsonb, 'seed')", psycopg2.extras.Json([entry]))
    application = database.session("application")
    assert usage(application, "acme", "m", billing_mode=mode, input=10**6)["estimated_cost_usd"] == 5
    assert usage(application, "acme", "m", input=10**6)["cost_source"] == "unpriced"
