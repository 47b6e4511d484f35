"""The archive of the service, and how a release is put in use on a host."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import CONNECTORS
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.releases import store
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.releases.archive import (
    build_release,
    pack,
    read_package,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import Manifest

ROOT = str(Path(__file__).resolve().parents[2])
APPLICATION = f"{ROOT}/roles/mission_control_service/files/mission_control_service"
INVENTORY = f"{ROOT}/roles/mission_control_inventory/files/mission_control_inventory"
TOOLS = f"{ROOT}/roles/mission_control_tools/files/mission_control_tools"
FILES = {"mission_control/__init__.py": b"", "mission_control_service/a/b.py": b"x = 1\n"}


def install(root, files, **options):
    archive = pack(files)
    changed = store.unpack(str(root), archive.checksum, archive.content)
    changed |= store.switch(str(root), archive.checksum)
    return archive.checksum, changed, store.prune(str(root), options.get("keep", 2))


def test_the_same_files_are_the_same_bytes_whatever_their_order_time_and_mode(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.py").write_bytes(b"x = 1\n")
    before = pack({**FILES, **read_package(str(tmp_path), "mission_control_service")})
    (tmp_path / "a/b.py").chmod(0o600)
    os.utime(tmp_path / "a/b.py", (1, 1))
    after = pack(dict(reversed(({**FILES, **read_package(str(tmp_path), "mission_control_service")}).items())))
    assert after == before
    assert pack({**FILES, "mission_control/__init__.py": b"# changed"}).checksum != before.checksum


def test_what_python_and_editors_leave_behind_is_not_packed(tmp_path):
    for name in ("kept.py", "templates/page.html", "__pycache__/kept.pyc", ".kept.py.swp", "kept.py~"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(read_package(str(tmp_path), "p")) == ["p/kept.py", "p/templates/page.html"]


def files_of(release):
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(release.content))) as archive:
        return {name: archive.extractfile(name).read() for name in archive.getnames()}


def test_the_release_holds_application_what_it_imports_and_a_manifest_that_the_library_reads():
    release = build_release(APPLICATION, ROOT)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(release.content))) as archive:
        names = set(archive.getnames())
        manifest = Manifest.from_dict(json.load(archive.extractfile("mission_control/manifest.json")))
        assert {(member.mode, member.mtime, member.uid) for member in archive} == {(0o644, 0, 0)}
    assert {
        "mission_control/client/client.py",
        "mission_control/sockets.py",
        "mission_control_service/__init__.py",
    } <= names
    assert manifest == Manifest.built_in()


@pytest.mark.parametrize("application", [APPLICATION, INVENTORY, TOOLS])
def test_everything_in_the_release_can_be_imported_with_nothing_else_of_the_checkout(tmp_path, application):
    for name, content in files_of(build_release(application, ROOT)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = """
import importlib, pathlib, sys
here = pathlib.Path.cwd()
sys.path.insert(0, str(here))
for path in sorted(here.rglob("*.py")):
    if path.stem not in ("__main__", "wsgi"):  # these two start the service
        module = importlib.import_module(".".join(path.relative_to(here).with_suffix("").parts))
        assert pathlib.Path(module.__file__).is_relative_to(here), module
import mission_control
[getattr(mission_control, name) for name in mission_control.__all__]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_release_of_the_worker_holds_the_command_line_and_every_connector(tmp_path):
    names = set(files_of(build_release(INVENTORY, ROOT)))
    connectors = {f"mission_control/inventory/connectors/{name}.py" for name in CONNECTORS}
    assert {"mission_control_inventory/__main__.py", "mission_control/cli/main.py", *connectors} <= names
    assert not any(name.startswith("mission_control/provisioning/") for name in names)


@pytest.fixture
def collection(tmp_path):
    """A copy of what the release is made of."""
    shutil.copytree(f"{ROOT}/files/sql", tmp_path / "files/sql")
    shutil.copytree(f"{ROOT}/plugins/module_utils", tmp_path / "plugins/module_utils")
    shutil.copy(f"{ROOT}/galaxy.yml", tmp_path)
    return tmp_path


def test_a_change_in_what_only_provisions_makes_no_other_release_and_one_in_what_the_service_imports_does(collection):
    library = collection / "plugins/module_utils"
    release = build_release(APPLICATION, str(collection))
    assert release == build_release(APPLICATION, ROOT)
    outside = [*(library / "provisioning").rglob("*.py"), *(library / "cli").rglob("*.py")]
    assert len(outside) > 30
    for path in outside:
        path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    assert build_release(APPLICATION, str(collection)) == release
    inside = [name for name in files_of(release) if name.startswith("mission_control/") and name.endswith(".py")]
    assert len(inside) > 40
    for name in inside:
        path = library / name.partition("/")[2]
        before = path.read_bytes()
        path.write_bytes(before + b"# changed\n")
        assert build_release(APPLICATION, str(collection)).checksum != release.checksum, name
        path.write_bytes(before)


