"""Names that a stranger has put into our schema: no function of ours ever finds one, however well its arguments fit.

The traps are made from what the bodies call, so that a call which is added later is tried, too.
"""

import hashlib
import itertools
import json
import re

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import read_repeatables
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.objects import VIEWS
from sample_rows import fill_every_table

TYPES = ("text", "name", "bigint", "integer", "numeric", "timestamp with time zone", "jsonb")
OPERANDS = (*TYPES, "bytea", "boolean", "oid", "interval", "tstzrange", "tstzmultirange", "uuid")
CAUGHT = "TRAP0"
_BODY = "LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.caught'); RAISE EXCEPTION 'caught' USING ERRCODE = 'TRAP0'; END $$"
_PLAN = """
SELECT n.name, coalesce(array_agg(DISTINCT p.pronargs) FILTER (WHERE p.provariadic = 0), '{}') AS counts, bool_or(p.provariadic <> 0) AS any_number
FROM unnest(%s) AS n (name) JOIN pg_proc AS p ON p.proname = n.name AND p.pronamespace = 'pg_catalog'::regnamespace
GROUP BY n.name
"""


def called(admin):
    """Names of functions and operators of PostgreSQL that the bodies of our functions and views hold."""
    bodies = "\n".join(
        admin.values(
            "SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang "
            "WHERE p.pronamespace = 'public'::regnamespace AND l.lanname <> 'internal'"
        )
        + admin.values("SELECT definition FROM pg_views WHERE schemaname = 'public'")
    )
    code = re.sub(r"--[^\n]*", "", bodies)
    names = set(re.findall(r"(?<![\w.])([a-z_]\w*)\s*\(", code.lower()))
    signs = set(re.findall(r"[-+*/<>=~!@#%^&|?]+", code))
    return sorted(names), admin.values(
        "SELECT DISTINCT oprname FROM pg_operator WHERE oprname = ANY (%s)", sorted(signs)
    )


def signatures(functions, own):
    """Argument lists that fit better than those of PostgreSQL's functions, or of ours where a call would not say each type."""
    for function in functions:
        counts = {count for count in function["counts"] if count <= 2} | ({1, 2} if function["any_number"] else set())
        for count in counts - {0}:
            for types in itertools.product(TYPES, repeat=count):
                yield function["name"], types
        if function["any_number"]:
            for values in itertools.product(("text", "bigint", "timestamp with time zone", "jsonb"), repeat=3):
                yield function["name"], tuple(itertools.chain.from_iterable(("text", value) for value in values))
                yield function["name"], values
        for count in (count for count in function["counts"] if count in (3, 4)):
            for types in itertools.product(("text", "name", "bigint"), repeat=count):
                yield function["name"], types
    for name, types in own:
        for position, replacement in itertools.product(range(len(types)), TYPES):
            yield name, (*types[:position], replacement, *types[position + 1 :])
        for count in range(1, len(types)):
            yield name, types[:count]


@pytest.fixture(scope="module")
def trapped(shared_database):
    """A database in which a stranger with CREATE on the schema has set every trap, and which was provisioned again after that."""
    admin = shared_database.session("admin")
    names, signs = called(admin)
    functions = admin.rows(_PLAN, names)
    own = [
        (row["proname"], tuple(row["types"].split(", ")))
        for row in admin.rows(
            "SELECT proname, oidvectortypes(proargtypes) AS types FROM pg_proc "
            "WHERE pronamespace = 'public'::regnamespace AND pronargs > 0 AND prolang <> 12"
        )
    ]
    assert {"jsonb_build_object", "now", "count", "octet_length", "sha256"} <= {row["name"] for row in functions}
    assert {"=", "*", "||", "<", "->>", "&&"} <= set(signs)
    admin.run("CREATE ROLE stranger")
    admin.run("GRANT CREATE, USAGE ON SCHEMA public TO stranger")
    admin.run("SET SESSION AUTHORIZATION stranger")
    admin.run("CREATE SEQUENCE caught; GRANT ALL ON caught TO PUBLIC")
    ours = set(own)
    wanted = {entry for entry in signatures(functions, own) if entry not in ours}
    admin.run(
        ";\n".join(
            f"CREATE FUNCTION public.{name}({', '.join(types)}) RETURNS text {_BODY}" for name, types in sorted(wanted)
        )
    )
    for left, right in itertools.product(OPERANDS, OPERANDS):
        function = f"public.operator_of_{left}_and_{right}".replace(" ", "_")
        admin.run(
            f"CREATE FUNCTION {function}({left}, {right}) RETURNS boolean {_BODY};\n"
            + ";\n".join(
                f"CREATE OPERATOR public.{sign} (FUNCTION = {function}, LEFTARG = {left}, RIGHTARG = {right})"
                for sign in signs
            )
        )
    admin.run("RESET SESSION AUTHORIZATION")
    # A run refuses to begin beside such functions, so that the files are run here without it.
    for file in read_repeatables(str(layer.SQL / "repeatable")):
        admin.run(f"BEGIN; SET LOCAL ROLE {layer.SETTINGS.role_name(file)}")
        admin.run(layer.SETTINGS.text(file))
        admin.run("COMMIT")
    yield shared_database
    admin.run("DROP OWNED BY stranger CASCADE")
    admin.run("DROP ROLE stranger")


