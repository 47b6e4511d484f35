"""`kill -9` at random moments while migrations are applied: what is left is a state between two migrations, and a rerun finishes.

MISSION_CONTROL_ATTACK_KILLS is the number of kills that really hit a run, for each way to kill and each kind of database;
MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import SITE, read_migrations
from attack_seed import attack_seed
from migration_run import MigrationRun
from processes import wait_for
from restartable_cluster import RestartableCluster
from sample_rows import TABLES, sample
from schema_state import schema_state

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_KILLS", "2"))
BUNDLE_FILES = read_migrations(str(layer.SQL / "migrations"))
# A table with enough rows for an index build that can be met in its middle, and one more file after it.
SITE_FILES = {
    "001_shelves.sql": "CREATE TABLE shelves (id integer PRIMARY KEY, label text);"
    "INSERT INTO shelves SELECT n, md5(n::text) FROM generate_series(1, 60000) AS n;",
    "002_index.sql": "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS ix_shelves_label ON shelves (label);",
    "003_after.sql": "ALTER TABLE shelves ADD COLUMN note text NOT NULL DEFAULT '';",
}
OLD = 8  # an upgrade begins after so many of the collection's migrations
LEFT_OVER = """
    SELECT 'session ' || pid || ' in state ' || state FROM pg_stat_activity WHERE application_name = 'mission_control migrations'
    UNION ALL SELECT 'advisory lock of ' || pid FROM pg_locks WHERE locktype = 'advisory'
    UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
    UNION ALL SELECT 'membership of ' || member::regrole || ' in ' || roleid::regrole FROM pg_auth_members AS m
        WHERE m.member::regrole::text IN ('postgres', 'keeper') AND m.roleid::regrole::text LIKE 'mission_control%'
            AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
