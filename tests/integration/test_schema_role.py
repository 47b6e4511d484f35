"""The schema role against a server: what it applies, what it refuses, and that it leaves nothing half done."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from host_plays import HostRun, run_on_hosts
from playbook import ROOT, playbook_command, run_playbook
from processes import kill_with_descendants, wait_for
from throwaway_cluster import ThrowawayCluster

ROLES = ("owner", "audit", "readonly", "monitor", "service")
MINIMAL = {
    "migrations/001_first.sql": "CREATE TABLE first (id integer PRIMARY KEY);",
    "migrations/002_second.sql": "CREATE TABLE second (id integer PRIMARY KEY);",
    "migrations/003_third.sql": "CREATE TABLE third (id integer PRIMARY KEY);",
    "repeatable/001_prices.sql": """
        CREATE OR REPLACE FUNCTION apply_provider_prices(prices jsonb, origin text) RETURNS integer
        LANGUAGE sql SET search_path FROM CURRENT AS $$ SELECT jsonb_array_length(prices) $$;
        """,
    "repeatable/002_view.sql": "CREATE OR REPLACE VIEW answer AS SELECT 41 AS answer;",
    "seed/provider_pricing.yml": "[]\n",
    "privileges.yml": "defaults: {tables: {}, sequences: {}, functions: {}}\nobjects: []\n",
}


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        connection = server.connect()
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE postgres PASSWORD 'administrator'")
            cursor.execute("CREATE ROLE mission_control LOGIN")
            for role in ROLES:
                cursor.execute(f"CREATE ROLE mission_control_{role} NOLOGIN")
        connection.close()
        yield server


@pytest.fixture
def lab(cluster, tmp_path):
    return Lab(cluster, tmp_path)


@pytest.fixture(scope="module")
def applied(cluster, tmp_path_factory):
    """Name of a database after a first run, to be copied."""
    lab = Lab(cluster, tmp_path_factory.mktemp("applied"))
    lab.run().succeeded()
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]
    return lab.database


@pytest.fixture
def applied_lab(cluster, tmp_path, applied):
    """A lab after a first run."""
    return Lab(cluster, tmp_path, applied)


class Lab:
    """A database of its own and a directory of SQL files of its own."""

    def __init__(self, cluster, tmp_path: Path, template: str = "template1") -> None:
        self.cluster = cluster
        self.database = f"lab_{uuid.uuid4().hex[:12]}"
        self.sql = tmp_path / "sql"
        self.home = tmp_path
        connection = cluster.connect()
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.database} TEMPLATE {template}")
        connection.close()
        self.query("GRANT USAGE, CREATE ON SCHEMA public TO mission_control_owner, mission_control_audit")
        self.write(MINIMAL)
        (self.sql / "runner").symlink_to(ROOT / "files/sql/runner")
        (self.sql / "plan").symlink_to(ROOT / "files/sql/plan")

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.sql / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        (self.sql / name).unlink()

    def query(self, sql: str) -> list[tuple]:
        connection = self.cluster.connect(self.database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def tables(self) -> set[str]:
        names = self.query(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'schema\\_%'"
        )
        return {name for (name,) in names}

    def applied(self) -> list[str]:
        if self.query("SELECT to_regclass('public.schema_migrations')") == [(None,)]:
            return []
        return [name for (name,) in self.query("SELECT name FROM schema_migrations ORDER BY origin, version")]

    def variables(self, **more) -> dict:
        return {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": "127.0.0.1",
            "mission_control_postgresql_port": self.cluster.port,
            "mission_control_login_password": "administrator",
            "mission_control_database_name": self.database,
            "__mission_control_schema_sql": str(self.sql),
            **more,
        }

    def run(self, *arguments: str, playbook: str = "playbooks/migrate.yml", **more):
        return run_playbook(playbook, self.variables(**more), *arguments, home=self.home)


def run_as_hosts(cases: list[tuple[Lab, dict]]) -> list[HostRun]:
    """Migrate each lab with further variables, all in one play."""
    hosts = [{**lab.variables(**variables), "sql_of_the_lab": str(lab.sql)} for lab, variables in cases]
    # A variable of the role wins over those of a host, and only an extra one over it.
    extra = {"__mission_control_schema_sql": "{{ sql_of_the_lab }}"}
    return run_on_hosts(Path("playbooks/migrate.yml"), hosts, home=cases[0][0].home, variables=extra)


def test_files_are_applied_once_and_a_second_run_changes_nothing(lab):
    first = lab.run().succeeded()
    assert first.recap["changed"] > 0
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]
    owners = lab.query(
        "SELECT DISTINCT tableowner, tablename = 'schema_objects' FROM pg_tables WHERE schemaname = 'public' ORDER BY 2"
    )
    assert owners == [("mission_control_owner", False), ("mission_control_audit", True)]
    assert lab.run().succeeded().recap["changed"] == 0


def test_what_fails_leaves_no_trace_and_a_rerun_continues(lab):
    lab.write({"migrations/002_second.sql": "CREATE TABLE second (id integer); INSERT INTO second SELECT 1 / 0;"})
    run = lab.run()
    assert run.returncode != 0
    assert "002_second.sql failed: division by zero (SQLSTATE 22012)" in run.sentence
    assert "CREATE TABLE" not in run.output
    assert lab.applied() == ["001_first.sql"]
    assert lab.tables() == {"first"}

    lab.write({"migrations/002_second.sql": MINIMAL["migrations/002_second.sql"]})
    lab.run().succeeded()
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]


def test_a_deferred_constraint_fails_with_the_file_it_belongs_to(lab):
    lab.write(
        {
            "migrations/002_second.sql": "CREATE TABLE second (id integer REFERENCES first DEFERRABLE INITIALLY DEFERRED);"
            "INSERT INTO second VALUES (7);"
        }
    )
    assert "002_second.sql failed" in lab.run().sentence
    assert lab.tables() == {"first"}


REFUSED_FILES = [
    ({"migrations/001_first.sql": "SELECT 'edited'"}, [], "001_first.sql was changed after it was applied"),
    ({}, ["migrations/003_third.sql"], "003_third.sql, which this version of the collection does not ship"),
    ({"migrations/005_fifth.sql": "SELECT 1"}, [], "no migration 004"),
    ({"migrations/003_other.sql": "SELECT 1"}, [], "same number"),
    ({"migrations/004_fourth.sql": "SELECT 1; COMMIT; SELECT 2"}, [], "controls the transaction itself (COMMIT)"),
    ({"migrations/fourth.sql": "SELECT 1"}, [], "rename it"),
]
HISTORY = "SELECT xmin::text, * FROM schema_migrations ORDER BY version"


@pytest.fixture(scope="module")
def refusals(cluster, tmp_path_factory, applied):
    """Each lab with its history before and what became of it, as the hosts of one play."""
    labs = [Lab(cluster, tmp_path_factory.mktemp("refused"), applied) for _ in REFUSED_FILES]
    for lab, (files, removed, _words) in zip(labs, REFUSED_FILES):
        lab.write({"repeatable/002_new.sql": "CREATE FUNCTION never() RETURNS integer LANGUAGE sql RETURN 1;", **files})
        for name in removed:
            lab.remove(name)
    before = [lab.query(HISTORY) for lab in labs]
    return list(zip(labs, before, run_as_hosts([(lab, {}) for lab in labs])))


@pytest.mark.parametrize(("number", "words"), [(number, case[2]) for number, case in enumerate(REFUSED_FILES)])
def test_every_refusal_is_one_sentence_and_changes_nothing(refusals, number, words):
    lab, before, run = refusals[number]
    assert run.failed
    assert words in run.sentence
    assert "Traceback" not in run.output
    assert run.recap["changed"] == 0
    assert len(before) == 3
    assert lab.query(HISTORY) == before
    assert lab.query("SELECT to_regproc('never')") == [(None,)]


def test_an_out_of_order_file_is_refused(applied_lab):
    lab = applied_lab
    lab.query("DELETE FROM schema_migrations WHERE version = 2")
    assert "002_second.sql is out of order: 003 is already applied" in lab.run().sentence


def test_site_local_migrations_come_after_the_collections_and_survive_its_upgrade(lab, tmp_path):
    site = tmp_path / "own"
    site.mkdir()
    (site / "001_ups.sql").write_text("CREATE TABLE ups (host integer REFERENCES first);")
    lab.run(mission_control_schema_site_directory=str(site)).succeeded()
    lab.write({"migrations/004_fourth.sql": "CREATE TABLE fourth (id integer);"})
    lab.run(mission_control_schema_site_directory=str(site)).succeeded()
    assert {"ups", "fourth"} <= lab.tables()
    assert "001_ups.sql, which is not in that directory" in lab.run().sentence


def test_a_killed_run_leaves_nothing_and_a_rerun_finishes(lab):
    lab.write({"migrations/002_second.sql": "CREATE TABLE second (id integer); SELECT pg_sleep(30);"})
    command, environment = playbook_command("playbooks/migrate.yml", lab.variables(), home=lab.home)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        sleeping = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{lab.database}' AND wait_event = 'PgSleep'"
        wait_for(lambda: lab.query(sleeping) == [(1,)])
    finally:
        kill_with_descendants(process.pid)
        process.wait()
    # The server notices within a second, although its statement would take 30.
    wait_for(lambda: lab.query(sleeping) == [(0,)])
    assert lab.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    assert lab.applied() == ["001_first.sql"]
    assert lab.tables() == {"first"}
    lab.write({"migrations/002_second.sql": MINIMAL["migrations/002_second.sql"]})
    lab.run().succeeded()
    assert lab.run().succeeded().recap["changed"] == 0


@contextmanager
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
        run = pool.submit(lab.run, mission_control_schema_lock_timeout=1000)
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{lab.database}' AND wait_event_type = 'Lock'"
        wait_for(lambda: lab.query(waiting) == [(1,)])
        time.sleep(1.5)  # longer than the lock_timeout, so that the first try has failed
        holder.rollback()
        run.result().succeeded()
    assert lab.applied()[-1] == "004_wider.sql"


def test_a_lock_that_is_never_to_be_had_is_named(applied_lab):
    with locked_table(applied_lab) as holder:
        run = applied_lab.run(mission_control_schema_lock_timeout=100)
        named = f"process {holder.info.backend_pid} of role postgres, connected at "
    assert f"004_wider.sql failed: canceling statement due to lock timeout; {named}" in run.sentence
    assert "holds locks there (SQLSTATE 55P03)" in run.sentence
    assert "note" not in {
        name for (name,) in applied_lab.query("SELECT attname FROM pg_attribute WHERE attrelid = 'first'::regclass")
    }
    applied_lab.run().succeeded()
    assert applied_lab.run().succeeded().recap["changed"] == 0


INDEX_FILES = {
    "migrations/003_third.sql": "ALTER TABLE first ADD COLUMN note text; INSERT INTO first VALUES (1, 'a'), (2, 'a');",
    "migrations/004_index.sql": "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix_first_note ON first (note);",
    "migrations/005_after.sql": "CREATE TABLE after (id integer);",
}


def test_an_index_is_built_concurrently_and_checked(lab):
    lab.write(INDEX_FILES)
    run = lab.run()
    assert run.returncode != 0
    assert "ix_first_note" in run.sentence
    assert lab.applied() == ["001_first.sql", "002_second.sql", "003_third.sql"]

    lab.query("DELETE FROM first WHERE id = 2")
    lab.run().succeeded()
    assert lab.applied()[-2:] == ["004_index.sql", "005_after.sql"]
    assert lab.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_first_note'::regclass") == [(True,)]
    assert lab.query("SELECT tableowner FROM pg_tables WHERE tablename = 'after'") == [("mission_control_owner",)]
    assert lab.run().succeeded().recap["changed"] == 0


def test_an_invalid_index_of_somebody_else_is_named_and_not_touched(applied_lab):
    lab = applied_lab
    lab.query(INDEX_FILES["migrations/003_third.sql"])
    with pytest.raises(psycopg2.errors.UniqueViolation):
        lab.query("CREATE UNIQUE INDEX CONCURRENTLY ix_by_hand ON first (note)")
    lab.query("DELETE FROM first WHERE id = 2")
    lab.write({name: INDEX_FILES[name] for name in ("migrations/004_index.sql", "migrations/005_after.sql")})
    assert "invalid index: public.ix_by_hand" in lab.run().sentence
    lab.query("DROP INDEX ix_by_hand")
    lab.run().succeeded()
    assert lab.applied()[-2:] == ["004_index.sql", "005_after.sql"]


@pytest.mark.parametrize("administrator", ["postgres", "keeper"])
def test_a_run_that_was_killed_while_it_built_an_index_is_finished_by_the_next(lab, keeper, administrator):
    """A transaction that stays open holds the build up in its middle; the session that is killed leaves half an index, and no membership."""
    chosen = keeper if administrator == "keeper" else {"mission_control_database_administrator": "keeper"}
    lab.write({**INDEX_FILES, "migrations/003_third.sql": "ALTER TABLE first ADD COLUMN note text;"})
    for name in ("migrations/004_index.sql", "migrations/005_after.sql"):
        lab.remove(name)
    lab.run(**chosen).succeeded()
    lab.write(INDEX_FILES | {"migrations/003_third.sql": "ALTER TABLE first ADD COLUMN note text;"})
    holder = lab.cluster.connect(lab.database)
    holder.autocommit = False
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE INDEX%' AND wait_event_type = 'Lock'"
    try:
        with holder.cursor() as cursor:
            cursor.execute("INSERT INTO first VALUES (1, 'a')")
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(lab.run, **chosen)
            wait_for(lambda: lab.query(building))
            assert memberships(lab) == []
            lab.query(f"SELECT pg_terminate_backend(pid) FROM ({building}) AS building")
            assert re.search("terminating connection|server closed the connection", run.result().sentence)
    finally:
        holder.close()
    assert lab.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]
    assert memberships(lab) == []
    lab.run(**chosen).succeeded()
    assert lab.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert lab.applied()[-2:] == ["004_index.sql", "005_after.sql"]
    assert lab.run(**chosen).succeeded().recap["changed"] == 0


def test_functions_and_views_are_replaced_when_a_file_changed(applied_lab):
    lab = applied_lab
    assert lab.query("SELECT * FROM answer") == [(41,)]
    lab.write({"repeatable/002_view.sql": "CREATE OR REPLACE VIEW answer AS SELECT 42 AS answer;"})
    assert lab.run().succeeded().recap["changed"] > 0
    assert lab.query("SELECT * FROM answer") == [(42,)]
    assert lab.run().succeeded().recap["changed"] == 0


def test_a_view_that_fails_leaves_all_functions_and_views_as_they_were(applied_lab):
    lab = applied_lab
    lab.write(
        {
            "repeatable/002_view.sql": "CREATE OR REPLACE VIEW answer AS SELECT 42 AS answer;",
            "repeatable/003_bad.sql": "CREATE VIEW bad AS SELECT nowhere FROM first;",
        }
    )
    run = lab.run()
    assert '003_bad.sql failed: column "nowhere" does not exist' in run.sentence
    assert "CREATE VIEW" not in run.output
    assert lab.query("SELECT * FROM answer") == [(41,)]


def test_check_mode_shows_the_plan_where_there_is_no_database_yet(lab):
    run = lab.run("--check", "--diff", mission_control_database_name="not_yet").succeeded()
    assert all(name in run.output for name in ("001_first.sql", "003_third.sql", "001_prices.sql"))
    assert run.recap["changed"] > 0


def test_check_mode_changes_nothing_and_then_says_so(lab):
    assert lab.run("--check", "--diff").succeeded().recap["changed"] > 0
    assert lab.applied() == []
    lab.run().succeeded()
    assert lab.run("--check", "--diff").succeeded().recap["changed"] == 0


def test_the_status_is_a_table_and_changes_nothing(applied_lab):
    lab = applied_lab
    lab.write({"migrations/001_first.sql": "SELECT 'edited'", "migrations/004_fourth.sql": "SELECT 1"})
    run = lab.run(playbook="playbooks/status.yml").succeeded()
    rows = [line.split()[2:5] for line in run.output.splitlines() if line.strip().startswith("- bundle")]
    assert [row[1:] for row in rows] == [
        ["001_first.sql", "DRIFTED"],
        ["002_second.sql", "applied"],
        ["003_third.sql", "applied"],
        ["004_fourth.sql", "pending"],
    ]
    assert run.recap["changed"] == 0
    assert len(lab.applied()) == 3


def test_dumps_are_made_before_an_upgrade_and_the_oldest_removed(lab, tmp_path):
    dumps = tmp_path / "dumps"
    dumped = {"mission_control_schema_dump_directory": str(dumps), "mission_control_schema_dump_keep": 2}
    lab.run(**dumped).succeeded()
    assert not dumps.exists()  # there was nothing to lose
    for number in range(4, 7):
        lab.write({f"migrations/{number:03d}_more.sql": f"CREATE TABLE more_{number} (id integer);"})
        lab.run(**dumped).succeeded()
    kept = sorted(dumps.iterdir())
    assert len(kept) == 2
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    listing = subprocess.run(["pg_restore", "--list", str(kept[-1])], capture_output=True, text=True, check=True).stdout
    assert "more_5" in listing
    assert "more_6" not in listing


WRONG_INPUTS = [
    ({"mission_control_login_password": "wrong-and-secret"}, " as postgres: "),
    ({"mission_control_postgresql_port": 1}, ", port 1 as postgres: "),
    ({"mission_control_database_name": "nowhere"}, "Cannot read the database nowhere"),
    ({"mission_control_schema_lock_timeout": 0}, "mission_control_schema_lock_timeout is 0"),
    ({"mission_control_database_owner_role": 'a"; DROP TABLE a; --'}, "mission_control_database_owner_role is "),
    ({"mission_control_database_name": "a\0b"}, "mission_control_database_name is "),
    ({"mission_control_schema_prices": [{"provider": "x", "model": "y", "input": "1"}]}, "Entry 1 of "),
    ({"mission_control_schema_site_directory": "/nowhere"}, "/nowhere cannot be read"),
]


@pytest.fixture(scope="module")
def wrong_inputs(cluster, tmp_path_factory):
    """Each lab and what became of it, as the hosts of one play."""
    labs = [Lab(cluster, tmp_path_factory.mktemp("wrong")) for _ in WRONG_INPUTS]
    cases = [(lab, variables) for lab, (variables, _words) in zip(labs, WRONG_INPUTS)]
    return list(zip(labs, run_as_hosts(cases)))


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, (_, words) in enumerate(WRONG_INPUTS)])
def test_wrong_input_is_named_in_a_sentence(wrong_inputs, number, words):
    lab, run = wrong_inputs[number]
    assert run.failed
    assert words in run.sentence
    assert "Traceback" not in run.output
    assert "wrong-and-secret" not in run.output
    assert run.recap["changed"] == 0
    assert lab.applied() == []


@pytest.fixture
def keeper(lab):
    """Variables of an administrator without superuser, to whom the lab's database belongs."""
    lab.query("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'")
    lab.query(f"ALTER DATABASE {lab.database} OWNER TO keeper")
    if int(lab.query("SHOW server_version_num")[0][0]) >= 160000:
        lab.query(
            "GRANT mission_control_owner, mission_control_audit TO keeper WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
        )
    lab.write({"migrations/003_third.sql": "-- role: audit\nCREATE TABLE third (id integer);"})
    yield {"mission_control_login_user": "keeper", "mission_control_login_password": "keeper"}
    lab.query("REASSIGN OWNED BY keeper TO postgres; DROP OWNED BY keeper; DROP ROLE keeper")


