"""Tools for tests of migration runs: a database of its own and a directory of few small SQL files, migrated by a play or without one."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace
from pathlib import Path

import mission_control_database as layer
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.schema import (
    read_price_list,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    SITE,
    read_migrations,
    read_repeatables,
)
from host_plays import HostRun, run_on_hosts
from migration_run import MigrationRun
from playbook import ROOT, run_playbook

PASSWORD = "administrator"
MINIMAL = {
    "migrations/001_first.sql": "CREATE TABLE first (id integer PRIMARY KEY);",
    "migrations/002_second.sql": "CREATE TABLE second (id integer PRIMARY KEY);",
    "migrations/003_third.sql": "CREATE TABLE third (id integer PRIMARY KEY);",
    "repeatable/001_prices.sql": """
        CREATE OR REPLACE FUNCTION apply_provider_prices(prices jsonb, origin text) RETURNS integer
        LANGUAGE sql SET search_path FROM CURRENT AS $$ SELECT jsonb_array_length(prices) $$;
        """,
    "repeatable/002_view.sql": "CREATE OR REPLACE VIEW answer AS SELECT 41 AS answer;",
    "seed/provider_pricing.yml": "prices: []\n",
    "privileges.yml": "defaults: {tables: {}, sequences: {}, functions: {}}\nobjects: []\n",
}


class SchemaLab:
    """A database of its own and a directory of SQL files of its own."""

    def __init__(self, cluster, tmp_path: Path, template: str = "template1") -> None:
        self.cluster = cluster
        self.database = f"lab_{uuid.uuid4().hex[:12]}"
        self.sql = tmp_path / "sql"
        self.home = tmp_path
        connection = cluster.connect()
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.database} TEMPLATE {template}")
        connection.close()
        self.query(
            # Before PostgreSQL 15 everybody may create there.
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC; "
            "GRANT USAGE, CREATE ON SCHEMA public TO mission_control_owner, mission_control_audit"
        )
        self.write(MINIMAL)
        (self.sql / "runner").symlink_to(ROOT / "files/sql/runner")
        (self.sql / "plan").symlink_to(ROOT / "files/sql/plan")

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.sql / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        (self.sql / name).unlink()

    def query(self, sql: str) -> list[tuple]:
        connection = self.cluster.connect(self.database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def tables(self) -> set[str]:
        names = self.query(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'schema\\_%'"
        )
        return {name for (name,) in names}

    def applied(self) -> list[str]:
        if self.query("SELECT to_regclass('public.schema_migrations')") == [(None,)]:
            return []
        return [name for (name,) in self.query("SELECT name FROM schema_migrations ORDER BY origin, version")]

    def migration(self, user: str = "postgres", lock_timeout_ms: int = 5000, site: Path | None = None) -> MigrationRun:
        """A run of the files as they are now, without a play."""
        files = read_migrations(str(self.sql / "migrations"))
        if site:
            files += read_migrations(str(site), SITE)
        return MigrationRun(
            self.cluster,
            self.database,
            files,
            user,
            settings=replace(layer.SETTINGS, lock_timeout_ms=lock_timeout_ms),
            repeatables=read_repeatables(str(self.sql / "repeatable")),
            seed=read_price_list((self.sql / "seed/provider_pricing.yml").read_text(encoding="utf-8")),
            privileges=(self.sql / "privileges.yml").read_text(encoding="utf-8"),
        )

    def variables(self, **more) -> dict:
        return {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": "127.0.0.1",
            "mission_control_postgresql_port": self.cluster.port,
            "mission_control_login_password": PASSWORD,
            "mission_control_database_name": self.database,
            "__mission_control_schema_sql": str(self.sql),
            # Of the collection's own migrations.
            "mission_control_schema_seed_tools": False,
            **more,
        }

    def run(self, *arguments: str, playbook: str = "playbooks/migrate.yml", **more):
        return run_playbook(playbook, self.variables(**more), *arguments, home=self.home)


def run_as_hosts(cases: list[tuple[SchemaLab, dict]], *arguments: str) -> list[HostRun]:
    """Migrate each lab with further variables, all in one play."""
    hosts = [{**lab.variables(**variables), "sql_of_the_lab": str(lab.sql)} for lab, variables in cases]
    # A variable of the role wins over those of a host, and only an extra one over it.
    extra = {"__mission_control_schema_sql": "{{ sql_of_the_lab }}"}
    return run_on_hosts(Path("playbooks/migrate.yml"), hosts, *arguments, home=cases[0][0].home, variables=extra)


@contextlib.contextmanager
def keeper(lab: SchemaLab):
    """Give the lab's database to an administrator without superuser, with the password `keeper`."""
    lab.query("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'")
    lab.query(f"ALTER DATABASE {lab.database} OWNER TO keeper")
    version = int(lab.query("SHOW server_version_num")[0][0])
    if version >= 160000:
        lab.query(
            "GRANT mission_control_owner, mission_control_audit TO keeper WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
        )
    if version < 150000:
        # From 15 on the schema public belongs to whoever owns the database.
        lab.query("ALTER SCHEMA public OWNER TO keeper")
    lab.write({"migrations/003_third.sql": "-- role: audit\nCREATE TABLE third (id integer);"})
    yield
    lab.query("REASSIGN OWNED BY keeper TO postgres; DROP OWNED BY keeper; DROP ROLE keeper")


def memberships(lab: SchemaLab) -> list[tuple]:
    """Which of the owners the keeper is a member of."""
    return lab.query(
        """
        SELECT r.rolname FROM pg_roles AS r
        WHERE r.rolname IN ('mission_control_owner', 'mission_control_audit') AND pg_has_role('keeper', r.oid, 'USAGE')
        """
    )


def create_roles(cluster) -> None:
    """The roles that the files need, and a password for the administrator, who logs in over TCP in a play."""
    layer.create_roles(cluster)
    with contextlib.closing(cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER ROLE postgres PASSWORD %s", [PASSWORD])