def test_own_migrations_make_another_release(tmp_path):
    (tmp_path / "001_mine.sql").write_text("SELECT 1;\n")
    assert build_release(APPLICATION, ROOT, str(tmp_path)) != build_release(APPLICATION, ROOT)


def test_an_application_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        build_release(str(tmp_path / "none"), ROOT)
    assert error.value.filename == str(tmp_path / "none")


def test_a_release_is_put_in_use_once(tmp_path):
    root = tmp_path / "lib"
    assert store.current(str(root)) == ""
    assert store.releases(str(root)) == []
    checksum, changed, removed = install(root, FILES)
    assert (changed, removed) == (True, [])
    assert store.current(str(root)) == checksum
    assert (root / "current/mission_control_service/a/b.py").read_bytes() == b"x = 1\n"
    assert install(root, FILES) == (checksum, False, [])


def test_everybody_may_read_a_release_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        install(tmp_path / "lib", FILES)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "lib").rglob("*")}
    assert modes == {0o755, 0o644}


def test_the_release_before_is_kept_and_older_ones_go(tmp_path):
    checksums = []
    for number in range(4):
        checksum, _changed, removed = install(tmp_path, {"mission_control/a.py": b"%d" % number})
        os.utime(tmp_path / "releases" / checksum, (number, number))
        assert removed == checksums[-2:-1]
        checksums.append(checksum)
    assert store.releases(str(tmp_path)) == checksums[:1:-1]
    # Going back to a release that is still there needs no unpacking.
    assert not store.unpack(str(tmp_path), checksums[2], b"not looked at")
    assert store.switch(str(tmp_path), checksums[2])
    assert store.current(str(tmp_path)) == checksums[2]


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    install(tmp_path, FILES)
    (tmp_path / "releases/.draft-x").mkdir()
    (tmp_path / "releases/.draft-x/half.py").touch()
    (tmp_path / ".draft-current").symlink_to("nowhere")
    checksum, changed, removed = install(tmp_path, {"mission_control/a.py": b"new"})
    assert (store.current(str(tmp_path)), changed, removed) == (checksum, True, [])
    assert sorted(os.listdir(tmp_path)) == ["current", "releases"]
    assert len(os.listdir(tmp_path / "releases")) == 2


def test_a_link_to_a_release_that_is_gone_is_no_release(tmp_path):
    checksum, _changed, _removed = install(tmp_path, FILES)
    os.rename(tmp_path / "releases" / checksum, tmp_path / "elsewhere")
    assert store.current(str(tmp_path)) == ""


@pytest.mark.parametrize("content", [b"", b"no archive", pack({"another": b"file"}).content])
def test_another_archive_than_the_announced_one_is_refused(tmp_path, content):
    with pytest.raises(store.ReleaseError, match="run again"):
        store.unpack(str(tmp_path), pack(FILES).checksum, content)
    assert not list(tmp_path.rglob("*.py"))


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    archive = pack({name: b"x"})
    with pytest.raises(store.ReleaseError, match="which is no file of a release"):
        store.unpack(str(tmp_path / "lib"), archive.checksum, archive.content)
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("place", ["", "releases"])
@pytest.mark.parametrize("deed", ["link", "writable"])
def test_where_somebody_else_can_put_things_no_release_is_unpacked(tmp_path, place, deed):
    elsewhere = tmp_path / "elsewhere"
    root = tmp_path / "root"
    (elsewhere / "releases").mkdir(parents=True)
    planted = root / place if place else root
    planted.parent.mkdir(exist_ok=True)
    if deed == "link":
        planted.symlink_to(elsewhere)
    else:
        planted.mkdir()
        planted.chmod(0o777)
    with pytest.raises(store.ReleaseError, match="move it away"):
        install(root, FILES)
    assert list((elsewhere / "releases").iterdir()) == []
    assert not list(planted.glob("**/*.py"))


def test_removing_old_releases_follows_no_link_in_them(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "kept").touch()
    first, _changed, _removed = install(tmp_path / "root", FILES)
    (tmp_path / "root/releases" / first / "link").symlink_to(precious)
    os.utime(tmp_path / "root/releases" / first, (1, 1))
    for number in range(2):
        *_rest, removed = install(tmp_path / "root", {**FILES, "mission_control/new.py": b"%d" % number})
    assert removed == [first]
    assert (precious / "kept").exists()
