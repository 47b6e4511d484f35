"""The whole schema in a throw-away cluster, with the true roles and privileges, made by the collection's own SQL."""

import contextlib
import copy
import functools
import json
import pathlib

import psycopg2
import psycopg2.extras
import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.schema import (
    read_price_list,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    read_migrations,
    read_repeatables,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import (
    RunnerSettings,
    migration_batches,
    repeatable_script,
)

SQL = pathlib.Path(__file__).parents[2] / "files" / "sql"
ROLES = {
    "owner": "mission_control_owner",
    "audit": "mission_control_audit",
    "application": "mission_control",
    "readonly": "mission_control_readonly",
    "monitor": "mission_control_monitor",
    "service": "mission_control_service",
    "maintenance": "mission_control_maintenance",
    "executor": "mission_control_executor",
    "approver": "mission_control_approver",
}
SETTINGS = RunnerSettings("public", ROLES["owner"], ROLES["audit"])

psycopg2.extensions.register_adapter(dict, psycopg2.extras.Json)
# How the role begins each of its transactions.
_BEGIN = yaml.safe_load((SQL.parents[1] / "roles/mission_control_database/vars/main.yml").read_text(encoding="utf-8"))[
    "__mission_control_database_begin"
]


def read_sql(path):
    return (SQL / path).read_text(encoding="utf-8")


@functools.cache
def _parsed(text):
    return yaml.safe_load(text)


def parsed(text):
    """What YAML says, of one's own; parsed but once, which takes longer than to plan the privileges in it."""
    return copy.deepcopy(_parsed(text))


def seed_list():
    return read_price_list(read_sql("seed/provider_pricing.yml"))


def seed_prices():
    return parsed(read_sql("seed/provider_pricing.yml"))["prices"]


def wanted(name):
    """What the planner's queries compare a server with; the roles may all log in but for the two owners."""
    return {
        "schema": "public",
        "roles": [
            {
                "key": key,
                "name": role,
                "login": key not in ("owner", "audit"),
                "inherit": key in ("readonly", "monitor", "service"),
                "connection_limit": -1,
                "comment": f"Mission Control: {key}",
                "settings": {},
            }
            for key, role in ROLES.items()
        ],
        "database": {
            "name": name,
            "owner": "postgres",
            "locale": "",
            "tablespace": "",
            "connection_limit": -1,
            "comment": "Mission Control",
            "settings": {},
            "privileges": {
                key: ["CONNECT"]
                for key in ("application", "readonly", "monitor", "service", "maintenance", "executor", "approver")
            },
        },
        "privileges": parsed(read_sql("privileges.yml")),
    }


class Session:
    """A connection in autocommit mode with short names for what tests do."""

    def __init__(self, connection):
        self.connection = connection

    def close(self):
        self.connection.close()

    def run(self, sql, *parameters):
        """Execute, and return the number of rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.rowcount

    def rows(self, sql, *parameters):
        with self.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(sql, parameters or None)
            return [{name: _plain(value) for name, value in row.items()} for row in cursor]

    def row(self, sql, *parameters):
        (row,) = self.rows(sql, *parameters)
        return row

    def value(self, sql, *parameters):
        (value,) = self.row(sql, *parameters).values()
        return value

    def values(self, sql, *parameters):
        return [next(iter(row.values())) for row in self.rows(sql, *parameters)]

    def insert(self, table, **columns):
        """Insert a row and return it as it was stored."""
        names = psycopg2.extensions.quote_ident
        into = ", ".join(names(column, self.connection) for column in columns)
        holders = ", ".join(["%s"] * len(columns))
        return self.row(
            f"INSERT INTO {names(table, self.connection)} ({into}) VALUES ({holders}) RETURNING *", *columns.values()
        )

    @contextlib.contextmanager
    def transaction(self, isolation="READ COMMITTED"):
        self.run(f"BEGIN ISOLATION LEVEL {isolation}")
        try:
            yield self
        except BaseException:
            self.run("ROLLBACK")
            raise
        self.run("COMMIT")


def _plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


class Database:
    """A database of the cluster; its sessions are closed with it."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self._sessions = []

    def session(self, role="admin"):
        """A session of the superuser (admin) or of one of our roles; of the owners, which cannot log in, by assuming one."""
        user = "postgres" if role in ("admin", "owner", "audit") else ROLES[role]
        session = Session(self.cluster.connect(self.name, user))
        if role in ("owner", "audit"):
            session.run(f"SET SESSION AUTHORIZATION {ROLES[role]}")
        self._sessions.append(session)
        return session

    def close(self):
        for session in self._sessions:
            session.close()
        self._sessions = []

    def drop(self):
        self.close()
        with contextlib.closing(Session(self.cluster.connect())) as admin:
            admin.run(f"DROP DATABASE {self.name} WITH (FORCE)")


def create_roles(cluster):
    with contextlib.closing(cluster.connect()) as connection:
        carry_out(connection, wanted("postgres"), ["plan/roles.sql"], ["roles"])


def create_database(cluster, name, template="template0"):
    with contextlib.closing(Session(cluster.connect())) as admin:
        # Without fsync files are copied sooner than rows are logged; up to 14 there is no other way.
        strategy = "STRATEGY file_copy" if admin.connection.server_version >= 150000 else ""
        admin.run(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")
    return Database(cluster, name)


def provision(database, migrations=None):
    """Schema privileges, migrations, repeatable files and seed prices, privileges on the objects."""
    apply_privileges(database)
    apply_migrations(database, read_migrations(str(SQL / "migrations")) if migrations is None else migrations)
    apply_repeatables(database, migrations)
    apply_privileges(database)


def apply_privileges(database):
    with contextlib.closing(database.cluster.connect(database.name)) as connection:
        carry_out(
            connection,
            wanted(database.name),
            ["plan/roles.sql", "plan/strangers.sql", "plan/schema_privileges.sql"],
            ["database", "schema"],
        )


def apply_migrations(database, migrations):
    for batch in migration_batches(read_sql("runner/session.sql"), migrations, SETTINGS):
        with contextlib.closing(Session(database.cluster.connect(database.name))) as admin:
            for statement in batch:
                with admin.connection.cursor() as cursor:
                    cursor.execute(statement)
                    outcome = cursor.fetchone()[0] if cursor.description else None
                if isinstance(outcome, dict) and outcome.get("outcome") == "failed":
                    raise AssertionError(f"{outcome['name']}: {outcome['message']}")


def apply_repeatables(database, migrations=None):
    script = repeatable_script(
        read_sql("runner/session.sql"),
        read_migrations(str(SQL / "migrations")) if migrations is None else migrations,
        read_repeatables(str(SQL / "repeatable")),
        [seed_list()],
        SETTINGS,
        "00000000-0000-0000-0000-000000000000",
    )
    with contextlib.closing(Session(database.cluster.connect(database.name))) as admin:
        admin.run(script)


def carry_out(connection, what, plans, stages):
    """Plan and carry out, as the database role does; returns the reasons of what was done."""
    connection.autocommit = False
    with connection, connection.cursor() as cursor:
        for statement in ("SET TRANSACTION READ WRITE", *_BEGIN):
            cursor.execute(statement)
        for name, value in (
            ("wanted", what),
            ("plans", [read_sql(plan) for plan in plans]),
            ("stages", stages),
        ):
            cursor.execute("SELECT set_config('mission_control.' || %s, %s, true)", (name, json.dumps(value)))
        cursor.execute(read_sql("plan/apply.sql"))
        cursor.execute("SELECT current_setting('mission_control.applied')")
        return json.loads(cursor.fetchone()[0])
