"""Every step of the playbooks, as the server's log has it: no name in an administrator's session leads to what others have made.

The statements are not listed here. They are what the runs have really sent, so that a step which is added later is tried, too.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

import mission_control_database as layer
import pytest
import traps
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.objects import TABLES, VIEWS
from playbook import run_playbook
from throwaway_cluster import ThrowawayCluster

DATABASE = "mission_control"
PASSWORD = "administrator"
ADMINISTRATORS = ("postgres", "steps_administrator")
_LINE = re.compile(r"^LINE (\d+) (\S*) (\S*) (?:LOG|ERROR|STATEMENT|DETAIL|HINT|CONTEXT|WARNING|FATAL):  (.*)$")
_STATEMENT = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)
# What the drivers send by themselves; none of it looks up a name that anybody could make.
_HARMLESS = re.compile(
    r"\s*(SELECT 1|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET\s+(LOCAL\s+|SESSION\s+)?[a-z_]+\s*(=|TO)\s*[^;]*|SET (LOCAL )?ROLE NONE"
    r"|SET TRANSACTION [A-Z, ]+|(SAVEPOINT|ROLLBACK TO SAVEPOINT) \w+)?\s*",
    re.IGNORECASE,
)
_BINDS = re.compile(
    r"SET (LOCAL )?search_path\s*(=|TO)\s*'?pg_catalog|pg_catalog\.set_config\('search_path',\s*'pg_catalog",
    re.IGNORECASE,
)


@dataclass
class Steps:
    """A server that logs every statement, and a provisioned database on it."""

    cluster: ThrowawayCluster
    home: object

    def play(self, playbook, user="postgres", **variables):
        place = {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": "127.0.0.1",
            "mission_control_postgresql_port": self.cluster.port,
            "mission_control_login_user": user,
            "mission_control_login_password": PASSWORD,
            "mission_control_database_name": DATABASE,
            "mission_control_database_password_directory": str(self.home / "passwords"),
            "mission_control_schema_dump_directory": str(self.home / "dumps"),
        }
        return run_playbook(playbook, {**place, **variables}, home=self.home)

    def sessions(self):
        """Statements of each administrator's session that the log holds, by process and database."""
        found, last = {}, None
        with open(self.cluster.log_file, encoding="utf-8", errors="replace") as log:
            for line in log:
                head = _LINE.match(line)
                if head is None:
                    if last is not None and line.startswith("\t"):
                        last[-1] += "\n" + line[1:].rstrip("\n")
                    continue
                process, user, database, text = head.groups()
                statement = _STATEMENT.match(text)
                last = None
                if statement and user in ADMINISTRATORS:
                    last = found.setdefault((process, database), [])
                    last.append(statement[1])
        return found


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """The log of a first run, of one that has something of each kind to do, of status, health and a removal that is only shown."""
    home = tmp_path_factory.mktemp("steps")
    site = home / "site_local"
    site.mkdir()
    with ThrowawayCluster(log_line_prefix="LINE %p %u %d ") as cluster:
        with contextlib.closing(layer.Session(cluster.connect())) as admin:
            admin.run(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
            admin.run("ALTER SYSTEM SET log_statement = 'all'")
            admin.run("SELECT pg_reload_conf()")
        steps = Steps(cluster, home)
        steps.site = {"mission_control_schema_site_directory": str(site)}
        steps.play("playbooks/provision.yml").succeeded()
        steps.marker = len(steps.sessions())
        # Something to do for each part of the next run: a file of its own kind each, a function that was changed, privileges, a setting.
        (site / "001_table.sql").write_text("CREATE TABLE own_table (id integer);")
        (site / "002_index.sql").write_text(
            "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS ix_own_table ON own_table (id);"
        )
        steps.touch = lambda: _give_everything_to_do(cluster)
        yield steps


def _give_everything_to_do(cluster):
    with contextlib.closing(layer.Session(cluster.connect(DATABASE))) as admin:
        admin.run(
            "ALTER FUNCTION prune_llm_bodies(timestamptz) SECURITY INVOKER; GRANT DELETE ON audit_head TO mission_control;"
            "ALTER TABLE hosts DISABLE TRIGGER tr_hosts_updated_at; ALTER ROLE mission_control RESET ALL;"
            "UPDATE schema_repeatables SET checksum = 'old'"
        )


PLAYS = (
    "playbooks/provision.yml",
    "playbooks/status.yml",
    "playbooks/migrate.yml",
    "playbooks/health.yml",
    "playbooks/remove.yml",
)


def test_attack_traps_in_every_table_of_the_owner(steps):
    """All sorts at once, in all tables that a member of the owner may change, but for the bookkeeping: a run stops there at once."""
    database = layer.Database(steps.cluster, DATABASE)
    planted = []
    # Who plants them logs in as itself.
    database.session("admin").run(f"GRANT CONNECT ON DATABASE {DATABASE} TO PUBLIC")
    with traps.planter(database) as session:
        tables = session.values(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND relowner = 'mission_control_owner'::regrole AND relname NOT LIKE 'schema\\_%' ORDER BY 1"
        )
        assert {"hosts", "task_runs", "token_usage", "provider_pricing"} <= set(tables)
        for table in tables:
            for sort in ("index expression", "statistics", "policy", "trigger", "constraint"):
                planted.append(traps.plant(session, sort, table))
        planted += [traps.plant(session, sort) for sort in traps.BY_NAME]
        lesser = {"mission_control_owner", session.value("SELECT session_user")}
        steps.touch()
        for play in PLAYS:
            steps.play(play, **(steps.site if play != "playbooks/health.yml" else {}))
        log = "\n".join(" ".join(statements) for statements in steps.sessions().values())
        assert "CREATE INDEX CONCURRENTLY" in log
        # The log holds the text of the traps, too, in which the names are still to be put in.
        lesser.add("%")
        assert {user for trap in planted for user in traps.fired(steps.cluster, trap, but=lesser)} == set()
        # The control: armed they were, all the time.
        admin = database.session("admin")
        admin.run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC")
        armed = [
            trap
            for trap in planted
            if "public.provider_pricing" in trap.control or ("{" not in trap.control and "public." not in trap.control)
        ]
        assert len(armed) >= 8
        for trap in armed:
            traps.set_off(admin, trap)
            assert traps.fired(steps.cluster, trap, but=lesser), trap
    database.close()


def test_every_session_of_an_administrator_binds_its_names_before_anything_else(steps):
    loose = []
    for (_process, database), statements in steps.sessions().items():
        for statement in statements:
            if _BINDS.search(statement.split("SELECT pg_temp", 1)[0][:2000]):
                break
            if not _HARMLESS.fullmatch(statement.rstrip(";")):
                loose.append((database, statement[:200]))
                break
    # The tests' own sessions are the administrator's, too: those say what they want without a schema.
    ours = [each for each in loose if not _of_the_tests(each[1])]
    assert ours == []


def _of_the_tests(statement):
    return statement.startswith(
        ("ALTER", "GRANT", "CREATE ROLE", "UPDATE schema_repeatables", "SELECT relname", "DROP OWNED")
    )


# Strings in both forms and comments, each from where it begins: an apostrophe in a comment begins no string.
_TEXT = re.compile(
    r"""\$(\w*)\$.*?\$\1\$|--[^\n]*|E'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'""",
    re.DOTALL,
)


def test_no_session_of_an_administrator_names_a_table_of_ours_without_its_schema(steps):
    names = "|".join((*TABLES, *VIEWS))
    # In what is executed as it stands; the text of files and functions is data of such a statement.
    found = set()
    for statements in steps.sessions().values():
        for statement in statements:
            if _of_the_tests(statement):
                continue
            code = _TEXT.sub("''", statement)
            found |= set(re.findall(rf"(?<![\w.\"%])(?:{names})(?![\w\"(:])", code))
    # Words of the health check: aliases and columns of the same names.
    assert found - {"tasks", "services", "hosts", "policies"} == set()
