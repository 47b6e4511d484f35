# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of prices, requests to language models, their responses, and what they used and cost.

`ledger.record_llm_call` writes request, response and usage together; the inputs here are for importers and tests.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar, Optional
from uuid import UUID

from .base import NOT_GIVEN, Create, Given, Model
from .enums import BillingMode, BodyStorage, BudgetOrigin, CostSource, JsonObject, JsonValue, PriceOrigin, ProviderName

__all__ = [
    "CreateLlmBudget",
    "CreateLlmRequest",
    "CreateLlmResponse",
    "CreateProviderPrice",
    "CreateTokenUsage",
    "CreateUsageImportFile",
    "LlmBudget",
    "LlmRequest",
    "LlmResponse",
    "PriceList",
    "ProviderPrice",
    "TokenUsage",
    "UsageImportFile",
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
    audio_input_usd_per_mtok: Optional[Decimal]
    audio_cache_read_usd_per_mtok: Optional[Decimal]
    audio_output_usd_per_mtok: Optional[Decimal]
    image_input_usd_per_mtok: Optional[Decimal]
    image_cache_read_usd_per_mtok: Optional[Decimal]
    image_output_usd_per_mtok: Optional[Decimal]
    dated: bool


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
    audio_input_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    audio_cache_read_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    audio_output_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    image_input_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    image_cache_read_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    image_output_usd_per_mtok: Given[Optional[Decimal]] = NOT_GIVEN
    dated: Given[bool] = NOT_GIVEN


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
    audio_input_tokens: int
    audio_cache_read_tokens: int
    audio_output_tokens: int
    image_input_tokens: int
    image_cache_read_tokens: int
    image_output_tokens: int


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
    audio_input_tokens: Given[int] = NOT_GIVEN
    audio_cache_read_tokens: Given[int] = NOT_GIVEN
    audio_output_tokens: Given[int] = NOT_GIVEN
    image_input_tokens: Given[int] = NOT_GIVEN
    image_cache_read_tokens: Given[int] = NOT_GIVEN
    image_output_tokens: Given[int] = NOT_GIVEN


@dataclass(frozen=True)
class PriceList(Model):
    """Which list of prices of an origin is in force."""

    __table__: ClassVar[str] = "price_lists"
    origin: PriceOrigin
    source: str
    read_on: date
    applied_at: datetime


@dataclass(frozen=True)
class LlmBudget(Model):
    """What language models may cost in a month, in USD. It counts calls of any provider, model, project or agent that is None."""

    __table__: ClassVar[str] = "llm_budgets"
    id: UUID
    name: str
    amount_usd: Decimal
    provider: Optional[ProviderName]
    model: Optional[str]
    project: Optional[str]
    agent: Optional[str]
    origin: BudgetOrigin
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class CreateLlmBudget(Create[LlmBudget]):
    """Input for a budget of the user."""

    name: str
    amount_usd: Decimal
    provider: Given[Optional[ProviderName]] = NOT_GIVEN
    model: Given[Optional[str]] = NOT_GIVEN
    project: Given[Optional[str]] = NOT_GIVEN
    agent: Given[Optional[str]] = NOT_GIVEN


@dataclass(frozen=True)
class UsageImportFile(Model):
    """How far an import has read a file: `position` in bytes, and in `state` what it has to know of that part."""

    __table__: ClassVar[str] = "usage_import_files"
    source: str
    host: str
    path: str
    fingerprint: str
    position: int
    state: JsonObject
    calls: int
    updated_at: datetime


@dataclass(frozen=True)
class CreateUsageImportFile(Create[UsageImportFile]):
    """Input for a file that an import begins to read."""

    source: str
    host: str
    path: str
    fingerprint: str
    position: Given[int] = NOT_GIVEN
    state: Given[JsonObject] = NOT_GIVEN
    calls: Given[int] = NOT_GIVEN
