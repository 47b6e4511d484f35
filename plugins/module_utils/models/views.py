# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of the views; there is nothing to insert."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import ClassVar, Optional
from uuid import UUID

from .base import Model
from .enums import (
    BudgetLevel,
    BudgetOrigin,
    CostSource,
    InventoryConnector,
    JsonValue,
    ProviderName,
    RiskLevel,
    TaskRunStatus,
    ToolCallStatus,
)

__all__ = [
    "ActiveTaskRun",
    "DailyTokenUsage",
    "InventorySourceStatus",
    "LlmBudgetStatus",
    "PlaybookRunOverview",
    "PlaybookRunStep",
    "PlaybookStatus",
    "RecentTokenUsage",
    "TaskRunCost",
    "ToolCallOverview",
    "ToolCallSuccess",
]


@dataclass(frozen=True)
class ActiveTaskRun(Model):
    """A run that is queued, running or waiting for an approval."""

    __table__: ClassVar[str] = "active_task_runs"
    id: UUID
    task_id: UUID
    task_title: str
    user_prompt: Optional[str]
    status: TaskRunStatus
    created_at: datetime
    started_at: Optional[datetime]
    age: timedelta
    event_count: int
    tool_call_count: int


@dataclass(frozen=True)
class RecentTokenUsage(Model):
    """Use and cost of a model in the last 30 days. The total leaves out the unpriced requests."""

    __table__: ClassVar[str] = "recent_token_usage_summary"
    provider: ProviderName
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    total_cost_usd: Optional[Decimal]
    subscription_value_usd: Optional[Decimal]
    unpriced_requests: int
    last_used_at: datetime
    audio_input_tokens: int
    audio_cache_read_tokens: int
    audio_output_tokens: int
    image_input_tokens: int
    image_cache_read_tokens: int
    image_output_tokens: int


@dataclass(frozen=True)
class DailyTokenUsage(Model):
    """Use and cost of a day of the reporting time zone, by model, labels and cost source. Its cost is None where it is not known."""

    __table__: ClassVar[str] = "daily_token_usage"
    day: date
    provider: ProviderName
    model: str
    project: Optional[str]
    agent: Optional[str]
    cost_source: CostSource
    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_cache_read_tokens: int
    audio_output_tokens: int
    image_input_tokens: int
    image_cache_read_tokens: int
    image_output_tokens: int
    cost_usd: Optional[Decimal]
    subscription_value_usd: Optional[Decimal]
    last_used_at: datetime


@dataclass(frozen=True)
class LlmBudgetStatus(Model):
    """A budget, and what was spent of it this month, in USD and as a share of the amount, where 1 is all of it."""

    __table__: ClassVar[str] = "llm_budget_status"
    name: str
    provider: Optional[ProviderName]
    model: Optional[str]
    project: Optional[str]
    agent: Optional[str]
    origin: BudgetOrigin
    amount_usd: Decimal
    month: date
    spent_usd: Decimal
    spent_share: Decimal
    projected_usd: Decimal
    projected_share: Decimal
    unpriced_calls: int
    level: BudgetLevel


@dataclass(frozen=True)
class TaskRunCost(Model):
    """What a run of a task used and cost, all buckets of input together, and of output. The cost leaves out the unpriced calls."""

    __table__: ClassVar[str] = "task_run_costs"
    task_run_id: UUID
    calls: int
    unpriced_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Optional[Decimal]
    subscription_value_usd: Optional[Decimal]


@dataclass(frozen=True)
class ToolCallSuccess(Model):
    """How the calls of a tool ended; the rate is between 0 and 1, and None for a tool that never ran to an end."""

    __table__: ClassVar[str] = "tool_call_success_rate"
    tool_id: UUID
    tool_name: str
    risk_level: RiskLevel
    total_calls: int
    succeeded: int
    failed: int
    timed_out: int
    denied: int
    success_rate: Optional[Decimal]
    average_duration_ms: Optional[Decimal]


@dataclass(frozen=True)
class ToolCallOverview(Model):
    """A call of a tool with the tool's name, without its result."""

    __table__: ClassVar[str] = "tool_call_overview"
    id: UUID
    task_run_id: UUID
    tool_name: str
    connector: Optional[str]
    operation: Optional[str]
    risk_level: RiskLevel
    status: ToolCallStatus
    arguments: JsonValue
    requested_by: Optional[str]
    requested_login: Optional[str]
    policy: Optional[str]
    reason: Optional[str]
    error: Optional[str]
    created_at: datetime
    checked_at: Optional[datetime]
    approved_by: Optional[str]
    approved_at: Optional[datetime]
    approval_expires_at: Optional[datetime]
    started_at: Optional[datetime]
    finished_at: Optional[datetime]
    duration_ms: Optional[int]
    deadline_at: Optional[datetime]
    idempotency_key: Optional[str]


@dataclass(frozen=True)
class InventorySourceStatus(Model):
    """A source of the inventory, how its last sync ended, and how many rows it tells; `gone` counts those that it lists no longer."""

    __table__: ClassVar[str] = "inventory_source_status"
    name: str
    connector: InventoryConnector
    cluster: Optional[str]
    enabled: bool
    interval_seconds: Optional[int]
    last_observed_at: Optional[datetime]
    last_complete_at: JsonValue
    last_run_id: Optional[UUID]
    last_run_status: Optional[TaskRunStatus]
    last_run_error: Optional[str]
    last_run_finished_at: Optional[datetime]
    hosts: int
    services: int
    workloads: int
    gone: int


@dataclass(frozen=True)
class PlaybookRunStep(Model):
    """A play, a task, or the result of a task on a host, which alone has a host, an outcome, a change and a time in seconds."""

    __table__: ClassVar[str] = "playbook_run_steps"
    task_run_id: UUID
    sequence: int
    occurred_at: datetime
    event: str
    name: Optional[str]
    module: Optional[str]
    path: Optional[str]
    host: Optional[str]
    outcome: Optional[str]
    changed: Optional[bool]
    seconds: Optional[Decimal]


@dataclass(frozen=True)
class PlaybookRunOverview(Model):
    """A playbook's run and the numbers of its hosts; a host that could not be reached counts as failed."""

    __table__: ClassVar[str] = "playbook_run_overview"
    id: UUID
    task_id: UUID
    playbook: Optional[str]
    status: TaskRunStatus
    error: Optional[str]
    started_at: datetime
    finished_at: Optional[datetime]
    seconds: Optional[Decimal]
    controller: str
    run_by: str
    check_mode: bool
    limited_to: Optional[str]
    tags: list[str]
    skip_tags: list[str]
    ansible_version: str
    dropped_events: int
    hosts: int
    changed_hosts: int
    failed_hosts: int


@dataclass(frozen=True)
class PlaybookStatus(Model):
    """A playbook and its last run, with the numbers of runs that began this month, and of those that have not ended; no dry runs."""

    __table__: ClassVar[str] = "playbook_status"
    playbook: str
    task_id: UUID
    last_run_id: UUID
    last_status: TaskRunStatus
    last_started_at: datetime
    last_finished_at: Optional[datetime]
    last_seconds: Optional[Decimal]
    last_success_at: Optional[datetime]
    succeeded: int
    failed: int
    cancelled: int
    running: int
