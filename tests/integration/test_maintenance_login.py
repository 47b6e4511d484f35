"""The login that removes what is old: functions that ask for an age, no age below a day, and nothing else, whatever the schema gains."""

import mission_control_database as layer
import psycopg2
import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.objects import VIEWS
from sample_rows import fill_every_table
from test_database_service_role import COLUMNS, WRITES, refusal
from test_sql_playbook_runs import add_run
from test_sql_task_events import make_old

EXECUTED = {"remove_old_task_events", "forget_gone_inventory", "prune_llm_bodies", "prune_tool_call_results"}
# These remove nothing: they close what has run out, and sum up.
EXECUTED |= {"expire_tool_calls", "roll_up_tool_calls"}
CALLS = (
    "SELECT remove_old_task_events(%s::interval)",
    "SELECT forget_gone_inventory(%s::interval)",
    "SELECT prune_llm_bodies(now() - %s::interval)",
    "SELECT prune_tool_call_results(now() - %s::interval)",
)
TOO_YOUNG = ("23 hours 59 minutes", "0", "-1 day", "1 month -31 days", None)


@pytest.fixture
def maintenance(database):
    return database.session("maintenance")


@pytest.fixture(scope="module")
def shared(shared_database):
    # A copy of a database does not take the privileges on the database itself along.
    layer.apply_privileges(shared_database)
    return shared_database.session("maintenance")


def test_it_reads_and_writes_no_column_of_any_table(shared_database, shared):
    columns = shared_database.session("admin").rows(COLUMNS)
    assert len({row["relation"] for row in columns}) >= 25
    for row in columns:
        relation, column = row["relation"], row["name"]
        assert refusal(shared, f"SELECT {column} FROM {relation}") == "42501", row
        if relation not in VIEWS:
            for statement in WRITES:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege), shared.transaction():
                    shared.run(statement.format(relation=relation, column=column))


def test_it_executes_its_functions_and_no_other(shared_database, shared):
    functions = shared.rows(
        """
        SELECT p.proname::text AS name, has_function_privilege(p.oid, 'EXECUTE') AS may FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal')
        """
    )
    assert len(functions) >= 30
    assert {row["name"] for row in functions if row["may"]} == EXECUTED
    for call in (
        "SELECT shorten_task_events('a reason', now())",
        "SELECT apply_provider_prices('[]', 'user')",
        "SELECT fill_unpriced_token_usage()",
        "SELECT * FROM request_inventory_refresh()",
        "SELECT * FROM verify_audit_chain()",
        "SELECT reporting_time_zone()",
    ):
        assert refusal(shared, call) == "42501", call


def test_it_makes_nothing_and_becomes_nobody(shared):
    for statement in (
        "CREATE TABLE mine (id integer)",
        "CREATE TEMPORARY TABLE mine (id integer)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1",
        "SET ROLE mission_control_owner",
        "SET ROLE mission_control",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT lo_create(0)",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
    ):
        assert refusal(shared, statement) == "42501", statement


@pytest.mark.parametrize("call", CALLS)
def test_attack_events_of_today_by_a_stolen_login(database, maintenance, call):
    rows = fill_every_table(database.session("admin"))
    admin = database.session("admin")
    admin.run("UPDATE workloads SET gone_at = now() - interval '23 hours', type = 'docker-container'")
    # What it may set for itself moves no limit.
    maintenance.run("SET timezone = 'Pacific/Kiritimati'")
    maintenance.run("SET mission_control.task_event_retention = 'on'")
    maintenance.run("SET intervalstyle = 'sql_standard'")
    for age in TOO_YOUNG:
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="removes what is") as refused:
            maintenance.run(call, age)
        assert refused.value.diag.message_primary.count("\n") == 0
    assert maintenance.value(call, "1 day") == 0
    for table in ("task_events", "playbook_run_hosts", "workloads", "llm_requests"):
        assert admin.value(f"SELECT count(*) FROM {table}") == 1, table
    assert admin.value("SELECT messages FROM llm_requests") == rows["llm_requests"]["messages"]


def test_old_events_go_and_the_trace_names_the_login(database, application, admin, maintenance):
    run = fill_every_table(application)["task_runs"]
    for sequence in (0, 2):
        application.insert("task_events", task_run_id=run["id"], sequence=sequence, type="log")
    make_old(admin)
    assert maintenance.value("SELECT remove_old_task_events('90 days')") == 2
    assert admin.values("SELECT sequence FROM task_events") == [2]
    trace = admin.row(
        "SELECT actor, database_role, details ->> 'reason' AS reason, details ->> 'events' AS events FROM audit_entries "
        "WHERE action = 'task_events.remove'"
    )
    login = "mission_control_maintenance"
    assert trace == {"actor": login, "database_role": login, "reason": "retention", "events": "2"}
    assert admin.values("SELECT host_name FROM playbook_run_hosts") == ["pve1"], "the run has not finished"


def test_the_counts_of_hosts_go_with_the_last_event(application, admin, maintenance):
    long_ago = {"created_at": "2020-01-01Z", "status": "failed", "finished_at": "2020-01-02Z"}
    hosts = ({"host_name": "a", "ok": 1}, {"host_name": "b", "failed": 1})
    add_run(application, "x/bare.yml", hosts=hosts, **long_ago)
    late = add_run(application, "x/recorded-late.yml", hosts=hosts, **long_ago)
    application.insert("task_events", task_run_id=late, sequence=0, type="log")
    running = add_run(application, "x/running.yml", hosts=hosts, created_at="2020-01-01Z", status="running")
    recent = add_run(application, "x/recent.yml", hosts=hosts, status="succeeded", finished_at="now")
    maintenance.run("SELECT remove_old_task_events('1 day')")
    assert set(admin.values("SELECT task_run_id FROM playbook_run_hosts")) == {late, running, recent}
    assert (
        admin.value("SELECT details ->> 'hosts' FROM audit_entries WHERE action = 'playbook_run_hosts.remove'") == "2"
    )
    assert admin.value("SELECT count(*) FROM playbook_run_overview") == 4


def test_what_is_old_goes_by_the_other_two(application, admin, maintenance):
    fill_every_table(application)
    admin.run("UPDATE workloads SET gone_at = now() - interval '31 days'")
    admin.run("UPDATE llm_requests SET occurred_at = now() - interval '181 days'")
    assert maintenance.value("SELECT forget_gone_inventory('30 days')") == 1
    assert maintenance.value("SELECT prune_llm_bodies(now() - interval '180 days')") == 1
    actors = admin.rows("SELECT action, database_role FROM audit_entries WHERE action ~ '^(inventory|llm)' ORDER BY 1")
    login = "mission_control_maintenance"
    assert [tuple(row.values()) for row in actors] == [("inventory.forget", login), ("llm_bodies.prune", login)]
