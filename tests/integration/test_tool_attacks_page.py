"""docs/tool-attacks.md lists the attacks that the tests carry out, by whom, and what becomes of them; none is missing or too many."""

import inspect
import pathlib
import re

import pytest
import test_attack_tool_events
import test_attack_tool_races
import test_attack_tool_sites
import test_attack_tool_thieves
from attacks_on_tools import ATTACKS, SITE
from tool_attack import EVERYBODY

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "tool-attacks.md"
LISTED = {attack.id: attack for attack in (*ATTACKS, *SITE)}
FUNCTIONS = {
    name.removeprefix("test_attack_").replace("_", "-")
    for module in (test_attack_tool_events, test_attack_tool_races, test_attack_tool_sites, test_attack_tool_thieves)
    for name, _ in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_attack_") and not name.startswith("test_attack_by_")
}


def tried_by(attack):
    """The second column of an attack's row."""
    who = getattr(attack, "who", ("site",))
    missing = [each for each in EVERYBODY if each not in who]
    if len(who) > 4 and set(EVERYBODY) >= set(who):
        return "everybody" + (f" but {' and '.join(missing)}" if missing else "")
    if set(who) > set(EVERYBODY):
        return "everybody, " + ", ".join(each for each in who if each not in EVERYBODY)
    return ", ".join(who)


def becomes(attack):
    """The fourth column."""
    ends = getattr(attack, "ends", "")
    return attack.outcome + (f", then {ends}" if ends else "")


def rows():
    """First to last column of the rows, by the attack's name."""
    found = re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == len({name for name, _ in found})
    return {name: rest.split(" | ") for name, rest in found}


def test_the_page_and_the_suite_have_the_same_attacks():
    assert set(rows()) == {*LISTED, *FUNCTIONS}


@pytest.mark.parametrize("name", LISTED)
def test_it_says_who_tries_an_attack_and_what_becomes_of_it(name):
    by, _, outcome, _ = rows()[name]
    assert (by, outcome) == (tried_by(LISTED[name]), becomes(LISTED[name]))
