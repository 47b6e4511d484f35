"""A primary and its standby as one server of mode `existing`, by the list of both: the standby first, and after a promotion the primary gone."""

import contextlib
import getpass
import grp
import os
import re

import psycopg2
import pytest
from playbook import run_playbook
from replication_lab import Member, Standby

ADMINISTRATOR = "administrator-secret"
STANDBY, PRIMARY = "127.0.0.2", "127.0.0.1"
NEXT = "-- Add a table of the homelab's own.\nCREATE TABLE lab_notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);\n"


class Neighbour(Standby):
    """A standby at another address with the port of its primary, since all servers of a list have one port."""

    def _start(self):
        self.port = self.primary.port
        assert self._started_on_port()


@pytest.fixture
def servers():
    with Member() as primary:
        # Who is no superuser finds out by logging in whether a login has its password.
        primary.query(f"CREATE ROLE keeper LOGIN CREATEROLE CREATEDB PASSWORD '{ADMINISTRATOR}'")
        with Neighbour(primary, listen_addresses=STANDBY) as standby:
            yield primary, standby


@pytest.fixture
def provision(servers, tmp_path):
    """Run a playbook with the list of both, the standby first: provision("site.yml", "--check", name="value")."""

    def run(playbook="site.yml", *arguments, **variables):
        inputs = {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": [STANDBY, PRIMARY],
            "mission_control_login_port": servers[0].port,
            "mission_control_login_user": "keeper",
            "mission_control_login_password": ADMINISTRATOR,
            "mission_control_database_readonly_login": True,
            "mission_control_database_monitor_memberships": [],
            "mission_control_database_password_directory": str(tmp_path / "passwords"),
            "mission_control_database_env_file": str(tmp_path / "database.env"),
            "mission_control_database_env_file_owner": getpass.getuser(),
            "mission_control_database_env_file_group": grp.getgrgid(os.getegid()).gr_name,
            **variables,
        }
        return run_playbook(playbook, inputs, *arguments, home=tmp_path).succeeded()

    return run


def test_every_run_finds_the_primary(servers, provision, tmp_path):
    primary, standby = servers
    assert re.search(rf"Server: PostgreSQL \S+ on {STANDBY},{PRIMARY}, port {primary.port}", provision().output)
    assert provision().recap["changed"] == 0
    lines = (tmp_path / "database.env").read_text(encoding="utf-8").splitlines()
    assert {f"POSTGRES_HOST='{STANDBY},{PRIMARY}'", "POSTGRES_TARGET_SESSION_ATTRS='read-write'"} <= set(lines)
    standby.wait_until_caught_up()
    standby.promote()
    primary.kill()
    # An upgrade of the collection, a password and the last dump, all on the primary that there is now.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "001_notes.sql").write_text(NEXT, encoding="utf-8")
    changes = {
        "mission_control_database_password": "the-next-password",
        "mission_control_schema_site_directory": str(tmp_path / "site"),
    }
    assert provision(**changes).recap["changed"] > 0
    assert provision(**changes).recap["changed"] == 0
    login = {
        "host": f"{PRIMARY},{STANDBY}",
        "port": standby.port,
        "user": "mission_control",
        "dbname": "mission_control",
    }
    with (
        contextlib.closing(psycopg2.connect(**login, password="the-next-password")) as session,
        session.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM lab_notes")
        assert cursor.fetchone() == (0,)
    dump = tmp_path / "last.dump"
    provision(
        "playbooks/remove.yml",
        mission_control_database_remove_confirm="mission_control",
        mission_control_database_remove_dump=str(dump),
    )
    assert dump.read_bytes().startswith(b"PGDMP")
    assert standby.query("SELECT FROM pg_database WHERE datname = 'mission_control'") == []
