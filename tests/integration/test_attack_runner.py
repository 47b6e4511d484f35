"""A provisioning run's own session: whatever a lesser role has put into the database, its code never has the administrator's rights."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import mission_control_database as layer
import psycopg2
import pytest
import traps
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import SITE, read_migrations
from migration_run import MigrationRun

ADMINISTRATOR = "runner_administrator"
STRANGER = "runner_stranger"
BUNDLE = read_migrations(str(layer.SQL / "migrations"))
# In whose name the code of a file, and of whoever may change the owner's objects, runs by design.
LESSER = {"mission_control_owner"}
# What the steps of a run read and write of the schema; the next site-local file makes each of them happen.
FILE = "CREATE TABLE site_local_{number} (id integer); INSERT INTO hosts (name, type) VALUES ('host-{number}', 'vm');"


@pytest.fixture(scope="module")
def server(cluster, template):
    """Besides the usual roles an administrator without superuser, and a login that is nobody."""
    with contextlib.closing(layer.Session(cluster.connect())) as admin:
        admin.run(f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB; CREATE ROLE {STRANGER} LOGIN")
        if admin.connection.server_version >= 160000:
            for role in layer.ROLES.values():
                admin.run(f"GRANT {role} TO {ADMINISTRATOR} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE")
        yield cluster
        admin.run(f"DROP ROLE {ADMINISTRATOR}; DROP ROLE {STRANGER}")


@pytest.fixture
def provisioned(server, template):
    """A copy with the state that a run leaves, which belongs to the administrator without superuser."""
    database = layer.create_database(server, "attacked_runner", template)
    with contextlib.closing(layer.Session(server.connect())) as admin:
        admin.run(f"ALTER DATABASE {database.name} OWNER TO {ADMINISTRATOR}")
        version = admin.connection.server_version
    if version < 150000:
        # From 15 on the schema public belongs to whoever owns the database.
        database.session("admin").run(f"ALTER SCHEMA public OWNER TO {ADMINISTRATOR}")
    MigrationRun(server, database.name, BUNDLE).run()
    database.session("admin").insert("hosts", name="host", type="vm")
    yield database
    database.drop()


def site_file(body: str, number: int = 1, transactional: bool = True):
    return replace(
        BUNDLE[0],
        name=f"{number:03d}_site.sql",
        body=body,
        checksum=body,
        origin=SITE,
        version=number,
        transactional=transactional,
    )


def attempt(database, user: str, *files) -> str:
    """What a run says, empty where it goes through: status, files, functions and prices, grants."""
    run = MigrationRun(database.cluster, database.name, [*BUNDLE, *files], user)
    try:
        run.run()
    except (psycopg2.Error, AssertionError) as error:
        return str(error)
    return ""


def again(database) -> None:
    """Make the next run do everything that it can do."""
    with contextlib.closing(layer.Session(database.cluster.connect(database.name))) as admin:
        admin.run("UPDATE schema_repeatables SET checksum = 'old'")


def is_superuser(database, role: str) -> bool:
    with contextlib.closing(layer.Session(database.cluster.connect(database.name))) as admin:
        return admin.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", role)


@pytest.mark.parametrize(
    ("table", "user"),
    [
        ("schema_migrations", "postgres"),
        ("schema_migrations", ADMINISTRATOR),
        ("schema_repeatables", "postgres"),
        ("provider_pricing", ADMINISTRATOR),
        ("hosts", "postgres"),
    ],
)
@pytest.mark.parametrize("sort", traps.SORTS)
def test_attack_by_a_member_of_the_owner(provisioned, sort, table, user):
    with traps.planter(provisioned) as session:
        again(provisioned)
        trap = traps.plant(session, sort, table)
        # Some go off while they are planted, in the planter's own name.
        lesser = {*LESSER, session.value("SELECT session_user")}
        attempt(provisioned, user, site_file(FILE.format(number=1)))
        assert traps.fired(provisioned.cluster, trap, but=lesser) == set()
        # The control: it was armed all the time.
        admin = provisioned.session("admin")
        admin.run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC")
        traps.set_off(admin, trap)
        assert traps.fired(provisioned.cluster, trap, but=lesser) != set()


def test_attack_view_in_place_of_the_bookkeeping(provisioned):
    """It is not read at all, and named."""
    with traps.planter(provisioned) as session:
        traps.plant(session, "view", "schema_migrations")
        said = attempt(provisioned, "postgres")
    assert "public.schema_migrations is a view" in said
    assert "mission_control_owner" in said


WAYS_BACK = """
DO $$
DECLARE
    way text;
