# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage of OpenAI's APIs, of servers that speak them, and of programs that write it: cached tokens stand inside the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..buckets import FurtherUsage, ReportedUsage, TokenBuckets, UsageError
from . import counts
from .counts import Fields, Keys, attribute, count, part

_MODALITIES: Keys = {"text_tokens": None, "audio_tokens": None, "image_tokens": None, "video_tokens": None}
_LIVES: Keys = {"ttl_30m_tokens": None, "ttl_12h_tokens": None}
_INPUT: Keys = {
    "cached_tokens": None,
    "cached_tokens_details": {"text_tokens": None, "audio_tokens": None, "image_tokens": None},
    "cache_write_tokens": None,
    "cache_write_tokens_details": _LIVES,
    **_MODALITIES,
}
_OUTPUT: Keys = {
    "reasoning_tokens": None,
    "accepted_prediction_tokens": None,
    "rejected_prediction_tokens": None,
    **_MODALITIES,
}
# LiteLLM shows other providers' usage in the form of Chat Completions, and the counts of their caches under further names.
_LITELLM_LIVES: Keys = {
    "ephemeral_5m_input_tokens": None,
    "ephemeral_30m_input_tokens": None,
    "ephemeral_1h_input_tokens": None,
    "ephemeral_12h_input_tokens": None,
}
_CHAT: Keys = {
    "prompt_tokens": None,
    "prompt_tokens_details": {
        **_INPUT,
        "cache_creation_tokens": None,
        "cache_creation_token_details": _LITELLM_LIVES,
        # Of Gemini's, inside the prompt.
        "tool_use_tokens": counts.WHOLE,
        "initial_prompt_tokens": counts.WHOLE,
    },
    "completion_tokens": None,
    "completion_tokens_details": _OUTPUT,
    "total_tokens": None,
    "prompt_cache_hit_tokens": None,
    "prompt_cache_miss_tokens": None,
    "cached_tokens": None,
    "cache_read_input_tokens": None,
    "cache_creation_input_tokens": None,
    "iterations": counts.WHOLE,
}
_RESPONSES: Keys = {
    "input_tokens": None,
    "input_tokens_details": _INPUT,
    "output_tokens": None,
    "output_tokens_details": _OUTPUT,
    "total_tokens": None,
    # Of OpenAI's Agents SDK: the one request once more.
    "request_usage_entries": counts.WHOLE,
}
_REALTIME: Keys = {
    "input_tokens": None,
    "input_token_details": _INPUT,
    "output_tokens": None,
    "output_token_details": _OUTPUT,
    "total_tokens": None,
    "type": None,
}
_CODEX: Keys = {
    "input_tokens": None,
    "cached_input_tokens": None,
    "cache_write_input_tokens": None,
    "output_tokens": None,
    "reasoning_output_tokens": None,
    "total_tokens": None,
}
_IMAGE_TOOL: Keys = {
    **_RESPONSES,
    "cached_tokens": None,
    "cached_tokens_details": {"cached_text_tokens": None, "cached_image_tokens": None},
}
_SVG: Keys = {
    "model": None,
    "input_tokens": None,
    "output_tokens": None,
    "reasoning_tokens": None,
    "total_tokens": None,
}


@dataclass
class _Counts:
    """What the forms have in common, wherever each has it."""

    prompt: str
    completion: str
    cached: dict[str, int]
    written: dict[str, int]
    reasoning: dict[str, int]
    inputs: Fields
    outputs: Fields


def read_chat(fields: Fields, provider: str | None) -> ReportedUsage:
    """Usage of Chat Completions and embeddings, also that of DeepSeek, Moonshot, OpenRouter, LiteLLM and the like."""
    counts.refuse_unknown(fields, _CHAT, "OpenAI Chat Completions")
    for each in counts.parts(fields, "iterations"):
        # LiteLLM sums up all of Claude's turns, whichever model each is of.
        if each.get("type") not in ("message", "compaction", None):
            raise UsageError(
                f"The usage holds tokens of another model (an iteration of the type {each.get('type')!r}), which has another price: "
                "give the counts as TokenBuckets."
            )
    inputs, outputs = part(fields, "prompt_tokens_details"), part(fields, "completion_tokens_details")
    return _read(
        fields,
        _Counts(
            prompt="prompt_tokens",
            completion="completion_tokens",
            cached={"cached_tokens": _cached(fields, inputs)},
            written=_written(fields, inputs),
            reasoning={"reasoning_tokens": count(outputs, "reasoning_tokens")},
            inputs=inputs,
            outputs=outputs,
        ),
        provider,
    )


