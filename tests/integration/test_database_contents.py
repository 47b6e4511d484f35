"""Planning, granting and counting as an administrator run no code of the owner's members; rows are counted where that can be seen beforehand."""

from __future__ import annotations

import contextlib
import json

import pytest
import traps
from database_lab import PLAN, DatabaseLab, prepare_cluster
from mission_control_database import Session
from throwaway_cluster import ThrowawayCluster


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        yield server


@pytest.fixture
def lab(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path).make()
    lab.make_objects()
    lab.query(
        f"SET ROLE {lab.roles['owner']}; CREATE TABLE things (name text, note text); INSERT INTO things VALUES ('a', 'b'), ('c', 'd')"
    )
    lab.carry_out(lab.wanted())
    yield lab
    lab.query(f"DROP DATABASE {lab.name} WITH (FORCE)", database="postgres")


def contents(lab):
    """Lines about the tables, as playbooks/remove.yml shows them."""
    connection = lab.connect()
    connection.autocommit = False
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        cursor.execute("SELECT set_config('mission_control.wanted', %s, true)", [json.dumps(lab.wanted())])
        cursor.execute((PLAN / "contents.sql").read_text(encoding="utf-8"))
        cursor.execute("SELECT current_setting('mission_control.contents')::jsonb")
        lines = {row["name"]: row["reason"].split(": ", 1)[1] for row in cursor.fetchone()[0]}
        # What was locked is not locked any more, so neither others wait nor does the table of locks fill up.
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'ShareUpdateExclusiveLock'"
        )
        assert cursor.fetchone() == (0,)
        return lines


@pytest.mark.parametrize("sort", traps.SORTS)
def test_no_step_runs_what_a_member_of_the_owner_has_made(lab, sort):
    lab.query(f"GRANT CONNECT ON DATABASE {lab.name} TO PUBLIC")
    with traps.planter(lab, of=lab.roles["owner"]) as member:
        trap = traps.plant(member, sort, "things")
        lab.query(f"GRANT ALL ON SCHEMA public TO PUBLIC; REVOKE ALL ON things FROM {lab.roles['application']}")
        lab.plan(lab.wanted())
        lab.carry_out(lab.wanted())
        assert contents(lab)
        assert lab.plan(lab.wanted()) == []
        # In their own name some run while they are planted.
        assert not [name for name in traps.fired(lab.cluster, trap) if not name.startswith(("planter_", lab.name))]
        lab.query("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA public TO PUBLIC")  # which the run has taken away
        with contextlib.closing(Session(lab.cluster.connect(lab.name))) as admin:
            traps.set_off(admin, trap)
        assert {"postgres", "pg_read_all_data"} & traps.fired(lab.cluster, trap)


def test_tables_are_counted_where_it_can_be_seen_that_nothing_runs(lab):
    lab.query(
        f"""
        SET ROLE {lab.roles["owner"]};
        CREATE INDEX ON things (lower(name)) WHERE note <> '';
        CREATE TABLE split (a integer) PARTITION BY LIST (a);
        CREATE TABLE split_1 PARTITION OF split FOR VALUES IN (1);
        INSERT INTO split SELECT 1 FROM generate_series(1, 3);
        CREATE FUNCTION still(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
        CREATE TABLE guessed (name text); CREATE INDEX ON guessed (still(name)); INSERT INTO guessed VALUES ('a');
        ANALYZE split, guessed;
        """
    )
    found = contents(lab)
    assert found["public.things"] == "2 rows"
    assert found["public.split"] == "about 3 rows"
    assert found["public.guessed"] == "about 1 rows"


def test_a_table_that_somebody_holds_is_not_waited_for(lab):
    connection = lab.cluster.connect(lab.name)
    connection.autocommit = False
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE things IN ACCESS EXCLUSIVE MODE")
        assert contents(lab)["public.things"].startswith("about ")
