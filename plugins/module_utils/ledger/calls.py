# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of calls of language models: request, response, tokens and what they cost, written together.

The server computes the cost, when the row is written and from the price valid at the time of the request; nothing here
knows a price. See docs/ledger.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args
from uuid import UUID

from ..errors import MissionControlError
from ..models.base import Model, column_names, parameter, row_maker
from ..models.enums import BillingMode, BodyStorage, CostSource
from ..models.llm import LlmRequest, LlmResponse, TokenUsage
from .content import json_object, stored_json, stored_text
from .usage import TokenBuckets, normalise_usage, reported_billing_mode

if TYPE_CHECKING:
    from ..database.executor import Executor

M = TypeVar("M", bound=Model)


class LedgerError(MissionControlError, ValueError):
    """A call cannot be recorded as it was given; the message says why."""


@dataclass(frozen=True)
class LlmCall:
    """A call as it is stored. `newly_recorded` is False if it had been recorded before; it then counts once all the same."""

    request: LlmRequest
    response: LlmResponse | None
    usage: TokenUsage | None
    newly_recorded: bool

    @property
    def cost_usd(self) -> Decimal | None:
        """The frozen cost; None if the model had no price, or the call no usage."""
        return self.usage.estimated_cost_usd if self.usage else None


def record_llm_call(
    executor: Executor,
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

    usage: what the provider reported, or TokenBuckets; without it nothing is counted (a call that failed).
    messages, content, raw: prompt and reply, stored as body_storage says, else as the client's setting, else truncated.
    parameters: temperature and the like; they are always stored, so no bodies in them.
    occurred_at: when the request was sent; else now less latency_ms. Its price is the one valid then.
    billing_mode: else what the usage reports, else "standard".
    cost_source: "subscription" or "local" for use that is not paid by the token. cost_usd: what the provider says it cost.
    source, external_id: recording the same pair again changes nothing and returns what was stored the first time.
    """
    bodies = str(body_storage or getattr(executor, "llm_bodies", "truncated"))
    if bodies not in get_args(BodyStorage):
        raise LedgerError(f"Bodies are stored as one of {', '.join(get_args(BodyStorage))}, not {bodies!r}.")
    buckets = None if usage is None else normalise_usage(usage, provider)
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
        "billing_mode": billing_mode or reported_billing_mode(usage),
        "project": project,
        "agent": agent,
        "source": source,
        "external_id": external_id,
        "has_usage": buckets is not None,
        **dict(zip(_BUCKETS, astuple(buckets or TokenBuckets()))),
        **_cost(cost_source, cost_usd, buckets),
    }
    row = executor.query_one(_RECORD, values)
    if row is not None and (row[_USAGE.id] is not None or buckets is None):
        return _call(row, newly_recorded=True)
    # The pair is there: the request, or usage that was imported without one.
    newly_recorded = row is not None
    row = executor.query_one(_STORED, {"source": source, "external_id": external_id})
    if row is None:
        raise LedgerError(f"The call {external_id} of {source} was neither recorded nor found.")
    return _call(row, newly_recorded)


def fill_unpriced_usage(executor: Executor) -> int:
    """Compute the cost of usage whose model had no price when it was written and has one now, valid at its time.

    Returns how many rows got a cost; no other row is touched.
    """
    row = executor.query_one("SELECT fill_unpriced_token_usage() AS filled")
    return 0 if row is None else int(row["filled"])


def _cost(source: str | None, cost_usd: Decimal | int | str | None, buckets: TokenBuckets | None) -> dict[str, Any]:
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
    if buckets is None:
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
_BUCKETS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)
# One statement: one round trip, and all or nothing also outside of a transaction. ON CONFLICT names no target, because a
# partitioned token_usage could not have this one.
_RECORD = f"""
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
        request_id, task_run_id, provider, model, billing_mode, input_tokens, output_tokens, cache_read_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, estimated_cost_usd, cost_source, project, agent,
        source, external_id, occurred_at
    )
    SELECT
        r.id, r.task_run_id, r.provider, r.model, %(billing_mode)s, %(input_tokens)s, %(output_tokens)s,
        %(cache_read_tokens)s, %(cache_write_5m_tokens)s, %(cache_write_1h_tokens)s, %(reasoning_tokens)s,
        %(cost_usd)s::numeric, %(cost_source)s, %(project)s, %(agent)s, r.source, r.external_id, r.occurred_at
    FROM r
    WHERE %(has_usage)s
    ON CONFLICT DO NOTHING
    RETURNING *
)
SELECT {_ALL_COLUMNS} FROM r JOIN s ON true LEFT JOIN u ON true
"""  # noqa: S608 - the columns are those of the models
_STORED = f"""
SELECT {_ALL_COLUMNS}
FROM llm_requests AS r
LEFT JOIN llm_responses AS s ON s.request_id = r.id
LEFT JOIN token_usage AS u ON u.source = r.source AND u.external_id = r.external_id
WHERE r.source = %(source)s AND r.external_id = %(external_id)s
"""  # noqa: S608 - so are these
