# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Figures about what is in the database, shared by metrics, summary and page.

No figure is the result of a scan over a log that grows without end. Open runs and calls stand in partial indexes, runs are
counted from the beginning of the month over an index on their time, and use is summed by days already. Only the calls of the tools are counted whole,
by a scan of an index; like everything here the seldomer the longer it takes.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mission_control.audit.head import AuditHead
from mission_control.audit.log import verify_audit_chain
from mission_control.inventory.snapshot import KINDS
from mission_control.ledger.budgets import COLUMNS as BUDGET_COLUMNS
from mission_control.ledger.budgets import DAYS_OF_PROJECTION, NEAR, SCOPE, SPENT, projection

from .resources import COMPLETE_SECONDS, WAITS
from .usage_api import SUMS, USAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .database import Reader

    Row = dict[str, Any]

OPEN_RUNS = ("queued", "running", "waiting_approval")
FINISHED_RUNS = ("succeeded", "failed", "cancelled")
OPEN_CALLS = ("pending", "approved", "running")
# What an open call that does not run waits for, and since when: a person; the executor, to begin it or to check its arguments.
OPEN_STATES = {
    "waiting": (WAITS, "checked_at"),
    "approved": ("status = 'approved'", "coalesce(approved_at, created_at)"),
    "unchecked": ("status = 'pending' AND checked_at IS NULL", "created_at"),
}
CALL_OUTCOMES = ("succeeded", "failed", "timed_out", "denied")
HOST_STATUSES = ("online", "offline", "degraded", "unknown")
WORKLOAD_STATUSES = ("running", "stopped", "pending", "failed", "unknown")
# Days of use that are shown, today included.
DAYS_SHOWN = 30
UNWELL_SHOWN = 20
_UNWELL = (
    "SELECT 'host' AS kind, id, name, status FROM hosts WHERE gone_at IS NULL AND status IN ('offline', 'degraded') "
    "UNION ALL SELECT 'workload', id, name, status FROM workloads WHERE gone_at IS NULL AND status = 'failed' "
    "ORDER BY kind, status DESC, name LIMIT %s"
)
# Each is a label of metrics: what somebody names playbooks must not become series without end.
PLAYBOOKS_TOLD = 200
PROJECTS_TOLD = 50
BUDGETS_TOLD = 100
# Of the budget that the deprecated setting of the service is.
DEPRECATED_BUDGET = "all"
PLAYBOOK_RUNS_SHOWN = 10


@dataclass(frozen=True)
class Inventory:
    """Numbers of hosts and workloads by status, and of services; without those that are gone.

    Attributes:
        unwell: `kind`, `id`, `name` and `status` of the first UNWELL_SHOWN hosts and workloads that are not well.
    """

    hosts: dict[str, int]
    workloads: dict[str, int]
    services: int
    unwell: tuple[Row, ...] = ()

    @property
    def unwell_count(self) -> int:
        return self.hosts["offline"] + self.hosts["degraded"] + self.workloads["failed"]


@dataclass(frozen=True)
class Sources:
    """What fills the inventory.

    Attributes:
        rows: of the view inventory_source_status, with `complete_seconds`: how long ago the snapshot was begun that last listed everything; None
            for none yet.
        gone: rows that a source lists no longer, by its name and the kind.
    """

    rows: tuple[Row, ...]
    gone: dict[tuple[str, str], int]


@dataclass(frozen=True)
class Runs:
    """Runs by status: the open ones, the finished ones of those queued this month, all of those queued in 24 hours."""

    open: dict[str, int]
    finished_this_month: dict[str, int]
    last_24_hours: dict[str, int]


@dataclass(frozen=True)
class Playbooks:
    """Playbooks whose runs are recorded.

    Attributes:
        rows: of the view playbook_status, the PLAYBOOKS_TOLD that were run last; with what playbook_run_overview says of the last run, and of the
            last run that has ended `ended_status` and `ended_seconds`, None for none.
        runs: of playbook_run_overview, the last PLAYBOOK_RUNS_SHOWN, dry runs too.
    """

    rows: tuple[Row, ...]
    runs: tuple[Row, ...]


