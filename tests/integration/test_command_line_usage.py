"""`mission-control usage`: the figures, the days of a time zone, the table, and the plan of its query."""

import csv
import datetime
import decimal
import io
import json
import random
import re

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.report import (
    COUNTS,
    GROUPS,
    ReportError,
    usage_parameters,
    usage_query,
    usage_report,
)
from command import on_terminal, run_command
from library_client import client_of

D = decimal.Decimal


def use(session, **columns):
    """A row of usage whose cost the provider said, or, without one, of a model that nobody has a price for."""
    cost = columns.pop("cost", None)
    given = {"provider": "lab", "model": "m", "occurred_at": "2026-03-10 12:00Z", **columns}
    if cost is not None:
        given.update(cost_source="provider", estimated_cost_usd=cost)
    return session.insert("token_usage", **given)


@pytest.fixture
def march(database, application):
    """Usage of three days in March, of two providers and two projects."""
    use(application, provider="alpha", model="a-1", project="plex", cost="1.000000000001", input_tokens=10)
    use(application, provider="alpha", model="a-1", cost="2", output_tokens=5, reasoning_tokens=2)
    use(application, provider="alpha", model="a-2", project="blog", cost="0.5", occurred_at="2026-03-11 00:00Z")
    use(
        application,
        provider="beta",
        model="b",
        project="plex",
        occurred_at="2026-03-12 23:59:59.999999Z",
        input_tokens=7,
    )
    use(application, provider="beta", model="b", cost="0.25", cache_read_tokens=3, cache_write_5m_tokens=1)
    use(application, provider="out", model="before", cost="9", occurred_at="2026-03-09 23:59:59.999999Z")
    use(application, provider="out", model="after", cost="9", occurred_at="2026-03-13 00:00Z")
    return database


DAYS = ("--since", "2026-03-10", "--until", "2026-03-12")


def as_json(database, *arguments, **options):
    result = run_command(database, "usage", "--json", *arguments, **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def costs(report, *names):
    return {tuple(row[name] for name in names): row["cost_usd"] for row in report["rows"]}


def test_costs_are_exact_by_what_is_asked_for(march):
    report = as_json(march, *DAYS, "--by", "provider,model")
    assert costs(report, "provider", "model") == {
        ("alpha", "a-1"): "3.000000000001",
        ("alpha", "a-2"): "0.500000000000",
        ("beta", "b"): "0.250000000000",
    }
    assert report["total"]["cost_usd"] == "3.750000000001"
    assert (report["total"]["calls"], report["total"]["unpriced_calls"]) == (5, 1)
    assert [row["provider"] for row in report["rows"]] == ["alpha", "alpha", "beta"], "the dearest first"
    buckets = {name: report["total"][name] for name in report["total"] if name.endswith("_tokens")}
    assert {name: count for name, count in buckets.items() if not name.startswith(("audio", "image"))} == {
        "input_tokens": 17,
        "cache_read_tokens": 3,
        "cache_write_5m_tokens": 1,
        "cache_write_1h_tokens": 0,
        "output_tokens": 5,
        "reasoning_tokens": 2,
    }
    assert costs(as_json(march, *DAYS, "--by", "provider"), "provider") == {
        ("alpha",): "3.500000000001",
        ("beta",): "0.250000000000",
    }
    assert costs(as_json(march, *DAYS, "--by", "project"), "project") == {
        (None,): "2.250000000000",
        ("plex",): "1.000000000001",
        ("blog",): "0.500000000000",
    }
    assert costs(as_json(march, *DAYS, "--by", "day"), "day") == {
        ("2026-03-10",): "3.250000000001",
        ("2026-03-11",): "0.500000000000",
        ("2026-03-12",): None,
    }
    assert costs(as_json(march, "--since", "2026-03-01", "--until", "2026-03-31", "--by", "month"), "month") == {
        ("2026-03",): "21.750000000001"
    }


def test_csv_has_the_same_figures(march):
    result = run_command(march, "usage", "--csv", "--by", "day,provider", *DAYS)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["day"], row["provider"], row["cost_usd"]) for row in rows] == [
        ("2026-03-10", "alpha", "3.000000000001"),
        ("2026-03-10", "beta", "0.250000000000"),
        ("2026-03-11", "alpha", "0.500000000000"),
        ("2026-03-12", "beta", ""),
    ]
    assert rows[3]["unpriced_calls"] == "1"


