# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token usage as the providers report it, made into disjoint buckets: a token is counted in exactly one of them.

The providers count differently; docs/ledger.md says where each of these is written:

    form                          cached tokens          reasoning tokens         own total
    Anthropic Messages            beside input_tokens    inside output_tokens     none
    OpenAI Chat Completions       inside prompt_tokens   inside completion_tokens total_tokens
    (GitHub Models, compatible servers)
    OpenAI Responses              inside input_tokens    inside output_tokens     total_tokens
    Gemini generateContent, Live  inside prompt          beside candidates        total_token_count
    Gemini Interactions           inside input           beside output            total_tokens
    Ollama                        inside prompt_eval     not told apart           none

A key that a form does not know is refused where it holds a count above 0: tokens that are not understood would be counted in
a bucket with another price, or in none.

Servers that speak a form do not all keep to the second column: where there is a total, the total decides whether the reasoning
tokens are inside or beside.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import MissionControlError

# More than this in one request is a mistake, and keeps all sums and costs within their columns.
MOST_TOKENS = 1_000_000_000_000
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
# Whole numbers under such names are none of tokens: times, costs, and what is paid for by the piece.
_OTHER_UNIT = re.compile(
    r"(?:^|_)(?:time|duration|ms|seconds|created|created_at|timestamp|index|id|version|cost|usd|ticks|price"
    r"|requests?|searches|queries|sources|sources_used|calls|tool_count)$"
)
_DEEPEST = 5

# The keys of each form: None for a count or a word, a dict for an object or a list of objects with these keys, and _WHOLE for
# what repeats or explains counts that stand elsewhere, or holds none.
_WHOLE: Any = ...
_ANTHROPIC_MESSAGE: dict[str, Any] = {
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_input_tokens": None,
    "cache_creation_input_tokens": None,
    "cache_creation": {"ephemeral_5m_input_tokens": None, "ephemeral_1h_input_tokens": None},
    "output_tokens_details": {"thinking_tokens": None},
    "server_tool_use": {},
    "type": None,
    "model": None,
}
_ANTHROPIC = {**_ANTHROPIC_MESSAGE, "iterations": _ANTHROPIC_MESSAGE}
_MODALITIES = {"text_tokens": None, "audio_tokens": None, "image_tokens": None, "video_tokens": None}
_OPENAI_INPUT = {"cached_tokens": None, "cache_write_tokens": None, **_MODALITIES}
_OPENAI_OUTPUT = {
    "reasoning_tokens": None,
    "accepted_prediction_tokens": None,
    "rejected_prediction_tokens": None,
    **_MODALITIES,
}
# Other names of cached_tokens in compatible servers, beside the details.
_CACHED_TOO = ("prompt_cache_hit_tokens", "cached_tokens")
_OPENAI_CHAT = {
    "prompt_tokens": None,
    "prompt_tokens_details": _OPENAI_INPUT,
    "completion_tokens": None,
    "completion_tokens_details": _OPENAI_OUTPUT,
    "total_tokens": None,
    "prompt_cache_miss_tokens": None,
    **dict.fromkeys(_CACHED_TOO),
}
_OPENAI_RESPONSES = {
    "input_tokens": None,
    "input_tokens_details": _OPENAI_INPUT,
    "output_tokens": None,
    "output_tokens_details": _OPENAI_OUTPUT,
    "total_tokens": None,
}
_GEMINI = {
    "prompt_token_count": None,
    "tool_use_prompt_token_count": None,
    "cached_content_token_count": None,
    "candidates_token_count": None,
    "response_token_count": None,
    "thoughts_token_count": None,
    "total_token_count": None,
    "prompt_tokens_details": _WHOLE,
    "tool_use_prompt_tokens_details": _WHOLE,
    "cache_tokens_details": _WHOLE,
    "candidates_tokens_details": _WHOLE,
    "response_tokens_details": _WHOLE,
}
_GEMINI_INTERACTIONS = {
    "total_input_tokens": None,
    "total_tool_use_tokens": None,
    "total_cached_tokens": None,
    "total_output_tokens": None,
    "total_thought_tokens": None,
    "total_tokens": None,
    "input_tokens_by_modality": _WHOLE,
    "tool_use_tokens_by_modality": _WHOLE,
    "cached_tokens_by_modality": _WHOLE,
    "output_tokens_by_modality": _WHOLE,
    "grounding_tool_count": _WHOLE,
}
# The usage of Ollama is its whole answer, tokens of the context and probabilities among it.
_OLLAMA = {
    "prompt_eval_count": None,
    "prompt_eval_cached_count": None,
    "eval_count": None,
    "message": _WHOLE,
    "response": _WHOLE,
    "thinking": _WHOLE,
    "context": _WHOLE,
    "logprobs": _WHOLE,
}


