"""The collection works built and installed, and from a git source, as it does in its checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from playbook import ROOT
from throwaway_cluster import ThrowawayCluster

BIN = Path(sys.executable).parent
PLAYBOOK = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "mission_control_postgresql_mode": "existing",
            "mission_control_login_host": "127.0.0.1",
            "mission_control_login_password": "administrator",
            "mission_control_database_password": "of-the-application",
        },
        "roles": ["homelab.mission_control.mission_control"],
        "tasks": [
            {
                "name": "Compare it with the files that are installed",
                "homelab.mission_control.health": {
                    "login_host": "127.0.0.1",
                    "login_port": "{{ mission_control_postgresql_port }}",
                    "login_user": "mission_control",
                    "login_password": "{{ mission_control_database_password }}",
                },
                "register": "health",
                "failed_when": "(health.checks | selectattr('name', 'eq', 'migrations') | first).status != 'pass'",
            }
        ],
    }
]


@pytest.fixture(scope="module")
def tarball(tmp_path_factory):
    """The collection, built from what git knows of the checkout."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to(os.readlink(ROOT / name))
        else:
            target.write_bytes((ROOT / name).read_bytes())
    galaxy("build", str(source), "--output-path", str(source.parent))
    (built,) = source.parent.glob("homelab-mission_control-*.tar.gz")
    return built


def galaxy(*arguments: str) -> None:
    # Away from the checkout, whose ansible.cfg says that the collection is there already.
    command = [str(BIN / "ansible-galaxy"), "collection", *arguments]
    result = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def provision(collections: Path, place: Path) -> None:
    """Provision a server with the installed collection, twice; the second time nothing changes."""
    (place / "playbook.yml").write_text(yaml.safe_dump(PLAYBOOK), encoding="utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "HOME": str(place),
        "ANSIBLE_NOCOLOR": "1",
    }
    with ThrowawayCluster() as cluster:
        connection = cluster.connect()
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE postgres PASSWORD 'administrator'")
        connection.close()
        command = [str(BIN / "ansible-playbook"), "playbook.yml", "-i", "localhost,", "-c", "local"]
        command += [
            "-e",
            f"mission_control_postgresql_port={cluster.port}",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
        ]
        for changed in (True, False):
            run = subprocess.run(
                command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert run.returncode == 0, run.stdout + run.stderr
            assert ("changed=0" in run.stdout) != changed, run.stdout
        application = cluster.connect(
            "mission_control", "mission_control", password="of-the-application", host="127.0.0.1"
        )
        with application.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM provider_pricing")
            assert cursor.fetchone()[0] >= 10
        application.close()


def test_the_tarball_holds_the_collection_whole_and_nothing_of_its_development(tarball):
    with tarfile.open(tarball) as archive:
        names = {name for name in archive.getnames() if not archive.getmember(name).isdir()}
    parts = {"docs", "files", "meta", "playbooks", "plugins", "roles"}
    alone = {"CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "pyproject.toml"}
    alone |= {
        "CHANGELOG.rst",
        "CODE_OF_CONDUCT.md",
        "MANIFEST.in",
        "SECURITY.md",
        "bindep.txt",
        "changelogs/changelog.yaml",
        "changelogs/config.yaml",
        "requirements.txt",
        "requirements.yml",
        "setup.py",
        "site.yml",
        "tests/config.yml",
    }
    tracked = subprocess.run(["git", "ls-files", *parts], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert names == alone | set(tracked.splitlines())


def test_it_works_built_and_installed(tarball, tmp_path):
    path = str(tmp_path / "collections")
    # Also where a copy is installed for the user already.
    galaxy("install", str(tarball), "--collections-path", path, "--no-deps", "--offline", "--force")
    provision(tmp_path / "collections", tmp_path)


def test_the_documentation_installs_it_from_a_checkout(tmp_path):
    """As written there, and again; what is built is nothing that git would take."""
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    command = re.search(
        r"^ansible-galaxy collection build .*$",
        (ROOT / "docs/installation.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )[0]
    environment = {**os.environ, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
    for way in (command, command, "ansible-galaxy collection build"):
        run = subprocess.run(
            way, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Nothing to do" not in run.stdout
    installed = home / ".ansible" / "collections" / "ansible_collections" / "homelab" / "mission_control"
    assert (installed / "MANIFEST.json").is_file()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_it_works_from_a_git_source_in_requirements(tmp_path):
    repository = tmp_path / "mission_control.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(repository)], check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    requirements = {"collections": [{"name": f"file://{repository}", "type": "git", "version": commit}]}
    (tmp_path / "requirements.yml").write_text(yaml.safe_dump(requirements), encoding="utf-8")
    galaxy("install", "-r", str(tmp_path / "requirements.yml"), "-p", str(tmp_path / "collections"), "--no-deps")
    provision(tmp_path / "collections", tmp_path)
