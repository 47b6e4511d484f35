"""Usage as the providers report it becomes disjoint buckets that add up to the providers' own totals."""

import dataclasses
import re
from types import SimpleNamespace

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.buckets import (
    MOST_TOKENS,
    FurtherUsage,
    ReportedUsage,
    TokenBuckets,
    UsageError,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.usage import (
    normalise_usage,
    read_usage,
    stream_usage,
)
from genai_prices.data_snapshot import get_snapshot
from hypothesis import assume, given, settings
from hypothesis import strategies as st

tokens = st.integers(min_value=0, max_value=2_000_000)
ALL = [field.name for field in dataclasses.fields(TokenBuckets)]
buckets = st.builds(TokenBuckets, *[tokens] * len(ALL))


def camel(name):
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


def snake(name):
    return re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), name)


def as_object(value):
    """The attributes of an SDK's object instead of the keys of a dict."""
    if isinstance(value, list):
        return [as_object(item) for item in value]
    if not isinstance(value, dict):
        return value
    return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})


# What each provider would report for the buckets, written from its reference and not from the code under test.


def anthropic(b):
    return {
        "input_tokens": b.input_tokens,
        "cache_creation_input_tokens": b.cache_write_5m_tokens + b.cache_write_1h_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": b.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": b.cache_write_1h_tokens,
        },
        "cache_read_input_tokens": b.cache_read_tokens,
        "output_tokens": b.output_tokens + b.reasoning_tokens,
        "output_tokens_details": {"thinking_tokens": b.reasoning_tokens},
        "service_tier": "standard",
    }


def openai_chat(b):
    prompt = b.input_tokens + b.cache_read_tokens + b.cache_write_5m_tokens
    completion = b.output_tokens + b.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": b.cache_read_tokens,
            "cache_write_tokens": b.cache_write_5m_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": b.reasoning_tokens, "accepted_prediction_tokens": 0},
    }


def openai_responses(b):
    chat = openai_chat(b)
    return {
        "input_tokens": chat["prompt_tokens"],
        "input_tokens_details": chat["prompt_tokens_details"],
        "output_tokens": chat["completion_tokens"],
        "output_tokens_details": chat["completion_tokens_details"],
        "total_tokens": chat["total_tokens"],
    }


def openai_without_total(b):
    return {key: value for key, value in openai_chat(b).items() if key != "total_tokens"}


def openai_with_reasoning_beside(b):
    """As some compatible servers count: the total alone shows it."""
    return {**openai_chat(b), "completion_tokens": b.output_tokens}


def gemini(b):
    return {
        "prompt_token_count": b.input_tokens + b.cache_read_tokens,
        "cached_content_token_count": b.cache_read_tokens,
        "candidates_token_count": b.output_tokens,
        "thoughts_token_count": b.reasoning_tokens,
        "total_token_count": b.total,
    }


def gemini_without_total(b):
    return {key: value for key, value in gemini(b).items() if key != "total_token_count"}


def gemini_rest(b):
    return {camel(key): value for key, value in gemini(b).items()}


def gemini_with_tools(b):
    of_tools = b.input_tokens // 3
    return {
        **gemini(b),
        "prompt_token_count": b.input_tokens + b.cache_read_tokens - of_tools,
        "tool_use_prompt_token_count": of_tools,
    }


def gemini_with_thoughts_in_candidates(b):
    return {**gemini(b), "candidates_token_count": b.output_tokens + b.reasoning_tokens}


def gemini_live(b):
    usage = gemini(b)
    usage["response_token_count"] = usage.pop("candidates_token_count")
    return usage


def gemini_interactions(b):
    return {
        "total_input_tokens": b.input_tokens + b.cache_read_tokens,
        "total_cached_tokens": b.cache_read_tokens,
        "total_output_tokens": b.output_tokens,
        "total_thought_tokens": b.reasoning_tokens,
        "total_tool_use_tokens": 0,
        "total_tokens": b.total,
    }


def ollama(b):
    return {
        "model": "gemma4",
        "done": True,
        "prompt_eval_count": b.input_tokens + b.cache_read_tokens,
        "prompt_eval_cached_count": b.cache_read_tokens,
        "eval_count": b.output_tokens,
        "eval_duration": 52479709,
    }


def bedrock(b):
    return {
        "inputTokens": b.input_tokens,
        "outputTokens": b.output_tokens,
        "totalTokens": b.total,
        "cacheReadInputTokens": b.cache_read_tokens,
        "cacheWriteInputTokens": b.cache_write_5m_tokens + b.cache_write_1h_tokens,
        "cacheDetails": [
            {"ttl": "1h", "inputTokens": b.cache_write_1h_tokens},
            {"ttl": "5m", "inputTokens": b.cache_write_5m_tokens},
        ],
    }


def codex(b):
    return {
        "input_tokens": b.total_input,
        "cached_input_tokens": b.cache_read_tokens,
        "cache_write_input_tokens": b.cache_write_5m_tokens,
        "output_tokens": b.total_output,
        "reasoning_output_tokens": b.reasoning_tokens,
        "total_tokens": b.total,
    }


def openai_cache_lives(b):
    """Responses of models with two lives of the cache, 30 minutes and 12 hours."""
    return {
        "input_tokens": b.total_input,
        "input_tokens_details": {
            "cached_tokens": b.cache_read_tokens,
            "cache_write_tokens": b.cache_write_5m_tokens + b.cache_write_1h_tokens,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": b.cache_write_5m_tokens,
                "ttl_12h_tokens": b.cache_write_1h_tokens,
            },
        },
        "output_tokens": b.total_output,
        "output_tokens_details": {"reasoning_tokens": b.reasoning_tokens},
        "total_tokens": b.total,
    }


