"""A hundred thousand random policies, tools, arguments and callers, as test_tool_decisions.py compares some."""

import os
import random

from attack_seed import attack_seed
from tool_decisions import differing

DECISIONS = int(os.environ.get("MISSION_CONTROL_ATTACK_DECISIONS", "100000"))


def test_the_database_decides_as_the_reference_does(shared_database):
    differences, outcomes = differing(shared_database.session("admin"), DECISIONS, random.Random(attack_seed()))
    print(dict(outcomes))
    assert differences[:3] == []
    assert sum(outcomes.values()) == DECISIONS
