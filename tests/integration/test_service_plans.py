"""The queries behind the API read what they show, and not a whole table or log."""

import re

import pytest
from large_data import load_playbook_runs, load_runs, load_usage
from mission_control_service import figures, inventory, usage_api
from mission_control_service.database import Reader
from mission_control_service.lists import list_parameters, read_one, read_page
from mission_control_service.pagination import LIMIT
from mission_control_service.resources import (
    HOST_RUNS,
    HOSTS,
    PLAYBOOK_RUNS,
    TASK_EVENTS,
    TASK_RUNS,
    TASKS,
    TOOL_CALLS,
    WORKLOADS,
)

LOGS = ("task_runs", "task_events", "token_usage", "tool_call_records", "playbook_run_hosts")


@pytest.fixture(scope="module")
def plans(shared_database):
    """A reader that explains each query with its figures, instead of giving its rows alone."""
    session = shared_database.session("admin")
    session.run(
        "INSERT INTO hosts (name, type, cluster, status) SELECT 'host ' || n, 'vm', 'c' || n % 10, 'online' "
        "FROM generate_series(1, 10000) AS n"
    )
    session.run(
        "INSERT INTO workloads (name, type, host_id) SELECT 'w', 'k8s-pod', id FROM hosts, generate_series(1, 2)"
    )
    load_runs(session.connection, runs=20_000, events=100_000, calls=40_000)
    # Two weeks become a year.
    session.run("UPDATE task_runs SET created_at = now() - (now() - created_at) * 26")
    session.run(
        "UPDATE tool_call_records AS c SET created_at = r.created_at, "
        "status = CASE WHEN c.status = 'pending' AND r.created_at < now() - interval '1 day' THEN 'expired' ELSE c.status END "
        "FROM task_runs AS r WHERE r.id = c.task_run_id"
    )
    session.run("ANALYZE tool_call_records")
    load_playbook_runs(session.connection, runs=5_000, events=2_500)
    session.run(
        "UPDATE playbook_run_hosts AS p SET host_id = h.id FROM hosts AS h WHERE h.name = 'host 7' AND p.host_name = 'host7'"
    )
    load_usage(session.connection, usage=100_000, days=365)
    return Explainer(shared_database.session("service"))


class Explainer(Reader):
    def __init__(self, session):
        self._asked = session
        self.plans = []

    def rows(self, sql, parameters=None):
        if isinstance(parameters, dict):
            names = re.findall(r"%\((\w+)\)s", sql)
            sql, parameters = re.sub(r"%\(\w+\)s", "%s", sql), [parameters[name] for name in names]
        plan = self._asked.value(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON, TIMING OFF) " + sql, *(_plain(each) for each in parameters or [])
        )
        self.plans.append(plan[0]["Plan"])
        return self._asked.rows(sql, *(_plain(each) for each in parameters or []))

    def scanned(self, read):
        """Tables that were read from one end to the other, and the blocks that all queries touched."""
        self.plans = []
        read(self)
        tables = {
            node["Relation Name"]
            for plan in self.plans
            for node in _nodes(plan)
            # A branch of a view that a condition leaves out is planned and never executed.
            if node["Node Type"] == "Seq Scan" and node["Actual Loops"]
        }
        return tables, sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in self.plans)


def _nodes(plan):
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def _plain(value):
    return str(value) if type(value).__name__ == "UUID" else value


@pytest.mark.parametrize(
    ("resource", "query"),
    [
        (HOSTS, {}),
        (HOSTS, {"status": "online", "type": "vm"}),
        (WORKLOADS, {}),
        (TASKS, {}),
        (TASK_RUNS, {}),
        (TASK_RUNS, {"status": "running"}),
        (TASK_RUNS, {"playbook": "load/7.yml"}),
        (PLAYBOOK_RUNS, {}),
        (PLAYBOOK_RUNS, {"playbook": "load/7.yml"}),
        (TOOL_CALLS, {}),
        (TOOL_CALLS, {"tool": "tool 7"}),
        (TOOL_CALLS, {"status": "failed"}),
    ],
)
def test_a_page_costs_what_it_shows_wherever_it_is(plans, resource, query):
    values = {
        parameter.name: parameter.default for parameter in list_parameters(resource) if parameter.default is not None
    }
    values.update(query, limit=50)
    first = read_page(plans, resource, values)
    cursor = {"cursor": first["next_cursor"]} if first["next_cursor"] else {}
    for more in ({}, cursor):
        tables, blocks = plans.scanned(lambda reader, more=more: read_page(reader, resource, {**values, **more}))
        assert not tables & {"hosts", "workloads", *LOGS}
        assert blocks < 2500


def test_a_late_page_of_hosts_is_as_cheap_as_the_first(plans):
    values = {LIMIT.name: 1000, "include_gone": False}
    for _ in range(9):
        values["cursor"] = read_page(plans, HOSTS, values)["next_cursor"]
    tables, blocks = plans.scanned(lambda reader: read_page(reader, HOSTS, {**values, "limit": 50}))
    assert "hosts" not in tables
    assert blocks < 2500


def test_the_inventory_and_the_events_of_a_run_are_read_by_index(plans):
    tables, _blocks = plans.scanned(lambda reader: inventory._read_inventory(reader, {"limit": 100}))
    assert "hosts" not in tables
    run = plans.rows("SELECT id FROM task_runs LIMIT 1")[0]["id"]
    tables, blocks = plans.scanned(lambda reader: read_page(reader, TASK_EVENTS, {"limit": 100}, run))
    assert not tables
    assert blocks < 200


def test_the_runs_of_a_host_are_not_looked_for_in_those_of_others(plans):
    host = plans.rows("SELECT id FROM hosts WHERE name = 'host 7'")[0]["id"]
    tables, blocks = plans.scanned(lambda reader: read_page(reader, HOST_RUNS, {"limit": 50}, host))
    assert not tables & set(LOGS)
    assert blocks < 2500


def test_the_costs_of_a_task_are_those_of_its_runs_alone(plans):
    task = plans.rows("SELECT task_id AS id FROM task_runs ORDER BY created_at DESC LIMIT 1")[0]["id"]
    tables, blocks = plans.scanned(lambda reader: read_one(reader, TASKS, task))
    assert not tables & set(LOGS)
    assert blocks < 2500


def test_usage_reads_its_days_alone(plans):
    for read, values in (
        (usage_api._read_usage, {"limit": 100}),
        (usage_api._read_report, {"limit": 100, "by": ("project", "month"), "provider": "openai"}),
    ):
        tables, _blocks = plans.scanned(lambda reader, read=read, values=values: read(reader, values))
        assert not tables & set(LOGS)


def test_the_figures_scan_no_log(plans):
    for read in (
        figures.read_runs,
        figures.read_playbooks,
        figures.read_tools,
        figures.read_usage,
        figures.read_budgets,
    ):
        tables, _blocks = plans.scanned(read)
        assert not tables & set(LOGS), read
