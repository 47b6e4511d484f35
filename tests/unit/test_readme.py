"""What the README and the other pages say is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "\n".join(
    path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
)


def test_the_reference_of_the_variables_is_that_of_the_argument_specs():
    check = [sys.executable, str(ROOT / "scripts/variables.py"), "--check", str(ROOT / "README.md")]
    assert subprocess.run(check, check=False).returncode == 0, "run make docs"


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?<![\w/])(?:playbooks|scripts|files|docs|inventory)/[\w./-]+\w", PAGES)))
)
def test_every_path_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", PAGES, re.MULTILINE))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_variable_that_is_named_has_an_argument_spec():
    specs = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    roles = "|".join(path.name.removeprefix("mission_control_") for path in ROOT.glob("roles/mission_control_*"))
    named = set(re.findall(rf"\bmission_control_(?:{roles}|health)_\w*[a-z]\b", PAGES))
    assert {name for name in named if not re.search(rf"^ +{name}:", specs, re.MULTILINE)} == set()
