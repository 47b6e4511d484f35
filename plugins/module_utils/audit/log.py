# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write to the audit log, and verify that it is still what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from ..models.audit import AuditEntry, CreateAuditEntry
from ..models.base import NOT_GIVEN, Model, NotGiven, insert
from ..models.enums import AuditOutcome
from ..schema.own_tables import own_tables
from .head import AuditError, AuditHead

if TYPE_CHECKING:
    from ..database.executor import Executor
    from ..schema.own_tables import OwnTables

# What an action was done to: a stored row, a kind and which one, or a kind alone.
Target = Union[Model, tuple[str, object], str, None]
# The types written out: a function of the same name that fits them worse is not called.
_VERIFY = (
    "SELECT v.valid, v.verified, v.head_sequence, v.head_digest, v.first_bad_sequence, v.problem "
    "FROM {function}(%s::bigint, decode(%s, 'hex'), %s::bigint, decode(%s, 'hex')) AS v"
)


@dataclass(frozen=True)
class ChainReport:
    """What the verification of the chain found.

    Attributes:
        valid: nothing is wrong.
        verified: number of links that were recomputed.
        head: end of the chain as the database has it; None if it is missing.
        first_bad_sequence: where the first wrong or missing link is, if one is.
        problem: what is wrong, None if nothing is.
        compared: whether an expected head was given. Without one the removal of the newest entries cannot be seen.
    """

    valid: bool
    verified: int
    head: AuditHead | None
    first_bad_sequence: int | None
    problem: str | None
    compared: bool


def audit(
    executor: Executor,
    actor: str,
    action: str,
    target: Target = None,
    outcome: AuditOutcome = "success",
    details: Mapping[str, Any] | None = None,
    source_address: str | NotGiven | None = NOT_GIVEN,
) -> AuditEntry:
    """Add an entry. It can never be removed: no secrets in the details.

    The server sets time, number and database role. Not given, the address is that of the database client. Actions that begin with
    tool_call, tool, policy or tool_token and a full stop are refused: only what decides about tools writes these.
    """
    target_type, target_id = _target(target)
    return insert(
        executor,
        CreateAuditEntry(
            actor=actor,
            action=action,
            outcome=outcome,
            target_type=target_type,
            target_id=target_id,
            details=NOT_GIVEN if details is None else dict(details),
            source_address=source_address,
        ),
    )


def audit_head(executor: Executor) -> AuditHead:
    """The end of the chain as it is now, to be kept outside the database."""
    head: AuditHead | None
    if hasattr(executor, "transaction"):
        with own_tables(executor, "audit_head") as tables:
            head = read_head(tables)
    else:
        row = executor.query_one("SELECT sequence, digest FROM audit_head")
        head = None if row is None else AuditHead(row["sequence"], bytes(row["digest"]))
    if head is None:
        raise AuditError("The audit chain has no head: verify_audit_chain() says more.")
    return head


def read_head(tables: OwnTables) -> AuditHead | None:
    """The end of the chain; None where there is none."""
    for row in tables.rows("SELECT h.sequence, h.digest FROM ONLY {audit_head} AS h"):
        return AuditHead(row["sequence"], bytes(row["digest"]))
    return None


def verify_audit_chain(
    executor: Executor,
    expected_head: AuditHead | str | None = None,
    checkpoint: AuditHead | str | None = None,
) -> ChainReport:
    """Recompute the chain on the server and compare it with its head, and with one that was kept elsewhere.

    It reads the whole log (seconds for a million entries: mind the statement time-out), or what came after the checkpoint, a
    head up to which it was verified before.
    """
    parameters = [*_pair(expected_head), *_pair(checkpoint)]
    row: Mapping[str, Any] | None
    if hasattr(executor, "transaction"):
        with own_tables(executor, "audit_head", functions=True) as tables:
            row = tables.call("verify_audit_chain", "20 17 20 17", _VERIFY, parameters)
    else:
        # Something that asks one question at a time, as the login of the HTTP service, which has few rights.
        row = executor.query_one(_VERIFY.replace("{function}", "verify_audit_chain"), parameters)
    if row is None:
        raise AuditError("The server returned no result of the verification.")
    head = None if row["head_sequence"] is None else AuditHead(row["head_sequence"], bytes(row["head_digest"]))
    return ChainReport(
        valid=row["valid"],
        verified=row["verified"],
        head=head,
        first_bad_sequence=row["first_bad_sequence"],
        problem=row["problem"],
        compared=expected_head is not None,
    )


def _pair(head: AuditHead | str | None) -> tuple[int | None, str | None]:
    if head is None:
        return None, None
    if isinstance(head, str):
        head = AuditHead.parse(head)
    return head.sequence, head.digest.hex()


def _target(target: Target) -> tuple[str | None, str | None]:
    if target is None or isinstance(target, str):
        return target, None
    if isinstance(target, Model):
        return target.__table__, str(getattr(target, "id", "")) or None
    target_type, target_id = target
    return target_type, None if target_id is None else str(target_id)
