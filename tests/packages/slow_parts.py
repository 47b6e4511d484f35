"""The slow parts of the tests: which there are, which of them are due, and what they last passed with.

A part is a Molecule scenario, a group of test files, or the tests that speak SQL with another version of PostgreSQL. tests/slow_parts.yml
says what each part watches; tests/slow_parts.json holds, for each, the checksum of the content that it last passed with, and how long it
took. A part is due where that content is another one now. scripts/test asks here what to run, and reports here what passed:

    slow_parts.py plan               the parts that are due, as far as they fit into the time for them
    slow_parts.py plan --all         every part
    slow_parts.py plan PART …        these parts
    slow_parts.py scenarios | expression | versions       of the plan: what Molecule runs, and what pytest selects
    slow_parts.py record             which parts of the plan have passed
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
MAP = Path("tests/slow_parts.yml")
RECORD = Path("tests/slow_parts.json")
TESTS = "tests/integration"
LOGS = Path(".cache/test")
# How much `make test` runs of the slow parts unless SLOW_MINUTES says otherwise, in seconds; and what counts for a part of which no time is
# recorded.
BUDGET = 30 * 60
UNKNOWN = 10 * 60
# Tests run two at a time: a part makes a run longer by half of what its tests take.
AT_ONCE = 2
# How tests/integration/conftest.py names a test that speaks SQL with another version.
_VERSIONS = re.compile(r"[\[-]PostgreSQL (\d+)(?=[\]-])")
_SCENARIO_PASSED = re.compile(r"^molecule: (\S+) passed in (\d+) s ", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A slow part.

    Attributes:
        name: as it is called in commands and in the record.
        own: git pathspecs of its own tests.
        watches: git pathspecs of what else it depends on.
        scenario: Molecule scenario that it is; empty where it is none.
        files: names of its test files; none where it is not a group of them.
        version: major version of PostgreSQL that it tries; empty where it is no such part.
        built: what it builds once, a path below the root; empty for nothing. build_seconds: how long that takes.
    """

    name: str
    own: tuple[str, ...]
    watches: tuple[str, ...]
    scenario: str = ""
    files: tuple[str, ...] = ()
    version: str = ""
    built: str = ""
    build_seconds: int = 0


@dataclass(frozen=True)
class Passed:
    """What a part last passed with: the checksum of its content, and by how many seconds it makes a run longer."""

    content: str
    seconds: int


@dataclass(frozen=True)
class Plan:
    """Names of the parts to run, and of those that are due and do not fit into the time."""

    run: tuple[str, ...]
    left: tuple[str, ...]


def plan(
    current: Mapping[str, str],
    passed: Mapping[str, Passed],
    budget: int = BUDGET,
    more: Mapping[str, int] | None = None,
) -> Plan:
    """Choose among the parts that are due, the shortest first.

    Args:
        current: checksum of the content of each part, by its name.
        passed: what each part last passed with.
        budget: how long the chosen ones may take together, in seconds.
        more: what a part takes on top of that, by its name, such as for what it has to build first.
    """
    due = [name for name, content in current.items() if name not in passed or passed[name].content != content]
    costs = {name: (passed[name].seconds if name in passed else UNKNOWN) + (more or {}).get(name, 0) for name in due}
    run: list[str] = []
    for name in sorted(due, key=lambda each: (costs[each], each)):
        if sum(costs[each] for each in run) + costs[name] > budget:
            break
        run.append(name)
    return Plan(tuple(run), tuple(sorted(set(due) - set(run))))


def expression(parts: Iterable[Part], *, slow_only: bool = False) -> str:
    """What pytest selects by `-m`: the everyday tests, unless there is to be nothing but slow ones, and those of the parts."""
    chosen = [f'slow(part="{part.name}")' for part in parts if not part.scenario]
    return " or ".join(chosen if slow_only else ["not slow", *chosen])