@dataclass(frozen=True)
class Usage:
    """Use and cost by day, provider and model, from the beginning of the month or 30 days ago on.

    Attributes:
        today: in the reporting time zone.
        days_left: of the month there, the rest of today included.
        rows: with `day`, `provider`, `model` and the sums.
        projects: with `project` (None for none), `requests`, `cost_usd` and `unpriced_requests` of the 30 days, and `month_cost_usd`; the
            PROJECTS_TOLD that were dearest this month and then in these days.
    """

    today: datetime.date
    days_left: Decimal
    rows: tuple[Row, ...]
    projects: tuple[Row, ...]

    def since(self, day: datetime.date) -> list[Row]:
        return [row for row in self.rows if row["day"] >= day]

    @property
    def month_start(self) -> datetime.date:
        return self.today.replace(day=1)

    @property
    def month_cost(self) -> Decimal:
        return _cost(self.since(self.month_start))

    @property
    def first_shown(self) -> datetime.date:
        return self.today - datetime.timedelta(days=DAYS_SHOWN - 1)

    def with_deprecated_budget(self, budgets: Budgets, amount_usd: Decimal | None) -> tuple[Row, ...]:
        """The budgets, with what the service's own setting says where no budget is that of everything, or has its name."""
        rows = budgets.rows
        everything = (row for row in rows if all(row[name] is None for name in SCOPE))
        if amount_usd is None or any(everything) or DEPRECATED_BUDGET in (row["name"] for row in rows):
            return rows
        spent = self.month_cost
        first = self.today - datetime.timedelta(days=DAYS_OF_PROJECTION)
        last_days = _cost(row for row in self.since(first) if row["day"] < self.today)
        projected = projection(spent, last_days, self.days_left)
        share = spent / amount_usd
        budget = {
            **dict.fromkeys(SCOPE),
            "name": DEPRECATED_BUDGET,
            "origin": "role",
            "month": self.month_start,
            "amount_usd": amount_usd,
            "spent_usd": spent,
            "spent_share": share,
            "projected_usd": projected,
            "projected_share": projected / amount_usd,
            "unpriced_calls": sum(row["unpriced_requests"] for row in self.since(self.month_start)),
            "level": "spent" if share >= SPENT else "near" if share >= NEAR else "ok",
        }
        return tuple(sorted((*rows, budget), key=lambda row: -row["spent_share"]))


@dataclass(frozen=True)
class Budgets:
    """Budgets of this month, and how old the prices are.

    Attributes:
        rows: of the view llm_budget_status, the BUDGETS_TOLD that are spent most.
        prices_age_days: days since the prices in force were read at their source, by the origin of the list (seed, user).
    """

    rows: tuple[Row, ...]
    prices_age_days: dict[str, int]


@dataclass(frozen=True)
class Tools:
    """Calls of the tools.

    Attributes:
        rows: of the view tool_call_success_rate.
        open: the open ones by status.
        waiting: those that wait for a person, of the pending ones.
        oldest_seconds: by what they wait for (OPEN_STATES), how long the first of them does; 0 where none does.
        unknown: those whose time was up in the last 24 hours and of which nobody knows how they ended.
    """

    rows: tuple[Row, ...]
    open: dict[str, int]
    waiting: int
    oldest_seconds: dict[str, float]
    unknown: int


@dataclass(frozen=True)
class Audit:
    """The audit chain: its length, and whether what was added since this service looks is rightly chained."""

    links: int
    valid: bool
    problem: str | None


def read_inventory(reader: Reader) -> Inventory:
    return Inventory(
        _by_status(reader, "SELECT status, count(*) FROM hosts WHERE gone_at IS NULL GROUP BY status", HOST_STATUSES),
        _by_status(
            reader, "SELECT status, count(*) FROM workloads WHERE gone_at IS NULL GROUP BY status", WORKLOAD_STATUSES
        ),
        reader.row("SELECT count(*) FROM services WHERE gone_at IS NULL")["count"],
        tuple(reader.rows(_UNWELL, [UNWELL_SHOWN])),
    )


