"""What the health check says of tools, their calls and policies."""

from __future__ import annotations

import dataclasses
import math
import uuid

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.health.tools import without_names
from health_lab import PATIENT, health
from test_sql_tools import Lab, policy


@pytest.fixture
def lab(database):
    return Lab(database)


def tools(lab, role="application", **thresholds):
    return health(lab.database, role, thresholds=dataclasses.replace(PATIENT, **thresholds)).check("tools")


@pytest.mark.parametrize("role", ["postgres", "application", "readonly", "monitor", "service", "executor"])
def test_a_call_that_waits_for_a_person_is_no_warning_for_any_login(lab, role):
    lab.asked()
    call, execution = lab.request("list_things")["call_id"], str(uuid.uuid4())
    lab.start(call, execution)
    check = tools(lab, role)
    assert (check.status, check.message) == ("pass", "1 tool call running, 1 waiting for a person.")
    assert without_names(check) == check.message


def test_calls_that_no_executor_takes_up_are_told_with_their_age(lab):
    unchecked, approved = lab.request()["call_id"], lab.request("list_things")["call_id"]
    lab.asked()
    assert tools(lab).status == "pass"
    lab.set(unchecked, created_at="now() - interval '4 minutes'")
    lab.set(approved, created_at="now() - interval '6 minutes'")
    check = tools(lab)
    assert (check.status, check.message) == ("warn", "1 tool call is taken up by no executor, one for 6 min.")
    assert tools(lab, tool_call_warn_seconds=60).data["stalled"] == 2
    assert tools(lab, tool_call_warn_seconds=math.inf).status == "pass"
    # Since a person has approved it, not since it was asked for.
    lab.set(approved, approved_at="now()", approved_by="'alice'")
    assert tools(lab).status == "pass"


def test_calls_that_ended_in_no_known_way_or_do_not_end_are_told(lab):
    calls = []
    for _ in range(3):
        calls.append(lab.request("list_things")["call_id"])
        lab.start(calls[-1])
    lab.set(calls[0], deadline_at="now() - interval '61 seconds'")
    lab.set(calls[1], status="'unknown'", deadline_at="now() - interval '23 hours'")
    lab.set(calls[2], status="'unknown'", deadline_at="now() - interval '25 hours'")
    assert tools(lab, "monitor").message == (
        "1 tool call runs past the deadline; 1 tool call of the last 24 h has ended without anybody knowing how."
    )


def test_a_policy_that_nobody_understands_is_named_but_not_to_everybody(lab):
    lab.policies(policy("at night", "allow"), policy("off", "allow", enabled=False))
    lab.admin.run("ALTER TABLE policies DROP CONSTRAINT ck_policies_conditions_known")
    lab.admin.run("""UPDATE policies SET conditions = '{"hours": [1]}'""")
    check = tools(lab, "monitor")
    assert check.status == "warn"
    assert check.message == "1 policy denies all it covers, since its conditions are not known: at night."
    assert without_names(check) == "1 policy denies all it covers, since its conditions are not known."


def test_a_policy_of_before_that_allows_calls_is_named_until_it_is_provisioned(lab):
    lab.policies(policy("planted", "allow"), policy("kept", "allow"), policy("strict", "deny"))
    lab.admin.run("UPDATE policies SET origin = 'user' WHERE name <> 'kept'")
    check = tools(lab, "monitor")
    assert check.status == "warn"
    assert check.message == "1 policy allows calls without being one of mission_control_schema_policies: planted."
    assert without_names(check) == "1 policy allows calls without being one of mission_control_schema_policies."
    lab.policies(policy("planted", "allow", enabled=False))
    assert tools(lab, "monitor").status == "pass"


def test_a_table_that_runs_code_of_others_is_not_read(lab):
    lab.admin.run("ALTER TABLE policies RENAME TO kept")
    lab.admin.run("CREATE VIEW policies AS SELECT * FROM kept")
    check = tools(lab, "postgres")
    assert check.status == "fail"
    assert "policies is a view" in check.message
