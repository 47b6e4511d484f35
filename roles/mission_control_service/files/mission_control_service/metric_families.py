# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The metrics of database and service, made from the latest health report and the latest figures when somebody asks.

Counters of tokens, costs and finished runs begin anew with each month of the reporting time zone. To Prometheus that is a
counter that was reset, which rate() and increase() see through, and no scrape ever adds up years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mission_control.health.replication import ROLES
from mission_control.inventory.snapshot import KINDS
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .figures import CALL_OUTCOMES, FINISHED_RUNS
from .usage_api import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from mission_control.health.report import HealthReport
    from prometheus_client.metrics_core import Metric

    from .figures import Audit, Budgets, Inventory, Playbooks, Runs, Sources, Tools, Usage
    from .health import Health
    from .statistics import Statistics

_PREFIX = "mission_control_"
_OF_ONE_ROLE = {
    "receiving": "Whether a standby receives write-ahead log from its primary.",
    "lag_bytes": "Of a standby: write-ahead log that it has received and not replayed.",
    "lag_seconds": "Of a standby: age of what it has replayed, 0 where that is all.",
    "waiting_commits": "Of a primary: commits that wait for a synchronous standby.",
}
_MIGRATION_STATES = ("pending", "drifted", "out_of_order", "ahead")


class ServiceCollector:
    """What prometheus_client asks for all families that are not counted in this process."""

    def __init__(self, health: Health, statistics: Statistics, budget_usd: Decimal | None) -> None:
        self._health = health
        self._statistics = statistics
        self._budget_usd = budget_usd

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise the registry would collect once at the start, when there is no database yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        statistics = self._statistics
        statistics.refresh()
        report = self._health.report()
        yield from _health(self._health, report)
        yield from _pool_and_queries(self._health)
        found: dict[str, Any] = {
            "inventory": statistics.inventory,
            "sources": statistics.sources,
            "runs": statistics.runs,
            "playbooks": statistics.playbooks,
            "usage": statistics.usage,
            "budgets": statistics.budgets,
            "tools": statistics.tools,
            "audit": statistics.audit,
        }
        yield _gauge(
            "figures_up",
            "Whether the figures of a group could be had lately; if not its metrics are missing.",
            "group",
            {name: int(value is not None) for name, value in found.items()},
        )
        yield _gauge("figures_age_seconds", "Since the figures of a group were read.", "group", statistics.ages())
        for name, value in found.items():
            if value is not None:
                yield from _FIGURES[name](value)
        if found["budgets"] is not None:
            usage, budgets = found["usage"], found["budgets"]
            yield from _budgets(usage.with_deprecated_budget(budgets, self._budget_usd) if usage else budgets.rows)
        if self._budget_usd is not None:
            yield _gauge("budget_usd", "Deprecated: of the setting of the service.", "", {"": float(self._budget_usd)})


def _health(health: Health, report: HealthReport | None) -> Iterator[Metric]:
    yield _gauge("build_info", "Always 1; the label is the version.", "version", {health.version: 1})
    connected = report is not None and report.check("connection").status != "fail"
    yield _gauge("up", "Whether the database answers.", "", {"": int(connected)})
    ready = health.not_ready_because() is None
    yield _gauge("ready", "Whether the schema is the one that this version expects.", "", {"": int(ready)})
    if report is None:
        return
    status = GaugeMetricFamily(
        f"{_PREFIX}health_check_status", "1 for the status that a health check has.", labels=("check", "status")
    )
    for check in report.checks:
        status.add_metric((check.name, check.status.replace(" ", "_")), 1)
    yield status
    yield _gauge(
        "health_checked_timestamp_seconds", "When the health was checked.", "", {"": report.checked_at.timestamp()}
    )
    yield _gauge("health_check_duration_seconds", "How long that took.", "", {"": report.duration_ms / 1000})
    connection = report.check("connection").data
    if "query_ms" in connection:
        yield _gauge("database_latency_seconds", "A trivial query.", "", {"": connection["query_ms"] / 1000})
    yield from _schema(report)
    yield from _replication(report)


