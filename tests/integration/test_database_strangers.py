"""Who could do something to us in a database that is there already: refused with the statement that cures it, taken away, or named."""

from __future__ import annotations

import contextlib
import re

import psycopg2
import pytest
from database_lab import DatabaseLab, prepare_cluster
from throwaway_cluster import ThrowawayCluster


@pytest.fixture(scope="module")
def cluster():
    with ThrowawayCluster() as server:
        prepare_cluster(server)
        connection = server.connect()
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("CREATE ROLE stranger LOGIN; CREATE ROLE former LOGIN SUPERUSER")
        yield server


@pytest.fixture(params=["postgres", "keeper"])
def lab(cluster, tmp_path, request):
    lab = DatabaseLab(cluster, tmp_path, request.param).make()
    lab.make_objects()
    lab.carry_out(lab.wanted())
    lab.query(f"GRANT CONNECT ON DATABASE {lab.name} TO stranger, former")
    yield lab
    lab.query("ALTER ROLE former SUPERUSER", database="postgres")
    lab.query(f"DROP DATABASE {lab.name} WITH (FORCE)", database="postgres")


def run_as(lab, user, sql):
    connection = lab.cluster.connect(lab.name, user)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)


def rows(lab, stage="refuse"):
    return [row[1] for row in lab.plan(lab.wanted()) if row[0] == stage]


# What a stranger made while he could.
OBJECTS = {
    "function": "CREATE FUNCTION format(text, name) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
    "procedure": "CREATE PROCEDURE do_it() LANGUAGE sql AS 'SELECT 1'",
    "aggregate": "CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer)",
    "operator": "CREATE OPERATOR public.* (FUNCTION = int4mul, LEFTARG = integer, RIGHTARG = integer)",
    "domain": "CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)",
    "enum": "CREATE TYPE colour AS ENUM ('red')",
    "composite type": "CREATE TYPE pair AS (a integer, b integer)",
    "collation": 'CREATE COLLATION mine (LOCALE = "C")',
    "table of one of our names": "CREATE TABLE not_there_yet (a integer)",
    "view of one of our names": "CREATE VIEW not_there_yet AS SELECT 1 AS a",
}


@pytest.mark.parametrize("sort", OBJECTS)
def test_what_a_stranger_has_made_is_refused_and_the_cure_cures(lab, sort):
    lab.query("GRANT CREATE, USAGE ON SCHEMA public TO stranger")
    run_as(lab, "stranger", OBJECTS[sort])
    lab.query("REVOKE CREATE ON SCHEMA public FROM stranger")
    (sentence,) = rows(lab)
    assert "belongs to stranger" in sentence
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="stranger"):
        lab.carry_out(lab.wanted())
    cure = re.search(r"(DROP .*), or move|(ALTER TABLE .* RENAME TO) another name", sentence)
    lab.query(cure[1] or f"{cure[2]} another_name")
    assert rows(lab) == []
    assert lab.carry_out(lab.wanted()) == []


def test_what_a_stranger_may_make_is_refused_and_the_cure_cures(lab):
    lab.query("GRANT CREATE ON SCHEMA public TO stranger")
    (sentence,) = rows(lab)
    lab.query(re.search(r"REVOKE [^.]*", sentence)[0])
    assert lab.plan(lab.wanted()) == []


def test_a_grant_that_somebody_passed_on_is_cured_by_the_sentence_too(lab):
    lab.query(
        "GRANT CREATE ON SCHEMA public TO keeper_noinherit WITH GRANT OPTION; SET ROLE keeper_noinherit; GRANT CREATE ON SCHEMA public TO stranger"
    )
    while sentences := rows(lab):
        lab.query(re.search(r"(SET ROLE|REVOKE) [^.]*", sentences[0])[0])
    assert lab.plan(lab.wanted()) == []


