"""Print how long `ansible-inventory --list` takes for hosts of the database. Run by `make bench`; asserts nothing.

Beside it the same hosts by a script that prints them from a file: what Ansible itself takes for so many hosts, whichever inventory they come from.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "packages")]

import mission_control_database as layer  # noqa: E402
from command import environment_of  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

HOSTS = 10_000
REPEATS = 3
ROWS = """
    INSERT INTO hosts (name, type, cluster, status, address, os, cpu_cores, memory_bytes, labels, metadata, source, external_id)
    SELECT 'host-' || n, 'vm', 'pve' || n %% 8, 'online', '10.0.' || n / 250 || '.' || n %% 250, 'Debian 12.11', 4, 8589934592,
        jsonb_build_object('site', 'site-' || n %% 20, 'groups', jsonb_build_array('web', 'rack-' || n %% 50)),
        jsonb_build_object('kernel', '6.1.0-37-amd64', 'architecture', 'x86_64', 'node', 'pve' || n %% 8), 'proxmox-main', 'qemu/' || n
    FROM generate_series(1, %s) AS n
"""
PLUGIN = {
    "plugin": "homelab.mission_control.hosts",
    "keyed_groups": [{"key": "mission_control_host.cluster", "prefix": "cluster"}],
}
CACHE = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile"}


def main() -> None:
    with ThrowawayCluster() as cluster, tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        database.session("admin").run(ROWS, HOSTS)
        database.session("admin").run("ANALYZE hosts")
        environment = {**environment_of(database), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "HOME": directory}
        files = {
            "plugin": PLUGIN,
            "plugin, from its cache": {**PLUGIN, **CACHE, "cache_connection": str(home / "cache")},
            "plugin, without groups": {**PLUGIN, "keyed_groups": []},
            "no hosts": {"all": {"hosts": {}}},
        }
        for name, content in files.items():
            (home / f"{name}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
        _, _, listed = run(home / "plugin.yml", environment)
        (home / "listed.json").write_text(json.dumps(plain(json.loads(listed))), encoding="utf-8")
        (home / "script").write_text(f"#!/bin/sh\nexec cat '{home}/listed.json'\n", encoding="ascii")
        (home / "script").chmod(0o700)
        places = {"plugin": home / "plugin.yml", "a script that prints them": home / "script"}
        places.update({name: home / f"{name}.yml" for name in list(files)[1:]})
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
        for number in range(REPEATS + 1):
            for name, place in places.items():
                seconds, processor, _ = run(place, environment)
                if number:  # the first fills caches
                    figures[name].append((seconds, processor))
        print(
            f"\n== ansible-inventory --list of {HOSTS:,} hosts, seconds (median; lowest to highest of {REPEATS} rounds)"
        )
        for name, values in figures.items():
            walls, processors = zip(*values)
            print(
                f"   {name:<26} {statistics.median(walls):6.2f} ({min(walls):.2f} to {max(walls):.2f}), "
                f"of the processor {statistics.median(processors):.2f}"
            )
        database.close()


def run(file: Path, environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, those of the processor, and what was printed."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    done = subprocess.run(
        [program, "-i", str(file), "--list"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used, done.stdout


def plain(value):
    if isinstance(value, dict):
        inner = value.get("__ansible_unsafe")
        return inner if inner is not None else {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    os.environ.pop("ANSIBLE_CONFIG", None)
    main()
