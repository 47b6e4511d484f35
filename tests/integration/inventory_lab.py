"""Tools for tests of the writer of the inventory: a client, a registered source, short ways to make snapshots."""

import datetime

from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (
    HostRow,
    Listing,
    ServiceRow,
    Skipped,
    Snapshot,
    WorkloadRow,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sync import sync
from library_client import client_of

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
POD, DEPLOYMENT, NODE = ("k8s-pod",), ("k8s-deployment",), ("k8s-node",)


def register(session, name="k8s", connector="kubernetes", **columns):
    task = session.insert("tasks", title=f"inventory sync {name}", created_by="test")
    return session.insert("inventory_sources", name=name, connector=connector, task_id=task["id"], **columns)


def pod(external_id, name="pod", **columns):
    return WorkloadRow(external_id, name, "k8s-pod", **columns)


def node(external_id, name="node", **columns):
    return HostRow(external_id, name, "k8s-node", **columns)


def service(external_id, name="service", **columns):
    return ServiceRow(external_id, name, **columns)


def pods(*rows, **columns):
    return Listing("workloads", POD, tuple(rows), **columns)


def nodes(*rows, **columns):
    return Listing("hosts", NODE, tuple(rows), **columns)


def services(*rows, **columns):
    return Listing("services", (), tuple(rows), **columns)


def unnamed(reason="it has no name"):
    return Skipped(None, "?", reason)


class Lab:
    """One source, whose snapshots are a minute apart."""

    def __init__(self, database, name="k8s"):
        self.name = name
        self.minute = 0
        self.client = client_of(database, pool_size=4, slow_query=float("inf"))
        self.session = database.session("application")
        register(self.session, name)

    def snapshot(self, *listings, minute=None, **columns):
        if minute is None:
            self.minute += 1
            minute = self.minute
        return Snapshot(
            **{
                "source": self.name,
                "connector": "kubernetes",
                "identity": "uid",
                "cluster": None,
                "observed_at": BEGIN + datetime.timedelta(minutes=minute),
                "listings": tuple(listings),
                **columns,
            }
        )

    def sync(self, *listings, minute=None, snapshot=None, **options):
        return sync(self.client, self.snapshot(*listings, minute=minute, **(snapshot or {})), **options)

    def rows(self, table="workloads", **options):
        """Rows of the source by their external_id."""
        found = self.session.rows(f"SELECT * FROM {table} WHERE source = %s AND external_id IS NOT NULL", self.name)
        return {row["external_id"]: row for row in found}

    def live(self, table="workloads"):
        return {name for name, row in self.rows(table).items() if row["gone_at"] is None}

    def close(self):
        self.client.disconnect()
