# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls in JSON lines: the form for whatever else counts tokens, and that of the exporter's spool. See docs/import.md."""

from __future__ import annotations

import dataclasses
import os
import uuid
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, get_args

from ...models.enums import BillingMode, CostSource
from ..buckets import ReportedUsage, TokenBuckets, UsageError
from ..call_spool import DEFAULT_DIRECTORY, SPOOL_VARIABLE
from ..usage import read_usage
from .calls import (
    LONGEST_SOURCE,
    Bodies,
    ImportedCall,
    ImportOptions,
    LineError,
    Refusal,
    identifier,
    label,
    model_name,
    moment,
    parse_object,
    provider_name,
)
from .summaries import SummaryError, refuse_summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Union

    from .files import Place, SourceFile

    Item = Union[ImportedCall, Refusal]

ENDINGS = (".jsonl", ".ndjson")
VERSION = 1
KEYS = (
    "v",
    "source",
    "id",
    "at",
    "provider",
    "model",
    "usage",
    "buckets",
    "billing_mode",
    "cost_source",
    "cost_usd",
    "project",
    "agent",
    "task_run_id",
    "latency_ms",
    "finish_reason",
    "error",
    "messages",
    "content",
)
_COST_SOURCES = tuple(source for source in get_args(CostSource) if source != "unpriced")
_LONGEST_LATENCY = 2**31 - 1
_LONGEST_COST = 40
_SMALLEST_COST = Decimal("1e-12")


def default_paths() -> list[str]:
    """The spool of the exporter of spans."""
    return [os.environ.get(SPOOL_VARIABLE) or DEFAULT_DIRECTORY]


class Reader:
    """Reads the calls of a file; attributes as those of claude_code.Reader."""

    def __init__(
        self, file: SourceFile, place: Place, _state: dict[str, Any], options: ImportOptions, _whole: bool
    ) -> None:
        self.state: dict[str, Any] = {}
        self.held_back = 0
        self._file = file
        self._start = place
        self._options = options

    @property
    def place(self) -> Place:
        return self._file.end

    def __iter__(self) -> Iterator[Sequence[Item]]:
        for line in self._file.lines(self._start):
            if line.text is None:
                yield [Refusal(line.number, "It is too long to be read.")]
            elif line.text.strip():
                try:
                    yield self._calls(parse_object(line.text))
                except SummaryError:
                    raise
                except (LineError, UsageError) as error:
                    yield [Refusal(line.number, str(error))]

    def _calls(self, told: dict[str, Any]) -> Sequence[Item]:
        refuse_summary(told)
        unknown = [name for name in told if name not in KEYS]
        if unknown:
            raise LineError(f"It has the key {unknown[0]!r}, which the form does not know.")
        if told.get("v") != VERSION or isinstance(told["v"], bool):
            raise LineError(f'Its version is not {VERSION}: it needs "v": {VERSION}.')
        options = self._options
        provider = provider_name(told.get("provider"))
        mode = told.get("billing_mode")
        if mode is not None and mode not in get_args(BillingMode):
            raise LineError(f"Its billing_mode is not one of {', '.join(get_args(BillingMode))}.")
        usage = _usage(told, provider, mode)
        source = told.get("source")
        cost_source, cost_usd = self._cost(told, usage)
        if source is not None:
            options = dataclasses.replace(options, source=identifier(source, "source", LONGEST_SOURCE))
        call, *further = options.calls(
            identifier(told.get("id"), "id"),
            moment(told.get("at")),
            provider,
            model_name(told.get("model")),
            usage or ReportedUsage(TokenBuckets()),
            project=label(told.get("project")),
            agent=label(told.get("agent")),
            billing_mode=mode,
            cost_source=cost_source,
            cost_usd=cost_usd,
            task_run_id=_task_run(told.get("task_run_id")),
            bodies=_bodies(told) if options.bodies != "none" else None,
        )
        return [call if usage is not None else call._replace(buckets=None), *further]

    def _cost(self, told: dict[str, Any], usage: ReportedUsage | None) -> tuple[CostSource, Decimal | None]:
        source, cost = told.get("cost_source"), told.get("cost_usd")
        if cost is None:
            if source == "provider":
                raise LineError("Its cost_source provider needs cost_usd, what the provider says.")
            if source is not None and source not in _COST_SOURCES:
                raise LineError(f"Its cost_source is not one of {', '.join(_COST_SOURCES)}.")
            return source or self._options.cost_source, None
        if source not in (None, "provider"):
            raise LineError("It has cost_usd, but its cost_source is another than provider.")
        if usage is None:
            raise LineError('It has a cost without usage: give "buckets": {} if the counts are not known.')
        try:
            amount = Decimal(cost if isinstance(cost, str) and len(cost) <= _LONGEST_COST else "NaN")
        except InvalidOperation:
            amount = Decimal("NaN")
        if not (amount.is_finite() and 0 <= amount < 100_000_000):
            raise LineError('Its cost_usd is not an amount of USD as a text, such as "0.0125".')
        return "provider", amount.quantize(_SMALLEST_COST)


def _usage(told: dict[str, Any], provider: str, mode: BillingMode | None) -> ReportedUsage | None:
    usage, buckets = told.get("usage"), told.get("buckets")
    if usage is not None and buckets is not None:
        raise LineError("It has both usage and buckets: give one of them.")
    if buckets is None:
        return None if usage is None else read_usage(usage, provider, mode)
    if not isinstance(buckets, dict):
        raise LineError("Its buckets are no object.")
    names = [field.name for field in dataclasses.fields(TokenBuckets)]
    unknown = [name for name in buckets if name not in names]
    if unknown:
        raise LineError(f"Its buckets have the key {unknown[0]!r}; there are {', '.join(names)}.")
    return ReportedUsage(TokenBuckets(**buckets))


def _task_run(value: object) -> str | None:
    if value is None:
        return None
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise LineError("Its task_run_id is no UUID.") from None


def _bodies(told: dict[str, Any]) -> Bodies:
    latency = told.get("latency_ms")
    if latency is not None and (
        isinstance(latency, bool) or not isinstance(latency, (int, float)) or not 0 <= latency <= _LONGEST_LATENCY
    ):
        raise LineError("Its latency_ms is not a number of milliseconds.")
    for name in ("content", "finish_reason", "error"):
        if not isinstance(told.get(name), (str, type(None))):
            raise LineError(f"Its {name} is no text.")
    return Bodies(
        told.get("messages"),
        told.get("content"),
        label(told.get("finish_reason")),
        told.get("error"),
        None if latency is None else round(latency),
    )
