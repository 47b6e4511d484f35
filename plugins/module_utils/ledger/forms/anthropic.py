# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage of Anthropic's Messages, and of Bedrock's Converse: cached tokens stand beside input_tokens."""

from __future__ import annotations

from typing import Any

from ..buckets import FurtherUsage, ReportedUsage, TokenBuckets, UsageError
from . import counts
from .counts import Fields, Keys, count, part

_MESSAGE: Keys = {
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
_ANTHROPIC: Keys = {**_MESSAGE, "iterations": _MESSAGE}
_CONVERSE: Keys = {
    "input_tokens": None,
    "output_tokens": None,
    "total_tokens": None,
    "cache_read_input_tokens": None,
    "cache_write_input_tokens": None,
    "cache_details": {"ttl": None, "input_tokens": None},
}
_LIVES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
# The counts that a message and each of its iterations have.
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def read_messages(fields: Fields) -> ReportedUsage:
    """Usage of Messages. Its own counts are those of the model that answered, in all turns of the message.

    `iterations` says for each turn what is billed. A compaction is billed beside the turns of the model that answered; an advisor, and
    a model that refused after it had begun to answer, are billed at prices of their own.
    """
    counts.refuse_unknown(fields, _ANTHROPIC, "Anthropic Messages")
    counts.needed(fields, "input_tokens", "output_tokens")
    iterations = counts.parts(fields, "iterations")
    served = next((each.get("model") for each in iterations if each.get("type") == "fallback_message"), None)
    own: list[Fields] = []
    beside: list[TokenBuckets] = []
    further: list[FurtherUsage] = []
    for each in iterations:
        kind, model = each.get("type"), each.get("model")
        if kind == "compaction":
            beside.append(_message(each))
        elif kind == "advisor_message":
            further.append(_further("advisor", each))
        elif kind == "fallback_message" or (kind in ("message", None) and (served is None or model == served)):
            own.append(each)
        elif kind in ("message", None):
            # What refused before it had answered anything is not billed.
            if count(each, "output_tokens"):
                further.append(_further("declined", each))
        elif _message(each).total:
            raise UsageError(
                f"The usage has an iteration of the type {kind!r}, whose price is not known: give the counts as TokenBuckets."
            )
    return ReportedUsage(
        buckets=sum(beside, _message(_of_all_turns(fields, own))),
        further=tuple(each for each in further if each.buckets.total),
        model=None if served is None else str(served),
    )


def merge_stream(start: Fields, last: Fields) -> Fields:
    """The usage of a streamed message, of its start and its last delta; see `usage.stream_usage`."""
    merged = {**start, **{name: value for name, value in last.items() if value is not None}}
    written = count(merged, "cache_creation_input_tokens")
    lives = part(start, "cache_creation")
    if "cache_creation" in merged and written != sum(count(lives, name) for name in lives):
        # The start's split is not that of all turns, so the turns themselves have to say it, or there is one life alone.
        used = [name for name in lives if count(lives, name)]
        split = counts.parts(last, "iterations")
        if split or not written:
            merged["cache_creation"] = None
        elif len(used) == 1:
            merged["cache_creation"] = {used[0]: written}
        else:
            raise UsageError(
                f"The stream does not say for how long its {written} tokens were written to the cache: "
                "give the counts as TokenBuckets."
            )
    return merged


def read_converse(fields: Fields) -> ReportedUsage:
    """Usage of Bedrock's Converse, in which any model answers."""
    counts.refuse_unknown(fields, _CONVERSE, "Bedrock Converse")
    counts.needed(fields, "input_tokens", "output_tokens")
    lives = {"5m": 0, "1h": 0}
    for each in counts.parts(fields, "cache_details"):
        if each.get("ttl") not in lives:
            raise UsageError(
                f"The usage has tokens written to the cache for {each.get('ttl')!r}, a life whose price is not known: "
                "give the counts as TokenBuckets."
            )
        lives[each["ttl"]] += count(each, "input_tokens")
    short, long = counts.cache_writes(fields, "cache_write_input_tokens", lives)
    buckets = TokenBuckets(
        input_tokens=count(fields, "input_tokens"),
        output_tokens=count(fields, "output_tokens"),
        cache_read_tokens=count(fields, "cache_read_input_tokens"),
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
    )
    total = count(fields, "total_tokens")
    if counts.has(fields, "total_tokens") and total not in (
        buckets.total,
        buckets.input_tokens + buckets.output_tokens,
    ):
        counts.contradict("all tokens", {"total_tokens": total, "the sum of its parts": buckets.total})
    return ReportedUsage(buckets)


def _message(fields: Fields) -> TokenBuckets:
    lives = part(fields, "cache_creation")
    short, long = counts.cache_writes(
        fields, "cache_creation_input_tokens", {name: count(lives, name) for name in _LIVES}
    )
    thinking = count(part(fields, "output_tokens_details"), "thinking_tokens")
    return TokenBuckets(
        output_tokens=counts.without("output_tokens", count(fields, "output_tokens"), {"thinking_tokens": thinking}),
        reasoning_tokens=thinking,
        input_tokens=count(fields, "input_tokens"),
        cache_read_tokens=count(fields, "cache_read_input_tokens"),
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
    )


def _further(kind: str, fields: Fields) -> FurtherUsage:
    buckets, model = _message(fields), fields.get("model")
    if buckets.total and not model:
        raise UsageError(
            f"The usage does not say of which model the {buckets.total} tokens of a turn are (kind {kind}): "
            "give the counts as TokenBuckets."
        )
    return FurtherUsage(kind, str(model), buckets)


def _of_all_turns(fields: Fields, own: list[Fields]) -> Fields:
    """The message with the counts of all turns of the model that answered, and their split by life of the cache.

    The turns are what is billed, so that they count where the message has the counts of its first turn alone.
    """
    if not own:
        return fields
    whole: dict[str, Any] = dict(fields)
    for name in _COUNTS:
        whole[name] = sum(count(each, name) for each in own)
        if whole[name] < count(fields, name):
            counts.contradict(name, {"the message": count(fields, name), "its iterations": whole[name]})
    if all(each.get("cache_creation") is not None for each in own):
        lives = {name: sum(count(part(each, "cache_creation"), name) for each in own) for name in _LIVES}
        said = {name: count(part(fields, "cache_creation"), name) for name in _LIVES}
        if fields.get("cache_creation") is not None and sum(said.values()) >= sum(lives.values()) and said != lives:
            counts.contradict(
                "tokens written to the cache", {"the message": [*said.values()], "its iterations": [*lives.values()]}
            )
        whole["cache_creation"] = lives
    return whole
