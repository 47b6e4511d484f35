"""What the health check sees of sessions, locks and limits, and by which login."""

import contextlib
import math
import threading

import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import Thresholds
from health_lab import health, statuses, text_of

# From the first moment on a warning, and never a failure.
AT_ONCE = Thresholds(
    latency_warn_ms=math.inf,
    transaction_warn_seconds=0,
    transaction_fail_seconds=math.inf,
    idle_in_transaction_warn_seconds=0,
    idle_in_transaction_fail_seconds=math.inf,
    blocked_warn_seconds=0,
    blocked_fail_seconds=math.inf,
)


def own_pid(session):
    return session.value("SELECT pg_backend_pid()")


def in_thread(session, sql):
    """Execute a statement that will be cancelled."""

    def work():
        with contextlib.suppress(psycopg2.errors.QueryCanceled):
            session.run(sql)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def monitored(cluster):
    """The monitoring role as the database role makes it by default: a member of pg_monitor."""
    with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("GRANT pg_monitor TO mission_control_monitor")
        yield
        cursor.execute("REVOKE pg_monitor FROM mission_control_monitor")


@pytest.fixture
def idle(database):
    """A session of the application that does nothing in a transaction."""
    session = database.session("application")
    session.run("BEGIN")
    session.run("SELECT 1")
    yield session
    session.run("ROLLBACK")


@contextlib.contextmanager
def waiting(
    database,
    role="application",
    hold="UPDATE hosts SET status = 'offline'",
    wait="UPDATE hosts SET status = 'secret-of-the-statement'",
):
    """Two sessions, of which the second waits for a lock that the first holds: their process ids."""
    holder, waiter, watcher = database.session(role), database.session("application"), database.session("admin")
    pids = own_pid(holder), own_pid(waiter)
    holder.run("BEGIN")
    holder.run(hold)
    thread = in_thread(waiter, wait)
    try:
        while not watcher.values("SELECT pid FROM pg_locks WHERE NOT granted AND waitstart IS NOT NULL"):
            pass
        yield pids
    finally:
        watcher.run("SELECT pg_cancel_backend(%s)", pids[1])
        thread.join()
        holder.run("ROLLBACK")


@pytest.mark.parametrize("role", ["postgres", "monitor"])
def test_an_idle_transaction_is_told_with_process_and_age(database, idle, monitored, role):
    report = health(database, role, thresholds=AT_ONCE)
    assert statuses(report, "stale_task_runs") == {"oldest_transaction": "warn", "idle_in_transaction": "warn"}
    for name in ("oldest_transaction", "idle_in_transaction"):
        check = report.check(name)
        (session,) = check.data["sessions"]
        assert session["pid"] == own_pid(idle)
        assert session["user"] == "mission_control"
        assert session["state"] == "idle in transaction"
        assert check.data["seconds"] == session["seconds"] > 0
        assert check.data["hidden"] == 0
        assert f"process {own_pid(idle)}" in check.message


def test_the_limits_decide_between_warning_and_failure(database, idle):
    report = health(database, "postgres", thresholds=Thresholds(transaction_warn_seconds=0, transaction_fail_seconds=0))
    assert report.check("oldest_transaction").status == "fail"
    assert report.check("idle_in_transaction").status == "pass"
    assert report.status == "fail"


def test_a_session_that_works_in_its_transaction_is_not_idle(database):
    session, watcher = database.session("application"), database.session("admin")
    pid = own_pid(session)
    thread = in_thread(session, "SELECT pg_sleep(30)")
    try:
        while watcher.value("SELECT state FROM pg_stat_activity WHERE pid = %s", pid) != "active":
            pass
        report = health(database, "postgres", thresholds=AT_ONCE)
    finally:
        watcher.run("SELECT pg_cancel_backend(%s)", pid)
        thread.join()
    assert report.check("oldest_transaction").data["sessions"][0]["pid"] == pid
    assert report.check("idle_in_transaction").status == "pass"
    assert "pg_sleep" not in text_of(report)


def test_what_other_logins_do_is_not_visible_to_the_readonly_login(database, idle):
    report = health(database, "readonly", thresholds=AT_ONCE)
    assert statuses(report) == {"oldest_transaction": "not visible", "idle_in_transaction": "not visible"}
    assert report.status == "pass"
    check = report.check("oldest_transaction")
    assert check.data["hidden"] == 1
    assert check.data["sessions"] == []
    assert "Hidden from this login: 1 session;" in check.message


def test_what_is_wrong_as_far_as_one_sees_counts_although_others_are_hidden(database, idle):
    database.session("admin")
    report = health(database, "application", thresholds=AT_ONCE)
    assert report.check("oldest_transaction").status == "warn"
    assert report.check("oldest_transaction").data["hidden"] == 1


