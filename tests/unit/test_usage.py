"""Usage as the providers report it becomes disjoint buckets that add up to the providers' own totals."""

import re
from types import SimpleNamespace

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.usage import (
    MOST_TOKENS,
    TokenBuckets,
    UsageError,
    normalise_usage,
)
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

tokens = st.integers(min_value=0, max_value=2_000_000)
buckets = st.builds(TokenBuckets, tokens, tokens, tokens, tokens, tokens, tokens)


def camel(name):
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


def snake(name):
    return re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), name)


def as_object(value):
    """The attributes of an SDK's object instead of the keys of a dict."""
    return (
        SimpleNamespace(**{key: as_object(item) for key, item in value.items()}) if isinstance(value, dict) else value
    )


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


# With each form the buckets that it cannot report.
FORMS = [
    (anthropic, ()),
    (openai_chat, ("cache_write_1h_tokens",)),
    (openai_responses, ("cache_write_1h_tokens",)),
    (openai_without_total, ("cache_write_1h_tokens",)),
    (openai_with_reasoning_beside, ("cache_write_1h_tokens",)),
    *(
        (form, ("cache_write_5m_tokens", "cache_write_1h_tokens"))
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
    (ollama, ("cache_write_5m_tokens", "cache_write_1h_tokens", "reasoning_tokens")),
]
forms = pytest.mark.parametrize(("form", "unknown"), FORMS, ids=[form.__name__ for form, _unknown in FORMS])


def without(b, unknown):
    return TokenBuckets(**{**vars(b), **dict.fromkeys(unknown, 0)})


@forms
@given(b=buckets)
def test_the_buckets_come_back_disjoint(form, unknown, b):
    b = without(b, unknown)
    usage = form(b)
    found = normalise_usage(usage)
    assert found == b
    assert min(vars(found).values()) >= 0
    assert normalise_usage(as_object(usage)) == b
    for name in ("total_tokens", "total_token_count", "totalTokenCount"):
        assert usage.get(name, found.total) == found.total


@forms
@given(b=buckets, data=st.data())
def test_a_count_that_is_none_gets_one_sentence(form, unknown, b, data):
    usage = form(without(b, unknown))
    counts = [key for key, value in usage.items() if isinstance(value, int) and key not in ("done", "eval_duration")]
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
    usage = form(without(b, ("cache_write_5m_tokens", "cache_write_1h_tokens")))
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
        ("openai", "chat", openai_chat),
        ("openai", "responses", openai_responses),
        ("google", "default", gemini_rest),
    ],
)
@given(b=buckets)
def test_another_program_reads_the_same(provider, flavor, form, b):
    """genai-prices counts sums and parts; the buckets must add up to its sums and equal its parts."""
    usage = form(without(b, dict(FORMS)[form]))
    root = {"google": "usageMetadata"}.get(provider, "usage")
    source = next(entry for entry in get_snapshot().providers if entry.id == provider)
    _model, theirs = source.extract_usage({root: usage, "model": "any", "modelVersion": "any"}, api_flavor=flavor)
    ours = normalise_usage(usage)
    assert ours.total_input == theirs.input_tokens
    assert ours.total_output == theirs.output_tokens
    assert ours.cache_read_tokens == theirs.reported_value("cache_read_tokens")
    assert ours.reasoning_tokens == theirs.reported_value("output_reasoning_tokens")
    assert ours.cache_write_5m_tokens + ours.cache_write_1h_tokens == theirs.reported_value("cache_write_tokens")


@given(one=buckets, other=buckets)
def test_a_compaction_is_billed_beside_the_message(one, other):
    usage = {
        **anthropic(one),
        "iterations": [{"type": "message", **anthropic(one)}, {"type": "compaction", **anthropic(other)}],
    }
    assert normalise_usage(usage) == one + other


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
        ({"usage": {"input_tokens": 1}}, "The usage is of no known form: it has usage."),
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
    "openai realtime": (
        {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
        "input_token_details.text_tokens",
    ),
    "codex": (
        {
            "input_tokens": 100,
            "cached_input_tokens": 80,
            "output_tokens": 5,
            "reasoning_output_tokens": 2,
            "total_tokens": 105,
        },
        "cached_input_tokens",
    ),
    "pydantic-ai": (
        {"input_tokens": 100, "cache_write_tokens": 0, "cache_read_tokens": 80, "output_tokens": 5, "requests": 1},
        "cache_read_tokens",
    ),
    "litellm, a call of claude": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "total_tokens": 105,
            "prompt_tokens_details": {"cached_tokens": 10, "cache_creation_tokens": 80},
        },
        "prompt_tokens_details.cache_creation_tokens",
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
    for form in (usage, as_object(usage)):
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
@given(b=buckets)
def test_a_key_of_no_form_without_a_count_changes_nothing(form, unknown, b):
    b = without(b, unknown)
    assert normalise_usage(with_other_keys(form(b))) == b


@forms
@given(b=buckets, count=st.integers(min_value=1, max_value=MOST_TOKENS))
def test_one_more_count_is_refused_in_every_form(form, unknown, b, count):
    with pytest.raises(UsageError, match=f"the key draft_tokens with {count}, "):
        normalise_usage({**form(without(b, unknown)), "draft_tokens": count})


@pytest.mark.parametrize("key", ["prompt_cache_hit_tokens", "cached_tokens"])
def test_cached_tokens_have_other_names_in_compatible_servers(key):
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, key: 80}
    assert normalise_usage(usage) == TokenBuckets(20, 5, 80)
    assert normalise_usage({**usage, "prompt_cache_miss_tokens": 20}) == TokenBuckets(20, 5, 80)
    assert normalise_usage({**usage, "prompt_tokens_details": {"cached_tokens": 80}}) == TokenBuckets(20, 5, 80)
    for wrong in ({"prompt_cache_miss_tokens": 21}, {"prompt_tokens_details": {"cached_tokens": 79}}):
        with pytest.raises(UsageError, match="its counts of cached tokens contradict each other"):
            normalise_usage({**usage, **wrong})


@pytest.mark.parametrize("kind", ["advisor_message", "fallback_message", "of_later"])
def test_an_iteration_of_another_model_is_a_call_of_its_own(kind):
    part = {"type": kind, "model": "claude-opus-5", "input_tokens": 10, "output_tokens": 20}
    usage = {"input_tokens": 1, "output_tokens": 2, "iterations": [part]}
    with pytest.raises(
        UsageError, match=f"an iteration of the type '{kind}', which is billed at the price of another model"
    ):
        normalise_usage(usage)
    nothing = {**part, "input_tokens": 0, "output_tokens": 0}
    assert normalise_usage({**usage, "iterations": [nothing]}) == TokenBuckets(1, 2)


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
