"""Print what loading of playbook runs costs. Run by `make bench`; asserts nothing.

100,000 events of one run, and of 1,000 runs, in a throw-away server that writes to disk as a real one does (fsync on); the same events again,
of which none is new; and what the loader's process costs that the callback starts beside a playbook.
"""

import contextlib
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load import load_spool  # noqa: E402
from library_client import client_of  # noqa: E402
from recorder_lab import LOADER, Recording, dead_process, url_of  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
EVENTS = 100_000
_TICKS = os.sysconf("SC_CLK_TCK")


def write(spool: pathlib.Path, runs: int, process: dict) -> None:
    """So many runs of 50 hosts with EVENTS events together."""
    for _number in range(runs):
        run = Recording(spool, process=process)
        left = EVENTS // runs
        while left > 1:
            hosts = min(50, left - 1)
            run.task("Install the packages of the web servers", path="roles/web/tasks/install.yml:12")
            for host in range(hosts):
                run.result(f"web{host:02d}.example.org", changed=host % 7 == 0)
            left -= hosts + 1
        run.end()
        run.close()


@contextlib.contextmanager
def measured(title: str, client):
    server = client.query_one("SELECT pg_backend_pid() AS pid")["pid"]

    def server_seconds() -> float:
        fields = pathlib.Path(f"/proc/{server}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    before, own, began = server_seconds(), time.process_time(), time.monotonic()
    yield
    seconds = time.monotonic() - began
    own, used = time.process_time() - own, server_seconds() - before
    print(
        f"  {title:<34} {seconds:7.2f} s   {EVENTS / seconds:9,.0f} events a second   client {own:6.2f} s   server {used:6.2f} s"
    )


def time_loading(cluster: ThrowawayCluster, place: pathlib.Path) -> None:
    process = dead_process()
    for runs in (1, 1000):
        database = layer.create_database(cluster, f"bench_{runs}")
        layer.provision(database)
        spool = place / f"runs_{runs}"
        write(spool, runs, process)
        copies = {file.name: file.read_bytes() for file in spool.iterdir()}
        with client_of(database, pool_size=1, slow_query=float("inf")) as client:
            for title in (f"{runs:,} runs" if runs > 1 else "one run", "the same again"):
                for name, content in copies.items():
                    (spool / name).write_bytes(content)
                    (spool / name).chmod(0o600)
                with measured(title, client):
                    result = load_spool(client, str(spool))
                assert not result.problems, result.problems
        database.drop()


def time_process(cluster: ThrowawayCluster, place: pathlib.Path) -> None:
    database = layer.create_database(cluster, "bench_process")
    layer.provision(database)
    environment = {"PYTHONPATH": str(ROOT / "collections"), "PATH": os.environ["PATH"]}
    for title, lines in (("nothing to load", 0), ("a play of 20 tasks on 3 hosts", 80)):
        spool = place / f"process_{lines}"
        spool.mkdir(mode=0o700)
        seconds = []
        for _attempt in range(7):
            if lines:
                run = Recording(spool)
                for _task in range(20):
                    run.task()
                    for host in range(3):
                        run.result(f"web{host}")
                run.end()
                run.close()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [*LOADER, "--spool", str(spool), "--url", url_of(database)], env=environment, check=True, cwd="/"
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(f"  the loader's process, {title:<32} {min(seconds):6.3f} s of processor time at least of 7")
    database.drop()


def main() -> None:
    with ThrowawayCluster(**DURABLE) as cluster, tempfile.TemporaryDirectory() as place:
        layer.create_roles(cluster)
        print(f"{EVENTS:,} events")
        time_loading(cluster, pathlib.Path(place))
        time_process(cluster, pathlib.Path(place))
    print(f"  memory of this process at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
