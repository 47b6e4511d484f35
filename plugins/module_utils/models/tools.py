# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of tools, their calls, and the policies that decide about a call."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Optional
from uuid import UUID

from .base import NOT_GIVEN, Create, Given, Model
from .enums import JsonObject, JsonValue, PolicyEffect, RiskLevel, ToolCallStatus

__all__ = ["CreatePolicy", "CreateToolCallRecord", "CreateToolDefinition", "Policy", "ToolCallRecord", "ToolDefinition"]


@dataclass(frozen=True)
class ToolDefinition(Model):
    """A tool that agents may call, with what it may break."""

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


@dataclass(frozen=True)
class CreateToolDefinition(Create[ToolDefinition]):
    """Input for a tool; the risk level has no default on purpose."""

    name: str
    risk_level: RiskLevel
    description: Given[Optional[str]] = NOT_GIVEN
    arguments_schema: Given[JsonObject] = NOT_GIVEN
    connector: Given[Optional[str]] = NOT_GIVEN
    version: Given[Optional[str]] = NOT_GIVEN
    enabled: Given[bool] = NOT_GIVEN


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


@dataclass(frozen=True)
class CreateToolCallRecord(Create[ToolCallRecord]):
    """Input for a call; without a status it is pending."""

    task_run_id: UUID
    tool_id: UUID
    arguments: Given[JsonObject] = NOT_GIVEN
    result: Given[Optional[JsonValue]] = NOT_GIVEN
    error: Given[Optional[str]] = NOT_GIVEN
    status: Given[ToolCallStatus] = NOT_GIVEN
    approved_by: Given[Optional[str]] = NOT_GIVEN
    approved_at: Given[Optional[datetime]] = NOT_GIVEN
    started_at: Given[Optional[datetime]] = NOT_GIVEN
    finished_at: Given[Optional[datetime]] = NOT_GIVEN


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


@dataclass(frozen=True)
class CreatePolicy(Create[Policy]):
    """Input for a policy: it covers at least one tool or risk level."""

    name: str
    effect: PolicyEffect
    description: Given[Optional[str]] = NOT_GIVEN
    tools: Given[list[str]] = NOT_GIVEN
    risk_levels: Given[list[RiskLevel]] = NOT_GIVEN
    conditions: Given[JsonObject] = NOT_GIVEN
    priority: Given[int] = NOT_GIVEN
    enabled: Given[bool] = NOT_GIVEN
