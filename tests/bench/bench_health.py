#!/usr/bin/env python3
"""Time the modules health and query against community.postgresql.postgresql_ping, and the checks without Ansible around them.

Run by `make bench`. Prints medians and the spread; there is no limit to pass or fail.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import mission_control_database as layer
import psycopg2
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import Manifest
from playbook import ROOT, run_playbook
from throwaway_cluster import ThrowawayCluster

ROUNDS = 5
TASKS = 6
CALLS = 200
MODULES = {
    "postgresql_ping": ("community.postgresql.postgresql_ping", {}),
    "query, SELECT 1": ("homelab.mission_control.query", {"query": "SELECT 1 AS one"}),
    "health, every check": ("homelab.mission_control.health", {}),
}


def playbook(login: dict, module: str, options: dict) -> str:
    """A play that does the same several times, so that the start of Ansible can be taken off."""
    tasks = [{"name": f"Run {number}", module: {**login, **options}} for number in range(TASKS)]
    return yaml.safe_dump([{"hosts": "mission_control", "gather_facts": False, "tasks": tasks}])


def play_seconds(home: Path, text: str) -> float:
    (home / "play.yml").write_text(text, encoding="utf-8")
    began = time.monotonic()
    run_playbook(home / "play.yml", {}, home=home).succeeded()
    return time.monotonic() - began


def show(name: str, milliseconds: list[float]) -> None:
    print(
        f"{name:<44}{statistics.median(milliseconds):9.2f} ms   ({min(milliseconds):.2f} to {max(milliseconds):.2f},"
        f" {len(milliseconds)} times)",
        flush=True,
    )


def ping(parameters: dict) -> None:
    """What postgresql_ping asks."""
    with contextlib.closing(psycopg2.connect(**parameters)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        cursor.fetchone()


def check(parameters: dict, manifest: Manifest) -> None:
    names = {"host": "host", "port": "port", "database": "dbname", "user": "user"}
    client = Client(pool_size=1, **{name: parameters[other] for name, other in names.items()})
    report = check_health(client, manifest)
    client.disconnect(0)
    assert report.status == "pass", report


def without_ansible(parameters: dict) -> None:
    manifest = Manifest.of_directory(str(ROOT / "files/sql"), "0")
    times: dict[str, list[float]] = {"connect and one question": [], "connect and every check": []}
    for _ in range(CALLS):
        for name, call in (
            ("connect and one question", lambda: ping(parameters)),
            ("connect and every check", lambda: check(parameters, manifest)),
        ):
            began = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - began) * 1000)
    for name, milliseconds in times.items():
        show(name, milliseconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as place, ThrowawayCluster() as cluster:
        home = Path(place)
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        login = {
            "login_unix_socket": cluster.socket_directory,
            "login_port": cluster.port,
            "login_user": "postgres",
            "login_db": "bench",
        }
        empty = yaml.safe_dump([{"hosts": "mission_control", "gather_facts": False, "tasks": []}])
        times: dict[str, list[float]] = {name: [] for name in MODULES}
        for _ in range(ROUNDS):
            floor = play_seconds(home, empty)
            for name, (module, options) in MODULES.items():
                spent = play_seconds(home, playbook(login, module, options)) - floor
                times[name].append(spent / TASKS * 1000)
        print(f"A task on this machine, of {TASKS} in a play, without the start of Ansible; medians")
        for name, milliseconds in times.items():
            show(name, milliseconds)
        print("The same without Ansible, in this process; medians")
        without_ansible(cluster.connection_parameters("bench"))
        database.close()


if __name__ == "__main__":
    main()
