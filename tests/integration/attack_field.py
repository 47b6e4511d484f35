"""The server of the attacks: every attacker as a login of its own, and ten audit entries whose head was kept outside."""

import contextlib
import io
import itertools

import mission_control_database as layer
import psycopg2
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.head import AuditHead
from ansible_collections.homelab.mission_control.plugins.module_utils.audit.recompute import (
    CHAIN_ROWS,
    CHAIN_TABLES,
    recompute,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.foreign_code import (
    FOREIGN_CODE_OF_READING,
    SETTING,
    relations_json,
)
from throwaway_cluster import ThrowawayCluster

ENTRIES = 10
ENTRY = "INSERT INTO audit_entries (actor, action, outcome) VALUES ('victim', 'write', 'success')"
LOGINS = {
    **layer.ROLES,
    "administrator": "attack_administrator",
    "writer": "attack_writer",
    "superuser": "postgres",
}
_ROLES = """
CREATE ROLE attack_administrator LOGIN CREATEROLE CREATEDB;
CREATE ROLE attack_writer LOGIN IN ROLE pg_write_all_data, pg_read_all_data;
-- Nobody logs in as these two; the attacker who got that far all the same is tried, too.
ALTER ROLE mission_control_owner LOGIN;
ALTER ROLE mission_control_audit LOGIN;
"""


class Field:
    """A cluster with a database that can be copied, copies that attacks share, and their head as it was at the beginning."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._numbers = itertools.count(1)
        self._sessions = {}
        layer.create_roles(cluster)
        with contextlib.closing(layer.Session(cluster.connect())) as session:
            session.run(_ROLES)
            self.version = session.connection.server_version
        template = layer.create_database(cluster, "battlefield")
        layer.provision(template)
        with contextlib.closing(layer.Session(cluster.connect("battlefield"))) as session:
            logins = "mission_control_owner, mission_control_audit, attack_administrator, attack_writer"
            session.run(f"GRANT CONNECT ON DATABASE battlefield TO {logins}")
            session.run(f"GRANT USAGE ON SCHEMA public TO {logins}")
        writer = layer.Session(cluster.connect("battlefield", LOGINS["application"]))
        for number in range(ENTRIES):
            writer.insert("audit_entries", actor="alice", action="count", target_id=str(number), outcome="success")
        writer.close()
        # One to which attackers may only ever add, and one for those whose transaction is rolled back.
        self.shared = self.copy()
        self.untouched = self.copy()
        self.kept = head(self.session("superuser"))

    def copy(self):
        """A database of its own, owned by the administrator, who is no superuser."""
        name = f"attacked_{next(self._numbers)}"
        database = layer.create_database(self.cluster, name, "battlefield")
        with contextlib.closing(layer.Session(self.cluster.connect())) as session:
            session.run(f"ALTER DATABASE {name} OWNER TO attack_administrator")
            session.run(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            others = ", ".join(login for key, login in LOGINS.items() if key not in ("administrator", "superuser"))
            session.run(f"GRANT CONNECT ON DATABASE {name} TO {others}")
        return database

    def login(self, role, database=None):
        """A new session of an attacker; to be closed by the caller."""
        return layer.Session(self.cluster.connect((database or self.shared).name, LOGINS[role]))

    def session(self, role):
        """The attacker's session in the shared database, opened when it is first asked for."""
        if role not in self._sessions or self._sessions[role].connection.closed:
            self._sessions[role] = self.login(role)
        return self._sessions[role]

    def close(self):
        for session in self._sessions.values():
            session.close()


@contextlib.contextmanager
def battlefield():
    with ThrowawayCluster() as cluster:
        field = Field(cluster)
        yield field
        field.close()


def head(session):
    row = session.row("SELECT sequence, digest FROM audit_head")
    return AuditHead(row["sequence"], row["digest"])


def run(session, statement, rows=""):
    if statement.startswith("COPY ") and "FROM STDIN" in statement:
        with session.connection.cursor() as cursor:
            cursor.copy_expert(statement, io.StringIO(rows))
    else:
        session.run(statement)


def refusal(session, *statements):
    """SQLSTATE of the first statement that fails, or None."""
    for statement in statements:
        try:
            session.run(statement)
        except psycopg2.Error as error:
            return error.pgcode
    return None


def found_inside(session, kept):
    """What the function of the database says against a kept head; None: nothing is wrong."""
    session.run("SAVEPOINT verification")
    try:
        return session.value(
            "SELECT problem FROM public.verify_audit_chain(%s, decode(%s, 'hex'))", kept.sequence, kept.digest.hex()
        )
    except psycopg2.Error as error:
        session.run("ROLLBACK TO SAVEPOINT verification")
        return f"the verification fails: {error.pgcode}"


def found_outside(session, kept):
    """What the recomputation outside the database says against a kept head; None: nothing is wrong.

    As recompute_audit_chain() does, within the transaction of the attack: tables that are no ordinary ones are not read.
    """
    session.run("SAVEPOINT verification")
    try:
        relations = relations_json({"schema": "public", "name": name} for name in CHAIN_TABLES)
        session.run("SELECT set_config(%s, %s, true)", SETTING, relations)
        for row in session.rows(FOREIGN_CODE_OF_READING):
            return f"{row['name']} {row['problem']}"
        session.run("SET LOCAL search_path = public")
        return recompute(
            session.rows(CHAIN_ROWS.format(audit_links="audit_links", audit_entries="audit_entries")),
            head(session),
            kept,
        ).problem
    except psycopg2.Error as error:
        session.run("ROLLBACK TO SAVEPOINT verification")
        return f"the log cannot be read: {error.pgcode}"
