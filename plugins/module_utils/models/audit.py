# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of the audit log and of the record of applied migrations."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Optional

from .base import NOT_GIVEN, Create, Given, Model
from .enums import AuditOutcome, JsonObject, MigrationOrigin

__all__ = ["AuditEntry", "CreateAuditEntry", "SchemaMigration"]


@dataclass(frozen=True)
class AuditEntry(Model):
    """An entry of the audit log. The address is an inet as PostgreSQL writes it, with its prefix if it is a network."""

    __table__: ClassVar[str] = "audit_entries"
    id: int
    recorded_at: datetime
    database_role: str
    transaction_id: int
    actor: str
    action: str
    target_type: Optional[str]
    target_id: Optional[str]
    outcome: AuditOutcome
    details: JsonObject
    source_address: Optional[str]


@dataclass(frozen=True)
class CreateAuditEntry(Create[AuditEntry]):
    """Input for an audit entry. Not given, the address is that of the database client; None leaves it empty."""

    actor: str
    action: str
    outcome: AuditOutcome
    target_type: Given[Optional[str]] = NOT_GIVEN
    target_id: Given[Optional[str]] = NOT_GIVEN
    details: Given[JsonObject] = NOT_GIVEN
    source_address: Given[Optional[str]] = NOT_GIVEN


@dataclass(frozen=True)
class SchemaMigration(Model):
    """A migration that was applied; written by the role that applies the schema alone."""

    __table__: ClassVar[str] = "schema_migrations"
    origin: MigrationOrigin
    version: int
    name: str
    checksum: str
    applied_at: datetime
    applied_by: str
    duration_ms: int
