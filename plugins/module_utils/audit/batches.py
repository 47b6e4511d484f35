# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Verify a long audit chain in parts."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Callable

from ..schema.own_tables import own_tables
from .head import AuditHead
from .log import ChainReport, read_head, verify_audit_chain

if TYPE_CHECKING:
    from ..database.executor import Reader

BATCH = 50_000
# Links that the first statement verifies, and the seconds that one may take before the next ones become shorter. Entries differ in size a
# thousandfold.
_FIRST_BATCH = 1_000
_LONG = 2.0
_GENESIS = AuditHead(0, bytes(32))


def verify_in_batches(
    client: Reader,
    expected_head: AuditHead | None = None,
    checkpoint: AuditHead | None = None,
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> ChainReport:
    """As verify_audit_chain(), by statements that each take a moment, so that no statement time-out ends it.

    Entries that are written meanwhile are verified too. Use a client, not a transaction, which would stay open long.

    Args:
        client: what to ask.
        expected_head: an earlier head, kept outside the database, that the chain must contain.
        checkpoint: a head up to which the chain was verified before.
        batch: links verified by one statement at most; fewer where entries are large.
        progress: called after each batch with the number of verified links and of all that there are to verify.
    """
    done = 0
    verified_to = checkpoint or _GENESIS
    start = verified_to.sequence
    size = min(batch, _FIRST_BATCH)
    while True:
        # As many as fit are left to the last statement, which also compares the heads.
        with own_tables(client, "audit_head") as tables:
            head = read_head(tables)
        total = max(0, head.sequence - start) if head else 0
        if progress is not None:
            progress(min(done, total), total)
        if total - done <= size:
            break
        started = time.monotonic()
        with own_tables(client, "audit_head", functions=True) as tables:
            row = tables.call(
                "verify_audit_links",
                "20 17 20",
                "SELECT v.verified, v.last_sequence, v.last_digest, v.problem "
                "FROM {function}(%s::bigint, decode(%s, 'hex'), %s::bigint) AS v",
                [verified_to.sequence, verified_to.digest.hex(), size],
            )
        if row is None or row["problem"] is not None or not row["verified"]:
            # The last statement says what is wrong; it begins at the same link.
            break
        done += row["verified"]
        verified_to = AuditHead(row["last_sequence"], bytes(row["last_digest"]))
        size = max(1, size // 2) if time.monotonic() - started > _LONG else min(batch, size * 2)
    report = verify_audit_chain(client, expected_head, verified_to if verified_to.sequence else None)
    return dataclasses.replace(report, verified=done + report.verified)
