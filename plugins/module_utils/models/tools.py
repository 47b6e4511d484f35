# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of tools, their calls, and the policies that decide about a call. Functions of the database write them: see `client.tools`."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Optional
from uuid import UUID

from .base import Model
from .enums import JsonObject, JsonValue, PolicyEffect, PolicyOrigin, RiskLevel, ToolCallStatus, ToolOrigin

__all__ = ["Policy", "ToolCallRecord", "ToolDefinition"]


@dataclass(frozen=True)
class ToolDefinition(Model):
    """A tool that agents may call, with what it may break. Times in seconds; `preset` holds arguments that every call has."""

    __table__: ClassVar[str] = "tool_definitions"
    id: UUID
    name: str
    description: Optional[str]
    arguments_schema: JsonObject
    risk_level: RiskLevel
    connector: Optional[str]
    version: Optional[str]
    enabled: bool
    created_at: datetime
    updated_at: datetime
    operation: Optional[str]
    preset: JsonObject
    timeout_seconds: int
    output_limit_bytes: int
    approval_seconds: int
    origin: ToolOrigin


@dataclass(frozen=True)
class ToolCallRecord(Model):
    """A call of a tool, from the wish to the result."""

    __table__: ClassVar[str] = "tool_call_records"
    id: UUID
    task_run_id: UUID
    tool_id: UUID
    arguments: JsonObject
    result: Optional[JsonValue]
    error: Optional[str]
    status: ToolCallStatus
    approved_by: Optional[str]
    approved_at: Optional[datetime]
    created_at: datetime
    started_at: Optional[datetime]
    finished_at: Optional[datetime]
    duration_ms: Optional[int]
    requested_by: Optional[str]
    requested_login: Optional[str]
    idempotency_key: Optional[str]
    tool_digest: Optional[bytes]
    policy: Optional[str]
    reason: Optional[str]
    checked_at: Optional[datetime]
    approval_expires_at: Optional[datetime]
    execution_id: Optional[UUID]
    executor: Optional[JsonObject]
    deadline_at: Optional[datetime]


@dataclass(frozen=True)
class Policy(Model):
    """A rule that allows a tool call, demands an approval for it, or denies it."""

    __table__: ClassVar[str] = "policies"
    id: UUID
    name: str
    description: Optional[str]
    tools: list[str]
    risk_levels: list[RiskLevel]
    effect: PolicyEffect
    conditions: JsonObject
    priority: int
    enabled: bool
    created_at: datetime
    updated_at: datetime
    origin: PolicyOrigin
    conditions_known: bool