def read_map(root: Path = ROOT) -> dict[str, Part]:
    """The slow parts by name, as tests/slow_parts.yml declares them."""
    found = {}
    for name, text in yaml.safe_load((root / MAP).read_text(encoding="utf-8"))["parts"].items():
        files = tuple(text.get("files", ()))
        scenario = text.get("scenario", "")
        own = (f"molecule/{scenario}",) if scenario else tuple(f"{TESTS}/{file}" for file in files) or (TESTS,)
        build = text.get("builds", {})
        found[name] = Part(
            name,
            own,
            tuple(flat(text["watches"])),
            scenario,
            files,
            text.get("version", ""),
            build.get("path", ""),
            build.get("seconds", 0),
        )
    return found


def everyday_scenarios(root: Path = ROOT) -> list[str]:
    """Molecule scenarios that `make test` always runs."""
    return list(yaml.safe_load((root / MAP).read_text(encoding="utf-8"))["everyday_scenarios"])


def part_of_file(parts: Mapping[str, Part]) -> dict[str, str]:
    """Name of the part of each slow test file, by the file's name."""
    return {file: part.name for part in parts.values() for file in part.files}


def flat(pathspecs: Sequence[object]) -> list[str]:
    """A list of texts out of one of lists, as YAML's anchors make it."""
    return [text for each in pathspecs for text in (flat(each) if isinstance(each, list) else [str(each)])]


def files_of(pathspecs: Sequence[str], root: Path = ROOT) -> list[str]:
    """Paths that git knows, or would add, and that match a pathspec; one that was deleted is not among them.

    What `:(exclude)` names is taken from what all the others match. Without a pathspec there is no path.
    """
    if not pathspecs:
        return []
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *pathspecs]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return sorted({path for path in listed.split("\0") if path and os.path.lexists(root / path)})


def files_of_part(part: Part, root: Path = ROOT) -> list[str]:
    """Paths of a part's tests and of what they depend on."""
    return sorted({*files_of(part.own, root), *files_of(part.watches, root)})


def checksum(part: Part, root: Path = ROOT) -> str:
    """Of the names and the content of the part's files, with what is not committed yet."""
    digest = hashlib.sha256()
    for path in files_of_part(part, root):
        file = root / path
        content = os.fsencode(os.readlink(file)) if file.is_symlink() else file.read_bytes()
        digest.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def read_record(root: Path = ROOT) -> dict[str, Passed]:
    """What each part last passed with, as tests/slow_parts.json has it."""
    try:
        recorded = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: Passed(**each) for name, each in recorded.items()}


def write_record(passed: Mapping[str, Passed], root: Path = ROOT) -> None:
    """Write tests/slow_parts.json."""
    text = json.dumps({name: asdict(each) for name, each in passed.items()}, indent=2, sort_keys=True)
    (root / RECORD).write_text(text + "\n", encoding="utf-8")


def updated(passed: Mapping[str, Passed], run: Mapping[str, str], seconds: Mapping[str, int]) -> dict[str, Passed]:
    """The record after a run.

    Args:
        passed: the record before it.
        run: checksum of the content that each part had which was run.
        seconds: how long those took that passed. Another one has not passed with its content, even where it once had.
    """
    kept = {name: each for name, each in passed.items() if run.get(name) != each.content}
    return {**kept, **{name: Passed(run[name], seconds[name]) for name in run if name in seconds}}


