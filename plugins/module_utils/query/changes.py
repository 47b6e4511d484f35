# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a transaction has written anything, as the server counted it.

A command tag does not tell: an INSERT may have found its row, a SELECT may call a function that writes. The server counts
the rows that a transaction inserts, updates and deletes, table by table, and those of its catalogues too, so that a
new table or a grant is seen as rows of pg_class or pg_authid. Locks, as of SELECT FOR UPDATE, are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..schema.sql_text import split_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..client.queries import Queries

# Sequences have no counters. A transaction keeps its lock on each that it drew a number from or set (currval and lastval
# take the lock too, but this session can only use them after nextval). Rows of foreign tables are counted by their server.
_WRITTEN = """
SELECT pg_catalog.current_setting('track_counts')::boolean AS counted,
       pg_catalog.pg_current_xact_id_if_assigned()::text AS transaction_id,
       (SELECT coalesce(pg_catalog.jsonb_object_agg(s.relid, s.n_tup_ins + s.n_tup_upd + s.n_tup_del), '{}')
          FROM pg_catalog.pg_stat_xact_all_tables AS s
          JOIN pg_catalog.pg_class AS c ON c.oid = s.relid
         WHERE c.relpersistence <> 't' AND s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0) AS rows,
       (SELECT coalesce(pg_catalog.jsonb_agg(DISTINCT c.relkind), '[]')
          FROM pg_catalog.pg_locks AS l
          JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
         WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() AND l.mode = 'RowExclusiveLock'
           AND c.relkind IN ('S', 'f') AND c.relpersistence <> 't') AS locked
"""
_SEQUENCE, _FOREIGN_TABLE = "S", "f"


class WrittenRows:
    """The server's counters for a transaction, from now on."""

    def __init__(self, transaction: Queries) -> None:
        self._transaction = transaction
        self._before = transaction.query(_WRITTEN).rows[0]

    def since_then(self, texts: Sequence[str]) -> bool:
        """Whether the statements with these texts, run since, have written anything.

        Where the server does not count (track_counts is off), whether they needed a transaction id, as locked rows do too.
        """
        after = self._transaction.query(_WRITTEN).rows[0]
        if not (self._before["counted"] and after["counted"]):
            return bool(after["transaction_id"] != self._before["transaction_id"])
        # Compared, not subtracted: TRUNCATE sets the counters of its table back.
        if after["rows"] != self._before["rows"] or _FOREIGN_TABLE in after["locked"]:
            return True
        return _SEQUENCE in after["locked"] and not _only_numbered_rows(texts)


def _only_numbered_rows(texts: Sequence[str]) -> bool:
    """Whether numbers were drawn for rows that were not inserted in the end, as by ON CONFLICT DO NOTHING."""
    words = {word for text in texts for statement in split_statements(text) for word in statement.words}
    return bool(words & {"INSERT", "MERGE"}) and "SETVAL" not in words
