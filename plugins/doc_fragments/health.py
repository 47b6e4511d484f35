# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The health checks and their thresholds, which `make docs` writes from the registry: sanity tests read no other text than a literal."""

    DOCUMENTATION = r"""
# BEGIN HEALTH FRAGMENT (make docs)
notes:
  - >-
    C(connection): fails without one; warns when opening it or a trivial query is slow. From a client that is in use C(connect_ms) is the wait for a
    connection of its pool.
  - >-
    C(server): fails below PostgreSQL 14. That it is a standby is reported and is no problem.
  - >-
    C(writable): fails where the server is not what C(expected_role) says, a primary or a standby; warns of a primary that takes no writes since
    C(default_transaction_read_only) is on for all, and fails where a primary is expected. A standby passes where none is expected.
  - >-
    C(connections): warns, then fails by the used share of the nearest limit: the server's without reserved connections, the database's, those of
    roles with sessions in it.
  - >-
    C(oldest_transaction): warns, then fails by the age of the oldest transaction in this database, prepared ones included. Names process and login,
    never a statement.
  - >-
    C(idle_in_transaction): warns, then fails by the time that a session has been idle in a transaction.
  - >-
    C(blocked_locks): warns, then fails by the time that a session has waited for a lock. Names who holds it, and who holds the head of the audit log.
  - >-
    C(transaction_ids): warns when freezing falls behind in any database of the server; fails at three quarters of the way to the wraparound.
  - >-
    C(replication): fails when commits wait, since fewer synchronous standbys are connected than C(synchronous_standby_names) wants; warns when a
    standby is late, when fewer stream or are synchronous than are wanted, and when a standby receives nothing from its primary. Names each standby
    with its state, lag and slot.
  - >-
    C(replication_slots): warns when a slot of the server keeps much write-ahead log, has used most of its limit, or has lost what it needs.
  - >-
    C(certificate): warns when the server's certificate expires soon or has expired.
  - >-
    C(database_size): never.
  - >-
    C(tables): never. Sizes of the tables.
  - >-
    C(migrations): fails when one was changed, left out or none applied; warns when some are pending or the database is ahead.
  - >-
    C(repeatables): fails when a function, view or trigger is not as it was made, whoever changed it; warns when they are of another version.
  - >-
    C(schema_objects): fails when a table, view or trigger is missing or a trigger disabled; warns when one can be bypassed or another schema hides a
    table.
  - >-
    C(audit_chain): fails when the end of the chain is broken. Sequence and hash of its head: keep them elsewhere, to notice a log that was replaced
    as a whole. C(mission-control audit) and C(verify_audit_chain) read the whole of it.
  - >-
    C(stale_task_runs): warns when a running run has recorded no event for long.
  - >-
    C(backups): warns when archiving fails or stands still, the last backup failed or is old, or WAL was dropped; C(not checked) without any backup.
  - >-
    C(inventory_sources): warns when a source that is asked by the clock had no complete sync for several of its intervals; C(not checked) without
    such a source.
  - >-
    C(prices): warns when the price list of the collection is old, or when calls of the last 30 days have no price.
  - >-
    C(tools): warns of policies that deny all they cover since their conditions are not known, of policies from before version 0.3.0 that allow calls
    and are not in C(mission_control_schema_policies), of tool calls that no executor takes up or that run past their deadline, and of calls of the
    last 24 hours of which nobody knows how they ended; never because a call waits for a person.
  - >-
    C(budgets): warns when much of a budget for language models is spent this month, or all of it; C(not checked) without a budget.
options:
  thresholds:
    description: Thresholds at which a check warns or fails. An infinite number (C(.inf)) switches one off.
    type: dict
    suboptions:
      latency_warn_ms:
        description: >-
          Milliseconds that opening the connection, or the answer to a trivial query, takes.
        type: float
        default: 1000.0
      connections_warn:
        description: >-
          Used share of a limit on connections, from 0 to 1.
        type: float
        default: 0.8
      connections_fail:
        description: >-
          The same, for a failure.
        type: float
        default: 0.95
      transaction_warn_seconds:
        description: >-
          Age of the oldest transaction of the database in seconds, prepared ones included.
        type: float
        default: 300.0
      transaction_fail_seconds:
        description: >-
          The same, for a failure.
        type: float
        default: 3600.0
      idle_in_transaction_warn_seconds:
        description: >-
          Seconds that a session has done nothing within a transaction.
        type: float
        default: 60.0
      idle_in_transaction_fail_seconds:
        description: >-
          The same, for a failure.
        type: float
        default: 600.0
      blocked_warn_seconds:
        description: >-
          Seconds that a session has waited for a lock.
        type: float
        default: 5.0
      blocked_fail_seconds:
        description: >-
          The same, for a failure.
        type: float
        default: 60.0
      stale_run_warn_seconds:
        description: >-
          Seconds that a running task run has recorded no event.
        type: float
        default: 3600.0
      transaction_id_warn:
        description: >-
          Age of the oldest transaction id, as a multiple of the age at which autovacuum is forced to freeze.
        type: float
        default: 1.5
      slot_warn_bytes:
        description: >-
          Bytes of write-ahead log that a replication slot keeps on the server's disk.
        type: float
        default: 1073741824.0
      replication_lag_warn_seconds:
        description: >-
          Seconds by which what a standby has replayed is behind its primary, or that a commit has waited for one.
        type: float
        default: 60.0
      replication_lag_warn_bytes:
        description: >-
          Bytes of write-ahead log that a standby has not replayed.
        type: float
        default: 268435456.0
      standbys_warn:
        description: >-
          Standbys that a primary wants at least to stream from it.
        type: float
        default: 0.0
      synchronous_standbys_warn:
        description: >-
          Synchronous standbys that a primary wants at least, for servers whose C(synchronous_standby_names) is emptied when none is there, as by
          Patroni.
        type: float
        default: 0.0
      certificate_warn_days:
        description: >-
          Days that the server's certificate is still valid; 0 switches the warning off.
        type: float
        default: 14.0
      backup_warn_seconds:
        description: >-
          Seconds since the last successful backup ended; by default a daily one may be half a day late.
        type: float
        default: 129600.0
      archive_warn_seconds:
        description: >-
          Seconds that write-ahead log has been waiting to be archived.
        type: float
        default: 3600.0
      inventory_warn_intervals:
        description: >-
          Age of the last complete sync of a source of the inventory, as a multiple of its interval.
        type: float
        default: 3.0
      tool_call_warn_seconds:
        description: >-
          Seconds that a tool call may wait for an executor; waiting for a person does not count.
        type: float
        default: 300.0
      budget_warn:
        description: >-
          Share of a budget for language models that is spent this month; 1 is all of it.
        type: float
        default: 0.8
      prices_warn_days:
        description: >-
          Days since the price list of the collection was read at its source.
        type: float
        default: 90.0
      unpriced_warn_calls:
        description: >-
          Calls of the last 30 days that have no price.
        type: float
        default: 1.0
# END HEALTH FRAGMENT
"""
