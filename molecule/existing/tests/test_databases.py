"""The databases on the servers, seen from the applications' hosts."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from sql_on_host import Login, RefusedError


class Place(NamedTuple):
    server: str
    database: str
    user: str
    schema: str
    administrator: str


PLACES = {
    "superuser": Place("postgresql15", "mission_control", "mission_control", "public", "dba"),
    "administrator15": Place("postgresql15", "lab", "lab", "public", "administrator"),
    "administrator17": Place("postgresql17", "mission_control", "mission_control", "control", "administrator"),
}
testinfra_hosts = list(PLACES)


@pytest.fixture
def place(host):
    return PLACES[host.check_output("hostname")]


@pytest.fixture
def application(host, place):
    return Login(host, place.user, "application-password", place.database, server=place.server)


def test_application_reaches_its_tables_without_naming_the_schema(application, place):
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'"
    assert application.value(tables, place.schema) >= 17
    assert application.value("SELECT count(*) FROM provider_pricing") >= 10
    application.rows("INSERT INTO tasks (title, created_by) VALUES ('Deploy', 'system')")


def test_application_cannot_change_the_schema_or_the_log(application):
    forbidden = ["CREATE TABLE mine (id integer)", "DROP TABLE hosts", "DELETE FROM audit_entries"]
    assert application.sqlstates(forbidden) == dict.fromkeys(forbidden, "42501")


def test_administrator_is_no_member_of_the_owners(application, place):
    """What the run needed for itself, it gave back: the server's administrator cannot write into the log by the way."""
    members = """
        SELECT owner.rolname
        FROM pg_auth_members AS membership
        JOIN pg_roles AS owner ON owner.oid = membership.roleid
        JOIN pg_roles AS member ON member.oid = membership.member
        WHERE member.rolname = %s AND owner.rolname LIKE '%%\\_audit'
          AND coalesce((to_jsonb(membership) ->> 'inherit_option')::boolean, true)
    """
    assert application.rows(members, place.administrator) == []


def test_a_neighbours_database_is_refused(application, place):
    for other in PLACES.values():
        if other.server == place.server and other.database != place.database:
            with pytest.raises(RefusedError, match="permission denied for database"):
                application.but(dbname=other.database).rows("SELECT 1")
