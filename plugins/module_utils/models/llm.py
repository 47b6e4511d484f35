# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of prices, requests to language models, their responses, and what they used and cost.

`ledger.record_llm_call` writes request, response and usage together; the inputs here are for importers and tests.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Optional
from uuid import UUID

from .base import NOT_GIVEN, Create, Given, Model
from .enums import BillingMode, BodyStorage, CostSource, JsonObject, JsonValue, PriceOrigin, ProviderName

__all__ = [
    "CreateLlmRequest",
    "CreateLlmResponse",
    "CreateProviderPrice",
    "CreateTokenUsage",
    "LlmRequest",
    "LlmResponse",
    "ProviderPrice",
    "TokenUsage",
]


@dataclass(frozen=True)
class ProviderPrice(Model):
    """A price in USD per 1,000,000 tokens, valid for a period. None for a bucket: billed like the more general one."""

    __table__: ClassVar[str] = "provider_pricing"
    id: UUID
    provider: ProviderName
    model: str
    billing_mode: BillingMode
    above_input_tokens: int
    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cache_read_usd_per_mtok: Optional[Decimal]
    cache_write_5m_usd_per_mtok: Optional[Decimal]
    cache_write_1h_usd_per_mtok: Optional[Decimal]
    reasoning_usd_per_mtok: Optional[Decimal]
    is_local: bool
    valid_from: datetime
    valid_to: Optional[datetime]
    origin: PriceOrigin
    source: str
    created_at: datetime


@dataclass(frozen=True)
class CreateProviderPrice(Create[ProviderPrice]):
    """Input for a price of the user. A period that overlaps another of the same model, mode and tier is refused."""

    provider: ProviderName
    model: str
    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    billing_mode: Given[BillingMode] = NOT_GIVEN
    above_input_tokens: Given[int] = NOT_GIVEN
    cache_read_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    cache_write_5m_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    cache_write_1h_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    reasoning_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    is_local: Given[bool] = NOT_GIVEN
    valid_from: Given[datetime] = NOT_GIVEN
    valid_to: Given[Optional[datetime]] = NOT_GIVEN
    source: Given[str] = NOT_GIVEN


@dataclass(frozen=True)
class LlmRequest(Model):
    """A request to a language model."""

    __table__: ClassVar[str] = "llm_requests"
    id: UUID
    task_run_id: Optional[UUID]
    provider: ProviderName
    model: str
    messages: Optional[JsonValue]
    parameters: JsonObject
    body_storage: BodyStorage
    bodies_pruned_at: Optional[datetime]
    source: str
    external_id: Optional[str]
    occurred_at: datetime
    recorded_at: datetime


@dataclass(frozen=True)
class CreateLlmRequest(Create[LlmRequest]):
    """Input for a request."""

    provider: ProviderName
    model: str
    task_run_id: Given[Optional[UUID]] = NOT_GIVEN
    messages: Given[Optional[JsonValue]] = NOT_GIVEN
    parameters: Given[JsonObject] = NOT_GIVEN
    body_storage: Given[BodyStorage] = NOT_GIVEN
    source: Given[str] = NOT_GIVEN
    external_id: Given[Optional[str]] = NOT_GIVEN
    occurred_at: Given[datetime] = NOT_GIVEN


@dataclass(frozen=True)
class LlmResponse(Model):
    """The response to a request; at most one."""

    __table__: ClassVar[str] = "llm_responses"
    id: UUID
    request_id: UUID
    content: Optional[str]
    finish_reason: Optional[str]
    latency_ms: Optional[int]
    error: Optional[str]
    raw: Optional[JsonValue]
    bodies_pruned_at: Optional[datetime]
    occurred_at: datetime
    recorded_at: datetime


@dataclass(frozen=True)
class CreateLlmResponse(Create[LlmResponse]):
    """Input for a response."""

    request_id: UUID
    content: Given[Optional[str]] = NOT_GIVEN
    finish_reason: Given[Optional[str]] = NOT_GIVEN
    latency_ms: Given[Optional[int]] = NOT_GIVEN
    error: Given[Optional[str]] = NOT_GIVEN
    raw: Given[Optional[JsonValue]] = NOT_GIVEN
    occurred_at: Given[datetime] = NOT_GIVEN


@dataclass(frozen=True)
class TokenUsage(Model):
    """Tokens in disjoint buckets, and what they cost, frozen when the row was written."""

    __table__: ClassVar[str] = "token_usage"
    id: int
    request_id: Optional[UUID]
    task_run_id: Optional[UUID]
    provider: ProviderName
    model: str
    billing_mode: BillingMode
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    estimated_cost_usd: Optional[Decimal]
    cost_source: CostSource
    price_id: Optional[UUID]
    subscription_value_usd: Optional[Decimal]
    project: Optional[str]
    agent: Optional[str]
    source: str
    external_id: Optional[str]
    occurred_at: datetime
    recorded_at: datetime


@dataclass(frozen=True)
class CreateTokenUsage(Create[TokenUsage]):
    """Input for usage, such as an import without a request. A cost may be given only with cost_source "provider"."""

    provider: ProviderName
    model: str
    request_id: Given[Optional[UUID]] = NOT_GIVEN
    task_run_id: Given[Optional[UUID]] = NOT_GIVEN
    billing_mode: Given[BillingMode] = NOT_GIVEN
    input_tokens: Given[int] = NOT_GIVEN
    output_tokens: Given[int] = NOT_GIVEN
    cache_read_tokens: Given[int] = NOT_GIVEN
    cache_write_5m_tokens: Given[int] = NOT_GIVEN
    cache_write_1h_tokens: Given[int] = NOT_GIVEN
    reasoning_tokens: Given[int] = NOT_GIVEN
    estimated_cost_usd: Given[Optional[Decimal]] = NOT_GIVEN
    cost_source: Given[CostSource] = NOT_GIVEN
    project: Given[Optional[str]] = NOT_GIVEN
    agent: Given[Optional[str]] = NOT_GIVEN
    source: Given[str] = NOT_GIVEN
    external_id: Given[Optional[str]] = NOT_GIVEN
    occurred_at: Given[datetime] = NOT_GIVEN