def openai_audio(b):
    """Chat Completions whose prompt is not cached."""
    return {
        "prompt_tokens": b.total_input,
        "completion_tokens": b.total_output,
        "total_tokens": b.total,
        "prompt_tokens_details": {"audio_tokens": b.audio_input_tokens, "image_tokens": b.image_input_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": b.reasoning_tokens,
            "audio_tokens": b.audio_output_tokens,
        },
    }


def openai_images(b):
    return {
        "input_tokens": b.total_input,
        "input_tokens_details": {"image_tokens": b.image_input_tokens, "text_tokens": b.input_tokens},
        "output_tokens": b.total_output,
        "output_tokens_details": {"image_tokens": b.image_output_tokens, "text_tokens": b.output_tokens},
        "total_tokens": b.total,
    }


def openai_images_streamed(b):
    usage = openai_images(b)
    del usage["output_tokens_details"]
    return usage


def openai_realtime(b):
    return {
        "total_tokens": b.total,
        "input_tokens": b.total_input,
        "output_tokens": b.total_output,
        "input_token_details": {
            "text_tokens": b.input_tokens + b.cache_read_tokens,
            "audio_tokens": b.audio_input_tokens + b.audio_cache_read_tokens,
            "image_tokens": b.image_input_tokens + b.image_cache_read_tokens,
            "cached_tokens": b.cache_read_tokens + b.audio_cache_read_tokens + b.image_cache_read_tokens,
            "cached_tokens_details": {
                "text_tokens": b.cache_read_tokens,
                "audio_tokens": b.audio_cache_read_tokens,
                "image_tokens": b.image_cache_read_tokens,
            },
        },
        "output_token_details": {"text_tokens": b.output_tokens, "audio_tokens": b.audio_output_tokens},
    }


def transcription(b):
    return {
        "type": "tokens",
        "input_tokens": b.total_input,
        "input_token_details": {"audio_tokens": b.audio_input_tokens, "text_tokens": b.input_tokens},
        "output_tokens": b.output_tokens,
        "total_tokens": b.total,
    }


def litellm_claude(b):
    written = b.cache_write_5m_tokens + b.cache_write_1h_tokens
    return {
        "prompt_tokens": b.total_input,
        "completion_tokens": b.total_output,
        "total_tokens": b.total,
        "prompt_tokens_details": {
            "cached_tokens": b.cache_read_tokens,
            "cache_creation_tokens": written,
            "cache_write_tokens": written,
            "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": b.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": b.cache_write_1h_tokens,
            },
        },
        "completion_tokens_details": {"reasoning_tokens": b.reasoning_tokens},
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": b.cache_read_tokens,
    }


def by_modality(modalities, name="tokenCount", word=str.upper):
    return [{"modality": word(modality), name: count} for modality, count in modalities.items()]


def gemini_modalities(b):
    of_tools = b.audio_input_tokens // 2
    return {
        "promptTokenCount": b.total_input - of_tools,
        "toolUsePromptTokenCount": of_tools,
        "cachedContentTokenCount": b.cache_read_tokens + b.audio_cache_read_tokens + b.image_cache_read_tokens,
        "candidatesTokenCount": b.total_output - b.reasoning_tokens,
        "thoughtsTokenCount": b.reasoning_tokens,
        "totalTokenCount": b.total,
        "promptTokensDetails": by_modality(
            {
                "text": b.input_tokens + b.cache_read_tokens,
                "audio": b.audio_input_tokens + b.audio_cache_read_tokens - of_tools,
                "image": b.image_input_tokens + b.image_cache_read_tokens,
                "video": 0,
            }
        ),
        "toolUsePromptTokensDetails": by_modality({"audio": of_tools}),
        "cacheTokensDetails": by_modality(
            {"document": b.cache_read_tokens, "audio": b.audio_cache_read_tokens, "image": b.image_cache_read_tokens}
        ),
        "candidatesTokensDetails": by_modality(
            {"text": b.output_tokens, "audio": b.audio_output_tokens, "image": b.image_output_tokens}
        ),
    }


def gemini_interactions_modalities(b):
    return {
        "total_input_tokens": b.total_input,
        "total_cached_tokens": b.cache_read_tokens + b.audio_cache_read_tokens + b.image_cache_read_tokens,
        "total_output_tokens": b.total_output - b.reasoning_tokens,
        "total_thought_tokens": b.reasoning_tokens,
        "total_tokens": b.total,
        "input_tokens_by_modality": by_modality(
            {
                "audio": b.audio_input_tokens + b.audio_cache_read_tokens,
                "image": b.image_input_tokens + b.image_cache_read_tokens,
            },
            "tokens",
            str.lower,
        ),
        "cached_tokens_by_modality": by_modality(
            {"audio": b.audio_cache_read_tokens, "image": b.image_cache_read_tokens}, "tokens", str.lower
        ),
        "output_tokens_by_modality": by_modality(
            {"audio": b.audio_output_tokens, "image": b.image_output_tokens}, "tokens", str.lower
        ),
    }


