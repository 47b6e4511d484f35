"""What is published can be built again byte for byte, installs from an empty place, and is described as its readers want it."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata
from playbook import ROOT

BIN = Path(sys.executable).parent
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
COLLECTION, WHEEL = f"homelab-mission_control-{VERSION}.tar.gz", f"mission_control_database-{VERSION}-py3-none-any.whl"
SDIST = f"mission_control_database-{VERSION}.tar.gz"


def run(*command: str | Path, place: Path, **environment: str) -> str:
    """Run in an empty directory with an empty home."""
    home, directory = place / "home", place / "empty"
    home.mkdir(exist_ok=True)
    directory.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), **environment}
    result = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    clone = tmp_path_factory.mktemp("clone") / "checkout"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    return clone


@pytest.fixture(scope="module")
def dist(clone) -> Path:
    subprocess.run([sys.executable, "scripts/dist.py"], cwd=clone, check=True, capture_output=True)
    return clone / "dist"


@pytest.fixture(scope="module")
def collections(dist, tmp_path_factory) -> Path:
    """The collection, installed from its tarball."""
    place = tmp_path_factory.mktemp("installed")
    command = [BIN / "ansible-galaxy", "collection", "install", dist / COLLECTION, "--no-deps", "--offline"]
    run(*command, "--collections-path", place / "collections", place=place)
    return place / "collections"


@pytest.fixture(scope="module")
def tools() -> Path:
    """Where the programs of requirements-release.txt are."""
    subprocess.run([ROOT / "scripts" / "venv", "requirements-release.txt", ".cache/release"], check=True)
    return ROOT / ".cache" / "release" / "bin"


def test_two_builds_are_equal_byte_for_byte(dist, tmp_path):
    """The other one by another user's habits: elsewhere, with a younger checkout, another umask and another time zone."""
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(other)], check=True, umask=0o077)
    (other / "left-over.txt").write_text("not committed", encoding="utf-8")
    run(sys.executable, other / "scripts" / "dist.py", tmp_path / "built", place=tmp_path, TZ="Asia/Tokyo")
    builds = [{path.name: path.read_bytes() for path in place.iterdir()} for place in (dist, tmp_path / "built")]
    assert set(builds[0]) == {COLLECTION, WHEEL, SDIST, "SHA256SUMS"}
    assert builds[0] == builds[1]
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, capture_output=True)
    assert checked.returncode == 0, checked.stdout


def test_what_is_not_committed_is_not_published(clone):
    with (clone / "README.md").open("a", encoding="utf-8") as readme:
        readme.write("A sentence.\n")
    command = [sys.executable, "scripts/dist.py", "elsewhere"]
    refused = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    subprocess.run(["git", "checkout", "--quiet", "README.md"], cwd=clone, check=True)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "commit or undo first:\n M README.md\n" in refused.stderr
    assert not (clone / "elsewhere").exists()


def test_the_collection_installs_from_an_empty_directory(collections, tmp_path):
    galaxy = [BIN / "ansible-galaxy", "collection", "verify", "homelab.mission_control", "--offline"]
    run(*galaxy, "--collections-path", collections, place=tmp_path)
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(collections)}
    module = "homelab.mission_control.health"
    documented = json.loads(run(BIN / "ansible-doc", "--json", module, place=tmp_path, **environment))
    assert Path(documented[module]["doc"]["filename"]).is_relative_to(collections)
    command = [BIN / "ansible-playbook", "homelab.mission_control.provision", "--syntax-check", "-i", "localhost,"]
    assert f"playbook: {collections}" in run(*command, place=tmp_path, **environment)


def test_the_wheel_installs_from_an_empty_directory(dist, tmp_path):
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, place=tmp_path)
    pip = [sys.executable, "-m", "pip", f"--python={venv / 'bin' / 'python'}", "install", "--no-index", "--no-deps"]
    run(*pip, dist / WHEEL, place=tmp_path)
    assert run(venv / "bin" / "mission-control", "--version", place=tmp_path) == f"mission-control {VERSION}\n"
    run(venv / "bin" / "python", "-c", "from mission_control import Client", place=tmp_path)


def test_the_metadata_is_what_pypi_takes(dist, tools, tmp_path):
    run(sys.executable, "-m", "zipfile", "--extract", dist / WHEEL, tmp_path / "wheel", place=tmp_path)
    (path,) = (tmp_path / "wheel").glob("*.dist-info/METADATA")
    metadata = Metadata.from_email(path.read_bytes(), validate=True)
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert (str(metadata.version), [metadata.license_expression]) == (VERSION, galaxy["license"])
    assert metadata.project_urls == {"Repository": galaxy["repository"]}
    classifiers = email.message_from_bytes(path.read_bytes()).get_all("Classifier")
    code = "import sys, trove_classifiers; print(*set(sys.argv[1:]) - trove_classifiers.classifiers)"
    assert run(tools / "python", "-c", code, *classifiers, place=tmp_path) == "\n"


def test_an_execution_environment_gets_what_the_collection_needs(collections, tools, tmp_path):
    needs = yaml.safe_load(run(tools / "ansible-builder", "introspect", collections, place=tmp_path))
    named = "# from collection homelab.mission_control"
    assert needs == {
        "python": [f"psycopg2-binary>=2.9  {named}", f"jsonschema>=4.10  {named}"],
        "system": [f"openssh-client [platform:dpkg]  {named}", f"openssh-clients [platform:rpm]  {named}"],
    }


def test_the_changelog_is_that_of_its_data_and_knows_this_version(tools, tmp_path):
    environment = {"PATH": f"{tools}:{BIN}:{os.environ['PATH']}"}
    checked = subprocess.run([ROOT / "scripts" / "changelog"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    again = tmp_path / "again.rst"
    command = ["antsibull-changelog", "generate", "--output", str(again), "--output-format", "rst"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
    assert again.read_text(encoding="utf-8") == (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text(encoding="utf-8"))["releases"]
    assert VERSION in releases or list((ROOT / "changelogs" / "fragments").glob("*.yml"))


def test_a_site_of_the_documentation_is_built(tmp_path):
    subprocess.run([ROOT / "scripts" / "docsite", tmp_path], check=True)
    index = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    for page in ("health_module.html", "mission_control_role.html", "mission_control_schema_role.html"):
        assert page in index
        assert (tmp_path / "html" / page).is_file()
