# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage of Gemini: generateContent, Live and Interactions. Cached tokens stand inside the prompt, reasoning beside the answer."""

from __future__ import annotations

from ..buckets import ReportedUsage, TokenBuckets
from . import counts
from .counts import Fields, Keys, count

_DETAILS: Keys = {"modality": None, "token_count": None}
_GEMINI: Keys = {
    "prompt_token_count": None,
    "tool_use_prompt_token_count": None,
    "cached_content_token_count": None,
    "candidates_token_count": None,
    "response_token_count": None,
    "thoughts_token_count": None,
    "total_token_count": None,
    "prompt_tokens_details": _DETAILS,
    "tool_use_prompt_tokens_details": _DETAILS,
    "cache_tokens_details": _DETAILS,
    "candidates_tokens_details": _DETAILS,
    "response_tokens_details": _DETAILS,
}
_BY_MODALITY: Keys = {"modality": None, "tokens": None}
_INTERACTIONS: Keys = {
    "total_input_tokens": None,
    "total_tool_use_tokens": None,
    "total_cached_tokens": None,
    "total_output_tokens": None,
    "total_thought_tokens": None,
    "total_tokens": None,
    # Part of the input, and of no price of its own.
    "initial_input_tokens": counts.WHOLE,
    "input_tokens_by_modality": _BY_MODALITY,
    "tool_use_tokens_by_modality": _BY_MODALITY,
    "cached_tokens_by_modality": _BY_MODALITY,
    "output_tokens_by_modality": _BY_MODALITY,
    "grounding_tool_count": counts.WHOLE,
}


def read_gemini(fields: Fields) -> ReportedUsage:
    """Usage of generateContent and Live; in REST and in the SDK it has the same names."""
    counts.refuse_unknown(fields, _GEMINI, "Gemini")
    answer = "candidates" if counts.has(fields, "candidates_token_count", "candidates_tokens_details") else "response"
    return _read(
        fields,
        prompt="prompt_token_count",
        tools="tool_use_prompt_token_count",
        cached="cached_content_token_count",
        answer=f"{answer}_token_count",
        thoughts="thoughts_token_count",
        total="total_token_count",
        details=(
            "prompt_tokens_details",
            "tool_use_prompt_tokens_details",
            "cache_tokens_details",
            f"{answer}_tokens_details",
        ),
        unit="token_count",
    )


def read_interactions(fields: Fields) -> ReportedUsage:
    counts.refuse_unknown(fields, _INTERACTIONS, "Gemini Interactions")
    return _read(
        fields,
        prompt="total_input_tokens",
        tools="total_tool_use_tokens",
        cached="total_cached_tokens",
        answer="total_output_tokens",
        thoughts="total_thought_tokens",
        total="total_tokens",
        details=(
            "input_tokens_by_modality",
            "tool_use_tokens_by_modality",
            "cached_tokens_by_modality",
            "output_tokens_by_modality",
        ),
        unit="tokens",
    )


def _read(
    fields: Fields,
    *,
    prompt: str,
    tools: str,
    cached: str,
    answer: str,
    thoughts: str,
    total: str,
    details: tuple[str, str, str, str],
    unit: str,
) -> ReportedUsage:
    reasoning = count(fields, thoughts)
    beside = counts.reasoning_is_beside(fields, total, {prompt, tools, answer}, reasoning, usually=True)
    in_prompt, in_tools, in_cache, in_answer = (_by_modality(fields, name, unit) for name in details)
    tells_cache = counts.has(fields, details[2])
    prompt_buckets = counts.input_buckets(
        prompt,
        count(fields, prompt),
        cached={cached: count(fields, cached)},
        audio=in_prompt["audio"],
        image=in_prompt["image"],
        cached_audio=in_cache["audio"] if tells_cache else None,
        cached_image=in_cache["image"] if tells_cache else None,
    )
    # Results of tools that ran at the provider are further input.
    tool_buckets = TokenBuckets(
        input_tokens=counts.without(
            tools, count(fields, tools), {f"{name} of {details[1]}": value for name, value in in_tools.items()}
        ),
        audio_input_tokens=in_tools["audio"],
        image_input_tokens=in_tools["image"],
    )
    answer_buckets = counts.output_buckets(
        answer,
        count(fields, answer),
        reasoning={thoughts: reasoning},
        beside=beside,
        audio=in_answer["audio"],
        image=in_answer["image"],
    )
    return ReportedUsage(prompt_buckets + tool_buckets + answer_buckets)


def _by_modality(fields: Fields, name: str, unit: str) -> dict[str, int]:
    """The tokens of audio and images; those of text, documents and video have the price of text."""
    found = {"audio": 0, "image": 0}
    for each in counts.parts(fields, name):
        modality = each.get("modality")
        word = str(getattr(modality, "value", modality)).lower()
        if word in found:
            found[word] += count(each, unit)
    return found
