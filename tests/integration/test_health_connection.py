"""The health check where there is no connection, where it breaks, and where the server does not answer."""

import os
import signal
import socket
import threading

from ansible_collections.homelab.mission_control.plugins.module_utils.health.check import check_health
from ansible_collections.homelab.mission_control.plugins.module_utils.health.registry import NAMES
from ansible_collections.homelab.mission_control.plugins.module_utils.health.report import Check
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.objects import TABLES
from health_lab import MANIFEST, PATIENT, health, login, statuses, text_of
from restartable_cluster import RestartableCluster

# Other sessions of a test are hidden from the application's login.
SESSIONS = ("oldest_transaction", "idle_in_transaction")
PASSWORD = "wrong-S3cret-of-the-test"


def assert_nothing_was_checked(report):
    assert report.status == "fail"
    found = {check.name: check.status for check in report.checks}
    assert found == {"connection": "fail", **dict.fromkeys(NAMES[1:], "not checked")}


def test_a_server_that_is_not_there(shared_database):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        report = health(shared_database, host="127.0.0.1", port=taken.getsockname()[1])
    assert_nothing_was_checked(report)
    assert "refused" in report.check("connection").message
    assert report.check("connection").data == {"error": "ConnectError"}


def test_a_wrong_password_that_is_not_told(shared_database):
    report = health(shared_database, host="127.0.0.1", password=PASSWORD)
    assert_nothing_was_checked(report)
    assert "password authentication failed" in report.check("connection").message
    assert PASSWORD not in text_of(report)


def test_a_database_that_does_not_exist(shared_database):
    report = health(shared_database, database="no_such_database")
    assert_nothing_was_checked(report)
    assert '"no_such_database" does not exist' in report.check("connection").message


def test_a_server_that_accepts_and_is_silent(shared_database):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        report = health(shared_database, host="127.0.0.1", port=listener.getsockname()[1], timeout=0.5)
    assert_nothing_was_checked(report)
    assert "0.5 s" in report.check("connection").message


def test_a_client_whose_connections_are_all_in_use(shared_database):
    with login(shared_database, pool_size=1) as client, client.transaction() as transaction:
        report = check_health(client, MANIFEST, PATIENT, timeout=0.5)
        assert transaction.query_one("SELECT 1 AS n") == {"n": 1}
    assert_nothing_was_checked(report)
    assert "total 1 of at most 1" in report.check("connection").message


def test_a_client_that_was_disconnected(shared_database):
    with login(shared_database) as client:
        client.connect()
        client.disconnect()
        assert_nothing_was_checked(check_health(client))


def test_a_process_of_the_server_that_hangs(shared_database):
    with login(shared_database) as client:
        pid = client.query_one("SELECT pg_backend_pid() AS pid")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            report = check_health(client, MANIFEST, PATIENT, timeout=0.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert_nothing_was_checked(report)
        assert report.check("connection").message == "The server did not answer within 0.5 s."
        assert check_health(client, MANIFEST, PATIENT).status == "pass"


def locked(database, *tables):
    """Hold locks that let nobody even read, in a transaction that ends with the test."""
    session = database.session("admin")
    session.run("BEGIN")
    session.run(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    return session


def test_a_lock_that_is_in_the_way_is_a_warning_and_holds_up_nothing_else(database):
    locked(database, "schema_migrations", "task_runs")
    report = health(database)
    assert statuses(report, *SESSIONS) == {
        "tables": "warn",
        "migrations": "warn",
        # The definition of a view can only be read with the tables that it names.
        "repeatables": "warn",
        "stale_task_runs": "warn",
    }
    assert "holds a lock" in report.check("migrations").message


def test_a_question_that_takes_too_long_leaves_time_for_the_others(database):
    # The check of the audit chain calls this function where the login may not read the log.
    database.session("admin").run(
        """
        CREATE OR REPLACE FUNCTION verify_audit_chain(
            p_expected_sequence bigint DEFAULT NULL, p_expected_digest bytea DEFAULT NULL,
            p_checkpoint_sequence bigint DEFAULT NULL, p_checkpoint_digest bytea DEFAULT NULL,
            OUT valid boolean, OUT verified bigint, OUT head_sequence bigint, OUT head_digest bytea,
            OUT first_bad_sequence bigint, OUT problem text
        ) LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN PERFORM pg_sleep(60); END'
        """
    )
    report = health(database, "monitor", timeout=4)
    assert statuses(report, "stale_task_runs", *SESSIONS) == {"audit_chain": "warn", "repeatables": "fail"}
    assert "too long" in report.check("audit_chain").message


def test_many_locks_in_the_way_do_not_take_longer_than_there_is_time(database):
    locked(database, *TABLES)
    report = health(database, timeout=1)
    asked = {"tables", "migrations", "repeatables", "audit_chain", "stale_task_runs"}
    assert {report.check(name).status for name in asked} <= {"warn", "not checked"}
    assert report.status in ("warn", "fail")


def health_while_it_waits(database, act, timeout):
    """Check health while schema_migrations is locked, and do something to the server's process that waits for it."""
    admin = locked(database, "schema_migrations")
    over = threading.Event()

    def watch():
        while not over.is_set():
            for pid in admin.values("SELECT pid FROM pg_locks WHERE NOT granted"):
                act(admin, pid)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return health(database, timeout=timeout)
    finally:
        over.set()
        thread.join()


def test_a_server_that_hangs_in_the_middle(database):
    """Its process is stopped while it waits for a lock, so that none of its own time-outs can help."""
    stopped = []

    def stop(_, pid):
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    try:
        report = health_while_it_waits(database, stop, timeout=4)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert report.check("connection").message == "The server did not answer within 4 s."
    assert report.check("server").status == "pass"
    assert report.check("stale_task_runs") == Check("stale_task_runs", "not checked", "There was no time left.", {})


def test_a_connection_that_breaks_keeps_what_was_found(database):
    report = health_while_it_waits(database, lambda admin, pid: admin.run("SELECT pg_terminate_backend(%s)", pid), 30)
    assert report.check("server").status == "pass"
    assert report.check("connection").status == "fail"
    assert report.check("connection").data["query_ms"] > 0
    assert report.check("audit_chain") == Check("audit_chain", "not checked", "There was no connection.", {})


def test_a_restart_of_the_server_is_survived(server_version):
    with RestartableCluster() as server:
        database = type("Place", (), {"cluster": server, "name": "postgres"})
        with login(database, "postgres") as client:
            assert check_health(client, None, PATIENT).check("connection").status == "pass"
            server.stop()
            assert_nothing_was_checked(check_health(client, None, PATIENT))
            server.start()
            assert check_health(client, None, PATIENT).check("connection").status == "pass"
