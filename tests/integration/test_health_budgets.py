"""What the health check says of the budgets for language models."""

from __future__ import annotations

import dataclasses
import math

import pytest
from health_lab import PATIENT, health


@pytest.fixture
def session(database):
    return database.session("admin")


def budgets(database, role="application", **thresholds):
    return health(database, role, thresholds=dataclasses.replace(PATIENT, **thresholds)).check("budgets")


def spend(session, amount, days_ago=0, **columns):
    """Usage that cost this much, at the first moment of a day of the reporting time zone."""
    given = {"provider": "lab", "model": "m", "cost_source": "provider", **columns}
    at = session.value("SELECT reporting_day_start(%s)", days_ago)
    session.insert("token_usage", estimated_cost_usd=amount, occurred_at=at, **given)


def test_without_a_budget_it_says_so_and_is_no_pass(database):
    check = budgets(database)
    message = "There is no budget: see mission_control_schema_budgets."
    assert (check.status, check.message) == ("not checked", message)


@pytest.mark.parametrize("role", ["postgres", "application", "readonly", "monitor", "service"])
def test_every_login_that_checks_the_health_sees_the_budgets(database, session, role):
    session.insert("llm_budgets", name="all", amount_usd=10)
    spend(session, "7.99")
    assert budgets(database, role).status == "pass"
    spend(session, "0.01")
    assert budgets(database, role).status == "warn"


def test_the_budget_that_is_spent_most_is_named_with_its_amounts(database, session):
    session.insert("llm_budgets", name="all", amount_usd=1000)
    session.insert("llm_budgets", name="homelab", amount_usd="12.5", project="homelab")
    session.insert("llm_budgets", name="near", amount_usd=20, provider="lab")
    spend(session, "15", project="homelab")
    spend(session, "2")
    check = budgets(database)
    first = check.data["budgets"][0]
    assert [each["name"] for each in check.data["budgets"]] == ["homelab", "near", "all"]
    assert check.status == "warn"
    assert check.message == (
        "Of the budget homelab, 12.50 USD a month, 15.00 USD are spent (120%), and "
        f"{first['projected_usd']:.2f} USD will be at its end at the present rate; 1 other is spent to 80% or more, too."
    )
    # Money is no outage: what waits for a healthy database goes on.
    assert budgets(database, budget_warn=1).message.endswith("at the present rate.")
    assert budgets(database, budget_warn=math.inf).status == "pass"


def test_it_says_what_the_view_says(database, session):
    session.insert("llm_budgets", name="all", amount_usd=10)
    session.insert("llm_budgets", name="plex", amount_usd=7, project="plex", model="m")
    for days_ago in range(40):
        spend(session, f"0.{days_ago + 10}", days_ago, project="plex" if days_ago % 3 else None)
        if days_ago == 20:
            session.run("SELECT roll_up_token_usage()")
    session.insert("token_usage", provider="lab", model="nobody knows", input_tokens=1)
    names = ("name", "amount_usd", "spent_usd", "spent_share", "unpriced_calls")
    projections = ("projected_usd", "projected_share")
    rows = session.rows("SELECT * FROM llm_budget_status ORDER BY spent_share DESC, name")
    found = budgets(database, "monitor").data["budgets"]
    assert [[each[name] for name in names] for each in found] == [
        [row["name"], *(pytest.approx(float(row[name])) for name in names[1:])] for row in rows
    ]
    for name in projections:
        # The rest of the month has become a little shorter meanwhile.
        assert [each[name] for each in found] == pytest.approx([float(row[name]) for row in rows], rel=1e-3)


def test_a_table_that_runs_code_of_others_is_not_read(database, session):
    session.insert("llm_budgets", name="all", amount_usd=10)
    session.run("ALTER TABLE llm_budgets RENAME TO kept")
    session.run("CREATE VIEW llm_budgets AS SELECT * FROM kept")
    check = budgets(database, "postgres")
    assert check.status == "fail"
    assert "llm_budgets is a view" in check.message
