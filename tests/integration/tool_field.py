"""Where tools are attacked: a database with a few tools, policies and tokens, and calls in every state for whoever wants to misuse them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import uuid

import mission_control_database as layer
import psycopg2

# People: alice may approve, bob may ask as the application does and approve, too.
PEOPLE = {"alice": ("approver",), "bob": ("application", "approver")}
# Names and kinds of tokens; dave has one of each kind.
TOKENS = {
    (name, kind): f"{kind}-{name}-{'t' * 40}"
    for name, kind in (("carol", "approver"), ("dave", "approver"), ("dave", "requester"), ("bot", "requester"))
}
_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
TOOLS = [
    {"name": "look", "risk_level": "READ_ONLY"},
    {"name": "restart", "risk_level": "SAFE_MUTATE", "preset": {"grace": 30}},
    {"name": "wipe", "risk_level": "DESTRUCTIVE"},
    {"name": "retired", "risk_level": "READ_ONLY", "enabled": False},
]
POLICIES = [
    {"name": "nobody wipes", "tools": ["wipe"], "effect": "deny", "priority": 1000},
    {"name": "ask before a restart", "tools": ["restart"], "effect": "require_approval", "priority": 10},
]
# With types, so that they mean ours whatever else has the name.
CHECK = "SELECT * FROM check_tool_call(%s::uuid, NULL::text)"
APPROVE = "SELECT * FROM decide_tool_call(%s::uuid, 'approve'::text, 'it hangs'::text)"
START = "SELECT * FROM start_tool_call(%s::uuid, %s::uuid, '{}'::jsonb)"
FINISH = "SELECT * FROM finish_tool_call(%s::uuid, %s::uuid, %s::text, '{}'::jsonb, NULL::text)"
REQUEST = "SELECT * FROM request_tool_call(%s::uuid, %s::text, %s::jsonb, %s::text, %s::text)"
# What must never change by an attack, as one value.
_RULES = """
SELECT md5(string_agg(part, '|' ORDER BY part)) FROM (
    SELECT 'tool ' || t::text FROM tool_definitions AS t
    UNION ALL SELECT 'policy ' || p::text FROM policies AS p
    UNION ALL SELECT 'token ' || k::text FROM tool_tokens AS k
) AS rules (part)
"""
# Calls that ran without anybody's leave, or that were approved by who asked; none, or the attack has succeeded.
_OUTLAWS = """
SELECT c.id, t.name, c.status FROM tool_call_records AS c JOIN tool_definitions AS t ON t.id = c.tool_id
WHERE c.started_at IS NOT NULL AND t.risk_level <> 'READ_ONLY' AND c.approved_by IS NULL
    OR c.approved_by = c.requested_by OR c.approved_by = c.requested_login
    OR (SELECT count(*) FROM audit_entries AS e WHERE e.action = 'tool_call.start' AND e.outcome = 'success' AND e.target_id = c.id::text) > 1
    OR c.started_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM audit_entries AS e WHERE e.action = 'tool_call.start' AND e.outcome = 'success' AND e.target_id = c.id::text
    )
