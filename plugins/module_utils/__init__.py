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
    from .audit.head import AuditError as AuditError
    from .audit.head import AuditHead as AuditHead
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
    from .errors import ToolArgumentsError as ToolArgumentsError
    from .errors import ToolCallError as ToolCallError
    from .errors import TransactionError as TransactionError
    from .health.check import check_health as check_health
    from .health.report import Check as Check
    from .health.report import HealthReport as HealthReport
    from .health.thresholds import Thresholds as Thresholds
    from .ledger.buckets import FurtherUsage as FurtherUsage
    from .ledger.buckets import ReportedUsage as ReportedUsage
    from .ledger.buckets import TokenBuckets as TokenBuckets
    from .ledger.buckets import UsageError as UsageError
    from .ledger.calls import LedgerError as LedgerError
    from .ledger.calls import LlmCall as LlmCall
    from .ledger.usage import normalise_usage as normalise_usage
    from .ledger.usage import read_usage as read_usage
    from .ledger.usage import stream_usage as stream_usage
    from .models import *
    from .schema.manifest import ExpectedFile as ExpectedFile
    from .schema.manifest import ExpectedMigration as ExpectedMigration
    from .schema.manifest import Manifest as Manifest
    from .schema.manifest import ManifestError as ManifestError
    from .tools.calls import Tool as Tool
    from .tools.calls import ToolAnswer as ToolAnswer
    from .tools.calls import ToolCall as ToolCall
    from .tools.calls import ToolDecision as ToolDecision
    from .tools.calls import ToolRequest as ToolRequest
    from .tools.calls import Tools as Tools
    from .tools.calls import WaitingCall as WaitingCall

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
        "ToolArgumentsError",
        "ToolCallError",
        "TransactionError",
    ),
    "health.check": ("check_health",),
    "health.report": ("Check", "HealthReport"),
    "health.thresholds": ("Thresholds",),
    "ledger.calls": ("LedgerError", "LlmCall"),
    "ledger.buckets": ("FurtherUsage", "ReportedUsage", "TokenBuckets", "UsageError"),
    "ledger.usage": ("normalise_usage", "read_usage", "stream_usage"),
    "schema.manifest": ("ExpectedFile", "ExpectedMigration", "Manifest", "ManifestError"),
    "tools.calls": ("Tool", "ToolAnswer", "ToolCall", "ToolDecision", "ToolRequest", "Tools", "WaitingCall"),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        value: Any = sorted([*_MODULES, *importlib.import_module(".models", __name__).__all__])
    elif name in _MODULES:
        value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    elif not name.startswith("_") and name in __getattr__("__all__"):
        value = getattr(importlib.import_module(".models", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