def _schema(report: HealthReport) -> Iterator[Metric]:
    migrations = report.check("migrations").data
    if "applied" in migrations:
        counts = {"applied": migrations["applied"]}
        counts.update({state: len(migrations[state]) for state in _MIGRATION_STATES if state in migrations})
        yield _gauge("migrations", "Migrations by state.", "state", counts)
    size = report.check("database_size").data
    if "bytes" in size:
        yield _gauge("database_size_bytes", "Size of the database.", "", {"": size["bytes"]})
    tables = report.check("tables").data.get("tables", {})
    if tables:
        sizes = {name: table["total_bytes"] for name, table in tables.items()}
        yield _gauge("table_size_bytes", "Size of a table with its indexes.", "table", sizes)
    limits = report.check("connections").data
    if "used" in limits and "limit" in limits:
        yield _gauge("server_connections", "Connections of the limit that is nearest.", "", {"": limits["used"]})
        yield _gauge("server_connections_limit", "That limit.", "", {"": limits["limit"]})


def _replication(report: HealthReport) -> Iterator[Metric]:
    """What is hidden from the service's login, or is not to be had on a standby or on a primary, is missing."""
    writable = report.check("writable").data
    if "writable" in writable:
        yield _gauge("writable", "Whether the database takes writes.", "", {"": int(writable["writable"])})
    found = report.check("replication").data
    if "timeline" in found:
        roles = {role: int(found["role"] == role) for role in ROLES}
        yield _gauge("replication_role", "1 for what the server is.", "role", roles)
        yield _gauge("replication_timeline", "Number of the timeline.", "", {"": found["timeline"]})
        counts = {"connected": found["connected"]}
        if not found["hidden"]:
            counts["streaming"] = found["streaming"]
            counts.update({name: found[name] for name in ("synchronous", "synchronous_wanted") if name in found})
        yield _gauge("replication_standbys", "Standbys by state.", "state", counts)
        yield from _standbys(found["standbys"])
        for name, description in _OF_ONE_ROLE.items():
            known = {} if found.get(name) is None else {"": float(found[name])}
            yield _gauge(f"replication_{name}", description, "", known)
    slots = report.check("replication_slots").data.get("slots", ())
    for name, description, column in (
        ("active", "Whether somebody uses a replication slot.", "active"),
        ("retained_bytes", "Write-ahead log that a slot keeps on the server.", "retained_bytes"),
        ("safe_bytes", "What it may still keep before it loses its place; only with a limit.", "safe_bytes"),
    ):
        values = {slot["name"]: float(slot[column]) for slot in slots if slot[column] is not None}
        yield _gauge(f"replication_slot_{name}", description, "slot", values)


def _standbys(standbys: Iterable[dict[str, Any]]) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        f"{_PREFIX}replication_standby", "1 for a standby that is connected.", labels=("standby", "state", "sync_state")
    )
    # Of several that go by one name it is the worst that counts.
    known = {(each["name"], each["state"], each["sync_state"]) for each in standbys if each["state"] is not None}
    for labels in sorted(known):
        states.add_metric(labels, 1)
    yield states
    for name, description in (
        ("lag_bytes", "Write-ahead log that a standby has not replayed; has not received, where its state is hidden."),
        ("lag_seconds", "How long it takes until a standby has replayed what was written."),
    ):
        lags: dict[str, float] = {}
        for each in standbys:
            if each[name] is not None:
                lags[each["name"]] = max(lags.get(each["name"], 0.0), float(each[name]))
        yield _gauge(f"replication_standby_{name}", description, "standby", lags)