def test_a_session_that_reports_nothing_is_not_visible_to_anybody(database):
    place = database.cluster.connect(database.name, options="-c track_activities=off")
    with contextlib.closing(place) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        report = health(database, "postgres", thresholds=AT_ONCE)
    assert statuses(report) == {"oldest_transaction": "not visible", "idle_in_transaction": "not visible"}


def test_the_application_sees_its_own_sessions(database, idle):
    report = health(database, "application")
    assert report.check("idle_in_transaction").status == "pass"
    assert report.check("idle_in_transaction").data["count"] == 1


def test_a_session_of_another_database_is_not_this_ones_matter(database, cluster):
    with contextlib.closing(cluster.connect()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        report = health(database, "postgres", thresholds=AT_ONCE)
    assert report.check("oldest_transaction").status == "pass"


def test_a_prepared_transaction_is_an_open_one(database):
    session = database.session("application")
    session.run("BEGIN")
    session.run("UPDATE hosts SET status = 'online'")
    session.run("PREPARE TRANSACTION 'secret-of-the-name'")
    session.close()
    try:
        report = health(database, "readonly", thresholds=AT_ONCE)
    finally:
        database.session("admin").run("ROLLBACK PREPARED 'secret-of-the-name'")
    check = report.check("oldest_transaction")
    assert check.status == "warn"
    assert "a prepared one of mission_control" in check.message
    assert check.data["sessions"][0]["pid"] is None
    assert check.data["sessions"][0]["state"] == "prepared"
    assert "secret" not in text_of(report)


@pytest.mark.parametrize("role", ["postgres", "readonly"])
def test_a_blocked_session_is_told_with_who_blocks_it(database, role):
    database.session("application").insert("hosts", name="nas", type="bare-metal")
    with waiting(database) as (holder, waiter):
        report = health(database, role, thresholds=AT_ONCE)
    check = report.check("blocked_locks")
    assert check.status == "warn"
    (session,) = check.data["sessions"]
    assert check.data["count"] == 1
    assert session["pid"] == waiter
    assert session["blocked_by"] == [holder]
    assert session["seconds"] >= 0
    assert f"process {waiter}" in check.message
    assert f"behind process {holder}" in check.message
    assert "secret" not in text_of(report)


@pytest.mark.parametrize("role", ["postgres", "application"])
def test_who_holds_the_head_of_the_audit_log_is_named(database, role):
    entry = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'look', 'success')"
    with waiting(database, "admin", "SELECT FROM audit_head FOR UPDATE", entry) as (holder, _):
        check = health(database, role, thresholds=AT_ONCE).check("blocked_locks")
    assert check.status == "warn"
    (held,) = check.data["audit_head"]
    assert (held["pid"], held["user"]) == (holder, "postgres")
    assert f"The head of the audit log is held by process {holder} of postgres" in check.message
    # How old the transaction of another login is, pg_monitor shows.
    assert (held["seconds"] is None) == (role == "application")


def test_a_short_wait_for_a_lock_is_nothing_wrong(database):
    database.session("application").insert("hosts", name="nas", type="bare-metal")
    with waiting(database):
        assert health(database, "postgres").check("blocked_locks").status == "pass"


@pytest.fixture
def role_limit(database):
    """At most four connections of the application, of which three are in use."""
    admin = database.session("admin")
    sessions = [database.session("application") for _ in range(3)]
    admin.run("ALTER ROLE mission_control CONNECTION LIMIT 4")
    yield len(sessions)
    admin.run("ALTER ROLE mission_control CONNECTION LIMIT -1")


def test_connections_are_measured_by_the_limit_of_a_role(database, role_limit):
    check = health(database, "readonly").check("connections")
    assert (check.data["of"], check.data["name"]) == ("role", "mission_control")
    assert (check.data["used"], check.data["limit"], check.data["share"]) == (role_limit, 4, 0.75)
    assert check.status == "pass"


def test_connections_are_measured_by_the_narrowest_limit(database, role_limit):
    database.session("admin").run(f"ALTER DATABASE {database.name} CONNECTION LIMIT 6")
    check = health(database, "readonly").check("connections")
    # Three of the application, two of the administrator, and the one that asks.
    assert (check.data["of"], check.data["used"], check.data["limit"]) == ("database", 6, 6)
    assert check.status == "fail"
    assert [limit["of"] for limit in check.data["limits"]] == ["server", "database", "role"]
    assert "the database allows" in check.message


def test_nearly_all_connections_in_use_is_a_warning(database):
    thresholds = Thresholds(connections_warn=0, connections_fail=1)
    report = health(database, thresholds=thresholds)
    assert report.check("connections").status == "warn"
    assert report.check("connections").data["of"] == "server"
