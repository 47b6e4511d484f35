# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The health checks, in the order of a report. Reports, documentation and tests are made from this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from .activity import (
    check_blocked_locks,
    check_connections,
    check_idle_in_transaction,
    check_oldest_transaction,
)
from .backups import check_backups
from .budgets import check_budgets
from .certificate import check_certificate
from .contents import check_audit_chain, check_stale_task_runs
from .inventory import check_inventory_sources
from .migrations import check_migrations, check_repeatables
from .prices import check_prices
from .replication import check_replication, check_replication_slots, check_writable
from .schema import check_schema_objects, check_tables
from .server import check_connection, check_database_size, check_server, check_transaction_ids
from .tools import check_tools

if TYPE_CHECKING:
    from .probe import Probe
    from .report import Check


@dataclass(frozen=True)
class HealthCheck:
    """One of the checks.

    Attributes:
        name: in the report, and in labels of the metrics.
        examine: makes the check.
        verdict: when it warns or fails; Markdown.
        thresholds: those of `Thresholds` that it is judged by.
        reads: tables of ours whose rows it reads; the health check locks and inspects them together.
        needs: what the login needs to see it, where that is more than SELECT on these tables; Markdown.
    """

    name: str
    examine: Callable[[Probe], Check]
    verdict: str
    thresholds: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    needs: str = ""


