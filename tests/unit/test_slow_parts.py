"""Which slow parts of the tests are due, which of them there is time for, and that the map of them is whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import slow_parts
import yaml
from slow_parts import Part, Passed, Plan

ROOT = Path(__file__).parents[2]
PARTS = slow_parts.read_map()


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ({}, Plan(("a", "b", "c"), ())),
        ({name: Passed(name, 60) for name in "abc"}, Plan((), ())),
        # The shortest first, and where one does not fit, nor do those that take longer.
        ({"a": Passed("old", 1200), "b": Passed("old", 900), "c": Passed("c", 1)}, Plan(("b",), ("a",))),
        ({"a": Passed("old", 1200), "b": Passed("old", 600), "c": Passed("old", 1)}, Plan(("c", "b"), ("a",))),
        ({"a": Passed("old", 1801), "b": Passed("b", 1), "c": Passed("c", 1)}, Plan((), ("a",))),
        # Nobody knows how long a new one takes.
        ({"a": Passed("old", 601), "b": Passed("old", 599)}, Plan(("b", "c", "a"), ())),
        ({"a": Passed("old", 602), "b": Passed("old", 599)}, Plan(("b", "c"), ("a",))),
        # What is recorded of a part that there is no more counts for nothing.
        ({**{name: Passed(name, 60) for name in "abc"}, "gone": Passed("old", 5000)}, Plan((), ())),
    ],
)
def test_what_is_due_runs_as_far_as_there_is_time(passed, expected):
    assert slow_parts.plan({name: name for name in "abc"}, passed, 1800) == expected


def test_what_a_part_has_to_build_first_counts_too():
    passed = {name: Passed("old", 60) for name in "ab"}
    assert slow_parts.plan({name: name for name in "ab"}, passed, 120, {"a": 1}) == Plan(("b",), ("a",))
    assert slow_parts.plan({name: name for name in "ab"}, passed, 120) == Plan(("a", "b"), ())


def test_pytest_selects_the_everyday_tests_and_those_of_the_chosen_parts():
    scenario, group = Part("backup", (), (), scenario="backup"), Part("kills", (), (), files=("test_kills.py",))
    version = Part("postgresql-14", (), (), version="14")
    assert slow_parts.expression([scenario]) == "not slow"
    assert slow_parts.expression([scenario, group]) == 'not slow or slow(part="kills")'
    assert slow_parts.expression([group, version], slow_only=True) == 'slow(part="kills") or slow(part="postgresql-14")'
    assert slow_parts.expression([scenario], slow_only=True) == ""


@pytest.fixture
def checkout(tmp_path):
    """A repository with a committed file, one that is not, and one that git does not want to know."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    for name, text in {"roles/a.yml": "a", "roles/b.yml": "b", "tests/test_a.py": "", ".gitignore": "*.log"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    (tmp_path / "roles/new.yml").write_text("new")
    (tmp_path / "roles/run.log").write_text("log")
    return tmp_path


def test_content_is_that_of_the_files_as_they_are_now(checkout):
    part = Part("a", ("tests/test_a.py",), ("roles", ":(exclude)roles/b.yml", ":(exclude)tests"))
    assert slow_parts.files_of_part(part, checkout) == ["roles/a.yml", "roles/new.yml", "tests/test_a.py"]
    first = slow_parts.checksum(part, checkout)
    (checkout / "roles/b.yml").write_text("of no matter")
    (checkout / "roles/run.log").write_text("of no matter")
    assert slow_parts.checksum(part, checkout) == first
    seen = {first}
    for change in (
        lambda: (checkout / "roles/a.yml").write_text("changed, and not committed"),
        lambda: (checkout / "roles/new.yml").rename(checkout / "roles/renamed.yml"),
        lambda: (checkout / "roles/a.yml").unlink(),
        lambda: (checkout / "tests/test_a.py").write_text("changed"),
        lambda: (checkout / "roles/link.yml").symlink_to("b.yml"),
    ):
        change()
        seen.add(slow_parts.checksum(part, checkout))
    assert len(seen) == 6


def test_a_record_is_read_as_it_was_written(checkout):
    assert slow_parts.read_record(checkout) == {}
    passed = {"b": Passed("2", 20), "a": Passed("1", 10)}
    slow_parts.write_record(passed, checkout)
    assert slow_parts.read_record(checkout) == passed


