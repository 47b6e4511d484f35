# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disjoint buckets of tokens: what every form of usage is read into."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass

from ..errors import MissionControlError
from ..models.enums import BillingMode

# More than this in one request is a mistake, and keeps all sums and costs within their columns.
MOST_TOKENS = 1_000_000_000_000


class UsageError(MissionControlError, ValueError):
    """Usage that cannot be true, or whose price cannot be told; the message says why."""


@dataclass(frozen=True)
class TokenBuckets:
    """Tokens of one request in the disjoint buckets of the table token_usage: each token is in exactly one of them.

    Where a provider does not count audio and images apart, their tokens are in the buckets without such a word.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_cache_read_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_cache_read_tokens: int = 0
    image_output_tokens: int = 0

    def __post_init__(self) -> None:
        for name, value in tuple(vars(self).items()):
            # The first is what is right nearly always, and imports make millions of these.
            if value.__class__ is not int or not 0 <= value <= MOST_TOKENS:
                object.__setattr__(self, name, token_count(name, value))

    def __add__(self, other: TokenBuckets) -> TokenBuckets:
        return TokenBuckets(*map(operator.add, vars(self).values(), vars(other).values()))

    @property
    def total_input(self) -> int:
        """All tokens of the prompt, cached ones too: what price tiers look at."""
        return self.total - self.total_output

    @property
    def total_output(self) -> int:
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens + self.image_output_tokens

    @property
    def total(self) -> int:
        return sum(vars(self).values())


@dataclass(frozen=True)
class FurtherUsage:
    """What a request used of another model, at whose price it is billed.

    Attributes:
        kind: what that model did: "advisor", "declined" (an answer that it began and then refused), "image" or "svg".
    """

    kind: str
    model: str
    buckets: TokenBuckets
    billing_mode: BillingMode = "standard"


@dataclass(frozen=True)
class ReportedUsage:
    """Usage as a provider reported it, understood.

    Attributes:
        model: the model that it is billed as, where the usage says so (another one answered than was asked), else None.
        further: what other models used for the same request; it is not in the buckets.
    """

    buckets: TokenBuckets
    billing_mode: BillingMode = "standard"
    further: tuple[FurtherUsage, ...] = ()
    model: str | None = None

    def further_by_name(self, external_id: str) -> dict[str, FurtherUsage]:
        """What other models used, by the external ids of its rows: below that of the call, and the same whoever records the call."""
        numbers: Counter[str] = Counter()
        named = {}
        for each in self.further:
            numbers[each.kind] += 1
            named[f"{external_id}/{each.kind}-{numbers[each.kind]}"] = each
        return named


def token_count(name: str, value: object) -> int:
    """The value as a number of tokens, 0 for None; an error that names it for anything that is none."""
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        # Servers that know but one kind of number write 12.0.
        value = int(value)
    try:
        count = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = -1
    if not 0 <= count <= MOST_TOKENS:
        raise UsageError(
            f"The usage cannot be true: {name} is {value!r}, not a number of tokens from 0 to {MOST_TOKENS}."
        )
    return count
