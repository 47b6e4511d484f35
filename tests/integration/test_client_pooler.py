"""Through pgbouncer, which takes no settings of a session at the login: time-outs are in force all the same."""

import contextlib
import signal
import socket
import subprocess
import time

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import (
    ConnectError,
    QueryError,
    StatementCanceledError,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from command import run_command
from throwaway_cluster import ThrowawayCluster

REFUSING = ""
IGNORING = "ignore_startup_parameters = options"


@pytest.fixture(scope="module")
def server():
    with ThrowawayCluster() as cluster:
        yield cluster


@contextlib.contextmanager
def pooler(server, directory, more):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (directory / "users").write_text('"postgres" ""\n', encoding="utf-8")
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={server.socket_directory} port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {directory / 'users'}\n"
        f"pool_mode = transaction\ndefault_pool_size = 2\nlogfile = {directory / 'log'}\n{more}\n",
        encoding="utf-8",
    )
    for path in (directory, *directory.parents):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    directory.chmod(0o777)
    for path in directory.iterdir():
        path.chmod(0o644)
    process = subprocess.Popen(
        ["/usr/sbin/pgbouncer", str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **server._identity,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield {"host": "127.0.0.1", "port": port, "user": "postgres", "database": "postgres"}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


@pytest.fixture(scope="module", params=[REFUSING, IGNORING], ids=["refusing", "ignoring"])
def place(request, server, tmp_path_factory):
    with pooler(server, tmp_path_factory.mktemp("pgbouncer"), request.param) as place:
        yield place


SETTINGS = "SELECT current_setting('statement_timeout') AS s, current_setting('lock_timeout') AS l, current_setting('a.b', true) AS o"


def test_time_outs_and_options_are_in_force_in_each_statement_and_transaction(place):
    expected = {"s": "5s", "l": "2s", "o": "it's c"}
    options = {"statement_timeout": 5, "lock_timeout": 2, "options": r"-c a.b=it's\ c"}
    with Client(**place, **options) as db, Client(**place) as other:
        for _ in range(3):
            assert db.query_one(SETTINGS) == expected
            with db.transaction("repeatable read") as transaction:
                assert transaction.query_one(SETTINGS) == expected
                with transaction.transaction() as inner:
                    assert inner.query_one(SETTINGS) == expected
            with db.stream(SETTINGS) as rows:
                assert list(rows) == [expected]
            assert other.query_one(SETTINGS)["s"] == "0", "another client of the pooler does not get them"
        assert db.pool_stats().in_use == 0
        with pytest.raises(QueryError, match="division by zero"):
            db.query("SELECT 1 / 0")
        assert db.query_one(SETTINGS) == expected
        assert db.health().connected
        assert check_health(db, None, timeout=30).check("connection").status in ("pass", "warn")


def test_a_time_out_ends_a_statement(place):
    with Client(**place, statement_timeout=0.1) as db, pytest.raises(StatementCanceledError):
        db.query("SELECT pg_sleep(60)")


def test_what_a_statement_wrote_is_committed(place):
    with Client(**place, statement_timeout=5) as db:
        db.query("CREATE TABLE IF NOT EXISTS written (n integer)")
        assert db.query("INSERT INTO written VALUES (%s)", [1]).row_count == 1
        assert db.execute_many("INSERT INTO written VALUES (%s)", [[2], [3]]) == 2
        assert db.query_one("SELECT count(*) >= 3 AS all_there FROM written") == {"all_there": True}


def test_the_command_line_queries_through_a_pooler(place):
    words = [word for name, value in place.items() for word in (f"--{name}", str(value))]
    result = run_command(None, "query", "--csv", "SHOW statement_timeout", "--statement-timeout", "5", *words)
    assert (result.stdout, result.stderr) == ("statement_timeout\n5s\n", "")
    result = run_command(None, "query", "CREATE TABLE refused ()", *words)
    assert result.returncode == 1
    assert "read-only" in result.stderr


def test_options_that_are_no_settings_are_refused_and_the_pooler_is_named(place):
    with pytest.raises(
        ConnectError, match="takes no options at the login, whatever its ignore_startup_parameters says"
    ):
        Client(**place, options="-P").connect()


def test_the_token_of_tools_is_put_into_no_statement(place):
    with pytest.raises(ConnectError, match="goes to the server with the login alone") as refused:
        Client(**place, tool_token="x" * 32).connect()
    assert "x" * 32 not in str(refused.value)