class UsageError(MissionControlError, ValueError):
    """Usage that cannot be true; the message says why."""


@dataclass(frozen=True)
class TokenBuckets:
    """Tokens of one request in the disjoint buckets of the table token_usage."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _count({field.name: getattr(self, field.name)}, field.name)

    def __add__(self, other: TokenBuckets) -> TokenBuckets:
        return TokenBuckets(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))

    @property
    def total_input(self) -> int:
        """All tokens of the prompt, cached ones too: what price tiers look at."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def total_output(self) -> int:
        return self.output_tokens + self.reasoning_tokens

    @property
    def total(self) -> int:
        return self.total_input + self.total_output


def normalise_usage(usage: Any, provider: str | None = None) -> TokenBuckets:
    """The buckets of a usage object: a dict, or an object of a provider's SDK, in one of the forms above.

    The form is known by its keys. The provider matters only for Gemini behind its OpenAI-compatible address, which leaves the
    reasoning tokens out of everything but the total.
    """
    if isinstance(usage, TokenBuckets):
        return usage
    fields = _fields(usage, "usage")
    forms = [(name, read) for name, marks, read in _FORMS if any(fields.get(mark) is not None for mark in marks)]
    if len(forms) > 1:
        names = " and ".join(name for name, _read in forms)
        raise UsageError(f"The usage mixes the keys of {names}: it has {_listed(fields)}.")
    if not forms:
        raise UsageError(f"The usage is of no known form: it has {_listed(fields)}.")
    ((_name, read),) = forms
    return read(fields, provider)


def reported_billing_mode(usage: Any) -> str:
    """How the provider says that it bills the request: "batch", or else "standard" (Anthropic alone says so in the usage)."""
    tier = None if usage is None else _fields(usage, "usage").get("service_tier")
    return "batch" if tier == "batch" else "standard"


def _anthropic(fields: Mapping[str, Any], _provider: str | None) -> TokenBuckets:
    _refuse_unknown(fields, _ANTHROPIC, "Anthropic Messages")
    _needed(fields, "input_tokens", "output_tokens")
    buckets = _anthropic_message(fields)
    # The turns of a message are in its counts already; a compaction is billed beside them.
    for iteration in fields.get("iterations") or ():
        part = _fields(iteration, "iterations")
        kind = part.get("type")
        if kind == "compaction":
            buckets += _anthropic_message(part)
        elif kind not in ("message", None) and _anthropic_message(part).total:
            raise UsageError(
                f"The usage has an iteration of the type {kind!r}, which is billed at the price of another model: "
                "record it as a call of its own, and this one without it."
            )
    return buckets


def _anthropic_message(fields: Mapping[str, Any]) -> TokenBuckets:
    written = _part(fields, "cache_creation")
    long = _count(written, "ephemeral_1h_input_tokens")
    short = _count(written, "ephemeral_5m_input_tokens")
    if fields.get("cache_creation_input_tokens") is not None:
        # Without the breakdown the tokens are those of the default life, 5 minutes.
        short = _without(fields, "cache_creation_input_tokens", {"ephemeral_1h_input_tokens": long}, at_least=short)
    thinking = _count(_part(fields, "output_tokens_details"), "thinking_tokens")
    return TokenBuckets(
        input_tokens=_count(fields, "input_tokens"),
        output_tokens=_without(fields, "output_tokens", {"thinking_tokens": thinking}),
        cache_read_tokens=_count(fields, "cache_read_input_tokens"),
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        reasoning_tokens=thinking,
    )


def _openai_chat(fields: Mapping[str, Any], provider: str | None) -> TokenBuckets:
    _refuse_unknown(fields, _OPENAI_CHAT, "OpenAI Chat Completions")
    return _openai(fields, "prompt_tokens", "completion_tokens", provider)


def _openai_responses(fields: Mapping[str, Any], provider: str | None) -> TokenBuckets:
    _refuse_unknown(fields, _OPENAI_RESPONSES, "OpenAI Responses")
    return _openai(fields, "input_tokens", "output_tokens", provider)


