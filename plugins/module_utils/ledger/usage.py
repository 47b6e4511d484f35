# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token usage as the providers report it, made into disjoint buckets: a token is counted in exactly one of them.

The providers count differently; docs/ledger.md says where each of these is written, `forms` has a file for each:

    form                          cached tokens          reasoning tokens         own total
    Anthropic Messages            beside input_tokens    inside output_tokens     none
    Bedrock Converse              beside inputTokens     not told apart           totalTokens
    OpenAI Chat Completions       inside prompt_tokens   inside completion_tokens total_tokens
    (GitHub Models, compatible servers, LiteLLM)
    OpenAI Responses, Images      inside input_tokens    inside output_tokens     total_tokens
    OpenAI Realtime               inside input_tokens    none                     total_tokens
    Codex                         inside input_tokens    inside output_tokens     total_tokens
    Gemini generateContent, Live  inside prompt          beside candidates        total_token_count
    Gemini Interactions           inside input           beside output            total_tokens
    Ollama                        inside prompt_eval     not told apart           none
    Pydantic AI                   inside input_tokens    inside output_tokens     none
    OpenTelemetry, OpenInference  inside the input       inside the output        at times

A key that a form does not know is refused where it holds a count above 0: tokens that are not understood would be counted in
a bucket with another price, or in none. So is what may be read in two ways that cost differently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..models.enums import BillingMode
from .buckets import ReportedUsage, TokenBuckets, UsageError
from .forms import agents, anthropic, attributes, counts, google, ollama, openai
from .forms.counts import Fields, attribute

# Where a response holds its usage, in snake case; an event of a stream holds the response first.
_USAGE = ("usage", "usage_metadata")
_MODES: dict[str, BillingMode] = {
    "standard": "standard",
    "default": "standard",
    "auto": "standard",
    "on_demand": "standard",
    "unspecified": "standard",
    "traffic_type_unspecified": "standard",
    "batch": "batch",
    "flex": "flex",
    "on_demand_flex": "flex",
    "priority": "priority",
    "on_demand_priority": "priority",
}
# The same word for another thing: OpenAI's tier "fast" is the one that it bills as "priority".
_MODES_OF: dict[tuple[str, str], BillingMode] = {("service_tier", "fast"): "priority", ("speed", "fast"): "fast"}


def read_usage(usage: Any, provider: str | None = None, billing_mode: BillingMode | None = None) -> ReportedUsage:
    """Read usage as a provider reports it.

    Args:
        usage: the usage, or the whole response that holds it and may say in which tier it was served: a dict, an object of a
            provider's SDK, the attributes of a span, or TokenBuckets. The form is known by its keys.
        provider: matters only for Gemini behind its OpenAI-compatible address, which leaves the reasoning tokens out of everything but
            the total.
        billing_mode: how the request is billed, else as usage or response say, else "standard".

    Raises:
        UsageError: the usage is of no known form, is not complete, cannot be true, or does not tell what its price depends on.
    """
    if isinstance(usage, TokenBuckets):
        return ReportedUsage(usage, billing_mode or "standard")
    if attributes.are_attributes(usage):
        tiers = {("service_tier", _word(usage.get(name))) for name in attributes.TIERS}
        return dataclasses.replace(attributes.read_attributes(usage), billing_mode=billing_mode or _billing_mode(tiers))
    held, response = _held(usage)
    fields = counts.fields_of(held, "usage")
    # Agents' frameworks sum up under the names of their providers, too.
    requests = counts.count(fields, "requests")
    if requests > 1:
        raise UsageError(
            f"The usage is that of {requests} requests, and the price of a request depends on its own tokens: record each by itself."
        )
    reported = _form(fields, isinstance(held, Mapping) and any(key in held for key in _CAMEL_SUMS), provider)
    mode = billing_mode or _billing_mode(_tiers(fields, response))
    further = reported.further + (() if response is None else openai.read_tools(response))
    return dataclasses.replace(
        reported,
        billing_mode=mode,
        further=tuple(dataclasses.replace(each, billing_mode=mode) for each in further),
    )


def normalise_usage(usage: Any, provider: str | None = None) -> TokenBuckets:
    """The buckets of a usage alone; see `read_usage`.

    Raises:
        UsageError: also where the request used further models, whose tokens have another price and are not in the buckets.
    """
    reported = read_usage(usage, provider, "standard")
    if reported.further or reported.model:
        models = ", ".join([*(each.model for each in reported.further), *([reported.model] if reported.model else [])])
        raise UsageError(
            f"The usage has tokens that are billed at the price of another model ({models}): read it with read_usage."
        )
    return reported.buckets


def stream_usage(start: Any, last: Any) -> Fields:
    """The usage of a message that Anthropic streamed, which `read_usage` takes.

    Args:
        start: the usage of the event message_start, which alone says for how long tokens were written to the cache, and in which tier
            the request is served.
        last: the usage of the last event message_delta, whose counts are those of the whole message.

    Raises:
        UsageError: later turns wrote to the cache and nothing says for how long.
    """
    return anthropic.merge_stream(counts.fields_of(start, "usage"), counts.fields_of(last, "usage"))