def pydantic_ai(b):
    return {
        "input_tokens": b.total_input,
        "cache_write_tokens": b.cache_write_5m_tokens + b.cache_write_1h_tokens,
        "cache_write_1h_tokens": b.cache_write_1h_tokens,
        "cache_read_tokens": b.cache_read_tokens,
        "output_tokens": b.total_output,
        "output_reasoning_tokens": b.reasoning_tokens,
        "output_audio_tokens": b.audio_output_tokens,
        "details": {"any_tokens": 5},
        "requests": 1,
    }


def open_telemetry(b):
    return {
        "gen_ai.request.max_tokens": 4096,
        "gen_ai.usage.input_tokens": b.total_input,
        "gen_ai.usage.cache_read.input_tokens": b.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": b.cache_write_5m_tokens + b.cache_write_1h_tokens,
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": b.cache_write_5m_tokens,
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": b.cache_write_1h_tokens,
        "gen_ai.usage.output_tokens": b.total_output,
        "gen_ai.usage.reasoning.output_tokens": b.reasoning_tokens,
        "gen_ai.usage.audio.output_tokens": b.audio_output_tokens,
    }


def open_telemetry_of_old(b):
    """As OpenLLMetry wrote it."""
    return {
        "gen_ai.usage.prompt_tokens": b.total_input,
        "gen_ai.usage.cache_read_input_tokens": b.cache_read_tokens,
        "gen_ai.usage.cache_creation_input_tokens": b.cache_write_5m_tokens,
        "gen_ai.usage.completion_tokens": b.total_output,
        "gen_ai.usage.reasoning_tokens": b.reasoning_tokens,
        "llm.usage.total_tokens": b.total,
    }


def open_inference(b):
    return {
        "llm.model_name": "gemini-2.5-pro",
        "llm.token_count.prompt": b.total_input,
        "llm.token_count.prompt_details.cache_read": b.cache_read_tokens,
        "llm.token_count.prompt_details.cache_write": b.cache_write_5m_tokens,
        "llm.token_count.completion": b.total_output,
        "llm.token_count.completion_details.reasoning": b.reasoning_tokens,
        "llm.token_count.completion_details.audio": b.audio_output_tokens,
        "llm.token_count.total": b.total,
    }