"""


def hashed_tokens():
    """The tokens as the schema role hands them to the database."""
    return [
        {"name": name, "kind": kind, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for (name, kind), token in TOKENS.items()
    ]


class ToolField:
    """The database, the sessions of everybody, and what there is to attack.

    Attributes:
        database: its mission_control_database.Database.
    """

    def __init__(self, database):
        self.database = database
        self._sessions = {}
        admin = self.session("admin")
        admin.run(f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC")
        logins = [*(role for key, role in layer.ROLES.items() if key not in ("owner", "audit")), *PEOPLE]
        admin.run(f"GRANT CONNECT ON DATABASE {database.name} TO {', '.join(logins)}")
        audit = self.audit()
        for name, tools in (
            ("apply_tools", (json.dumps([]), json.dumps(TOOLS))),
            ("apply_policies", (json.dumps(POLICIES),)),
        ):
            audit.run(f"SELECT {name}({', '.join(['%s::jsonb'] * len(tools))})", *tools)
        audit.run("SELECT apply_tool_tokens(%s::jsonb)", json.dumps(hashed_tokens()))
        self.keep_rules()
        self._task = admin.value("INSERT INTO tasks (title, created_by) VALUES ('Attack', 'mallory') RETURNING id")

    def session(self, who):
        """The session of a role's login, of a person, or of the superuser (admin)."""
        if who not in self._sessions or self._sessions[who].connection.closed:
            self._sessions[who] = self.login(who)
        return self._sessions[who]

    def audit(self):
        """A session as the owner of the tools, which nobody logs in as."""
        return self.session("audit")

    def login(self, who):
        """A new session; to be closed by the caller."""
        if who in PEOPLE:
            return layer.Session(self.database.cluster.connect(self.database.name, who))
        return self.database.session(who)

    def close(self):
        for session in self._sessions.values():
            session.close()

    def new_run(self):
        return str(
            self.session("admin").value(
                "INSERT INTO task_runs (task_id, user_prompt, status) VALUES (%s, 'attack', 'running') RETURNING id",
                self._task,
            )
        )

    def request(self, tool="restart", arguments="{}", run=None, token=None, who="application", key=None):
        """Id of a new call."""
        row = self.session(who).row(REQUEST, run or self.new_run(), tool, arguments, key, token)
        assert row["call_id"], row
        return str(row["call_id"])

    def checked(self, **request):
        call = self.request(**request)
        assert self.session("executor").row(CHECK, call)["accepted"]
        return call

    def approved(self, **request):
        call = self.checked(**request)
        assert self.session("alice").row(APPROVE, call)["accepted"]
        return call

    def started(self, execution, **request):
        call = self.approved(**request)
        assert self.session("executor").row(START, call, execution)["accepted"]
        return call

    def finished(self, execution, status="succeeded", **request):
        call = self.started(execution, **request)
        assert self.session("executor").row(FINISH, call, execution, status)["accepted"]
        return call

    def rewritten(self, call, assignments):
        """The call after a superuser has set it, such as its times, which nobody else can."""
        with self.database.cluster.connect(self.database.name) as connection, connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(f"UPDATE tool_call_records SET {assignments} WHERE id = %s", (call,))
        connection.close()
        return call

    def calls(self):
        """All calls with what an attack may not change, by id."""
        rows = self.session("admin").rows(
            "SELECT id, status, tool_id, task_run_id, arguments, requested_by, requested_login, approved_by, approved_at, approval_expires_at,"
            " checked_at, execution_id, started_at, finished_at, result, error FROM tool_call_records"
        )
        return {str(row["id"]): row for row in rows}

    def outlaws(self):
        return self.session("admin").rows(_OUTLAWS)

    def keep_rules(self):
        """From here on tools, policies and tokens have to be as they are now."""
        self.rules = self.session("admin").value(_RULES)

    def rules_are_whole(self):
        return self.session("admin").value(_RULES) == self.rules

    def refusals(self):
        """How many refusals the audit log has."""
        return self.session("admin").value(
            "SELECT count(*) FROM audit_entries WHERE action LIKE 'tool_call.%%' AND outcome IN ('denied', 'failure')"
        )


