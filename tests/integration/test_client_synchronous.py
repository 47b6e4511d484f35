"""Commits that wait for a synchronous standby: one whose wait was cancelled, cut or given up is never called done."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.database import overdue
from ansible_collections.homelab.mission_control.plugins.module_utils.database import pool as pool_module
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConnectionLostError
from client_threads import eventually
from command import environment_of
from library_client import client_of
from replication_lab import Standby, primary
from silent_line import SilentLine

OURS = "application_name = 'waiter' AND backend_type = 'client backend'"
ONE_SERVER_ONLY = r"durable on this server and perhaps on no other\.$"
QUIET = "-c client_min_messages=error"


@pytest.fixture(scope="module")
def database(server_version):
    # In German where the machine has the translation: a locale of plain C has none.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGUAGE", "de")
        with (
            primary(provisioned=False, lc_messages="C.UTF-8") as database,
            Standby(database.cluster) as standby,
        ):
            database.standby = standby
            cluster = database.cluster
            with contextlib.closing(cluster.connect(database.name)) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE TABLE written (worker text PRIMARY KEY); GRANT ALL ON written TO public")
            yield database


@pytest.fixture
def away(database):
    """Commits wait for a standby that is away."""
    cluster = database.cluster
    with cluster.synchronous(), database.standby.cut_off():
        yield cluster
        cluster.configure(synchronous_standby_names="")
        cluster.query(f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE {OURS}")
        value(database, "WITH gone AS (DELETE FROM written RETURNING 1) SELECT count(*) FROM gone")


@pytest.fixture
def make_client(database):
    clients = []

    def make(**options):
        options = {"application_name": "waiter", "commit_timeout": float("inf"), **options}
        clients.append(client_of(database, **options) if "host" not in options else Client(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect(0)


def waiting(cluster):
    return cluster.value(f"SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND {OURS}")


def value(database, sql):
    with contextlib.closing(database.cluster.connect(database.name)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def written(database):
    return value(database, "SELECT count(*) FROM written")


def single(db):
    db.query("INSERT INTO written VALUES ('x')")


def in_transaction(db):
    with db.transaction() as transaction, transaction.transaction() as nested:
        nested.query("INSERT INTO written VALUES ('x')")


def many(db):
    db.execute_many("INSERT INTO written VALUES (%s)", [["x"]])


def in_procedure(db):
    db.query("DO $$ BEGIN INSERT INTO written VALUES ('x'); COMMIT; PERFORM 1; END $$")


WORKS = {"single": single, "transaction": in_transaction, "execute_many": many, "procedure": in_procedure}


def begun(work, *arguments):
    """Start work in a thread; the function that is returned gives the error that it ended with."""
    outcome = []

    def run():
        try:
            work(*arguments)
            outcome.append("called done")
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def error():
        thread.join(60)
        (end,) = outcome
        return end

    return error


def assert_not_done(error, sentence=ONE_SERVER_ONLY):
    assert isinstance(error, ConnectionLostError), error
    assert error.in_commit
    with pytest.raises(ConnectionLostError, match=sentence):
        raise error


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_wait_that_somebody_cancelled_is_no_success(make_client, database, away, name, function):
    db = make_client()
    error = begun(WORKS[name], db)
    eventually(lambda: waiting(away), "it waits for its standby")
    away.query(f"SELECT {function}(pid) FROM pg_stat_activity WHERE {OURS}")
    assert_not_done(error())
    assert written(database) == 1
    # Nor does the next caller get the session, which may still have something to say.
    assert db.pool_stats().total == 0
    assert db.query_one("SELECT count(*) AS n FROM written") == {"n": 1}


def test_a_warning_of_a_program_s_own_is_no_failure(make_client, database):
    db = make_client()
    shout = "DO $$ BEGIN RAISE WARNING 'canceling'; END $$"
    db.query(shout)
    with db.transaction() as transaction:
        transaction.query(shout)
    assert db.pool_stats().lost == 0


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("options", ["", QUIET], ids=["with warnings", "without"])
def test_disconnecting_makes_no_success_of_a_wait(make_client, database, away, name, options):
    db = make_client(options=options)
    error = begun(WORKS[name], db)
    eventually(lambda: waiting(away), "it waits for its standby")
    assert db.disconnect(timeout=0) is False
    assert_not_done(error())
    assert written(database) == 1


def test_a_request_to_cancel_that_comes_late_makes_no_success_of_a_commit(make_client, away, database, monkeypatch):
    """It was meant for the statement before. Warnings are off, so the library knows by itself alone."""
    monkeypatch.setattr(pool_module, "_GRACE", 60)
    at_work = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with SilentLine(away) as line:
        db = make_client(
            host="127.0.0.1", port=line.port, database=database.name, user="postgres", options=QUIET
        ).connect()

        def work():
            with db.transaction() as transaction:
                transaction.query("INSERT INTO written VALUES ('x')")
                transaction.query("SELECT pg_sleep(0.5)")

        error = begun(work)
        eventually(lambda: away.value(at_work), "it is at work")
        with line.held_calls() as let_through:
            calls = line.calls
            ended = begun(db.disconnect, 0)
            eventually(lambda: line.calls > calls and waiting(away), "the request is under way, and the commit waits")
            let_through()
            assert_not_done(error())
        ended()
    assert written(database) == 1


def start(database, program):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BEGIN + program],
        env=environment_of(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


BEGIN = """
import os
from ansible_collections.homelab.mission_control.plugins.module_utils.client.client import Client
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import ConnectionLostError

