"""Tools, policies and tokens become what the inputs say, and nothing of a token but its checksum gets into a statement."""

import hashlib

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.schema import (
    read_history_statements,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.tools import (
    Registry,
    read_tools,
    token_step,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import PriceList
from test_schema_ledger import Run

SEED = read_tools(str(layer.SQL.parent / "tools.yml"))
TOOL = {
    "name": "restart_web",
    "risk_level": "SAFE_MUTATE",
    "connector": "kubernetes",
    "operation": "restart_deployment",
    "arguments_schema": {"properties": {"deployment": {"maxLength": 63.0, "default": True}}},
    "preset": {"source": "lab", "namespace": "shop"},
    "version": 2,
}
POLICY = {
    "name": "the assistant's",
    "effect": "allow",
    "tools": ["restart_web"],
    "conditions": {"callers": ["assistant"]},
}
ALICE, BOB, ASSISTANT = ("alice" * 8, "bob" * 11, "assistant" * 4)
TOKENS = "SELECT name, kind FROM tool_tokens ORDER BY kind, name"


@pytest.fixture
def run(database, admin):
    # As the role leaves it; without a run, which takes a second.
    admin.run(
        "INSERT INTO schema_repeatables (name, checksum, run_id) VALUES ('prices:user', %s, gen_random_uuid())",
        PriceList("user", []).checksum,
    )
    return Run(database)


def holder(run, token):
    """Under which name somebody with this token decides."""
    return run.database.session("service").value("SELECT tool_token_name(%s)", token)


def test_the_tools_of_the_collection_come_in_with_one_run_and_stay(run, admin):
    names = sorted(tool["name"] for tool in SEED)
    assert run.apply(registry=Registry(SEED)) == [f"tool {name}" for name in names]
    assert admin.rows("SELECT DISTINCT origin, enabled FROM tool_definitions") == [{"origin": "seed", "enabled": True}]
    assert run.plan(registry=Registry(SEED))["pending_repeatables"] == []


def test_a_run_for_something_else_leaves_tools_alone(run, admin):
    run.apply(registry=Registry([], [TOOL], [POLICY], {"alice": ALICE}))
    assert run.plan()["pending_repeatables"] == []
    assert run.apply(budgets=[{"name": "all", "usd": 1}]) == ["budget all"]
    assert admin.values("SELECT name FROM tool_definitions") == ["restart_web"]
    assert admin.values("SELECT name FROM tool_tokens") == ["alice"]


def test_own_tools_win_over_those_of_the_collection_and_are_given_back(run, admin):
    run.apply(registry=Registry(SEED))
    own = {**TOOL, "name": "restart_k8s_deployment", "enabled": False}
    origin = "SELECT origin, enabled FROM tool_definitions WHERE name = 'restart_k8s_deployment'"
    assert run.apply(registry=Registry(SEED, [own])) == ["tool restart_k8s_deployment"]
    assert admin.row(origin) == {"origin": "role", "enabled": False}
    assert run.apply(registry=Registry(SEED)) == ["tool restart_k8s_deployment"]
    assert admin.row(origin) == {"origin": "seed", "enabled": True}


def test_the_same_tool_written_otherwise_is_no_change(run):
    run.apply(registry=Registry((), [TOOL], [POLICY]))
    schema = {"properties": {"deployment": {"default": True, "maxLength": 63}}}
    same = {
        **TOOL,
        "version": "2",
        "arguments_schema": schema,
        "timeout_seconds": "60",
        "description": "",
        "enabled": None,
    }
    policy = {**POLICY, "priority": 100, "risk_levels": None}
    assert run.plan(registry=Registry((), [same], [policy]))["pending_repeatables"] == []
    other = {**TOOL, "arguments_schema": {"properties": {"deployment": {"default": 1, "maxLength": 63}}}}
    assert run.plan(registry=Registry((), [other], [POLICY]))["pending_repeatables"] == ["tool restart_web"]


def test_a_tool_that_is_gone_stays_for_the_record_where_it_was_called(run, admin):
    uncalled = {**TOOL, "name": "restart_shop"}
    run.apply(registry=Registry((), [TOOL, uncalled]))
    application = run.database.session("application")
    application.run("INSERT INTO tasks (title, created_by) VALUES ('x', 'x')")
    task_run = application.value("INSERT INTO task_runs (task_id) SELECT id FROM tasks RETURNING id")
    status = "SELECT status FROM request_tool_call(%s, 'restart_web', '{\"deployment\": \"web\"}')"
    assert application.value(status, task_run) == "pending"
    assert run.apply(registry=Registry()) == ["tool restart_shop", "tool restart_web"]
    assert admin.rows("SELECT name, enabled FROM tool_definitions") == [{"name": "restart_web", "enabled": False}]
    assert run.apply(registry=Registry((), [TOOL])) == ["tool restart_web"]
    assert admin.value("SELECT enabled FROM tool_definitions")


def test_policies_become_what_the_list_says(run, admin):
    other = {"name": "nights", "effect": "deny", "risk_levels": ["SAFE_MUTATE"], "priority": 200}
    assert run.apply(registry=Registry((), [TOOL], [POLICY, other])) == [
        "tool restart_web",
        "policy nights",
        "policy the assistant's",
    ]
    decided = "SELECT policy FROM tool_policy_decision('restart_web', '{}', 'assistant')"
    application = run.database.session("application")
    assert application.value(decided) == "nights"
    assert run.apply(registry=Registry((), [TOOL], [POLICY, {**other, "priority": 5}])) == ["policy nights"]
    assert application.value(decided) == "the assistant's"
    assert run.apply(registry=Registry((), [TOOL], [other])) == ["policy nights", "policy the assistant's"]
    assert admin.values("SELECT name FROM policies") == ["nights"]


def test_what_was_made_before_is_taken_over_only_by_its_name(run, admin):
    admin.run(
        "INSERT INTO tool_definitions (name, risk_level) VALUES ('restart_web', 'DESTRUCTIVE'), ('mine', 'READ_ONLY');"
        "INSERT INTO policies (name, effect, tools) VALUES ('the assistant''s', 'deny', '{*}'), ('mine', 'deny', '{*}')"
    )
    assert run.plan(registry=Registry())["pending_repeatables"] == []
    registry = Registry((), [TOOL], [POLICY, {"name": "both", "effect": "deny", "tools": ["mine", "*"]}])
    assert run.apply(registry=registry) == [
        "tool restart_web (takes the place of one that somebody made)",
        "policy both",
        "policy the assistant's (takes the place of one that somebody made)",
    ]
    assert admin.rows("SELECT name, origin FROM tool_definitions ORDER BY name") == [
        {"name": "mine", "origin": "user"},
        {"name": "restart_web", "origin": "role"},
    ]
    assert admin.values("SELECT effect FROM policies WHERE name = 'the assistant''s'") == ["allow"]


def test_a_policy_for_a_tool_that_there_is_not_is_refused_with_the_one_that_was_meant(run):
    (problem,) = run.plan(problems=1, registry=Registry(SEED, [TOOL], [{**POLICY, "tools": ["restart_wep"]}]))[
        "problems"
    ]
    assert problem == (
        "mission_control_schema_policies has a policy \"the assistant's\" for the tool 'restart_wep', which there is not; "
        "did you mean 'restart_web'?"
    )
    (problem,) = run.plan(problems=1, registry=Registry((), (), [{**POLICY, "tools": ["xyz", "*"]}]))["problems"]
    assert problem.endswith("for the tool 'xyz', which there is not.")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"tools": ["restart_web"], "conditions": {"arguments": {"namespace": "shop", "source": "lab"}}}, ""),
        ({"tools": ["*"], "conditions": {"arguments_in": {"vmid": [100]}}}, ""),
        ({"risk_levels": ["READ_ONLY"], "conditions": {"arguments": {"previous": True}}}, ""),
        ({"tools": ["restart_web"], "conditions": {"arguments": {"vmid": 100}}}, "the argument 'vmid', which no tool that it covers takes."),
        (
            {"risk_levels": ["SAFE_MUTATE"], "conditions": {"arguments_in": {"namspace": ["a"]}}},
            "the argument 'namspace', which no tool that it covers takes; did you mean 'namespace'?",
        ),
    ],
)  # fmt: skip
def test_a_condition_that_no_call_could_meet_is_refused(run, policy, words):
    registry = Registry(SEED, [TOOL], [{"name": "x", "effect": "deny", **policy}])
    found = run.plan(problems=1 if words else 0, registry=registry)["problems"]
    assert [each.partition(" with a condition on ")[2] for each in found] == ([words] if words else [])


