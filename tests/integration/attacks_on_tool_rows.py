"""Attacks that write to the tables of tools, which only functions of their owner do."""

from tool_attack import EVERYBODY, SEEN, attack, cancel, decide, request

WRITING = [
    attack(
        "insert-a-call",
        EVERYBODY,
        """
        INSERT INTO tool_call_records (task_run_id, tool_id, status, approved_by, approved_at, approval_expires_at)
        SELECT %(run)s, id, 'approved', 'alice', now(), now() + interval '1 day' FROM tool_definitions WHERE name = 'wipe'
        """,
        "application",
        request("'restart'"),
    ),
    attack(
        "copy-calls",
        EVERYBODY,
        "COPY tool_call_records (status, approved_by) FROM STDIN",
        "application",
        "COPY task_events (task_run_id, sequence, type) FROM STDIN",
        rows="",
    ),
    attack(
        "approve-by-update",
        EVERYBODY,
        "UPDATE tool_call_records SET status = 'approved', approved_by = 'alice' WHERE id = %(pending)s",
        "alice",
        decide("pending"),
    ),
    attack(
        "change-arguments-after-approval",
        EVERYBODY,
        """UPDATE tool_call_records SET arguments = '{"name": "other"}' WHERE id = %(approved)s""",
        "application",
        request(arguments="""'{"name": "other"}'"""),
    ),
    attack(
        "move-a-call-to-another-run",
        EVERYBODY,
        "UPDATE tool_call_records SET task_run_id = %(other_run)s WHERE id = %(approved)s",
        "application",
        SEEN,
    ),
    attack(
        "name-another-who-asked",
        EVERYBODY,
        "UPDATE tool_call_records SET requested_by = 'somebody', requested_login = 'somebody' WHERE id = %(bobs)s",
        "application",
        request(token="%(bot)s"),
    ),
    attack(
        "prolong-an-approval",
        EVERYBODY,
        "UPDATE tool_call_records SET approval_expires_at = 'infinity' WHERE id = %(lapsed)s",
        "application",
        SEEN,
    ),
    attack(
        "make-it-wait-again",
        EVERYBODY,
        "UPDATE tool_call_records SET status = 'approved', execution_id = NULL WHERE id = %(succeeded)s",
        "application",
        request(),
    ),
    attack(
        "delete-a-call",
        EVERYBODY,
        "DELETE FROM tool_call_records WHERE id = %(succeeded)s",
        "application",
        cancel("unchecked"),
    ),
    attack("truncate-calls", EVERYBODY, "TRUNCATE tool_call_records", "application", cancel("pending")),
    attack(
        "write-on-conflict",
        EVERYBODY,
        """
        INSERT INTO tool_call_records AS c (id, task_run_id, tool_id) SELECT id, task_run_id, tool_id FROM tool_call_records WHERE id = %(pending)s
        ON CONFLICT (id) DO UPDATE SET status = 'approved'
        """,
        "alice",
        decide("pending"),
    ),
    attack(
        "lock-a-call",
        EVERYBODY,
        "SELECT 1 FROM tool_call_records WHERE id = %(approved)s FOR UPDATE",
        "application",
        "SELECT 1 FROM tool_call_records WHERE id = %(approved)s",
    ),
    attack(
        "lock-all-calls",
        EVERYBODY,
        "BEGIN;; LOCK TABLE tool_call_records IN SHARE MODE",
        "application",
        "BEGIN;; LOCK TABLE tool_call_records IN ACCESS SHARE MODE",
    ),
    attack(
        "insert-a-policy",
        EVERYBODY,
        "INSERT INTO policies (name, tools, effect, priority) VALUES ('mine', '{*}', 'allow', 9999)",
        "application",
        "SELECT * FROM tool_policy_decision('wipe', '{}', 'mallory')",
    ),
    attack(
        "soften-a-policy",
        EVERYBODY,
        "UPDATE policies SET effect = 'allow' WHERE name = 'nobody wipes'",
        "application",
        "SELECT effect FROM policies WHERE name = 'nobody wipes'",
    ),
    attack(
        "switch-a-policy-off",
        EVERYBODY,
        "UPDATE policies SET enabled = false",
        "application",
        "SELECT enabled FROM policies LIMIT 1",
    ),
    attack("delete-a-policy", EVERYBODY, "DELETE FROM policies", "application", "SELECT count(*) FROM policies"),
    attack(
        "lower-a-risk-level",
        EVERYBODY,
        "UPDATE tool_definitions SET risk_level = 'READ_ONLY' WHERE name = 'wipe'",
        "application",
        "SELECT risk_level FROM tool_definitions WHERE name = 'wipe'",
    ),
    attack(
        "drop-a-preset",
        EVERYBODY,
        "UPDATE tool_definitions SET preset = '{}' WHERE name = 'restart'",
        "application",
        "SELECT preset FROM tool_definitions WHERE name = 'restart'",
    ),
    attack(
        "switch-a-tool-on",
        EVERYBODY,
        "UPDATE tool_definitions SET enabled = true WHERE name = 'retired'",
        "application",
        "SELECT enabled FROM tool_definitions WHERE name = 'retired'",
    ),
    attack(
        "insert-a-tool",
        EVERYBODY,
        "INSERT INTO tool_definitions (name, risk_level, operation) VALUES ('mine', 'READ_ONLY', 'kubernetes.restart')",
        "application",
        "SELECT operation FROM tool_definitions LIMIT 1",
    ),
    attack(
        "insert-a-token",
        EVERYBODY,
        "INSERT INTO tool_tokens (name, kind, token_sha256) VALUES ('mallory', 'approver', sha256('mine'))",
        "readonly",
        "SELECT name, kind FROM tool_tokens",
    ),
    attack(
        "replace-a-token",
        EVERYBODY,
        "UPDATE tool_tokens SET token_sha256 = sha256('mine') WHERE name = 'carol'",
        "readonly",
        "SELECT name, kind FROM tool_tokens",
    ),
    attack(
        "read-the-hashes", EVERYBODY, "SELECT token_sha256 FROM tool_tokens", "readonly", "SELECT name FROM tool_tokens"
    ),
    attack(
        "falsify-the-sums",
        EVERYBODY,
        "UPDATE tool_call_days SET calls = 0",
        "application",
        "SELECT roll_up_tool_calls()",
    ),
    attack("apply-tools", EVERYBODY, "SELECT apply_tools('[]', '[]')", "application", "SELECT roll_up_tool_calls()"),
    attack("apply-policies", EVERYBODY, "SELECT apply_policies('[]')", "application", "SELECT roll_up_tool_calls()"),
    attack("apply-tokens", EVERYBODY, "SELECT apply_tool_tokens('[]')", "application", "SELECT roll_up_tool_calls()"),
]
