# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mission Control's database for Python programs.

    from mission_control import Client

    with Client("postgresql://mission_control@localhost/mission_control") as db:
        print(db.query_many("SELECT name, status FROM hosts"))

What is listed here is imported when it is first asked for: Ansible replaces this file by an empty one on the hosts that
it manages, and its modules import the few files that they need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # `as` with the same name says that it is handed on; pylint: disable=useless-import-alias
    from .audit.log import AuditError as AuditError
    from .audit.log import AuditHead as AuditHead
    from .audit.log import ChainReport as ChainReport
    from .audit.log import audit_head as audit_head
    from .audit.log import verify_audit_chain as verify_audit_chain
    from .audit.recompute import recompute_audit_chain as recompute_audit_chain
    from .client.client import Client as Client
    from .client.client import Health as Health
    from .client.transaction import Transaction as Transaction
    from .database.driver import Json as Json
    from .database.pool import PoolStats as PoolStats
    from .database.results import QueryResult as QueryResult
    from .database.settings import Secret as Secret
    from .database.settings import Settings as Settings
    from .errors import ConnectError as ConnectError
    from .errors import ConnectionLostError as ConnectionLostError
    from .errors import ConstraintError as ConstraintError
    from .errors import DriverError as DriverError
    from .errors import LockTimeoutError as LockTimeoutError
    from .errors import MissionControlError as MissionControlError
    from .errors import ParameterError as ParameterError
    from .errors import PoolClosedError as PoolClosedError
    from .errors import PoolError as PoolError
    from .errors import PoolFullError as PoolFullError
    from .errors import PoolTimeoutError as PoolTimeoutError
    from .errors import QueryError as QueryError
    from .errors import ResultError as ResultError
    from .errors import RowCountError as RowCountError
    from .errors import SerializationError as SerializationError
    from .errors import SettingsError as SettingsError
    from .errors import StatementCanceledError as StatementCanceledError
    from .errors import TransactionError as TransactionError
    from .health.check import check_health as check_health
    from .health.report import Check as Check
    from .health.report import HealthReport as HealthReport
    from .health.thresholds import Thresholds as Thresholds
    from .ledger.calls import LedgerError as LedgerError
    from .ledger.calls import LlmCall as LlmCall
    from .ledger.usage import TokenBuckets as TokenBuckets
    from .ledger.usage import UsageError as UsageError
    from .ledger.usage import normalise_usage as normalise_usage
    from .models import NOT_GIVEN as NOT_GIVEN
    from .models import ActiveTaskRun as ActiveTaskRun
    from .models import Artifact as Artifact
    from .models import AuditEntry as AuditEntry
    from .models import Create as Create
    from .models import CreateArtifact as CreateArtifact
    from .models import CreateAuditEntry as CreateAuditEntry
    from .models import CreateHost as CreateHost
    from .models import CreateLlmRequest as CreateLlmRequest
    from .models import CreateLlmResponse as CreateLlmResponse
    from .models import CreatePolicy as CreatePolicy
    from .models import CreateProviderPrice as CreateProviderPrice
    from .models import CreateService as CreateService
    from .models import CreateTask as CreateTask
    from .models import CreateTaskEvent as CreateTaskEvent
    from .models import CreateTaskRun as CreateTaskRun
    from .models import CreateTokenUsage as CreateTokenUsage
    from .models import CreateToolCallRecord as CreateToolCallRecord
    from .models import CreateToolDefinition as CreateToolDefinition
    from .models import CreateWorkload as CreateWorkload
    from .models import Host as Host
    from .models import LlmRequest as LlmRequest
    from .models import LlmResponse as LlmResponse
    from .models import Model as Model
    from .models import ModelError as ModelError
    from .models import NotGiven as NotGiven
    from .models import Policy as Policy
    from .models import ProviderPrice as ProviderPrice
    from .models import RecentTokenUsage as RecentTokenUsage
    from .models import SchemaMigration as SchemaMigration
    from .models import Service as Service
    from .models import Task as Task
    from .models import TaskEvent as TaskEvent
    from .models import TaskRun as TaskRun
    from .models import TokenUsage as TokenUsage
    from .models import ToolCallRecord as ToolCallRecord
    from .models import ToolCallSuccess as ToolCallSuccess
    from .models import ToolDefinition as ToolDefinition
    from .models import Workload as Workload
    from .models import from_row as from_row
    from .models import insert as insert
    from .models import row_maker as row_maker
    from .schema.manifest import ExpectedFile as ExpectedFile
    from .schema.manifest import ExpectedMigration as ExpectedMigration
    from .schema.manifest import Manifest as Manifest
    from .schema.manifest import ManifestError as ManifestError

_EXPORTS = {
    "audit.log": ("AuditError", "AuditHead", "ChainReport", "audit_head", "verify_audit_chain"),
    "audit.recompute": ("recompute_audit_chain",),
    "client.client": ("Client", "Health"),
    "client.transaction": ("Transaction",),
    "database.driver": ("Json",),
    "database.pool": ("PoolStats",),
    "database.results": ("QueryResult",),
    "database.settings": ("Secret", "Settings"),
    "errors": (
        "ConnectError",
        "ConnectionLostError",
        "ConstraintError",
        "DriverError",
        "LockTimeoutError",
        "MissionControlError",
        "ParameterError",
        "PoolClosedError",
        "PoolError",
        "PoolFullError",
        "PoolTimeoutError",
        "QueryError",
        "ResultError",
        "RowCountError",
        "SerializationError",
        "SettingsError",
        "StatementCanceledError",
        "TransactionError",
    ),
    "health.check": ("check_health",),
    "health.report": ("Check", "HealthReport"),
    "health.thresholds": ("Thresholds",),
    "ledger.calls": ("LedgerError", "LlmCall"),
    "ledger.usage": ("TokenBuckets", "UsageError", "normalise_usage"),
    "models": (
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
    ),
    "schema.manifest": ("ExpectedFile", "ExpectedMigration", "Manifest", "ManifestError"),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
