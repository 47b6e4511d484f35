"""Print how long an MCP client waits: for the start, for the list of 100 tools, for a call that an executor carries out. Asserts nothing.

Run by `make bench`, on a throw-away server; the client is bare lines on the pipes of `mission-control mcp`.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "packages")]

import mission_control_database as layer  # noqa: E402
from mcp_lab import BareClient  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402
from tool_lab import LIST, TOOLS, StandInExecutor, provide_tools  # noqa: E402

MANY = [{**TOOLS[0], "name": f"tool_{number}"} for number in range(96)]
REPEATS = 50


def main():
    with ThrowawayCluster() as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        provide_tools(database, [*TOOLS, *MANY])
        began = time.perf_counter()
        with BareClient(database) as client:
            print(f"   started and initialised          {(time.perf_counter() - began) * 1000:8.1f} ms")
            print(f"   first list of 100 tools          {measure(client, 'first')[0]:8.1f} ms")
            times = [measure(client, f"list {number}")[0] for number in range(REPEATS)]
            print(
                f"   list of 100 tools                {statistics.median(times):8.1f} ms, at most {max(times):.1f} ms"
            )
            with StandInExecutor(database):
                times = []
                for number in range(REPEATS):
                    began = time.perf_counter()
                    client.call(f"call {number}", LIST)
                    times.append((time.perf_counter() - began) * 1000)
            print(
                f"   call (executor looks every 20 ms){statistics.median(times):8.1f} ms, at most {max(times):.1f} ms"
            )
        database.close()


def measure(client, request_id):
    began = time.perf_counter()
    answer = client.ask("tools/list", request_id)
    assert len(answer["result"]["tools"]) == 102
    return (time.perf_counter() - began) * 1000, answer


if __name__ == "__main__":
    main()
