"""The disk of a server is full, during a migration and during writes. The server is one of its own, on two small file systems in memory."""

from __future__ import annotations

import json

import pytest
from fault_tools import DATABASE, LOST, PASSWORD, SITE_TABLES, sentence, wait_until, writing
from sql_on_host import as_administrator

PORT = 5444
DATA, WAL = "/srv/small-data", "/srv/small-wal"
BIG = "CREATE TABLE site_fast (id integer); CREATE TABLE site_slow AS SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n;"
START = "pg_ctlcluster 15 small start -- --wait"


@pytest.fixture(scope="module")
def small(database, run_playbook, project):
    """Extra variables of a server whose data and whose log of writes have each a file system that a test can fill."""
    for place, size in ((DATA, "120m"), (WAL, "16m")):
        database.check_output(
            f"mkdir {place} && mount -t tmpfs -o size={size} tmpfs {place} && chown postgres: {place}"
        )
    try:
        database.check_output(
            f"pg_createcluster --port {PORT} --datadir {DATA}/data 15 small -- --wal-segsize=1 --waldir={WAL}/wal"
        )
        settings = "min_wal_size = 2MB\nmax_wal_size = 3MB\nshared_buffers = 16MB\nautovacuum = off\n"
        database.check_output(f"printf %s '{settings}' >/etc/postgresql/15/small/conf.d/small.conf && {START}")
        variables = {
            "mission_control_postgresql_mode": "existing",
            "mission_control_postgresql_port": PORT,
            "mission_control_database_password": PASSWORD,
            "mission_control_database_env_file": "",
        }
        run = run_playbook(
            project / "playbooks/provision.yml", "--limit", "database", "--extra-vars", json.dumps(variables)
        )
        assert run.returncode == 0, run.output
        yield variables
    finally:
        database.run("pg_dropcluster --stop 15 small")
        database.check_output(f"umount --lazy {DATA} {WAL}")


@pytest.fixture
def query(database, small):
    def ask(statement):
        command = f"setpriv --reuid postgres --regid postgres --init-groups psql -X -At -p {PORT} -d {DATABASE} -c %s"
        return database.check_output(command, statement)

    return ask


def fill(host, place: str, but: int = 0) -> None:
    """Leave so many bytes free, or none at all where somebody else takes some meanwhile."""
    available = f"$(df --output=avail --block-size=1 {place} | tail -1)"
    host.check_output(f"head --bytes=$(( {available} - {but} )) /dev/zero >{place}/filler || test -s {place}/filler")


def free(host, place: str) -> None:
    host.check_output(f"rm {place}/filler")


def test_a_migration_that_finds_no_room_says_so_and_leaves_no_trace(database, small, query, site, migrate):
    variables = {**small, **site(BIG)}
    fill(database, DATA, but=1000000)
    try:
        run = migrate(variables)
    finally:
        free(database, DATA)
    assert run.returncode != 0
    assert "001_site.sql failed: could not" in sentence(run)
    assert "No space left on device" in sentence(run)
    assert "(SQLSTATE 53100)" in sentence(run)
    assert query(SITE_TABLES) == "0"
    again = migrate(variables)
    assert again.returncode == 0, again.output
    assert query(SITE_TABLES) == "2"
    assert migrate(variables).changed == 0


def test_a_migration_that_stops_the_server_is_made_up_for(database, small, query, site, migrate):
    """Without room for its log of writes PostgreSQL stops at once; nothing of what it had not committed is there when it is back."""
    variables = {**small, **site(BIG)}
    # What this removes of the log makes room that one in the middle of the test would make.
    query("CHECKPOINT")
    fill(database, WAL)
    try:
        run = migrate(variables)
    finally:
        free(database, WAL)
    assert run.returncode != 0
    assert "Traceback" not in run.output
    assert "server closed the connection" in sentence(run) or "terminating connection" in sentence(run)
    running(database)
    assert query(SITE_TABLES) == "0"
    again = migrate(variables)
    assert again.returncode == 0, again.output
    assert query(SITE_TABLES) == "2"
    assert migrate(variables).changed == 0


def running(host) -> None:
    """The server, which has restarted by itself if there was room again in time, or has to be started."""

    def answers() -> bool:
        host.run(START)
        return host.run(f"pg_isready --port {PORT}").succeeded

    wait_until(answers)


@pytest.fixture
def forgotten_slot(query):
    """A standby that never comes: the server keeps its log of writes for it, as long as there is room."""
    query("SELECT pg_create_physical_replication_slot('forgotten', true)")
    yield
    query("SELECT pg_drop_replication_slot('forgotten')")


@pytest.mark.usefixtures("small")
def test_an_application_that_finds_no_room_is_told_and_no_row_is_lost(database, query):
    with writing(database, "localhost", PORT, "full-data", query) as writer:
        fill(database, DATA)
        try:
            wait_until(lambda: len(writer.failures()) >= 3)
        finally:
            free(database, DATA)
        writer.goes_on()
    assert {(note["error"], note["sqlstate"]) for note in writer.failures()} == {("QueryError", "53100")}


@pytest.mark.usefixtures("small", "forgotten_slot")
def test_an_application_whose_server_stops_for_want_of_room_is_told_and_no_row_is_lost(database, query):
    with writing(database, "localhost", PORT, "full-wal", query) as writer:
        fill(database, WAL)
        try:
            wait_until(lambda: len(writer.failures()) >= 3)
        finally:
            free(database, WAL)
        running(database)
        writer.goes_on()
    assert {note["error"] for note in writer.failures()} <= LOST
    assert as_administrator(database, "SELECT 1") == "1", "the other server never noticed"
