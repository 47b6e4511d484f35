"""A dump is only moved to a newer server where no function of a lesser role is run by the superuser who restores it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psycopg2.extras
import pytest

_QUERY = Path(__file__).parents[2] / "roles/mission_control_postgresql/files/code_run_by_a_dump.sql"
_OWN = """
CREATE SCHEMA s;
CREATE FUNCTION s.ok(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION s.two(integer, text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION s.number(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE OPERATOR s.=== (LEFTARG = integer, RIGHTARG = text, FUNCTION = s.two);
CREATE TYPE s.mood AS ENUM ('a');
CREATE TYPE s.humour AS ENUM ('a');
CREATE FUNCTION s.turn(s.mood) RETURNS s.humour IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 'a'; END $$;
"""


@pytest.fixture
def homelab(cluster, database):
    """A database with a schema of a login that is no superuser; its query answers with what a restore would run."""
    with contextlib.closing(cluster.connect(database.name)) as administrator, administrator.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS homelab")
        cursor.execute("CREATE ROLE homelab LOGIN")
        cursor.execute(f'GRANT CREATE ON DATABASE "{database.name}" TO homelab')
        with contextlib.closing(cluster.connect(database.name, user="homelab")) as theirs, theirs.cursor() as owner:
            owner.execute(_OWN)
            yield owner, lambda: _found(administrator)
        cursor.execute("DROP OWNED BY homelab CASCADE")
        cursor.execute("DROP ROLE homelab")


def _found(administrator):
    with administrator.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SET search_path = pg_catalog, pg_temp")
        cursor.execute(_QUERY.read_text(encoding="utf-8"))
        return cursor.fetchall()


@pytest.mark.parametrize(
    ("statement", "used_by", "function"),
    [
        ("CREATE TABLE s.t (n int CONSTRAINT c CHECK (s.ok(n)))", "constraint c on table s.t", "s.ok"),
        ("CREATE TABLE s.t (n int CONSTRAINT c CHECK (n OPERATOR(s.===) 'x'))", "constraint c on table s.t", "s.two"),
        ("CREATE DOMAIN s.d AS int CONSTRAINT c CHECK (s.ok(VALUE))", "constraint c", "s.ok"),
        (
            "CREATE TABLE s.t (n int, m int GENERATED ALWAYS AS (s.number(n)) STORED)",
            # PostgreSQL 14 records that the column itself depends on the function, later versions that its expression does.
            ("default value for column m of table s.t", "column m of table s.t"),
            "s.number",
        ),
        ("CREATE TABLE s.t (n int); CREATE INDEX i ON s.t (s.number(n))", "index s.i", "s.number"),
        ("CREATE TABLE s.t (n int); CREATE INDEX i ON s.t (n) WHERE s.ok(n)", "index s.i", "s.ok"),
        ("CREATE TABLE s.t (n int) PARTITION BY RANGE (s.number(n))", "table s.t", "s.number"),
        ("CREATE CAST (s.mood AS s.humour) WITH FUNCTION s.turn(s.mood) AS IMPLICIT", "cast from", "s.turn"),
    ],
)
def test_what_a_restore_would_run_is_named(homelab, statement, used_by, function):
    owner, found = homelab
    owner.execute(statement)
    [row] = found()
    assert row["used_by"].startswith(used_by)
    assert (row["function_name"], row["owner"]) == (function, "homelab")


def test_what_a_restore_does_not_run_is_not(homelab):
    """Our own schema, and defaults, views and triggers of others, which a restore puts in place without running them."""
    owner, found = homelab
    owner.execute(
        "CREATE TABLE s.t (n int DEFAULT s.number(1)); CREATE VIEW s.v AS SELECT s.number(n) FROM s.t;"
        "CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER g BEFORE INSERT ON s.t FOR EACH ROW WHEN (s.ok(NEW.n)) EXECUTE FUNCTION s.f()"
    )
    assert found() == []