def test_the_table_has_a_bar_for_each_row_a_total_and_what_has_no_price(march):
    result = run_command(march, "usage", *DAYS, COLUMNS="80")
    lines = result.stdout.splitlines()
    assert lines[0] == "2026-03-10 to 2026-03-12, 3 days in UTC"
    assert re.fullmatch(r"alpha +a-1 +2 +10 +7 +0 +3\.0000  █{10,}", lines[3])
    assert re.fullmatch(r"alpha +a-2 +1 +0 +0 +0 +0\.5000  █+.?", lines[4])
    assert re.fullmatch(r"beta +b +2 +11 +0 +1 +0\.2500  █+.?", lines[5])
    assert re.fullmatch(r"total +5 +21 +7 +1 +3\.7500", lines[6])
    assert lines[-1] == "1 call has no price and no part in the cost."
    assert max(map(len, lines)) == 80
    assert [line.count("█") for line in lines[3:6]] == sorted((line.count("█") for line in lines[3:6]), reverse=True)


def test_what_a_subscription_saved_is_said_apart(database, application):
    use(application, provider="claude", model="claude-opus-5", cost_source="subscription", output_tokens=1_000_000)
    result = run_command(database, "usage", *DAYS)
    value = D(application.value("SELECT subscription_value_usd FROM token_usage"))
    assert value > 0
    assert f"Use under a subscription would have cost {value:,.4f} USD more." in result.stdout
    assert re.search(r"total +1 +0 +1\.00M +0\.0000$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("columns", [72, 80, 120, 200])
def test_on_a_terminal_no_line_is_wider_than_it(march, application, columns):
    use(application, model="a-model-whose-name-goes-on-and-on-and-on-and-on-and-on", project="q" * 70, cost="7")
    code, text = on_terminal(march, "usage", *DAYS, "--by", "provider,model", columns=columns)
    assert code == 0
    assert max(map(len, text.splitlines())) <= columns
    assert "█" in text


def test_bars_are_plain_where_the_terminal_shows_no_blocks(march):
    result = run_command(march, "usage", *DAYS, LC_ALL="C")
    assert "####" in result.stdout
    assert "█" not in result.stdout


def test_nothing_was_used(database):
    result = run_command(database, "usage")
    assert (result.returncode, result.stdout.splitlines()[1]) == (0, "No usage was recorded in this time.")
    report = as_json(database)
    assert (report["rows"], report["total"]["cost_usd"]) == ([], "0")


def test_without_a_period_it_is_the_last_thirty_days(database, application):
    for days in (0, 29, 30):
        application.run(
            "INSERT INTO token_usage (provider, model, cost_source, estimated_cost_usd, occurred_at) "
            "VALUES ('lab', %s, 'provider', 1, reporting_day_start(%s))",
            f"{days} days ago",
            days,
        )
    report = as_json(database, "--by", "model")
    assert {row["model"] for row in report["rows"]} == {"0 days ago", "29 days ago"}
    assert {row["model"] for row in as_json(database, "--by", "model", "--days", "31")["rows"]} == {
        f"{days} days ago" for days in (0, 29, 30)
    }


def test_days_without_usage_between_others_are_shown(database, application):
    use(application, cost="1", occurred_at="2026-03-10 12:00Z")
    use(application, cost="1", occurred_at="2026-03-13 12:00Z")
    report = as_json(database, "--by", "day", "--since", "2026-03-01", "--until", "2026-03-14")
    assert [(row["day"], row["calls"], row["cost_usd"]) for row in report["rows"]] == [
        ("2026-03-10", 1, "1.000000000000"),
        ("2026-03-11", 0, "0"),
        ("2026-03-12", 0, "0"),
        ("2026-03-13", 1, "1.000000000000"),
        ("2026-03-14", 0, "0"),
    ]


# Zone, the day on which its clocks change, its first and its last minute in UTC, and how long it is.
CHANGES = [
    ("Europe/Amsterdam", "2026-03-29", "2026-03-28 23:00Z", "2026-03-29 21:59Z", 23),
    ("Europe/Amsterdam", "2026-10-25", "2026-10-24 22:00Z", "2026-10-25 22:59Z", 25),
    ("America/New_York", "2026-03-08", "2026-03-08 05:00Z", "2026-03-09 03:59Z", 23),
    ("America/New_York", "2026-11-01", "2026-11-01 04:00Z", "2026-11-02 04:59Z", 25),
    # At midnight: the hour from 0 to 1 comes twice in Havana, and not at all in Beirut.
    ("America/Havana", "2025-11-02", "2025-11-02 04:00Z", "2025-11-03 04:59Z", 25),
    ("Asia/Beirut", "2025-03-30", "2025-03-29 22:00Z", "2025-03-30 20:59Z", 23),
]


@pytest.mark.parametrize(("zone", "day", "first", "last", "hours"), CHANGES)
def test_a_day_on_which_the_clocks_change_is_whole(database, application, zone, day, first, last, hours):
    """Usage of every minute of the day, of the minute before and of the one after: each is in its day."""
    application.run(
        "INSERT INTO token_usage (provider, model, cost_source, estimated_cost_usd, occurred_at) "
        "SELECT 'lab', 'm', 'provider', 1, at FROM generate_series(%s::timestamptz - interval '1 minute', "
        "%s::timestamptz + interval '1 minute', interval '1 minute') AS at",
        first,
        last,
    )
    minutes = hours * 60
    only = as_json(database, "--by", "day", "--since", day, "--until", day, "--time-zone", zone)
    assert [(row["day"], row["calls"]) for row in only["rows"]] == [(day, minutes)]
    before = datetime.date.fromisoformat(day) - datetime.timedelta(days=1)
    after = datetime.date.fromisoformat(day) + datetime.timedelta(days=1)
    around = as_json(database, "--by", "day", "--since", f"{before}", "--until", f"{after}", "--time-zone", zone)
    assert [(row["day"], row["calls"]) for row in around["rows"]] == [(f"{before}", 1), (day, minutes), (f"{after}", 1)]
    assert around["total"]["calls"] == minutes + 2


def test_the_zone_is_the_one_of_the_database_unless_another_is_asked_for(database, application, admin):
    use(application, cost="1", occurred_at="2026-07-01 22:30Z")
    july = ("--by", "day", "--since", "2026-07-01", "--until", "2026-07-02")
    assert as_json(database, *july)["rows"][0]["day"] == "2026-07-01"
    admin.run(f"ALTER DATABASE {database.name} SET mission_control.reporting_time_zone = 'Europe/Amsterdam'")
    report = as_json(database, *july)
    assert (report["time_zone"], report["rows"][0]["day"]) == ("Europe/Amsterdam", "2026-07-02")
    assert report["starts_at"] == "2026-06-30T22:00:00+00:00"
    report = as_json(database, *july, "--time-zone", "asia/tokyo")
    assert (report["time_zone"], report["rows"][0]["day"]) == ("Asia/Tokyo", "2026-07-02")
    assert as_json(database, *july, PGTZ="Pacific/Auckland")["rows"][0]["day"] == "2026-07-02"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--time-zone", "Europe/Amsterdm"], "did you mean Europe/Amsterdam?"),
        (["--time-zone", "Nowhere+5"], "The server knows no time zone 'Nowhere+5'"),
        (["--since", "2026-03-10", "--until", "2026-03-09"], "after its end on 2026-03-09"),
    ],
)
def test_what_only_the_server_can_refuse_is_wrong_usage_too(database, arguments, sentence):
    result = run_command(database, "usage", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_who_may_not_see_each_call_sees_the_sums_of_days_alone(database):
    assert run_command(database, "usage", role="monitor").returncode == 0
    result = run_command(database, "usage", "--time-zone", "Asia/Tokyo", role="monitor")
    assert result.returncode == 3
    assert "permission denied for table token_usage" in result.stderr
    assert run_command(database, "usage", "--time-zone", "Asia/Tokyo", role="readonly").returncode == 0


BUCKETS = [name for name in COUNTS if name.endswith("_tokens")]


@pytest.fixture
def random_usage(database, application):
    """Usage of a few days of each sort there is, some of it in the sums by day and some not, some labelled anew or removed since."""
    dice = random.Random(11)
    start = datetime.datetime(2026, 3, 27, tzinfo=datetime.timezone.utc)
    for number in range(400):
        source = dice.choice(["provider", "unpriced", "subscription", "local"])
        columns = {name: dice.choice([0, 0, dice.randrange(10**6)]) for name in BUCKETS}
        application.insert(
            "token_usage",
            provider=dice.choice(["alpha", "openai"]),
            model=dice.choice(["m", "gpt-5.4"]),
            project=dice.choice([None, "plex", "blog"]),
            agent=dice.choice([None, "me"]),
            cost_source=source,
            estimated_cost_usd=f"{dice.random():.12f}" if source == "provider" else None,
            occurred_at=start + datetime.timedelta(seconds=dice.randrange(4 * 86400)),
            **columns,
        )
        if number in (150, 300):
            application.run("SELECT roll_up_token_usage()")
    application.run("UPDATE token_usage SET project = 'moved' WHERE id % 7 = 0")
    database.session("admin").run("DELETE FROM token_usage WHERE id % 11 = 0")
    return database


@pytest.mark.parametrize("by", [GROUPS, ("day",), ("agent", "month"), ("project",)])
def test_the_sums_of_days_are_those_of_the_calls(random_usage, by):
    with client_of(random_usage) as client:
        report = usage_report(client, by, datetime.date(2026, 3, 28), datetime.date(2026, 3, 30))
        assert report.period.is_rolled_up
        found = [
            client.query_many(usage_query(by, rolled_up), usage_parameters(report.period))
            for rolled_up in (True, False)
        ]
    rolled_up, raw = (sorted(rows, key=lambda row: str([row[name] for name in by])) for rows in found)
    assert rolled_up == raw
    assert len(raw) >= 2
    assert sum(row["calls"] for row in raw) == report.total.counts["calls"] > 200
    assert any(row["subscription_value_usd"] for row in raw)
    assert any(row["audio_output_tokens"] for row in raw)


def test_days_of_another_time_zone_are_read_of_the_calls(random_usage):
    with client_of(random_usage) as client:
        report = usage_report(
            client, ("day",), datetime.date(2026, 3, 28), datetime.date(2026, 3, 29), time_zone="Europe/Amsterdam"
        )
    assert not report.period.is_rolled_up
    day = "(occurred_at AT TIME ZONE 'Europe/Amsterdam')::date"
    counted = random_usage.session("admin").rows(
        f"SELECT {day} AS day, count(*) FROM token_usage WHERE {day} IN ('2026-03-28', '2026-03-29') GROUP BY 1 ORDER BY 1"
    )
    assert [(row.group["day"], row.counts["calls"]) for row in report.rows] == [
        (row["day"], row["count"]) for row in counted
    ]


@pytest.mark.parametrize("by", [("provider", "model"), ("day",), ("project", "month")])
def test_few_rows_are_read_however_many_calls_there_are(database, application, admin, by):
    application.run(
        "INSERT INTO token_usage (provider, model, cost_source, estimated_cost_usd, occurred_at) "
        "SELECT 'lab', 'm', 'provider', 1, now() - n * interval '10 minutes' FROM generate_series(1, 50000) AS n"
    )
    admin.run("ANALYZE token_usage")
    with client_of(database) as client:
        report = usage_report(client, by, days=7)
        plans = [
            "\n".join(
                row["QUERY PLAN"]
                for row in client.query_many(
                    f"EXPLAIN (ANALYZE, TIMING OFF) {usage_query(by, rolled_up)}", usage_parameters(report.period)
                )
            )
            for rolled_up in (True, False)
        ]
    assert 860 < report.total.counts["calls"] <= 1008
    assert "on token_usage_days" in plans[0]
    assert re.findall(r" on token_usage (?!.*never executed)", plans[0]) == []
    assert "ix_token_usage_occurred_at" in plans[1]
    assert "Seq Scan" not in plans[1]


def test_a_sum_of_many_groups_loses_no_digit(database, application):
    for number in range(20):
        use(application, model=f"m{number}", cost="99999999.999999999999")
    with client_of(database) as client:
        report = usage_report(client, since=datetime.date(2026, 3, 10), until=datetime.date(2026, 3, 10))
    assert report.total.cost_usd == 20 * D("99999999.999999999999")


@pytest.mark.parametrize("arguments", [{"by": ()}, {"by": ("colour",)}, {"by": ("day", "day")}, {"days": 0}])
def test_a_report_that_there_is_none_of_is_refused(database, arguments):
    with client_of(database) as client, pytest.raises(ReportError):
        usage_report(client, **arguments)