def _openai(fields: Mapping[str, Any], prompt: str, completion: str, provider: str | None) -> TokenBuckets:
    # An embedding has no completion.
    _needed(fields, prompt)
    details = _part(fields, f"{prompt}_details")
    cached = _cached(fields, details, prompt)
    # One price for both of its cache lives, so both stand in the bucket of the only life.
    written = _count(details, "cache_write_tokens")
    reasoning = _count(_part(fields, f"{completion}_details"), "reasoning_tokens")
    rest = _count(fields, prompt) + _count(fields, completion)
    if provider == "gemini" and not reasoning and fields.get("total_tokens") is not None:
        reasoning = max(_count(fields, "total_tokens") - rest, 0)
    beside = _reasoning_is_beside(fields, "total_tokens", {prompt, completion}, reasoning, usually=False)
    return TokenBuckets(
        input_tokens=_without(fields, prompt, {"cached_tokens": cached, "cache_write_tokens": written}),
        output_tokens=_without(fields, completion, {} if beside else {"reasoning_tokens": reasoning}),
        cache_read_tokens=cached,
        cache_write_5m_tokens=written,
        reasoning_tokens=reasoning,
    )


def _cached(fields: Mapping[str, Any], details: Mapping[str, Any], prompt: str) -> int:
    """The cached tokens of a form of OpenAI's, under each of their names."""
    said = {f"{prompt}_details.cached_tokens": _count(details, "cached_tokens")}
    said.update((name, _count(fields, name)) for name in _CACHED_TOO)
    said = {name: count for name, count in said.items() if count}
    cached = max(said.values(), default=0)
    missed = fields.get("prompt_cache_miss_tokens")
    if len(set(said.values())) > 1 or (
        missed is not None and cached + _count(fields, "prompt_cache_miss_tokens") != _count(fields, prompt)
    ):
        said[prompt] = _count(fields, prompt)
        if missed is not None:
            said["prompt_cache_miss_tokens"] = missed
        listed = ", ".join(f"{name} {count}" for name, count in said.items())
        raise UsageError(f"The usage cannot be true: its counts of cached tokens contradict each other ({listed}).")
    return cached


def _gemini(fields: Mapping[str, Any], _provider: str | None) -> TokenBuckets:
    _refuse_unknown(fields, _GEMINI, "Gemini")
    answer = "candidates_token_count" if fields.get("candidates_token_count") is not None else "response_token_count"
    return _google(
        fields,
        prompt="prompt_token_count",
        tools="tool_use_prompt_token_count",
        cached="cached_content_token_count",
        answer=answer,
        thoughts="thoughts_token_count",
        total="total_token_count",
    )


def _gemini_interactions(fields: Mapping[str, Any], _provider: str | None) -> TokenBuckets:
    _refuse_unknown(fields, _GEMINI_INTERACTIONS, "Gemini Interactions")
    return _google(
        fields,
        prompt="total_input_tokens",
        tools="total_tool_use_tokens",
        cached="total_cached_tokens",
        answer="total_output_tokens",
        thoughts="total_thought_tokens",
        total="total_tokens",
    )


def _google(
    fields: Mapping[str, Any], *, prompt: str, tools: str, cached: str, answer: str, thoughts: str, total: str
) -> TokenBuckets:
    reasoning = _count(fields, thoughts)
    beside = _reasoning_is_beside(fields, total, {prompt, tools, answer}, reasoning, usually=True)
    read = _count(fields, cached)
    return TokenBuckets(
        # Results of tools that ran at the provider are further input.
        input_tokens=_without(fields, prompt, {cached: read}) + _count(fields, tools),
        output_tokens=_without(fields, answer, {} if beside else {thoughts: reasoning}),
        cache_read_tokens=read,
        reasoning_tokens=reasoning,
    )


def _ollama(fields: Mapping[str, Any], _provider: str | None) -> TokenBuckets:
    _refuse_unknown(fields, _OLLAMA, "Ollama")
    cached = _count(fields, "prompt_eval_cached_count")
    return TokenBuckets(
        input_tokens=_without(fields, "prompt_eval_count", {"prompt_eval_cached_count": cached}),
        output_tokens=_count(fields, "eval_count"),
        cache_read_tokens=cached,
    )


def _input_tokens_form(fields: Mapping[str, Any], provider: str | None) -> TokenBuckets:
    """Anthropic and OpenAI Responses share the names of their two sums; without any detail they mean the same."""
    of_openai = [name for name in ("input_tokens_details", "total_tokens") if fields.get(name) is not None]
    of_anthropic = [
        name
        for name in ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "iterations")
        if fields.get(name) is not None
    ]
    if of_openai and of_anthropic:
        raise UsageError(f"The usage mixes the keys of Anthropic and OpenAI Responses: it has {_listed(fields)}.")
    if of_openai or _part(fields, "output_tokens_details").get("reasoning_tokens") is not None:
        return _openai_responses(fields, provider)
    return _anthropic(fields, provider)