def test_of_what_somebodys_own_tools_take_nothing_is_known(run, admin):
    admin.run("INSERT INTO tool_definitions (name, risk_level) VALUES ('mine', 'READ_ONLY')")
    policy = {"name": "x", "effect": "deny", "tools": ["mine"], "conditions": {"arguments": {"anything": 1}}}
    assert run.plan(registry=Registry(SEED, (), [policy]))["problems"] == []
    assert run.plan(registry=Registry(SEED, (), [{**policy, "tools": ["*"]}]))["problems"] == []


def test_tokens_are_rotated_and_removed_with_the_next_run(run, admin):
    registry = Registry(approvers={"alice": ALICE, "bob": BOB}, requesters={"assistant": ASSISTANT})
    assert run.apply(registry=registry) == ["approver alice", "approver bob", "requester assistant"]
    assert [holder(run, each) for each in (ALICE, BOB, ASSISTANT)] == ["alice", "bob", None]
    new = "new" * 11
    registry = Registry(approvers={"alice": new}, requesters={"assistant": ASSISTANT, "bob": BOB})
    assert run.apply(registry=registry) == ["approver alice", "approver bob", "requester bob"]
    assert [holder(run, each) for each in (ALICE, BOB, new)] == [None, None, "alice"]
    assert run.apply(registry=Registry()) == ["approver alice", "requester assistant", "requester bob"]
    assert admin.rows(TOKENS) == []