def caught(admin):
    return admin.value("SELECT is_called FROM public.caught")


@pytest.mark.parametrize(
    "expression",
    ["jsonb_build_object('before', now(), 'requests', 1::bigint, 'responses', 1::bigint)", "1::bigint * 2.5"],
)
def test_the_traps_catch_a_function_that_looks_into_our_schema(trapped, expression):
    """Else the test below could not fail. This is how the functions were before."""
    owner = trapped.session("owner")
    owner.run(
        "CREATE FUNCTION public.unprotected() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp "
        f"AS $$ BEGIN PERFORM {expression}; END $$"
    )
    with pytest.raises(psycopg2.Error) as refused:
        owner.run("SELECT public.unprotected()")
    assert refused.value.pgcode == CAUGHT
    assert caught(trapped.session("admin"))
    trapped.session("admin").run(
        "SELECT pg_catalog.setval('public.caught'::pg_catalog.regclass, 1, false); DROP FUNCTION public.unprotected()"
    )


def test_attack_function_of_a_stranger(trapped):
    """Every function of the two owners is run, by a call or by a trigger, as whoever may."""
    admin, application, owner = (trapped.session(role) for role in ("admin", "application", "owner"))
    for session in (admin, application, owner):
        session.run("SET search_path = pg_catalog, public, pg_temp")
    rows = fill_every_table(admin)
    application.run("UPDATE public.hosts SET status = 'offline'")
    application.run("UPDATE public.token_usage SET project = 'p'")
    application.run("UPDATE public.provider_pricing SET valid_to = '2300-01-01' WHERE model = 'sample'")
    application.run("SELECT public.fill_unpriced_token_usage()")
    application.run("SELECT public.prune_llm_bodies('2020-01-01'::timestamptz)")
    admin.run("UPDATE public.llm_requests SET occurred_at = '2019-01-01'")
    assert application.value("SELECT public.prune_llm_bodies('2020-01-01'::timestamptz)") == 1
    owner.run(
        "SELECT public.shorten_task_events('test'::text, NULL::timestamptz, %s::bigint)", rows["task_events"]["id"]
    )
    owner.run("SELECT public.shorten_task_events('test'::text, pg_catalog.now()::timestamptz, NULL::bigint)")
    owner.run(
        'SELECT public.apply_provider_prices(\'[{"provider": "p", "model": "m", "input": 1, "output": 2}]\'::jsonb, \'user\'::text)'
    )
    ask = "SELECT outcome FROM public.request_inventory_refresh(NULL::text[], 'test'::text)"
    assert application.value(ask) == "already_queued"
    admin.run("UPDATE public.task_runs SET status = 'running'")
    assert application.value(ask) == "too_soon"
    admin.run("UPDATE public.task_runs SET created_at = '2019-01-01'")
    assert application.value(ask) == "queued"
    admin.run("UPDATE public.workloads SET gone_at = '2019-01-01'")
    maintenance = trapped.session("maintenance")
    maintenance.run("SET search_path = pg_catalog, public, pg_temp")
    assert maintenance.value("SELECT public.forget_gone_inventory('1 day'::interval)") == 1
    admin.run("UPDATE public.task_runs SET status = 'succeeded', finished_at = '2019-01-01'")
    assert maintenance.value("SELECT public.remove_old_task_events('1 day'::interval)") == 0
    assert admin.value("SELECT count(*) FROM public.playbook_run_hosts") == 0
    assert maintenance.value("SELECT public.prune_llm_bodies(now() - '1 day'::interval)") == 0
    with pytest.raises(psycopg2.Error, match="a day ago"):
        maintenance.run("SELECT public.prune_llm_bodies(now())")
    for view in VIEWS:
        application.rows(f"SELECT * FROM public.{view}")
    for refused in (
        "UPDATE public.task_events SET sequence = 9",
        "UPDATE public.audit_entries SET actor = 'x'",
        "INSERT INTO public.audit_links VALUES (99, 99, '\\x00')",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            admin.run(refused)
    details = {"text": "x" * 40_000, "numbers": [1.5, 2]}
    application.insert("audit_entries", actor="a", action="b", outcome="success", details=details)
    application.insert("task_events", task_run_id=rows["task_runs"]["id"], sequence=7, type="log", payload=details)
    with pytest.raises(psycopg2.errors.CheckViolation):
        application.insert("audit_entries", actor="a" * 2000, action="b", outcome="success")
    report = application.row(
        "SELECT * FROM public.verify_audit_chain(NULL::bigint, NULL::bytea, NULL::bigint, NULL::bytea)"
    )
    assert (report["valid"], report["problem"]) == (True, None)
    assert not caught(admin)


def test_attack_function_of_a_stranger_in_the_life_of_a_tool_call(trapped):
    """Asked for, checked, decided, started, finished, withdrawn, run out, and what provisions tools, policies and tokens."""
    admin, application, executor, approver, audit = (
        trapped.session(role) for role in ("admin", "application", "executor", "approver", "audit")
    )
    for session in (admin, application, executor, approver, audit):
        session.run("SET search_path = pg_catalog, public, pg_temp")
    tools = [
        {"name": "look", "risk_level": "READ_ONLY"},
        {"name": "act", "risk_level": "SAFE_MUTATE", "preset": {"a": 1}},
    ]
    more = [{"name": "gone", "risk_level": "READ_ONLY"}]
    policies = [{"name": "p", "tools": ["look"], "effect": "allow", "conditions": {"arguments_in": {"a": [[1], 2]}}}]
    tokens = [
        {"name": "claude", "kind": "requester", "sha256": hashlib.sha256(b"r" * 32).hexdigest()},
        {"name": "alice", "kind": "approver", "sha256": hashlib.sha256(b"a" * 32).hexdigest()},
    ]
    apply = "SELECT public.apply_tools(%s::jsonb, %s::jsonb)"
    audit.value(apply, json.dumps(tools + more), "[]")
    assert audit.value(apply, json.dumps(tools), "[]") == 1
    audit.value("SELECT public.apply_policies(%s::jsonb)", json.dumps([*policies, {**policies[0], "name": "q"}]))
    assert audit.value("SELECT public.apply_policies(%s::jsonb)", json.dumps(policies)) == 1
    audit.value("SELECT public.apply_tool_tokens(%s::jsonb)", json.dumps(tokens))
    task = application.insert("tasks", title="t", created_by="test")
    run = application.insert("task_runs", task_id=task["id"], status="running")["id"]

    def request(tool, arguments, key=None, token=None):
        statement = "SELECT * FROM public.request_tool_call(%s::uuid, %s::text, %s::jsonb, %s::text, %s::text)"
        return application.row(statement, run, tool, json.dumps(arguments), key, token)

    def step(session, function, types, *values):
        holders = ", ".join(f"%s::{each}" for each in types.split())
        return session.row(f"SELECT * FROM public.{function}({holders})", *values)

    execution = "00000000-0000-0000-0000-000000000001"
    asked = request("act", {}, "k", "r" * 32)
    assert request("act", {}, "k", "r" * 32) == asked
    for refused in (
        request("act", {"b": 1}, "k"),
        request("act", {"a": 2}),
        request("nothing", {}),
        request("look", {"x": "y" * 70_000}),
        request("look", {}, None, "x" * 32),
    ):
        assert refused["status"] == "denied"
    call = asked["call_id"]
    assert step(executor, "check_tool_call", "uuid text", call, None)["accepted"]
    assert approver.value("SELECT count(*) FROM public.waiting_tool_calls(NULL::text)") == 1
    assert approver.value("SELECT count(*) FROM public.waiting_tool_calls(%s::text)", "a" * 32) == 1
    assert approver.value("SELECT public.tool_token_name(%s::text, 'approver'::text)", "a" * 32) == "alice"
    decide = "decide_tool_call", "uuid text text text"
    assert not step(application, *decide, call, "approve", None, "x" * 32)["accepted"]
    assert step(application, *decide, call, "approve", None, "a" * 32)["accepted"]
    assert not step(approver, "decide_tool_call", "uuid text text", call, "deny", None)["accepted"]
    start = "start_tool_call", "uuid uuid jsonb"
    assert step(executor, *start, call, execution, "{}")["accepted"]
    assert not step(executor, *start, call, execution, "{}")["accepted"]
    finish = "finish_tool_call", "uuid uuid text jsonb text"
    assert step(executor, *finish, call, execution, "succeeded", '{"a": 1}', None)["accepted"]
    assert not step(executor, *finish, call, execution, "failed", None, None)["accepted"]
    other = request("look", {"a": [1]})
    assert (other["status"], other["policy"]) == ("approved", "p")
    assert step(application, "cancel_tool_call", "uuid text", other["call_id"], None)["accepted"]
    assert not step(application, "cancel_tool_call", "uuid text", other["call_id"], "x" * 32)["accepted"]
    wrong, late, denied = (request("act", {})["call_id"] for _ in range(3))
    assert step(executor, "check_tool_call", "uuid text", wrong, "odd")["status"] == "denied"
    assert step(executor, "check_tool_call", "uuid text", denied, None)["accepted"]
    assert step(approver, "decide_tool_call", "uuid text text", denied, "deny", "no")["accepted"]
    admin.run(
        "UPDATE public.tool_call_records SET created_at = now() - interval '3 days' WHERE id IN (%s, %s)", late, call
    )
    assert executor.value("SELECT public.expire_tool_calls()") == 1
    assert application.value("SELECT public.prune_tool_call_results(now() - '2 days'::interval)") == 1
    assert executor.value("SELECT public.roll_up_tool_calls()") > 0
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.insert("audit_entries", actor="a", action="tool_call.approve", outcome="success")
    assert application.value("SELECT total_calls FROM public.tool_call_success_rate WHERE tool_name = 'act'") == 5
    assert not caught(admin)
