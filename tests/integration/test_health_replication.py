"""What the health check says of a primary, its standbys and their slots, on real servers that lose each other."""

import contextlib
import math
import subprocess
import threading
from pathlib import Path

import psycopg2
import psycopg2.extras
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.errors import SettingsError
from ansible_collections.homelab.mission_control.plugins.module_utils.health import replication as replication_checks
from ansible_collections.homelab.mission_control.plugins.module_utils.health.replication import (
    synchronous_wanted,
    without_address,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.health.thresholds import Thresholds
from health_lab import health, statuses, text_of
from mission_control_database import Database
from processes import kill_with_descendants, wait_for
from replication_lab import Standby, primary

SOME_LOG = "SELECT count(pg_logical_emit_message(false, 'test', repeat('x', 1000000))) FROM generate_series(1, %s)"
A_COMMIT = "SELECT pg_logical_emit_message(true, 'test', 'x')"


@pytest.fixture(scope="module")
def database(server_version):
    """A primary with its roles and no schema; the monitoring role sees all of replication."""
    with primary(provisioned=False, wal_level="logical") as database:
        database.cluster.query("GRANT pg_monitor TO mission_control_monitor")
        database.cluster.query("ALTER ROLE mission_control_monitor PASSWORD 'secret-of-the-monitor'")
        yield database


@pytest.fixture(scope="module")
def standby(database):
    with Standby(database.cluster, "db2") as standby:
        yield standby


@pytest.fixture
def caught_up(standby):
    # It knows only of transactions since its start how old they are.
    standby.primary.query(A_COMMIT)
    standby.wait_until_caught_up()
    wait_for(
        lambda: standby.primary.value("SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication")
    )
    return standby


def on(standby, database):
    return Database(standby, database.name)


def replication(of, role="monitor", **options):
    return health(of, role, None, **options).check("replication")


def slots(of, role="readonly", **options):
    return health(of, role, None, **options).check("replication_slots")


def writable(of, expected_role="", role="readonly", **options):
    return health(of, role, None, expected_role=expected_role, **options).check("writable")


def test_a_standby_passes_every_check(shared_database, cluster):
    with Standby(cluster) as standby:
        standby.wait_until_caught_up()
        report = health(Database(standby, shared_database.name), "postgres")
    assert statuses(report) == {}
    assert report.check("server").data["role"] == "standby"
    assert "a standby" in report.check("server").message
    assert "replay_age_seconds" in report.check("server").data
    assert report.check("writable").data["writable"] is False


# Whether it takes writes


@pytest.mark.parametrize("expected", ["", "primary"])
def test_a_primary_takes_writes(database, expected):
    check = writable(database, expected)
    assert (check.status, check.message) == ("pass", "The server takes writes.")
    assert check.data == {"writable": True, "role": "primary", "expected_role": expected}


def test_a_primary_where_a_standby_is_expected_fails(database):
    check = writable(database, "standby")
    assert check.status == "fail"
    assert "a standby is expected: if another primary runs, stop one of the two" in check.message


@pytest.mark.parametrize(("expected", "status"), [("", "pass"), ("standby", "pass"), ("primary", "fail")])
def test_a_standby_takes_no_writes(database, standby, expected, status):
    check = writable(on(standby, database), expected)
    assert check.status == status
    assert check.message.startswith("The server is a standby, which takes no writes")
    assert ("promote this server" in check.message) == (status == "fail")


@pytest.mark.parametrize(("expected", "status"), [("", "warn"), ("primary", "fail"), ("standby", "fail")])
@pytest.mark.parametrize("of", ["server", "database"])
def test_a_primary_that_is_read_only_for_all(database, of, expected, status):
    change = "SYSTEM" if of == "server" else f"DATABASE {database.name}"
    database.cluster.query(f"ALTER {change} SET default_transaction_read_only = on")
    database.cluster.query("SELECT pg_reload_conf()")
    try:
        wait_for(lambda: writable(database).status != "pass")
        check = writable(database, expected)
    finally:
        database.cluster.query(f"ALTER {change} RESET default_transaction_read_only")
        database.cluster.query("SELECT pg_reload_conf()")
    wait_for(lambda: writable(database).status == "pass")
    assert (check.status, check.data["writable"]) == (status, False)
    if expected != "standby":
        assert f"default_transaction_read_only of the {of} is on" in check.message


def test_a_login_or_session_that_is_read_only_says_nothing_about_the_server(database):
    database.cluster.query("ALTER ROLE mission_control_readonly SET default_transaction_read_only = on")
    assert writable(database, "primary").status == "pass"
    session = writable(database, "primary", "application", options="-c default_transaction_read_only=on")
    assert session.status == "pass"


@pytest.mark.parametrize("role", ["master", "Primary", None, True])
def test_a_role_that_is_none_is_named(database, role):
    with pytest.raises(SettingsError, match="The expected role must be primary, standby, or empty for any"):
        health(database, expected_role=role)


# A primary and its standbys


def test_a_primary_without_a_standby_has_nothing_to_hide(database):
    with primary(provisioned=False) as alone:
        for role in ("monitor", "readonly"):
            check = replication(alone, role)
            assert (check.status, check.message) == ("pass", "A primary on timeline 1 without a standby.")
            assert (check.data["standbys"], check.data["synchronous_wanted"]) == ([], 0)


def test_a_standby_is_named_with_its_state(database, caught_up):
    check = replication(database)
    assert check.status == "pass"
    (found,) = check.data["standbys"]
    assert {name: found[name] for name in ("name", "state", "sync_state", "slot", "lag_bytes")} == {
        "name": "db2",
        "state": "streaming",
        "sync_state": "async",
        "slot": "db2",
        "lag_bytes": 0,
    }
    assert (check.data["streaming"], check.data["synchronous"], check.data["hidden"]) == (1, 0, 0)
    assert check.message.startswith(
        "A primary on timeline 1, with 1 standby (1 streaming, 0 synchronous); the last, db2, is "
    )


def test_a_login_without_pg_monitor_is_told_what_it_does_not_see(database, caught_up):
    check = replication(database, "readonly")
    assert (check.status, check.data["hidden"]) == ("not visible", 1)
    assert check.message == "A primary on timeline 1, with 1 standby. pg_monitor shows this login their state."
    (found,) = check.data["standbys"]
    assert (found["name"], found["state"], found["lag_seconds"]) == ("db2", None, None)
    # The slot shows how far behind it is.
    assert found["lag_bytes"] >= 0
    # What is hidden may be what is wanted.
    assert replication(database, "readonly", thresholds=Thresholds(standbys_warn=1)).status == "not visible"
    assert replication(database, "readonly", thresholds=Thresholds(standbys_warn=2)).status == "warn"


def test_a_standby_that_does_not_replay_is_late(database, standby):
    late = Thresholds(replication_lag_warn_bytes=500_000)
    with standby.paused():
        database.cluster.query(SOME_LOG, 1)
        wait_for(lambda: replication(database, thresholds=late).status == "warn")
        check = replication(database, thresholds=late)
        own = replication(on(standby, database), thresholds=late)
        by_slot = replication(database, "readonly", thresholds=late)
        by_time = Thresholds(replication_lag_warn_seconds=0.01)
        wait_for(lambda: replication(on(standby, database), thresholds=by_time).status == "warn")
    assert check.message.startswith("Standbys are late: db2 by 97")
    assert check.data["standbys"][0]["lag_bytes"] >= 900_000
    assert own.status == "warn"
    assert own.message.startswith("The standby is 97")
    assert "Its replay is paused: pg_wal_replay_resume() has it go on." in own.message
    assert (own.data["paused"], own.data["lag_bytes"] >= 900_000, own.data["lag_seconds"] > 0) == (True, True, True)
    # It has received all of it, and more is not to be seen.
    assert by_slot.status == "not visible"
    wait_for(lambda: replication(database, thresholds=late).status == "pass")
    wait_for(lambda: replication(on(standby, database), thresholds=late).status == "pass")


def test_a_standby_that_is_behind_by_its_slot_is_late_for_every_login(database, standby):
    """One that is stopped and does not answer: its connection and slot stay."""
    late = Thresholds(replication_lag_warn_bytes=500_000)
    with standby.frozen():
        database.cluster.query(SOME_LOG, 1)
        wait_for(lambda: replication(database, "readonly", thresholds=late).status == "warn")
        check = replication(database, "readonly", thresholds=late)
    assert check.message.startswith("Standbys are late: db2 by ")


def test_fewer_standbys_than_wanted(database, standby):
    wanted = Thresholds(standbys_warn=2, synchronous_standbys_warn=1)
    check = replication(database, thresholds=wanted)
    assert check.status == "warn"
    assert check.message.startswith(
        "1 standby streams, but standbys_warn wants 2. 0 synchronous standbys are connected, but synchronous_standbys_warn wants 1. A primary"
    )
    endless = Thresholds(standbys_warn=math.inf, synchronous_standbys_warn=math.inf)
    assert replication(database, thresholds=endless).status == "pass"


def test_a_base_backup_and_a_logical_subscriber_are_no_standbys(database, caught_up, tmp_path):
    logical = psycopg2.connect(
        **database.cluster.connection_parameters(database.name, application_name="subscriber"),
        connection_factory=psycopg2.extras.LogicalReplicationConnection,
    )
    backup = subprocess.Popen(
        [
            *(Path(database.cluster.bindir, "pg_basebackup"), "--pgdata", tmp_path / "backup", "--username=postgres"),
            *(f"--host={database.cluster.socket_directory}", f"--port={database.cluster.port}"),
            *("--max-rate=32k", "--checkpoint=fast", "--no-sync"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        with contextlib.closing(logical), logical.cursor() as cursor:
            cursor.create_replication_slot("subscriber", output_plugin="pgoutput")
            cursor.start_replication("subscriber", options={"proto_version": 1, "publication_names": "none"})
            senders = "SELECT count(*) FROM pg_stat_replication WHERE state IN ('streaming', 'backup')"
            wait_for(lambda: database.cluster.value(senders) == 4)
            seen, hidden = replication(database), replication(database, "readonly")
    finally:
        kill_with_descendants(backup.pid)  # one of them receives the log
        backup.wait()
    wait_for(
        lambda: not database.cluster.value("SELECT active FROM pg_replication_slots WHERE slot_name = 'subscriber'")
    )
    database.cluster.query("SELECT pg_drop_replication_slot('subscriber')")
    assert [each["name"] for each in seen.data["standbys"]] == ["db2"]
    assert (seen.status, seen.data["streaming"]) == ("pass", 1)
    assert [each["name"] for each in hidden.data["standbys"]] == ["db2"]


def test_a_standby_of_a_standby(database, standby):
    with Standby(standby, "db3") as cascade:
        cascade.wait_until_caught_up()
        above = replication(on(standby, database))
        below = replication(on(cascade, database))
    assert [(each["name"], each["state"]) for each in above.data["standbys"]] == [("db3", "streaming")]
    assert above.data["role"] == "standby"
    assert "with 1 standby (1 streaming)" in above.message
    assert below.data["primary"] == {"host": standby.socket_directory, "port": standby.port}
    # Wanted of a primary; the standbys of a standby are an addition.
    assert replication(on(standby, database), thresholds=Thresholds(standbys_warn=5)).status == "pass"


# Synchronous standbys


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("", 0),
        ("  ", 0),
        ("*", 1),
        ("db2", 1),
        ("db2, db3", 1),
        ('"db 2"', 1),
        ("FIRST 2 (db2, db3)", 2),
        ("first 1 (*)", 1),
        ("2 (db2, db3)", 2),
        ("ANY 2 (db2, db3, db4)", 2),
        ("any 3(db2,db3,db4)", 3),
        ('"any", db3', 1),
    ],
)
def test_how_many_synchronous_standbys_are_wanted(database, names, wanted):
    assert synchronous_wanted(names) == wanted
    if names.strip():
        with database.cluster.synchronous(names):  # the server takes it
            assert replication(database).data["synchronous_wanted"] == wanted


@pytest.mark.parametrize("names", ["db2", "FIRST 1 (db2, db9)", "ANY 1 (db9, db2)", "*"])
def test_a_synchronous_standby_that_is_there(database, standby, names):
    with database.cluster.synchronous(names):
        wait_for(lambda: replication(database).data["synchronous"] == 1)
        check = replication(database, thresholds=Thresholds(synchronous_standbys_warn=1))
    assert check.status == "pass"
    assert check.data["standbys"][0]["sync_state"] in ("sync", "quorum")
    assert "(1 streaming, 1 synchronous)" in check.message


@pytest.mark.parametrize("names", ["db2", "FIRST 1 (db2)", "ANY 1 (db2)"])
def test_a_synchronous_standby_that_is_away_makes_commits_wait(database, standby, names):
    writer = database.session()
    with database.cluster.synchronous(names), standby.cut_off():
        thread = threading.Thread(target=lambda: writer.run(A_COMMIT))
        thread.start()
        wait_for(lambda: replication(database).data["waiting_commits"] == 1)
        check = replication(database)
        # None is connected, so none is hidden: every login is told.
        of_others = replication(database, "readonly")
        off = replication(database, options="-c synchronous_commit=local")
    thread.join()
    writer.close()
    assert check.status == "fail"
    assert check.message.startswith(
        "Commits wait (1 now): synchronous_standby_names wants 1 synchronous standby, and 0 are connected; start the standby, or set "
        "synchronous_standby_names to '' to go on without it."
    )
    assert of_others.status == "fail"
    assert of_others.message.startswith("Commits wait: ")
    assert of_others.data["waiting_commits"] is None
    assert (off.status, "since synchronous_commit is local" in off.message) == ("warn", True)


def test_a_synchronous_standby_that_does_not_answer(database, standby):
    """Its server notices that after a minute: wal_sender_timeout."""
    writer = database.session()
    strict = Thresholds(replication_lag_warn_seconds=0.1)
    with database.cluster.synchronous("db2"):
        wait_for(lambda: replication(database).data["synchronous"] == 1)
        with standby.frozen():
            thread = threading.Thread(target=lambda: writer.run(A_COMMIT))
            thread.start()
            wait_for(lambda: replication(database, thresholds=strict).data["waiting_seconds"] >= 0.1)
            check, well = replication(database, thresholds=strict), replication(database)
        thread.join()
    writer.close()
    assert (check.status, well.status) == ("warn", "pass")
    assert check.message.startswith("Commits wait (1 now, the first for ")
    assert "): a synchronous standby is connected, and does not answer in time." in check.message


def test_one_of_two_synchronous_standbys_is_too_few(database, standby):
    with database.cluster.synchronous("FIRST 2 (db2, db3)"):
        wait_for(lambda: replication(database).data["synchronous"] == 1)
        check = replication(database)
    assert check.status == "fail"
    assert "wants 2 synchronous standbys, and 1 is connected" in check.message


# A standby and its primary


def test_a_standby_says_whom_it_follows(database, caught_up):
    place = on(caught_up, database)
    check = replication(place)
    assert check.status == "pass"
    address = f"{database.cluster.socket_directory} port {database.cluster.port}"
    assert check.message == f"A standby on timeline 1 that streams from {address}, 0 bytes behind."
    assert without_address(check) == "A standby on timeline 1 that streams, 0 bytes behind."
    assert (check.data["slot"], check.data["lag_bytes"], check.data["lag_seconds"]) == ("db2", 0, 0)
    hidden = replication(place, "readonly")
    assert (hidden.status, hidden.data["primary"]) == ("not visible", None)
    assert "pg_monitor shows" in hidden.message


def test_a_standby_that_receives_nothing(database, standby):
    with standby.cut_off():
        checks = [replication(on(standby, database), role) for role in ("monitor", "readonly")]
    for check in checks:
        assert check.status == "warn"
        assert check.message.startswith("The standby receives nothing from its primary: ")
        assert (check.data["receiving"], check.data["primary"]) == (False, None)
        assert "A standby on timeline 1, whose last transaction is " in check.message


def test_a_standby_that_follows_an_archive_alone_is_judged_by_its_age(database, server_version):
    with Standby(database.cluster, "archived", restore_command="false") as standby:
        database.cluster.query(A_COMMIT)
        standby.wait_until_caught_up()
        with standby.cut_off():
            patient = replication(on(standby, database), thresholds=Thresholds(replication_lag_warn_seconds=math.inf))
            impatient = replication(on(standby, database), thresholds=Thresholds(replication_lag_warn_seconds=0))
    assert patient.status == "pass"
    assert impatient.status == "warn"
    assert impatient.message.startswith("The standby, which follows an archive alone, is ")


def test_a_transaction_after_a_long_rest_is_no_lag(database, caught_up, monkeypatch):
    """It looks as old as the one before it, until it is replayed: the check looks again."""
    strict = Thresholds(replication_lag_warn_seconds=0)
    with caught_up.paused():
        database.cluster.query(A_COMMIT)
        wait_for(lambda: caught_up.value("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"))
        late = replication(on(caught_up, database), thresholds=strict)
        monkeypatch.setattr(replication_checks, "_PATIENCE", 20)
        thread = threading.Thread(target=resume_at_the_second_look, args=[caught_up])
        thread.start()
        in_time = replication(on(caught_up, database), thresholds=strict)
        thread.join()
    assert (late.status, late.data["lag_seconds"] > 0) == ("warn", True)
    assert (in_time.status, in_time.data["lag_seconds"]) == ("pass", 0)


def test_a_question_in_the_way_of_what_is_replayed_is_asked_again(database, server_version, monkeypatch):
    """The standby ends such a session."""
    monkeypatch.setattr(replication_checks, "_STEP", 10)
    strict = Thresholds(replication_lag_warn_seconds=0)
    with Standby(database.cluster, "impatient", max_standby_streaming_delay="0") as standby:
        database.session().run("CREATE TABLE rows AS SELECT 1 AS n")
        standby.wait_until_caught_up()
        with standby.paused():
            # Takes away what a question that is being asked could still see.
            database.session().run("DELETE FROM rows")
            database.session().run("VACUUM rows")
            wait_for(lambda: standby.value("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"))
            thread = threading.Thread(target=resume_at_the_second_look, args=[standby])
            thread.start()
            report = health(on(standby, database), "monitor", None, strict, timeout=60)
            thread.join()
        conflicts = "SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = %s"
        wait_for(lambda: standby.value(conflicts, database.name) == 1)
    assert report.check("connection").status == "pass"
    assert report.check("replication").message.startswith("A standby on timeline 1 ")


def resume_at_the_second_look(standby):
    looks = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    wait_for(lambda: standby.query(looks))
    standby.query("SELECT pg_wal_replay_resume()")


def test_the_password_of_replication_is_never_shown(database, standby):
    conninfo = standby.value("SHOW primary_conninfo")
    standby.configure(primary_conninfo=f"{conninfo} password=secret-of-replication")
    standby.wait_until_streaming()
    try:
        reports = [health(on(standby, database), role, None) for role in ("postgres", "monitor", "readonly")]
        with standby.cut_off():
            reports.append(health(on(standby, database), "postgres", None))
    finally:
        standby.configure(primary_conninfo=conninfo)
    for report in reports:
        assert "secret-of-replication" not in text_of(report)


def test_a_promoted_standby_is_a_primary_of_a_new_timeline(database, server_version):
    with Standby(database.cluster, "promoted") as standby:
        assert replication(on(standby, database)).data["timeline"] == 1
        standby.promote()
        check = replication(on(standby, database))
        assert (check.data["role"], check.data["timeline"]) == ("primary", 2)
        assert writable(on(standby, database), "primary").status == "pass"
        # Whoever was told to keep a standby there learns of the second primary.
        assert writable(on(standby, database), "standby").status == "fail"


# Slots


def test_a_slot_of_a_standby_in_use(database, caught_up):
    check = slots(database)
    assert (check.status, check.message) == ("pass", "1 replication slot, none far behind.")
    (slot,) = check.data["slots"]
    assert (slot["name"], slot["type"], slot["active"], slot["limit_bytes"]) == ("db2", "physical", True, None)
    assert check.data["inactive"] == 0


def test_a_slot_that_was_left_behind(database, server_version):
    settings = {"max_slot_wal_keep_size": "64MB", "wal_keep_size": "0"}
    with primary(provisioned=False, **settings) as alone, Standby(alone.cluster, "db2") as standby:
        standby.kill()
        wait_for(lambda: not alone.cluster.value("SELECT active FROM pg_replication_slots"))
        unused = slots(alone)
        while slots(alone).status == "pass":
            alone.cluster.query(SOME_LOG, 4)
        nearly = slots(alone)
        endless = slots(alone, thresholds=Thresholds(slot_warn_bytes=math.inf))
        alone.cluster.query(SOME_LOG, 60)
        alone.cluster.query("CHECKPOINT")
        lost = slots(alone)
    assert (unused.status, unused.message) == ("pass", "1 replication slot, none far behind; not in use: db2.")
    assert unused.data["slots"][0]["limit_bytes"] == 64 * 1024**2
    assert (nearly.status, endless.status) == ("warn", "warn")
    assert nearly.message.startswith("The slot db2 keeps ")
    assert ", and nobody has used it" in nearly.message
    assert "more its standby must be made anew (max_slot_wal_keep_size)." in nearly.message
    assert 0 <= nearly.data["slots"][0]["safe_bytes"] < 16 * 1024**2
    if server_version and int(server_version) >= 17:
        assert nearly.data["slots"][0]["inactive_seconds"] > 0
    assert lost.message == "The log that db2 needs is gone: make its standby anew and drop the slot."
    assert (lost.status, lost.data["slots"][0]["wal_status"]) == ("warn", "lost")


def test_a_slot_without_a_limit_fills_the_disk(database):
    database.cluster.query("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        well = slots(database)
        check = slots(database, thresholds=Thresholds(slot_warn_bytes=0))
    finally:
        database.cluster.query("SELECT pg_drop_replication_slot('forgotten')")
    assert (well.status, "not in use: forgotten" in well.message) == ("pass", True)
    assert check.status == "warn"
    assert "without a limit (max_slot_wal_keep_size) it fills the disk" in check.message