def read_responses(fields: Fields) -> ReportedUsage:
    """Usage of Responses and of the Images API."""
    counts.refuse_unknown(fields, _RESPONSES, "OpenAI Responses")
    return _read_input_output(fields, "input_tokens_details", "output_tokens_details")


def read_realtime(fields: Fields) -> ReportedUsage:
    """Usage of Realtime and of transcriptions that are billed by tokens."""
    counts.refuse_unknown(fields, _REALTIME, "OpenAI Realtime")
    return _read_input_output(fields, "input_token_details", "output_token_details")


def read_codex(fields: Fields) -> ReportedUsage:
    """Usage as Codex writes it into its sessions."""
    counts.refuse_unknown(fields, _CODEX, "Codex")
    return _read(
        fields,
        _Counts(
            prompt="input_tokens",
            completion="output_tokens",
            cached={"cached_input_tokens": count(fields, "cached_input_tokens")},
            written={"cache_write_input_tokens": count(fields, "cache_write_input_tokens")},
            reasoning={"reasoning_output_tokens": count(fields, "reasoning_output_tokens")},
            inputs={},
            outputs={},
        ),
    )


def read_tools(response: Any) -> tuple[FurtherUsage, ...]:
    """What a response used of the models of its tools, which have prices of their own: images that it generated.

    Args:
        response: the response of Responses or of the Images API, as a dict or as the SDK's object.
    """
    further = []
    image = attribute(attribute(response, "tool_usage"), "image_gen")
    if image is not None:
        buckets = _image_tool(counts.fields_of(image, "image_gen"))
        if buckets.total:
            further.append(FurtherUsage("image", _image_model(response), buckets))
    output = attribute(response, "output")
    for holder in (response, *(output if isinstance(output, (list, tuple)) else ())):
        svg = attribute(holder, "svg_usage")
        if svg is not None:
            fields = counts.fields_of(svg, "svg_usage")
            counts.refuse_unknown(fields, _SVG, "OpenAI Images")
            outputs = {"reasoning_tokens": fields.get("reasoning_tokens")}
            sums = {name: fields.get(name) for name in ("input_tokens", "output_tokens", "total_tokens")}
            buckets = _read_input_output({**sums, "outputs": outputs}, "inputs", "outputs").buckets
            if buckets.total:
                further.append(FurtherUsage("svg", str(fields.get("model")), buckets))
    return tuple(further)


def _image_tool(fields: Fields) -> TokenBuckets:
    """Usage of the tool that generates images, which has its cached tokens beside the details of its input."""
    counts.refuse_unknown(fields, _IMAGE_TOOL, "OpenAI Responses")
    cached = part(fields, "cached_tokens_details")
    split = {modality: cached.get(f"cached_{modality}") for modality in ("text_tokens", "image_tokens")}
    inputs = {
        **part(fields, "input_tokens_details"),
        "cached_tokens": fields.get("cached_tokens"),
        "cached_tokens_details": split if cached else None,
    }
    return _read_input_output({**fields, "inputs": inputs}, "inputs", "output_tokens_details").buckets


def _read_input_output(fields: Fields, input_details: str, output_details: str) -> ReportedUsage:
    inputs, outputs = part(fields, input_details), part(fields, output_details)
    if counts.has(inputs, "image_tokens") and not counts.has(inputs, "cached_tokens") and not outputs:
        # The Images API names the parts of its output only since it can hold text.
        outputs = {"image_tokens": fields.get("output_tokens")}
    return _read(
        fields,
        _Counts(
            prompt="input_tokens",
            completion="output_tokens",
            cached={"cached_tokens": count(inputs, "cached_tokens")},
            written=_written({}, inputs),
            reasoning={"reasoning_tokens": count(outputs, "reasoning_tokens")},
            inputs=inputs,
            outputs=outputs,
        ),
    )


