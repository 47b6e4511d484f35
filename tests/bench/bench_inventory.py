"""Print what syncs of the inventory cost. Run by `make bench`; asserts nothing.

Writing: snapshots of 10,000 and of 100,000 workloads with their hosts and services, and beside it what a program without this writer does: an
INSERT … ON CONFLICT DO UPDATE for each row, in one transaction. A throw-away server that writes to disk as a real one does (fsync on).
"""

import contextlib
import dataclasses
import os
import pathlib
import resource
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (  # noqa: E402
    HostRow,
    Listing,
    ServiceRow,
    WorkloadRow,
)
from inventory_lab import Lab  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SIZES = (10_000, 100_000)
TABLES = ("hosts", "services", "workloads")
_TICKS = os.sysconf("SC_CLK_TCK")


def workload(number: int, size: int) -> WorkloadRow:
    """As a pod of a cluster is told, about 600 bytes of JSON."""
    return WorkloadRow(
        f"pod/team-{number % 40}/web-{number:06d}-5d4f8c7b9-x2k4j",
        f"web-{number:06d}-5d4f8c7b9-x2k4j",
        "k8s-pod",
        namespace=f"team-{number % 40}",
        host=f"node/node-{number % (size // 100)}",
        service=f"team-{number % 40}/web-{number % (size // 20)}",
        status="running",
        image=f"registry.example.org/team-{number % 40}/web:1.{number % 30}.0",
        labels={
            "app.kubernetes.io/name": f"web-{number:06d}",
            "app.kubernetes.io/part-of": f"shop-{number % 40}",
            "app.kubernetes.io/version": f"1.{number % 30}.0",
            "tier": "frontend",
        },
        metadata={"uid": f"00000000-0000-4000-8000-{number:012d}", "restarts": number % 7, "owner": "ReplicaSet"},
    )


def listings(size: int) -> tuple[Listing, ...]:
    return (
        Listing(
            "hosts",
            ("k8s-node",),
            tuple(
                HostRow(f"node/node-{n}", f"node-{n}", "k8s-node", status="online", cpu_cores=16, memory_bytes=2**36)
                for n in range(size // 100)
            ),
        ),
        Listing("services", (), tuple(ServiceRow(f"team-{n % 40}/web-{n}", f"web-{n}") for n in range(size // 20))),
        Listing("workloads", ("k8s-pod",), tuple(workload(number, size) for number in range(size))),
    )


def with_changed(lists: tuple[Listing, ...], share: float) -> tuple[Listing, ...]:
    """The same lists, with another status for a share of the workloads, spread over all of them."""
    *others, workloads = lists
    step = round(1 / share)
    rows = tuple(
        dataclasses.replace(row, status="failed") if number % step == 0 else row
        for number, row in enumerate(workloads.rows)
    )
    return (*others, dataclasses.replace(workloads, rows=rows))


_UPSERT = """
INSERT INTO workloads (source, external_id, name, type, namespace, host_id, service_id, status, image, labels, metadata, last_seen_at)
VALUES (
    %s, %s, %s, %s, %s, (SELECT h.id FROM hosts AS h WHERE h.source = %s AND h.external_id = %s),
    (SELECT v.id FROM services AS v WHERE v.source = %s AND v.external_id = %s), %s, %s, %s, %s, %s
)
ON CONFLICT (source, external_id) WHERE external_id IS NOT NULL DO UPDATE
SET name = excluded.name, type = excluded.type, namespace = excluded.namespace, host_id = excluded.host_id,
    service_id = excluded.service_id, status = excluded.status, image = excluded.image, labels = excluded.labels,
    metadata = excluded.metadata, last_seen_at = excluded.last_seen_at, gone_at = NULL
"""


def upsert_one_by_one(lab: Lab, lists: tuple[Listing, ...]) -> None:
    """The workloads; hosts and services, which are few, are there."""
    now = lab.snapshot().observed_at
    with lab.client.transaction() as transaction:
        for row in lists[2].rows:
            transaction.query(
                _UPSERT,
                [
                    *(lab.name, row.external_id, row.name, row.type, row.namespace, lab.name, row.host),
                    *(lab.name, row.service, row.status, row.image, row.labels, row.metadata, now),
                ],
            )


class Meter:
    """Seconds, processor time of this process and of the server's, write-ahead log, and rows written."""

    def __init__(self, lab: Lab, admin: layer.Session) -> None:
        self._lab = lab
        self._admin = admin
        self._server = lab.client.query_one("SELECT pg_backend_pid() AS pid")["pid"]

    def _server_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self._server}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @contextlib.contextmanager
    def line(self, title: str):
        self._admin.run("CHECKPOINT")
        position = self._admin.value("SELECT pg_current_wal_insert_lsn()::text")
        transaction = self._admin.value("SELECT pg_current_xact_id()::text::bigint")
        server, own, began = self._server_seconds(), time.process_time(), time.monotonic()
        yield
        seconds = time.monotonic() - began
        own, server = time.process_time() - own, self._server_seconds() - server
        wal = self._admin.value("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", position)
        rows = sum(
            self._admin.value(f"SELECT count(*) FROM {table} WHERE xmin::text::bigint >= %s", transaction)
            for table in TABLES
        )
        print(
            f"  {title:<34} {seconds:7.2f} s   client {own:6.2f} s   server {server:6.2f} s   WAL {float(wal) / 1e6:8.2f} MB   {rows:7,} rows"
        )


def time_writing(cluster: ThrowawayCluster, size: int) -> None:
    print(
        f"{size:,} workloads, {size // 20:,} services, {size // 100:,} hosts; wall, processor time, log, rows written"
    )
    lists = listings(size)
    few, more = with_changed(lists, 0.01), with_changed(lists, 0.02)
    database = layer.create_database(cluster, f"bench_{size}")
    layer.provision(database)
    admin = database.session("admin")
    lab = Lab(database)
    meter = Meter(lab, admin)
    with meter.line("sync: first"):
        lab.sync(*lists)
    # Before the server has gathered statistics, as after a first sync.
    with meter.line("sync: unchanged, no statistics"):
        lab.sync(*lists)
    admin.run("ANALYZE")
    with meter.line("sync: unchanged"):
        lab.sync(*lists)
    with meter.line("sync: 1 % changed"):
        lab.sync(*few)
    with meter.line("sync: check of 1 % changed"):
        lab.sync(*more, check=True)
    admin.run("DELETE FROM workloads")
    admin.run("VACUUM workloads")
    for title, rows in (("first", lists), ("unchanged", lists), ("1 % changed", few)):
        with meter.line(f"upsert for each row: {title}"):
            upsert_one_by_one(lab, rows)
    lab.close()
    database.drop()


def main() -> None:
    with ThrowawayCluster(**DURABLE) as cluster:
        layer.create_roles(cluster)
        for size in SIZES:
            time_writing(cluster, size)
    print(f"  memory of this process at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