"""


@dataclass
class Field:
    cluster: RestartableCluster
    files: list
    templates: dict
    rows: dict
    states: dict
    durations: dict


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    for name, text in SITE_FILES.items():
        (site / name).write_text(text, encoding="utf-8")
    files = [*BUNDLE_FILES, *read_migrations(str(site), SITE)]
    with RestartableCluster() as cluster:
        layer.create_roles(cluster)
        with contextlib.closing(layer.Session(cluster.connect())) as admin:
            admin.run("CREATE ROLE keeper LOGIN CREATEROLE CREATEDB PASSWORD 'keeper'")
            if cluster_version(admin) >= 160000:
                admin.run(
                    "GRANT mission_control_owner, mission_control_audit TO keeper WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
                )
        field = Field(cluster, files, {}, {}, {}, {})
        for kind in ("empty", "upgrade"):
            make_template(field, kind)
            learn_states(field, kind)
        yield field


def cluster_version(session):
    return int(session.value("SHOW server_version_num"))


def make_template(field, kind):
    """A database that a run begins with: without objects, or of an older version and with rows in every table that it has."""
    database = layer.create_database(field.cluster, f"mission_control_{kind}")
    layer.apply_privileges(database)
    field.rows[kind] = {}
    if kind == "upgrade":
        # Today's functions and views name tables that there were not then.
        layer.apply_migrations(database, BUNDLE_FILES[:OLD])
        session = database.session("admin")
        existing = set(session.values("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for table in TABLES:
            if table in existing:
                field.rows[kind][table] = session.insert(table, **sample(table, field.rows[kind]))
    database.close()
    field.templates[kind] = database.name


def copy(field, kind, name, administrator="postgres"):
    database = layer.create_database(field.cluster, name, field.templates[kind])
    database.session("admin").run(f"ALTER DATABASE {name} OWNER TO {administrator}")
    database.close()
    return database


def state(database):
    lines = schema_state(database.session("admin"))
    database.close()
    return lines


def learn_states(field, kind):
    """The states of a run that nothing disturbs, in their order, and how long it takes."""
    database = copy(field, kind, f"learn_{kind}")
    states = [state(database)]

    snapshot = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
    seen = [None]

    def note():
        with contextlib.closing(layer.Session(field.cluster.connect())) as admin:
            transactions = admin.value(snapshot)
        if seen[0] != transactions:  # what wrote nothing needs no look
            seen[0] = transactions
            now = state(database)
            if now != states[-1]:
                states.append(now)

    assert MigrationRun(field.cluster, database.name, field.files, after=note).run()
    database.drop()
    database = copy(field, kind, f"learn_{kind}")
    began = time.monotonic()
    MigrationRun(field.cluster, database.name, field.files).run()
    field.durations[kind] = time.monotonic() - began
    assert state(database) == states[-1]
    database.drop()
    assert len(set(states)) == len(states) > len(SITE_FILES) + 3
    field.states[kind] = states


class Victim:
    """A run in a process of its own, as a module has one, that can be killed in some way."""

    def __init__(self, field, database, administrator):
        self.cluster = field.cluster
        self.database = database
        run = MigrationRun(field.cluster, database.name, field.files, administrator)
        context = multiprocessing.get_context("fork")
        self._done = context.Event()

        def work():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what it says when it is killed helps nobody
            run.run()
            self._done.set()

        self.process = context.Process(target=work)
        self.process.start()

    @property
    def finished(self):
        return self._done.is_set()

    def end(self):
        self.process.join(60)
        assert not self.process.is_alive()

    def kill(self, how):
        getattr(self, f"_kill_{how}")()
        self.end()

    def _backends(self):
        with contextlib.closing(layer.Session(self.cluster.connect())) as admin:
            return admin.values("SELECT pid FROM pg_stat_activity WHERE datname = %s", self.database.name)

    def _kill_client(self):
        os.kill(self.process.pid, signal.SIGKILL)

    def _kill_connection(self):
        with contextlib.closing(layer.Session(self.cluster.connect())) as admin:
            admin.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", self.database.name)

    def _kill_backend(self):
        witness = self.cluster.connect()
        killed = []
        for pid in self._backends():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        self.end()
        # A process that waits for its disk ends later than it was told to.
        wait_for(lambda: not any(map(exists, killed)))
        if killed:
            # The server ends all its sessions and recovers; one that had just ended by itself does not count.
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not alive(witness), 5)
        witness.close()
        wait_for(self._answers)

    def _answers(self):
        try:
            self.cluster.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _kill_server(self):
        self.cluster.kill()
        self.end()
        self.cluster.start()


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def alive(connection):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


WAYS = ("client", "connection", "backend", "server")


@pytest.mark.parametrize("kind", ["empty", "upgrade"])
@pytest.mark.parametrize("how", WAYS)
def test_a_kill_leaves_a_state_between_two_migrations(field, how, kind):
    seed = attack_seed()
    dice = random.Random(f"{seed} {how} {kind}")
    hits, half_built, tries = Counter(), 0, 0
    while hits.total() < KILLS:
        tries += 1
        assert tries <= 10 * KILLS, "hardly a kill meets a run"
        administrator = dice.choice(["postgres", "keeper"])
        database = copy(field, kind, f"killed_{how}_{kind}", administrator)
        victim = Victim(field, database, administrator)
        time.sleep(dice.random() * field.durations[kind])
        victim.kill(how)
        where = check_what_is_left(field, kind, database)
        half_built += invalid_indexes(database)
        rerun = MigrationRun(field.cluster, database.name, field.files, administrator)
        rerun.run()
        assert state(database) == field.states[kind][-1], (seed, tries)
        assert invalid_indexes(database) == 0
        assert rerun.run() == [], (seed, tries)
        check_rows(field, kind, database)
        if not victim.finished:
            hits[where] += 1
        database.drop()
    spread = ", ".join(f"{state}: {number}" for state, number in sorted(hits.items()))
    print(
        f"{how}, {kind}: {hits.total()} of {tries} kills met a run; states {spread}; {half_built} indexes were half built"
    )


def invalid_indexes(database):
    number = database.session("admin").value("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    database.close()
    return number


def check_what_is_left(field, kind, database):
    """Number of the state that the database is in; fails where it is none, or where a session or lock stays."""
    left = []

    def nothing_left():
        left[:] = session.values(LEFT_OVER)
        return not left

    with (
        contextlib.closing(layer.Session(field.cluster.connect(database.name))) as session,
        contextlib.suppress(AssertionError),
    ):
        wait_for(nothing_left, 10)
    assert left == []
    found = state(database)
    assert found in field.states[kind], "the schema is in no state between two migrations"
    return field.states[kind].index(found)


def check_rows(field, kind, database):
    session = database.session("admin")
    for table, row in field.rows[kind].items():
        kept = session.row(f"SELECT * FROM {table} WHERE id = %s", row["id"])
        assert {name: kept[name] for name in row} == row
    assert session.value("SELECT valid FROM verify_audit_chain()")
    assert session.value("SELECT count(*) FROM shelves") == 60000
    assert session.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_shelves_label'::regclass")
    database.close()
