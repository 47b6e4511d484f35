#!/usr/bin/env python3
"""Time the first and the second run of site.yml on a booted Debian 12 container, beside the floors of the same machine.

Run by `make bench`. Prints medians; there is no limit to pass or fail.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT / "molecule/shared"

INVENTORY = """
mission_control:
  hosts:
    bench: {test_host_suite: bookworm, mission_control_database_password: bench}
test_hosts:
  children:
    mission_control:
"""
EMPTY_PLAY = "- {hosts: mission_control, gather_facts: false, tasks: []}\n"
ONE_PING = "- {hosts: mission_control, gather_facts: false, tasks: [{ansible.builtin.ping: }]}\n"


class Run(NamedTuple):
    seconds: float
    ok: int
    changed: int
    skipped: int


class Bench:
    """One test host and the playbooks that are run on it."""

    def __init__(self, workplace: Path) -> None:
        self.workplace = workplace
        (workplace / "hosts.yml").write_text(INVENTORY)
        self.inventories = [f"--inventory={SHARED / 'inventory'}", f"--inventory={workplace / 'hosts.yml'}"]

    def write(self, name: str, text: str) -> Path:
        path = self.workplace / name
        path.write_text(text)
        return path

    def run(self, playbook: Path) -> Run:
        command = [
            "ansible-playbook",
            *self.inventories,
            str(playbook),
        ]
        started = time.monotonic()
        process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            sys.exit(f"{playbook.name} failed:\n{process.stdout[-6000:]}\n{process.stderr[-2000:]}")

        def total(word: str) -> int:
            return sum(int(number) for number in re.findall(rf"\b{word}=(\d+)", process.stdout))

        return Run(seconds, total("ok"), total("changed"), total("skipped"))

    def fresh_host(self) -> None:
        self.run(SHARED / "destroy.yml")
        self.run(SHARED / "create.yml")


def show(name: str, runs: list[Run]) -> None:
    seconds = [run.seconds for run in runs]
    last = runs[-1]
    print(
        f"{name:<34}{statistics.median(seconds):7.2f} s   ({min(seconds):.2f} to {max(seconds):.2f}, {len(runs)} runs;"
        f" tasks: {last.ok} ok, {last.changed} of them changed, {last.skipped} skipped)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first-runs", type=int, default=3, help="fresh hosts to provision (default: %(default)s)")
    parser.add_argument(
        "--second-runs", type=int, default=5, help="runs that find nothing to do (default: %(default)s)"
    )
    arguments = parser.parse_args()

    if os.environ.get("MISSION_CONTROL_NAMESPACE_ENTERED") != "yes":
        os.environ["MISSION_CONTROL_NAMESPACE_ENTERED"] = "yes"
        subprocess.run([PROJECT / "scripts/install-test-packages"], check=True)
        enter = str(PROJECT / "scripts/in-podman-namespace")
        os.execv(enter, [enter, sys.executable, *sys.argv])

    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["MOLECULE_SCENARIO_NAME"] = f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as workplace:
        bench = Bench(Path(workplace))
        try:
            first = []
            for _ in range(arguments.first_runs):
                bench.fresh_host()
                first.append(bench.run(PROJECT / "site.yml"))
            second = [bench.run(PROJECT / "site.yml") for _ in range(arguments.second_runs)]
            empty = [bench.run(bench.write("empty.yml", EMPTY_PLAY)) for _ in range(arguments.second_runs)]
            ping = [bench.run(bench.write("ping.yml", ONE_PING)) for _ in range(arguments.second_runs)]
        finally:
            bench.run(SHARED / "destroy.yml")

    print("site.yml on a booted Debian 12 container over Podman's connection, with pipelining; medians")
    show("first run, on a fresh host", first)
    show("second run, nothing to do", second)
    show("floor: a play without a task", empty)
    show("floor: one ping", ping)
    if any(run.changed for run in second):
        sys.exit("A second run reported a change.")


if __name__ == "__main__":
    main()