class Names(dict):
    """What the statements of one attack name, made when it is first named: runs, calls in each state, tokens."""

    def __init__(self, field):
        super().__init__()
        self.field = field

    def __missing__(self, name):
        self[name] = self._make(name)
        return self[name]

    def _make(self, name):
        field = self.field
        simple = {
            "run": field.new_run,
            "other_run": field.new_run,
            "nothing": lambda: str(uuid.uuid4()),
            "execution": lambda: str(uuid.uuid4()),
            "other_execution": lambda: str(uuid.uuid4()),
            "look": lambda: field.request("look"),
            "unchecked": lambda: field.request(run=self["run"]),
            "pending": lambda: field.checked(run=self["run"]),
            "other": lambda: field.checked(arguments='{"name": "other"}'),
            "bots": lambda: field.checked(token=TOKENS["bot", "requester"]),
            "bots_unchecked": lambda: field.request(token=TOKENS["bot", "requester"]),
            "daves": lambda: field.checked(token=TOKENS["dave", "requester"]),
            "bobs": lambda: field.checked(who="bob"),
            "bots_by_bob": lambda: field.checked(who="bob", token=TOKENS["bot", "requester"]),
            "approved": lambda: field.approved(run=self["run"], key="key"),
            "running": lambda: field.started(self["execution"]),
            "succeeded": lambda: field.finished(self["execution"]),
            "failed": lambda: field.finished(self["execution"], "failed"),
            "unknown": lambda: field.finished(self["execution"], "unknown"),
            "cancelled": self._cancelled,
            "denied": self._denied,
            "lapsed": lambda: field.rewritten(field.approved(), "approval_expires_at = now() - interval '1 second'"),
            "stale": lambda: field.rewritten(field.checked(), "created_at = now() - interval '25 hours'"),
            "carol": lambda: TOKENS["carol", "approver"],
            "dave": lambda: TOKENS["dave", "approver"],
            "dave_asks": lambda: TOKENS["dave", "requester"],
            "bot": lambda: TOKENS["bot", "requester"],
            "hash": lambda: hashlib.sha256(TOKENS["carol", "approver"].encode()).hexdigest(),
            "unheard_of": lambda: "x" * 40,
        }
        return simple[name]()

    def _cancelled(self):
        call = self.field.checked()
        assert self.field.session("application").row("SELECT * FROM cancel_tool_call(%s)", call)["accepted"]
        return call

    def _denied(self):
        call = self.field.checked()
        denial = "SELECT * FROM decide_tool_call(%s, 'deny', 'no')"
        assert self.field.session("alice").row(denial, call)["accepted"]
        return call


@contextlib.contextmanager
def tool_field_of(cluster, template):
    """A field of its own, on a copy of a database, with the people's logins."""
    with people(cluster):
        database = layer.create_database(cluster, f"attacked_tools_{uuid.uuid4().hex[:8]}", template)
        field = ToolField(database)
        yield field
        field.close()
        database.drop()


@contextlib.contextmanager
def people(cluster):
    """The logins of the people, as an administrator makes them."""
    with contextlib.closing(layer.Session(cluster.connect())) as admin:
        for name, roles in PEOPLE.items():
            admin.run(f"CREATE ROLE {name} LOGIN INHERIT IN ROLE {', '.join(layer.ROLES[role] for role in roles)}")
        yield
        for name in PEOPLE:
            admin.run(f"DROP ROLE {name}")


def attempt(session, statements, names, rows=""):
    """(SQLSTATE of the statement that failed, last row of the last one); the session is left outside a transaction."""
    answer = None
    try:
        for statement in statements:
            with session.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                if statement.startswith("COPY "):
                    cursor.copy_expert(statement, io.StringIO(rows))
                    answer = {}
                    continue
                cursor.execute(statement, names)
                found = cursor.fetchall() if cursor.description else None
                answer = dict(found[-1]) if found else {"rows": cursor.rowcount}
    except psycopg2.Error as error:
        return error.pgcode, None
    finally:
        if session.connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
            session.run("ROLLBACK")
        session.run("RESET ROLE; RESET ALL")
    return None, answer


def is_refusal(answer):
    """Whether a row of one of the functions says no."""
    if "accepted" in answer:
        return answer["accepted"] is False
    return "call_id" in answer and (answer["call_id"] is None or answer["status"] == "denied")


def is_success(answer):
    """Whether a row says that it was done: a call that lives, a decision that counts, rows that were written or found."""
    if "accepted" in answer or "call_id" in answer:
        return not is_refusal(answer)
    return answer.get("rows") != 0


def differences(before, after):
    """Calls that are not as they were, with what is other, but for those that are new."""
    return {
        call: {name: after[call][name] for name in row if after[call][name] != row[name]}
        for call, row in before.items()
        if after.get(call) != row
    }
