#!/usr/bin/env python3
"""Compare the client with a bare psycopg2 cursor, with other pools, and its bulk writes with COPY.

Run by `make bench` on a throw-away server. Prints medians and their spread (lowest and highest); there is no limit to
pass or fail. The contenders of a comparison take turns, so that whatever else the machine does hits all of them.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import psycopg
import psycopg2
import psycopg2.extras
import psycopg_pool
import sqlalchemy.pool

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "collections"), str(PROJECT / "tests/integration")]

import mission_control_database as layer  # noqa: E402
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client  # noqa: E402
from throwaway_cluster import ThrowawayCluster  # noqa: E402

SQL = "SELECT 1 AS one"
THREADS = 20
INSERT = "INSERT INTO task_events (task_run_id, sequence, type, payload) VALUES (%s, %s, %s, %s)"
COLUMNS = "task_run_id, sequence, type, payload"


def compare(title: str, unit: str, rounds: int, contenders: dict[str, Callable[[], float]], base: str) -> None:
    """Each contender returns its figure of one round; the ratio is that of the medians to the base's."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for name in contenders:
        contenders[name]()  # connections opened, caches filled
    for number in range(rounds):
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figures[name].append(contenders[name]())
    print(f"\n{title} ({unit}; median, lowest to highest of {rounds} rounds)")
    reference = statistics.median(figures[base])
    for name, values in figures.items():
        median = statistics.median(values)
        print(
            f"  {name:<44} {median:>10,.1f}  {min(values):>10,.1f} to {max(values):>10,.1f}   x {median / reference:.2f}"
        )


def microseconds(work: Callable[[], Any], count: int) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for _ in range(count):
            work()
        return (time.perf_counter() - began) / count * 1e6

    return run


