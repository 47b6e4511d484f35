"""A client that is inherited by a forked child: both sides go on, on connections of their own."""

import os
import threading
import traceback

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConnectionLostError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def db(cluster):
    with Client(host=cluster.socket_directory, port=cluster.port, database="postgres", user="postgres") as client:
        yield client


def in_child(work):
    """Fork; the child does the work and ends. Its failure is the test's."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as output:
        said = output.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said


def pids(db, count=3):
    """The server's processes behind some connections that are in use at the same time."""
    transactions = [db.transaction() for _ in range(count)]
    found = {each.__enter__().query_one("SELECT pg_backend_pid() AS pid")["pid"] for each in transactions}
    for each in transactions:
        each.__exit__(None, None, None)
    return found


def test_both_sides_work_on_connections_of_their_own(db):
    parents = pids(db)

    def child():
        assert db.pool_stats().total == 0
        assert not pids(db) & parents
        assert db.query_one("SELECT 1 AS n") == {"n": 1}
        assert db.disconnect(timeout=5)

    for _ in range(3):
        in_child(child)
        assert pids(db) == parents
    stats = db.pool_stats()
    assert (stats.lost, stats.opened, stats.total) == (0, 3, 3)


def test_a_child_that_ends_without_a_word_takes_nothing_with_it(db):
    parents = pids(db)
    in_child(lambda: None)
    assert pids(db) == parents


def test_a_transaction_that_is_open_at_the_fork_stays_the_parents(db):
    db.query("CREATE TABLE IF NOT EXISTS forked (n integer)")
    with db.transaction() as transaction:
        transaction.query("INSERT INTO forked VALUES (1)")

        def child():
            with pytest.raises(ConnectionLostError):
                transaction.query("INSERT INTO forked VALUES (2)")
            transaction.__exit__(ValueError, ValueError(), None)
            assert db.query_many("SELECT * FROM forked") == []

        in_child(child)
        transaction.query("INSERT INTO forked VALUES (3)")
    assert [row["n"] for row in db.query_many("SELECT n FROM forked ORDER BY n")] == [1, 3]
    db.query("DROP TABLE forked")


def test_even_closing_an_inherited_connection_does_not_reach_the_server(db):
    parents = pids(db)
    inherited = [session.connection for session in db._pool._sessions]

    def child():
        for connection in inherited:
            connection.close()

    in_child(child)
    assert pids(db) == parents


def test_a_fork_under_load(db):
    """Other threads hold the pool's lock, wait, open and query while the process forks."""
    stop = threading.Event()
    errors = []

    def work():
        while not stop.is_set():
            try:
                assert db.query_one("SELECT 1 AS n") == {"n": 1}
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(30)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_child(lambda: pids(db))
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert db.pool_stats().lost == 0
