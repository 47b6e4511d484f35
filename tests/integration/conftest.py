"""Fixtures of the integration tests: one throw-away server for each test process, one database for each test."""

import contextlib
import itertools
import random
from pathlib import Path

import mission_control_database as layer
import pytest
import slow_parts
from attack_field import battlefield
from attack_seed import attack_seed
from restartable_cluster import RestartableCluster
from throwaway_cluster import ThrowawayCluster, other_versions, programs_of
from tool_field import tool_field_of

_numbers = itertools.count(1)
# The files that take longest, the longest first: a process that gets one of them last would leave the others idle at the end.
_LONGEST = (
    "test_database_changes.py",
    "test_database_passwords.py",
    "test_attack_secrets.py",
    "test_install.py",
    "test_database_remove.py",
    "test_health_module.py",
    "test_query_module.py",
    "test_attack_plays.py",
    "test_schema_dumps.py",
    "test_schema_role.py",
    "test_database_role.py",
    "test_database_service_role.py",
    "test_health_playbook.py",
    "test_database_plan.py",
    "test_run_output.py",
    "test_inventory_from_ansible.py",
    "test_inventory_plugin.py",
    "test_sql_drift.py",
    "test_service_openapi.py",
    "test_command_line_page.py",
    "test_sql_upgrade.py",
    "test_service_browser.py",
    "test_service_process.py",
    "test_command_line_process.py",
    "test_attack_outages.py",
)


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))
    parts = slow_parts.part_of_file(slow_parts.read_map())
    for item in items:
        if item.path.name in parts:
            item.add_marker(pytest.mark.slow(part=parts[item.path.name]))


# What starts processes of Ansible, of the command line or of a browser: too much for each version.
_PROCESS_HELPERS = {
    "ad_hoc",
    "command",
    "host_plays",
    "mcp_lab",
    "page_examples",
    "pgbackrest_lab",
    "playbook",
    "recorder_plays",
    "role_inputs",
    "selenium",
}
# And what takes long without them, or asks little of the server.
_ONE_VERSION_FILES = {
    "test_attack_inventory.py",
    "test_attack_kills.py",
    "test_attack_module_inputs.py",
    "test_attack_prices.py",
    "test_attack_tool_decisions.py",
    "test_attack_tool_races.py",
    "test_attack_tool_sites.py",
    "test_attack_tool_thieves.py",
    "test_attack_writers.py",
    "test_ledger_genai_prices.py",
    "test_recorder_load_kills.py",
    "test_service_openapi.py",
    "test_service_process.py",
    "test_tool_names.py",
}


def _speaks_sql_only(module):
    """Whether the tests of a module do nothing else: these run with the other versions of PostgreSQL too."""
    names = (getattr(each, "__module__", None) or getattr(each, "__name__", "") for each in vars(module).values())
    return (
        not _PROCESS_HELPERS.intersection(name.partition(".")[0] for name in names)
        and Path(module.__file__).name not in _ONE_VERSION_FILES
    )


def pytest_generate_tests(metafunc):
    if "server_version" in metafunc.fixturenames and other_versions() and _speaks_sql_only(metafunc.module):
        own = pytest.param(None, id=pytest.HIDDEN_PARAM)
        others = [
            pytest.param(
                each,
                id=f"PostgreSQL {each}",
                marks=pytest.mark.slow(part=f"postgresql-{each}", other_version=True),
            )
            for each in other_versions()
        ]
        metafunc.parametrize("server_version", [own, *others], indirect=True, scope="session")


@pytest.fixture(scope="session")
def server_version(request):
    """The version of PostgreSQL that servers are made of, None: this machine's own. What makes a server asks for it."""
    version = getattr(request, "param", None)
    with programs_of(version):
        yield version


@pytest.fixture(scope="session")
def for_each_version():
    """A function that makes something once for each version, since a process goes from one to the other with each file of tests."""
    made = {}
    with contextlib.ExitStack() as stack:

        def of(version, what, make):
            if (version, what) not in made:
                made[version, what] = stack.enter_context(make())
            return made[version, what]

        yield of


@pytest.fixture(scope="session")
def cluster(server_version, for_each_version):
    return for_each_version(server_version, "cluster", ThrowawayCluster)


@pytest.fixture(scope="session")
def template(cluster, server_version, for_each_version):
    """Name of a database with the whole schema, to be copied; nobody is connected to it."""
    return for_each_version(server_version, "template", lambda: _template(cluster))


@contextlib.contextmanager
def _template(cluster):
    layer.create_roles(cluster)
    database = layer.create_database(cluster, "mission_control_template")
    layer.provision(database)
    # The committed list grows old, which is no concern of the tests.
    database.session("owner").run("UPDATE price_lists SET read_on = (now() AT TIME ZONE 'UTC')::date")
    database.close()
    yield database.name


def _copy(cluster, template):
    return layer.create_database(cluster, f"mission_control_{next(_numbers)}", template)


@pytest.fixture
def absent_standby(cluster):
    """Commits of sessions that turn synchronous_commit on wait for a standby that is not there; all others of the server do without."""
    with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        cursor.execute("SELECT pg_reload_conf()")
        yield cursor
        cursor.execute("ALTER SYSTEM RESET synchronous_standby_names")
        cursor.execute("SELECT pg_reload_conf()")


@pytest.fixture
def database(cluster, template):
    """A database with the whole schema and the seed prices, of this test alone."""
    database = _copy(cluster, template)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def shared_database(cluster, template):
    """The same for tests that only read, or that do not mind each other's rows."""
    database = _copy(cluster, template)
    yield database
    database.drop()


@pytest.fixture
def admin(database):
    return database.session("admin")


@pytest.fixture
def application(database):
    return database.session("application")


@pytest.fixture
def owner(database):
    return database.session("owner")


@pytest.fixture
def writer_of_all(database):
    """A session of a role that may read and write all data, which an administrator can give to anybody."""
    session = database.session("admin")
    session.run("CREATE ROLE writer_of_all IN ROLE pg_write_all_data, pg_read_all_data")
    session.run("SET SESSION AUTHORIZATION writer_of_all")
    yield session
    session.run("RESET SESSION AUTHORIZATION")
    session.run("DROP ROLE writer_of_all")


@pytest.fixture(scope="session")
def field(server_version, for_each_version):
    """Where the attacks take place: a server of their own, whose roles may do what no test of others should meet."""
    return for_each_version(server_version, "field", battlefield)


@pytest.fixture(scope="module")
def tool_field(cluster, template):
    """Where the calls of tools are attacked: see there."""
    with tool_field_of(cluster, template) as field:
        yield field


@pytest.fixture
def victim(field):
    """A session of the application on the field; what it waits for shows as SQLSTATE 55P03."""
    with contextlib.closing(field.login("application")) as session:
        session.run("SET lock_timeout = '5s'")
        yield session


@pytest.fixture
def attacker(field, role):
    """A session of the role that a test is parametrised with."""
    with contextlib.closing(field.login(role)) as session:
        yield session


@pytest.fixture
def dice():
    return random.Random(attack_seed())


@pytest.fixture
def restartable():
    """A database on a server of its own, which may be killed."""
    with RestartableCluster() as cluster:
        layer.create_roles(cluster)
        database = layer.create_database(cluster, "mission_control")
        layer.provision(database)
        # The throw-away server acknowledges before it writes; what is killed is not to be that.
        database.session().run("CHECKPOINT")
        database.close()
        yield database
        database.close()