# Made before the others, outside their transaction.
CONNECTION = HealthCheck(
    "connection",
    check_connection,
    "fails without one; warns when opening it or a trivial query is slow. From a client that is in use `connect_ms` is the "
    "wait for a connection of its pool",
    thresholds=("latency_warn_ms",),
)
CHECKS = (
    CONNECTION,
    HealthCheck(
        "server", check_server, "fails below PostgreSQL 14. That it is a standby is reported and is no problem"
    ),
    HealthCheck(
        "writable",
        check_writable,
        "fails where the server is not what `expected_role` says, a primary or a standby; warns of a primary that takes no writes since "
        "`default_transaction_read_only` is on for all, and fails where a primary is expected. A standby passes where none is expected",
    ),
    HealthCheck(
        "connections",
        check_connections,
        "warns, then fails by the used share of the nearest limit: the server's without reserved connections, the "
        "database's, those of roles with sessions in it",
        thresholds=("connections_warn", "connections_fail"),
    ),
    HealthCheck(
        "oldest_transaction",
        check_oldest_transaction,
        "warns, then fails by the age of the oldest transaction in this database, prepared ones included. Names process and "
        "login, never a statement",
        thresholds=("transaction_warn_seconds", "transaction_fail_seconds"),
        needs="`pg_monitor` for the sessions of other logins",
    ),
    HealthCheck(
        "idle_in_transaction",
        check_idle_in_transaction,
        "warns, then fails by the time that a session has been idle in a transaction",
        thresholds=("idle_in_transaction_warn_seconds", "idle_in_transaction_fail_seconds"),
        needs="`pg_monitor` for the sessions of other logins",
    ),
    HealthCheck(
        "blocked_locks",
        check_blocked_locks,
        "warns, then fails by the time that a session has waited for a lock. Names who holds it, and who holds the head of "
        "the audit log",
        thresholds=("blocked_warn_seconds", "blocked_fail_seconds"),
    ),
    HealthCheck(
        "transaction_ids",
        check_transaction_ids,
        "warns when freezing falls behind in any database of the server; fails at three quarters of the way to the "
        "wraparound",
        thresholds=("transaction_id_warn",),
    ),
    HealthCheck(
        "replication",
        check_replication,
        "fails when commits wait, since fewer synchronous standbys are connected than `synchronous_standby_names` wants; warns when a standby is "
        "late, when fewer stream or are synchronous than are wanted, and when a standby receives nothing from its primary. Names each standby with "
        "its state, lag and slot",
        thresholds=(
            "replication_lag_warn_seconds",
            "replication_lag_warn_bytes",
            "standbys_warn",
            "synchronous_standbys_warn",
        ),
        needs="`pg_monitor` where there are standbys",
    ),
    HealthCheck(
        "replication_slots",
        check_replication_slots,
        "warns when a slot of the server keeps much write-ahead log, has used most of its limit, or has lost what it needs",
        thresholds=("slot_warn_bytes",),
    ),
    HealthCheck(
        "certificate",
        check_certificate,
        "warns when the server's certificate expires soon or has expired",
        thresholds=("certificate_warn_days",),
        needs="the right to read files of the server, such as a superuser's",
    ),
    HealthCheck("database_size", check_database_size, "never"),
    HealthCheck("tables", check_tables, "never. Sizes of the tables"),
    HealthCheck(
        "migrations",
        check_migrations,
        "fails when one was changed, left out or none applied; warns when some are pending or the database is ahead",
        reads=("schema_migrations",),
    ),
    HealthCheck(
        "repeatables",
        check_repeatables,
        "fails when a function, view or trigger is not as it was made, whoever changed it; warns when they are of another "
        "version",
        reads=("schema_repeatables", "schema_objects"),
    ),
    HealthCheck(
        "schema_objects",
        check_schema_objects,
        "fails when a table, view or trigger is missing or a trigger disabled; warns when one can be bypassed or another "
        "schema hides a table",
    ),
    HealthCheck(
        "audit_chain",
        check_audit_chain,
        "fails when the end of the chain is broken. Sequence and hash of its head: keep them elsewhere, to notice a log that "
        "was replaced as a whole. `mission-control audit` and `verify_audit_chain` read the whole of it",
        reads=("audit_head", "audit_links", "audit_entries"),
        needs="`SELECT` on `audit_head`, and either on `audit_links` and `audit_entries` or `EXECUTE` on "
        "`verify_audit_chain`",
    ),
    HealthCheck(
        "stale_task_runs",
        check_stale_task_runs,
        "warns when a running run has recorded no event for long",
        thresholds=("stale_run_warn_seconds",),
        reads=("task_runs", "task_events"),
    ),
    HealthCheck(
        "backups",
        check_backups,
        "warns when archiving fails or stands still, the last backup failed or is old, or WAL was dropped; `not checked` "
        "without any backup",
        thresholds=("backup_warn_seconds", "archive_warn_seconds"),
        reads=("backup_runs",),
    ),
    HealthCheck(
        "inventory_sources",
        check_inventory_sources,
        "warns when a source that is asked by the clock had no complete sync for several of its intervals; `not checked` without "
        "such a source",
        thresholds=("inventory_warn_intervals",),
        reads=("inventory_sources",),
        needs="`SELECT` on `inventory_sources`, and on `task_runs` for why its last sync failed",
    ),
    HealthCheck(
        "prices",
        check_prices,
        "warns when the price list of the collection is old, or when calls of the last 30 days have no price",
        thresholds=("prices_warn_days", "unpriced_warn_calls"),
        reads=("price_lists", "token_usage"),
    ),
    HealthCheck(
        "tools",
        check_tools,
        "warns of policies that deny all they cover since their conditions are not known, of policies from before version 0.3.0 that allow calls and "
        "are not in `mission_control_schema_policies`, of tool calls that no executor takes up or that run past their deadline, and of calls of the last "
        "24 hours of which nobody knows how they ended; never because a call waits for a person",
        thresholds=("tool_call_warn_seconds",),
        reads=("policies", "tool_call_records"),
    ),
    HealthCheck(
        "budgets",
        check_budgets,
        "warns when much of a budget for language models is spent this month, or all of it; `not checked` without a budget",
        thresholds=("budget_warn",),
        reads=("llm_budgets", "token_usage_days", "token_usage_changes", "token_usage_rollup"),
    ),
)
NAMES = tuple(check.name for check in CHECKS)
TABLES_READ = tuple(table for check in CHECKS for table in check.reads)