def test_what_ran_is_recorded_where_it_passed_and_no_longer_where_it_did_not():
    passed = {"a": Passed("1", 10), "b": Passed("1", 20), "c": Passed("1", 30), "d": Passed("1", 40)}
    run = {"a": "2", "b": "1", "c": "2", "new": "1"}
    assert slow_parts.updated(passed, run, {"a": 11, "new": 12}) == {
        "a": Passed("2", 11),
        "c": Passed("1", 30),  # with what it passed, it did
        "d": Passed("1", 40),
        "new": Passed("1", 12),
    }


MOLECULE = """
molecule: backup passed in 601 s (31 tests on its hosts)
molecule: faults FAILED after 300 s; from .cache/molecule/faults.log:
molecule: 1 scenarios passed, 1 failed, 31 tests on their hosts, 700 s
"""


def test_a_scenario_counts_for_half_of_its_time_where_it_has_passed():
    assert slow_parts.passed_scenarios(MOLECULE) == {"backup": 300}


def report(*cases: tuple[str, str, str]) -> str:
    """What pytest writes of tests, each with its file, its name and, empty where it has passed, what became of it."""
    lines = [
        f'<testcase classname="tests.integration.{file}" name="{name}" time="10.5">{became and f"<{became} />"}</testcase>'
        for file, name, became in cases
    ]
    return f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>"


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([("test_a", "one", ""), ("test_b", "two[x]", ""), ("test_quick", "three", "failure")], {"group": 10}),
        ([("test_a.TestOf", "one", ""), ("test_b", "two", "")], {"group": 10}),
        # Of one file nothing ran.
        ([("test_a", "one", "")], {}),
        ([("test_a", "one", ""), ("test_b", "two", "failure")], {}),
        ([("test_a", "one", "error"), ("test_b", "two", "")], {}),
        ([("test_a", "one", ""), ("test_b", "two", "skipped")], {}),
        ([("test_quick", "one[PostgreSQL 14]", ""), ("test_quick", "one[PostgreSQL 18]", "failure")], {"old": 5}),
        ([("test_quick", "one[PostgreSQL 14-word]", ""), ("test_quick", "one[PostgreSQL 14]", "failure")], {}),
        ([("test_quick", "one[PostgreSQL 144]", "")], {}),
    ],
)
def test_a_group_has_passed_when_all_of_its_tests_have(cases, expected):
    parts = [Part("group", (), (), files=("test_a.py", "test_b.py")), Part("old", (), (), version="14")]
    assert slow_parts.passed_groups(report(*cases), parts) == expected


def declared() -> dict:
    return yaml.safe_load((ROOT / slow_parts.MAP).read_text(encoding="utf-8"))


def test_every_scenario_is_an_everyday_one_or_a_part():
    scenarios = [part.scenario for part in PARTS.values() if part.scenario] + slow_parts.everyday_scenarios()
    assert sorted(scenarios) == sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))


def test_every_slow_file_is_there_and_belongs_to_one_part():
    files = [file for part in PARTS.values() for file in part.files]
    assert sorted(files) == sorted(set(files))
    assert [file for file in files if not (ROOT / slow_parts.TESTS / file).is_file()] == []


def test_a_part_is_one_thing():
    kinds = {
        name: [bool(part.scenario), bool(part.files), bool(part.version)].count(True) for name, part in PARTS.items()
    }
    assert set(kinds.values()) == {1}, kinds


def test_every_file_is_watched_by_a_part_or_an_everyday_one():
    watched = {path for part in PARTS.values() for path in slow_parts.files_of_part(part)}
    others = set(slow_parts.files_of(["."])) - watched
    everyday = {pathspec: set(slow_parts.files_of([pathspec])) for pathspec in declared()["everyday"]}
    assert others - set().union(*everyday.values()) == set()
    # None of these stands there for nothing.
    assert {pathspec for pathspec, files in everyday.items() if not files & others} == set()


def test_no_path_to_watch_is_misspelt():
    pathspecs = {each for part in PARTS.values() for each in (*part.own, *part.watches)}
    assert {each for each in pathspecs if "exclude" not in each and not slow_parts.files_of([each])} == set()
