"""Attacks on what surrounds the calls of tools: roles, settings, objects in the way, the audit log; and those of a site-local migration."""

from dataclasses import dataclass

from tool_attack import EVERYBODY, HARMLESS, NOT_ALICE, NOT_THE_EXECUTOR, REFUSED, SEEN, attack, decide, start

SURROUNDINGS = [
    attack(
        "become-the-audit-role", EVERYBODY, "SET ROLE mission_control_audit", "bob", "SET ROLE mission_control_approver"
    ),
    attack(
        "become-the-executor",
        NOT_THE_EXECUTOR,
        "SET ROLE mission_control_executor",
        "executor",
        "SET ROLE mission_control_executor",
    ),
    attack(
        "become-the-approver",
        NOT_ALICE,
        "SET ROLE mission_control_approver",
        "alice",
        "SET ROLE mission_control_approver",
    ),
    attack(
        "be-somebody-else", NOT_ALICE, "SET SESSION AUTHORIZATION alice", "alice", "SET SESSION AUTHORIZATION alice"
    ),
    attack(
        "join-the-approvers",
        (*EVERYBODY, "bob"),
        "GRANT mission_control_approver TO mission_control",
        "application",
        "SELECT 'mission_control_approver'::regrole",
    ),
    attack(
        "triggers-for-replicas-only",
        EVERYBODY,
        "SET session_replication_role = replica",
        "application",
        "SET search_path = public",
    ),
    attack(
        "a-table-in-the-way",
        EVERYBODY,
        "CREATE TEMPORARY TABLE policies (name text)",
        "application",
        "SELECT 1 FROM policies LIMIT 1",
    ),
    attack(
        "a-function-in-the-way",
        EVERYBODY,
        "CREATE FUNCTION public.sha256(text) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'",
        "application",
        "SELECT sha256('a')",
    ),
    attack("a-schema-in-the-way", EVERYBODY, "CREATE SCHEMA mine", "application", "SET search_path = mine, public"),
    attack(
        "another-function-of-the-name",
        EVERYBODY,
        "CREATE FUNCTION public.decide_tool_call(text, text, text, text) RETURNS text LANGUAGE sql AS 'SELECT $4'",
        "alice",
        decide("pending"),
    ),
    attack(
        "replace-a-function",
        EVERYBODY,
        "CREATE OR REPLACE FUNCTION public.roll_up_tool_calls() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "application",
        "SELECT roll_up_tool_calls()",
    ),
    attack(
        "hide-calls",
        EVERYBODY,
        "CREATE POLICY mine ON tool_call_records USING (false)",
        "application",
        "SELECT 1 FROM tool_call_records WHERE id = %(pending)s",
    ),
    attack(
        "a-function-with-rights",
        NOT_THE_EXECUTOR,
        "GRANT EXECUTE ON FUNCTION start_tool_call(uuid, uuid, jsonb) TO PUBLIC",
        "executor",
        start("approved"),
    ),
    attack(
        "approve-and-prepare",
        "alice",
        f"BEGIN;; {decide('pending')};; PREPARE TRANSACTION 'forever'",
        "alice",
        decide("pending"),
        "0A000",
    ),
    attack(
        "say-it-was-approved",
        ("application", "service", "readonly"),
        "SELECT pg_notify('mission_control_tools', jsonb_build_object('call', %(pending)s, 'status', 'approved')::text)",
        "alice",
        decide("pending"),
        HARMLESS,
    ),
    attack(
        "forge-an-approval-in-the-log",
        "application",
        """
           INSERT INTO audit_entries (actor, action, target_type, target_id, outcome)
           VALUES ('alice', 'tool_call.approve', 'tool_call', %(pending)s, 'success')
           """,
        "application",
        """
           INSERT INTO audit_entries (actor, action, target_type, target_id, outcome)
           VALUES ('alice', 'tool_calls', 'tool_call', %(pending)s, 'success')
           """,
    ),
    attack(
        "forge-a-policy-in-the-log",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'policy.change', 'success')",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'policy', 'success')",
    ),
    attack(
        "forge-a-tool-in-the-log",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'tool.add', 'success')",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'toolbox.add', 'success')",
    ),
    attack(
        "forge-a-token-in-the-log",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'tool_token.add', 'success')",
        "application",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('a', 'tool_tokens', 'success')",
    ),
    attack(
        "forge-the-log-by-copy",
        "application",
        "COPY audit_entries (actor, action, outcome) FROM STDIN",
        "application",
        "COPY task_events (task_run_id, sequence, type) FROM STDIN",
        rows="alice\ttool_call.approve\tsuccess\n",
    ),
    attack(
        "read-arguments-as-the-service",
        ("service", "monitor", "maintenance"),
        "SELECT arguments FROM tool_call_records",
        "service",
        "SELECT count(status) FROM tool_call_records",
    ),
    attack(
        "read-results-as-the-service",
        ("service", "monitor", "maintenance"),
        "SELECT result, error FROM tool_call_records",
        "readonly",
        "SELECT count(result) FROM tool_call_records",
    ),
    attack(
        "read-the-overview-as-the-service",
        ("service", "monitor", "maintenance"),
        "SELECT * FROM tool_call_overview",
        "readonly",
        "SELECT count(*) FROM tool_call_overview",
    ),
    attack(
        "read-prompts-as-the-executor",
        ("executor", "alice"),
        "SELECT messages FROM llm_requests",
        "readonly",
        "SELECT count(messages) FROM llm_requests",
    ),
    attack(
        "write-elsewhere-as-the-executor",
        ("executor", "alice"),
        "UPDATE hosts SET name = 'mine'",
        "application",
        "INSERT INTO hosts (name, type) VALUES (gen_random_uuid()::text, 'vm')",
    ),
    attack(
        "remove-what-is-new",
        "maintenance",
        "SELECT prune_tool_call_results(now())",
        "maintenance",
        "SELECT prune_tool_call_results(now() - interval '2 days') + 1",
        "22023",
    ),
    attack(
        "remove-results-as-another",
        ("service", "alice", "executor", "monitor", "readonly"),
        "SELECT prune_tool_call_results(now() - interval '2 days')",
        "application",
        "SELECT prune_tool_call_results(now() - interval '2 days') + 1",
    ),
    attack("delete-the-run-of-a-call", EVERYBODY, "DELETE FROM task_runs WHERE id = %(run)s", "application", SEEN),
    attack(
        "an-execution-that-is-text",
        "executor",
        "SELECT * FROM start_tool_call(%(approved)s, %(approved)s || 'x', '{}')",
        "executor",
        start("approved"),
        "42883",
    ),
]


