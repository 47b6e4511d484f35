"""A client that knows several hosts: which of them it goes to, and what it does when that one no longer takes writes, goes or falls silent."""

import contextlib

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    ConnectionLostError,
    PoolTimeoutError,
    QueryError,
)
from client_threads import Background, eventually
from replication_lab import Standby, primary
from silent_line import SilentLine

WHERE = "SELECT current_setting('port')::integer AS port"
WRITE = "INSERT INTO written VALUES (gen_random_uuid())"


@pytest.fixture(scope="module")
def first(server_version):
    with primary(provisioned=False) as database:
        database.cluster.query("CREATE TABLE written (id uuid PRIMARY KEY)")
        yield database.cluster


@pytest.fixture(scope="module")
def standby(first):
    with Standby(first) as standby:
        yield standby


@pytest.fixture
def make_client():
    clients = []

    def make(*servers, **options):
        """A client of servers over their sockets, or over lines to them."""
        hosts = [getattr(each, "socket_directory", "127.0.0.1") for each in servers]
        ports = [str(each.port) for each in servers]
        options = {"database": "postgres", "user": "postgres", **options}
        clients.append(Client(host=",".join(hosts), port=",".join(ports), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect(0)


def port(db):
    return db.query_one(WHERE)["port"]


@contextlib.contextmanager
def takes_no_writes(server):
    server.configure(default_transaction_read_only="on")
    try:
        yield
    finally:
        server.configure(default_transaction_read_only="off")


def test_the_host_that_takes_writes_is_found_wherever_it_stands(make_client, first, standby):
    assert port(make_client(standby, first)) == first.port
    assert port(make_client(first, standby)) == first.port
    assert port(make_client(first, standby, target_session_attrs="prefer-standby")) == standby.port
    assert port(make_client(standby, first, target_session_attrs="any")) == standby.port
    with pytest.raises(ConnectError, match="(session is read-only|server is in hot standby mode)"):
        make_client(standby, standby).connect()


def test_a_session_that_only_reads_finds_it_too(make_client, first, standby):
    db = make_client(standby, first, options="-c default_transaction_read_only=on", pool_check_after=0)
    assert [port(db) for _each in range(3)] == [first.port] * 3
    with pytest.raises(QueryError, match="25006"):
        db.query(WRITE)
    assert db.pool_stats().lost == 0


def test_a_login_that_only_reads_finds_the_primary_too(make_client, first, standby):
    first.query("CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on")
    standby.wait_until_caught_up()
    db = make_client(standby, first, user="reader", pool_check_after=0)
    assert [port(db) for _each in range(3)] == [first.port] * 3
    assert db.pool_stats().lost == 0


def use_several(db):
    """Leave it with four idle sessions."""
    with contextlib.ExitStack() as held:
        for _each in range(4):
            held.enter_context(db.transaction())


def test_a_server_that_takes_no_writes_any_more_is_left(make_client, first):
    """It says so to the first statement that writes, and no session on it is handed out after that."""
    with primary(provisioned=False) as other:
        other.cluster.query("CREATE TABLE written (id uuid PRIMARY KEY)")
        db = make_client(first, other.cluster)
        use_several(db)
        with takes_no_writes(first):
            with pytest.raises(QueryError, match="25006"):
                db.query(WRITE)
            for _each in range(4):
                db.query(WRITE)
            assert port(db) == other.cluster.port
            assert db.pool_stats().lost == 4


def test_a_transaction_that_was_to_read_costs_no_connection(make_client, first, standby):
    db = make_client(first, standby)
    with pytest.raises(QueryError, match="25006"), db.transaction(read_only=True) as transaction:
        transaction.query(WRITE)
    assert db.pool_stats().lost == 0


def test_the_next_host_is_tried_where_one_is_silent(make_client, first):
    """Four sessions are idle when the line is cut; the first that asks finds that out for all."""
    with SilentLine(first) as line, SilentLine(first) as other:
        db = make_client(line, other, connect_timeout=2)
        use_several(db)
        with line.silent():
            calls = other.calls
            with db.transaction() as transaction:
                assert port(transaction) == first.port
            assert other.calls == calls + 1
            stats = db.pool_stats()
            assert (stats.lost, stats.total) == (4, 1)


def test_a_caller_waits_no_longer_however_many_hosts_are_silent(make_client, first):
    with contextlib.ExitStack() as lines:
        silent = [lines.enter_context(SilentLine(first)) for _each in range(5)]
        for line in silent:
            lines.enter_context(line.silent())
        with pytest.raises(PoolTimeoutError, match=r"No connection within 0\.5 s"):
            make_client(*silent, pool_timeout=0.5).query("SELECT 1")


def test_work_goes_on_with_the_new_primary(server_version, make_client):
    with primary(provisioned=False) as database, Standby(database.cluster) as standby:
        old = database.cluster
        old.query("CREATE TABLE written (id uuid PRIMARY KEY)")
        db = make_client(old, standby, pool_size=4)

        def work():
            with db.transaction() as transaction:
                transaction.query(WRITE)

        with old.synchronous(), Background(4, work) as load:
            eventually(lambda: len(load.results) > 50, "work is done")
            old.kill()
            standby.promote()
            standby.configure(synchronous_standby_names="")
            before = len(load.results)
            eventually(lambda: len(load.results) > before + 50, "work is done at the new primary")
            # The old one comes back as something that takes no writes, and first in the list as it is nobody goes to it.
            old.settings["default_transaction_read_only"] = "on"
            old.start()
            before = len(load.results)
            eventually(lambda: len(load.results) > before + 50, "work goes on")
            assert port(db) == standby.port
        assert {type(error) for error in load.errors} <= {ConnectionLostError}
        assert (
            len(load.results) <= standby.value("SELECT count(*) FROM written") <= len(load.results) + len(load.errors)
        )
