# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of calls of language models: request, response, tokens and what they cost, written together.

The server computes the cost, when the row is written and from the price valid at the time of the request; nothing here
knows a price. See docs/ledger.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args
from uuid import UUID

from ..errors import MissionControlError
from ..models.base import Model, column_names, parameter, row_maker
from ..models.enums import BillingMode, BodyStorage, CostSource
from ..models.llm import LlmRequest, LlmResponse, TokenUsage
from .buckets import ReportedUsage, TokenBuckets
from .content import json_object, stored_json, stored_text
from .usage import read_usage

if TYPE_CHECKING:
    from ..database.executor import Executor, Reader

M = TypeVar("M", bound=Model)


class LedgerError(MissionControlError, ValueError):
    """A call cannot be recorded as it was given; the message says why."""


@dataclass(frozen=True)
class LlmCall:
    """A call as it is stored.

    Attributes:
        newly_recorded: False if it had been recorded before; it then counts once all the same.
        further_usage: what other models used for it, such as an advisor, in rows of their own.
    """

    request: LlmRequest
    response: LlmResponse | None
    usage: TokenUsage | None
    newly_recorded: bool
    further_usage: tuple[TokenUsage, ...] = ()

    @property
    def cost_usd(self) -> Decimal | None:
        """The frozen cost, with that of further usage; None if a model had no price, or the call no usage."""
        if self.usage is None:
            return None
        total = Decimal(0)
        for row in (self.usage, *self.further_usage):
            if row.estimated_cost_usd is None:
                return None
            total += row.estimated_cost_usd
        return total


def record_llm_call(
    executor: Reader,
    *,
    provider: str,
    model: str,
    usage: Any = None,
    messages: Any = None,
    parameters: Mapping[str, Any] | None = None,
    content: str | None = None,
    finish_reason: str | None = None,
    error: str | None = None,
    raw: Any = None,
    latency_ms: float | None = None,
    occurred_at: datetime | None = None,
    task_run_id: UUID | str | None = None,
    billing_mode: BillingMode | None = None,
    cost_source: CostSource | None = None,
    cost_usd: Decimal | int | str | None = None,
    project: str | None = None,
    agent: str | None = None,
    source: str = "mission-control",
    external_id: str | None = None,
    body_storage: BodyStorage | None = None,
) -> LlmCall:
    """Record a call of a language model, all of it or nothing, and return what is stored with its frozen cost.

    usage: what the provider reported, or its whole response, which may say in which tier it was served, or TokenBuckets; without it
        nothing is counted (a call that failed). What other models used for the request gets rows of its own.
    messages, content, raw: prompt and reply, stored as body_storage says, else as the client's setting, else truncated.
    parameters: temperature and the like; they are always stored, so no bodies in them.
    occurred_at: when the request was sent; else now less latency_ms. Its price is the one valid then.
    billing_mode: else what usage or response report, else "standard".
    cost_source: "subscription" or "local" for use that is not paid by the token. cost_usd: what the provider says it cost, in all.
    source, external_id: recording the same pair again changes nothing and returns what was stored the first time.
    """
    bodies = str(body_storage or getattr(executor, "llm_bodies", "truncated"))
    if bodies not in get_args(BodyStorage):
        raise LedgerError(f"Bodies are stored as one of {', '.join(get_args(BodyStorage))}, not {bodies!r}.")
    reported = None if usage is None else read_usage(usage, provider, billing_mode)
    values = {
        "provider": provider,
        "model": model,
        "messages": parameter(stored_json(messages, bodies), json=True),
        "parameters": parameter(json_object(parameters or {}), json=True),
        "body_storage": bodies,
        "content": stored_text(content, bodies),
        "finish_reason": finish_reason,
        # Why it failed is no body, but may quote one.
        "error": stored_text(error, "full" if bodies == "full" else "truncated"),
        "raw": parameter(stored_json(raw, bodies), json=True),
        "latency_ms": None if latency_ms is None else round(latency_ms),
        "occurred_at": parameter(occurred_at),
        "task_run_id": parameter(task_run_id),
        "billing_mode": reported.billing_mode if reported else billing_mode or "standard",
        "project": project,
        "agent": agent,
        "source": source,
        "external_id": external_id,
        "has_usage": reported is not None,
        "billed_as": reported.model if reported else None,
        **asdict(reported.buckets if reported else TokenBuckets()),
        **_cost(cost_source, cost_usd, reported),
    }
    further = _further(reported, external_id) if reported else []
    if further:
        values["further"] = parameter(further, json=True)
    row = executor.query_one(_RECORD_WITH_FURTHER if further else _RECORD, values)
    recorded = row is not None and (row[_USAGE.id] is not None or reported is None)
    # Else the pair is there: the request, or usage that was imported without one.
    stored = row if recorded else executor.query_one(_STORED, {"source": source, "external_id": external_id})
    if stored is None:
        raise LedgerError(f"The call {external_id} of {source} was neither recorded nor found.")
    call = _call(stored, newly_recorded=row is not None)
    if recorded and not further:
        return call
    names = [each["external_id"] for each in further if each["external_id"]]
    found = executor.query_many(
        _FURTHER,
        {"request": call.request.id, "usage": call.usage.id if call.usage else 0, "source": source, "names": names},
    )
    return dataclasses.replace(call, further_usage=tuple(each for row in found if (each := _USAGE.read(row))))


