"""What a drill's journal says against what the database has: nothing that was acknowledged is missing, and nothing is there by half."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from drill_hosts import Host

DATABASE = "mission_control"
# The journal's program has the same number.
BATCH = 20
# No call may take longer, in seconds: it has its answer by then, or an error. The promise is 30; the rest is for a loaded machine.
LONGEST_CALL = 31
ENTRIES = "SELECT target_id FROM audit_entries WHERE actor = '{drill}'"
EVENTS = """
SELECT e.payload ->> 'key' FROM task_events AS e JOIN task_runs AS r ON r.id = e.task_run_id JOIN tasks AS t ON t.id = r.task_id
WHERE t.title = '{drill}'
"""
REQUESTS = "SELECT external_id FROM llm_requests WHERE source = '{drill}'"
RESPONSES = (
    "SELECT r.external_id FROM llm_responses JOIN llm_requests AS r ON r.id = request_id WHERE r.source = '{drill}'"
)
USAGES = "SELECT external_id FROM token_usage WHERE source = '{drill}'"
# Which tables a call of each kind writes.
TABLES = {
    "pair": (ENTRIES, EVENTS),
    "batch": (ENTRIES, EVENTS),
    "llm": (REQUESTS, RESPONSES, USAGES),
    "event": (EVENTS,),
}
# A statement outside a transaction may have taken place when its connection broke, as the library's documentation says.
SINGLE = {"llm", "event"}


@dataclass
class Call:
    """A call of the library, as the journal has it. Times are in seconds; `ended` is None where it has no answer."""

    key: str
    kind: str
    began: float
    ended: float | None = None
    error: str = ""
    in_commit: bool = False
    message: str = ""

    @property
    def acknowledged(self) -> bool:
        return self.ended is not None and not self.error

    @property
    def unknown(self) -> bool:
        """Whether nobody promised that it took place, or that it did not."""
        return self.ended is None or self.in_commit or (self.kind in SINGLE and self.error == "ConnectionLostError")

    @property
    def rows(self) -> list[str]:
        """The keys of the rows that it writes into each of its tables."""
        return [f"{self.key}/{part}" for part in range(BATCH)] if self.kind == "batch" else [self.key]


def read_journal(lines: Iterable[str]) -> list[Call]:
    """The calls of a journal, in the order in which they began."""
    calls: dict[str, Call] = {}
    for line in lines:
        if not line.endswith("}"):
            continue
        note = json.loads(line)
        if "kind" in note:
            calls[note["key"]] = Call(note["key"], note["kind"], note["began"])
        elif "ended" in note:
            call = calls[note["key"]]
            call.ended = note["ended"]
            call.error, call.in_commit = note.get("error", ""), note.get("in_commit", False)
            call.message = note.get("message", "")
    return sorted(calls.values(), key=lambda each: each.began)


@dataclass
class Judgement:
    """What came of the calls of a drill. `findings` are sentences, empty if all is as it has to be."""

    lost: int = 0
    unknown_there: int = 0
    findings: list[str] = field(default_factory=list)


def rows_of(host: Host, drill: str) -> dict[str, Counter[str]]:
    """By table, how often the database on a host has each key."""
    return {
        query: Counter(host.sql(query.format(drill=drill), DATABASE).splitlines())
        for query in {query for queries in TABLES.values() for query in queries}
    }


def judge(calls: list[Call], there: dict[str, Counter[str]], *, may_lose: bool) -> Judgement:
    """Compare the journal with the database.

    Args:
        calls: the journal.
        there: how often the database has each key, by table.
        may_lose: whether acknowledged calls may be missing, as in asynchronous mode; they are counted anyway.
    """
    judgement = Judgement()
    known: dict[str, set[str]] = {query: set() for query in there}
    for call in calls:
        found = [there[query][key] for query in TABLES[call.kind] for key in call.rows]
        for query in TABLES[call.kind]:
            known[query].update(call.rows)
        name = f"{call.kind} {call.key} ({call.error or ('acknowledged' if call.ended else 'no answer')})"
        if len(set(found)) > 1:
            judgement.findings.append(f"{name} is there by half: {found}.")
        elif found[0] > 1:
            judgement.findings.append(f"{name} is there {found[0]} times.")
        elif call.acknowledged and not found[0]:
            judgement.lost += 1
            if not may_lose:
                judgement.findings.append(f"{name} is lost.")
        elif not call.acknowledged and found[0]:
            judgement.unknown_there += 1
            if not call.unknown:
                judgement.findings.append(f"{name} is there, although the library said that it failed: {call.message}")
    for query, keys in known.items():
        strangers = set(there[query]) - keys
        if strangers:
            judgement.findings.append(f"{len(strangers)} rows are there that nobody sent, such as {min(strangers)}.")
    return judgement


def figures(calls: list[Call], fault: float, healed: float) -> dict[str, Any]:
    """Figures of the writers' calls: acknowledgements before the fault, between, and after it was healed; gap in seconds."""
    acknowledged = sorted(call.ended for call in calls if call.acknowledged and call.ended is not None)
    last = max((ended for ended in acknowledged if ended <= fault), default=fault)
    after = [last, *(ended for ended in acknowledged if ended > last)]
    gaps = [(later - earlier, later) for earlier, later in zip(after, after[1:])]
    gap, end = max(gaps, default=(0.0, fault))
    failed = [call for call in calls if not call.acknowledged]
    return {
        "acknowledged": len(acknowledged),
        "before": sum(ended <= fault for ended in acknowledged),
        "during": sum(fault < ended <= healed for ended in acknowledged),
        "after": sum(ended > healed for ended in acknowledged),
        "gap": round(gap, 2),
        "gap_ended": round(end - fault, 2),
        "failed": len(failed),
        "in_commit": sum(call.in_commit for call in failed),
        "errors": dict(Counter(call.error or "no answer" for call in failed)),
        "longest_call": longest(calls),
    }


def longest(calls: list[Call]) -> float:
    """How long the longest call took, in seconds."""
    return round(max((call.ended - call.began for call in calls if call.ended is not None), default=0), 2)
