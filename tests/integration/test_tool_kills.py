"""`kill -9` of executors at random moments: no call acts twice, and each ends in a state that says what is known.

MISSION_CONTROL_ATTACK_TOOL_KILLS is the number of kills, and MISSION_CONTROL_ATTACK_SEED repeats the dice.
"""

import os
import random
import time
from collections import Counter

import pytest
from attack_seed import attack_seed
from executor_lab import RESTART, ExecutorLab, eventually

KILLS = int(os.environ.get("MISSION_CONTROL_ATTACK_TOOL_KILLS", "100"))
AT_ONCE = 3
# So many executors at the same time.
EXECUTORS = 2


@pytest.fixture
def lab(database, tmp_path):
    made = ExecutorLab(database, tmp_path)
    yield made
    made.end()


def test_no_call_acts_twice_whenever_an_executor_is_killed(lab, admin):
    dice = random.Random(attack_seed())
    told, calls = {}, {}

    def ask(before, after):
        name = f"c{len(calls)}"
        told[name] = {"before": before, "after": after}
        lab.tell(told)
        calls[name] = lab.ask(RESTART, source="lab", container=name)

    def busy():
        """An executor that carries a call out."""
        pids = admin.values("SELECT executor ->> 'pid' FROM tool_call_records WHERE status = 'running'")
        return next((each for each in executors if str(each.pid) in pids), None)

    def begin():
        known = lab.log.count("The executor knows")
        process = lab.start("--concurrency", str(AT_ONCE))
        eventually(lambda: lab.log.count("The executor knows") > known, "it is connected", 120)
        return process

    executors = [begin() for _each in range(EXECUTORS)]
    for _number in range(KILLS):
        ask(dice.choice((0, 0, 0.1)), dice.choice((0, 0.1, 0.4)))
        victim = dice.choice(executors)
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0, 1.2))
        else:
            # On a slow machine few calls have begun by then.
            ask(0.1, 0.6)
            victim = eventually(busy, "a call is carried out")
            time.sleep(dice.uniform(0, 0.4))
        executors.remove(victim)
        lab.kill(victim)
        executors.append(begin())
    ends = {name: lab.ended(each, 300) for name, each in calls.items()}
    acts = Counter(name for _what, name in lab.acts)
    assert max(acts.values()) == 1
    assert set(acts) <= set(calls)
    found = Counter((end.status, acts[name]) for name, end in ends.items())
    print(f"{KILLS} kills, {len(calls)} calls: {dict(found)}")
    assert set(found) <= {("succeeded", 1), ("unknown", 0), ("unknown", 1)}
    # The kills have hit some.
    assert sum(number for (status, _acts), number in found.items() if status == "unknown") > 0
    assert {end.error for end in ends.values()} <= {
        None,
        "The executor that had started it ended, so whether it took place is not known.",
    }
    # What is known stands in the audit log too: one start for each call.
    starts = admin.rows(
        "SELECT target_id, count(*) AS number FROM audit_entries WHERE action = 'tool_call.start' AND outcome = 'success' GROUP BY target_id"
    )
    assert {row["target_id"]: row["number"] for row in starts} == {str(each): 1 for each in calls.values()}