def _pool_and_queries(health: Health) -> Iterator[Metric]:
    pool = health.database.pool_stats()
    states = {"idle": pool.idle, "used": pool.in_use, "opening": pool.opening}
    yield _gauge("pool_connections", "Connections of the service to the database.", "state", states)
    yield _gauge("pool_connections_limit", "Most connections that the pool opens.", "", {"": pool.max_size})
    yield _gauge("pool_waiting_callers", "Callers that wait for a connection.", "", {"": pool.waiting})
    yield _counter("pool_checkouts", "Connections given back after use.", "", {"": pool.checkouts})
    yield _counter("pool_waits", "Callers that did not get a connection at once.", "", {"": pool.waits})
    yield _counter("pool_wait_seconds", "What those waited together.", "", {"": pool.wait_seconds})
    yield _counter("pool_timeouts", "Callers that waited in vain.", "", {"": pool.timeouts})
    yield _counter("pool_opened", "Connections opened.", "", {"": pool.opened})
    yield _counter("pool_open_errors", "Attempts to connect that failed.", "", {"": pool.open_errors})
    yield _counter("pool_lost", "Connections found broken.", "", {"": pool.lost})
    counts, seconds = health.database.counts()
    yield _counter("queries", "Readings of the database, by how they ended.", "outcome", counts)
    yield _counter("query_seconds", "What all readings took together.", "", {"": seconds})


def _inventory(figures: Inventory) -> Iterator[Metric]:
    yield _gauge("hosts", "Hosts by status.", "status", figures.hosts)
    yield _gauge("workloads", "Workloads by status.", "status", figures.workloads)
    yield _gauge("services", "Services.", "", {"": figures.services})


def _sources(figures: Sources) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        f"{_PREFIX}inventory_source_age_seconds",
        "Since the source was last listed whole.",
        labels=("source", "connector"),
    )
    success = GaugeMetricFamily(
        f"{_PREFIX}inventory_source_last_sync_success",
        "Whether the sync that ended last succeeded.",
        labels=("source", "connector"),
    )
    rows = GaugeMetricFamily(
        f"{_PREFIX}inventory_rows", "Rows that a source lists, or lists no longer.", labels=("source", "kind", "state")
    )
    for source in figures.rows:
        labels = (source["name"], source["connector"])
        if source["complete_seconds"] is not None:
            age.add_metric(labels, max(0.0, source["complete_seconds"]))
        if source["last_run_status"] is not None:
            success.add_metric(labels, int(source["last_run_status"] == "succeeded"))
        for kind in KINDS:
            rows.add_metric((source["name"], kind, "live"), source[kind])
            rows.add_metric((source["name"], kind, "gone"), figures.gone.get((source["name"], kind), 0))
    yield from (age, success, rows)


def _runs(figures: Runs) -> Iterator[Metric]:
    yield _gauge("task_runs_open", "Runs that are not finished, by status.", "status", figures.open)
    yield _counter(
        "task_runs_finished",
        "Finished runs of those queued this month, by status.",
        "status",
        figures.finished_this_month,
    )


def _playbooks(figures: Playbooks) -> Iterator[Metric]:
    runs = CounterMetricFamily(
        f"{_PREFIX}playbook_runs", "Finished runs of a playbook this month, by status.", labels=("playbook", "status")
    )
    for row in figures.rows:
        for status in FINISHED_RUNS:
            runs.add_metric((row["playbook"], status), row[status])
    yield runs
    ended = [row for row in figures.rows if row["ended_status"] is not None]
    for name, description, values in (
        (
            "last_run_timestamp_seconds",
            "When the last run of a playbook began.",
            {row["playbook"]: row["last_started_at"].timestamp() for row in figures.rows},
        ),
        (
            "last_run_duration_seconds",
            "What the last run took that has ended.",
            {row["playbook"]: row["ended_seconds"] for row in ended},
        ),
        (
            "last_run_failed",
            "Whether the last run failed that has ended.",
            {row["playbook"]: int(row["ended_status"] == "failed") for row in ended},
        ),
        (
            "last_success_timestamp_seconds",
            "When the last run had ended that succeeded.",
            {row["playbook"]: row["last_success_at"].timestamp() for row in ended if row["last_success_at"]},
        ),
    ):
        yield _gauge(f"playbook_{name}", description, "playbook", values)