def per_second(work: Callable[[], Any], count: int) -> Callable[[], float]:
    """Work of twenty threads that begin together."""

    def run() -> float:
        barrier = threading.Barrier(THREADS + 1)

        def loop() -> None:
            barrier.wait()
            for _ in range(count // THREADS):
                work()
            barrier.wait()

        threads = [threading.Thread(target=loop) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        barrier.wait()
        began = time.perf_counter()
        barrier.wait()
        elapsed = time.perf_counter() - began
        for thread in threads:
            thread.join()
        return count / elapsed

    return run


def single_queries(cluster: ThrowawayCluster, client: Client, rounds: int) -> None:
    connection = cluster.connect()
    reused = connection.cursor()

    def new_cursor() -> None:
        with connection.cursor() as cursor:
            cursor.execute(SQL)
            cursor.fetchall()

    def one_cursor() -> None:
        reused.execute(SQL)
        reused.fetchall()

    def dict_cursor() -> None:
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(SQL)
            cursor.fetchall()

    compare(
        "A trivial query, one thread",
        "µs",
        rounds,
        {
            "psycopg2, one connection, cursor per query": microseconds(new_cursor, 1000),
            "psycopg2, one connection, one cursor": microseconds(one_cursor, 1000),
            "psycopg2, one connection, dict rows": microseconds(dict_cursor, 1000),
            "Client.query (pool, dict rows)": microseconds(lambda: client.query(SQL), 1000),
        },
        "psycopg2, one connection, cursor per query",
    )
    connection.close()


def pools(cluster: ThrowawayCluster, rounds: int) -> None:
    parameters = cluster.connection_parameters()
    client = connect(cluster)
    checking = connect(cluster, pool_check_after=0)
    modern = psycopg_pool.ConnectionPool(
        psycopg.conninfo.make_conninfo(**parameters), min_size=THREADS, max_size=THREADS, kwargs={"autocommit": True}
    )
    modern_checking = psycopg_pool.ConnectionPool(
        psycopg.conninfo.make_conninfo(**parameters),
        min_size=THREADS,
        max_size=THREADS,
        kwargs={"autocommit": True},
        check=psycopg_pool.ConnectionPool.check_connection,
    )
    queue = sqlalchemy.pool.QueuePool(lambda: cluster.connect(), pool_size=THREADS, max_overflow=0)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        creator=lambda: cluster.connect(),
        pool_size=THREADS,
        max_overflow=0,
        pool_pre_ping=True,
    ).execution_options(isolation_level="AUTOCOMMIT")

    def with_modern(pool: Any) -> None:
        with pool.connection() as connection:
            connection.execute(SQL).fetchall()

    def with_queue() -> None:
        connection = queue.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(SQL)
            cursor.fetchall()
            cursor.close()
        finally:
            connection.close()

    def with_pre_ping() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(SQL).fetchall()

    count = 6000
    compare(
        f"{THREADS} threads through pools of {THREADS}",
        "queries per second",
        rounds,
        {
            "psycopg 3 with psycopg_pool": per_second(lambda: with_modern(modern), count),
            "psycopg2 with SQLAlchemy's QueuePool": per_second(with_queue, count),
            "Client.query": per_second(lambda: client.query(SQL), count),
        },
        "psycopg2 with SQLAlchemy's QueuePool",
    )
    compare(
        "One thread, the connection checked by a question at each checkout",
        "µs",
        rounds,
        {
            "psycopg 3 with psycopg_pool, check": microseconds(lambda: with_modern(modern_checking), 500),
            "SQLAlchemy engine on psycopg2, pool_pre_ping": microseconds(with_pre_ping, 500),
            "Client.query, pool_check_after=0": microseconds(lambda: checking.query(SQL), 500),
        },
        "psycopg 3 with psycopg_pool, check",
    )
    for each in (modern, modern_checking):
        each.close()
    engine.dispose()
    queue.dispose()
    client.disconnect()
    checking.disconnect()


def bulk_writes(cluster: ThrowawayCluster, rounds: int, count: int) -> None:
    layer.create_roles(cluster)
    database = layer.create_database(cluster, "bench")
    layer.provision(database)
    client = Client(host=cluster.socket_directory, port=cluster.port, database="bench", user="mission_control")
    task = client.query_one("INSERT INTO tasks (title, created_by) VALUES ('bench', 'bench') RETURNING id")
    connection = cluster.connect("bench", "mission_control")
    connection.autocommit = False

    def new_run() -> str:
        run = client.query_one("INSERT INTO task_runs (task_id) VALUES (%s) RETURNING id", [task["id"]])
        return str(run["id"])

    def events(run: str) -> list[tuple[Any, ...]]:
        return [(run, n, "log", {"message": f"step {n} of the job", "level": "info"}) for n in range(count)]

    def timed(write: Callable[[list[tuple[Any, ...]]], None]) -> Callable[[], float]:
        def run() -> float:
            rows = events(new_run())
            began = time.perf_counter()
            write(rows)
            return count / (time.perf_counter() - began)

        return run

    def copy(rows: list[tuple[Any, ...]]) -> None:
        text = io.StringIO()
        for run, sequence, kind, payload in rows:
            document = json.dumps(payload, ensure_ascii=False).replace("\\", "\\\\")
            text.write(f"{run}\t{sequence}\t{kind}\t{document}\n")
        text.seek(0)
        with connection, connection.cursor() as cursor:
            cursor.copy_expert(f"COPY task_events ({COLUMNS}) FROM STDIN", text)

    def loop(rows: list[tuple[Any, ...]]) -> None:
        with connection, connection.cursor() as cursor:
            cursor.executemany(INSERT, [(*row[:3], json.dumps(row[3])) for row in rows])

    contenders = {
        "COPY, its text made of the same rows": timed(copy),
        "Client.execute_many": timed(lambda rows: client.execute_many(INSERT, rows) and None),
    }
    if count <= 20000:
        contenders["psycopg2's executemany"] = timed(loop)
    compare(f"{count:,} task events", "rows per second", rounds, contenders, "COPY, its text made of the same rows")
    client.disconnect()
    connection.close()


def connect(cluster: ThrowawayCluster, **options: Any) -> Client:
    parameters = cluster.connection_parameters()
    parameters["database"] = parameters.pop("dbname")
    return Client(**parameters, **options).connect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each comparison (default: 9)")
    parser.add_argument("--events", type=int, default=100_000, help="rows of the bulk write (default: 100000)")
    arguments = parser.parse_args()
    with ThrowawayCluster() as cluster:
        client = connect(cluster)
        single_queries(cluster, client, arguments.rounds)
        client.disconnect()
        pools(cluster, arguments.rounds)
        bulk_writes(cluster, max(3, arguments.rounds // 3), arguments.events)


if __name__ == "__main__":
    main()
