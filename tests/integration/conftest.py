"""Fixtures of the integration tests: one throw-away server for each test process, one database for each test."""

import contextlib
import itertools

import mission_control_database as layer
import pytest
from attack_field import battlefield
from throwaway_cluster import ThrowawayCluster

_numbers = itertools.count(1)
# The files that take longest, the longest first: a process that gets one of them last would leave the others idle at the end.
_LONGEST = (
    "test_schema_role.py",
    "test_database_role.py",
    "test_database_passwords.py",
    "test_attack_secrets.py",
    "test_install.py",
    "test_database_remove.py",
    "test_health_module.py",
    "test_query_module.py",
    "test_attack_plays.py",
    "test_database_service_role.py",
    "test_health_playbook.py",
    "test_database_plan.py",
    "test_service_browser.py",
    "test_service_process.py",
    "test_command_line_process.py",
    "test_attack_outages.py",
)


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(scope="session")
def cluster():
    with ThrowawayCluster() as server:
        yield server


@pytest.fixture(scope="session")
def template(cluster):
    """Name of a database with the whole schema, to be copied; nobody is connected to it."""
    layer.create_roles(cluster)
    database = layer.create_database(cluster, "mission_control_template")
    layer.provision(database)
    database.close()
    return database.name


def _copy(cluster, template):
    return layer.create_database(cluster, f"mission_control_{next(_numbers)}", template)


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
def field():
    """Where the attacks take place: a server of their own, whose roles may do what no test of others should meet."""
    with battlefield() as field:
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
