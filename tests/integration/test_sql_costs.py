"""What usage costs: against Decimal, frozen, and filled in later."""

import datetime
import typing
from decimal import Decimal

import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.models import enums
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mission_control_database import seed_prices
from sample_rows import fill_every_table

BUCKETS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
SEED = seed_prices()
GENAI = {"claude": "anthropic", "gemini": "google", "openai": "openai"}
UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def application(shared_database):
    return shared_database.session("application")


def usage(session, provider="openai", model="gpt-5", **columns):
    """Insert usage; buckets are given by their names without _tokens."""
    columns = {f"{name}_tokens" if name in BUCKETS else name: value for name, value in columns.items()}
    return session.insert("token_usage", provider=provider, model=model, **columns)


def expected_cost(prices, tokens, at):
    """Cost by the seed's entries for one model, computed with Decimal; None without a price."""
    total_input = sum(tokens[name] for name in BUCKETS if name not in ("output", "reasoning"))
    valid = [
        price
        for price in prices
        if _time(price.get("valid_from", "1970-01-01T00:00:00Z")) <= at
        and ("valid_to" not in price or at < _time(price["valid_to"]))
        and (price.get("above_input_tokens", 0) == 0 or total_input > price["above_input_tokens"])
    ]
    if not valid:
        return None
    price = max(valid, key=lambda price: price.get("above_input_tokens", 0))
    rate = {name: Decimal(price[name]) for name in BUCKETS if name in price}
    general = {
        "cache_read": "input",
        "cache_write_5m": "input",
        "cache_write_1h": "cache_write_5m",
        "reasoning": "output",
    }
    for name in BUCKETS:
        rate.setdefault(name, rate.get(general.get(name)))
    return sum(tokens[name] * rate[name] for name in BUCKETS) / 1000000


def _time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _seed_for(provider, model):
    """The seed's entries for a model in the standard mode."""
    return [
        price
        for price in SEED
        if (price["provider"], price["model"]) == (provider, model) and "billing_mode" not in price
    ]


