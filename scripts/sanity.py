"""ansible-test sanity on the collection as it is built and installed, for every supported Python that this machine has.

    scripts/sanity.py [ARG …]      arguments are handed on, such as --test pylint plugins/modules/health.py

It uses the ansible-core beside the Python that runs it. All that it makes is in .cache/sanity, and the environments of the tests are used again.
"""

from __future__ import annotations

import ast
import configparser
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from ansible.release import __version__ as ansible_version
from ansible_test._internal.python_requirements import get_venv_packages
from ansible_test._util.target.common.constants import CONTROLLER_PYTHON_VERSIONS, REMOTE_ONLY_PYTHON_VERSIONS
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "sanity"
HOME = CACHE / "home"
BIN = Path(sys.executable).parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

# Stands in for get-pip.py, which ansible-test would fetch from a server of its own: pip's wheel comes from where all other packages come from.
_GET_PIP = """\
import runpy, sys
sys.path.insert(0, {wheel!r})
sys.argv[1:] = ["install", *(each for each in sys.argv[1:] if each not in ("--no-setuptools", "--no-wheel"))]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def install_collection() -> Path:
    """Build the checkout, install what was built, and return where it is."""
    collections = CACHE / "collections"
    shutil.rmtree(collections, ignore_errors=True)
    for old in CACHE.glob("*.tar.gz"):
        old.unlink()
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    # Installed from outside of the checkout, whose ansible.cfg says that the collection is there already.
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    run([*galaxy, "build", str(ROOT), "--output-path", str(CACHE)], cwd="/")
    (built,) = CACHE.glob("*.tar.gz")
    run([*galaxy, "install", str(built), "--no-deps", "--offline"], cwd="/", env=environment)
    (manifest,) = collections.glob("ansible_collections/*/*/MANIFEST.json")
    # ansible-test takes the files that git knows, and git's ignore list has .cache: this makes it a checkout of its own.
    run(["git", "init", "--quiet"], cwd=manifest.parent)
    return manifest.parent


def run(command: list[str], **options) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def prepare_home(versions: list[str]) -> None:
    """Prepare the home directory that ansible-test works in: it keeps its environments and looks for get-pip.py there.

    It hands neither a PIP_ variable nor a proxy on to pip, so what this machine's pip is told is written down.
    """
    scripts = HOME / ".ansible" / "test" / "cache"
    scripts.mkdir(parents=True, exist_ok=True)
    for version in {get_venv_packages(SimpleNamespace(version=each))["pip"] for each in versions}:
        wheel = CACHE / f"pip-{version}-py3-none-any.whl"
        if not wheel.exists():
            run([*PIP, "download", "--quiet", "--no-deps", "--dest", str(CACHE), f"pip=={version}"])
        script = scripts / f"get_pip_{version.replace('.', '_')}.py"
        script.write_text(_GET_PIP.format(wheel=str(wheel)), encoding="utf-8")
    settings = configparser.RawConfigParser()
    settings.read_dict({"global": {"quiet": "2"}})  # errors only
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    if proxy:
        settings.set("global", "proxy", proxy)
    for line in run([*PIP, "config", "list"]).splitlines():
        name, _equals, value = line.partition("=")
        section, _dot, option = name.rpartition(".")
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings.set(section, option, ast.literal_eval(value))
    configuration = HOME / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.touch(mode=0o600)  # an index's address may hold a password
    with configuration.open("w", encoding="utf-8") as file:
        settings.write(file)


def find_python(version: str) -> Path | None:
    """The interpreter of this version, on the path or pyenv's. A pyenv shim may exist and still not run, so each is asked."""
    places = [Path(directory) for directory in os.environ["PATH"].split(os.pathsep)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += sorted((pyenv / "versions").glob(f"{version}.*/bin"))
    for python in (place / f"python{version}" for place in places):
        if os.access(python, os.X_OK):
            command = [str(python), "-c", "import sys, venv; print(sys.executable)"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                return Path(answer.stdout.strip())
    return None


def supported_versions() -> list[str]:
    """The Pythons that both this ansible-core and the collection support."""
    configuration = yaml.safe_load((ROOT / "tests" / "config.yml").read_text(encoding="utf-8"))
    wanted = SpecifierSet(configuration["modules"]["python_requires"])
    return [each for each in (*REMOTE_ONLY_PYTHON_VERSIONS, *CONTROLLER_PYTHON_VERSIONS) if wanted.contains(each)]


def main(arguments: list[str]) -> int:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("sanity: waiting for another run in this checkout", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return check(arguments)


def check(arguments: list[str]) -> int:
    """Run ansible-test and say on which Pythons; return its exit code, or 1 where it left a test out."""
    versions = supported_versions()
    pythons = {version: python for version in versions if (python := find_python(version))}
    missing = [version for version in versions if version not in pythons]
    collection = install_collection()
    prepare_home(versions)
    path = [str(BIN), *(str(python.parent) for python in pythons.values()), os.environ["PATH"]]
    environment = {**os.environ, "HOME": str(HOME), "PATH": os.pathsep.join(path)}
    command = [str(BIN / "ansible-test"), "sanity", "--color", "no", "--controller", "origin:python=default"]
    for version in pythons:
        command += ["--target-python", version]
    code = 0
    with subprocess.Popen(
        [*command, *arguments], cwd=collection, env=environment, stderr=subprocess.PIPE, text=True
    ) as test:
        for line in test.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            if "All targets skipped" in line or "Skipping sanity test" in line:  # to ansible-test that is a success
                code = 1
    print(f"sanity: ansible-core {ansible_version}, tests compile and import on Python {', '.join(pythons)}", end="")
    print(f"; NOT on {', '.join(missing)}, which this machine has not" if missing else "")
    return test.returncode or code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
