#!/usr/bin/env python3
"""Time the schema role with 10 and with 500 migrations: applying them, and a second run that finds nothing to do.

Run by `make bench`. Prints medians, side by side with a play that has no task; there is no limit to pass or fail.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from playbook import ROOT, run_playbook
from throwaway_cluster import ThrowawayCluster

ROUNDS = 5
EMPTY_PLAY = "- {hosts: mission_control, gather_facts: false, tasks: []}\n"
PRICES = """
CREATE OR REPLACE FUNCTION apply_provider_prices(prices jsonb, origin text) RETURNS integer
LANGUAGE sql SET search_path FROM CURRENT RETURN jsonb_array_length(prices);
"""


def write_files(directory: Path, count: int) -> None:
    """A directory of SQL files like files/sql, with that many migrations that do next to nothing."""
    for name in ("migrations", "repeatable", "seed"):
        (directory / name).mkdir(parents=True)
    for name in ("runner", "plan"):
        (directory / name).symlink_to(ROOT / "files/sql" / name)
    for number in range(1, count + 1):
        text = f"CREATE TABLE table_{number} (id integer);\nCOMMENT ON TABLE table_{number} IS 'nothing';\n"
        (directory / "migrations" / f"{number:03d}_table.sql").write_text(text, encoding="utf-8")
    (directory / "repeatable/001_prices.sql").write_text(PRICES, encoding="utf-8")
    (directory / "seed/provider_pricing.yml").write_text("prices: []\n", encoding="utf-8")
    (directory / "privileges.yml").write_text("defaults: {}\nobjects: []\n", encoding="utf-8")


def seconds(run, *arguments) -> float:
    started = time.monotonic()
    run(*arguments).succeeded()
    return time.monotonic() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as place, ThrowawayCluster() as cluster:
        home = Path(place)
        (home / "empty.yml").write_text(EMPTY_PLAY, encoding="utf-8")
        connection = cluster.connect()
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE postgres PASSWORD 'administrator'")
            cursor.execute("CREATE ROLE mission_control LOGIN")
            for role in ("owner", "audit", "readonly", "monitor", "service", "maintenance", "executor", "approver"):
                cursor.execute(f"CREATE ROLE mission_control_{role}")
            for count in (10, 500):
                cursor.execute(f"CREATE DATABASE bench_{count}")
        connection.close()

        def migrate(count: int):
            variables = {
                "mission_control_postgresql_mode": "existing",
                "mission_control_login_host": "127.0.0.1",
                "mission_control_login_password": "administrator",
                "mission_control_postgresql_port": cluster.port,
                "mission_control_database_name": f"bench_{count}",
                "__mission_control_schema_sql": str(home / f"sql_{count}"),
            }
            return run_playbook("playbooks/migrate.yml", variables, home=home)

        first = {}
        for count in (10, 500):
            write_files(home / f"sql_{count}", count)
            connection = cluster.connect(f"bench_{count}")
            with connection.cursor() as cursor:
                cursor.execute("GRANT USAGE, CREATE ON SCHEMA public TO mission_control_owner, mission_control_audit")
            connection.close()
            first[count] = seconds(migrate, count)
        times: dict[str, list[float]] = {"no task": [], "10": [], "500": []}
        for _ in range(ROUNDS):
            times["no task"].append(seconds(lambda: run_playbook(home / "empty.yml", {}, home=home)))
            times["10"].append(seconds(migrate, 10))
            times["500"].append(seconds(migrate, 500))

    print(f"first run, 10 migrations:   {first[10]:5.1f} s")
    print(f"first run, 500 migrations:  {first[500]:5.1f} s")
    for name, values in times.items():
        what = "a play with no task" if name == "no task" else f"second run, {name} migrations"
        print(
            f"{what + ':':<27} {statistics.median(values):5.2f} s  ({min(values):.2f} to {max(values):.2f}, {ROUNDS} runs)"
        )


if __name__ == "__main__":
    main()
