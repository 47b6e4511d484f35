"""What the health check says of the age of the price list, and of calls without a price."""

import dataclasses
import math

import pytest
from health_lab import PATIENT, health


def prices(database, role="monitor", **thresholds):
    return health(database, role, thresholds=dataclasses.replace(PATIENT, **thresholds)).check("prices")


def read_before(database, days):
    database.session("owner").run("UPDATE price_lists SET read_on = (now() AT TIME ZONE 'UTC')::date - %s", days)


def unpriced(database, model, calls, **columns):
    for _ in range(calls):
        database.session("application").insert("token_usage", provider="openai", model=model, input_tokens=1, **columns)


@pytest.mark.parametrize("role", ["monitor", "service", "readonly", "application"])
def test_a_young_list_and_priced_usage_pass(database, role):
    unpriced(database, "gpt-5", 1)
    unpriced(database, "old", 1, occurred_at="2026-01-01T00:00:00Z")
    read_before(database, 89)
    check = prices(database, role)
    assert check.status == "pass"
    assert check.message.endswith("0 calls of the last 30 days without a price.")
    assert check.data["age_days"] == 89


def test_an_old_list_is_a_warning_that_says_what_to_do(database):
    read_before(database, 90)
    check = prices(database)
    assert check.status == "warn"
    assert check.message.endswith(" 90 days ago: update the collection and run playbooks/prices.yml.")
    assert prices(database, prices_warn_days=91).status == "pass"


def test_models_without_a_price_are_named(database):
    unpriced(database, "nobody", 2)
    unpriced(database, "gpt-5", 1, billing_mode="free")
    check = prices(database)
    assert check.status == "warn"
    assert check.message.startswith(
        "3 calls of the last 30 days have no price, of openai nobody (2), openai gpt-5 in the mode free (1): "
    )
    assert "mission_control_schema_prices" in check.message
    assert check.data["unpriced_calls"] == 3
    assert prices(database, unpriced_warn_calls=4).status == "pass"
    assert prices(database, unpriced_warn_calls=math.inf).status == "pass"


def test_of_many_models_some_are_named(database):
    for number in range(7):
        unpriced(database, f"model-{number}", 1)
    assert "openai model-4 (1), and 2 others: " in prices(database).message


def test_without_the_collections_list_only_usage_is_judged(database):
    database.session("owner").run("DELETE FROM price_lists")
    assert prices(database).message.startswith("No price list of the collection is in force; ")


def test_who_may_not_read_usage_is_told_so(database):
    database.session("owner").run("REVOKE ALL ON token_usage FROM mission_control_monitor")
    assert prices(database).status == "not visible"
    read_before(database, 90)
    assert prices(database).status == "warn"
