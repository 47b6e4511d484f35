"""Backups across a promotion: one repository for both servers, and one way back through both of their write-ahead logs."""

from __future__ import annotations

import os
import shutil

import pytest
import replication_lab
import throwaway_cluster
from mission_control_database import Database
from pgbackrest_lab import ARCHIVING, BackedUp, Restored

ADD = "INSERT INTO tasks (title, created_by) VALUES ('{0}', 'counter'); " + (
    "INSERT INTO audit_entries (actor, action, target_id, outcome) VALUES ('counter', 'count', '{0}', 'success')"
)


@pytest.fixture
def repository():
    directory = throwaway_cluster._make_directory("repository", throwaway_cluster._SETTINGS)
    if os.geteuid() == 0:
        os.chown(directory, throwaway_cluster._identity()["user"], throwaway_cluster._identity()["group"])
    yield directory
    shutil.rmtree(directory)


def count_on(server, number):
    Database(server, "mission_control").session().run(ADD.format(number))


def counted(server):
    return (
        Database(server, "mission_control")
        .session()
        .values("SELECT title::integer FROM tasks WHERE created_by = 'counter' ORDER BY 1")
    )


def test_the_backups_go_on_and_the_log_has_no_hole(repository):
    with replication_lab.primary(**ARCHIVING) as database:
        primary = database.cluster
        old = BackedUp(primary, repository)
        old.pgbackrest("stanza-create")
        with replication_lab.Standby(primary, **ARCHIVING) as standby:
            new = BackedUp(standby, repository)
            count_on(primary, 1)
            done = old.back_up("full")
            assert (done.stderr, done.returncode) == ("", 0)
            [full] = old.kept()

            done = new.back_up("incr")
            assert (done.stdout, done.stderr, done.returncode) == (
                "This server is a standby: its primary makes the backups.\n",
                "",
                0,
            )
            assert len(old.kept()) == 1

            # The primary dies with whole segments that only the standby has too.
            old.archive()
            old.stop_archiving()
            for number in (2, 3):
                count_on(primary, number)
                primary.query("SELECT pg_switch_wal()")
            count_on(primary, 4)
            standby.wait_until_caught_up()
            primary.kill()
            standby.promote()
            count_on(standby, 5)
            new.archive()

            with Restored(new, full["label"]) as restored:
                assert counted(restored) == [1, 2, 3, 4, 5]
                assert restored.database.session().value("SELECT valid FROM verify_audit_chain()") is True

            done = new.back_up("incr")
            assert (done.stderr, done.returncode) == ("", 0)
            assert [each["type"] for each in new.kept()] == ["full", "incr"]
            heads = [each["annotation"]["audit-head"] for each in new.kept()]
            assert [head.partition(":")[0] for head in heads] == ["1", "5"]
            recorded = "SELECT type FROM backup_runs WHERE outcome = 'success' ORDER BY id"
            assert Database(standby, "mission_control").session().values(recorded) == ["full", "incr"]