BEGIN
    FOREACH way IN ARRAY ARRAY[
        'RESET ROLE', 'SET ROLE NONE', 'SET ROLE postgres', 'SET LOCAL ROLE postgres', 'RESET SESSION AUTHORIZATION',
        'SET SESSION AUTHORIZATION postgres',
        'SET SESSION AUTHORIZATION DEFAULT', 'SELECT set_config(''role'', ''none'', false)',
        'SELECT set_config(''session_authorization'', ''postgres'', false)',
        'RESET ALL', 'DISCARD TEMP', 'SET mission_control.temporary_member_of = ''pg_execute_server_program''', 'SET mission_control.run_state = ''running'''
    ] LOOP
        BEGIN
            EXECUTE way;
            EXECUTE 'ALTER ROLE runner_stranger SUPERUSER';
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
END
$$;
"""
TRAP = """
CREATE FUNCTION site_trap() RETURNS trigger LANGUAGE plpgsql AS $t$
BEGIN
    BEGIN PERFORM set_config('role', 'none', true); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'ALTER ROLE runner_stranger SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
    RETURN NULL;
END $t$;
CREATE FUNCTION site_call() RETURNS integer LANGUAGE plpgsql AS $t$
BEGIN
    BEGIN PERFORM set_config('role', 'none', true); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'ALTER ROLE runner_stranger SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
    RETURN 1;