@dataclass(frozen=True)
class SiteAttack:
    """A site-local migration, which runs as the owner of the objects, and one that goes through."""

    id: str
    sql: str
    twin: str
    outcome: str = REFUSED


_BODY = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
_TRIGGER = f"CREATE FUNCTION site_trigger_%s() {_BODY}; CREATE TRIGGER site BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION site_trigger_%s()"
SITE = [
    SiteAttack(
        "site-writes-a-policy",
        "INSERT INTO policies (name, tools, effect) VALUES ('mine', '{*}', 'allow')",
        "INSERT INTO hosts (name, type) VALUES ('mine', 'vm')",
    ),
    SiteAttack(
        "site-writes-a-tool", "UPDATE tool_definitions SET risk_level = 'READ_ONLY'", "UPDATE hosts SET name = name"
    ),
    SiteAttack(
        "site-writes-a-call", "UPDATE tool_call_records SET status = 'approved'", "UPDATE tasks SET title = title"
    ),
    SiteAttack(
        "site-writes-a-token",
        "INSERT INTO tool_tokens (name, kind, token_sha256) VALUES ('m', 'approver', sha256('m'))",
        "INSERT INTO services (name) VALUES ('m')",
    ),
    SiteAttack(
        "site-reads-the-hashes",
        "CREATE TABLE site_hashes AS SELECT token_sha256 FROM tool_tokens",
        "CREATE TABLE site_hosts AS SELECT name FROM hosts",
    ),
    SiteAttack("site-applies-policies", "SELECT apply_policies('[]'::jsonb)", "SELECT roll_up_token_usage()"),
    SiteAttack(
        "site-decides", "SELECT decide_tool_call(gen_random_uuid(), 'approve', 'mine')", "SELECT gen_random_uuid()"
    ),
    SiteAttack(
        "site-starts",
        "SELECT start_tool_call(gen_random_uuid(), gen_random_uuid(), '{}')",
        "SELECT gen_random_uuid(), '{}'::jsonb",
    ),
    SiteAttack(
        "site-replaces-a-function",
        "CREATE OR REPLACE FUNCTION expire_tool_calls() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "CREATE OR REPLACE FUNCTION site_expire() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    ),
    SiteAttack(
        "site-drops-a-function", "DROP FUNCTION expire_tool_calls()", "DROP FUNCTION IF EXISTS site_expire_tool_calls()"
    ),
    SiteAttack(
        "site-renames-a-function",
        "ALTER FUNCTION expire_tool_calls() RENAME TO mine",
        "CREATE TABLE site_a (); ALTER TABLE site_a RENAME TO site_b",
    ),
    SiteAttack(
        "site-takes-a-table",
        "ALTER TABLE policies OWNER TO mission_control_owner",
        "ALTER TABLE hosts OWNER TO mission_control_owner",
    ),
    SiteAttack(
        "site-drops-a-table", "DROP TABLE policies CASCADE", "CREATE TABLE site_c (); DROP TABLE site_c CASCADE"
    ),
    SiteAttack("site-hangs-a-trigger-on-calls", _TRIGGER % (("tool_call_records",) * 3), _TRIGGER % (("hosts",) * 3)),
    SiteAttack("site-hangs-a-trigger-on-the-log", _TRIGGER % (("audit_entries",) * 3), _TRIGGER % (("services",) * 3)),
    SiteAttack(
        "site-takes-a-trigger-away",
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "ALTER TABLE hosts DISABLE TRIGGER USER; ALTER TABLE hosts ENABLE TRIGGER USER",
    ),
    SiteAttack(
        "site-puts-a-rule-on-policies",
        "CREATE RULE site AS ON INSERT TO policies DO INSTEAD NOTHING",
        "CREATE TABLE site_d (); CREATE RULE site AS ON INSERT TO site_d DO INSTEAD NOTHING",
    ),
    SiteAttack(
        "site-hides-rows",
        "ALTER TABLE policies ENABLE ROW LEVEL SECURITY",
        "CREATE TABLE site_e (); ALTER TABLE site_e ENABLE ROW LEVEL SECURITY",
    ),
    SiteAttack(
        "site-inherits-from-policies",
        "CREATE TABLE site_child () INHERITS (policies)",
        "CREATE TABLE site_f (); CREATE TABLE site_g () INHERITS (site_f)",
    ),
    SiteAttack(
        "site-refers-to-calls",
        "CREATE TABLE site_refers (call uuid REFERENCES tool_call_records ON DELETE CASCADE)",
        "CREATE TABLE site_refers (host uuid REFERENCES hosts ON DELETE CASCADE)",
    ),
    SiteAttack(
        "site-grants-a-start",
        "GRANT EXECUTE ON FUNCTION start_tool_call(uuid, uuid, jsonb) TO mission_control",
        "CREATE TABLE site_h (); GRANT SELECT ON site_h TO mission_control",
    ),
    SiteAttack(
        "site-grants-a-table",
        "GRANT INSERT ON tool_tokens TO mission_control",
        "CREATE TABLE site_i (); GRANT SELECT ON site_i TO mission_control_readonly",
    ),
    SiteAttack(
        "site-joins-the-approvers",
        "GRANT mission_control_approver TO mission_control",
        "CREATE TABLE site_j (); GRANT SELECT ON site_j TO mission_control_approver",
    ),
    SiteAttack("site-becomes-the-audit-role", "SET LOCAL ROLE mission_control_audit", "SET LOCAL work_mem = '8MB'"),
    SiteAttack(
        "site-forges-an-approval-in-the-log",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'tool_call.approve', 'success')",
        "INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'site', 'success')",
    ),
    SiteAttack(
        "site-forges-by-its-own-function",
        """
               CREATE FUNCTION site_forge() RETURNS void LANGUAGE sql SECURITY DEFINER
               AS $$ INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'tool_call.approve', 'success') $$;
               SELECT site_forge()
               """,
        """
               CREATE FUNCTION site_tell() RETURNS void LANGUAGE sql SECURITY DEFINER
               AS $$ INSERT INTO audit_entries (actor, action, outcome) VALUES ('alice', 'site', 'success') $$;
               SELECT site_tell()
               """,
    ),
    SiteAttack(
        "site-deletes-the-run-of-a-call",
        "DELETE FROM task_runs WHERE id IN (SELECT task_run_id FROM tool_call_records)",
        "DELETE FROM task_runs WHERE id NOT IN (SELECT task_run_id FROM tool_call_records)",
        "23503",
    ),
    SiteAttack(
        "site-watches-every-statement",
        """
               CREATE FUNCTION site_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
               CREATE EVENT TRIGGER site ON ddl_command_start EXECUTE FUNCTION site_event()
               """,
        "CREATE FUNCTION site_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ),
    SiteAttack(
        "site-casts-in-the-way", "CREATE CAST (jsonb AS text) WITHOUT FUNCTION", "CREATE DOMAIN site_text AS text"
    ),
]
