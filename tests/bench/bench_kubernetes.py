"""Print how long 10,000 pods of a real Kubernetes API server take into the database. Run by `make bench`; asserts nothing.

Beside it what one would run instead: `kubectl get --all-namespaces --output json` and an upsert of each object. Each run is a process of its own, so that
memory is that of one run. Of two processes, memory is the sum of what each had at most.
"""

import datetime
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests" / "integration")]

import mission_control_database as layer  # noqa: E402
import psycopg2.extras  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors import (  # noqa: E402
    kubernetes,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sync import sync  # noqa: E402
from inventory_lab import register  # noqa: E402
from kubernetes_samples import many_pods  # noqa: E402
from kubernetes_server import ADMINISTRATOR, KubernetesServer  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

PODS, NODES, ROUNDS, PEER_ROUNDS = 10_000, 50, 5, 2
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on"}


def cluster_objects():
    def meta(name, namespace=None):
        return {"name": name, **({"namespace": namespace} if namespace else {})}

    ready = {"conditions": [{"type": "Ready", "status": "True"}], "capacity": {"cpu": "8", "memory": "32Gi"}}
    return {
        "nodes": [{"metadata": meta(f"node-{index}"), "status": ready} for index in range(NODES)],
        "services": [
            {
                "metadata": meta(f"app-{app}", f"team-{team}"),
                "spec": {"selector": {"app": f"app-{app}"}, "ports": [{"port": 80}], "clusterIP": "None"},
            }
            for team in range(20)
            for app in range(10)
        ],
        "pods": list(many_pods(PODS, NODES)),
    }


class Watch:
    """Seconds since it was made: on the clock, and of this process's processor time."""

    def __init__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self):
        return {"wall": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


def ours(given):
    """Fetch and sync, as the worker does in its child."""
    watch = Watch()
    with Client(**given["database"]) as client:
        snapshot = kubernetes.fetch(
            "home",
            None,
            given["options"],
            {"token": ADMINISTRATOR},
            datetime.datetime.now(datetime.timezone.utc),
            lambda *_: None,
        )
        fetched = watch.read()
        result = sync(client, snapshot)
    return {"fetch": fetched, "all": watch.read(), "said": result.summary}


def theirs(given):
    """The same by kubectl and an upsert of each object."""
    watch = Watch()
    connection = psycopg2.connect(given["dsn"])
    command = [
        given["kubectl"],
        f"--kubeconfig={given['kubeconfig']}",
        "get",
        "nodes,services,pods",
        "--all-namespaces",
        "--output=json",
    ]
    items = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["items"]
    fetched = watch.read()
    rows = [
        (
            each["kind"],
            each["metadata"].get("namespace", ""),
            each["metadata"]["name"],
            json.dumps(each["status"]),
            json.dumps(each["metadata"].get("labels")),
        )
        for each in items
    ]
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS plain (kind text, namespace text, name text, status jsonb, labels jsonb, "
            "PRIMARY KEY (kind, namespace, name))"
        )
        psycopg2.extras.execute_values(
            cursor,
            "INSERT INTO plain VALUES %s ON CONFLICT (kind, namespace, name) DO UPDATE SET status = excluded.status, labels = excluded.labels",
            rows,
            page_size=1000,
        )
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = watch.read()
    whole["cpu"] += children.ru_utime + children.ru_stime
    return {"fetch": fetched, "all": whole, "said": f"{len(items)} objects", "child_rss": children.ru_maxrss}


def in_a_process(name, given):
    ran = subprocess.run(
        [sys.executable, __file__, name], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr[-3000:])
    return json.loads(ran.stdout)


def show(name, found):
    def middle(*path):
        def of(each):
            for key in path:
                each = each[key]
            return each

        return statistics.median(of(each) for each in found)

    wall = [each["all"]["wall"] for each in found]
    print(
        f"   {middle('all', 'wall'):6.2f} s ({min(wall):.2f} to {max(wall):.2f}), of which fetching {middle('fetch', 'wall'):.2f} s; "
        f"processor {middle('all', 'cpu'):.2f} s, of which fetching {middle('fetch', 'cpu'):.2f} s; "
        f"at most {max(each['rss'] for each in found) / 1024:.0f} MB  {name} [{found[-1]['said']}]"
    )


def wal(session):
    return session.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")


def main():
    with KubernetesServer() as server, ThrowawayCluster(**DURABLE) as cluster:
        watch = Watch()
        server.load(cluster_objects())
        print(
            f"   {watch.read()['wall']:6.1f} s to load {PODS:,} pods, {NODES} nodes and 200 services into the API server"
        )
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "bench")
        layer.provision(database)
        register(database.session("application"), "home")
        admin = database.session("admin")
        login = {"host": cluster.socket_directory, "port": cluster.port, "database": database.name}
        options = {"server": server.address, "ca_certificate": server.ca_certificate}
        given = {"options": options, "database": {**login, "user": layer.ROLES["application"]}}
        show("first", [in_a_process("ours", given)])
        # Else the first to read the new rows would write for those that wrote them.
        admin.run("VACUUM ANALYZE")
        admin.run("CHECKPOINT")
        before = wal(admin)
        show(f"unchanged, {ROUNDS} times", [in_a_process("ours", given) for _ in range(ROUNDS)])
        print(
            f"   {(wal(admin) - before) / ROUNDS / 1024:6.1f} kB of WAL for each unchanged one, with what the run itself is"
        )
        kubeconfig = pathlib.Path(cluster.socket_directory) / "kubeconfig"
        kubeconfig.touch(0o600)
        kubeconfig.write_text(json.dumps(server.kubeconfig(ADMINISTRATOR)))
        given = {
            "kubectl": str(ROOT / ".cache/kubernetes-api-server/kubectl"),
            "kubeconfig": str(kubeconfig),
            "dsn": f"host={cluster.socket_directory} port={cluster.port} dbname={database.name} user=postgres",
        }
        show("kubectl and upserts, first", [in_a_process("theirs", given)])
        again = [in_a_process("theirs", given) for _ in range(PEER_ROUNDS)]
        show(f"kubectl and upserts, {PEER_ROUNDS} times", again)
        database.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        answer = {"ours": ours, "theirs": theirs}[sys.argv[1]](json.load(sys.stdin))
        answer["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + answer.pop("child_rss", 0)
        print(json.dumps(answer))
    else:
        main()