def fill_unpriced_usage(executor: Executor) -> int:
    """Compute the cost of usage whose model had no price when it was written and has one now, valid at its time.

    Returns how many rows got a cost; no other row is touched.
    """
    row = executor.query_one("SELECT fill_unpriced_token_usage() AS filled")
    return 0 if row is None else int(row["filled"])


def _further(reported: ReportedUsage, external_id: str | None) -> list[dict[str, Any]]:
    """Usage of other models as rows; without an external id where the call has none."""
    return [
        {
            "model": each.model,
            "billing_mode": each.billing_mode,
            "external_id": None if external_id is None else name,
            **asdict(each.buckets),
        }
        for name, each in reported.further_by_name(external_id or "").items()
    ]


def _cost(source: str | None, cost_usd: Decimal | int | str | None, reported: ReportedUsage | None) -> dict[str, Any]:
    if cost_usd is None:
        if source == "provider":
            raise LedgerError("The cost source provider needs cost_usd, the cost that the provider says.")
        if source not in (None, "computed", "local", "subscription"):
            raise LedgerError(
                f"The cost source of a call is computed, local, subscription or provider, not {source!r}."
            )
        return {"cost_source": source or "computed", "cost_usd": None}
    if source not in (None, "provider"):
        raise LedgerError(
            f"The cost is {source}, but cost_usd is given: only what the provider says is taken as it is."
        )
    if reported is None:
        raise LedgerError(
            "A cost without usage cannot be recorded: give usage, TokenBuckets() if the counts are not known."
        )
    if isinstance(cost_usd, (float, bool)):
        raise LedgerError("cost_usd must be a Decimal, an int or a text: a binary floating point number is not exact.")
    try:
        cost = Decimal(cost_usd)
    except InvalidOperation:
        cost = Decimal("NaN")
    if not (cost.is_finite() and 0 <= cost < 100_000_000):
        raise LedgerError(f"cost_usd must be an amount of USD from 0 to below 100,000,000, not {cost_usd}.")
    return {"cost_source": "provider", "cost_usd": cost}


def _call(row: Mapping[str, Any], newly_recorded: bool) -> LlmCall:
    request = _REQUEST.read(row)
    if request is None:
        raise LedgerError("The ledger returned a call without its request.")
    return LlmCall(request, _RESPONSE.read(row), _USAGE.read(row), newly_recorded)


class _Part(Generic[M]):
    """One of the three rows of a call, in a result that holds all of them side by side."""

    def __init__(self, alias: str, name: str, model: type[M]) -> None:
        columns = column_names(model)
        self._names = [f"{name}.{column}" for column in columns]
        self._make = row_maker(model, columns)
        self.id = f"{name}.id"
        self.select = ", ".join(f'{alias}."{column}" AS "{name}.{column}"' for column in columns)

    def read(self, row: Mapping[str, Any]) -> M | None:
        return None if row[self.id] is None else self._make([row[name] for name in self._names])