def _usage(figures: Usage) -> Iterator[Metric]:
    tokens = CounterMetricFamily(f"{_PREFIX}tokens", "Tokens used this month.", labels=("provider", "model", "bucket"))
    labels = ("provider", "model")
    requests = CounterMetricFamily(f"{_PREFIX}llm_requests", "Requests to models this month.", labels=labels)
    unpriced = CounterMetricFamily(
        f"{_PREFIX}llm_unpriced_requests", "Those of them whose model had no price.", labels=labels
    )
    costs = CounterMetricFamily(f"{_PREFIX}llm_cost_usd", "Known cost of this month in USD.", labels=labels)
    for model, sums in sums_by_model(figures).items():
        for bucket in BUCKETS:
            # Few models use audio or images: no series for the others.
            if sums[f"{bucket}_tokens"] or not bucket.startswith(("audio", "image")):
                tokens.add_metric((*model, bucket), sums[f"{bucket}_tokens"])
        requests.add_metric(model, sums["requests"])
        unpriced.add_metric(model, sums["unpriced_requests"])
        costs.add_metric(model, float(sums["cost_usd"]))
    yield from (tokens, requests, unpriced, costs)
    month = float(figures.month_cost)
    yield _gauge("month_cost_usd", "Known cost of the month until now in USD.", "", {"": month})
    by_project = {row["project"] or "": float(row["month_cost_usd"] or 0) for row in figures.projects}
    yield _gauge("llm_project_month_cost_usd", "The same of the projects that cost most.", "project", by_project)


def _prices(figures: Budgets) -> Iterator[Metric]:
    description = "Days since the prices in force were read at their source, by the origin of the list."
    yield _gauge("prices_age_days", description, "origin", figures.prices_age_days)


def _budgets(rows: Iterable[dict[str, Any]]) -> Iterator[Metric]:
    for name, description, column in (
        ("usd", "Budget of this month in USD.", "amount_usd"),
        ("spent_usd", "What is spent of it.", "spent_usd"),
        (
            "projected_usd",
            "What will have been spent at the end of the month, as the last 7 days were.",
            "projected_usd",
        ),
        ("share", "Part of the budget that is spent; 1 is all.", "spent_share"),
    ):
        yield _gauge(f"llm_budget_{name}", description, "budget", {row["name"]: float(row[column]) for row in rows})


def sums_by_model(figures: Usage) -> dict[tuple[str, str], dict[str, Any]]:
    """Of this month. A cost that is not known counts as 0 here; how many requests that concerns is counted."""
    names = ("requests", "unpriced_requests", "cost_usd", *(f"{bucket}_tokens" for bucket in BUCKETS))
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for row in figures.since(figures.month_start):
        model = sums.setdefault((row["provider"], row["model"]), dict.fromkeys(names, 0))
        for name in names:
            model[name] += row[name] or 0
    return sums


def _tools(figures: Tools) -> Iterator[Metric]:
    calls = CounterMetricFamily(f"{_PREFIX}tool_calls", "Ended calls of tools.", labels=("tool", "outcome"))
    for row in figures.rows:
        for outcome in CALL_OUTCOMES:
            calls.add_metric((row["tool_name"], outcome), row[outcome])
    yield calls
    yield _gauge("tool_calls_open", "Calls that have not ended, by status.", "status", figures.open)
    yield _gauge("tool_calls_waiting", "Calls that wait for a person's approval.", "", {"": figures.waiting})
    description = "How long the first call waits in its state; 0 where none does."
    yield _gauge("tool_call_oldest_seconds", description, "state", figures.oldest_seconds)
    description = "Calls of the last 24 hours of which nobody knows how they ended."
    yield _gauge("tool_calls_unknown", description, "", {"": figures.unknown})


def _audit(figures: Audit) -> Iterator[Metric]:
    yield _counter("audit_links", "Links of the audit chain.", "", {"": figures.links})
    description = "Whether the end of the audit chain is whole, and goes on from what this service has seen of it."
    yield _gauge("audit_chain_valid", description, "", {"": int(figures.valid)})


_FIGURES: Any = {
    "inventory": _inventory,
    "sources": _sources,
    "runs": _runs,
    "playbooks": _playbooks,
    "usage": _usage,
    "budgets": _prices,
    "tools": _tools,
    "audit": _audit,
}


def _gauge(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, description, labels=(label,) if label else ())
    for value_label, value in values.items():
        family.add_metric((value_label,) if label else (), value)
    return family


def _counter(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, description, labels=(label,) if label else ())
    for value_label, value in values.items():
        family.add_metric((value_label,) if label else (), value)
    return family
