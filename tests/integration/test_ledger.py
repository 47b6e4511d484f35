"""The ledger: all or nothing, once, at the price of its time, with as much of the bodies as was asked for."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConstraintError, SerializationError
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.buckets import TokenBuckets, UsageError
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.calls import (
    LedgerError,
    fill_unpriced_usage,
    record_llm_call,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.content import stored_json
from ansible_collections.homelab.mission_control.plugins.module_utils.models import (
    CreateProviderPrice,
    CreateTask,
    CreateTaskRun,
    CreateTokenUsage,
    insert,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.models.base import parameter
from hypothesis import given, settings
from hypothesis import strategies as st
from library_client import client_of

USAGE = {
    "input_tokens": 1000,
    "cache_read_input_tokens": 20_000,
    "cache_creation_input_tokens": 3000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
    "output_tokens": 500,
    "output_tokens_details": {"thinking_tokens": 200},
    "service_tier": "standard",
}
# claude-opus-5, USD per 1,000,000: input 5, output 25, cache read 0.5, cache write 6.25 and 10.
COST = (
    Decimal("5") * 1000 + Decimal("25") * 500 + Decimal("0.5") * 20_000 + Decimal("6.25") * 2000 + Decimal(10) * 1000
) / 1_000_000
MESSAGES = [{"role": "user", "content": "Restart Plex"}]
AT = datetime(2026, 9, 1, 12, 0, tzinfo=timezone.utc)
TABLES = ("llm_requests", "llm_responses", "token_usage")


@pytest.fixture
def client(database):
    with client_of(database) as client:
        yield client


@pytest.fixture(scope="module")
def ledger(shared_database):
    """For tests that do not mind the calls of others."""
    with client_of(shared_database) as client:
        yield client


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    # Beyond 2**53 a float comes back as the integer whose digits it was written with.
    | st.floats(-(2.0**53), 2.0**53)
    | st.sampled_from([float("nan"), float("inf")])
    | st.text()
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


class _ChangedMindError(Exception):
    pass


def call(client, **changes):
    return record_llm_call(client, **{"provider": "claude", "model": "claude-opus-5", "usage": USAGE, **changes})


def counts(client):
    return [client.query_one(f"SELECT count(*) AS n FROM {table}")["n"] for table in TABLES]


def test_a_call_is_stored_whole(ledger):
    task = insert(ledger, CreateTask("Restart Plex", "system"))
    run = insert(ledger, CreateTaskRun(task.id, user_prompt="Restart it"))
    recorded = call(
        ledger,
        messages=MESSAGES,
        parameters={"temperature": 0.2},
        content="Done.",
        finish_reason="end_turn",
        raw={"id": "msg_1", "stop_reason": "end_turn"},
        latency_ms=1234.5,
        occurred_at=AT,
        task_run_id=run.id,
        project="media",
        agent="ops",
        external_id="msg_1",
    )
    request, response, usage = recorded.request, recorded.response, recorded.usage
    assert recorded.newly_recorded
    assert (request.provider, request.model, request.task_run_id) == ("claude", "claude-opus-5", run.id)
    assert (request.messages, request.parameters, request.body_storage) == (MESSAGES, {"temperature": 0.2}, "truncated")
    assert (request.source, request.external_id, request.occurred_at) == ("mission-control", "msg_1", AT)
    assert (response.request_id, response.content, response.finish_reason) == (request.id, "Done.", "end_turn")
    assert (response.latency_ms, response.raw["id"]) == (1234, "msg_1")
    assert response.occurred_at == AT + timedelta(milliseconds=1234)
    assert (usage.request_id, usage.task_run_id, usage.occurred_at) == (request.id, run.id, AT)
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (1000, 300, 200)
    assert (usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (20_000, 2000, 1000)
    assert (usage.project, usage.agent, usage.billing_mode) == ("media", "ops", "standard")
    assert (usage.cost_source, usage.estimated_cost_usd, recorded.cost_usd) == ("computed", COST, COST)
    stored = {
        table: ledger.query_one(f"SELECT * FROM {table} WHERE id = %s", [str(model.id)])
        for table, model in zip(TABLES, (request, response, usage))
    }
    assert stored == {table: vars(model) for table, model in zip(TABLES, (request, response, usage))}


def test_all_or_nothing(client):
    before = counts(client)
    with pytest.raises(ConstraintError):
        call(client, billing_mode="weird")
    with pytest.raises(ConstraintError):
        call(client, task_run_id="00000000-0000-0000-0000-000000000000")
    with (
        client.transaction() as transaction,
        contextlib.suppress(_ChangedMindError),
        transaction.transaction() as nested,
    ):
        assert call(nested).newly_recorded
        raise _ChangedMindError
    assert counts(client) == before


def test_a_call_that_failed_counts_no_tokens(ledger):
    recorded = call(ledger, usage=None, error="overloaded", latency_ms=30_000)
    assert (recorded.usage, recorded.cost_usd, recorded.response.error) == (None, None, "overloaded")


def test_the_price_is_that_of_the_time_of_the_request(ledger):
    """A request that was sent before a price changed and answered after it pays the old price."""
    change = datetime(2026, 12, 1, tzinfo=timezone.utc)
    tokens = TokenBuckets(1_000_000)
    args = {"provider": "gemini", "model": "gemini-4-argon", "usage": tokens, "latency_ms": 60_000}
    before = call(ledger, **args, occurred_at=change - timedelta(seconds=1))
    after = call(ledger, **args, occurred_at=change)
    assert before.response.occurred_at > change
    assert (before.cost_usd, after.cost_usd) == (2, 4)


def test_without_a_time_the_request_was_sent_before_its_answer(ledger):
    recorded = call(ledger, latency_ms=5000)
    assert recorded.response.occurred_at - recorded.request.occurred_at == timedelta(seconds=5)
    assert timedelta(0) <= recorded.request.recorded_at - recorded.response.occurred_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"provider": "ollama", "model": "gemma4"}, ("local", 0, None)),
        ({"cost_source": "local"}, ("local", 0, None)),
        ({"cost_source": "subscription"}, ("subscription", 0, COST)),
        ({"cost_source": "subscription", "model": "unheard-of"}, ("subscription", 0, None)),
        ({"model": "unheard-of"}, ("unpriced", None, None)),
        ({"billing_mode": "free"}, ("unpriced", None, None)),
        ({"cost_usd": "0.000123456789"}, ("provider", Decimal("0.000123456789"), None)),
        ({"cost_usd": Decimal(3), "model": "unheard-of"}, ("provider", 3, None)),
        ({"provider": "github-models", "model": "gpt-4o", "billing_mode": "free"}, ("computed", 0, None)),
    ],
)
def test_who_pays(ledger, changes, expected):
    usage = call(ledger, **changes).usage
    assert (usage.cost_source, usage.estimated_cost_usd, usage.subscription_value_usd) == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cost_usd": 0.1}, "cost_usd must be a Decimal, an int or a text"),
        ({"cost_usd": "NaN"}, "cost_usd must be an amount of USD"),
        ({"cost_usd": "much"}, "cost_usd must be an amount of USD"),
        ({"cost_usd": -1}, "cost_usd must be an amount of USD"),
        ({"cost_usd": 1, "cost_source": "local"}, "The cost is local, but cost_usd is given"),
        ({"cost_usd": 1, "usage": None}, "A cost without usage cannot be recorded"),
        ({"cost_source": "provider"}, "The cost source provider needs cost_usd"),
        ({"cost_source": "unpriced"}, "is computed, local, subscription or provider, not 'unpriced'."),
        ({"cost_source": "gift"}, "is computed, local, subscription or provider, not 'gift'."),
        ({"body_storage": "half"}, "Bodies are stored as one of none, truncated, full, not 'half'."),
        ({"occurred_at": datetime(2026, 1, 1)}, "has no time zone"),
        ({"usage": {"output_tokens": 1}}, "The usage is not complete"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(ledger, changes, sentence):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        call(ledger, **changes)
    assert sentence in str(error.value)


def test_bodies_are_stored_as_the_setting_says(ledger):
    long = "x" * 5000
    bodies = {"messages": [{"role": "user", "content": long}], "content": long, "raw": {"text": long}}
    none = call(ledger, **bodies, body_storage="none")
    assert (none.request.messages, none.response.content, none.response.raw) == (None, None, None)
    assert none.cost_usd == COST
    full = call(ledger, **bodies, body_storage="full")
    assert full.request.messages == bodies["messages"]
    assert (full.response.content, full.response.raw) == (long, {"text": long})
    default = call(ledger, **bodies)
    cut = "x" * 2000 + " ... 3000 characters left out"
    assert default.request.messages == [{"role": "user", "content": cut}]
    assert (default.response.content, default.response.raw) == (cut, {"text": cut})
    assert [recorded.request.body_storage for recorded in (none, full, default)] == ["none", "full", "truncated"]


def test_a_body_never_keeps_a_call_out(ledger):
    strange = "NUL \x00, half a pair \ud83d, whole \U0001f600"
    recorded = call(
        ledger,
        messages=[
            {
                "content": strange,
                "score": float("nan"),
                "at": AT,
                "data": b"\x00\xff",
                strange: {
                    1,
                },
            }
        ],
        content=strange,
        error=strange,
        raw=object(),
        body_storage="full",
    )
    clean = "NUL \ufffd, half a pair ?, whole \U0001f600"
    assert recorded.response.content == recorded.response.error == clean
    assert recorded.request.messages == [{"content": clean, "score": "nan", "at": str(AT), "data": "AP8=", clean: [1]}]
    assert recorded.response.raw.startswith("<object object")


def test_the_clients_setting_decides_where_the_call_does_not(database):
    with client_of(database, llm_bodies="none") as client, client.transaction() as transaction:
        assert call(client, content="Done.").response.content is None
        assert call(transaction, content="Done.").request.body_storage == "none"
        assert call(transaction, content="Done.", body_storage="full").response.content == "Done."


@settings(max_examples=100, deadline=None)
@given(body=anything)
def test_the_server_takes_whatever_a_body_holds(ledger, body):
    for storage in ("truncated", "full"):
        stored = stored_json(body, storage)
        assert ledger.query_one("SELECT %s::jsonb AS body", [parameter(stored, json=True)])["body"] == stored


def test_the_same_call_counts_once(client):
    first = call(client, external_id="msg_7", content="Done.")
    before = counts(client)
    again = call(client, external_id="msg_7", content="Something else.", usage=TokenBuckets(1))
    assert again.newly_recorded is False
    assert (again.request, again.response, again.usage) == (first.request, first.response, first.usage)
    assert counts(client) == before
    with client.transaction() as transaction:
        assert call(transaction, external_id="msg_7").usage == first.usage
        assert call(transaction, external_id="msg_8").newly_recorded
    assert call(client, external_id="msg_7", source="importer").newly_recorded
    assert counts(client) == [n + 2 for n in before]


def test_calls_without_an_identifier_are_all_counted(client):
    before = counts(client)
    assert all(call(client).newly_recorded for _ in range(3))
    assert counts(client) == [n + 3 for n in before]


def test_the_same_call_at_the_same_time_counts_once(client):
    threads, rounds = 8, 20
    start = threading.Barrier(threads)

    def record(_thread):
        found = []
        for number in range(rounds):
            start.wait(timeout=30)
            found.append(call(client, external_id=f"race_{number}"))
        return found

    before = counts(client)
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(record, range(threads)))
    for number in range(rounds):
        same = [found[number] for found in results]
        assert sum(recorded.newly_recorded for recorded in same) == 1
        assert len({(recorded.request.id, recorded.response.id, recorded.usage.id) for recorded in same}) == 1
    assert counts(client) == [n + rounds for n in before]


def test_a_snapshot_that_cannot_see_the_other_recording_says_so(client):
    with client.transaction(isolation="repeatable read") as transaction:
        transaction.query("SELECT 1")
        call(client, external_id="msg_9")
        with pytest.raises(SerializationError), transaction.transaction() as nested:
            call(nested, external_id="msg_9")
    assert counts(client) == [1, 1, 1]


def test_audio_and_images_and_each_mode_have_prices_of_their_own(client):
    prices = {"input_usd_per_mtok": Decimal(1), "output_usd_per_mtok": Decimal(2), "valid_from": AT}
    apart = {"audio_input_usd_per_mtok": Decimal(8), "image_output_usd_per_mtok": Decimal(64)}
    insert(client, CreateProviderPrice("openai", "sees-and-hears", **prices, **apart))
    insert(
        client,
        CreateProviderPrice(
            "openai", "sees-and-hears", **{**prices, "input_usd_per_mtok": Decimal(3)}, billing_mode="flex"
        ),
    )
    buckets = TokenBuckets(*(10**number for number in range(12)))
    usage = call(client, provider="openai", model="sees-and-hears", usage=buckets).usage
    assert TokenBuckets(**{name: getattr(usage, name) for name in vars(buckets)}) == buckets
    # Without a price of their own: cached audio and images as input, audio as output.
    dear = 8 * buckets.audio_input_tokens + 64 * buckets.image_output_tokens
    dear += 2 * (buckets.total_output - buckets.image_output_tokens)
    assert usage.estimated_cost_usd == (dear + buckets.total_input - buckets.audio_input_tokens) / Decimal(1_000_000)
    chat = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    response = {"id": "chatcmpl-1", "service_tier": "flex", "usage": chat}
    for more, mode, cost in (({}, "flex", 3), ({"billing_mode": "standard"}, "standard", 1)):
        recorded = call(client, provider="openai", model="sees-and-hears", usage=response, **more)
        assert (recorded.usage.billing_mode, recorded.cost_usd) == (mode, Decimal(cost) / 1000)


def turn(kind, model=None):
    return {"type": kind, "model": model, "input_tokens": 1000, "output_tokens": 100}


ADVISED = {
    "input_tokens": 1000,
    "output_tokens": 100,
    "iterations": [
        turn("message"),
        *(turn("advisor_message", model) for model in ("claude-opus-5", "unheard-of", "claude-opus-5")),
    ],
}
OPUS = Decimal(1000 * 5 + 100 * 25) / 1_000_000


def test_what_other_models_used_is_recorded_with_the_call_and_once(client):
    labels = {"project": "media", "agent": "ops", "occurred_at": AT}
    recorded = call(client, usage=ADVISED, external_id="msg_1", **labels)
    assert (recorded.newly_recorded, recorded.usage.input_tokens, recorded.usage.estimated_cost_usd) == (
        True,
        1000,
        OPUS,
    )
    assert [(row.model, row.external_id, row.estimated_cost_usd) for row in recorded.further_usage] == [
        ("claude-opus-5", "msg_1/advisor-1", OPUS),
        ("unheard-of", "msg_1/advisor-2", None),
        ("claude-opus-5", "msg_1/advisor-3", OPUS),
    ]
    for row in recorded.further_usage:
        assert {name: getattr(row, name) for name in labels} == labels
        assert (row.request_id, row.provider, row.output_tokens) == (recorded.request.id, "claude", 100)
    # Where one has no price, that of all is not known.
    assert recorded.cost_usd is None
    before = counts(client)
    again = call(client, usage=USAGE, external_id="msg_1")
    assert (again.newly_recorded, again.usage, again.further_usage) == (False, recorded.usage, recorded.further_usage)
    assert counts(client) == before == [1, 1, 4]
    paid = call(client, usage=ADVISED, cost_usd="0.5")
    assert [row.estimated_cost_usd for row in paid.further_usage] == [0, 0, 0]
    assert [row.external_id for row in paid.further_usage] == [None] * 3
    assert paid.cost_usd == Decimal("0.5")
    with pytest.raises(ConstraintError):
        call(client, usage={**ADVISED, "iterations": [turn("message"), turn("advisor_message", " ")]})
    assert counts(client) == [2, 2, 8]


def test_a_call_is_billed_as_the_model_that_answered(client):
    usage = {**ADVISED, "iterations": [turn("message", "claude-asked"), turn("fallback_message", "claude-opus-5")]}
    recorded = call(client, model="claude-asked", usage=usage)
    assert (recorded.request.model, recorded.usage.model, recorded.usage.estimated_cost_usd) == (
        "claude-asked",
        "claude-opus-5",
        OPUS,
    )
    assert [(row.model, row.cost_source) for row in recorded.further_usage] == [("claude-asked", "unpriced")]


def test_usage_that_was_imported_before_is_not_counted_again(client):
    imported = insert(
        client, CreateTokenUsage("claude", "claude-opus-5", input_tokens=10, source="invoice", external_id="u1")
    )
    recorded = call(client, source="invoice", external_id="u1")
    assert recorded.newly_recorded
    assert recorded.usage == imported
    assert counts(client) == [1, 1, 1]
    advice = insert(client, CreateTokenUsage("claude", "claude-opus-5", source="invoice", external_id="u2/advisor-1"))
    assert call(client, source="invoice", external_id="u2", usage=ADVISED).further_usage[0] == advice
    assert counts(client) == [2, 2, 5]


def test_prices_known_later_fill_what_was_unpriced_and_nothing_else(client):
    others = [
        call(client),
        call(client, cost_source="subscription", model="newcomer-1"),
        call(client, cost_usd="7", model="newcomer-1"),
        call(client, cost_source="local", model="newcomer-1"),
        call(client, model="unheard-of"),
        call(client, model="newcomer-1", occurred_at=AT - timedelta(days=1)),
    ]
    waiting = call(client, model="newcomer-1", occurred_at=AT)
    before = {row["id"]: row for row in client.query_many("SELECT xmin::text AS version, * FROM token_usage")}
    assert waiting.usage.cost_source == "unpriced"
    assert fill_unpriced_usage(client) == 0
    price = insert(
        client,
        CreateProviderPrice(
            "claude", "newcomer-1", input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(2), valid_from=AT
        ),
    )
    assert fill_unpriced_usage(client) == 1
    assert fill_unpriced_usage(client) == 0
    after = {row["id"]: row for row in client.query_many("SELECT xmin::text AS version, * FROM token_usage")}
    filled = after.pop(waiting.usage.id)
    assert {key: row for key, row in before.items() if key != waiting.usage.id} == after
    assert set(after) == {recorded.usage.id for recorded in others}
    changed = {name for name, value in filled.items() if before[waiting.usage.id][name] != value}
    assert changed == {"version", "estimated_cost_usd", "cost_source", "price_id"}
    assert (filled["cost_source"], filled["price_id"]) == ("computed", price.id)
    assert filled["estimated_cost_usd"] == Decimal(24_000 + 2 * 500) / 1_000_000


def test_errors_of_the_ledger_are_those_of_the_library(ledger):
    with pytest.raises(LedgerError):
        call(ledger, cost_usd=1.5)
    with pytest.raises(UsageError):
        call(ledger, usage={})