PLAIN = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")
WRITES = (*PLAIN, "cache_write_5m_tokens")
LIVES = (*WRITES, "cache_write_1h_tokens")
CACHED_MODALITIES = ("audio_input_tokens", "audio_cache_read_tokens", "image_input_tokens", "image_cache_read_tokens")
# With each form the buckets that it can tell.
FORMS = [
    (anthropic, LIVES),
    (bedrock, ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")),
    (openai_chat, WRITES),
    (openai_responses, WRITES),
    (openai_without_total, WRITES),
    (openai_with_reasoning_beside, WRITES),
    (openai_cache_lives, LIVES),
    (
        openai_audio,
        (
            *("input_tokens", "output_tokens", "reasoning_tokens"),
            *("audio_input_tokens", "image_input_tokens", "audio_output_tokens"),
        ),
    ),
    (openai_images, ("input_tokens", "output_tokens", "image_input_tokens", "image_output_tokens")),
    (openai_images_streamed, ("input_tokens", "image_input_tokens", "image_output_tokens")),
    (
        openai_realtime,
        ("input_tokens", "output_tokens", "cache_read_tokens", "audio_output_tokens", *CACHED_MODALITIES),
    ),
    (transcription, ("input_tokens", "output_tokens", "audio_input_tokens")),
    (litellm_claude, LIVES),
    (codex, WRITES),
    *(
        (form, PLAIN)
        for form in (
            gemini,
            gemini_without_total,
            gemini_rest,
            gemini_with_tools,
            gemini_with_thoughts_in_candidates,
            gemini_live,
            gemini_interactions,
        )
    ),
    *(
        (form, (*PLAIN, "audio_output_tokens", "image_output_tokens", *CACHED_MODALITIES))
        for form in (gemini_modalities, gemini_interactions_modalities)
    ),
    (ollama, ("input_tokens", "output_tokens", "cache_read_tokens")),
    (pydantic_ai, (*LIVES, "audio_output_tokens")),
    (open_telemetry, (*LIVES, "audio_output_tokens")),
    (open_telemetry_of_old, WRITES),
    (open_inference, (*WRITES, "audio_output_tokens")),
]
# Fewer examples of each than usual, since there are so many forms.
few = settings(max_examples=30)
forms = pytest.mark.parametrize(("form", "told"), FORMS, ids=[form.__name__ for form, _told in FORMS])


# Usage that no program has as an object.
SPANS = (open_telemetry, open_telemetry_of_old, open_inference)
DICTS_ALONE = (bedrock, *SPANS)


def only(b, told):
    return TokenBuckets(**{name: getattr(b, name) for name in told})


# Numbers in the examples that are none of a usage.
OF_OTHER_THINGS = ("done", "eval_duration", "gen_ai.request.max_tokens")


@forms
@few
@given(b=buckets)
def test_the_buckets_come_back_disjoint(form, told, b):
    b = only(b, told)
    usage = form(b)
    found = normalise_usage(usage)
    assert found == b
    assert min(vars(found).values()) >= 0
    if form not in DICTS_ALONE:
        assert normalise_usage(as_object(usage)) == b
    for name in ("total_tokens", "total_token_count", "totalTokenCount"):
        assert usage.get(name, found.total) == found.total


@forms
@few
@given(b=buckets, data=st.data())
def test_a_count_that_is_none_gets_one_sentence(form, told, b, data):
    usage = form(only(b, told))
    counts = [key for key, value in usage.items() if isinstance(value, int) and key not in OF_OTHER_THINGS]
    name = data.draw(st.sampled_from(counts))
    usage[name] = data.draw(st.sampled_from([-1, 1.5, True, "12", MOST_TOKENS + 1]))
    with pytest.raises(UsageError) as error:
        normalise_usage(usage)
    assert re.fullmatch(rf"The usage cannot be true: {snake(name)} is [^\n]+\.", str(error.value))


@pytest.mark.parametrize(
    "form", [openai_chat, openai_responses, gemini, gemini_with_tools, gemini_rest, gemini_interactions]
)
@given(b=buckets, excess=st.integers(min_value=1, max_value=1000))
def test_a_total_that_does_not_add_up_gets_one_sentence(form, b, excess):
    usage = form(only(b, PLAIN))
    (name,) = [key for key in usage if re.search("^total.?token(s$|.?count)", key, re.I)]
    # Reasoning tokens may lie inside or beside, so it takes more than them.
    usage[name] += b.reasoning_tokens + excess
    with pytest.raises(UsageError) as error:
        normalise_usage(usage)
    assert re.fullmatch(rf"The usage cannot be true: {snake(name)} is [^\n]+\.", str(error.value))


@pytest.mark.parametrize(
    ("provider", "flavor", "form"),
    [
        ("anthropic", "default", anthropic),
        ("aws", "default", bedrock),
        ("openai", "chat", openai_chat),
        ("openai", "chat", openai_audio),
        ("openai", "images", openai_images),
        ("openai", "realtime", openai_realtime),
        ("openai", "responses", openai_responses),
        ("google", "default", gemini_rest),
        ("google", "default", gemini_modalities),
    ],
)
@few
@given(b=buckets)
def test_another_program_reads_the_same(provider, flavor, form, b):
    """genai-prices counts sums and parts; the buckets must add up to its sums and equal its parts."""
    usage = form(only(b, dict(FORMS)[form]))
    root = {"google": "usageMetadata"}.get(provider, "usage")
    response = {root: usage, "model": "any", "modelVersion": "any", "response": {root: usage, "model": "any"}}
    source = next(entry for entry in get_snapshot().providers if entry.id == provider)
    _model, theirs = source.extract_usage(response, api_flavor=flavor)
    ours = normalise_usage(usage)
    said = {name: theirs.reported_value(name) or 0 for name in READ_BY_ANOTHER}
    assert said == {name: of(ours) for name, of in READ_BY_ANOTHER.items()}


READ_BY_ANOTHER = {
    "input_tokens": lambda b: b.total_input,
    "output_tokens": lambda b: b.total_output,
    "cache_read_tokens": lambda b: b.cache_read_tokens + b.audio_cache_read_tokens + b.image_cache_read_tokens,
    "cache_write_tokens": lambda b: b.cache_write_5m_tokens + b.cache_write_1h_tokens,
    "output_reasoning_tokens": lambda b: b.reasoning_tokens,
    "input_audio_tokens": lambda b: b.audio_input_tokens + b.audio_cache_read_tokens,
    "cache_audio_read_tokens": lambda b: b.audio_cache_read_tokens,
    "output_audio_tokens": lambda b: b.audio_output_tokens,
    "output_image_tokens": lambda b: b.image_output_tokens,
}


def turn(kind, b, model=None):
    return {**anthropic(b), "type": kind, "model": model}


turns = st.builds(lambda b: only(b, ("input_tokens", "output_tokens", *LIVES[2:3], *LIVES[4:])), buckets)


@given(one=turns, two=turns, other=turns)
def test_a_compaction_is_billed_beside_the_turns_of_a_message(one, two, other):
    usage = anthropic(one + two)
    usage["iterations"] = [turn("message", one), turn("compaction", other), turn("message", two)]
    assert normalise_usage(usage) == one + two + other
    # Turns are what is billed: they count where the message has the counts of its first one, or not their lives in the cache.
    first = {**usage, **{key: value for key, value in anthropic(one).items() if key != "cache_creation"}}
    assert normalise_usage({**first, "cache_creation": None}) == one + two + other


@given(one=turns, two=turns)
def test_turns_cannot_be_less_than_their_message(one, two):
    usage = {**anthropic(one + two), "iterations": [turn("message", one)]}
    if two.total:
        with pytest.raises(UsageError, match=r"contradict each other \(the message "):
            normalise_usage(usage)


@given(own=turns, other=turns)
def test_an_advisor_is_billed_at_the_price_of_its_own_model(own, other):
    usage = anthropic(own)
    usage["iterations"] = [turn("message", own), turn("advisor_message", other, "claude-opus-5")]
    reported = read_usage({**usage, "service_tier": "batch"})
    assert (reported.buckets, reported.billing_mode, reported.model) == (own, "batch", None)
    if not other.total:
        assert reported.further == ()
        return
    assert reported.further == (FurtherUsage("advisor", "claude-opus-5", other, "batch"),)
    with pytest.raises(UsageError, match=r"at the price of another model .claude-opus-5.: read it with read_usage\.$"):
        normalise_usage(usage)


@given(served=turns, declined=turns, again=turns)
def test_a_model_that_begins_an_answer_and_refuses_is_billed_too(served, declined, again):
    """The message has the counts of the model that answered, which need not be the one that was asked."""
    usage = anthropic(served + again)
    usage["iterations"] = [
        turn("message", declined, "claude-fable-5"),
        turn("message", again, "claude-opus-4-8"),
        turn("fallback_message", served, "claude-opus-4-8"),
    ]
    reported = read_usage(usage)
    assert (reported.buckets, reported.model) == (served + again, "claude-opus-4-8")
    billed = (FurtherUsage("declined", "claude-fable-5", declined),) if declined.output_tokens else ()
    assert reported.further == billed


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "of_later",
            "The usage has an iteration of the type 'of_later', whose price is not known: give the counts as TokenBuckets.",
        ),
        (
            "advisor_message",
            "The usage does not say of which model the 3 tokens of a turn are (kind advisor): give the counts as TokenBuckets.",
        ),
    ],
)
def test_a_turn_of_no_known_price_is_refused(kind, sentence):
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "iterations": [{"type": kind, "input_tokens": 1, "output_tokens": 2}],
    }
    with pytest.raises(UsageError) as error:
        read_usage(usage)
    assert str(error.value) == sentence
    usage["iterations"][0].update(input_tokens=0, output_tokens=0)
    assert read_usage(usage).buckets == TokenBuckets(1, 2)


