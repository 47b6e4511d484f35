"""Tools for tests of the role mission_control_database: names of their own on a throw-away server, plans and plays."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import psycopg2
import yaml
from host_plays import HostRun, run_on_hosts
from playbook import ROOT, run_playbook

PLAN = ROOT / "files/sql/plan"
PLANS = ("roles", "strangers", "schema_privileges")
ROLE_KEYS = ("owner", "audit", "application", "readonly", "monitor", "service", "maintenance", "executor", "approver")
ADMINISTRATOR_PASSWORD = "administrator-secret"
PLAY = """
- name: Database
  hosts: mission_control
  gather_facts: false
  roles:
    - role: homelab.mission_control.mission_control_database
  post_tasks:
    - name: Say how it is reached
      ansible.builtin.debug:
        var: mission_control_database_access
"""
_numbers = itertools.count(1)


class DatabaseLab:
    """A database and the roles of one test, by names that no other test has."""

    def __init__(self, cluster, home: Path, user: str = "postgres") -> None:
        self.cluster = cluster
        self.home = home
        self.user = user
        self.name = f"lab_{next(_numbers)}"
        self.roles = {key: f"{self.name}_{key}" for key in ROLE_KEYS}
        self.file = home / "passwords" / f"{self.roles['application']}.password"
        self.playbook = home / "play.yml"
        self.playbook.write_text(PLAY, encoding="utf-8")

    @property
    def variables(self):
        return {
            "mission_control_login_host": "127.0.0.1",
            "mission_control_postgresql_port": self.cluster.port,
            "mission_control_login_user": self.user,
            "mission_control_login_password": ADMINISTRATOR_PASSWORD,
            "mission_control_database_name": self.name,
            "mission_control_database_owner_role": self.roles["owner"],
            "mission_control_database_audit_role": self.roles["audit"],
            "mission_control_database_user": self.roles["application"],
            "mission_control_database_readonly_role": self.roles["readonly"],
            "mission_control_database_monitor_role": self.roles["monitor"],
            "mission_control_database_service_role": self.roles["service"],
            "mission_control_database_maintenance_role": self.roles["maintenance"],
            "mission_control_database_executor_role": self.roles["executor"],
            "mission_control_database_approver_role": self.roles["approver"],
            "mission_control_database_password_directory": str(self.home / "passwords"),
        }

    def run(self, *arguments, **variables):
        return run_playbook(self.playbook, {**self.variables, **variables}, *arguments, home=self.home)

    def query(self, sql, values=None, database=None):
        """Rows of a statement that a superuser runs, in the lab's database unless another is named."""
        connection = self.cluster.connect(database or self.name)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    @property
    def version(self):
        return int(self.query("SHOW server_version_num", database="postgres")[0][0])

    def exists(self):
        return bool(self.query("SELECT 1 FROM pg_database WHERE datname = %s", [self.name], "postgres"))

    def existing_roles(self):
        rows = self.query(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) ORDER BY 1", [list(self.roles.values())], "postgres"
        )
        return [row[0] for row in rows]

    def make_neighbour(self):
        """Name of a database beside ours to which only its owner may connect."""
        name = f"{self.name}_neighbour"
        self.query(f"CREATE DATABASE {name}", database="postgres")
        self.query(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC", database="postgres")
        return name

    def verifier(self, key="application"):
        return self.query("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [self.roles[key]], "postgres")[0][0]

    def log_in(self, password, key="application", database=None):
        """What the role is called after it has logged in over TCP with a password."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.cluster.port,
            user=self.roles[key],
            password=password,
            dbname=database or self.name,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_user")
                return cursor.fetchone()[0]
        finally:
            connection.close()

    # Plans without Ansible, for the many cases that need no play ----------------------------------------------------------

    def wanted(self, **changes):
        login = {"application"}
        roles = [
            {
                "key": key,
                "name": self.roles[key],
                "login": key in login,
                "inherit": key in ("readonly", "monitor", "service"),
                "connection_limit": -1,
                "comment": f"the {key}'s role",
                "memberships": ["pg_monitor"] if key == "monitor" else [],
                "settings": {"statement_timeout": "30s"} if key in login else {},
            }
            for key in ROLE_KEYS
        ]
        return {
            "schema": "public",
            "roles": roles,
            "database": {
                "name": self.name,
                "owner": "",
                "connection_limit": -1,
                "comment": "a lab",
                "settings": {"search_path": None, "mission_control.reporting_time_zone": None},
                "privileges": {
                    "application": ["CONNECT"],
                    "readonly": ["CONNECT"],
                    "monitor": ["CONNECT"],
                    "service": ["CONNECT"],
                    "maintenance": ["CONNECT"],
                    "executor": ["CONNECT"],
                    "approver": ["CONNECT"],
                },
            },
            "privileges": {
                "defaults": {
                    "tables": {"application": ["SELECT", "INSERT", "UPDATE", "DELETE"], "readonly": ["SELECT"]},
                    "sequences": {"application": ["USAGE"]},
                    "functions": {},
                },
                "objects": [
                    {
                        "name": "events",
                        "kind": "table",
                        "application": ["SELECT", "INSERT (a, b)"],
                        "readonly": ["SELECT"],
                        "service": ["SELECT (a)", "SELECT (b)"],
                    },
                    {"name": "audit", "kind": "table", "application": ["INSERT (a)"], "owner": ["SELECT"]},
                    {"name": "audit_id_seq", "kind": "sequence"},
                    {"name": "verify(bigint, bytea)", "kind": "function", "monitor": ["EXECUTE"]},
                    {"name": "not_there_yet", "kind": "table", "application": ["SELECT"]},
                ],
            },
            **changes,
        }

    def plan(self, wanted, *names, database=None):
        """(stage, reason, statement) of planner queries."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET search_path = pg_catalog, pg_temp")
                cursor.execute(
                    "SELECT set_config('mission_control.wanted', %s, false), set_config('jit', 'off', false)",
                    [json.dumps(wanted)],
                )
                rows = []
                for name in names or PLANS:
                    cursor.execute((PLAN / f"{name}.sql").read_text(encoding="utf-8"))
                    rows += [(row[1], row[3], row[4]) for row in cursor.fetchall()]
                return rows
        finally:
            connection.close()

    def carry_out(self, wanted, *names, stages=("roles", "database", "schema"), database=None, lock_timeout="60s"):
        """Reasons of what apply.sql did."""
        plans = [(PLAN / f"{name}.sql").read_text(encoding="utf-8") for name in names or PLANS]
        connection = self.connect(database)
        connection.autocommit = False
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL search_path = pg_catalog, pg_temp")
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [lock_timeout])
                for name, value in (("wanted", wanted), ("plans", plans), ("stages", list(stages))):
                    cursor.execute("SELECT set_config(%s, %s, true)", [f"mission_control.{name}", json.dumps(value)])
                cursor.execute((PLAN / "apply.sql").read_text(encoding="utf-8"))
                cursor.execute("SELECT current_setting('mission_control.applied')::jsonb")
                done = cursor.fetchone()[0]
            connection.commit()
            return done
        finally:
            connection.close()

    def connect(self, database=None):
        """As the administrator; over the socket, where no password is asked for."""
        return self.cluster.connect(database or self.name, self.user)

    def make(self, wanted=None):
        """Roles, database and privileges, without a play."""
        wanted = wanted or self.wanted()
        if self.user != "postgres" and self.version < 150000 and not self.exists():
            # The schema public of a new database belongs to the superuser there: an administrator who is none is given one.
            self.query(
                f"CREATE DATABASE {self.name} OWNER {self.user} TEMPLATE template0 ENCODING 'UTF8'", database="postgres"
            )
            self.query(f"ALTER SCHEMA public OWNER TO {self.user}")
        self.carry_out(wanted, "roles", stages=["roles"], database="postgres")
        create = [row[2] for row in self.plan(wanted, "roles", database="postgres") if row[0] == "create_database"]
        for statement in create:
            connection = self.connect("postgres")
            with connection.cursor() as cursor:
                cursor.execute(statement)
            connection.close()
        if create and self.version < 150000:
            # What a superuser does on 14 for an administrator who is none, and what later versions begin with.
            self.query("ALTER SCHEMA public OWNER TO pg_database_owner")
        self.carry_out(wanted)
        return self

    def make_objects(self):
        """One of each kind, by their owners."""
        self.query(
            f"""
            SET ROLE {self.roles["owner"]};
            CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY, a integer, b integer);
            CREATE TABLE events (a integer, b integer, c integer);
            CREATE VIEW look AS SELECT a FROM plain;
            CREATE DOMAIN word AS text;
            CREATE FUNCTION verify(bigint, bytea) RETURNS integer LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION helper() RETURNS integer LANGUAGE sql AS 'SELECT 1';
            SET ROLE {self.roles["audit"]};
            CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY, a integer, b integer);
            """
        )

    def may(self, key, thing, privilege):
        """Whether a role has a privilege on a table, or on one of its columns written as table.column."""
        table, _, column = thing.partition(".")
        if column:
            return self.query(
                "SELECT has_column_privilege(%s, %s, %s, %s)", [self.roles[key], table, column, privilege]
            )[0][0]
        return self.query("SELECT has_table_privilege(%s, %s, %s)", [self.roles[key], table, privilege])[0][0]


def run_together(labs: list[DatabaseLab], *arguments, **variables) -> list[HostRun]:
    """What becomes of each lab, as the hosts of one play."""
    hosts = [{**lab.variables, **variables} for lab in labs]
    return run_on_hosts(labs[0].playbook, hosts, *arguments, home=labs[0].home)


def prepare_cluster(server):
    """Let the administrator log in over TCP, and make one that is no superuser."""
    connection = server.connect()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER ROLE postgres PASSWORD '{ADMINISTRATOR_PASSWORD}'")
        for name, options in (("keeper", "INHERIT"), ("keeper_noinherit", "NOINHERIT")):
            cursor.execute(
                f"CREATE ROLE {name} LOGIN CREATEROLE CREATEDB {options} PASSWORD '{ADMINISTRATOR_PASSWORD}'"
            )
            cursor.execute("SELECT current_setting('server_version_num')::integer >= 160000")
            if cursor.fetchone()[0]:
                cursor.execute(f"GRANT pg_monitor TO {name} WITH ADMIN OPTION")
    connection.close()


def bundle_privileges():
    return yaml.safe_load((ROOT / "files/sql/privileges.yml").read_text(encoding="utf-8"))
