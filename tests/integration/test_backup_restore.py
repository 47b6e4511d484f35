"""Dumps are made and restored: everything comes back, and nothing that others wrote is evaluated by the superuser who restores it."""

import contextlib

import pytest
from backup_lab import BackupLab
from mission_control_database import ROLES, Session, create_database

# Tries every way back to the superuser, then makes its writer one.
TRAP = """
CREATE FUNCTION s.fire() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    way text;
BEGIN
    FOREACH way IN ARRAY ARRAY['SELECT 1', 'RESET ROLE', $q$SELECT set_config('role', 'none', true)$q$, 'RESET SESSION AUTHORIZATION',
        $q$SET SESSION AUTHORIZATION postgres$q$]
    LOOP
        BEGIN
            EXECUTE way;
            ALTER ROLE mallory SUPERUSER;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RETURN true;
END $$;
-- What an index may call may change nothing itself.
CREATE FUNCTION s.trap() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN s.fire(); END';
"""
DOMAIN = "CREATE DOMAIN s.d AS text CHECK (s.trap());"
# What PostgreSQL's own program runs as the superuser who restores it.
FIRING = {
    "a check": "CREATE TABLE s.notes (t text CHECK (s.trap())); INSERT INTO s.notes VALUES ('a')",
    "a check that needs its own table": """CREATE TABLE s.notes (t text);
        CREATE FUNCTION s.of(s.notes) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT s.trap()';
        ALTER TABLE s.notes ADD CONSTRAINT c CHECK (s.of(notes)); INSERT INTO s.notes VALUES ('a')""",
    "a domain": f"{DOMAIN} CREATE TABLE s.notes (t s.d); INSERT INTO s.notes VALUES ('a')",
    "a domain in a row": f"{DOMAIN} CREATE TYPE s.pair AS (a s.d, b int); CREATE TABLE s.notes (t s.pair[]); INSERT INTO s.notes VALUES (ARRAY[ROW('a', 1)::s.pair])",
    "a domain in a range": f"""{DOMAIN} CREATE TYPE s.r AS RANGE (subtype = s.d);
        CREATE TABLE s.notes (t s.r); INSERT INTO s.notes VALUES (s.r('a', 'b'))""",
    "a generated column": "CREATE TABLE s.notes (t int, g boolean GENERATED ALWAYS AS (s.trap()) STORED); INSERT INTO s.notes VALUES (1)",
    "a default that is read": f"{DOMAIN} CREATE TABLE s.notes (t s.d[] DEFAULT '{{a}}')",
    "a view that is read": f"{DOMAIN} CREATE VIEW s.notes AS SELECT '{{a}}'::s.d[] AS t",
    "a bound of a partition": f"{DOMAIN} CREATE TABLE s.notes (t s.d) PARTITION BY LIST (t); CREATE TABLE s.part PARTITION OF s.notes FOR VALUES IN ('a')",
    "the beginning of an aggregate": f"""{DOMAIN} CREATE FUNCTION s.add(s.d, text) RETURNS s.d LANGUAGE sql AS 'SELECT $1';
        CREATE AGGREGATE s.all(text) (sfunc = s.add, stype = s.d, initcond = 'a')""",
    "a cast that a foreign key uses": """CREATE TYPE s.colour AS ENUM ('red');
        CREATE FUNCTION s.text_of(s.colour) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM s.trap(); RETURN 'red'; END$$;
        CREATE CAST (s.colour AS text) WITH FUNCTION s.text_of(s.colour) AS IMPLICIT;
        CREATE TABLE s.colours (c text PRIMARY KEY); INSERT INTO s.colours VALUES ('red');
        CREATE TABLE s.notes (c s.colour REFERENCES s.colours); INSERT INTO s.notes VALUES ('red')""",
}
# What it does not run, or only as the owner: none of these may begin to.
SILENT = {
    "a default": "CREATE TABLE s.notes (t boolean DEFAULT s.trap()); INSERT INTO s.notes VALUES (true)",
    "an index": "CREATE TABLE s.notes (t int); CREATE INDEX ON s.notes ((s.trap())) WHERE s.trap(); INSERT INTO s.notes VALUES (1)",
    "statistics": "CREATE TABLE s.notes (t int); INSERT INTO s.notes VALUES (1); CREATE STATISTICS s.st ON (s.trap()), t FROM s.notes",
    "a materialized view": "CREATE MATERIALIZED VIEW s.notes AS SELECT s.trap()",
    "a rule": "CREATE TABLE s.notes (t int); CREATE RULE r AS ON INSERT TO s.notes DO ALSO SELECT s.trap(); INSERT INTO s.notes VALUES (1)",
    "a policy": "CREATE TABLE s.notes (t int); CREATE POLICY p ON s.notes USING (s.trap()) WITH CHECK (s.trap()); ALTER TABLE s.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; INSERT INTO s.notes VALUES (1)",
    "triggers": """CREATE FUNCTION s.tr() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM s.trap(); RETURN NEW; END$$;
        CREATE TABLE s.notes (t int); CREATE TRIGGER a BEFORE INSERT ON s.notes FOR EACH ROW EXECUTE FUNCTION s.tr();
        CREATE CONSTRAINT TRIGGER b AFTER INSERT ON s.notes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION s.tr();
        INSERT INTO s.notes VALUES (1)""",
    "an overload and an operator": """CREATE FUNCTION s.lower(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM s.trap(); RETURN $1; END$$;
        CREATE OPERATOR s.= (leftarg = text, rightarg = text, function = s.texteq);
        CREATE TABLE s.notes (t text CHECK (t OPERATOR(s.=) lower(t))); INSERT INTO s.notes VALUES ('a')""",
    "a function that is somebody from the beginning": """CREATE FUNCTION s.f() RETURNS boolean LANGUAGE plpgsql SET work_mem = '1MB' AS
        $$BEGIN RETURN s.trap(); END$$; CREATE TABLE s.notes (t int CHECK (s.f())); INSERT INTO s.notes VALUES (1)""",
}
EQUAL = "CREATE FUNCTION s.texteq(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN s.trap(); END$$;"


@pytest.fixture
def lab(cluster, tmp_path):
    return BackupLab(cluster, tmp_path)


@pytest.fixture
def mallory(cluster):
    """A login that owns a schema in a database of hers, and nothing else."""
    with contextlib.closing(Session(cluster.connect())) as admin:
        admin.run("CREATE ROLE mallory LOGIN")
        database = create_database(cluster, "with_a_trap")
        with contextlib.closing(Session(cluster.connect(database.name))) as inside:
            inside.run("CREATE SCHEMA s AUTHORIZATION mallory")
        yield database
        database.drop()
        admin.run("DROP ROLE mallory")


def plant(cluster, database, trap):
    with contextlib.closing(Session(cluster.connect(database.name, "mallory"))) as session:
        session.run(TRAP + EQUAL)
        session.run(trap)


@pytest.mark.parametrize("trap", [*FIRING.values(), *SILENT.values()], ids=[*FIRING, *SILENT])
def test_what_others_wrote_runs_with_their_own_rights(cluster, lab, mallory, trap):
    plant(cluster, mallory, trap)
    path = lab.dump(mallory)
    with lab.empty("restored") as restored:
        done = lab.restore(restored, path)
        assert (done.returncode, done.stderr) == (0, "")
        assert lab.is_superuser("mallory") is False
        assert restored.session().value("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'notes'") in ("mallory", None)
    if trap in FIRING.values():
        with lab.empty("plainly") as plainly:
            lab.restore_plainly(plainly, path)
            assert lab.is_superuser("mallory") is True, "the trap is none"