def passed_scenarios(log: str) -> dict[str, int]:
    """Seconds that each scenario took that passed, by its name; `log` is what scripts/molecule printed."""
    return {name: int(seconds) // AT_ONCE for name, seconds in _SCENARIO_PASSED.findall(log)}


def passed_groups(report: str, parts: Iterable[Part]) -> dict[str, int]:
    """Seconds that each part took of which tests ran and all passed, by its name.

    Args:
        report: what pytest wrote by --junit-xml.
        parts: those that pytest was to run.
    """
    seconds: dict[str, float] = {}
    files: dict[str, set[str]] = {}
    failed = set()
    known = list(parts)
    for case in ElementTree.fromstring(report).iter("testcase"):
        module = case.get("classname", "").split(".")
        file = next((f"{name}.py" for name in module if name.startswith("test_")), "")
        for part in known:
            if file in part.files or (part.version and part.version in _VERSIONS.findall(case.get("name", ""))):
                seconds[part.name] = seconds.get(part.name, 0.0) + float(case.get("time", "0"))
                files.setdefault(part.name, set()).add(file)
                if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")):
                    failed.add(part.name)
    complete = {part.name for part in known if set(part.files) <= files.get(part.name, set())}
    return {name: round(each / AT_ONCE) for name, each in seconds.items() if name in complete and name not in failed}


def _plan(arguments: argparse.Namespace) -> None:
    parts, passed = read_map(), read_record()
    unknown = [name for name in arguments.parts if name not in parts]
    if unknown:
        sys.exit(f"test: there is no slow part {unknown[0]}; there are {', '.join(sorted(parts))}.")
    current = {part.name: checksum(part) for part in parts.values()}
    if arguments.all:
        chosen = Plan(tuple(parts), ())
    elif arguments.parts:
        chosen = Plan(tuple(arguments.parts), ())
    else:
        more = {
            part.name: part.build_seconds for part in parts.values() if part.built and not (ROOT / part.built).exists()
        }
        chosen = plan(current, passed, _budget(), more)
    LOGS.mkdir(parents=True, exist_ok=True)
    _plan_file().write_text(
        json.dumps({"slow_only": bool(arguments.parts), "run": {name: current[name] for name in chosen.run}}),
        encoding="utf-8",
    )
    print(f"test: slow parts to run: {', '.join(chosen.run) or 'none'}")
    if chosen.left:
        print(
            f"test: NOT RUN, although what they watch has changed: {', '.join(chosen.left)}."
            f' Run them by `make slow PARTS="{" ".join(chosen.left)}"`, or `make test-all`, and commit {RECORD}.'
        )


def _budget() -> int:
    minutes = os.environ.get("SLOW_MINUTES") or str(BUDGET // 60)
    if not re.fullmatch(r"[0-9]{1,4}", minutes):
        sys.exit(f"test: SLOW_MINUTES is the number of minutes that slow parts may take, not {minutes!r}.")
    return int(minutes) * 60


def _plan_file() -> Path:
    return LOGS / "plan.json"


def _read_plan() -> tuple[bool, dict[str, str]]:
    made = json.loads(_plan_file().read_text(encoding="utf-8"))
    return made["slow_only"], made["run"]


def _show(arguments: argparse.Namespace) -> None:
    parts = read_map()
    slow_only, run = _read_plan()
    chosen = [parts[name] for name in run]
    if arguments.command == "expression":
        print(expression(chosen, slow_only=slow_only))
    elif arguments.command == "versions":
        print(" ".join(part.version for part in chosen if part.version))
    else:
        # The longest first, so that the last to end is a short one.
        known = {name: each.seconds for name, each in read_record().items()}
        slow = sorted((part for part in chosen if part.scenario), key=lambda part: -known.get(part.name, UNKNOWN))
        print(" ".join([*(part.scenario for part in slow), *([] if slow_only else everyday_scenarios())]))


def _record(_arguments: argparse.Namespace) -> None:
    parts, passed = read_map(), read_record()
    _slow_only, run = _read_plan()
    chosen = [parts[name] for name in run]
    scenarios = passed_scenarios(_text(LOGS / "molecule.log"))
    seconds = {part.name: scenarios[part.scenario] for part in chosen if part.scenario in scenarios}
    report = _text(LOGS / "pytest.xml")
    if report:
        seconds.update(passed_groups(report, [part for part in chosen if not part.scenario]))
    record = updated({name: each for name, each in passed.items() if name in parts}, run, seconds)
    write_record(record)
    noted = [name for name in run if name in seconds]
    if noted:
        print(f"test: passed and noted in {RECORD}, which is to be committed: {', '.join(noted)}")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Which slow parts of the tests are due")
    commands = parser.add_subparsers(dest="command", required=True)
    planned = commands.add_parser("plan", help="choose what to run, and print it")
    planned.add_argument("--all", action="store_true", help="every part")
    planned.add_argument("parts", nargs="*", metavar="PART", help="these parts, and no everyday tests")
    planned.set_defaults(run=_plan)
    for name in ("scenarios", "expression", "versions"):
        commands.add_parser(name, help="of the plan").set_defaults(run=_show)
    commands.add_parser("record", help="note what has passed").set_defaults(run=_record)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