@given(b=turns, output=tokens)
def test_a_stream_has_the_lives_in_the_cache_at_its_start_and_the_counts_at_its_end(b, output):
    start = {**anthropic(b), "output_tokens": 1, "service_tier": "batch"}
    last = {key: value for key, value in anthropic(b).items() if key not in ("cache_creation", "service_tier")}
    reported = read_usage(stream_usage(as_object(start), {**last, "output_tokens": output, "input_tokens": None}))
    assert reported == ReportedUsage(dataclasses.replace(b, output_tokens=output), "batch")


def test_a_stream_that_writes_to_the_cache_once_more():
    start = {"input_tokens": 1, "cache_creation_input_tokens": 5, "output_tokens": 1}
    last = {"input_tokens": 1, "cache_creation_input_tokens": 8, "output_tokens": 2}
    long = {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 5}}
    both = {"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4}}
    assert read_usage(stream_usage({**start, **long}, last)).buckets == TokenBuckets(1, 2, 0, 0, 8)
    with pytest.raises(UsageError, match="does not say for how long its 8 tokens were written to the cache"):
        stream_usage({**start, **both}, last)
    turns = [
        {**start, **both, "type": "message"},
        {**last, **long, "type": "message", "cache_creation_input_tokens": 3},
    ]
    turns[1]["cache_creation"] = {"ephemeral_5m_input_tokens": 3}
    turns[0].update(input_tokens=0, output_tokens=0)
    assert read_usage(stream_usage({**start, **both}, {**last, "iterations": turns})).buckets == TokenBuckets(
        1, 2, 0, 4, 4
    )


def test_cache_writes_without_a_breakdown_are_of_the_default_life():
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 100, "cache_read_input_tokens": None}
    assert normalise_usage(usage) == TokenBuckets(5, 7, cache_write_5m_tokens=100)


def test_a_breakdown_without_a_sum_counts_too():
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 9}}
    assert normalise_usage(usage) == TokenBuckets(5, 7, cache_write_1h_tokens=9)


def test_reasoning_behind_the_compatible_address_of_gemini_is_in_the_total_only():
    usage = {"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016}
    assert normalise_usage(usage, "gemini") == TokenBuckets(20, 424, reasoning_tokens=572)
    with pytest.raises(UsageError, match="total_tokens is 1016"):
        normalise_usage(usage, "openai")


def test_an_embedding_has_no_completion():
    assert normalise_usage({"prompt_tokens": 8, "total_tokens": 8}) == TokenBuckets(8)


def test_two_sums_alone_mean_the_same_in_both_forms():
    assert normalise_usage({"input_tokens": 3, "output_tokens": 4}) == TokenBuckets(3, 4)


def test_buckets_pass_as_they_are():
    assert normalise_usage(TokenBuckets(1, 2, 3, 4, 5, 6)) == TokenBuckets(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        ({}, "The usage is of no known form: it has no keys."),
        ({"usage": {"input_tokens": 1}}, "The usage is not complete: output_tokens is missing, it has input_tokens."),
        (
            {"id": "chatcmpl-1", "usage": None},
            "The response holds no usage: a stream has it only at its end, and of some providers only if it is asked for.",
        ),
        (7, "usage must be a dict or an object with attributes, not int."),
        (None, "usage must be a dict or an object with attributes, not NoneType."),
        (
            {"output_tokens": 5},
            "The usage is not complete: input_tokens is missing, it has output_tokens.",
        ),
        (
            {"input_tokens": 5, "cache_read_input_tokens": 1},
            "The usage is not complete: output_tokens is missing, it has cache_read_input_tokens, input_tokens.",
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "eval_count": 2},
            "The usage mixes the keys of OpenAI Chat Completions and Ollama: it has completion_tokens, eval_count, prompt_tokens.",
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "cache_read_input_tokens": 1},
            "The usage mixes the keys of Anthropic and OpenAI Responses: "
            "it has cache_read_input_tokens, input_tokens, output_tokens, total_tokens.",
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6}},
            "The usage cannot be true: prompt_tokens is 5, but holds cached_tokens 6 and cache_write_tokens 0.",
        ),
        (
            {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 9},
            "The usage cannot be true: total_token_count is 9, but its parts are "
            "candidates_token_count 2, prompt_token_count 5, tool_use_prompt_token_count 0 and 0 for reasoning.",
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 1,
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            },
            "The usage cannot be true: cache_creation_input_tokens is 5, but holds ephemeral_1h_input_tokens 3 and 4 more.",
        ),
        (
            {"prompt_eval_count": 5, "prompt_eval_cached_count": 6, "eval_count": 1},
            "The usage cannot be true: prompt_eval_count is 5, but holds prompt_eval_cached_count 6.",
        ),
    ],
)
def test_each_mistake_has_its_sentence(usage, sentence):
    with pytest.raises(UsageError) as error:
        normalise_usage(usage)
    assert str(error.value) == sentence


