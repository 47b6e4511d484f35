# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all forms of usage are read with: keys, counts, counts within counts, and the refusal of what is not understood."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..buckets import TokenBuckets, UsageError, token_count

Fields = Mapping[str, Any]
# The keys of a form: None for a count or a word, a dict for an object or a list of objects with these keys, and WHOLE for what
# repeats or explains counts that stand elsewhere, or holds none.
Keys = dict[str, Any]
WHOLE: Any = ...

_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
# Whole numbers under such names are none of tokens: times, costs, and what is paid for by the piece.
_OTHER_UNIT = re.compile(
    r"(?:^|_)(?:time|duration|ms|seconds|created|created_at|timestamp|index|id|version|cost|usd|ticks|price"
    r"|requests?|searches|queries|sources|sources_used|calls|tool_count)$"
)
_DEEPEST = 5


def fields_of(value: Any, name: str) -> Fields:
    """A dict, or the attributes of an SDK's object, under names in snake case (REST APIs often write camel case)."""
    if not isinstance(value, Mapping):
        if hasattr(value, "model_dump"):
            value = value.model_dump()
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            # What was not given stands in the class alone.
            value = {**{field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, **vars(value)}
        elif hasattr(value, "__dict__"):
            value = vars(value)
        else:
            raise UsageError(f"{name} must be a dict or an object with attributes, not {type(value).__name__}.")
    return {snake_case(str(key)): item for key, item in value.items()}


@functools.lru_cache(maxsize=1024)
def snake_case(name: str) -> str:
    return _CAMEL.sub(lambda hump: "_" + hump.group(1).lower(), name)


def count(fields: Fields, name: str) -> int:
    """The count under a name, 0 where there is none."""
    return token_count(name, fields.get(name))


def part(fields: Fields, name: str) -> Fields:
    """The object under a name, empty where there is none."""
    value = fields.get(name)
    return {} if value is None else fields_of(value, name)


def parts(fields: Fields, name: str) -> list[Fields]:
    """The objects of the list under a name, none where there is none."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"The usage cannot be true: {name} must be a list, not {type(value).__name__}.")
    return [fields_of(item, name) for item in value]


def has(fields: Fields, *names: str) -> bool:
    for name in names:  # noqa: SIM110 - any() takes thrice as long, and this is asked ten times for each usage
        if fields.get(name) is not None:
            return True
    return False


def needed(fields: Fields, *names: str) -> None:
    """The start of a streamed message has not all counts: its usage would be recorded as too small."""
    for name in names:
        if fields.get(name) is None:
            raise UsageError(f"The usage is not complete: {name} is missing, it has {listed(fields)}.")


def listed(fields: Fields) -> str:
    return ", ".join(sorted(key for key, value in fields.items() if value is not None)) or "no keys"


def without(name: str, whole: int, inner: Mapping[str, int], at_least: int = 0) -> int:
    """A count without the counts that lie within it."""
    rest = whole - sum(inner.values())
    if rest < at_least:
        within = " and ".join(f"{inner_name} {inner_count}" for inner_name, inner_count in inner.items())
        more = f" and {at_least} more" if at_least else ""
        raise UsageError(f"The usage cannot be true: {name} is {whole}, but holds {within}{more}.")
    return rest


def said_once(what: str, said: Mapping[str, int]) -> int:
    """A count that stands under several names, which must not contradict each other; 0 where nothing is said."""
    counts = {name: value for name, value in said.items() if value}
    if len(set(counts.values())) > 1:
        contradict(what, counts)
    return max(counts.values(), default=0)


def contradict(what: str, said: Mapping[str, object]) -> None:
    shown = ", ".join(f"{name} {value}" for name, value in said.items())
    raise UsageError(f"The usage cannot be true: its counts of {what} contradict each other ({shown}).")


def reasoning_is_beside(fields: Fields, total: str, names: set[str], reasoning: int, *, usually: bool) -> bool:
    """Whether reasoning tokens are counted beside the other parts; an error if the total can be made up neither way.

    Not all servers that speak a form count them in the same place, so the total decides where there is one.
    """
    if fields.get(total) is None:
        return usually
    said = count(fields, total)
    rest = sum(count(fields, name) for name in names)
    if said == rest + reasoning:
        return True
    if said == rest:
        return False
    shown = ", ".join(f"{name} {count(fields, name)}" for name in sorted(names))
    raise UsageError(
        f"The usage cannot be true: {total} is {said}, but its parts are {shown} and {reasoning} for reasoning."
    )


def cache_writes(fields: Fields, whole: str, by_life: Mapping[str, int]) -> tuple[int, int]:
    """Tokens written to the cache for the short and for the long life, of which `by_life` names both, in this order."""
    (_short_name, short), (long_name, long) = by_life.items()
    if fields.get(whole) is not None:
        # Without the breakdown the tokens are those of the default life, the short one.
        short = without(whole, count(fields, whole), {long_name: long}, at_least=short)
    return short, long


def input_buckets(
    name: str,
    whole: int,
    *,
    cached: Mapping[str, int],
    written: Mapping[str, int] | None = None,
    audio: int = 0,
    image: int = 0,
    cached_audio: int | None = None,
    cached_image: int | None = None,
) -> TokenBuckets:
    """The buckets of a prompt whose count holds all its tokens, written to the cache for 5 minutes or as `written` says.

    Args:
        name: what the whole count is called.
        cached: name and count of the tokens read from the cache.
        written: names and counts of those written to it for 5 minutes and, second, for 1 hour.
        audio, image: tokens of the prompt that are audio or images, cached ones among them.
        cached_audio, cached_image: those of them that were read from the cache; None where the usage does not say.

    Raises:
        UsageError: the parts are more than the whole, or the audio among the cached tokens, which have another price, is not known.
    """
    read, written_tokens = sum(cached.values()), sum((written or {}).values())
    if audio and audio == whole and cached_audio is None:
        cached_audio = read
    if audio and ((read and cached_audio is None) or (written_tokens and audio > (cached_audio or 0))):
        raise UsageError(
            f"The usage does not say how many of its {read + written_tokens} cached tokens are audio, which has another price: "
            "give the counts as TokenBuckets."
        )
    if image and ((read and cached_image is None) or written_tokens):
        # Where a form does not tell, images cost as much as text.
        image = cached_image or 0
    audio_read, image_read = cached_audio or 0, cached_image or 0
    fresh_audio = without("audio_tokens", audio, {"cached audio_tokens": audio_read})
    fresh_image = without("image_tokens", image, {"cached image_tokens": image_read})
    apart = {"audio_tokens": fresh_audio, "image_tokens": fresh_image}
    short, long = [*(written or {}).values(), 0, 0][:2]
    return TokenBuckets(
        input_tokens=without(
            name, whole, {**cached, **(written or {}), **{key: value for key, value in apart.items() if value}}
        ),
        cache_read_tokens=without(
            next(iter(cached)), read, {"cached audio_tokens": audio_read, "cached image_tokens": image_read}
        ),
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        audio_input_tokens=fresh_audio,
        audio_cache_read_tokens=audio_read,
        image_input_tokens=fresh_image,
        image_cache_read_tokens=image_read,
    )


def output_buckets(
    name: str, whole: int, *, reasoning: Mapping[str, int], beside: bool = False, audio: int = 0, image: int = 0
) -> TokenBuckets:
    """The buckets of an answer whose count holds all its tokens, except those of reasoning where they are beside it."""
    inner = {} if beside else dict(reasoning)
    inner.update((key, value) for key, value in {"audio_tokens": audio, "image_tokens": image}.items() if value)
    return TokenBuckets(
        output_tokens=without(name, whole, inner),
        reasoning_tokens=sum(reasoning.values()),
        audio_output_tokens=audio,
        image_output_tokens=image,
    )


def refuse_unknown(fields: Fields, known: Keys, form: str, path: str = "") -> None:
    """An error for the first key that the form does not know and that holds a count above 0, at any depth.

    Tokens that are not understood would be counted in a bucket with another price, or in none.
    """
    for name, value in fields.items():
        inner = known.get(name, WHOLE)
        if value is None or (name in known and (inner is None or inner is WHOLE)):
            continue
        if name in known:
            for item in value if isinstance(value, (list, tuple)) else (value,):
                refuse_unknown(fields_of(item, name), inner, form, f"{path}{name}.")
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
        for item in value:
            yield from _counts_in(path, name, item, depth + 1)
    elif isinstance(value, Mapping) or hasattr(value, "model_dump") or hasattr(value, "__dict__"):
        for key, item in fields_of(value, name).items():
            yield from _counts_in(f"{path}.{key}", key, item, depth + 1)
    elif (of_tokens or hasattr(value, "__index__")) and not _OTHER_UNIT.search(name):
        try:
            above = value > 0
        except TypeError:
            return
        if above:
            yield path, value


def attribute(value: Any, name: str) -> Any:
    """What a dict or an object has under a name, of a dict also in camel case; None where it has nothing."""
    if not isinstance(value, Mapping):
        return getattr(value, name, None)
    found = value.get(name)
    return value.get(_camel_case(name)) if found is None else found


@functools.lru_cache(maxsize=1024)
def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
