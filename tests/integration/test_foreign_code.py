"""What the catalogue says about tables that would run a lesser role's code, beside tables that do."""

import psycopg2
import pytest
import traps
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.foreign_code import (
    BOUND_PATH,
    FOREIGN_CODE,
    SETTING,
    lock_statement,
    relations_json,
)

# Those that do not run when the table is only read.
WRITTEN = ("server function that runs a text", "trigger")


def problems(session, *names, **more):
    session.run("SELECT pg_catalog.set_config('search_path', %s, false)", BOUND_PATH)
    relations = [{"schema": "public", "name": name, **more} for name in names]
    session.run("SELECT pg_catalog.set_config(%s, %s, false)", SETTING, relations_json(relations))
    return {row["name"]: row["problem"] for row in session.rows(FOREIGN_CODE)}


@pytest.fixture
def member(database, admin):
    admin.insert("hosts", name="nas", type="vm")
    with traps.planter(database) as session:
        yield session


@pytest.mark.parametrize("sort", traps.ON_TABLES)
def test_a_table_that_runs_code_is_named(database, admin, member, sort):
    # Those of ours would be named too.
    for table in ("hosts", "tasks"):
        for name in admin.values(
            f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal"
        ):
            admin.run(f"DROP TRIGGER {name} ON {table}")
    trap = traps.plant(member, sort)

    read, written = problems(admin, "hosts", "tasks"), problems(admin, "hosts", "tasks", written=True)
    traps.set_off(admin, trap)

    assert list(read) == ([] if sort in WRITTEN else ["hosts"]), read
    assert list(written) == ["hosts"], written
    assert "postgres" in traps.fired(database.cluster, trap), "the trap is not armed"


@pytest.mark.parametrize("sort", traps.BY_NAME)
def test_a_name_leads_past_the_servers_own(database, member, sort):
    trap = traps.plant(member, sort)

    traps.set_off(database.session("admin"), trap)

    assert "postgres" in traps.fired(database.cluster, trap), "the trap is not armed"


def test_our_own_tables_may_be_read(admin):
    names = admin.values("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")

    # The period of a price is compared by a range type of the schema's own, which nobody reads with a greater role's rights.
    assert set(problems(admin, *names)) == {"provider_pricing"}


def test_what_the_runs_and_backups_write_may_be_written(admin):
    assert problems(admin, "schema_migrations", "schema_repeatables", "backup_runs", written=True) == {}


def test_another_owner_and_a_table_that_is_not_there_are_named(admin):
    assert problems(admin, "hosts", "yachts", owner="postgres") == {
        "hosts": "belongs to mission_control_owner, not to postgres",
        "yachts": "does not exist",
    }


@pytest.mark.parametrize(
    "change", ["CREATE INDEX ON hosts (name)", "CREATE RULE r AS ON INSERT TO hosts DO ALSO NOTIFY x"]
)
def test_a_locked_table_stays_as_it_was_found(admin, member, change):
    member.run("SET lock_timeout = '50ms'")

    with admin.transaction():
        admin.run("SET TRANSACTION READ ONLY")
        admin.run(lock_statement("public", "hosts", may_write=True))
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            member.run(change)
