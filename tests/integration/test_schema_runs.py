"""Migration runs, statement by statement and without a play: what fails leaves no trace, locks, indexes, and kills."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import read_outcome
from processes import wait_for
from schema_lab import MINIMAL, SchemaLab, keeper, memberships


@pytest.fixture
def lab(cluster, template, tmp_path):
    return SchemaLab(cluster, tmp_path)


@pytest.fixture(scope="module")
def applied(cluster, template, tmp_path_factory):
    """Name of a database after a first run, to be copied."""
    lab = SchemaLab(cluster, tmp_path_factory.mktemp("applied"))
    lab.migration().run()
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]
    return lab.database


@pytest.fixture
def applied_lab(cluster, tmp_path, applied):
    """A lab after a first run."""
    return SchemaLab(cluster, tmp_path, applied)


@pytest.fixture(params=["postgres", "keeper"])
def administrator(lab, request):
    """Name of an administrator: a superuser, and one who is none and to whom the lab's database belongs."""
    with keeper(lab):
        yield request.param


def test_a_run_continues_where_the_one_before_it_failed(lab):
    lab.write({"migrations/002_second.sql": "CREATE TABLE second (id integer); INSERT INTO second SELECT 1 / 0;"})
    assert lab.migration().failure() == "002_second.sql failed: division by zero (SQLSTATE 22012)"
    assert lab.applied() == ["001_first.sql"]
    assert lab.tables() == {"first"}

    lab.write({"migrations/002_second.sql": MINIMAL["migrations/002_second.sql"]})
    lab.migration().run()
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]


def test_of_a_commit_that_was_not_answered_nothing_is_claimed(lab, absent_standby):
    """The file is applied on this server, whose last words before the connection ended were an error."""

    def end_the_commit_of_the_file():
        absent_standby.execute(
            "SELECT query LIKE '%%apply_migration(%%001_first.sql%%', CASE WHEN query LIKE '%%apply_migration(%%001_first.sql%%' "
            "THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END "
            "FROM pg_stat_activity WHERE datname = %s AND wait_event = 'SyncRep'",
            [lab.database],
        )
        return (True, True) in absent_standby.fetchall()

    absent_standby.execute(f"ALTER DATABASE {lab.database} SET synchronous_commit = on")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(lab.migration().run)
        wait_for(end_the_commit_of_the_file)
        # At its end a session removes its temporary functions, and waits for that commit too.
        absent_standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
        absent_standby.execute("SELECT pg_reload_conf()")
    with pytest.raises(psycopg2.Error) as error:
        run.result()
    outcome = read_outcome({"failed": True, "msg": str(error.value)})
    assert outcome.unanswered, outcome
    assert lab.applied() == ["001_first.sql"]


def test_a_deferred_constraint_fails_with_the_file_it_belongs_to(lab):
    lab.write(
        {
            "migrations/002_second.sql": "CREATE TABLE second (id integer REFERENCES first DEFERRABLE INITIALLY DEFERRED);"
            "INSERT INTO second VALUES (7);"
        }
    )
    assert "002_second.sql failed" in lab.migration().failure()
    assert lab.tables() == {"first"}


def test_an_out_of_order_file_is_refused(applied_lab):
    lab = applied_lab
    lab.query("DELETE FROM schema_migrations WHERE version = 2")
    assert "002_second.sql is out of order: 003 is already applied" in lab.migration().failure()


def test_site_local_migrations_come_after_the_collections_and_survive_its_upgrade(lab, tmp_path):
    site = tmp_path / "own"
    site.mkdir()
    (site / "001_ups.sql").write_text("CREATE TABLE ups (host integer REFERENCES first);")
    lab.migration(site=site).run()
    lab.write({"migrations/004_fourth.sql": "CREATE TABLE fourth (id integer);"})
    lab.migration(site=site).run()
    assert {"ups", "fourth"} <= lab.tables()
    assert "001_ups.sql, which is not in that directory" in lab.migration().failure()


def test_a_killed_run_leaves_nothing_and_a_rerun_finishes(lab):
    lab.write({"migrations/002_second.sql": "CREATE TABLE second (id integer); SELECT pg_sleep(30);"})
    sleeping = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{lab.database}' AND wait_event = 'PgSleep'"
    process = multiprocessing.get_context("fork").Process(target=lab.migration().run)
    process.start()
    try:
        wait_for(lambda: lab.query(sleeping) == [(1,)])
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    # The server notices within a second, although its statement would take 30.
    wait_for(lambda: lab.query(sleeping) == [(0,)])
    assert lab.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    assert lab.applied() == ["001_first.sql"]
    assert lab.tables() == {"first"}
    lab.write({"migrations/002_second.sql": MINIMAL["migrations/002_second.sql"]})
    lab.migration().run()
    assert lab.migration().run() == []


@contextlib.contextmanager
def locked_table(lab):
    """Hold a lock on a table that a pending migration alters; yields the connection that holds it."""
    lab.write({"migrations/004_wider.sql": "ALTER TABLE first ADD COLUMN note text;"})
    holder = lab.cluster.connect(lab.database)
    holder.autocommit = False
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE first IN ACCESS EXCLUSIVE MODE")
        yield holder
    finally:
        holder.close()


def test_a_lock_that_is_not_to_be_had_at_once_is_tried_again(applied_lab):
    lab = applied_lab
    with locked_table(lab) as holder, ThreadPoolExecutor(1) as pool:
        run = pool.submit(lab.migration(lock_timeout_ms=1000).run)
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{lab.database}' AND wait_event_type = 'Lock'"
        wait_for(lambda: lab.query(waiting) == [(1,)])
        time.sleep(1.5)  # longer than the lock_timeout, so that the first try has failed
        holder.rollback()
        run.result()
    assert lab.applied()[-1] == "004_wider.sql"