def read_sources(reader: Reader) -> Sources:
    rows = reader.rows(
        "SELECT name, connector, enabled, last_run_status, last_run_error, hosts, services, workloads, gone, "  # noqa: S608 - constants
        f"{COMPLETE_SECONDS} AS complete_seconds FROM inventory_source_status ORDER BY name"
    )
    gone = " UNION ALL ".join(
        f"SELECT source, '{kind}' AS kind, count(*) FROM {kind} WHERE gone_at IS NOT NULL GROUP BY source"  # noqa: S608 - constants
        for kind in KINDS
    )
    return Sources(tuple(rows), {(row["source"], row["kind"]): row["count"] for row in reader.rows(gone)})


def read_runs(reader: Reader) -> Runs:
    month = (
        "SELECT status, count(*) FROM task_runs WHERE finished_at IS NOT NULL AND created_at >= "
        "date_trunc('month', now() AT TIME ZONE reporting_time_zone()) AT TIME ZONE reporting_time_zone() GROUP BY status"
    )
    return Runs(
        _by_status(
            reader,
            "SELECT status, count(*) FROM task_runs WHERE status IN ('queued', 'running', 'waiting_approval') GROUP BY status",
            OPEN_RUNS,
        ),
        _by_status(reader, month, FINISHED_RUNS),
        _by_status(
            reader,
            "SELECT status, count(*) FROM task_runs WHERE created_at >= now() - interval '24 hours' GROUP BY status",
            OPEN_RUNS + FINISHED_RUNS,
        ),
    )


def read_playbooks(reader: Reader) -> Playbooks:
    # LIMIT 1 keeps the views apart, which together are too much to be planned at once; BETWEEN is as in playbook_status. How a run ended is
    # told of the last one that has: it would come and go with each run otherwise.
    playbooks = (
        "SELECT s.playbook, s.last_run_id, s.last_status, s.last_started_at, s.last_success_at, s.succeeded, s.failed, s.cancelled, "
        "o.*, e.* FROM playbook_status AS s CROSS JOIN LATERAL ("
        "SELECT o.seconds::float8, o.controller, o.run_by, o.hosts, o.changed_hosts, o.failed_hosts "
        "FROM playbook_run_overview AS o WHERE o.id = s.last_run_id LIMIT 1"
        ") AS o LEFT JOIN LATERAL ("
        "SELECT r.status AS ended_status, extract(epoch FROM r.finished_at - r.created_at)::float8 AS ended_seconds "
        "FROM task_runs AS r JOIN playbook_runs AS p ON p.task_run_id = r.id "
        "WHERE r.task_id BETWEEN s.task_id AND s.task_id AND r.finished_at IS NOT NULL AND NOT p.check_mode "
        "ORDER BY r.task_id DESC, r.created_at DESC LIMIT 1"
        ") AS e ON true ORDER BY s.last_started_at DESC LIMIT %s"
    )
    runs = (
        "SELECT id, playbook, status, started_at, seconds::float8, check_mode, controller, run_by, hosts, changed_hosts, failed_hosts "
        "FROM playbook_run_overview ORDER BY started_at DESC LIMIT %s"
    )
    return Playbooks(tuple(reader.rows(playbooks, [PLAYBOOKS_TOLD])), tuple(reader.rows(runs, [PLAYBOOK_RUNS_SHOWN])))


def read_tools(reader: Reader) -> Tools:
    rows = reader.rows(
        "SELECT tool_name, total_calls, succeeded, failed, timed_out, denied, success_rate::float8, "
        "average_duration_ms::float8 FROM tool_call_success_rate ORDER BY tool_name"
    )
    open_calls = "SELECT status, count(*) FROM tool_call_records WHERE status IN ('pending', 'approved', 'running') GROUP BY status"
    oldest = ", ".join(
        f"coalesce(extract(epoch FROM now() - min({since}) FILTER (WHERE {condition})), 0)::float8 AS {state}"
        for state, (condition, since) in OPEN_STATES.items()
    )
    found = reader.row(
        f"SELECT count(*) FILTER (WHERE {OPEN_STATES['waiting'][0]}) AS count, {oldest} "  # noqa: S608 - constants
        "FROM tool_call_records WHERE status IN ('pending', 'approved', 'running')"
    )
    # As the health check counts them: a call may be begun days after it was asked for, and the index is on that.
    unknown = reader.row(
        "SELECT count(*) FROM tool_call_records WHERE created_at > now() - interval '4 days' AND status = 'unknown' "
        "AND coalesce(deadline_at, started_at) > now() - interval '24 hours'"
    )
    return Tools(
        tuple(rows),
        _by_status(reader, open_calls, OPEN_CALLS),
        found["count"],
        {state: max(0.0, found[state]) for state in OPEN_STATES},
        unknown["count"],
    )