def test_buckets_are_counts():
    with pytest.raises(UsageError, match="output_tokens is -1"):
        TokenBuckets(output_tokens=-1)


# Usage of programs and servers whose keys are not those of the form that they resemble, and the key that says so.
FOREIGN = {
    "disjoint counts under names that elsewhere hold each other": (
        {"input_tokens": 100, "cache_read_tokens": 80, "output_tokens": 5},
        "cache_read_tokens",
    ),
    "perplexity": ({"prompt_tokens": 1, "completion_tokens": 2, "citation_tokens": 7}, "citation_tokens"),
    "a later codex": (
        {"input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 2, "tool_tokens": 3},
        "tool_tokens",
    ),
    "a later span": (
        {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.video.input_tokens": 3},
        "gen_ai.usage.video.input_tokens",
    ),
    "a later anthropic": (
        {"input_tokens": 1, "output_tokens": 2, "cache_creation": {"ephemeral_24h_input_tokens": 9}},
        "cache_creation.ephemeral_24h_input_tokens",
    ),
    "an iteration": (
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "iterations": [{"type": "message", "input_tokens": 1, "new_tokens": 3}],
        },
        "iterations.new_tokens",
    ),
    "a later gemini": ({"promptTokenCount": 1, "candidatesTokenCount": 2, "draftTokenCount": 3}, "draft_token_count"),
    "a later interactions": (
        {"total_input_tokens": 1, "total_output_tokens": 2, "total_draft_tokens": 3},
        "total_draft_tokens",
    ),
    "a later ollama": ({"prompt_eval_count": 1, "eval_count": 2, "draft_eval_count": 3}, "draft_eval_count"),
    "text": ({"prompt_tokens": 1, "completion_tokens": 2, "citation_tokens": "3"}, "citation_tokens"),
    "no word of tokens": (
        {"prompt_tokens": 1, "completion_tokens": 2, "cached": {"read": [{"n": 3}]}},
        "cached.read.n",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_key_of_no_form_with_a_count_is_refused_and_named(name):
    usage, key = FOREIGN[name]
    for form in (usage,) if "." in min(usage) else (usage, as_object(usage)):
        with pytest.raises(UsageError, match=f"^The usage has the key {re.escape(key)} with [0-9]+, which the form "):
            normalise_usage(form)


def with_other_keys(value):
    """The same with keys that hold no tokens, at each depth."""
    if not isinstance(value, dict):
        return value
    others = {
        "draft_tokens": 0,
        "later_tokens": None,
        "queue_time": 0.25,
        "cost": 3,
        "web_search_requests": 2,
        "tier": "x",
    }
    return {**{key: with_other_keys(item) for key, item in value.items()}, **others}


@forms
@few
@given(b=buckets)
def test_a_key_of_no_form_without_a_count_changes_nothing(form, told, b):
    b = only(b, told)
    assert normalise_usage(with_other_keys(form(b))) == b


@forms
@few
@given(b=buckets, count=st.integers(min_value=1, max_value=MOST_TOKENS))
def test_one_more_count_is_refused_in_every_form(form, told, b, count):
    key = "gen_ai.usage.draft_tokens" if form in SPANS else "draft_tokens"
    with pytest.raises(UsageError, match=f"the key {re.escape(key)} with {count}, "):
        normalise_usage({**form(only(b, told)), key: count})


@pytest.mark.parametrize("key", ["prompt_cache_hit_tokens", "cached_tokens"])
def test_cached_tokens_have_other_names_in_compatible_servers(key):
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, key: 80}
    assert normalise_usage(usage) == TokenBuckets(20, 5, 80)
    assert normalise_usage({**usage, "prompt_cache_miss_tokens": 20}) == TokenBuckets(20, 5, 80)
    assert normalise_usage({**usage, "prompt_tokens_details": {"cached_tokens": 80}}) == TokenBuckets(20, 5, 80)
    for wrong in ({"prompt_cache_miss_tokens": 21}, {"prompt_tokens_details": {"cached_tokens": 79}}):
        with pytest.raises(UsageError, match="its counts of cached tokens contradict each other"):
            normalise_usage({**usage, **wrong})


def test_the_whole_answer_of_ollama_is_its_usage():
    answer = {
        **ollama(TokenBuckets(5, 7)),
        "created_at": "2026-11-26T00:00:00Z",
        "response": "4",
        "context": [105, 2364],
        "total_duration": 174560334,
        "load_duration": 101397084,
        "prompt_eval_duration": 13074791,
        "logprobs": [{"token": "4", "logprob": -0.1, "bytes": [52]}],
    }
    assert normalise_usage(answer) == TokenBuckets(5, 7)


def test_the_details_of_gemini_by_modality_repeat_its_counts():
    usage = {
        **gemini_rest(TokenBuckets(5, 7)),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
        "trafficType": "ON_DEMAND",
    }
    assert normalise_usage(usage) == TokenBuckets(5, 7)


def counts_of(usage, path=()):
    """Where the counts of a usage stand."""
    items = usage.items() if isinstance(usage, dict) else enumerate(usage)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from counts_of(value, (*path, key))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield (*path, key)


def changed(usage, path, by):
    """A copy with another count at a place."""
    key, *rest = path
    copy = dict(usage) if isinstance(usage, dict) else list(usage)
    copy[key] = changed(copy[key], rest, by) if rest else copy[key] + by
    return copy


# What repeats other counts, in words that differ by server, and what is no usage.
EXPLAINS = {"text_tokens", "details", "eval_duration", "gen_ai.request.max_tokens", "accepted_prediction_tokens"}


def result(usage):
    try:
        return read_usage(usage)
    except UsageError as error:
        return str(error)


@forms
@few
@given(b=buckets, by=st.integers(min_value=1, max_value=1000))
def test_every_count_matters(form, told, b, by):
    """No key is passed over: another count makes another result, or is refused."""
    # As much more of the answer as there is reasoning is the same usage, with reasoning inside instead of beside it.
    assume(by != b.reasoning_tokens)
    usage = form(only(b, told))
    for path in counts_of(usage):
        place = usage[path[0]][path[1]] if len(path) > 2 and isinstance(path[1], int) else {}
        if str(place.get("modality")).lower() in ("text", "document", "video"):
            continue
        if not EXPLAINS.intersection(path) or form in (openai_images, openai_realtime, transcription):
            assert result(changed(usage, path, by)) != result(usage), path


TIERS = {
    None: "standard",
    "auto": "standard",
    "default": "standard",
    "standard": "standard",
    "batch": "batch",
    "flex": "flex",
    "FLEX": "flex",
    "priority": "priority",
    "fast": "priority",
}


@pytest.mark.parametrize("tier", TIERS)
def test_the_tier_of_the_response_says_how_it_is_billed(tier):
    usage, expected = openai_chat(TokenBuckets(5, 7)), ReportedUsage(TokenBuckets(5, 7), TIERS[tier])
    response = {"id": "chatcmpl-1", "choices": [], "usage": usage, "service_tier": tier}
    assert read_usage(response) == expected
    assert read_usage(as_object({**response, "choices": None})) == expected
    assert read_usage({**usage, "service_tier": tier}) == expected
    assert read_usage(response, billing_mode="batch").billing_mode == "batch"


@pytest.mark.parametrize(
    ("usage", "mode"),
    [
        ({**anthropic(TokenBuckets(5, 7)), "speed": "fast"}, "fast"),
        ({**anthropic(TokenBuckets(5, 7)), "speed": "standard", "service_tier": "priority"}, "priority"),
        ({"usageMetadata": {**gemini_rest(TokenBuckets(5, 7)), "trafficType": "ON_DEMAND_PRIORITY"}}, "priority"),
        ({"usage_metadata": {**gemini_live(TokenBuckets(5, 7)), "service_tier": "flex"}}, "flex"),
        (
            as_object(
                {
                    "usage_metadata": gemini(TokenBuckets(5, 7)),
                    "sdk_http_response": SimpleNamespace(headers={"x-gemini-service-tier": "priority"}),
                }
            ),
            "priority",
        ),
        ({"usage": bedrock(TokenBuckets(5, 7)), "serviceTier": {"type": "flex"}}, "flex"),
        ({"type": "response.done", "response": {"usage": openai_realtime(TokenBuckets(5, 7))}}, "standard"),
        ({**open_telemetry(TokenBuckets(5, 7)), "anthropic.response.service_tier": "batch"}, "batch"),
        ({**open_telemetry(TokenBuckets(5, 7)), "openai.response.service_tier": "flex"}, "flex"),
        (TokenBuckets(5, 7), "standard"),
    ],
)
def test_each_provider_has_its_place_for_the_tier(usage, mode):
    assert read_usage(usage) == ReportedUsage(TokenBuckets(5, 7), mode)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"service_tier": "scale"},
            "The service_tier 'scale' has no price by the token: say as which billing_mode the request is recorded.",
        ),
        (
            {"traffic_type": "PROVISIONED_THROUGHPUT"},
            "The traffic_type 'provisioned_throughput' has no price by the token: "
            "say as which billing_mode the request is recorded.",
        ),
        (
            {"service_tier": "batch", "speed": "fast"},
            "The usage says that it is billed as batch and fast: say which as billing_mode.",
        ),
    ],
)
def test_a_tier_without_a_price_is_refused_unless_the_call_names_another(more, sentence):
    usage = {**anthropic(TokenBuckets(5, 7)), **more}
    with pytest.raises(UsageError) as error:
        read_usage(usage)
    assert str(error.value) == sentence
    assert read_usage(usage, billing_mode="standard") == ReportedUsage(TokenBuckets(5, 7))


