"""The package as pip builds and installs it: it knows what it expects of a database without the SQL files."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import (
    Manifest,
    collection_version,
)

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = [
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "galaxy.yml",
    "docs/library.md",
    "plugins/module_utils",
    "files/sql",
]


def run(*command, cwd):
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What a checkout has of the library, copied, since a build leaves its files beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(sources, kind, directory):
    """Build with the backend that pyproject.toml names, as pip and build do."""
    call = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    return directory / run("-c", call, str(directory), cwd=sources).splitlines()[-1]


def installed_manifest(wheel, directory):
    """Install the wheel and ask the package, in a process that has nothing else of this checkout."""
    target = directory / "site"
    run("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", f"--target={target}", str(wheel), cwd=directory)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); from mission_control import Manifest; import mission_control; "
        "print(mission_control.__file__); print(Manifest.built_in().as_json())"
    )
    place, _, text = run("-c", code, cwd=directory).partition("\n")
    assert pathlib.Path(place).is_relative_to(target)
    return Manifest.from_json(text)


def test_a_wheel_carries_the_manifest_of_the_files(sources, tmp_path):
    manifest = installed_manifest(build(sources, "wheel", tmp_path), tmp_path)
    assert manifest == Manifest.of_directory(str(ROOT / "files" / "sql"), collection_version(str(ROOT)))
    assert not (sources / "plugins" / "module_utils" / "manifest.json").exists()


def test_a_wheel_holds_what_it_uses_and_nothing_that_provisions(sources, tmp_path):
    """The same wheel comes of other provisioning; every module in it can be imported with nothing else of the checkout."""
    before = build(sources, "wheel", tmp_path)
    for path in (sources / "plugins/module_utils/provisioning").rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    (tmp_path / "again").mkdir()
    after = build(sources, "wheel", tmp_path / "again")
    with zipfile.ZipFile(before) as one, zipfile.ZipFile(after) as other:
        names = set(one.namelist())
        assert {name: one.read(name) for name in names} == {name: other.read(name) for name in other.namelist()}
        one.extractall(tmp_path / "site")
    assert {"mission_control/cli/main.py", "mission_control/query/rows.py", "mission_control/py.typed"} <= names
    unused = ("provisioning/", "schema/runner.py", "database/connection_options.py")
    assert not [name for name in names if name.startswith(tuple(f"mission_control/{each}" for each in unused))]
    modules = [name[:-3].replace("/", ".") for name in names if name.endswith(".py")]
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    run("-c", code, *modules, cwd=tmp_path / "site")
    # What is imported only when it is asked for.
    code = "from mission_control.ledger.imports.registry import FORMS, form_module\nfor form in FORMS:\n    form_module(form)"
    run("-c", code, cwd=tmp_path / "site")


def test_a_wheel_brings_the_command(sources, tmp_path):
    """In an environment of its own that has nothing else, not even psycopg2."""
    wheel = build(sources, "wheel", tmp_path)
    venv = tmp_path / "venv"
    run("-m", "venv", "--without-pip", str(venv), cwd=tmp_path)
    python = f"--python={venv / 'bin' / 'python'}"
    run("-m", "pip", python, "install", "--quiet", "--no-index", "--no-deps", str(wheel), cwd=tmp_path)
    for command in ([venv / "bin" / "mission-control"], [venv / "bin" / "python", "-m", "mission_control"]):
        shown = subprocess.run([*command, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout == f"mission-control {collection_version(str(ROOT))}\n"
        refused = subprocess.run([*command, "status"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert (refused.returncode, refused.stdout) == (3, "")
        assert refused.stderr.startswith("mission-control: psycopg2 cannot be imported by ")
        assert refused.stderr.count("\n") == 1
    # The exporter of spans, where OpenTelemetry is not installed either.
    code = (
        "from importlib.metadata import entry_points\n"
        "(point,) = entry_points(group='opentelemetry_traces_exporter')\n"
        "try:\n    point.load()()\nexcept Exception as error:\n    print(point.name, error)"
    )
    asked = subprocess.run(
        [venv / "bin" / "python", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert asked.stdout == (
        "mission_control LedgerSpanExporter needs OpenTelemetry: install mission-control-database[otel].\n"
    )


def test_a_wheel_of_a_source_distribution_carries_it_too(sources, tmp_path):
    archive = build(sources, "sdist", tmp_path)
    run("-m", "tarfile", "--extract", str(archive), str(tmp_path), cwd=tmp_path)
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    manifest = installed_manifest(build(unpacked, "wheel", tmp_path), tmp_path)
    assert manifest == Manifest.built_in()


def test_a_package_that_is_installed_in_place_reads_the_files_of_the_checkout(sources, tmp_path):
    migrations = sources / "files" / "sql" / "migrations"
    migration = migrations / f"{len(list(migrations.iterdir())) + 1:03}_later.sql"
    wheel = build(sources, "editable", tmp_path)
    target = tmp_path / "site"
    shutil.unpack_archive(wheel, target, "zip")
    migration.write_text("CREATE TABLE later ();\n", encoding="utf-8")
    code = (
        f"import site; site.addsitedir({str(target)!r}); from mission_control import Manifest; "
        "print(Manifest.built_in().migrations[-1].name)"
    )
    try:
        assert run("-c", code, cwd=tmp_path).strip() == migration.name
    finally:
        migration.unlink()