class AuditReader:
    """Verifies what was added to the chain since the last look, and keeps the head outside the database meanwhile.

    So a chain whose newest entries were removed or rewritten while the service ran is found out, at the cost of the new
    entries alone. What is older is verified by the health module and by whoever keeps a head for longer.
    """

    def __init__(self) -> None:
        self._head: AuditHead | None = None

    def read(self, reader: Reader) -> Audit:
        head = self._head
        if head is None:
            rows = reader.rows("SELECT sequence, digest FROM audit_head")
            if not rows:
                return Audit(0, False, "the head is missing")
            head = AuditHead(rows[0]["sequence"], bytes(rows[0]["digest"]))
        report = verify_audit_chain(reader, head, head if head.sequence else None)
        # Only a sound chain is a new measure: a problem stays until somebody has looked at it and restarted the service.
        if report.valid:
            self._head = report.head
        return Audit(report.head.sequence if report.head else 0, report.valid, report.problem)


def read_usage(reader: Reader) -> Usage:
    """All days anew, since use of any of them may be recorded late, imported, or priced later."""
    month = reader.row(
        "SELECT z.now::date AS today, "
        "(extract(epoch FROM date_trunc('month', z.now) + interval '1 month' - z.now) / 86400)::numeric AS days_left "
        "FROM (SELECT now() AT TIME ZONE reporting_time_zone() AS now) AS z"
    )
    today = month["today"]
    shown = today - datetime.timedelta(days=DAYS_SHOWN - 1)
    days = reader.rows(
        f"SELECT day, provider, model, {SUMS} FROM {USAGE} WHERE day >= %s "  # noqa: S608 - constants
        "GROUP BY day, provider, model ORDER BY day, provider, model",
        [min(today.replace(day=1), shown)],
    )
    projects = reader.rows(
        "SELECT project, sum(calls) FILTER (WHERE day >= %(shown)s)::bigint AS requests, "  # noqa: S608 - constants
        "sum(cost_usd) FILTER (WHERE day >= %(shown)s) AS cost_usd, "
        "sum(cost_usd) FILTER (WHERE day >= %(month)s) AS month_cost_usd, "
        "coalesce(sum(calls) FILTER (WHERE day >= %(shown)s AND cost_source = 'unpriced'), 0)::bigint AS unpriced_requests "
        f"FROM {USAGE} WHERE day >= least(%(month)s, %(shown)s) GROUP BY project "
        "ORDER BY month_cost_usd DESC NULLS LAST, cost_usd DESC NULLS LAST, project LIMIT %(most)s",
        {"shown": shown, "month": today.replace(day=1), "most": PROJECTS_TOLD},
    )
    return Usage(today, month["days_left"], tuple(days), tuple(projects))


def read_budgets(reader: Reader) -> Budgets:
    rows = reader.rows(
        f"SELECT {', '.join(BUDGET_COLUMNS)} FROM llm_budget_status ORDER BY spent_share DESC, name LIMIT %s",  # noqa: S608 - constants
        [BUDGETS_TOLD],
    )
    prices = reader.rows("SELECT origin, (now() AT TIME ZONE 'UTC')::date - read_on AS days FROM price_lists")
    return Budgets(tuple(rows), {row["origin"]: row["days"] for row in prices})


def _cost(rows: Iterable[Row]) -> Decimal:
    """The sum of what is known of the costs."""
    return sum((row["cost_usd"] or Decimal(0) for row in rows), Decimal(0))


def _by_status(reader: Reader, sql: str, statuses: tuple[str, ...]) -> dict[str, int]:
    counts = dict.fromkeys(statuses, 0)
    counts.update({row["status"]: row["count"] for row in reader.rows(sql)})
    return counts