_REQUEST = _Part("r", "request", LlmRequest)
_RESPONSE = _Part("s", "response", LlmResponse)
_USAGE = _Part("u", "usage", TokenUsage)
_ALL_COLUMNS = f"{_REQUEST.select}, {_RESPONSE.select}, {_USAGE.select}"
_BUCKETS = [field.name for field in dataclasses.fields(TokenBuckets)]
# One statement: one round trip, and all or nothing also outside of a transaction. ON CONFLICT names no target, because a
# partitioned token_usage could not have this one.
_INSERT = f"""
WITH r AS (
    INSERT INTO llm_requests (
        task_run_id, provider, model, messages, parameters, body_storage, source, external_id, occurred_at
    )
    VALUES (
        %(task_run_id)s, %(provider)s, %(model)s, %(messages)s, %(parameters)s, %(body_storage)s, %(source)s, %(external_id)s,
        coalesce(
            %(occurred_at)s::timestamptz,
            statement_timestamp() - coalesce(%(latency_ms)s::bigint, 0) * interval '1 millisecond'
        )
    )
    ON CONFLICT DO NOTHING
    RETURNING *
),
s AS (
    INSERT INTO llm_responses (request_id, content, finish_reason, latency_ms, error, raw, occurred_at)
    SELECT
        r.id, %(content)s, %(finish_reason)s, %(latency_ms)s::bigint, %(error)s, %(raw)s::jsonb,
        r.occurred_at + coalesce(%(latency_ms)s::bigint, 0) * interval '1 millisecond'
    FROM r
    RETURNING *
),
u AS (
    INSERT INTO token_usage (
        request_id, task_run_id, provider, model, billing_mode, {", ".join(_BUCKETS)}, estimated_cost_usd, cost_source, project,
        agent, source, external_id, occurred_at
    )
    SELECT
        r.id, r.task_run_id, r.provider, coalesce(%(billed_as)s, r.model), %(billing_mode)s,
        {", ".join(f"%({name})s" for name in _BUCKETS)}, %(cost_usd)s::numeric, %(cost_source)s, %(project)s, %(agent)s, r.source,
        r.external_id, r.occurred_at
    FROM r
    WHERE %(has_usage)s
    ON CONFLICT DO NOTHING
    RETURNING *
)
"""  # noqa: S608 - the columns are those of the models
# What a provider says that a call cost is the cost of all its usage, so that further usage costs nothing more.
_INSERT_FURTHER = f"""
, f AS (
    INSERT INTO token_usage (
        request_id, task_run_id, provider, model, billing_mode, {", ".join(_BUCKETS)}, estimated_cost_usd, cost_source, project,
        agent, source, external_id, occurred_at
    )
    SELECT
        r.id, r.task_run_id, r.provider, g.model, g.billing_mode, {", ".join(f"g.{name}" for name in _BUCKETS)},
        %(cost_usd)s::numeric * 0, %(cost_source)s, %(project)s, %(agent)s, r.source, g.external_id, r.occurred_at
    FROM r
    CROSS JOIN jsonb_to_recordset(%(further)s::jsonb) AS g(
        model text, billing_mode text, external_id text, {", ".join(f"{name} bigint" for name in _BUCKETS)}
    )
    ON CONFLICT DO NOTHING
)
"""  # noqa: S608 - and these
_RETURN = f"SELECT {_ALL_COLUMNS} FROM r JOIN s ON true LEFT JOIN u ON true"  # noqa: S608
_RECORD = _INSERT + _RETURN
_RECORD_WITH_FURTHER = _INSERT + _INSERT_FURTHER + _RETURN
_STORED = f"""
SELECT {_ALL_COLUMNS}
FROM llm_requests AS r
LEFT JOIN llm_responses AS s ON s.request_id = r.id
LEFT JOIN token_usage AS u ON u.source = r.source AND u.external_id = r.external_id
WHERE r.source = %(source)s AND r.external_id = %(external_id)s
"""  # noqa: S608
_FURTHER = f"""
SELECT {_USAGE.select}
FROM token_usage AS u
WHERE
    (u.request_id = %(request)s OR (u.source = %(source)s AND u.external_id = ANY(%(names)s::text[])))
    AND u.id <> %(usage)s
ORDER BY u.id
"""  # noqa: S608 - and these
