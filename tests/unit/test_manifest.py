"""What a manifest holds, and what is said about one that is wrong."""

import copy
import json
import pathlib
import shutil
import zipfile

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema import manifest as module
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.manifest import (
    Manifest,
    ManifestError,
    collection_version,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.migrations import (
    SITE,
    checksum,
    read_migrations,
    read_repeatables,
)

ROOT = pathlib.Path(__file__).parents[2]
SQL = ROOT / "files" / "sql"


@pytest.fixture(scope="module")
def manifest():
    return Manifest.of_directory(str(SQL), "1.2.3")


def test_it_holds_the_checksums_that_the_runner_records(manifest):
    migrations = read_migrations(str(SQL / "migrations"))
    assert [(each.name, each.checksum) for each in manifest.migrations] == [
        (file.name, file.checksum) for file in migrations
    ]
    assert [(each.name, each.checksum) for each in manifest.repeatables] == [
        (file.name, file.checksum) for file in read_repeatables(str(SQL / "repeatable"))
    ]
    assert [each.version for each in manifest.migrations] == list(range(1, len(migrations) + 1))
    assert manifest.version == "1.2.3"


def test_migrations_of_a_homelab_come_after_the_collections(tmp_path):
    (tmp_path / "001_mine.sql").write_text("SELECT 1;\n", encoding="utf-8")
    last = Manifest.of_directory(str(SQL), "1.2.3", str(tmp_path)).migrations[-1]
    assert (last.origin, last.version, last.name) == (SITE, 1, "001_mine.sql")
    assert last.checksum == checksum("SELECT 1;\n")


def test_a_directory_that_is_none_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"migrations cannot be read"):
        Manifest.of_directory(str(tmp_path), "1.2.3")
    (tmp_path / "mine.sql").write_text("SELECT 1;\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"mine\.sql .* rename it"):
        Manifest.of_directory(str(SQL), "1.2.3", str(tmp_path))


def test_it_comes_back_from_json_as_it_was(manifest):
    assert Manifest.from_dict(manifest.as_dict()) == manifest
    assert Manifest.from_json(manifest.as_json()) == manifest
    assert json.loads(manifest.as_json()) == manifest.as_dict()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), [], "The manifest has no version, which must be text."),
        ((), None, "The manifest has no version, which must be text."),
        (("version",), 1, "The manifest has no version, which must be text."),
        (("migrations",), {}, "The manifest has no migrations, which must be a list."),
        (("repeatables",), None, "The manifest has no repeatables, which must be a list."),
        (("migrations", 0), "001", "A migration of the manifest has no origin, which must be text."),
        (
            ("migrations", 0, "version"),
            "1",
            "A migration of the manifest has no version, which must be a whole number.",
        ),
        (
            ("migrations", 0, "version"),
            True,
            "A migration of the manifest has no version, which must be a whole number.",
        ),
        (("migrations", 0, "version"), 0, "origin must be bundle or site, and version a number from 1 on"),
        (("migrations", 0, "origin"), "mine", "origin must be bundle or site"),
        (("migrations", 1, "version"), 1, "twice"),
        (("repeatables", 0, "name"), None, "A repeatable file of the manifest has no name, which must be text."),
        (("repeatables", 0, "checksum"), "abc", "must be a SHA-256 of 64 hexadecimal digits"),
    ],
)
def test_a_wrong_one_is_refused_with_a_sentence(manifest, path, value, message):
    content = copy.deepcopy(manifest.as_dict())
    place = content
    for key in path[:-1]:
        place = place[key]
    if path:
        place[path[-1]] = value
    else:
        content = value
    with pytest.raises(ManifestError) as error:
        Manifest.from_dict(content)
    assert message in str(error.value)
    assert str(error.value).endswith(".")


def test_what_is_not_json_is_refused():
    with pytest.raises(ManifestError, match="not JSON"):
        Manifest.from_json("{")


def test_in_a_checkout_it_is_read_from_the_files():
    assert Manifest.built_in() == Manifest.of_directory(str(SQL), collection_version(str(ROOT)))


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the library without anything around it."""
    directory = tmp_path / "collection" / "plugins" / "module_utils"
    directory.mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(directory / "schema" / "manifest.py"))
    return directory


def test_a_library_that_has_none_says_so(library):
    assert Manifest.built_in() is None


def test_a_library_within_an_archive_has_none(library, monkeypatch, tmp_path):
    with zipfile.ZipFile(tmp_path / "module.zip", "w") as archive:
        archive.writestr("plugins/module_utils/schema/manifest.py", "")
    monkeypatch.setattr(
        module, "__file__", str(tmp_path / "module.zip" / "plugins" / "module_utils" / "schema" / "manifest.py")
    )
    assert Manifest.built_in() is None


def test_the_one_beside_the_library_counts(library, manifest):
    (library / "manifest.json").write_text(manifest.as_json(), encoding="utf-8")
    assert Manifest.built_in() == manifest
    (library / "manifest.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ManifestError):
        Manifest.built_in()


def test_an_installed_collection_has_its_files(library):
    root = library.parents[1]
    shutil.copytree(SQL, root / "files" / "sql")
    assert Manifest.built_in() is None
    (root / "MANIFEST.json").write_text('{"collection_info": {"version": "4.5.6"}}', encoding="utf-8")
    assert Manifest.built_in().version == "4.5.6"
    assert len(Manifest.built_in().migrations) == len(read_migrations(str(SQL / "migrations")))