def test_a_lock_that_is_never_to_be_had_is_named(applied_lab):
    with locked_table(applied_lab) as holder:
        failure = applied_lab.migration(lock_timeout_ms=100).failure()
        named = f"process {holder.info.backend_pid} of role postgres, connected at "
    assert f"004_wider.sql failed: canceling statement due to lock timeout; {named}" in failure
    assert "holds locks there (SQLSTATE 55P03)" in failure
    assert "note" not in {
        name for (name,) in applied_lab.query("SELECT attname FROM pg_attribute WHERE attrelid = 'first'::regclass")
    }
    applied_lab.migration().run()
    assert applied_lab.migration().run() == []


INDEX_FILES = {
    "migrations/003_third.sql": "ALTER TABLE first ADD COLUMN note text; INSERT INTO first VALUES (1, 'a'), (2, 'a');",
    "migrations/004_index.sql": "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix_first_note ON first (note);",
    "migrations/005_after.sql": "CREATE TABLE after (id integer);",
}


def test_an_index_is_built_concurrently_and_checked(lab):
    lab.write(INDEX_FILES)
    assert "ix_first_note" in lab.migration().failure()
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]

    lab.query("DELETE FROM first WHERE id = 2")
    lab.migration().run()
    assert lab.applied()[-2:] == ["004_index.sql", "005_after.sql"]
    assert lab.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_first_note'::regclass") == [(True,)]
    assert lab.query("SELECT tableowner FROM pg_tables WHERE tablename = 'after'") == [("mission_control_owner",)]
    assert lab.migration().run() == []


def test_an_invalid_index_of_somebody_else_is_named_and_not_touched(applied_lab):
    lab = applied_lab
    lab.query(INDEX_FILES["migrations/003_third.sql"])
    with pytest.raises(psycopg2.errors.UniqueViolation):
        lab.query("CREATE UNIQUE INDEX CONCURRENTLY ix_by_hand ON first (note)")
    lab.query("DELETE FROM first WHERE id = 2")
    lab.write({name: INDEX_FILES[name] for name in ("migrations/004_index.sql", "migrations/005_after.sql")})
    assert "invalid index: public.ix_by_hand" in lab.migration().failure()
    lab.query("DROP INDEX ix_by_hand")
    lab.migration().run()
    assert lab.applied()[-2:] == ["004_index.sql", "005_after.sql"]


def test_a_run_that_was_killed_while_it_built_an_index_is_finished_by_the_next(lab, administrator):
    """A transaction that stays open holds the build up in its middle; the session that is killed leaves half an index, and no membership."""
    lab.write({**INDEX_FILES, "migrations/003_third.sql": "ALTER TABLE first ADD COLUMN note text;"})
    for name in ("migrations/004_index.sql", "migrations/005_after.sql"):
        lab.remove(name)
    lab.migration(administrator).run()
    lab.write(INDEX_FILES | {"migrations/003_third.sql": "ALTER TABLE first ADD COLUMN note text;"})
    holder = lab.cluster.connect(lab.database)
    holder.autocommit = False
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE INDEX%' AND wait_event_type = 'Lock'"
    try:
        with holder.cursor() as cursor:
            cursor.execute("INSERT INTO first VALUES (1, 'a')")
        with ThreadPoolExecutor(1) as pool:
            failure = pool.submit(lab.migration(administrator).failure)
            wait_for(lambda: lab.query(building))
            assert memberships(lab) == []
            lab.query(f"SELECT pg_terminate_backend(pid) FROM ({building}) AS building")
            assert re.search("terminating connection|server closed the connection", failure.result())
    finally:
        holder.close()
    assert lab.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]
    assert memberships(lab) == []
    lab.migration(administrator).run()
    assert lab.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert lab.applied()[-2:] == ["004_index.sql", "005_after.sql"]
    assert lab.migration(administrator).run() == []


def test_functions_and_views_are_replaced_when_a_file_changed(applied_lab):
    lab = applied_lab
    assert lab.query("SELECT * FROM answer") == [(41,)]
    lab.write({"repeatable/002_view.sql": "CREATE OR REPLACE VIEW answer AS SELECT 42 AS answer;"})
    assert "002_view.sql" in lab.migration().run()
    assert lab.query("SELECT * FROM answer") == [(42,)]
    assert lab.migration().run() == []


def test_a_view_that_fails_leaves_all_functions_and_views_as_they_were(applied_lab):
    lab = applied_lab
    lab.write(
        {
            "repeatable/002_view.sql": "CREATE OR REPLACE VIEW answer AS SELECT 42 AS answer;",
            "repeatable/003_bad.sql": "CREATE VIEW bad AS SELECT nowhere FROM first;",
        }
    )
    failure = lab.migration().failure()
    assert '003_bad.sql failed: column "nowhere" does not exist' in failure
    assert "CREATE VIEW" not in failure
    assert lab.query("SELECT * FROM answer") == [(41,)]


@pytest.mark.parametrize("administrator", ["keeper"], indirect=True)
def test_an_administrator_without_superuser_owns_nothing_and_stays_no_member(lab, administrator):
    lab.migration(administrator).run()
    owners = dict(lab.query("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"))
    assert owners["third"] == "mission_control_audit"
    assert owners["first"] == "mission_control_owner"
    assert memberships(lab) == []
    assert lab.migration(administrator).run() == []


def test_five_hundred_applied_migrations_are_read_in_one_query(lab):
    lab.write({f"migrations/{number:03d}_x.sql": f"SELECT {number};" for number in range(4, 501)})
    lab.migration().run()
    assert len(lab.applied()) == 500
    assert lab.migration().run() == []