END $t$;
GRANT EXECUTE ON FUNCTION site_trap(), site_call() TO PUBLIC;
CREATE TABLE site_table (id integer);
"""
DEFERRED = "CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON site_table DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION site_trap();"
# The body, and what is said of it; empty: it goes through, and has nothing from it.
BODIES = {
    "ways back": (WAYS_BACK, ""),
    "a deferred trigger": (
        TRAP + DEFERRED.format(name="later") + "INSERT INTO site_table VALUES (1);",
        "later on public.site_table",
    ),
    "a deferred trigger with the name of the audit log's": (
        TRAP + DEFERRED.format(name="tr_audit_chain") + "INSERT INTO site_table VALUES (1);",
        "tr_audit_chain on public.site_table",
    ),
    "a deferred trigger on the bookkeeping": (
        TRAP + DEFERRED.format(name="later").replace("site_table", "schema_migrations"),
        "later on public.schema_migrations",
    ),
    "a trigger that is deferred again by a trigger": (
        TRAP
        + "CREATE TABLE site_first (id integer CONSTRAINT uq_site_first UNIQUE DEFERRABLE INITIALLY DEFERRED);"
        + DEFERRED.format(name="later")
        + """
        CREATE FUNCTION site_again() RETURNS trigger LANGUAGE plpgsql AS $t$
        BEGIN SET CONSTRAINTS later DEFERRED; INSERT INTO site_table VALUES (1); RETURN NULL; END $t$;
        CREATE TRIGGER again AFTER INSERT ON site_first FOR EACH ROW EXECUTE FUNCTION site_again();
        INSERT INTO site_first VALUES (1);
        """,
        "later on public.site_table",
    ),
    "a deferred exclusion by an operator of its own": (
        TRAP
        + """
        CREATE FUNCTION site_same(integer, integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $t$ BEGIN PERFORM public.site_call(); RETURN true; END $t$;
        CREATE OPERATOR === (FUNCTION = site_same, LEFTARG = integer, RIGHTARG = integer, COMMUTATOR = ===);
        CREATE TABLE site_excluded (id integer);
        CREATE UNIQUE INDEX site_unique ON site_excluded (id);
        ALTER TABLE site_excluded ADD CONSTRAINT site_expression EXCLUDE USING btree ((id + site_fixed()) WITH =) DEFERRABLE INITIALLY DEFERRED;
        INSERT INTO site_excluded VALUES (1);
        """.replace(
            "CREATE TABLE site_excluded",
            "CREATE FUNCTION site_fixed() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS "
            "$t$ BEGIN RETURN public.site_call(); END $t$; CREATE TABLE site_excluded",
        ),
        "on public.site_excluded",
    ),
    "a cursor WITH HOLD": (
        TRAP + "DO $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT site_call()'; END $$;",
        "held",
    ),
    "its own function made another": (
        """
        DO $$
        DECLARE f text;
        BEGIN
            SELECT oid::regprocedure INTO f FROM pg_proc WHERE proname LIKE 'mission_control_run_%';
            EXECUTE 'ALTER FUNCTION ' || f || ' SECURITY INVOKER';
            EXECUTE 'ALTER FUNCTION ' || f || ' RENAME TO site_kept';
        END $$;
        """,
        "it changed the function that ran it",
    ),
    "settings": (
        "SET standard_conforming_strings = off; SET search_path = pg_temp; SET statement_timeout = '100ms'; SET client_encoding = 'SJIS';"
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET check_function_bodies = off; SET transform_null_equals = on;",
        "",
    ),
}


@pytest.mark.parametrize("user", ["postgres", ADMINISTRATOR])
@pytest.mark.parametrize("kind", BODIES)
def test_attack_by_a_file(provisioned, kind, user):
    body, said = BODIES[kind]
    outcome = attempt(provisioned, user, site_file(body), site_file("SELECT pg_sleep(0.2);", 2))
    assert not is_superuser(provisioned, STRANGER)
    if said:
        assert said in outcome
        with contextlib.closing(layer.Session(provisioned.cluster.connect(provisioned.name))) as admin:
            assert admin.value("SELECT to_regclass('site_table')") is None, "what failed left something"
    else:
        assert outcome == ""


@pytest.mark.parametrize("kind", ["a cursor WITH HOLD", "a deferred trigger"])
def test_the_files_would_do_it_in_a_session_of_the_administrator(provisioned, kind):
    """The control: as the owner by SET ROLE, as it was once done, each of them is enough."""
    admin = provisioned.session("admin")
    admin.run("BEGIN; SET LOCAL ROLE mission_control_owner")
    admin.run(BODIES[kind][0])
    admin.run("RESET ROLE; COMMIT")
    # From 18 on a deferred trigger runs as the role that has set it off.
    expected = not (kind == "a deferred trigger" and admin.connection.server_version >= 180000)
    assert is_superuser(provisioned, STRANGER) == expected
    admin.run(f"ALTER ROLE {STRANGER} NOSUPERUSER")


@pytest.mark.parametrize("user", ["postgres", ADMINISTRATOR])
def test_temporary_objects_of_a_file_are_refused(provisioned, user):
    """Only where somebody has given the owner the right to make some."""
    provisioned.session("admin").run(f"GRANT TEMPORARY ON DATABASE {provisioned.name} TO mission_control_owner")
    shadow = """
        DISCARD TEMP;
        CREATE FUNCTION pg_temp.check_deferred_constraints(text, name) RETURNS text LANGUAGE plpgsql AS $t$
        BEGIN ALTER ROLE runner_stranger SUPERUSER; RETURN ''; END $t$;
        """
    assert "temporary objects" in attempt(provisioned, user, site_file(shadow))
    assert not is_superuser(provisioned, STRANGER)
    assert "temporary objects" in attempt(provisioned, user, site_file("DISCARD TEMP;"))
    kept = "CREATE TEMPORARY TABLE mine (id integer); DROP TABLE mine;"
    assert attempt(provisioned, user, site_file(kept)) == ""


@pytest.mark.parametrize("user", ["postgres", ADMINISTRATOR])
def test_attack_by_an_index_built_concurrently(provisioned, user):
    made = site_file("CREATE TABLE site_table (id integer); INSERT INTO site_table VALUES (1);")
    with traps.planter(provisioned) as session:
        assert attempt(provisioned, user, made) == ""
        trap = traps.plant(session, "index predicate", "site_table")
        body = f"CREATE INDEX CONCURRENTLY ix_site ON site_table (id) WHERE public.{trap.tag}_still(id) = 1"
        assert attempt(provisioned, user, made, site_file(body, 2, transactional=False)) == ""
        assert traps.fired(provisioned.cluster, trap) == LESSER


def test_a_second_function_of_a_name_of_the_audit_log_is_named(provisioned):
    """Whoever may only call the function could not verify the log any more: the call would not be unique."""
    with traps.planter(provisioned) as session:
        session.run(
            "CREATE FUNCTION public.verify_audit_chain(bigint, bytea, bigint, bytea, integer DEFAULT 0) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'"
        )
        said = attempt(provisioned, "postgres")
    assert "DROP FUNCTION public.verify_audit_chain(bigint,bytea,bigint,bytea,integer)" in said


def test_a_view_of_a_stranger_before_the_first_run(server):
    """The smallest input of all: a stranger may create in the schema, and has."""
    database = layer.create_database(server, "attacked_first")
    try:
        admin = database.session("admin")
        admin.run(f"GRANT CREATE ON SCHEMA public TO {STRANGER}")
        with contextlib.closing(layer.Session(server.connect(database.name, STRANGER))) as stranger:
            stranger.run(
                """
                CREATE FUNCTION public.trap() RETURNS boolean LANGUAGE plpgsql AS $$
                BEGIN
                    PERFORM pg_catalog.set_config('role', 'none', true);
                    EXECUTE 'ALTER ROLE runner_stranger SUPERUSER';
                    RETURN false;
                EXCEPTION WHEN OTHERS THEN RETURN true;
                END $$;
                CREATE VIEW public.schema_migrations AS SELECT 'bundle'::text AS origin, 1 AS version, ''::text AS name, ''::text AS checksum,
                    now() AS applied_at WHERE public.trap();
                CREATE TABLE public.schema_repeatables (name text, checksum text, run_id uuid);
                GRANT SELECT ON schema_migrations, schema_repeatables TO PUBLIC;
                """
            )
        said = attempt(database, "postgres")
        assert "public.schema_migrations is a view" in said
        admin.run("DROP VIEW schema_migrations; DROP TABLE schema_repeatables")
        said = attempt(database, "postgres")
        assert f"REVOKE CREATE ON SCHEMA public FROM {STRANGER}" in said
        assert "function public.trap() of runner_stranger" in said
        assert not is_superuser(database, STRANGER)
    finally:
        database.drop()


@pytest.mark.parametrize("step", ["status", "files"])
def test_an_event_trigger_of_a_former_superuser_is_named_before_it_can_fire(provisioned, step):
    admin = provisioned.session("admin")
    tag = f"on_ddl_{step}"
    admin.run(f"ALTER ROLE {STRANGER} SUPERUSER")
    with contextlib.closing(layer.Session(provisioned.cluster.connect(provisioned.name, STRANGER))) as stranger:
        stranger.run(
            f"CREATE FUNCTION public.{tag}() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'TRAP {tag} ran as % in a session of %', "
            f"current_user, session_user; END $$; CREATE EVENT TRIGGER {tag} ON ddl_command_end EXECUTE FUNCTION public.{tag}()"
        )
    admin.run(f"ALTER ROLE {STRANGER} NOSUPERUSER")
    files = [] if step == "status" else [site_file(FILE.format(number=1))]
    assert f"ALTER EVENT TRIGGER {tag} DISABLE" in attempt(provisioned, "postgres", *files)
    trap = traps.Trap(tag, "CREATE TABLE set_off (id integer)")
    # While it was made it fired in the name of who made it.
    assert traps.fired(provisioned.cluster, trap, but={STRANGER}) == set()
    traps.set_off(admin, trap)
    assert traps.fired(provisioned.cluster, trap, but={STRANGER}) == {"postgres"}
