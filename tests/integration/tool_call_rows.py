"""Tools, policies, tokens and calls of tools, made by the functions of the database as the roles and programs of a homelab make them."""

import hashlib
import json

REQUESTER_TOKEN = "a-requesters-token-of-the-tests-000000"
APPROVER_TOKEN = "an-approvers-token-of-the-tests-000000"
# Of one who asks for calls, and decides about those of others.
BOTH_TOKENS = ("a-token-of-dave-who-asks-00000000000000", "a-token-of-dave-who-decides-00000000000")
TOKENS = {
    ("claude", "requester"): REQUESTER_TOKEN,
    ("carol", "approver"): APPROVER_TOKEN,
    ("dave", "requester"): BOTH_TOKENS[0],
    ("dave", "approver"): BOTH_TOKENS[1],
}
TOOLS = (
    {
        "name": "restart_deployment",
        "description": "Restart a deployment, pod by pod.",
        "risk_level": "SAFE_MUTATE",
        "connector": "kubernetes",
    },
    {"name": "list_deployments", "risk_level": "READ_ONLY", "connector": "kubernetes"},
)


class ToolCalls:
    """A database with tools and tokens, and who asks for calls and checks them."""

    def __init__(self, database, tools=TOOLS, tokens=TOKENS, policies=()):
        self._provisioner = database.session("audit")
        self._application = database.session("application")
        self._executor = database.session("executor")
        self.admin = database.session("admin")
        self._provisioner.run("SELECT apply_tools('[]', %s)", json.dumps(tools))
        self._provisioner.run("SELECT apply_policies(%s)", json.dumps(policies))
        self.keep_tokens(tokens)
        task = self._application.insert("tasks", title="Look after the media", created_by="claude")
        self.run = self._application.insert("task_runs", task_id=task["id"], status="running")["id"]

    def keep_tokens(self, tokens):
        """Only these, by their names and kinds."""
        entries = [
            {"name": name, "kind": kind, "sha256": hashlib.sha256(token.encode()).hexdigest()}
            for (name, kind), token in tokens.items()
        ]
        self._provisioner.run("SELECT apply_tool_tokens(%s)", json.dumps(entries))

    def ask(self, arguments, tool="restart_deployment", token=REQUESTER_TOKEN, checked=True):
        """The id of a call that waits for an approval, unless it is not `checked` yet. `arguments`: a mapping, or JSON as it is."""
        answer = self._application.row(
            "SELECT * FROM request_tool_call(%s, %s, %s::jsonb, NULL, %s)",
            self.run,
            tool,
            arguments if isinstance(arguments, str) else json.dumps(arguments),
            token,
        )
        assert answer["call_id"], answer
        if checked:
            assert self._executor.row("SELECT * FROM check_tool_call(%s, NULL)", answer["call_id"])["accepted"]
        return answer["call_id"]

    def carry_out(self, call):
        """What the executor does with an approved call."""
        execution = "00000000-0000-0000-0000-000000000001"
        assert self._executor.row("SELECT * FROM start_tool_call(%s, %s, '{}')", call, execution)["accepted"]
        finish = "SELECT * FROM finish_tool_call(%s, %s, 'succeeded', '{}', NULL)"
        assert self._executor.row(finish, call, execution)["accepted"]

    def call(self, call):
        return self.admin.row("SELECT * FROM tool_call_records WHERE id = %s", call)

    def rewrite(self, call, assignments):
        """As only a superuser can, such as times."""
        self.admin.run(f"UPDATE tool_call_records SET {assignments} WHERE id = %s", call)
