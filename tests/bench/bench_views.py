"""Print how long the views take on large logs, with their plans. Run by `make bench`; asserts nothing.

A throw-away server with PostgreSQL's own defaults for memory and plans; it takes some minutes, then the server is gone. What is read of the
usage is compared by size and with the rows themselves, which are read where the session has another time zone than the sums by day.
"""

import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.report import usage_report  # noqa: E402
from large_data import load_runs, load_usage  # noqa: E402
from library_client import client_of  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

SIZES = {"runs": 50_000, "events": 1_000_000, "calls": 200_000}
USAGE = (1_000_000, 10_000_000)
BUDGETS = 20
REPEATS = 7
OF_RUNS = (
    "SELECT * FROM active_task_runs",
    "SELECT * FROM active_task_runs ORDER BY created_at DESC LIMIT 10",
    "SELECT * FROM tool_call_success_rate WHERE total_calls > 0",
)
OF_USAGE = (
    "SELECT * FROM recent_token_usage_summary ORDER BY total_cost_usd DESC",
    "SELECT project, sum(cost_usd) FROM daily_token_usage WHERE day >= date_trunc('month', now())::date GROUP BY project",
    "SELECT * FROM llm_budget_status",
)
# No view of the usage reads by these, and ten million rows are loaded sooner without.
UNUSED_INDEXES = (
    "ix_token_usage_request_id, ix_token_usage_task_run_id, ix_token_usage_price_id, ix_token_usage_project"
)


def main():
    with ThrowawayCluster(jit="on") as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        admin, session = database.session("admin"), database.session("application")

        load_runs(admin.connection, **SIZES)
        print("\n== " + ", ".join(f"{number:,} {name}" for name, number in SIZES.items()))
        for query in OF_RUNS:
            measure(session, query)
        admin.run(f"DROP INDEX {UNUSED_INDEXES}")
        for number in range(BUDGETS):
            session.insert("llm_budgets", name=f"budget {number}", amount_usd=100, project=f"project {number}")
        for usage in USAGE:
            admin.run("TRUNCATE token_usage")
            load_usage(admin.connection, usage=usage, days=365)
            print(f"\n== {usage:,} usage rows over the last 365 days")
            for query in OF_USAGE:
                measure(session, query)
            measure_reports(database)
        session.run("SET mission_control.reporting_time_zone = 'Europe/Berlin'")
        print("\n== the same by the rows themselves")
        for query in OF_USAGE:
            measure(session, query, repeats=1)
        print(f"\n   the database takes {admin.value('SELECT pg_size_pretty(pg_database_size(current_database()))')}")
        database.close()


def measure_reports(database):
    """`mission-control usage` of 30 days, from the sums by day and, in another time zone, from the calls."""
    with client_of(database) as client:
        for zone in ("UTC", "Asia/Tokyo"):
            milliseconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                report = usage_report(client, ("day", "provider", "model"), time_zone=zone)
                milliseconds.append((time.perf_counter() - started) * 1000)
            source = "sums by day" if report.period.is_rolled_up else "calls"
            print(
                f"\n   {statistics.median(milliseconds):.1f} ms, report in {zone} of {source}, {len(report.rows)} rows"
            )


def measure(session, query, repeats=REPEATS):
    milliseconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        rows = len(session.rows(query))
        milliseconds.append((time.perf_counter() - started) * 1000)
    spread = f"{min(milliseconds):.1f} to {max(milliseconds):.1f}"
    print(f"\n   {statistics.median(milliseconds):.1f} ms (of {repeats}: {spread}), {rows} rows: {query}")
    for line in session.values(f"EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) {query}"):
        print(f"      {line[:150]}")


if __name__ == "__main__":
    main()
