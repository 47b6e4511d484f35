"""Every way by a statement to run what is denied, to approve oneself or to forge what happened, by every login, and its allowed twin.

After each of them all calls are as they were, nothing ran that nobody allowed, and tools, policies and tokens are the same.
"""

from __future__ import annotations

import re

import pytest
from attacks_on_tools import ATTACKS
from tool_attack import ANSWERED, HARMLESS
from tool_field import Names, attempt, differences, is_refusal, is_success

NAMED = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize(
    ("attack", "who"), [pytest.param(attack, who, id=f"{attack.id}-{who}") for attack in ATTACKS for who in attack.who]
)
def test_attack(tool_field, attack, who):
    names = Names(tool_field)
    for statement in attack.statements:
        # Made before the state is looked at.
        for name in NAMED.findall(statement):
            names[name]
    before, refusals = tool_field.calls(), tool_field.refusals()

    state, answer = attempt(tool_field.session(who), attack.statements, names, attack.rows)

    changed = differences(before, tool_field.calls())
    if attack.outcome in (ANSWERED, HARMLESS):
        assert state is None
        assert attack.outcome == HARMLESS or is_refusal(answer), answer
        if attack.outcome == ANSWERED:
            assert answer["reason"]
            assert not attack.audited or tool_field.refusals() > refusals, "the refusal is not in the audit log"
    else:
        assert state == attack.outcome, answer
    if attack.ends:
        assert [set(each.items()) >= {("status", attack.ends)} for each in changed.values()] == [True]
    else:
        assert changed == {}
    assert tool_field.outlaws() == []
    assert tool_field.rules_are_whole()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_its_twin_goes_through(tool_field, attack):
    """Else a refusal would say little."""
    state, answer = attempt(tool_field.session(attack.twin_by), attack.twin, Names(tool_field))
    assert state is None, state
    assert is_success(answer), answer
    assert tool_field.outlaws() == []
