"""What the ledger charges for usage as the providers report it, against genai-prices: read, tiered, dated and priced by each alone."""

import random
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.calls import record_llm_call
from genai_prices.data_snapshot import get_snapshot
from library_client import client_of
from mission_control_database import seed_prices

CALLS = 3000
SEED = seed_prices()
THEIR_NAME = {"claude": "anthropic", "openai": "openai", "gemini": "google"}
MODELS = sorted(
    {
        (price["provider"], model)
        for price in SEED
        if price["provider"] in THEIR_NAME
        for model in (price["model"], *price.get("aliases", ()))
    }
)
# The bounds of all tiers, and the moments at which prices change.
BOUNDS = sorted({price["above_input_tokens"] for price in SEED if price.get("above_input_tokens")})
CHANGES = sorted(
    {datetime.fromisoformat(price["valid_from"].replace("Z", "+00:00")) for price in SEED if price.get("valid_from")}
)


def anthropic(chance, total):
    read, short, long = parts(chance, total, 3)
    output = chance.randrange(60_000)
    return {
        "input_tokens": total - read - short - long,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": chance.randrange(output + 1)},
    }


def openai_chat(chance, total):
    read, written = parts(chance, total, 2)
    output = chance.randrange(60_000)
    return {
        "prompt_tokens": total,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens": output,
        "completion_tokens_details": {"reasoning_tokens": chance.randrange(output + 1)},
        "total_tokens": total + output,
    }


def openai_responses(chance, total):
    chat = openai_chat(chance, total)
    return {
        "input_tokens": chat["prompt_tokens"],
        "input_tokens_details": chat["prompt_tokens_details"],
        "output_tokens": chat["completion_tokens"],
        "output_tokens_details": chat["completion_tokens_details"],
        "total_tokens": chat["total_tokens"],
    }


def gemini(chance, total):
    (read,) = parts(chance, total, 1)
    answer, thoughts = chance.randrange(60_000), chance.randrange(30_000)
    tools = chance.choice((0, chance.randrange(total - read + 1)))
    return {
        "promptTokenCount": total - tools,
        "cachedContentTokenCount": read,
        "toolUsePromptTokenCount": tools,
        "candidatesTokenCount": answer,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": total + answer + thoughts,
    }


def parts(chance, total, number):
    """Some shares of the total, often none."""
    cuts = sorted(chance.choice((0, chance.randrange(total + 1))) for _ in range(number))
    return [end - begin for begin, end in zip([0, *cuts], cuts)]


# Form, and under which name and in which place genai-prices expects it.
FORMS = {
    "claude": [(anthropic, "default", "usage")],
    "openai": [(openai_chat, "chat", "usage"), (openai_responses, "responses", "usage")],
    "gemini": [(gemini, "default", "usageMetadata")],
}


@pytest.fixture(scope="module")
def client(shared_database):
    with client_of(shared_database) as client:
        yield client


def cases(chance):
    for _ in range(CALLS):
        provider, model = chance.choice(MODELS)
        total = chance.choice((chance.randrange(500_000), chance.choice(BOUNDS) + chance.randrange(-1, 3)))
        moment = chance.choice(
            (
                datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(hours=chance.randrange(24 * 900)),
                chance.choice(CHANGES) + timedelta(seconds=chance.randrange(-1, 2)),
            )
        )
        yield provider, model, total, moment, *chance.choice(FORMS[provider])


def test_costs_agree_to_the_last_decimal(client):
    chance = random.Random(20261123)
    theirs = {provider.id: provider for provider in get_snapshot().providers}
    prices = set()
    for provider, model, total, moment, form, flavor, place in cases(chance):
        usage = form(chance, total)
        their_provider = theirs[THEIR_NAME[provider]]
        _model, extracted = their_provider.extract_usage(
            {place: usage, "model": model, "modelVersion": model}, api_flavor=flavor
        )
        expected = their_provider.find_model(model).calc_price(
            extracted, their_provider, genai_request_timestamp=moment
        )
        recorded = record_llm_call(
            client, provider=provider, model=model, usage=usage, occurred_at=moment, body_storage="none"
        )
        assert recorded.cost_usd == expected.total_price, (provider, model, usage, moment)
        assert recorded.usage.cost_source == "computed"
        prices.add(recorded.usage.price_id)
    used = client.query_one(
        "SELECT count(*) AS prices, count(*) FILTER (WHERE above_input_tokens > 0) AS tiers,"
        " count(*) FILTER (WHERE valid_to IS NOT NULL) AS ended FROM provider_pricing WHERE id = ANY (%s::uuid[])",
        [[str(price) for price in prices]],
    )
    # That the comparison has reached base prices, tiers and periods that have ended.
    assert used["prices"] > 60
    assert used["tiers"] > 15
    assert used["ended"] > 8
