# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pack the code of a service into one archive whose bytes depend on nothing but the files in it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from ...schema.manifest import FILE_NAME, Manifest, collection_version
from .imports import PACKAGE, imported_modules, needed_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What Python and editors leave beside sources.
_LEFT_OUT_DIRECTORIES = {"__pycache__"}
_LEFT_OUT_ENDINGS = (".pyc", ".swp", "~")


class Archive(NamedTuple):
    """A release: the SHA-256 of its unpacked form in hexadecimal, and the gzipped tar archive."""

    checksum: str
    content: bytes


def build_release(application: str, collection: str, site_directory: str = "") -> Archive:
    """Pack the application, what it needs of the library and the manifest of the schema that they expect.

    Args:
        application: directory of the application's package, whose name it has.
        collection: root directory of the collection.
        site_directory: of a homelab's own migrations; empty for none.

    Raises:
        OSError: a directory or a file cannot be read.
        ManifestError: a migration is not what it has to be.
    """
    sql_directory = os.path.join(collection, "files/sql")
    manifest = Manifest.of_directory(sql_directory, collection_version(collection) or "", site_directory)
    library = os.path.join(collection, "plugins/module_utils")
    program = read_package(application, os.path.basename(application.rstrip("/")))
    modules = imported_modules(content.decode() for path, content in program.items() if path.endswith(".py"))
    return pack(
        {
            **{f"{PACKAGE}/{path}": _read(os.path.join(library, path)) for path in needed_files(library, modules)},
            **program,
            # In the library's directory, where it looks for it.
            f"{PACKAGE}/{FILE_NAME}": manifest.as_json().encode(),
        }
    )


def read_package(directory: str, name: str) -> dict[str, bytes]:
    """The files of a directory by the path that they get below `name`, sorted.

    Raises:
        OSError: the directory or a file cannot be read.
    """
    if not os.path.isdir(directory):
        raise FileNotFoundError(2, os.strerror(2), directory)
    return {f"{name}/{path}": _read(os.path.join(directory, path)) for path in sorted(_paths(directory))}


def _paths(directory: str) -> Iterator[str]:
    for root, directories, files in os.walk(directory):
        directories[:] = [each for each in directories if each not in _LEFT_OUT_DIRECTORIES]
        for file in files:
            if not file.startswith(".") and not file.endswith(_LEFT_OUT_ENDINGS):
                yield os.path.relpath(os.path.join(root, file), directory)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def pack(files: Mapping[str, bytes]) -> Archive:
    """The archive of files by their paths. Owner, mode and time are constants, so the same files always give the same bytes.

    The checksum is that of the tar archive before compression, since releases of zlib compress differently.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    unpacked = buffer.getvalue()
    return Archive(hashlib.sha256(unpacked).hexdigest(), gzip.compress(unpacked, mtime=0))