def _read(fields: Fields, of: _Counts, provider: str | None = None) -> ReportedUsage:
    # An embedding has no completion.
    counts.needed(fields, of.prompt)
    ((reasoning_name, reasoning),) = of.reasoning.items()
    rest = count(fields, of.prompt) + count(fields, of.completion)
    if provider == "gemini" and not reasoning and counts.has(fields, "total_tokens"):
        # Gemini's address for OpenAI's clients shows reasoning in the total alone.
        reasoning = max(count(fields, "total_tokens") - rest, 0)
    beside = counts.reasoning_is_beside(fields, "total_tokens", {of.prompt, of.completion}, reasoning, usually=False)
    split = part(of.inputs, "cached_tokens_details")
    for name, whole, details in (
        (of.prompt, count(fields, of.prompt), of.inputs),
        (of.completion, count(fields, of.completion), of.outputs),
        ("cached_tokens", sum(of.cached.values()), split),
    ):
        if details:
            counts.without(name, whole, {modality: count(details, modality) for modality in _MODALITIES})
    prompt = counts.input_buckets(
        of.prompt,
        count(fields, of.prompt),
        cached=of.cached,
        written=of.written,
        audio=count(of.inputs, "audio_tokens"),
        image=count(of.inputs, "image_tokens"),
        cached_audio=count(split, "audio_tokens") if split else None,
        cached_image=count(split, "image_tokens") if split else None,
    )
    answer = counts.output_buckets(
        of.completion,
        count(fields, of.completion),
        reasoning={reasoning_name: reasoning},
        beside=beside,
        audio=count(of.outputs, "audio_tokens"),
        image=count(of.outputs, "image_tokens"),
    )
    return ReportedUsage(prompt + answer)


def _cached(fields: Fields, inputs: Fields) -> int:
    """The cached tokens of Chat Completions, under each of their names."""
    said = {"prompt_tokens_details.cached_tokens": count(inputs, "cached_tokens")}
    names = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    said.update((name, count(fields, name)) for name in names)
    cached, missed = counts.said_once("cached tokens", said), count(fields, "prompt_cache_miss_tokens")
    if counts.has(fields, "prompt_cache_miss_tokens") and cached + missed != count(fields, "prompt_tokens"):
        said = {"cached": cached, "prompt_cache_miss_tokens": missed, "prompt_tokens": count(fields, "prompt_tokens")}
        counts.contradict("cached tokens", said)
    return cached


def _written(fields: Fields, inputs: Fields) -> dict[str, int]:
    """Tokens written to the cache, for the shorter and, if there are such, for the longer of a provider's two lives."""
    said = {
        "cache_write_tokens": count(inputs, "cache_write_tokens"),
        "cache_creation_tokens": count(inputs, "cache_creation_tokens"),
        "cache_creation_input_tokens": count(fields, "cache_creation_input_tokens"),
    }
    written = counts.said_once("tokens written to the cache", said)
    lives = {**part(inputs, "cache_write_tokens_details"), **part(inputs, "cache_creation_token_details")}
    short = {name: count(lives, name) for name in lives if "5m" in name or "30m" in name}
    long = {name: count(lives, name) for name in lives if "1h" in name or "12h" in name}
    found = {"cache_write_tokens": sum(short.values()), "those of the long life": sum(long.values())}
    if written:
        found["cache_write_tokens"] = counts.without(
            "cache_write_tokens",
            written,
            {"those of the long life": found["those of the long life"]},
            at_least=found["cache_write_tokens"],
        )
    return found if found["those of the long life"] else {"cache_write_tokens": found["cache_write_tokens"]}


def _image_model(response: Any) -> str:
    """The model of the response's one tool for images, which the usage of the tool does not name."""
    tools = attribute(response, "tools")
    models = {
        attribute(tool, "model")
        for tool in (tools if isinstance(tools, (list, tuple)) else ())
        if attribute(tool, "type") == "image_generation"
    }
    if len(models) != 1 or models == {None}:
        raise UsageError(
            "The response does not name the one model that generated its images, which has another price: give its usage alone, "
            "and record tool_usage.image_gen as a call of its own."
        )
    return str(models.pop())
