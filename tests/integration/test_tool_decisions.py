"""The database decides about calls of tools as the reference in Python does; test_attack_tool_decisions.py asks it far more often."""

import random

import pytest
from attack_seed import attack_seed
from tool_decisions import Policy, Tool, contains, decide, differing, faulty_keys, read_json, same

CALLS = 4000


def test_a_few_thousand_random_calls(shared_database):
    differences, outcomes = differing(shared_database.session("admin"), CALLS, random.Random(attack_seed()))
    assert differences[:3] == []
    # Else it would have compared little.
    assert {effect for effect, by_policy in outcomes if by_policy} == {"allow", "require_approval", "deny"}
    assert {effect for effect, by_policy in outcomes if not by_policy} == {"allow", "require_approval", "deny"}


@pytest.mark.parametrize(
    ("one", "other", "equal", "contained"),
    [
        ("1", "1.0", True, True),
        ("[1, [2]]", "[[2.0], 1, 1]", False, True),
        ('{"a": 1, "a": 2}', '{"a": 2}', True, True),
        ('{"a": [1]}', '{"a": 1}', False, False),
        ("true", "1", False, False),
        ('"\\u00e9"', '"é"', True, True),
        ('"e\\u0301"', '"é"', False, False),
        ("{}", "[]", False, False),
    ],
)
def test_the_reference_compares_json_as_postgresql_does(shared_database, one, other, equal, contained):
    admin = shared_database.session("admin")
    expected = {"equal": equal, "contained": contained}
    assert (
        admin.row("SELECT %s::jsonb = %s::jsonb AS equal, %s::jsonb @> %s::jsonb AS contained", *(one, other) * 2)
        == expected
    )
    values = read_json(one), read_json(other)
    assert {"equal": same(*values), "contained": contains(*values)} == expected


def test_the_reference_is_strict():
    """By hand, what the words of docs/tools.md say, so that the reference itself is held to something."""
    tools = {
        name: Tool(name, risk)
        for name, risk in (("look", "READ_ONLY"), ("restart", "SAFE_MUTATE"), ("wipe", "DESTRUCTIVE"))
    }
    assert [decide(tools, [], name, "{}", "alice").effect for name in (*tools, "other")] == [
        "allow", "require_approval", "deny", "deny",
    ]  # fmt: skip
    plex = Policy(
        "plex", "allow", tools=("restart",), conditions='{"arguments": {"name": "plex"}, "callers": ["alice"]}'
    )
    ask = Policy("ask", "require_approval", risk_levels=("SAFE_MUTATE",))
    broken = Policy("broken", "allow", tools=("*",), conditions='{"hours": "9-17"}')

    def effect(policies, arguments='{"name": "plex"}', caller="alice"):
        decision = decide(tools, policies, "restart", arguments, caller)
        return decision.effect, decision.policy

    assert effect([plex]) == ("allow", "plex")
    assert effect([plex], caller="bob") == ("require_approval", None)
    assert effect([plex, ask]) == ("require_approval", "ask")
    assert effect([Policy(**{**vars(plex), "priority": 101}), ask]) == ("allow", "plex")
    assert effect([plex, ask, broken]) == ("deny", "broken")
    assert effect([Policy(**{**vars(ask), "name": "B"}), ask]) == ("require_approval", "B")
    assert faulty_keys({"callers": [], "arguments_in": {"a": []}, "arguments": {}}) == ["callers", "arguments_in"]
