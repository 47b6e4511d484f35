"""The judge of the drills on a cluster finds what it is there to find: molecule/cluster/drill_judge.py."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "molecule/cluster"))

import drill_judge
from drill_judge import ENTRIES, EVENTS, REQUESTS, RESPONSES, USAGES

TABLES = (ENTRIES, EVENTS, REQUESTS, RESPONSES, USAGES)
ACKNOWLEDGED: dict = {}
FAILED = {"error": "ConnectionLostError", "in_commit": False, "message": "It broke."}
UNKNOWN = {**FAILED, "in_commit": True}
BATCH = [f"k/{part}" for part in range(20)]


def journal(kind, answer):
    began = [json.dumps({"key": "k", "kind": kind, "began": 1.0})]
    return [*began, json.dumps({"key": "k", "ended": 1.5, **answer})] if answer is not None else began


def judged(kind, answer, there, may_lose=False):
    rows = {table: Counter(there.get(table, [])) for table in TABLES}
    return drill_judge.judge(drill_judge.read_journal(journal(kind, answer)), rows, may_lose=may_lose)


@pytest.mark.parametrize(
    ("kind", "answer", "there"),
    [
        ("pair", ACKNOWLEDGED, {ENTRIES: ["k"], EVENTS: ["k"]}),
        ("pair", FAILED, {}),
        ("pair", UNKNOWN, {}),
        ("pair", UNKNOWN, {ENTRIES: ["k"], EVENTS: ["k"]}),
        ("pair", None, {ENTRIES: ["k"], EVENTS: ["k"]}),
        ("batch", ACKNOWLEDGED, {ENTRIES: BATCH, EVENTS: BATCH}),
        ("event", FAILED, {EVENTS: ["k"]}),
        ("llm", ACKNOWLEDGED, {REQUESTS: ["k"], RESPONSES: ["k"], USAGES: ["k"]}),
    ],
)
def test_what_may_be_is_no_finding(kind, answer, there):
    assert judged(kind, answer, there).findings == []


@pytest.mark.parametrize(
    ("kind", "answer", "there", "words"),
    [
        ("pair", ACKNOWLEDGED, {}, "is lost"),
        ("pair", ACKNOWLEDGED, {ENTRIES: ["k"]}, "by half"),
        ("pair", UNKNOWN, {EVENTS: ["k"]}, "by half"),
        ("pair", ACKNOWLEDGED, {ENTRIES: ["k", "k"], EVENTS: ["k", "k"]}, "2 times"),
        ("pair", FAILED, {ENTRIES: ["k"], EVENTS: ["k"]}, "the library said that it failed: It broke."),
        ("batch", ACKNOWLEDGED, {ENTRIES: BATCH, EVENTS: BATCH[1:]}, "by half"),
        ("batch", ACKNOWLEDGED, {}, "is lost"),
        ("llm", ACKNOWLEDGED, {REQUESTS: ["k"], RESPONSES: ["k"]}, "by half"),
        ("event", {**FAILED, "error": "QueryError"}, {EVENTS: ["k"]}, "the library said that it failed"),
        ("event", ACKNOWLEDGED, {EVENTS: ["k"], ENTRIES: ["stranger"]}, "nobody sent, such as stranger"),
    ],
)
def test_what_may_not_be_is_one(kind, answer, there, words):
    [finding] = judged(kind, answer, there).findings
    assert words in finding


def test_what_is_lost_where_it_may_be_is_counted():
    outcome = judged("pair", ACKNOWLEDGED, {}, may_lose=True)
    assert (outcome.lost, outcome.findings) == (1, [])


def test_the_gap_begins_before_the_fault_and_calls_are_counted_by_when_they_were_answered():
    calls = [drill_judge.Call(str(ended), "pair", ended - 0.1, ended) for ended in (1.0, 2.0, 9.0, 9.5, 12.0)]
    calls.append(drill_judge.Call("failed", "pair", 2.5, 8.0, "ConnectionLostError", True))
    found = drill_judge.figures(calls, fault=2.5, healed=10.0)
    assert (found["before"], found["during"], found["after"]) == (2, 2, 1)
    assert (found["gap"], found["gap_ended"]) == (7.0, 6.5)
    assert (found["failed"], found["in_commit"], found["longest_call"]) == (1, 1, 5.5)
