#!/usr/bin/env python3
"""Requests per second and latency of the HTTP service on loopback, beside the same server answering a constant.

Run by `make bench` on a throw-away server; needs wrk. Prints figures; there is no limit to pass or fail. Last comes the
memory of the worker after so many requests.
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "collections"), str(PROJECT / "tests/packages"), str(PROJECT / "tests/integration")]

import mission_control_database as layer  # noqa: E402
from inventory_rows import add_source  # noqa: E402
from large_data import load_playbook_runs  # noqa: E402
from service_lab import TOKEN, Service, free_port  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

HOSTS = 10_000
PATHS = (
    "/live",
    "/health",
    "/metrics",
    "/api/v1/summary",
    "/api/v1/inventory/hosts?limit=100",
    "/api/v1/playbook-runs?limit=100",
)
CONSTANT = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "13")])
    return [b'{"live":true}']
"""
SLOW = {
    "half a header": b"GET /live HTTP/1.1\r\nX-Slow: ",
    "half a body": b"POST /login HTTP/1.1\r\nContent-Length: 9999\r\n\r\ntoken=",
    "nothing": b"",
    "400 requests for /metrics, not read": b"GET /metrics HTTP/1.1\r\n\r\n" * 400,
}
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure(url: str, seconds: float, connections: int) -> tuple[float, float, int]:
    """Requests per second, the 99th percentile in milliseconds, and how many answers were no success."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:g}s", "--latency"]
    done = subprocess.run(
        [*command, "--header", f"Authorization: Bearer {TOKEN}", url], capture_output=True, text=True, check=True
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", done.stdout)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", done.stdout)
    if not rate or not late:
        raise RuntimeError(done.stdout)
    failures = int(bad[1]) if bad else 0
    failures += sum(map(int, broken.groups())) if broken else 0
    return float(rate[1]), float(late[1]) * _UNITS[late[2]], failures


def compare(title: str, urls: dict[str, str], rounds: int, seconds: float, connections: int) -> None:
    """The contenders take turns, so that whatever else the machine does hits all of them."""
    figures: dict[str, list[tuple[float, float, int]]] = {name: [] for name in urls}
    for url in urls.values():
        measure(url, 1, connections)
    for _ in range(rounds):
        for name, url in urls.items():
            figures[name].append(measure(url, seconds, connections))
    print(f"\n{title} (median of {rounds} rounds of {seconds:g} s)")
    print(f"  {'':<36} {'requests/s':>10} {'p99 ms':>8} {'failed':>7}")
    for name, values in figures.items():
        rate = statistics.median(value[0] for value in values)
        late = statistics.median(value[1] for value in values)
        print(f"  {name:<36} {rate:>10,.0f} {late:>8.1f} {sum(value[2] for value in values):>7}")


def answer_times(service: Service, slow: int, beginning: bytes) -> list[float]:
    """Milliseconds of some requests to /live while so many connections from several addresses have sent this and say no more."""
    lines = []
    for number in range(slow):
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.bind((f"127.0.0.{2 + number % 10}", 0))
        line.connect(("127.0.0.1", service.port))
        line.sendall(beginning)
        lines.append(line)
    times = []
    for _ in range(20):
        began = time.monotonic()
        service.get("/live", timeout=60)
        times.append((time.monotonic() - began) * 1000)
    for line in lines:
        line.close()
    return times


def beside_slow_clients(service: Service, slow: int = 200) -> None:
    print(f"\n/live beside {slow} slow connections (20 requests, milliseconds)")
    print(f"  {'':<36} {'median':>10} {'longest':>8}")
    for name, beginning in SLOW.items():
        times = answer_times(service, slow, beginning)
        print(f"  {name:<36} {statistics.median(times):>10.1f} {max(times):>8.1f}")


def refreshes(service: Service, requests: int = 300) -> None:
    """The one request that writes; all but the first find that their runs are queued."""
    times = []
    for _ in range(requests):
        began = time.monotonic()
        status, _body = service.post("/api/v1/inventory/refresh")
        times.append((time.monotonic() - began) * 1000)
        if status != 202:
            raise RuntimeError(f"a refresh was answered with {status}")
    print(f"\nPOST /api/v1/inventory/refresh, 10 sources, one connection each ({requests} requests, milliseconds)")
    print(
        f"  first {times[0]:.1f}, median {statistics.median(times):.1f}, 99th percentile {sorted(times)[int(requests * 0.99)]:.1f}"
    )


def worker_memory(service: Service) -> float:
    """Resident memory of the worker process in MiB."""
    master = service.process.pid
    worker = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()[0]
    status = Path(f"/proc/{worker}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def serve_constant(directory: str, threads: int) -> tuple[subprocess.Popen[bytes], int]:
    (Path(directory) / "constant.py").write_text(CONSTANT, encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    command += ["--threads", str(threads), "--keep-alive", "5", "--log-level", "warning", "constant:application"]
    return subprocess.Popen(command, cwd=directory), port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default: 4)")
    parser.add_argument(
        "--requests", type=int, default=100_000, help="requests before the memory is read (default: 100000)"
    )
    arguments = parser.parse_args()
    with ThrowawayCluster() as cluster, tempfile.TemporaryDirectory() as directory:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        session = database.session("admin")
        session.run(
            "INSERT INTO hosts (name, type, status, labels) SELECT 'host-' || n, 'vm', 'online', '{\"rack\": 1}' "
            "FROM generate_series(1, %s) AS n",
            HOSTS,
        )
        for number in range(10):
            add_source(session, f"source-{number}")
        load_playbook_runs(session.connection, runs=10_000, events=100_000)
        session.run("VACUUM ANALYZE")
        constant, constant_port = serve_constant(directory, threads=8)
        try:
            with Service(directory, database, HEALTH_CACHE_SECONDS=5) as service:
                service.wait_for("/ready", 200)
                urls = {"a constant, same server": f"http://127.0.0.1:{constant_port}/"}
                urls.update({path: f"http://127.0.0.1:{service.port}{path}" for path in PATHS})
                for connections in (1, 16):
                    title = f"{connections} connection{'s' if connections > 1 else ''}, {HOSTS:,} hosts"
                    compare(title, urls, arguments.rounds, arguments.seconds, connections)
                refreshes(service)
                beside_slow_clients(service)
                remember(service, arguments.requests)
        finally:
            constant.terminate()
            constant.wait(timeout=30)


def remember(service: Service, requests: int) -> None:
    """Memory before, halfway through and after so many requests of all kinds."""
    seen = [worker_memory(service)]
    for _ in range(2):
        done = 0.0
        while done < requests / 2:
            for path in PATHS:
                rate, _late, _failures = measure(f"http://127.0.0.1:{service.port}{path}", 2, 16)
                done += rate * 2
        seen.append(worker_memory(service))
    print(f"\nMemory of the worker after the rounds above, {requests / 2:,.0f} and {requests:,} more requests (MiB)")
    print("  " + ", ".join(f"{value:.1f}" for value in seen))


if __name__ == "__main__":
    main()