def memberships(lab) -> list[tuple]:
    return lab.query(
        """
        SELECT r.rolname FROM pg_roles AS r
        WHERE r.rolname IN ('mission_control_owner', 'mission_control_audit') AND pg_has_role('keeper', r.oid, 'USAGE')
        """
    )


def test_an_administrator_without_superuser_owns_nothing_and_stays_no_member(lab, keeper):
    lab.run(**keeper).succeeded()
    owners = dict(lab.query("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"))
    assert owners["third"] == "mission_control_audit"
    assert owners["first"] == "mission_control_owner"
    assert memberships(lab) == []
    assert lab.run(**keeper).succeeded().recap["changed"] == 0


def test_an_administrator_without_superuser_dumps_what_the_owners_own_and_stays_no_member(lab, keeper, tmp_path):
    dumped = {**keeper, "mission_control_schema_dump_directory": str(tmp_path / "dumps")}
    lab.run(**keeper).succeeded()
    lab.query("INSERT INTO first VALUES (1701); INSERT INTO third VALUES (1702)")
    lab.write({"migrations/004_fourth.sql": "CREATE TABLE fourth (id integer);"})
    lab.run("--tags", "schema", **dumped).succeeded()
    (dump,) = (tmp_path / "dumps").iterdir()
    data = subprocess.run(
        ["pg_restore", "--data-only", "--file=-", str(dump)], capture_output=True, text=True, check=True
    ).stdout
    assert "1701" in data
    assert "1702" in data
    assert memberships(lab) == []

    lab.query("GRANT mission_control_owner TO keeper")  # by somebody else, so it stays
    lab.query("CREATE TABLE diary (id integer)")  # that of a superuser
    lab.write({"migrations/005_fifth.sql": "CREATE TABLE fifth (id integer);"})
    run = lab.run(**dumped)
    assert run.returncode != 0
    assert f"Nothing was applied, because the dump to {tmp_path}/dumps/{lab.database}-" in run.sentence
    assert "permission denied for table diary" in run.sentence
    assert "fifth" not in lab.tables()
    assert list((tmp_path / "dumps").iterdir()) == [dump]
    assert memberships(lab) == [("mission_control_owner",)]


def test_five_hundred_applied_migrations_are_read_in_one_query(lab):
    lab.write({f"migrations/{number:03d}_x.sql": f"SELECT {number};" for number in range(4, 501)})
    lab.run().succeeded()
    assert len(lab.applied()) == 500
    assert lab.run().succeeded().recap["changed"] == 0
