"""docs/faults.md names the tests of each fault; none of them is missing, and none is too many."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
FAULT_TESTS = [
    *(
        ROOT / "tests/integration" / name
        for name in ("test_attack_kills.py", "test_attack_runs.py", "test_recorder_faults.py")
    ),
    *(ROOT / "molecule/faults/tests").glob("test_*.py"),
]


def names_of(*paths):
    return {name for path in paths for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)}


def test_every_test_of_a_fault_is_named_and_every_named_one_exists():
    table = PAGE.partition("## What was tried")[2].partition("\n##")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert all(re.search(r"\| (the same|`test_\w+`(, `test_\w+`)*) \|$", row) for row in rows)
    named = set(re.findall(r"`(test_\w+)`", "\n".join(rows)))
    assert names_of(*FAULT_TESTS) <= named
    elsewhere = [*ROOT.glob("tests/integration/test_*.py"), *ROOT.glob("molecule/*/tests/test_*.py")]
    assert named <= names_of(*FAULT_TESTS, *elsewhere)
