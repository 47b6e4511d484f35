# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify the audit chain without trusting a function of the database.

`verify_audit_chain()` of the library runs a function of the server, which is fast. Whoever may replace that function (a
superuser, the owner of the database) can make it say that all is well. Here the digests are computed in this process, from the
rows: if they lead to a head that was kept outside the database, these rows are what was written, whatever the server is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable

from ..schema.own_tables import named, own_tables
from .head import AuditHead
from .log import ChainReport, read_head

if TYPE_CHECKING:
    from ..database.executor import Reader

_GENESIS = bytes(32)
# Links after which the progress is told.
_STEP = 50_000
_NUMBERS = ("sequence", "id", "recorded_at_us", "transaction_id")
_TEXTS = (
    "database_role", "actor", "action", "target_type", "target_id", "outcome", "details", "source_address",
)  # fmt: skip
CHAIN_TABLES = ("audit_head", "audit_links", "audit_entries")
# Every link and every entry, also those without the other, in the order of the chain.
CHAIN_ROWS = """
SELECT l.sequence, l.entry_id, l.digest, e.id, (extract(epoch FROM e.recorded_at) * 1000000)::bigint AS recorded_at_us,
    e.transaction_id, e.database_role, e.actor, e.action, e.target_type, e.target_id, e.outcome,
    e.details::text AS details, e.source_address::text AS source_address
FROM ONLY {audit_links} AS l
FULL JOIN ONLY {audit_entries} AS e ON e.id = l.entry_id
ORDER BY l.sequence, e.id
"""


def recompute_audit_chain(
    client: Reader,
    expected_head: AuditHead | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ChainReport:
    """Read the whole log and recompute its chain in this process; slower than `verify_audit_chain()`, and trusts less.

    Entries that are committed while it reads are left out. No function of the database is called, and tables that are no
    ordinary ones are not read.

    Args:
        expected_head: a head that was kept outside the database; without it only what contradicts itself is found.
        progress: called now and then with the number of recomputed links and of all that the head counts.

    Raises:
        ForeignCodeError: reading the tables could run code of others.
    """
    if isinstance(expected_head, str):
        expected_head = AuditHead.parse(expected_head)
    with own_tables(client, *CHAIN_TABLES, isolation="repeatable read") as tables:
        head = read_head(tables)
        with tables.transaction.stream(named(CHAIN_ROWS, tables.relations)) as rows:
            return recompute(_counted(rows, head, progress), head, expected_head)


def _counted(
    rows: Iterable[Mapping[str, Any]], head: AuditHead | None, progress: Callable[[int, int], None] | None
) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(rows):
        if progress is not None and number % _STEP == 0:
            progress(number, head.sequence if head else 0)
        yield row


def recompute(
    rows: Iterable[Mapping[str, Any]], head: AuditHead | None, expected_head: AuditHead | None
) -> ChainReport:
    """Recompute the chain from the rows of `CHAIN_ROWS` and compare it with its head and with one that was kept."""
    sequence, digest, wanted = 0, _GENESIS, expected_head
    first_bad: int | None = None
    problem: str | None = None
    met = wanted is None or wanted == AuditHead(0, _GENESIS)
    unlinked = 0
    for row in rows:
        if row["sequence"] is None:
            unlinked += 1
            continue
        sequence += 1
        found = _problem_of(row, sequence, digest)
        if found and problem is None:
            first_bad, problem = sequence, found
        digest = bytes(row["digest"])
        met = met or (wanted is not None and wanted == AuditHead(sequence, digest))
    if problem is None and head is None:
        problem = "the head is missing"
    if problem is None and head is not None and head != AuditHead(sequence, digest):
        problem = f"the chain ends at {sequence}, its head says {head.sequence}"
    if problem is None and unlinked:
        problem = f"{unlinked} entries are not in the chain"
    if problem is None and not met and wanted is not None:
        problem = (
            f"the chain ends at {sequence}, before the expected {wanted.sequence}"
            if wanted.sequence > sequence
            else f"link {wanted.sequence} is not the expected one"
        )
    return ChainReport(problem is None, sequence, head, first_bad, problem, wanted is not None)


def digest_of(previous: bytes, row: Mapping[str, Any]) -> bytes:
    """The digest of a link, as the function audit_digest() of the schema computes it."""
    message = [previous, *(struct.pack(">q", row[name]) for name in _NUMBERS)]
    for name in _TEXTS:
        text = row[name]
        encoded = b"" if text is None else str(text).encode()
        message += [struct.pack(">i", -1 if text is None else len(encoded)), encoded]
    return hashlib.sha256(b"".join(message)).digest()


def _problem_of(row: Mapping[str, Any], due: int, previous: bytes) -> str | None:
    if row["sequence"] != due:
        return f"link {due} is missing"
    if row["id"] is None:
        return f"entry {row['entry_id']} of link {due} is missing"
    if bytes(row["digest"]) != digest_of(previous, row):
        return f"entry {row['id']} or link {due} was changed"
    return None