def write(db, worker):
    with db.transaction() as transaction:
        transaction.query("INSERT INTO written VALUES (%s)", [worker])
"""


def test_ctrl_c_in_a_wait_is_an_interrupt_and_the_session_is_not_used_again(database, away):
    program = """
db = Client(application_name="waiter", pool_size=1).connect()
before = db.query_one("SELECT pg_backend_pid() AS pid")
try:
    write(db, "x")
except KeyboardInterrupt:
    print("interrupted", db.query_one("SELECT pg_backend_pid() AS pid") != before, db.pool_stats().total)
"""
    process = start(database, program)
    eventually(lambda: waiting(away) or process.poll() is not None, "it waits for its standby")
    time.sleep(0.1)  # as a person is slower
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("interrupted True 1\n", "")
    assert written(database) == 1


@pytest.mark.parametrize("name", WORKS)
def test_a_wait_ends_with_the_commit_timeout(make_client, database, away, name):
    db = make_client(commit_timeout=0.3)
    error = begun(WORKS[name], db)
    knows = ONE_SERVER_ONLY if name in ("single", "procedure") else "Whether the transaction was committed is not known"
    assert_not_done(error(), rf"0\.3 s \(commit_timeout\), so.*{knows}")
    # The server itself still waits, and shows the row to nobody before.
    assert waiting(away) == 1
    assert written(database) == 0
    away.configure(synchronous_standby_names="")
    eventually(lambda: written(database) == 1, "it was committed")


def test_a_long_query_is_not_cut_by_the_commit_timeout(make_client, away):
    db = make_client(commit_timeout=0.2)
    assert db.query_one("SELECT 1 AS n FROM pg_sleep(1.5)") == {"n": 1}
    with db.transaction() as transaction:
        assert transaction.query_one("SELECT 1 AS n FROM pg_sleep(1)") == {"n": 1}
    assert db.pool_stats().lost == 0


def test_a_commit_on_a_silent_line_ends_with_the_commit_timeout(make_client, database):
    with SilentLine(database.cluster) as line:
        db = make_client(
            host="127.0.0.1", port=line.port, database=database.name, user="postgres", commit_timeout=0.3
        ).connect()
        silence = line.silent()
        with pytest.raises(ConnectionLostError, match="commit_timeout") as error, db.transaction() as transaction:
            transaction.query("SELECT 1")
            silence.__enter__()
        assert error.value.in_commit
        silence.__exit__(None, None, None)
        assert db.query_one("SELECT 1 AS n") == {"n": 1}


def test_a_forked_process_and_its_child_both_give_up(database, away):
    program = """
db = Client(application_name="waiter", commit_timeout=0.3).connect()
child = os.fork()
try:
    write(db, str(child))
except ConnectionLostError as error:
    print(error.in_commit, flush=True)
    os._exit(0 if child == 0 else os.wait()[1])
"""
    process = start(database, program)
    assert process.communicate(timeout=60) == ("True\nTrue\n", "")
    assert process.returncode == 0


def test_a_fork_while_nothing_runs_ends_no_watch(make_client, away):
    db = make_client(commit_timeout=0.3)
    db.query("SELECT 1")
    eventually(lambda: overdue._watch.asleep, "the watcher sleeps")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert_not_done(begun(single, db)())


def test_a_later_acknowledged_write_speaks_for_all_before_it(make_client, away):
    """What the docs advise after a doubtful commit: to look it up, and to write something that waits as it did."""
    db = make_client(statement_timeout=60)
    error = begun(in_transaction, db)
    eventually(lambda: waiting(away), "it waits for its standby")
    away.query(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {OURS}")
    assert_not_done(error())
    ask = "SELECT count(*) AS n, pg_logical_emit_message(true, 'look-up', '') FROM written"
    looked_up = begun(lambda: db.query_one(ask))
    eventually(lambda: waiting(away), "the answer waits for the standby")
    away.query(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {OURS}")
    assert_not_done(looked_up())