IMAGE_TOOL = {
    "input_tokens": 30,
    "input_tokens_details": {"image_tokens": 20, "text_tokens": 10},
    "cached_tokens": 12,
    "cached_tokens_details": {"cached_image_tokens": 8, "cached_text_tokens": 4},
    "output_tokens": 6,
    "output_tokens_details": {"image_tokens": 5, "text_tokens": 1},
    "total_tokens": 36,
}


def test_images_that_a_response_generated_are_of_another_model():
    response = {
        "usage": openai_responses(TokenBuckets(5, 7)),
        "service_tier": "default",
        "tools": [{"type": "web_search"}, {"type": "image_generation", "model": "gpt-image-2"}],
        "tool_usage": {"image_gen": IMAGE_TOOL, "web_search": {"num_requests": 2}},
    }
    image = TokenBuckets(6, 1, 4, image_input_tokens=12, image_cache_read_tokens=8, image_output_tokens=5)
    reported = ReportedUsage(TokenBuckets(5, 7), further=(FurtherUsage("image", "gpt-image-2", image),))
    assert read_usage(response) == read_usage(as_object(response)) == reported
    for tools in ([], [{"type": "image_generation"}]):
        with pytest.raises(UsageError, match="does not name the one model that generated its images"):
            read_usage({**response, "tools": tools})
    assert read_usage(response["usage"]) == ReportedUsage(TokenBuckets(5, 7))