def test_what_everybody_may_make_is_taken_away(lab):
    lab.query("GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert lab.carry_out(lab.wanted()) == ["schema public: revoke CREATE from PUBLIC"]
    assert lab.plan(lab.wanted()) == []


def test_a_schema_of_a_stranger_is_refused(lab):
    lab.query("ALTER SCHEMA public OWNER TO stranger")
    assert f"ALTER SCHEMA public OWNER TO {lab.user}" in rows(lab)[0]


def test_a_database_of_a_stranger_is_refused_until_he_is_named(cluster, tmp_path):
    lab = DatabaseLab(cluster, tmp_path)
    lab.query(f"CREATE DATABASE {lab.name} OWNER stranger", database="postgres")
    (sentence,) = rows(lab)
    assert f"{lab.name} belongs to stranger" in sentence
    assert lab.existing_roles() == []
    for owner in ("stranger", "postgres"):
        wanted = lab.wanted()
        wanted["database"]["owner"] = owner
        assert [row for row in lab.plan(wanted) if row[0] == "refuse"] == []


def test_tables_of_a_stranger_are_named_and_left_alone(lab):
    lab.query("CREATE TABLE diary (a integer); ALTER TABLE diary OWNER TO stranger")
    assert lab.plan(lab.wanted()) == [
        (
            "note",
            "The schema public also holds a table, view or sequence of others, such as public.diary of stranger, which is left alone.",
            None,
        )
    ]
    assert lab.carry_out(lab.wanted()) == []


def test_a_right_to_triggers_is_taken_away_and_a_trigger_refused(lab):
    lab.query(
        "GRANT SELECT, TRIGGER ON plain TO stranger; CREATE SCHEMA his AUTHORIZATION stranger; GRANT USAGE ON SCHEMA public TO stranger"
    )
    run_as(lab, "stranger", "CREATE FUNCTION his.trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    run_as(
        lab, "stranger", "CREATE TRIGGER trap BEFORE INSERT ON public.plain FOR EACH ROW EXECUTE FUNCTION his.trap()"
    )
    (sentence,) = rows(lab)
    lab.query(re.search(r"DROP TRIGGER [^,]*", sentence)[0].rstrip("."))
    assert lab.carry_out(lab.wanted()) == ["table plain: revoke TRIGGER from stranger"]
    assert lab.query(
        "SELECT has_table_privilege('stranger', 'plain', 'SELECT'), has_table_privilege('stranger', 'plain', 'TRIGGER')"
    ) == [(True, False)]


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
@pytest.mark.parametrize("owned", ["trigger", "function"])
def test_an_event_trigger_of_a_former_superuser_is_refused_before_it_fires(lab, owned):
    """A control shows that it fires where nothing refuses it, and takes over whoever changes something."""
    run_as(
        lab,
        "former",
        "CREATE SCHEMA his; CREATE FUNCTION his.trap() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN ALTER ROLE stranger CREATEDB; END $$",
    )
    run_as(
        lab,
        "former" if owned == "trigger" else "postgres",
        "CREATE EVENT TRIGGER trap ON ddl_command_start EXECUTE FUNCTION his.trap()",
    )
    if owned == "function":
        lab.query("ALTER EVENT TRIGGER trap OWNER TO postgres")
    lab.query("ALTER ROLE former NOSUPERUSER; ALTER ROLE stranger NOCREATEDB", database="postgres")
    lab.query(f"REVOKE CONNECT ON DATABASE {lab.name} FROM {lab.roles['readonly']}", database="postgres")
    (sentence,) = rows(lab)
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="event trigger trap"):
        lab.carry_out(lab.wanted())
    assert lab.query("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'stranger'") == [(False,)]
    lab.query("CREATE TABLE control ()")
    assert lab.query("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'stranger'") == [(True,)]
    lab.query(re.search(r"ALTER EVENT TRIGGER \w+ DISABLE", sentence)[0])
    assert rows(lab) == []


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_readers_can_make_no_large_objects(lab):
    makers = ("lo_from_bytea(0, 'x')", "lo_create(0)", "lo_creat(-1)", "lo_import('/etc/hostname')")
    for maker in makers:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_as(lab, lab.roles["application"], f"SELECT {maker}")
    lab.query("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC")
    (reason,) = lab.carry_out(lab.wanted())
    assert "revoke EXECUTE on lo_creat" in reason
    assert lab.plan(lab.wanted()) == []
    # Where others use them already, it is theirs to say who may.
    lab.query("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC")
    run_as(lab, "stranger", "SELECT lo_create(0)")
    assert [row[0] for row in lab.plan(lab.wanted())] == ["note"]


@pytest.mark.parametrize("lab", ["keeper"], indirect=True)
def test_only_a_superuser_can_take_large_objects_away(lab):
    assert lab.plan(lab.wanted()) == []
    lab.user = "postgres"
    wanted = lab.wanted()
    wanted["database"]["owner"] = "keeper"
    (reason,) = [row[1] for row in lab.plan(wanted)]
    assert "lo_creat" in reason
