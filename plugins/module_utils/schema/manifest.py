# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What this version of the collection expects of a database: its migrations and repeatable files, by checksum.

The files themselves are where the collection is; a program that only has the library compares a database with a manifest
of them, which is a few kilobytes of JSON.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MissionControlError
from .migrations import BUNDLE, SITE, PlanError, read_migrations, read_repeatables

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_NAME = "manifest.json"
_CHECKSUM = re.compile(r"[0-9a-f]{64}")


class ManifestError(MissionControlError, ValueError):
    """A manifest is not what it has to be; the message says what is wrong."""


@dataclass(frozen=True)
class ExpectedMigration:
    """A versioned migration: origin (`bundle` or `site`), number, name of the file, SHA-256 of its text."""

    origin: str
    version: int
    name: str
    checksum: str


@dataclass(frozen=True)
class ExpectedFile:
    """A repeatable file: its name and the SHA-256 of its text."""

    name: str
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """What a database is compared with.

    Attributes:
        version: of the collection.
        migrations: in the order in which they are applied: the collection's, then those of a homelab.
        repeatables: files of functions and views, in the order of their names.
    """

    version: str
    migrations: tuple[ExpectedMigration, ...]
    repeatables: tuple[ExpectedFile, ...]

    @classmethod
    def of_directory(cls, sql_directory: str, version: str, site_directory: str = "") -> Manifest:
        """Read the files: the collection's `files/sql`, and a directory of a homelab's own migrations.

        Raises:
            ManifestError: a file cannot be read as what it has to be.
        """
        try:
            files = read_migrations(os.path.join(sql_directory, "migrations"), BUNDLE)
            if site_directory:
                files += read_migrations(site_directory, SITE)
            repeatables = read_repeatables(os.path.join(sql_directory, "repeatable"))
        except PlanError as error:
            raise ManifestError(str(error)) from error
        return cls(
            version,
            tuple(ExpectedMigration(file.origin, file.version, file.name, file.checksum) for file in files),
            tuple(ExpectedFile(file.name, file.checksum) for file in repeatables),
        )

    @classmethod
    def built_in(cls) -> Manifest | None:
        """The manifest that came with this copy of the library: made when it was built, or read from its collection.

        None where there is neither, as in a module that Ansible has sent to a host.

        Raises:
            ManifestError: there is one, but it is broken.
        """
        directory = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        text = _text(os.path.join(directory, FILE_NAME))
        if text is not None:
            return cls.from_json(text)
        root = os.path.dirname(os.path.dirname(directory))
        version = collection_version(root)
        sql_directory = os.path.join(root, "files", "sql")
        return cls.of_directory(sql_directory, version) if version and os.path.isdir(sql_directory) else None

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `as_json` wrote.

        Raises:
            ManifestError: it is something else.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ManifestError(f"The manifest is not JSON: {error}.") from error
        return cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Manifest:
        """Read what `as_dict` gave.

        Raises:
            ManifestError: it is something else.
        """
        manifest = cls(
            _value(content, "the manifest", "version", str),
            tuple(_migration(each) for each in _value(content, "the manifest", "migrations", list)),
            tuple(_file(each) for each in _value(content, "the manifest", "repeatables", list)),
        )
        keys = [(each.origin, each.version) for each in manifest.migrations]
        names = [each.name for each in manifest.repeatables]
        if len(set(keys)) < len(keys) or len(set(names)) < len(names):
            raise ManifestError("The manifest names a migration or a repeatable file twice.")
        return manifest

    def as_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "migrations": [asdict(each) for each in self.migrations],
            "repeatables": [asdict(each) for each in self.repeatables],
        }

    def as_json(self) -> str:
        return json.dumps(self.as_dict(), indent=1) + "\n"


def collection_version(root: str) -> str | None:
    """Version of the collection at `root`, a checkout or an installed one; None if there is none."""
    text = _text(os.path.join(root, "galaxy.yml"))
    if text is not None:
        found = re.search(r"^version:\s*[\"']?([^\s\"'#]+)", text, re.MULTILINE)
        return found.group(1) if found else None
    text = _text(os.path.join(root, "MANIFEST.json"))
    return str(json.loads(text)["collection_info"]["version"]) if text is not None else None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        # Not there, or within the archive in which Ansible sends a module to a host.
        return None


def _migration(content: Any) -> ExpectedMigration:
    where = "a migration of the manifest"
    origin = _value(content, where, "origin", str)
    version = _value(content, where, "version", int)
    if origin not in (BUNDLE, SITE) or version < 1:
        raise ManifestError(f"In {where}, origin must be {BUNDLE} or {SITE}, and version a number from 1 on.")
    return ExpectedMigration(origin, version, _value(content, where, "name", str), _checksum(content, where))


def _file(content: Any) -> ExpectedFile:
    where = "a repeatable file of the manifest"
    return ExpectedFile(_value(content, where, "name", str), _checksum(content, where))


def _checksum(content: Any, where: str) -> str:
    value: str = _value(content, where, "checksum", str)
    if not _CHECKSUM.fullmatch(value):
        raise ManifestError(f"In {where}, checksum must be a SHA-256 of 64 hexadecimal digits.")
    return value


def _value(content: Any, where: str, key: str, kind: type[Any]) -> Any:
    value = content.get(key) if hasattr(content, "get") else None
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {str: "text", int: "a whole number", list: "a list"}
        raise ManifestError(f"{where[0].upper()}{where[1:]} has no {key}, which must be {names[kind]}.")
    return value
