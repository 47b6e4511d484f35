"""Print how much processor time recording takes: without a callback, with ours, and with ARA's. Run by `make bench`; asserts nothing.

The processes that a playbook leaves behind count too, such as our loader. What the database's server takes is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "packages")]

import mission_control_database as layer  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

# Beside the project's own, since it brings Django.
PLACE = ROOT / ".cache" / "bench-recorder"
PACKAGES = [
    f"ansible-core=={version('ansible-core')}",
    f"psycopg2-binary=={version('psycopg2-binary')}",
    "ara[server]==1.8.0",
]
PLAYS = {"500 tasks on one host": (500, 1), "20 tasks on 50 hosts": (20, 50)}
LOADED = """
    SELECT count(*) FILTER (WHERE r.finished_at IS NOT NULL) AS runs, coalesce(sum(e.events), 0) AS events
    FROM playbook_runs AS p JOIN task_runs AS r ON r.id = p.task_run_id
        CROSS JOIN LATERAL (SELECT count(*) AS events FROM task_events AS e WHERE e.task_run_id = r.id) AS e
"""
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--module", default="ansible.builtin.command", help="what each task runs, such as ansible.builtin.debug"
    )
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of the names of callbacks")
    parser.add_argument("--tasks", type=int, help="instead of the two plays one with so many tasks on one host")
    options = parser.parse_args()
    programs = installed()
    with ThrowawayCluster() as cluster, tempfile.TemporaryDirectory() as directory:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        database.session("admin").run("CREATE DATABASE ara")
        callbacks = {
            name: environment
            for name, environment in environments(programs, cluster, database, Path(directory)).items()
            if not options.only or name.startswith(tuple(options.only))
        }
        plays = {f"{options.tasks} tasks on one host": (options.tasks, 1)} if options.tasks else PLAYS
        for title, (tasks, hosts) in plays.items():
            write_play(Path(directory), options.module, tasks, hosts)
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in callbacks}
            for _ in range(options.rounds):
                for name, environment in callbacks.items():
                    figures[name].append(run(programs, Path(directory), environment))
            print(
                f"\n== {title}, {options.module}: seconds of the processor (median; lowest to highest of {options.rounds} rounds)"
            )
            usual = statistics.median(used for used, _ in figures["none"]) if "none" in figures else 0.0
            for name, values in figures.items():
                used, walls = zip(*values)
                more = f"{100 * (statistics.median(used) / usual - 1):+5.1f} %" if usual else ""
                print(
                    f"   {name:<24} {statistics.median(used):7.2f} ({min(used):.2f} to {max(used):.2f}) {more}, "
                    f"on the clock {statistics.median(walls):6.2f}",
                    flush=True,
                )
        loaded = database.session("admin").row(LOADED)
        print(f"\n   In the database: {loaded['runs']} runs with {loaded['events']} events")
        database.close()


def installed() -> Path:
    """Programs of an environment that holds ARA and this Ansible."""
    mark = PLACE / "installed"
    if not mark.exists() or mark.read_text(encoding="utf-8") != "\n".join(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", PLACE], check=True)
        subprocess.run([PLACE / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
        mark.write_text("\n".join(PACKAGES), encoding="utf-8")
    return PLACE / "bin"


def environments(programs, cluster, database, home: Path) -> dict[str, dict[str, str]]:
    place = f"host={cluster.socket_directory}&port={cluster.port}"
    ours = {
        "ANSIBLE_CALLBACKS_ENABLED": "homelab.mission_control.recorder",
        "MISSION_CONTROL_RECORDER_SPOOL": str(home / "spool"),
        "MISSION_CONTROL_RECORDER_URL": f"postgresql://{layer.ROLES['application']}@/{database.name}?{place}",
    }
    plugins = subprocess.run(
        [programs / "python", "-m", "ara.setup.callback_plugins"], check=True, capture_output=True, text=True
    ).stdout.strip()
    ara = {"ANSIBLE_CALLBACK_PLUGINS": plugins, "ARA_BASE_DIR": str(home / "ara")}
    server = {
        "ARA_DATABASE_ENGINE": "django.db.backends.postgresql",
        "ARA_DATABASE_HOST": cluster.socket_directory,
        "ARA_DATABASE_PORT": str(cluster.port),
        "ARA_DATABASE_NAME": "ara",
        "ARA_DATABASE_USER": "postgres",
        "ARA_DATABASE_PASSWORD": "unused",
    }
    return {
        "none": {},
        "recorder": ours,
        "recorder, no database": {
            **ours,
            "MISSION_CONTROL_RECORDER_SPOOL": str(home / "spool-2"),
            "MISSION_CONTROL_RECORDER_URL": "postgresql://nobody@127.0.0.1:9/none",
        },
        "ARA, SQLite": ara,
        "ARA, PostgreSQL": {**ara, **server, "ARA_BASE_DIR": str(home / "ara-postgresql")},
    }


def write_play(home: Path, module: str, tasks: int, hosts: int) -> None:
    arguments = {"cmd": "true"} if module.endswith("command") else {}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"name": f"Task {number}", module: arguments} for number in range(tasks)],
    }
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": {f"host{number}": None for number in range(hosts)}, "vars": variables}}
    (home / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    (home / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")


def run(programs: Path, home: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of the processor, and those until the command ended."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=measure, args=(programs, home, environment, theirs))
    process.start()
    figures: tuple[float, float] = ours.recv()
    process.join()
    return figures


def measure(programs: Path, home: Path, environment: dict[str, str], answer: Any) -> None:
    """The same in a process of its own, of which whatever the playbook leaves behind becomes a child whose time it can tell."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [programs / "ansible-playbook", "-i", home / "hosts.yml", home / "play.yml"],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_PIPELINING": "true",
            **environment,
        },
        cwd=home,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    wall = time.perf_counter() - began
    with contextlib.suppress(ChildProcessError):
        while True:  # until none is left
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer.send((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall))


if __name__ == "__main__":
    main()
