"""What the health check says of backups and of the archive of the write-ahead log."""

from __future__ import annotations

import contextlib
import dataclasses
import time

import pytest
from health_lab import PATIENT, health
from mission_control_database import Session
from throwaway_cluster import ThrowawayCluster

HOUR = 3600


def backups(database, role="postgres", **thresholds):
    return health(database, role, thresholds=dataclasses.replace(PATIENT, **thresholds)).check("backups")


def ended(database, outcome="success", hours_ago=1.0, kind="full", method="dump", repository="1"):
    """A run that took a minute and ended so many hours ago."""
    database.session("admin").run(
        """
        INSERT INTO backup_runs (method, type, repository, started_at, finished_at, outcome, error)
        SELECT %s, %s, %s, e.at - interval '1 minute', e.at, %s, CASE WHEN %s = 'failure' THEN 'the disk is full' END
        FROM (SELECT clock_timestamp() - %s * interval '1 hour' AS at) AS e
        """,
        *(method, kind, repository, outcome, outcome, hours_ago),
    )


def test_without_any_backup_it_says_so_and_is_no_pass(database):
    check = backups(database)
    assert (check.status, check.message) == ("not checked", "No backup is set up: see the role mission_control_backup.")


@pytest.mark.parametrize("role", ["postgres", "application", "readonly", "monitor", "service"])
def test_every_login_that_checks_the_health_sees_a_good_one(database, role):
    ended(database)
    check = backups(database, role)
    assert check.status == "pass"
    assert check.message == "The last backup is 60 min old."


def test_an_old_one_is_a_warning(database):
    ended(database, hours_ago=37)
    assert backups(database).status == "warn"
    assert backups(database).message == "The last backup is 37 h old."
    assert backups(database, backup_warn_seconds=38 * HOUR).status == "pass"


def test_a_failed_one_is_a_warning_until_the_next_succeeds(database):
    ended(database, hours_ago=5)
    ended(database, "failure", hours_ago=3)
    check = backups(database)
    assert (check.status, check.message) == ("warn", "The last backup failed 3 h ago; the last good one is 5 h old.")
    ended(database, hours_ago=2.5)
    assert backups(database).status == "pass"


def test_none_that_succeeded_is_a_warning(database):
    ended(database, "failure")
    assert backups(database).message == "No backup has succeeded yet."
    assert backups(database).status == "warn"


def test_of_a_run_to_two_repositories_both_count(database):
    database.session("admin").run(
        """
        INSERT INTO backup_runs (method, type, repository, started_at, outcome, error)
        SELECT 'dump', 'full', n::text, now() - interval '1 minute', CASE n WHEN 1 THEN 'success' ELSE 'failure' END,
            CASE n WHEN 2 THEN 'the second is full' END
        FROM generate_series(1, 2) AS n
        """
    )
    assert "The last backup failed" in backups(database).message


def test_a_repository_that_is_no_longer_there_does_not_count_for_ever(database):
    ended(database, "failure", hours_ago=30, repository="2")
    ended(database, hours_ago=6)
    assert backups(database).status == "pass"


def test_log_that_was_given_up_is_a_warning_until_the_next_backup(database):
    ended(database, hours_ago=5)
    ended(database, "failure", hours_ago=4, kind="archive")
    check = backups(database)
    assert check.status == "warn"
    assert "Write-ahead log was given up" in check.message
    ended(database, hours_ago=3)
    assert backups(database).status == "pass"


def test_backups_without_an_archive_are_a_warning_where_there_was_one(database):
    ended(database, method="pgbackrest")
    check = backups(database)
    assert (check.status, "is not archived" in check.message) == ("warn", True)


def test_what_went_wrong_is_for_those_who_read_everything(database):
    ended(database, "failure")
    for role in ("readonly", "monitor"):
        assert database.session(role).value("SELECT error FROM backup_runs") == "the disk is full"
    for role in ("application", "service"):
        with pytest.raises(Exception, match="permission denied"):
            database.session(role).value("SELECT error FROM backup_runs")


def test_nobody_but_the_administrator_records_a_backup(database):
    """Not even the owner of the objects, whose triggers would run in the administrator's name."""
    for role in ("application", "readonly", "monitor", "service", "owner"):
        session = database.session(role)
        for statement in (
            "INSERT INTO backup_runs (method, type, started_at, outcome) VALUES ('dump', 'dump', now(), 'success')",
            "DELETE FROM backup_runs",
            "CREATE TRIGGER mine BEFORE INSERT ON backup_runs EXECUTE FUNCTION set_updated_at()",
        ):
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                session.run(statement)


@dataclasses.dataclass
class Place:
    """A database that is none of a test's own."""

    cluster: ThrowawayCluster
    name: str = "postgres"


def wait_for(session, question):
    deadline = time.monotonic() + 60
    while not session.value(question):
        assert time.monotonic() < deadline, question
        time.sleep(0.05)


def archive_by(session, command):
    session.run("ALTER SYSTEM SET archive_command = %s", command)
    session.run("SELECT pg_reload_conf()")
    wait_for(session, f"SELECT current_setting('archive_command') IN ('{command}', '(disabled)')")


def end_segments(session, count):
    for _ in range(count):
        session.run("SELECT pg_current_xact_id()")
        session.run("SELECT pg_switch_wal()")


def test_an_archive_that_fails_or_stands_still_is_a_warning(server_version):
    with (
        ThrowawayCluster(archive_mode="on") as cluster,
        contextlib.closing(Session(cluster.connect())) as session,
    ):
        place = Place(cluster)
        archive_by(session, "true")
        end_segments(session, 1)
        wait_for(session, "SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver")
        check = backups(place, archive_warn_seconds=0)
        assert (check.status, check.message) == ("not checked", "There is no backup_runs.")

        # No command: nothing fails, but the log waits.
        archive_by(session, "")
        end_segments(session, 3)
        check = backups(place, archive_warn_seconds=0)
        assert check.status == "warn"
        # The last one counts as soon as something is written after it.
        assert check.data["waiting_segments"] in (2, 3)
        assert "segments of the write-ahead log waiting to be archived" in check.message
        assert backups(place).status == "not checked"

        archive_by(session, "false")
        end_segments(session, 1)
        wait_for(session, "SELECT last_failed_time > last_archived_time FROM pg_stat_archiver")
        check = backups(place)
        assert (check.status, "Archiving of the write-ahead log fails" in check.message) == ("warn", True)

        archive_by(session, "true")
        end_segments(session, 1)
        wait_for(session, "SELECT last_failed_time < last_archived_time FROM pg_stat_archiver")
        wait_for(session, "SELECT count(*) = 0 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")
        assert backups(place, archive_warn_seconds=0).status == "not checked"