def test_tokens_that_two_exchange_are_exchanged(run):
    run.apply(registry=Registry(approvers={"alice": ALICE, "bob": BOB}))
    assert run.apply(registry=Registry(approvers={"alice": BOB, "bob": ALICE})) == ["approver alice", "approver bob"]
    assert [holder(run, each) for each in (ALICE, BOB)] == ["bob", "alice"]


def test_no_plan_holds_a_token_or_its_checksum(run):
    registry = Registry(SEED, [TOOL], [POLICY], {"alice": ALICE}, {"assistant": ASSISTANT})
    plan = repr(run.plan(registry=registry))
    run.apply(registry=registry)
    plan += repr(run.plan(registry=registry)) + repr(read_history_statements(str(layer.SQL), layer.SETTINGS))
    step = token_step(registry, layer.SETTINGS).sql
    for token in (ALICE, ASSISTANT):
        checksum = hashlib.sha256(token.encode()).hexdigest()
        assert token not in plan + step
        assert checksum not in plan
        assert checksum in step


def test_a_database_of_an_earlier_version_shows_what_is_taken_over(run, admin):
    admin.run(
        "DROP TABLE tool_call_records, tool_definitions, policies, tool_tokens CASCADE; SET ROLE mission_control_owner;"
        "CREATE TABLE tool_definitions AS SELECT 'restart_web' AS name UNION SELECT 'mine'; CREATE TABLE policies (name text); RESET ROLE"
    )
    policy = {**POLICY, "tools": ["mine"]}
    plan = run.plan(registry=Registry((), [TOOL], [policy], {"alice": ALICE}))
    assert plan["pending_repeatables"][-3:] == [
        "tool restart_web (takes the place of one that somebody made)",
        "policy the assistant's",
        "approver alice",
    ]
    admin.run("DROP TABLE tool_definitions, policies")
    plan = run.plan(registry=Registry((), [TOOL]))
    assert plan["pending_repeatables"][-1] == "tool restart_web"


def test_an_administrator_who_is_no_superuser_applies_them_too(run, admin):
    name = "keeper_of_tools"
    owners = ", ".join(layer.ROLES[key] for key in ("owner", "audit"))
    admin.run(f"CREATE ROLE {name} LOGIN CREATEROLE; ALTER DATABASE {run.database.name} OWNER TO {name}")
    if admin.connection.server_version >= 160000:
        admin.run(f"GRANT {owners} TO {name} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
    if admin.connection.server_version < 150000:
        admin.run(f"ALTER SCHEMA public OWNER TO {name}")
    admin.run(
        f"GRANT SELECT, INSERT ON schema_migrations, schema_repeatables TO {name}; GRANT SELECT ON schema_objects TO {name}"
    )
    keeper = Run(run.database, name)
    try:
        registry = Registry((), [TOOL], [POLICY], {"alice": ALICE})
        assert keeper.apply(registry=registry)[-3:] == ["tool restart_web", "policy the assistant's", "approver alice"]
        assert holder(run, ALICE) == "alice"
        assert (
            admin.values(
                "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %s::regrole AND NOT admin_option",
                name,
            )
            == []
        )
    finally:
        admin.run(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_registry_is_written_by_nobody_but_the_owner_of_the_audit_log(run):
    for key in ("owner", "application", "executor", "approver"):
        session = run.database.session(key)
        for call in ("apply_tools('[]', '[]')", "apply_policies('[]')", "apply_tool_tokens('[]')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                session.run(f"SELECT {call}")


def test_a_registry_that_runs_foreign_code_is_not_read(run):
    run.database.session("audit").run("ALTER TABLE tool_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    session = run.database.session()
    *first, last = read_history_statements(str(layer.SQL), layer.SETTINGS, registry=True)
    for statement in first:
        session.run(statement)
    with pytest.raises(psycopg2.Error, match="tool_tokens"):
        session.run(last)
