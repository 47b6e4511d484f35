# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage of Pydantic AI and of genai-prices: the same names whatever the provider, and each count holds those below it."""

from __future__ import annotations

from ..buckets import ReportedUsage, UsageError
from . import counts
from .counts import Fields, Keys, count

_AGENTS: Keys = {
    "input_tokens": None,
    "input_text_tokens": counts.WHOLE,
    "input_video_tokens": counts.WHOLE,
    "input_tool_tokens": counts.WHOLE,
    "input_text_tool_tokens": counts.WHOLE,
    "input_audio_tokens": None,
    "input_image_tokens": None,
    "cache_read_tokens": None,
    "cache_text_read_tokens": counts.WHOLE,
    "cache_video_read_tokens": counts.WHOLE,
    "cache_audio_read_tokens": None,
    "cache_image_read_tokens": None,
    "cache_write_tokens": None,
    "cache_write_5m_tokens": None,
    "cache_write_1h_tokens": None,
    "output_tokens": None,
    "output_text_tokens": counts.WHOLE,
    "output_video_tokens": counts.WHOLE,
    "output_reasoning_tokens": None,
    "output_audio_tokens": None,
    "output_image_tokens": None,
    "requests": None,
    "unmeasured_requests": None,
    # What the provider said, in words of its own.
    "details": counts.WHOLE,
    "web_searches": counts.WHOLE,
}
# Keys that no other form has. An object has all of them.
MARKS = (
    "cache_write_tokens",
    "output_reasoning_tokens",
    "input_audio_tokens",
    "cache_audio_read_tokens",
    "output_audio_tokens",
    "unmeasured_requests",
)


def read_agents(fields: Fields) -> ReportedUsage:
    counts.refuse_unknown(fields, _AGENTS, "Pydantic AI")
    counts.needed(fields, "input_tokens")
    if count(fields, "unmeasured_requests"):
        raise UsageError("The usage is not complete: it counts no tokens of a request whose provider reported none.")
    lives = {name: count(fields, name) for name in ("cache_write_5m_tokens", "cache_write_1h_tokens")}
    short, long = counts.cache_writes(fields, "cache_write_tokens", lives)
    read = count(fields, "cache_read_tokens")
    prompt = counts.input_buckets(
        "input_tokens",
        count(fields, "input_tokens"),
        cached={"cache_read_tokens": read},
        written={"cache_write_tokens": short, "cache_write_1h_tokens": long},
        audio=count(fields, "input_audio_tokens"),
        image=count(fields, "input_image_tokens"),
        # 0 may as well mean that the provider did not say.
        cached_audio=count(fields, "cache_audio_read_tokens") or None,
        cached_image=count(fields, "cache_image_read_tokens") or None,
    )
    answer = counts.output_buckets(
        "output_tokens",
        count(fields, "output_tokens"),
        reasoning={"output_reasoning_tokens": count(fields, "output_reasoning_tokens")},
        audio=count(fields, "output_audio_tokens"),
        image=count(fields, "output_image_tokens"),
    )
    return ReportedUsage(prompt + answer)
