# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage in the attributes of a span: OpenTelemetry's gen_ai.usage.*, also their older names, and OpenInference's llm.token_count.*.

By OpenTelemetry's conventions the input holds cached tokens, and the output holds those of reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..buckets import ReportedUsage, UsageError
from . import counts
from .counts import Fields, count

PREFIXES = ("gen_ai.usage.", "llm.token_count.", "llm.usage.", "anthropic.usage.")
# The names of each count.
_NAMES = {
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
    "total": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
    ),
    "cache_write": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "5m": ("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
    "1h": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
    "audio_input": (
        "gen_ai.usage.audio.input_tokens",
        "gen_ai.usage.details.input_audio_tokens",
        "llm.token_count.prompt_details.audio",
    ),
    "audio_cache_read": ("gen_ai.usage.audio.cache_read.input_tokens", "gen_ai.usage.details.cache_audio_read_tokens"),
    "audio_output": (
        "gen_ai.usage.audio.output_tokens",
        "gen_ai.usage.details.output_audio_tokens",
        "llm.token_count.completion_details.audio",
    ),
    "image_input": ("gen_ai.usage.image.input_tokens",),
    "image_cache_read": ("gen_ai.usage.image.cache_read.input_tokens",),
    "image_output": ("gen_ai.usage.image.output_tokens",),
    "compaction": ("anthropic.usage.compaction.input_tokens", "anthropic.usage.compaction.output_tokens"),
    "text": (
        "gen_ai.usage.text.input_tokens",
        "gen_ai.usage.text.output_tokens",
        "gen_ai.usage.text.cache_read.input_tokens",
    ),
}
_KNOWN = dict.fromkeys((name for names in _NAMES.values() for name in names), None)
# What Pydantic AI adds of the provider's own words.
_DETAILS = "gen_ai.usage.details."
# Where a span says in which tier the request was served.
TIERS = ("anthropic.response.service_tier", "openai.response.service_tier", "gen_ai.openai.response.service_tier")


def are_attributes(usage: object) -> bool:
    """Whether this is a dict with the attributes of a span."""
    return isinstance(usage, Mapping) and any(str(key).startswith(PREFIXES) for key in usage)


def read_attributes(attributes: Mapping[str, Any]) -> ReportedUsage:
    """Usage in all attributes of a span, or in those that hold usage."""
    said = {name: value for name, value in attributes.items() if name.startswith(PREFIXES)}
    counts.refuse_unknown(
        {name: value for name, value in said.items() if name in _KNOWN or not name.startswith(_DETAILS)},
        _KNOWN,
        "OpenTelemetry",
    )
    found = {what: _said(said, what) for what in _NAMES if what not in ("text", "compaction")}
    if not any(counts.has(said, name) for name in _NAMES["input"]):
        counts.needed(said, _NAMES["input"][0])
    if any(count(said, name) for name in _NAMES["compaction"]):
        raise UsageError(
            "The span has a compaction, whose cached tokens its attributes do not tell apart: give the usage of the message."
        )
    lives = {"5m": found["5m"], "1h": found["1h"]}
    wrote = {"cache_write": found["cache_write"]} if found["cache_write"] else {}
    short, long = counts.cache_writes(wrote, "cache_write", lives)
    prompt = counts.input_buckets(
        "input",
        found["input"],
        cached={"cache_read": found["cache_read"]},
        written={"cache_write": short, "cache_write of 1 hour": long},
        audio=found["audio_input"],
        image=found["image_input"],
        cached_audio=found["audio_cache_read"] or None,
        cached_image=found["image_cache_read"] or None,
    )
    totals = {"total": found["total"] or None, "input": found["input"], "output": found["output"]}
    beside = counts.reasoning_is_beside(totals, "total", {"input", "output"}, found["reasoning"], usually=False)
    answer = counts.output_buckets(
        "output",
        found["output"],
        reasoning={"reasoning": found["reasoning"]},
        beside=beside,
        audio=found["audio_output"],
        image=found["image_output"],
    )
    return ReportedUsage(prompt + answer)


def _said(said: Fields, what: str) -> int:
    return counts.said_once(f"{what} tokens", {name: count(said, name) for name in _NAMES[what]})