def _held(usage: Any) -> tuple[Any, Any]:
    """The usage, and the response that holds it, or None where the usage was given alone."""
    for holder in (usage, attribute(usage, "response")):
        for name in _USAGE:
            held = attribute(holder, name)
            if held is not None and not (callable(held) and not dataclasses.is_dataclass(held)):
                return held, holder
    if any(name in usage if isinstance(usage, Mapping) else hasattr(usage, name) for name in _USAGE):
        raise UsageError(
            "The response holds no usage: a stream has it only at its end, and of some providers only if it is asked for."
        )
    return usage, None


# Bedrock's names of its sums are OpenAI's and Anthropic's in camel case.
_CAMEL_SUMS = ("inputTokens", "outputTokens")
_OF_ANTHROPIC = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "iterations")


def _form(fields: Fields, camel: bool, provider: str | None) -> ReportedUsage:
    forms = []
    if counts.has(fields, "prompt_tokens", "completion_tokens"):
        forms.append("OpenAI Chat Completions")
    if counts.has(fields, "input_tokens", "output_tokens"):
        forms.append("Bedrock Converse" if camel else _form_of_sums(fields))
    if counts.has(fields, "prompt_token_count", "candidates_token_count", "response_token_count", "total_token_count"):
        forms.append("Gemini")
    if counts.has(fields, "total_input_tokens", "total_output_tokens"):
        forms.append("Gemini Interactions")
    if counts.has(fields, "prompt_eval_count", "eval_count"):
        forms.append("Ollama")
    if len(forms) > 1:
        raise UsageError(f"The usage mixes the keys of {' and '.join(forms)}: it has {counts.listed(fields)}.")
    if not forms:
        if counts.has(fields, "seconds", "duration"):
            raise UsageError(
                "The usage is billed by its duration, not by tokens: give usage=TokenBuckets() and, as cost_usd, what it cost."
            )
        raise UsageError(f"The usage is of no known form: it has {counts.listed(fields)}.")
    (form,) = forms
    return openai.read_chat(fields, provider) if form == "OpenAI Chat Completions" else _READERS[form](fields)


def _form_of_sums(fields: Fields) -> str:
    """Which of the forms that call their sums input_tokens and output_tokens; without any detail these mean the same in all."""
    marks = {
        "Pydantic AI": agents.MARKS,
        "Anthropic": _OF_ANTHROPIC,
        "Codex": ("cached_input_tokens", "reasoning_output_tokens"),
        "OpenAI Realtime": ("input_token_details", "output_token_details"),
        "OpenAI Responses": ("input_tokens_details",),
    }
    found = [form for form, names in marks.items() if counts.has(fields, *names)]
    if not found and counts.has(counts.part(fields, "output_tokens_details"), "reasoning_tokens", "image_tokens"):
        found = ["OpenAI Responses"]
    if counts.has(fields, "total_tokens") and found in ([], ["Anthropic"]):
        found.append("OpenAI Responses")
    if len(found) > 1:
        raise UsageError(f"The usage mixes the keys of {' and '.join(found)}: it has {counts.listed(fields)}.")
    return found[0] if found else "Anthropic"


_READERS = {
    "Anthropic": anthropic.read_messages,
    "Bedrock Converse": anthropic.read_converse,
    "Codex": openai.read_codex,
    "Gemini": google.read_gemini,
    "Gemini Interactions": google.read_interactions,
    "Ollama": ollama.read_ollama,
    "OpenAI Realtime": openai.read_realtime,
    "OpenAI Responses": openai.read_responses,
    "Pydantic AI": agents.read_agents,
}


def _tiers(fields: Fields, response: Any) -> set[tuple[str, str]]:
    """What usage and response say of the tier: the name of the key and its word."""
    found = {(name, _word(fields.get(name))) for name in ("service_tier", "speed", "traffic_type")}
    if response is not None:
        tier = attribute(response, "service_tier")
        headers = attribute(attribute(response, "sdk_http_response"), "headers")
        more = attribute(response, "provider_details")
        latency = attribute(attribute(response, "performance_config"), "latency")
        found |= {
            # Bedrock has an object for it.
            ("service_tier", _word(attribute(tier, "type") or tier)),
            ("service_tier", _word(attribute(headers, "x-gemini-service-tier"))),
            ("service_tier", _word(attribute(more, "service_tier"))),
            ("traffic_type", _word(attribute(more, "traffic_type"))),
            ("latency", _word(latency)),
        }
    return found


def _word(value: Any) -> str:
    return str(getattr(value, "value", value) or "").lower()


def _billing_mode(tiers: set[tuple[str, str]]) -> BillingMode:
    modes = set()
    for name, word in sorted(tiers):
        mode: BillingMode | None = _MODES_OF.get((name, word), _MODES.get(word)) if word else "standard"
        if mode is None:
            raise UsageError(
                f"The {name} {word!r} has no price by the token: say as which billing_mode the request is recorded."
            )
        modes.add(mode)
    modes.discard("standard")
    if len(modes) > 1:
        raise UsageError(
            f"The usage says that it is billed as {' and '.join(sorted(modes))}: say which as billing_mode."
        )
    return modes.pop() if modes else "standard"
