"""docs/audit.md lists the attacks that the tests carry out, each by its name, and for whom it goes through; none is missing or too many."""

import inspect
import pathlib
import re

import pytest
import test_attack_names
import test_attack_outages
import test_attack_rewrites
import test_attack_roles
import test_attack_runner
import test_attack_stalls
import test_attack_writers
import test_sql_limits
import test_sql_names
from attacks import ATTACKERS
from attacks_that_stall import HOLDS
from page_examples import run_examples

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "audit.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
LISTED = {attack.id: attack for attack in (*test_attack_roles.ATTACKS, *HOLDS)}
FUNCTIONS = {
    name.removeprefix("test_attack_").replace("_", "-")
    for module in (
        test_attack_names,
        test_attack_outages,
        test_attack_roles,
        test_attack_runner,
        test_attack_stalls,
        test_attack_writers,
        test_sql_limits,
        test_sql_names,
    )
    for name, _ in inspect.getmembers(module, inspect.isfunction)
    # Those by a role or a file plant what `traps` holds, which has no row for each.
    if name.startswith("test_attack_") and not name.startswith("test_attack_by_")
}


def rows():
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def goes_through_for(attack):
    """The last column of an attack's row: roles by what becomes of it where it is not refused."""
    groups = {}
    for role in ATTACKERS:
        expected = attack.others.get(role, attack.everybody)
        version = ""
        if not isinstance(expected, str):
            since, before, after = expected
            named, version = (
                (after, f" (since {since // 10000})") if after.isalpha() else (before, f" (before {since // 10000})")
            )
            expected = named
        if expected.isalpha():
            groups.setdefault(expected, []).append(role + version)
    if not groups:
        return "nobody"
    return "; ".join(
        f"{'everybody' if len(roles) == len(ATTACKERS) else ', '.join(roles)}: {outcome}"
        for outcome, roles in groups.items()
    )


def test_the_example_of_the_page_runs(database, tmp_path):
    count, result = run_examples(PAGE, database, tmp_path)
    assert count == 1
    assert (result.stdout, result.stderr) == ("True\nTrue\n", "")


def test_the_page_and_the_suite_have_the_same_attacks():
    documented = [row[0] for row in rows()]
    assert len(documented) == len(set(documented))
    carried_out = {*LISTED, *FUNCTIONS, *test_attack_rewrites.REWRITES}
    assert set(documented) == carried_out


@pytest.mark.parametrize("name", LISTED)
def test_it_says_for_whom_an_attack_goes_through(name):
    (row,) = [row for row in rows() if row[0] == name]
    assert row[3] == goes_through_for(LISTED[name])
