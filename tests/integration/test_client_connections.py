"""The pool of the client against a server that is crowded, kills sessions, does not answer, and comes and goes."""

import random
import socket
import threading
import time

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    ConnectionLostError,
    PoolClosedError,
    PoolError,
    PoolTimeoutError,
)
from client_threads import Background, eventually, run_threads
from restartable_cluster import RestartableCluster

OURS = "application_name = 'crowd' AND backend_type = 'client backend'"


@pytest.fixture(scope="module")
def server(server_version):
    with RestartableCluster() as cluster:
        yield cluster


@pytest.fixture
def make_client(server):
    clients = []

    def make(**options):
        options = {"database": "postgres", "user": "postgres", "application_name": "crowd", **options}
        options.setdefault("host", server.socket_directory)
        options.setdefault("port", server.port)
        clients.append(Client(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect(0)


@pytest.fixture
def admin(server):
    connection = server.connect()
    cursor = connection.cursor()

    def value(sql):
        cursor.execute(sql)
        return cursor.fetchone()[0]

    yield value
    connection.close()


def backend_pid(session):
    return session.query_one("SELECT pg_backend_pid() AS pid")["pid"]


def test_a_hundred_threads_share_twenty_connections(make_client, admin):
    db = make_client()
    backends = []

    def work(number):
        for turn in range(10):
            if turn % 3:
                assert db.query_one("SELECT %s AS n, pg_sleep(0.001)", [number])["n"] == number
            else:
                with db.transaction() as transaction:
                    assert transaction.query_one("SELECT %s::integer AS n", [number]) == {"n": number}
        return number

    stop = threading.Event()

    def count():
        while not stop.wait(0.01):
            backends.append(admin(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}"))

    counter = threading.Thread(target=count)
    counter.start()
    assert run_threads(100, work) == list(range(100))
    stop.set()
    counter.join()
    stats = db.pool_stats()
    assert max(backends) == 20
    assert (stats.total, stats.idle, stats.in_use, stats.waiting, stats.opened) == (20, 20, 0, 0, 20)
    assert (stats.checkouts, stats.timeouts, stats.refusals, stats.lost) == (1000, 0, 0, 0)
    assert stats.waits >= 80
    assert stats.wait_seconds > 0


def test_whoever_gets_no_connection_is_told_why(make_client):
    db = make_client(pool_size=1, pool_timeout=0.05).connect(wait=60)
    with db.transaction(), pytest.raises(PoolTimeoutError, match=r"total 1 of at most 1, idle 0.*no connection error"):
        db.query("SELECT 1")
    assert db.query_one("SELECT 1 AS n") == {"n": 1}


def test_a_killed_idle_session_is_noticed_at_the_checkout(make_client, admin):
    db = make_client()
    for number in range(5):
        pid = backend_pid(db)
        assert admin(f"SELECT pg_terminate_backend({pid}, 5000)")
        if number % 2:
            assert backend_pid(db) != pid
        else:
            with db.transaction() as transaction:
                assert backend_pid(transaction) != pid
    stats = db.pool_stats()
    assert (stats.lost, stats.opened, stats.total) == (5, 6, 1)


def test_a_notice_from_the_server_does_not_cost_the_connection(make_client, admin):
    db = make_client()
    db.query("LISTEN news")
    pid = backend_pid(db)
    admin("SELECT pg_notify('news', 'x')")
    time.sleep(0.05)
    assert backend_pid(db) == pid
    assert db.pool_stats().lost == 0


def test_each_checkout_may_ask_the_server(make_client, admin):
    db = make_client(pool_check_after=0)
    pid = backend_pid(db)
    assert backend_pid(db) == pid
    admin(f"SELECT pg_terminate_backend({pid}, 5000)")
    assert backend_pid(db) != pid


def test_a_connection_is_replaced_at_the_end_of_its_life(make_client):
    db = make_client(pool_max_lifetime=0.05)
    pid = backend_pid(db)
    time.sleep(0.06)
    assert backend_pid(db) != pid
    assert db.pool_stats().expired == 1


def test_a_session_that_idles_in_its_transaction_is_killed_and_replaced(make_client, admin):
    db = make_client(idle_in_transaction_timeout=0.05)
    with pytest.raises(ConnectionLostError, match="was lost"), db.transaction() as transaction:
        pid = backend_pid(transaction)
        eventually(lambda: not admin(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), "it is killed")
        transaction.query("SELECT 1")
    assert db.query_one("SELECT 1 AS n") == {"n": 1}
    assert db.pool_stats().lost == 1


def test_backends_that_die_at_random_cost_their_statement_and_nothing_else(make_client, admin):
    db = make_client(pool_size=8)
    db.query("CREATE TABLE IF NOT EXISTS written (id bigint GENERATED ALWAYS AS IDENTITY, worker text)")
    db.query("TRUNCATE written")

    def work():
        with db.transaction() as transaction:
            transaction.query("INSERT INTO written (worker) VALUES ('x')")
            transaction.query("INSERT INTO written (worker) VALUES ('y')")
        return db.query_one("SELECT 1 AS n")["n"]

    with Background(10, work) as load:
        for _ in range(40):
            admin(
                f"SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE {OURS}"
                " ORDER BY random() LIMIT 1) AS one"
            )
            time.sleep(random.uniform(0.005, 0.02))
    assert {type(error) for error in load.errors} <= {ConnectionLostError}
    assert set(load.results) == {1}
    count = db.query_one(
        "SELECT count(*) FILTER (WHERE worker = 'x') AS x, count(*) FILTER (WHERE worker = 'y') AS y FROM written"
    )
    assert count["x"] == count["y"]
    # An error leaves open whether its transaction was committed before; no error means that it was.
    assert len(load.results) <= count["x"] <= len(load.results) + len(load.errors)
    stats = db.pool_stats()
    assert stats.in_use == 0
    assert stats.total <= 8
    assert stats.lost >= len(load.errors)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_is_not_seen_by_who_has_not_begun(make_client, server, mode):
    """Twenty threads hold no connection when the server goes; they ask while it is away, and are answered when it is back."""
    db = make_client()
    held = threading.Barrier(21)

    def work(number):
        with db.transaction():
            held.wait(30)  # so that there are twenty connections
        held.wait(30)
        held.wait(30)  # the server has gone
        if number % 2:
            return db.query_one("SELECT %s AS n", [number])["n"]
        with db.transaction() as transaction:
            return transaction.query_one("SELECT %s AS n", [number])["n"]

    answers = []
    threads = threading.Thread(target=lambda: answers.extend(run_threads(20, work)))
    threads.start()
    held.wait(30)
    held.wait(30)
    assert db.pool_stats().idle == 20
    server.stop(mode)
    held.wait(30)
    eventually(lambda: db.pool_stats().open_errors, "somebody found no server")
    server.start()
    threads.join(60)
    assert answers == list(range(20))
    stats = db.pool_stats()
    assert stats.lost == 20
    assert stats.timeouts == 0
    assert stats.last_error is None


def test_a_restart_under_load_breaks_only_what_was_under_way(make_client, server):
    db = make_client(pool_size=10)
    begun = threading.local()

    def work():
        begun.yes = False
        try:
            with db.transaction() as transaction:
                begun.yes = True
                transaction.query("SELECT pg_sleep(0.002)")
        except ConnectionLostError:
            assert begun.yes, "a caller that had not begun got an error"
            raise
        return True

    with Background(20, work) as load:
        for mode in ("fast", "immediate"):
            time.sleep(0.1)
            server.stop(mode)
            time.sleep(0.1)
            server.start()
        before = len(load.results)
        eventually(lambda: len(load.results) >= before + 50, "the work goes on")
    assert {type(error) for error in load.errors} <= {ConnectionLostError}
    # Each of ten connections can have been lost at most once under somebody in each restart.
    assert len(load.errors) <= 20
    assert db.pool_stats().in_use == 0


def test_without_a_server_an_error_comes_at_once_and_later_callers_are_told_the_reason(make_client, server):
    db = make_client(pool_timeout=0.1)
    db.connect()
    server.stop()
    try:
        with pytest.raises(PoolTimeoutError, match="last connection error: Cannot connect to the database postgres"):
            db.query("SELECT 1")
        health = db.health()
        assert not health.connected
        assert "Cannot connect" in health.error
        with pytest.raises(ConnectError, match="Cannot connect"):
            make_client().connect()
        patient = make_client()
        outcome = []
        waiting = threading.Thread(target=lambda: outcome.append(patient.connect(wait=30).query_one("SELECT 1 AS n")))
        waiting.start()
        eventually(lambda: patient.pool_stats().open_errors, "it found no server")
    finally:
        server.start()
    waiting.join(30)
    assert outcome == [{"n": 1}]


def test_a_server_that_takes_the_call_and_says_nothing(make_client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(PoolTimeoutError, match="total 1 of at most 20"):
            make_client(host="127.0.0.1", port=port, pool_timeout=0.05).connect()
        with pytest.raises(ConnectError, match="timeout expired"):
            make_client(host="127.0.0.1", port=port, connect_timeout=1).connect()


def test_disconnecting_lets_work_end(make_client, admin):
    db = make_client()
    started = threading.Event()
    outcome = []

    def work():
        with db.transaction() as transaction:
            started.set()
            outcome.append(transaction.query_one("SELECT 5 AS n, pg_sleep(0.2)")["n"])

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(30)
    assert db.disconnect(timeout=30) is True
    assert outcome == [5]
    assert db.disconnect() is True
    thread.join(30)
    with pytest.raises(PoolClosedError, match="call connect"):
        db.query("SELECT 1")
    assert db.connect().query_one("SELECT 1 AS n") == {"n": 1}


def test_disconnecting_ends_work_that_does_not_end(make_client, admin):
    db = make_client()
    outcomes = []
    threads = threading.Thread(
        target=lambda: outcomes.extend(run_threads(3, lambda number: db.query("SELECT pg_sleep(600)")))
    )
    threads.start()
    sleepers = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND query LIKE '%pg_sleep(600)%'"
    eventually(lambda: admin(sleepers) == 3, "all are at work")
    assert db.disconnect(timeout=0) is False
    threads.join(30)
    assert len(outcomes) == 3
    assert all("SQLSTATE 57014" in str(error) for error in outcomes)
    assert db.pool_stats().total == 0
    eventually(lambda: not admin(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}"), "nothing is left")


def test_disconnecting_cuts_what_cannot_even_be_cancelled(make_client, admin, monkeypatch):
    from ansible_collections.homelab.mission_control.plugins.module_utils.database import pool, session

    monkeypatch.setattr(pool, "_GRACE", 0.05)
    monkeypatch.setattr(session.Session, "interrupt", lambda self: None)
    db = make_client()
    outcome = []

    def work():
        try:
            db.query("SELECT pg_sleep(5)")
        except ConnectionLostError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    sleepers = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND query LIKE '%pg_sleep(5)%'"
    eventually(lambda: admin(sleepers), "it is at work")
    assert db.disconnect(timeout=0.05) is False
    thread.join(30)
    assert len(outcome) == 1


def test_a_client_that_is_not_used_any_more_is_not_used_by_accident(make_client):
    with make_client() as db:
        db.query("SELECT 1")
    with pytest.raises(PoolError):
        db.query("SELECT 1")
