"""Print how fast audit entries are written by many clients at once, and how fast their chain is verified. Asserts nothing.

Every transaction stays open for 20 ms after its entry, as one that does real work would, so 16 clients can at best commit
800 of them in a second. A throw-away server, about a minute.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from throwaway_cluster import ThrowawayCluster, server_bindir  # noqa: E402

CLIENTS = 16
SECONDS = 10
ENTRIES = 200_000
_ENTRY = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('bench', 'write', 'success');\n"
HOSTILE = (
    "SET jit = on; SET jit_above_cost = 0; SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0; "
    "SET plan_cache_mode = force_custom_plan; SET enable_indexscan = off; SET enable_indexonlyscan = off; "
    "SET enable_bitmapscan = off; SET work_mem = '64kB'; SET random_page_cost = 1e10"
)
# Commits of one transaction, whose time is nearly all spent with the chain's head locked: entries, and their details.
COMMITS = {
    "10,000 entries": (10_000, "'{}'"),
    "100,000 entries": (100_000, "'{}'"),
    "1,000 entries of the largest size": (1_000, "jsonb_build_object('a', repeat('x', 65000))"),
    "1,000 entries of 13,000 numbers": (
        1_000,
        "jsonb_build_object('a', (SELECT jsonb_agg(0.1) FROM generate_series(1, 13000)))",
    ),
}
SCRIPTS = {
    "one entry, open for 20 ms": f"BEGIN;\n{_ENTRY}\\sleep 20 ms\nCOMMIT;\n",
    "one entry, committed at once": _ENTRY,
}


def main():
    # The tests' servers allow prepared transactions, which is not the default: each commit with entries then writes a file more.
    with ThrowawayCluster(max_prepared_transactions="0") as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        print(f"\n== audit entries of {CLIENTS} clients")
        for title, script in SCRIPTS.items():
            print(f"   {transactions_per_second(cluster, script):8.0f} per second: {title}")
        admin = database.session("admin")
        admin.run(
            "INSERT INTO audit_entries (actor, action, outcome, details) "
            "SELECT 'bench', 'write', 'success', jsonb_build_object('n', n) FROM generate_series(1, %s) AS n",
            ENTRIES,
        )
        admin.run("VACUUM (ANALYZE)")
        started = time.perf_counter()
        result = admin.row("SELECT * FROM verify_audit_chain()")
        seconds = time.perf_counter() - started
        print(
            f"   {seconds:8.2f} s to verify {result['verified']:,} links ({result['problem'] or 'valid'}), "
            f"{seconds / result['verified'] * 1_000_000:.1f} s per million"
        )
        print("== the commit of one transaction by a session that has set what it could")
        for title, (entries, details) in COMMITS.items():
            print(f"   {commit_seconds(database, entries, details):8.2f} s: {title}")
        database.close()


def commit_seconds(database, entries, details):
    session = database.session("application")
    session.run(HOSTILE)
    session.run("BEGIN")
    session.run(
        "INSERT INTO audit_entries (actor, action, outcome, details) "
        f"SELECT 'bench', 'write', 'success', {details} FROM generate_series(1, {entries})"
    )
    started = time.perf_counter()
    session.run("COMMIT")
    return time.perf_counter() - started


def transactions_per_second(cluster, script):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        output = subprocess.run(
            [
                os.path.join(server_bindir(), "pgbench"),
                "--no-vacuum",
                f"--client={CLIENTS}",
                f"--time={SECONDS}",
                f"--file={file.name}",
                f"--host={cluster.socket_directory}",
                f"--port={cluster.port}",
                f"--username={layer.ROLES['application']}",
                "bench",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return float(re.search(r"tps = ([0-9.]+)", output).group(1))


if __name__ == "__main__":
    main()