def test_drawings_are_of_the_model_that_wrote_them():
    drawing = {"model": "gpt-5.6", "input_tokens": 9, "output_tokens": 4, "reasoning_tokens": 1, "total_tokens": 13}
    response = {"usage": openai_images(TokenBuckets(5, 7)), "svg_usage": drawing}
    further = (FurtherUsage("svg", "gpt-5.6", TokenBuckets(9, 3, reasoning_tokens=1)),)
    assert read_usage(response) == ReportedUsage(TokenBuckets(5, 7), further=further)


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 1,
                "prompt_tokens_details": {"audio_tokens": 40, "cached_tokens": 64},
            },
            "The usage does not say how many of its 64 cached tokens are audio, which has another price: "
            "give the counts as TokenBuckets.",
        ),
        (
            {**pydantic_ai(TokenBuckets(5, 7)), "requests": 3},
            "The usage is that of 3 requests, and the price of a request depends on its own tokens: record each by itself.",
        ),
        (
            {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "requests": 2, "request_usage_entries": []},
            "The usage is that of 2 requests, and the price of a request depends on its own tokens: record each by itself.",
        ),
        (
            {**pydantic_ai(TokenBuckets(5, 7)), "unmeasured_requests": 1},
            "The usage is not complete: it counts no tokens of a request whose provider reported none.",
        ),
        (
            {"type": "duration", "seconds": 12.5},
            "The usage is billed by its duration, not by tokens: give usage=TokenBuckets() and, as cost_usd, what it cost.",
        ),
        (
            {**open_telemetry(TokenBuckets(5, 7)), "anthropic.usage.compaction.input_tokens": 9},
            "The span has a compaction, whose cached tokens its attributes do not tell apart: give the usage of the message.",
        ),
        (
            {**bedrock(TokenBuckets(5, 7)), "cacheDetails": [{"ttl": "1d", "inputTokens": 2}]},
            "The usage has tokens written to the cache for '1d', a life whose price is not known: "
            "give the counts as TokenBuckets.",
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "iterations": [{"type": "advisor_message", "input_tokens": 1, "output_tokens": 1}],
            },
            "The usage holds tokens of another model (an iteration of the type 'advisor_message'), which has another price: "
            "give the counts as TokenBuckets.",
        ),
    ],
)
def test_what_may_cost_this_or_that_is_refused(usage, sentence):
    with pytest.raises(UsageError) as error:
        read_usage(usage)
    assert str(error.value) == sentence


def test_a_run_of_the_agents_sdk_with_one_request_is_that_request():
    request = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 4}}
    run = {**request, "requests": 1, "request_usage_entries": [request]}
    assert normalise_usage(run) == normalise_usage(request) == TokenBuckets(5, 3, 4)


def test_costs_beside_the_counts_are_no_counts():
    cost = {"input_tokens_cost": 0.001, "output_tokens_cost": 0.003, "request_cost": 0.005, "total_cost": 0.009}
    assert normalise_usage({"prompt_tokens": 9, "completion_tokens": 1, "cost": cost}) == TokenBuckets(9, 1)


def test_whole_numbers_may_be_written_with_a_point_and_are_stored_without():
    for buckets in (normalise_usage({"prompt_tokens": 9.0, "completion_tokens": 0.0}), TokenBuckets(9.0, None)):
        assert [repr(count) for count in vars(buckets).values()] == ["9", *["0"] * 11]


@pytest.mark.parametrize("strange", ["x", [1], 1.5, True])
def test_what_stands_in_the_place_of_a_tier_and_is_none_is_no_mistake_in_here(strange):
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    response = {"usage": usage, "provider_details": strange, "sdk_http_response": {"headers": strange}}
    assert read_usage(response).buckets == TokenBuckets(9, 1)


def test_cached_audio_needs_no_split_where_all_is_audio():
    usage = {"prompt_tokens": 9, "prompt_tokens_details": {"audio_tokens": 9, "cached_tokens": 4}}
    assert normalise_usage(usage) == TokenBuckets(audio_input_tokens=5, audio_cache_read_tokens=4)


def test_images_among_cached_tokens_count_as_text_where_nobody_says_which_are_cached():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 1,
        "prompt_tokens_details": {"image_tokens": 5, "cached_tokens": 4},
    }
    assert normalise_usage(usage) == TokenBuckets(5, 1, 4)
