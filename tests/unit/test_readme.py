"""What the README and the other pages say is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
PAGES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/*.md", "roles/*/README.md")
    for path in sorted(ROOT.glob(pattern))
}
TEXT = "\n".join(text for page, text in PAGES.items() if page.name != "CHANGELOG.rst")


def links(page):
    """The relative links and pictures of a page, as paths from the root and anchors."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)|<img src=\"([^\"]+)\"", PAGES[page]):
        path, _, anchor = "".join(target).partition("#")
        found = (ROOT / page.parent / path).resolve() if path else ROOT / page
        yield found.relative_to(ROOT), anchor


def anchors(page):
    """Those of the headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", PAGES[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_variables_of_a_role_are_those_of_its_argument_specs(role, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_bytes((role / "README.md").read_bytes())
    template = str(ROOT / "scripts/variables.md.j2")
    command = [Path(sys.executable).parent / "aar-doc", "--output-file", readme, "--output-template", template, role]
    subprocess.run([*command, "markdown"], check=True, cwd=tmp_path)
    assert readme.read_text("utf-8") == (role / "README.md").read_text("utf-8"), "run make docs"


def test_the_readme_can_be_read_in_one_go():
    assert len(PAGES[Path("README.md")].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page):
    for target, anchor in links(page):
        assert (ROOT / target).exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_the_index_names_every_page():
    index = {target for target, _ in links(Path("docs/README.md"))}
    readmes = {page for page in PAGES if page.parts[0] == "roles"}
    assert {page for page in PAGES if page.parts[0] == "docs"} - {Path("docs/README.md")} | readmes <= index
    assert Path("docs/README.md") in {target for target, _ in links(Path("README.md"))}


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?<![\w/])(?:playbooks|scripts|files|docs|inventory)/[\w./-]+\w", TEXT)))
)
def test_every_path_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", TEXT, re.MULTILINE))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_variable_that_is_named_has_an_argument_spec_or_is_a_fact_of_a_role():
    tasks = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/tasks/*.yml"))
    facts = set(re.findall(r"set_fact:\n +(mission_control_\w+):", tasks))
    specs = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    roles = "|".join(path.name.removeprefix("mission_control_") for path in ROOT.glob("roles/mission_control_*"))
    named = set(re.findall(rf"\bmission_control_(?:{roles}|health)_\w*[a-z]\b", TEXT))
    assert {name for name in named - facts if not re.search(rf"^ +{name}:", specs, re.MULTILINE)} == set()
