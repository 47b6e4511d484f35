# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One typed class for each table and view, and an input for each table that a program may write to.

    task = client.insert(CreateTask(title="Restart Plex", created_by="system"))
    hosts = client.query_many("SELECT * FROM hosts WHERE status = %s", ["online"], model=Host)

What an input does not name is left to the database's default; None is NULL. A test compares all classes with the catalogue of
a live database.
"""

from __future__ import annotations

from typing import Any

from .audit import AuditEntry, CreateAuditEntry, SchemaMigration
from .base import NOT_GIVEN, Create, Model, ModelError, NotGiven, from_row, insert, row_maker
from .inventory import CreateHost, CreateService, CreateWorkload, Host, Service, Workload
from .llm import (
    CreateLlmRequest,
    CreateLlmResponse,
    CreateProviderPrice,
    CreateTokenUsage,
    LlmRequest,
    LlmResponse,
    ProviderPrice,
    TokenUsage,
)
from .tasks import (
    Artifact,
    CreateArtifact,
    CreateTask,
    CreateTaskEvent,
    CreateTaskRun,
    Task,
    TaskEvent,
    TaskRun,
)
from .tools import (
    CreatePolicy,
    CreateToolCallRecord,
    CreateToolDefinition,
    Policy,
    ToolCallRecord,
    ToolDefinition,
)
from .views import ActiveTaskRun, RecentTokenUsage, ToolCallSuccess

__all__ = [
    "NOT_GIVEN",
    "ActiveTaskRun",
    "Artifact",
    "AuditEntry",
    "Create",
    "CreateArtifact",
    "CreateAuditEntry",
    "CreateHost",
    "CreateLlmRequest",
    "CreateLlmResponse",
    "CreatePolicy",
    "CreateProviderPrice",
    "CreateService",
    "CreateTask",
    "CreateTaskEvent",
    "CreateTaskRun",
    "CreateTokenUsage",
    "CreateToolCallRecord",
    "CreateToolDefinition",
    "CreateWorkload",
    "Host",
    "LlmRequest",
    "LlmResponse",
    "Model",
    "ModelError",
    "NotGiven",
    "Policy",
    "ProviderPrice",
    "RecentTokenUsage",
    "SchemaMigration",
    "Service",
    "Task",
    "TaskEvent",
    "TaskRun",
    "TokenUsage",
    "ToolCallRecord",
    "ToolCallSuccess",
    "ToolDefinition",
    "Workload",
    "from_row",
    "insert",
    "row_maker",
]

TABLES: tuple[type[Model], ...] = (
    Host,
    Workload,
    Service,
    Task,
    TaskRun,
    TaskEvent,
    Artifact,
    LlmRequest,
    LlmResponse,
    TokenUsage,
    ProviderPrice,
    ToolDefinition,
    ToolCallRecord,
    Policy,
    AuditEntry,
)
VIEWS: tuple[type[Model], ...] = (ActiveTaskRun, RecentTokenUsage, ToolCallSuccess)
INPUTS: tuple[type[Create[Any]], ...] = (
    CreateHost,
    CreateWorkload,
    CreateService,
    CreateTask,
    CreateTaskRun,
    CreateTaskEvent,
    CreateArtifact,
    CreateLlmRequest,
    CreateLlmResponse,
    CreateTokenUsage,
    CreateProviderPrice,
    CreateToolDefinition,
    CreateToolCallRecord,
    CreatePolicy,
    CreateAuditEntry,
)
