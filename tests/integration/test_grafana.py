"""The dashboards in files/grafana: whole, bound to no data source of anybody, and their SQL runs as the read-only role."""

from __future__ import annotations

import datetime
import json
import re
from itertools import combinations

import pytest
from playbook import ROOT
from playbook_rows import add_playbook_run
from sample_rows import fill_every_table, insert_as_superuser

DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("files/grafana/*.json")}
DATA = DASHBOARDS["mission_control_data"]
NUMBERS = (int, float)


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard):
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def for_postgresql(sql, provider="any", period="day"):
    """SQL as Grafana sends it, for a time range that ends now."""
    sql = sql.replace("${provider:raw}", provider).replace("${period:raw}", period)
    sql = re.sub(
        r"\$__timeFilter\(([\w.]+)\)", r"\1 BETWEEN now() - interval '30 days' AND now() + interval '1 minute'", sql
    )
    sql = sql.replace("$__timeFrom()", "now() - interval '30 days'").replace("$__timeTo()", "now()")
    assert "$" not in sql
    return sql


STATEMENTS = [
    *((panel["title"], target["format"], target["rawSql"]) for panel in panels(DATA) for target in panel["targets"]),
    *((each["name"], "annotation", each["target"]["rawSql"]) for each in DATA["annotations"]["list"]),
    *((each["name"], "variable", each["query"]) for each in DATA["templating"]["list"] if each["type"] == "query"),
]


@pytest.fixture(scope="module")
def reader(shared_database):
    """Rows of every kind that a panel shows, read by the role that Grafana logs in with."""
    application = shared_database.session("application")
    rows = fill_every_table(application)
    task, run, tool = rows["tasks"], rows["task_runs"], rows["tool_definitions"]
    application.insert("hosts", name="pve2", type="vm", status="offline")
    application.insert("workloads", name="blog", type="k8s-deployment", status="failed")
    application.insert(
        "task_runs", task_id=task["id"], status="failed", finished_at=datetime.datetime.now(datetime.timezone.utc)
    )
    application.insert("task_events", task_run_id=run["id"], sequence=2, type="error")
    for status in ("denied", "pending"):
        insert_as_superuser(application, "tool_call_records", task_run_id=run["id"], tool_id=tool["id"], status=status)
    application.insert("token_usage", provider="openai", model="nobody knows", input_tokens=7)
    add_playbook_run(application)
    application.insert("audit_entries", actor="bob", action="task.delete", outcome="denied")
    return shared_database.session("readonly")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_imported_anywhere(name):
    dashboard = DASHBOARDS[name]
    assert dashboard["id"] is None
    assert dashboard["uid"] == name.replace("_", "-")
    assert dashboard["schemaVersion"] == 42
    assert variables(dashboard)["datasource"]["type"] == "datasource"
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(dashboard))
    assert set(sources) == {dashboard["uid"], "${datasource}"}
    used = set(re.findall(r"\$\{(\w+)", json.dumps(dashboard)))
    assert used == set(variables(dashboard))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_its_own_place_and_says_what_it_shows(name):
    every = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    for panel in panels(DASHBOARDS[name]):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
    for one, other in combinations([panel["gridPos"] for panel in every], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in every) == 24


@pytest.mark.parametrize(("title", "form", "sql"), STATEMENTS, ids=[title for title, _, _ in STATEMENTS])
def test_the_read_only_role_gets_rows_in_the_form_that_grafana_takes(reader, title, form, sql):
    rows = reader.rows(for_postgresql(sql))
    assert rows, title
    if form in ("time_series", "annotation"):
        assert all(row["time"].tzinfo for row in rows)
        assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    if form == "annotation":
        assert all(isinstance(row["text"], str) for row in rows)
    if form == "time_series":
        for row in rows:
            values = {name: value for name, value in row.items() if name not in ("time", "metric")}
            assert len(values) == 1
            assert all(isinstance(value, NUMBERS) for value in values.values())
            assert isinstance(row.get("metric", ""), str)


def test_a_stat_is_one_number(reader):
    for panel in panels(DATA):
        if panel["type"] == "stat":
            [row] = reader.rows(for_postgresql(panel["targets"][0]["rawSql"]))
            [value] = row.values()
            assert isinstance(value, NUMBERS), panel["title"]


def test_the_choice_of_a_provider_leaves_the_others_out(reader):
    for panel in panels(DATA):
        for target in panel["targets"]:
            if "${provider:raw}" in target["rawSql"]:
                rows = reader.rows(for_postgresql(target["rawSql"], provider="claude"))
                assert sum(value for row in rows for value in row.values() if isinstance(value, NUMBERS)) == 0
                assert "claude" not in str(rows)


@pytest.mark.parametrize(("period", "day"), [("day", None), ("week", 1), ("month", None)])
def test_bars_begin_where_the_reporting_time_zone_cuts(reader, period, day):
    reader.run("SET mission_control.reporting_time_zone = 'Pacific/Auckland'")
    try:
        for panel in panels(DATA):
            if panel["type"] == "timeseries":
                for target in panel["targets"]:
                    sql = for_postgresql(target["rawSql"], period=period)
                    for moment in reader.values(f"SELECT time AT TIME ZONE 'Pacific/Auckland' FROM ({sql}) AS bars"):
                        assert moment.time() == datetime.time()
                        assert day is None or moment.isoweekday() == day
                        assert period != "month" or moment.day == 1
    finally:
        reader.run("RESET mission_control.reporting_time_zone")