PRICED = sorted({(price["provider"], price["model"]) for price in SEED if price["provider"] in GENAI})
counts = st.one_of(st.integers(0, 500), st.integers(199_990, 272_010), st.integers(0, 10**9))
times = st.sampled_from(
    [
        "2024-06-01T00:00:00Z",
        "2026-11-23T12:00:00Z",
        "2026-11-30T23:59:59.999999Z",
        "2026-12-01T00:00:00Z",
        "2026-12-31T23:59:59.999999Z",
        "2027-01-01T00:00:00Z",
        "2030-01-01T00:00:00Z",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from(PRICED), tokens=st.fixed_dictionaries(dict.fromkeys(BUCKETS, counts)), at=times)
def test_the_cost_is_what_decimal_says(application, which, tokens, at):
    row = usage(application, *which, occurred_at=at, **tokens)
    assert row["estimated_cost_usd"] == expected_cost(_seed_for(*which), tokens, _time(at))
    assert row["cost_source"] == "computed"


def test_the_seed_holds_what_it_has_to():
    prices = SEED
    assert {price["provider"] for price in prices} == set(typing.get_args(enums.Provider))
    for model, change in (("gemini-4-argon", "2026-12-01T00:00:00Z"), ("gemini-3.8-flash", "2027-01-01T00:00:00Z")):
        first, second = _seed_for("gemini", model)
        assert first["valid_to"] == second["valid_from"] == change
        assert Decimal(second["input"]) == 2 * Decimal(first["input"])
    assert all(("source" in price) == (price["provider"] not in GENAI) for price in prices)


def test_a_tier_reprices_the_whole_request(application):
    at_the_bound = usage(application, "gemini", "gemini-2.5-pro", input=150_000, cache_read=50_000)
    above = usage(application, "gemini", "gemini-2.5-pro", input=150_000, cache_read=50_001)
    assert at_the_bound["estimated_cost_usd"] == (150_000 * Decimal("1.25") + 50_000 * Decimal("0.125")) / 1000000
    assert above["estimated_cost_usd"] == (150_000 * Decimal("2.5") + 50_001 * Decimal("0.25")) / 1000000
    assert at_the_bound["price_id"] != above["price_id"]


def test_a_request_without_a_single_token_has_a_price(application):
    assert usage(application)["estimated_cost_usd"] == 0
    assert usage(application)["cost_source"] == "computed"


def test_local_and_free_models(application):
    local = usage(application, "ollama", "llama3.3:70b", input=10**6)
    assert (local["estimated_cost_usd"], local["cost_source"]) == (0, "local")
    assert local["price_id"] is not None
    own = usage(application, "openai", "gpt-oss-20b", cost_source="local", input=10**6)
    assert (own["estimated_cost_usd"], own["cost_source"], own["price_id"]) == (0, "local", None)
    free = usage(application, "github-models", "gpt-4o", billing_mode="free", input=10**6)
    assert (free["estimated_cost_usd"], free["cost_source"]) == (0, "computed")
    paid = usage(application, "github-models", "gpt-4o", input=10**6)
    assert paid["estimated_cost_usd"] == Decimal("2.5")


def test_an_unknown_model_has_no_cost_and_not_zero(application):
    for columns in ({"model": "gpt-99"}, {"model": "gpt-5", "billing_mode": "free"}, {"provider": "nobody"}):
        row = usage(application, **columns, input=10)
        assert (row["estimated_cost_usd"], row["cost_source"], row["price_id"]) == (None, "unpriced", None)


def test_a_subscription_costs_nothing_and_keeps_what_it_would_have_cost(application):
    row = usage(application, cost_source="subscription", input=10**6)
    assert (row["estimated_cost_usd"], row["subscription_value_usd"]) == (0, Decimal("1.25"))
    assert row["price_id"] is not None
    unknown = usage(application, model="gpt-99", cost_source="subscription", input=10**6)
    assert (unknown["estimated_cost_usd"], unknown["subscription_value_usd"]) == (0, None)


def test_a_cost_reported_by_the_provider_is_taken_as_it_is(application):
    row = usage(application, cost_source="provider", estimated_cost_usd="0.123456789012", input=10**6)
    assert (row["estimated_cost_usd"], row["price_id"]) == (Decimal("0.123456789012"), None)


@pytest.mark.parametrize("source", ["computed", "unpriced", "local", "subscription"])
@pytest.mark.parametrize("column", ["estimated_cost_usd", "subscription_value_usd"])
def test_a_writer_cannot_make_up_a_cost(application, source, column):
    with pytest.raises(psycopg2.errors.CheckViolation, match="the server computes the cost"):
        usage(application, cost_source=source, **{column: 1})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE token_usage SET estimated_cost_usd = estimated_cost_usd + 1",
        "UPDATE token_usage SET input_tokens = input_tokens + 1",
        "UPDATE token_usage SET occurred_at = occurred_at - interval '1 day'",
        "UPDATE token_usage SET model = 'gpt-5-nano'",
        "UPDATE token_usage SET cost_source = 'unpriced', estimated_cost_usd = NULL, price_id = NULL",
        "UPDATE token_usage SET request_id = NULL",
    ],
)
def test_what_was_recorded_is_frozen(database, statement):
    fill_every_table(database.session("application"))
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.session("application").run(statement)
    with pytest.raises(psycopg2.errors.RestrictViolation, match="frozen"):
        database.session("owner").run(statement)


def test_labels_may_change(database):
    session = database.session("application")
    fill_every_table(session)
    assert session.run("UPDATE token_usage SET project = 'homelab', agent = 'planner'") == 1


def test_a_later_price_never_alters_the_past(database):
    session, owner = database.session("application"), database.session("owner")
    before = usage(session, input=10**6)
    owner.run(
        "SELECT apply_provider_prices(%s::jsonb, 'user')",
        '[{"provider": "openai", "model": "gpt-5", "input": "7", "output": "9"}]',
    )
    after = usage(session, input=10**6)
    late = usage(session, input=10**6, occurred_at=before["occurred_at"])
    assert [before["estimated_cost_usd"], after["estimated_cost_usd"], late["estimated_cost_usd"]] == [
        Decimal("1.25"),
        Decimal(7),
        Decimal("1.25"),
    ]
    assert session.row("SELECT * FROM token_usage WHERE id = %s", before["id"]) == before
    assert late["price_id"] == before["price_id"] != after["price_id"]


