"""What usage of every model of the price list costs, against genai-prices: tiers, modes, periods, dated names, audio and images.

Once by the ledger's buckets, and once as the providers report it, read by each alone.
"""

import dataclasses
import random

from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.usage import read_usage
from genai_prices_comparison import BUCKETS, CONTEXTS, THEIRS, PricedModels, compare, random_usages, split

USAGES = 100_000
REPORTED = 3000


def test_costs_agree_to_the_last_decimal(shared_database):
    disagreements, prices = compare(shared_database.session("application"), random_usages(USAGES, seed=20261123))
    assert disagreements[:3] == []
    used = shared_database.session("readonly").row(
        "SELECT count(*) AS prices, count(*) FILTER (WHERE above_input_tokens > 0) AS tiers,"
        " count(*) FILTER (WHERE valid_to IS NOT NULL) AS ended, count(DISTINCT billing_mode) AS modes"
        " FROM provider_pricing WHERE id = ANY (%s::uuid[])",
        [str(price) for price in prices],
    )
    # That the comparison has reached base prices, tiers and periods that have ended.
    assert used["prices"] > 1500
    assert used["tiers"] > 200
    assert used["ended"] > 200
    assert used["modes"] == 5


def anthropic(chance, total):
    fresh, read, short, long = split(chance, total, 4)
    output = chance.randrange(60_000)
    return {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": chance.randrange(output + 1)},
    }


def openai_chat(chance, total):
    _fresh, read, written = split(chance, total, 3)
    text, audio, reasoning = split(chance, chance.randrange(60_000), 3)
    output = text + audio + reasoning
    # Where there is audio, genai-prices wants to know how much of it was cached, which this form does not say.
    heard = chance.randrange(total + 1) if read == written == 0 else 0
    return {
        "prompt_tokens": total,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written, "audio_tokens": heard},
        "completion_tokens": output,
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": audio},
        "total_tokens": total + output,
    }


def openai_responses(chance, total):
    _fresh, read, written = split(chance, total, 3)
    output = chance.randrange(60_000)
    return {
        "input_tokens": total,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": chance.randrange(output + 1)},
        "total_tokens": total + output,
    }


def gemini(chance, total):
    text, text_read, audio, audio_read, image, image_read, tools = split(chance, total, 7)
    written, spoken, drawn = split(chance, chance.randrange(60_000), 3)
    thoughts = chance.randrange(30_000)
    return {
        "promptTokenCount": total - tools,
        "promptTokensDetails": _details(text + text_read, audio + audio_read, image + image_read),
        "cachedContentTokenCount": text_read + audio_read + image_read,
        "cacheTokensDetails": _details(text_read, audio_read, image_read),
        "toolUsePromptTokenCount": tools,
        "toolUsePromptTokensDetails": _details(tools, 0, 0),
        "candidatesTokenCount": written + spoken + drawn,
        "candidatesTokensDetails": _details(written, spoken, drawn),
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": total + written + spoken + drawn + thoughts,
    }


def _details(text, audio, image):
    parts = {"TEXT": text, "AUDIO": audio, "IMAGE": image}
    return [{"modality": name, "tokenCount": tokens} for name, tokens in parts.items()]


# Form, and under which name and in which place genai-prices expects it.
FORMS = {
    "claude": [(anthropic, "default", "usage")],
    "openai": [(openai_chat, "chat", "usage"), (openai_responses, "responses", "usage")],
    "gemini": [(gemini, "default", "usageMetadata")],
}
# What a response says of the mode in which it was served; of others the caller knows it.
SERVED = {
    ("claude", "batch"): {"service_tier": "batch"},
    ("claude", "fast"): {"speed": "fast"},
    ("openai", "flex"): {"service_tier": "flex"},
    ("openai", "priority"): {"service_tier": "priority"},
}


def reported_usages():
    models, chance = PricedModels(), random.Random(20261127)
    for _ in range(REPORTED):
        key = chance.choice(models.keys)
        provider, mode, moment = key[0], chance.choice(sorted(models.modes[key])), models.moment(chance, key)
        name = models.name(chance, *key)
        form, flavor, place = chance.choice(FORMS[provider])
        usage = form(chance, models.total(chance, key))
        told = SERVED.get((provider, mode))
        response = {place: usage, "model": name, "modelVersion": name}
        if told is not None:
            (usage if provider == "claude" else response).update(told)
        theirs = THEIRS[provider]
        _model, extracted = theirs.extract_usage(response, api_flavor=flavor)
        expected = models.find(provider, name).calc_price(
            extracted, theirs, genai_request_timestamp=moment, price_context=CONTEXTS[mode]
        )
        reported = read_usage(response, provider, None if told or mode == "standard" else mode)
        assert reported.billing_mode == mode
        counts = [getattr(reported.buckets, bucket) for bucket in BUCKETS]
        assert sum(counts) == sum(dataclasses.astuple(reported.buckets))
        yield provider, name, mode, moment, counts, expected.total_price


def test_what_providers_report_is_read_and_priced_alike(shared_database):
    disagreements, prices = compare(shared_database.session("application"), reported_usages())
    assert disagreements[:3] == []
    assert len(prices) > 500