_FORMS = (
    ("OpenAI Chat Completions", ("prompt_tokens", "completion_tokens"), _openai_chat),
    ("Anthropic or OpenAI Responses", ("input_tokens", "output_tokens"), _input_tokens_form),
    (
        "Gemini",
        ("prompt_token_count", "candidates_token_count", "response_token_count", "total_token_count"),
        _gemini,
    ),
    ("Gemini Interactions", ("total_input_tokens", "total_output_tokens"), _gemini_interactions),
    ("Ollama", ("prompt_eval_count", "eval_count"), _ollama),
)


def _refuse_unknown(fields: Mapping[str, Any], known: Mapping[str, Any], form: str, path: str = "") -> None:
    """An error for the first key that the form does not know and that holds a count above 0, at any depth."""
    for name, value in fields.items():
        inner = known.get(name, _WHOLE)
        if value is None or (name in known and (inner is None or inner is _WHOLE)):
            continue
        if name in known:
            for part in value if isinstance(value, (list, tuple)) else (value,):
                _refuse_unknown(_fields(part, name), inner, form, f"{path}{name}.")
        else:
            found = next(_counts_in(f"{path}{name}", name, value), None)
            if found is not None:
                raise UsageError(
                    f"The usage has the key {found[0]} with {found[1]}, which the form {form} does not have, so its price is not "
                    "known: give the counts as TokenBuckets."
                )


def _counts_in(path: str, name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, object]]:
    """What may be counts of tokens above 0 in a value that no form knows, each with where it stands."""
    of_tokens = "token" in name
    if isinstance(value, (bool, enum.Enum, bytes)) or value is None or depth > _DEEPEST:
        return
    if isinstance(value, str):
        if of_tokens and value.strip().isdigit() and int(value) > 0:
            yield path, value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _counts_in(path, name, part, depth + 1)
    elif isinstance(value, Mapping) or hasattr(value, "model_dump") or hasattr(value, "__dict__"):
        for key, part in _fields(value, name).items():
            yield from _counts_in(f"{path}.{key}", key, part, depth + 1)
    elif of_tokens or (hasattr(value, "__index__") and not _OTHER_UNIT.search(name)):
        try:
            above = value > 0
        except TypeError:
            return
        if above:
            yield path, value


def _reasoning_is_beside(
    fields: Mapping[str, Any], total: str, parts: set[str], reasoning: int, *, usually: bool
) -> bool:
    """Whether reasoning tokens are counted beside the other parts; an error if the total can be made up neither way."""
    if fields.get(total) is None:
        return usually
    said = _count(fields, total)
    without = sum(_count(fields, name) for name in parts)
    if said == without + reasoning:
        return True
    if said == without:
        return False
    listed = ", ".join(f"{name} {_count(fields, name)}" for name in sorted(parts))
    raise UsageError(
        f"The usage cannot be true: {total} is {said}, but its parts are {listed} and {reasoning} for reasoning."
    )


def _without(fields: Mapping[str, Any], name: str, inner: Mapping[str, int], at_least: int = 0) -> int:
    """A count without the counts that lie within it."""
    rest = _count(fields, name) - sum(inner.values())
    if rest < at_least:
        within = " and ".join(f"{inner_name} {count}" for inner_name, count in inner.items())
        more = f" and {at_least} more" if at_least else ""
        raise UsageError(f"The usage cannot be true: {name} is {_count(fields, name)}, but holds {within}{more}.")
    return rest


def _needed(fields: Mapping[str, Any], *names: str) -> None:
    """The start of a streamed message has not all counts: its usage would be recorded as too small."""
    for name in names:
        if fields.get(name) is None:
            raise UsageError(f"The usage is not complete: {name} is missing, it has {_listed(fields)}.")


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    try:
        count = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = -1
    if not 0 <= count <= MOST_TOKENS:
        raise UsageError(
            f"The usage cannot be true: {name} is {value!r}, not a number of tokens from 0 to {MOST_TOKENS}."
        )
    return count


def _part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return {} if value is None else _fields(value, name)


def _fields(value: Any, name: str) -> Mapping[str, Any]:
    """A dict, or the attributes of an SDK's object, under names in snake case (the REST APIs of Google write camel case)."""
    if not isinstance(value, Mapping):
        if hasattr(value, "model_dump"):
            value = value.model_dump()
        elif hasattr(value, "__dict__"):
            value = vars(value)
        else:
            raise UsageError(f"{name} must be a dict or an object with attributes, not {type(value).__name__}.")
    return {_CAMEL.sub(lambda hump: "_" + hump.group(1).lower(), str(key)): item for key, item in value.items()}


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(sorted(key for key, value in fields.items() if value is not None)) or "no keys"
