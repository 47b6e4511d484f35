"""What the health check says of the sources of the inventory."""

from __future__ import annotations

import dataclasses
import math

import pytest
from health_lab import PATIENT, health
from inventory_rows import add_source

ERROR = "The API server at https://k8s:6443 refused the token."


@pytest.fixture
def session(database):
    return database.session("admin")


def sources(database, role="application", **thresholds):
    return health(database, role, thresholds=dataclasses.replace(PATIENT, **thresholds)).check("inventory_sources")


def test_without_a_source_that_is_asked_by_the_clock_it_says_so_and_is_no_pass(database, session):
    check = sources(database)
    message = "No source fills the inventory: see the role mission_control_inventory."
    assert (check.status, check.message) == ("not checked", message)
    add_source(session, "by-hand", "ansible")
    add_source(session, "off", enabled=False, interval_seconds=1)
    assert sources(database).message == "1 source, none of them asked by the clock."
    assert sources(database).status == "not checked"


@pytest.mark.parametrize("role", ["postgres", "application", "readonly", "monitor", "service"])
def test_every_login_that_checks_the_health_sees_the_sources(database, session, role):
    add_source(session, "k8s-main", complete_minutes_ago=14, interval_seconds=300)
    check = sources(database, role)
    assert (check.status, check.message) == ("pass", "1 source asked by the clock, none silent for long.")
    session.run("UPDATE inventory_sources SET interval_seconds = 60")
    assert sources(database, role).status == "warn"


def test_a_source_that_was_silent_for_three_intervals_is_named_with_why(database, session):
    add_source(session, "k8s-main", complete_minutes_ago=16, interval_seconds=300, error=ERROR)
    check = sources(database)
    message = f"The source k8s-main had no complete sync for 16 min; its last sync failed: {ERROR}"
    assert (check.status, check.message) == ("warn", message)
    assert sources(database, inventory_warn_intervals=4).status == "pass"
    assert sources(database, inventory_warn_intervals=math.inf).status == "pass"
    # This login may know of the source, not of its runs.
    assert sources(database, "monitor").message == "The source k8s-main had no complete sync for 16 min."


def test_a_kind_that_is_not_listed_any_more_is_silence(database, session):
    add_source(session, "k8s-main", complete_minutes_ago=16, interval_seconds=300)
    [found] = sources(database).data["silent"]
    assert 900 <= found["seconds"] < 1500


def test_a_source_that_never_was_listed_counts_from_when_it_was_added(database, session):
    add_source(session, "new", interval_seconds=300)
    assert sources(database).status == "pass"
    session.run("UPDATE inventory_sources SET created_at = now() - interval '16 minutes'")
    message = "The source new has had no complete sync since it was added, for 16 min."
    assert sources(database).message == message


def test_of_several_the_one_is_named_that_missed_most_intervals(database, session):
    add_source(session, "daily", complete_minutes_ago=3 * 1440, interval_seconds=86400)
    add_source(session, "often", complete_minutes_ago=60, interval_seconds=60)
    add_source(session, "well", complete_minutes_ago=1, interval_seconds=300)
    assert (
        sources(database).message
        == "The source often had no complete sync for 60 min, nor had 1 other for several intervals."
    )
