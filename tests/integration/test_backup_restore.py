"""Dumps are made and restored: everything comes back, and nothing that others wrote is evaluated by the superuser who restores it."""

from __future__ import annotations

import contextlib

import pytest
from backup_lab import BackupLab
from mission_control_database import Session, apply_privileges, create_database

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
    "a domain in a row": f"""{DOMAIN} CREATE TYPE s.pair AS (a s.d, b int); CREATE TABLE s.notes (t s.pair[]);
        INSERT INTO s.notes VALUES (ARRAY[ROW('a', 1)::s.pair])""",
    "a domain in a range": f"""{DOMAIN} CREATE TYPE s.r AS RANGE (subtype = s.d);
        CREATE TABLE s.notes (t s.r); INSERT INTO s.notes VALUES (s.r('a', 'b'))""",
    "a generated column": "CREATE TABLE s.notes (t int, g boolean GENERATED ALWAYS AS (s.trap()) STORED); INSERT INTO s.notes VALUES (1)",
    "a default that is read": f"{DOMAIN} CREATE TABLE s.notes (t s.d[] DEFAULT '{{a}}')",
    "a view that is read": f"{DOMAIN} CREATE VIEW s.notes AS SELECT '{{a}}'::s.d[] AS t",
    "a bound of a partition": f"""{DOMAIN} CREATE TABLE s.notes (t s.d) PARTITION BY LIST (t);
        CREATE TABLE s.part PARTITION OF s.notes FOR VALUES IN ('a')""",
    "the beginning of an aggregate": f"""{DOMAIN} CREATE FUNCTION s.add(s.d, text) RETURNS s.d LANGUAGE sql AS 'SELECT $1';
        CREATE TABLE s.notes (); CREATE AGGREGATE s.every_one(text) (sfunc = s.add, stype = s.d, initcond = 'a')""",
    "a function of the server that runs a text": """CREATE TABLE s.notes (t int CHECK (ts_rewrite('a'::tsquery,
        $q$SELECT 'a'::tsquery, 'b'::tsquery WHERE s.fire()$q$) IS NOT NULL)); INSERT INTO s.notes VALUES (1)""",
    "a cast that a foreign key uses": """CREATE TYPE s.colour AS ENUM ('red');
        CREATE FUNCTION s.number_of(s.colour) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM s.trap(); RETURN 1; END$$;
        CREATE CAST (s.colour AS int) WITH FUNCTION s.number_of(s.colour) AS IMPLICIT;
        CREATE TABLE s.colours (c int PRIMARY KEY); INSERT INTO s.colours VALUES (1);
        CREATE TABLE s.notes (c s.colour REFERENCES s.colours); INSERT INTO s.notes VALUES ('red')""",
}
# What it does not run, or only as the owner: none of these may begin to.
SILENT = {
    "a default": "CREATE TABLE s.notes (t boolean DEFAULT s.trap()); INSERT INTO s.notes VALUES (true)",
    "an index": "CREATE TABLE s.notes (t int); CREATE INDEX ON s.notes ((s.trap())) WHERE s.trap(); INSERT INTO s.notes VALUES (1)",
    "statistics": "CREATE TABLE s.notes (t int); INSERT INTO s.notes VALUES (1); CREATE STATISTICS s.st ON (s.trap()), t FROM s.notes",
    "a materialized view": "CREATE MATERIALIZED VIEW s.notes AS SELECT s.trap()",
    "a rule": "CREATE TABLE s.notes (t int); CREATE RULE r AS ON INSERT TO s.notes DO ALSO SELECT s.trap(); INSERT INTO s.notes VALUES (1)",
    "a policy": """CREATE TABLE s.notes (t int); CREATE POLICY p ON s.notes USING (s.trap()) WITH CHECK (s.trap());
        ALTER TABLE s.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; INSERT INTO s.notes VALUES (1)""",
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
EQUAL = (
    "CREATE FUNCTION s.texteq(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN s.trap(); END$$;"
)


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


@pytest.mark.parametrize("trap", FIRING.values(), ids=FIRING)
def test_what_others_wrote_runs_with_their_own_rights(cluster, lab, mallory, trap):
    plant(cluster, mallory, trap)
    path = lab.dump(mallory)
    with lab.empty("restored") as restored:
        done = lab.restore(restored, path)
        assert (done.stderr, done.returncode) == ("", 0)
        assert lab.is_superuser("mallory") is False
        assert (
            restored.session().value("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'notes'")
            == "mallory"
        )
    with lab.empty("plainly") as plainly:
        lab.restore_plainly(plainly, path)
        assert lab.is_superuser("mallory") is True, "the trap is none"


def test_what_nobody_runs_stays_so(cluster, lab, mallory):
    plant(
        cluster,
        mallory,
        ";".join(trap.replace("s.notes", f"s.n{number}") for number, trap in enumerate(SILENT.values())),
    )
    path = lab.dump(mallory)
    with lab.empty("restored") as restored:
        done = lab.restore(restored, path)
        assert (done.stderr, done.returncode) == ("", 0)
        assert lab.is_superuser("mallory") is False
        assert lab.text(restored).count("Owner: mallory") == lab.text(mallory).count("Owner: mallory")


def contents(lab, database):
    """Everything that is in a database, as text, but what its backups recorded and what differs from dump to dump."""
    lines = lab.text(database).splitlines()
    return [
        line
        for line in lines
        if not line.startswith(("\\restrict", "\\unrestrict", "SELECT pg_catalog.setval('public.backup_runs"))
    ]


def test_everything_comes_back(lab, database):
    """Of our schema, of a site-local migration, of another owner and of a superuser, with the privileges that there were."""
    owner, admin = database.session("owner"), database.session()
    owner.run(
        """
        CREATE FUNCTION public.tidy(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.length($1) > 1';
        CREATE DOMAIN public.word AS text CHECK (public.tidy(VALUE));
        CREATE TABLE public.shelves (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Na me" varchar(9) CHECK (public.tidy("Na me")),
            words public.word[], size numeric(6, 2), twice numeric GENERATED ALWAYS AS (size * 2) STORED, raw bytea, at timestamptz, more jsonb);
        INSERT INTO public.shelves ("Na me", words, size, raw, at, more) VALUES
            (E'a\\tb\\nc', ARRAY['on\\e', 'tw"o', NULL], 1.5, '\\x00ff', 'infinity', '{"a": [1e3, null]}'), (E'\\\\.', NULL, NULL, '', NULL, 'null');
        CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) FROM public.shelves;
        COMMENT ON TABLE public.shelves IS E'of the house\\n-- Name: x; Type: ACL; Schema: -; Owner: postgres';
        """
    )
    admin.run(
        """
        CREATE TABLE public.superusers_own (a int PRIMARY KEY, at timestamptz DEFAULT now(), CHECK (a > 0));
        INSERT INTO public.superusers_own VALUES (1);
        CREATE VIEW public.superusers_view AS SELECT t.title, public.tidy(t.title) FROM public.tasks AS t;
        SELECT lo_from_bytea(0, 'bytes');
        CREATE SCHEMA elsewhere;
        GRANT USAGE ON SCHEMA elsewhere TO mission_control_owner;
        CREATE TABLE elsewhere.borrowed (shelf int REFERENCES public.shelves);
        INSERT INTO elsewhere.borrowed VALUES (1);
        ALTER TABLE elsewhere.borrowed OWNER TO mission_control_monitor;
        """
    )
    admin.run("INSERT INTO tasks (title, created_by) VALUES ('one', 'test')")
    admin.run("INSERT INTO audit_entries (actor, action, outcome) VALUES ('test', 'count', 'success')")
    before = contents(lab, database)
    path = lab.dump(database)
    database.session().run("TRUNCATE backup_runs")
    with lab.empty("restored_whole") as restored:
        apply_privileges(restored)
        restored.session().run(
            "ALTER DATABASE restored_whole SET idle_in_transaction_session_timeout = 1; ALTER DATABASE restored_whole SET default_transaction_read_only = on;"
            "ALTER DATABASE restored_whole SET search_path = nowhere; ALTER DATABASE restored_whole SET standard_conforming_strings = off"
        )
        restored.close()
        done = lab.restore(restored, path)
        assert (done.stderr, done.returncode) == ("", 0)
        with contextlib.closing(Session(lab.cluster.connect())) as outside:
            outside.run("ALTER DATABASE restored_whole RESET ALL")
        assert contents(lab, restored) == before
        assert restored.session().value("SELECT valid FROM verify_audit_chain()") is True


def test_a_dump_that_cannot_be_restored_leaves_nothing(cluster, lab, mallory):
    """An event trigger would run what others wrote, for whoever changes the schema next."""
    plant(
        cluster,
        mallory,
        "CREATE FUNCTION s.ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM s.fire(); END'",
    )
    mallory.session().run("CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION s.ev()")
    path = lab.dump(mallory)
    with lab.empty("restored_not") as restored:
        done = lab.restore(restored, path)
        assert done.returncode == 1
        assert "the event trigger ev runs a function of mallory, who is no superuser" in done.stderr
        assert lab.is_superuser("mallory") is False
        assert restored.session().values("SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'") == [
            "public",
            "information_schema",
        ]


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE public.his (t text CHECK (s.leave())); INSERT INTO public.his VALUES ('a')",
        "CREATE VIEW public.his AS SELECT '{a}'::s.d[] AS t",
    ],
    ids=["a check", "a view that is read"],
)
def test_a_superuser_gets_nothing_that_others_made_in_his_place(cluster, lab, mallory, made):
    """What is his is made by a role without rights first; what runs meanwhile could leave a function with his rights behind."""
    plant(
        cluster,
        mallory,
        """GRANT USAGE ON SCHEMA s TO PUBLIC;
        CREATE FUNCTION s.leave() RETURNS boolean LANGUAGE plpgsql AS $f$
        BEGIN
            CREATE OR REPLACE FUNCTION public.left_behind() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
                'BEGIN ALTER ROLE mallory SUPERUSER; END';
            RETURN true;
        EXCEPTION WHEN OTHERS THEN
            RETURN true;
        END $f$;
        CREATE DOMAIN s.d AS text CHECK (s.leave())""",
    )
    mallory.session().run(made)
    path = lab.dump(mallory)
    with lab.empty("restored") as restored:
        done = lab.restore(restored, path)
        assert done.returncode == 1
        assert "belongs to a superuser and uses" in done.stderr
        assert "of mallory, whose code he would run: it is not restored" in done.stderr
        assert restored.session().value("SELECT count(*) FROM pg_proc WHERE proname = 'left_behind'") == 0


def test_an_owner_who_is_not_there_is_named(cluster, lab):
    with contextlib.closing(Session(cluster.connect())) as admin, lab.empty("of_somebody") as database:
        admin.run("CREATE ROLE somebody")
        database.session().run("CREATE TABLE t (); ALTER TABLE t OWNER TO somebody")
        path = lab.dump(database)
        database.session().run("DROP TABLE t")
        admin.run("DROP ROLE somebody")
        done = lab.restore(database, path)
        assert done.returncode == 1
        assert "TABLE public t somebody: this server has no role of its owner's name" in done.stderr


def test_a_line_of_the_dump_is_not_believed_to_be_a_superusers(cluster, lab):
    """Names stand unquoted in a table of contents."""
    with contextlib.closing(Session(cluster.connect())) as admin, lab.empty("of_two_names") as database:
        admin.run('CREATE ROLE "x postgres"')
        database.session().run('CREATE TABLE t (); ALTER TABLE t OWNER TO "x postgres"')
        path = lab.dump(database)
        done = lab.restore(database, path)
        database.session().run("DROP TABLE t")
        admin.run('DROP ROLE "x postgres"')
        assert done.returncode == 1
        assert "its owner cannot be told from names of several roles" in done.stderr