def test_filling_touches_unpriced_rows_and_nothing_else(database):
    session, owner = database.session("application"), database.session("owner")
    for columns in (
        {"input": 5},
        {"model": "new-model", "input": 10**6, "reasoning": 10**6},
        {"model": "new-model", "input": 10**6, "occurred_at": "2026-01-31T23:59:59Z"},
        {"model": "new-model", "cost_source": "subscription", "input": 10**6},
        {"model": "new-model", "cost_source": "provider", "estimated_cost_usd": 3},
        {"model": "never-priced", "input": 10**6},
        {"provider": "homebrew", "model": "any", "input": 10**6},
    ):
        usage(session, **columns)
    before = session.rows("SELECT * FROM token_usage ORDER BY id")
    assert [row["cost_source"] for row in before].count("unpriced") == 4
    owner.run(
        "SELECT apply_provider_prices(%s::jsonb, 'user')",
        """[{"provider": "openai", "model": "new-model", "input": 1, "output": 2, "valid_from": "2026-02-01"},
            {"provider": "homebrew", "model": "*", "input": 0, "output": 0, "local": true}]""",
    )
    assert session.value("SELECT fill_unpriced_token_usage()") == 2
    after = session.rows("SELECT * FROM token_usage ORDER BY id")
    money = [(row["estimated_cost_usd"], row["cost_source"]) for row in after]
    assert money[1] == (Decimal(3), "computed")
    assert money[2] == (None, "unpriced"), "the price was not valid yet"
    assert money[5] == (None, "unpriced")
    assert money[6] == (Decimal(0), "local")
    assert after[1]["price_id"] is not None
    assert [after[i] for i in (0, 2, 3, 4, 5)] == [before[i] for i in (0, 2, 3, 4, 5)]
    assert session.value("SELECT fill_unpriced_token_usage()") == 0


def test_states_that_the_trigger_cannot_produce_are_refused_without_it(database):
    """Even a superuser who skips the trigger cannot store a computed cost without its price."""
    admin = database.session("admin")
    admin.run("SET session_replication_role = replica")
    for columns in (
        {"cost_source": "computed", "estimated_cost_usd": 1},
        {"cost_source": "unpriced", "estimated_cost_usd": None, "price_id": "00000000-0000-0000-0000-000000000000"},
        {"cost_source": "provider", "estimated_cost_usd": 1, "price_id": "00000000-0000-0000-0000-000000000000"},
    ):
        with pytest.raises(psycopg2.errors.CheckViolation, match="ck_token_usage_price_id"):
            usage(admin, **columns)
    for source, cost in (
        ("unpriced", 1),
        ("unpriced", 0),
        ("local", 1),
        ("local", None),
        ("subscription", 1),
        ("computed", None),
    ):
        with pytest.raises(psycopg2.errors.CheckViolation):
            usage(admin, cost_source=source, estimated_cost_usd=cost)


def test_bodies_are_pruned_and_counts_and_costs_stay(database):
    session, admin = database.session("application"), database.session("admin")
    rows = fill_every_table(session)
    session.insert("llm_requests", provider="claude", model="m", messages={"prompt": "new"})
    admin.run("SET session_replication_role = replica")
    admin.run("UPDATE llm_requests SET occurred_at = '2020-01-01Z' WHERE id = %s", rows["llm_requests"]["id"])
    admin.run("UPDATE llm_responses SET occurred_at = '2020-01-01Z'")
    assert session.value("SELECT prune_llm_bodies('2021-01-01Z')") == 2
    assert session.value("SELECT prune_llm_bodies('2021-01-01Z')") == 0
    kept = session.rows(
        "SELECT messages, bodies_pruned_at IS NOT NULL AS pruned FROM llm_requests ORDER BY occurred_at"
    )
    assert kept == [{"messages": None, "pruned": True}, {"messages": {"prompt": "new"}, "pruned": False}]
    reply = session.row("SELECT content, raw, latency_ms FROM llm_responses")
    assert reply == {"content": None, "raw": None, "latency_ms": 120}
    assert session.row("SELECT * FROM token_usage") == rows["token_usage"]
    entry = session.row("SELECT * FROM audit_entries WHERE action = 'llm_bodies.prune'")
    assert entry["details"]["requests"] == entry["details"]["responses"] == 1
    for when in ("NULL", "now() + interval '1 minute'"):
        with pytest.raises(psycopg2.errors.InvalidParameterValue):
            session.run(f"SELECT prune_llm_bodies({when})")
