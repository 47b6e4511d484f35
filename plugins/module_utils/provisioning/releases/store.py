# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases of the service on a host: directories named by their checksum, and a link `current` to the one in use.

    ROOT/releases/CHECKSUM/…
    ROOT/current -> releases/CHECKSUM

A release is unpacked apart and renamed into place, and the link is replaced by a rename, so that a run that is killed at any
point leaves either the old release or the new one in use, and never half of one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile

_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_DRAFT = ".draft-"
_MODE = 0o755


class ReleaseError(Exception):
    """A sentence that says why a release cannot be put in place."""


def current(root: str) -> str:
    """The checksum of the release in use; empty where there is none, or where the link points to nothing."""
    try:
        checksum = os.path.basename(os.readlink(os.path.join(root, "current")))
    except OSError:
        return ""
    return checksum if os.path.isdir(os.path.join(root, "releases", checksum)) else ""


def releases(root: str) -> list[str]:
    """The checksums of all releases that are there, the newest first."""
    directory = os.path.join(root, "releases")
    try:
        names = [name for name in os.listdir(directory) if _CHECKSUM.fullmatch(name)]
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda name: (os.stat(os.path.join(directory, name)).st_mtime, name), reverse=True)


def unpack(root: str, checksum: str, content: bytes) -> bool:
    """Put a release into its directory; False where it is there already.

    Raises:
        ReleaseError: the archive is not the one with this checksum.
        OSError: something cannot be written.
    """
    directory = os.path.join(root, "releases")
    target = os.path.join(directory, checksum)
    if os.path.isdir(target):
        _require_own(root)
        _require_own(directory)
        _require_own(target)
        return False
    try:
        unpacked = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise ReleaseError("The archive of the release is damaged: run again.") from error
    if hashlib.sha256(unpacked).hexdigest() != checksum:
        raise ReleaseError(f"The archive is not the release {checksum}: run again.")
    for each in (root, directory):
        _make_directory(each)
        _require_own(each)
    draft = tempfile.mkdtemp(prefix=_DRAFT, dir=directory)
    try:
        _extract(unpacked, draft)
        os.chmod(draft, _MODE)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return True


def _extract(unpacked: bytes, draft: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for member in archive:
            source = archive.extractfile(member)
            if source is None or member.name.startswith("/") or ".." in member.name.split("/"):
                raise ReleaseError(f"The archive holds {member.name!r}, which is no file of a release.")
            path = os.path.join(draft, member.name)
            _make_directory(os.path.dirname(path))
            with open(path, "wb") as file:
                file.write(source.read())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(path, member.mode)


def _require_own(path: str) -> None:
    """What is unpacked there runs with the rights of the service, and is removed again by root.

    Raises:
        ReleaseError: the directory is a link, or somebody else may put things into it.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ReleaseError(
            f"{path} is a link, belongs to somebody else or is writable for others: move it away, and the next run makes it."
        )


def _make_directory(path: str) -> None:
    """With its parents, readable for everybody whatever the umask of the connection is."""
    if os.path.isdir(path):
        return
    _make_directory(os.path.dirname(path))
    os.mkdir(path)
    os.chmod(path, _MODE)


def switch(root: str, checksum: str) -> bool:
    """Have `current` point to a release; False where it does."""
    link = os.path.join(root, "current")
    target = os.path.join("releases", checksum)
    if os.path.islink(link) and os.readlink(link) == target:
        return False
    draft = os.path.join(root, f"{_DRAFT}current")
    if os.path.lexists(draft):
        os.unlink(draft)
    os.symlink(target, draft)
    os.replace(draft, link)
    return True


def prune(root: str, keep: int) -> list[str]:
    """Remove all releases but the one in use and the newest others, `keep` in all, and what killed runs left; return the removed.

    The process that still runs may be importing from the release before, so `keep` is at least 2.
    """
    directory = os.path.join(root, "releases")
    in_use = current(root)
    others = [checksum for checksum in releases(root) if checksum != in_use]
    removed = others[max(keep, 2) - 1 :]
    drafts = [name for name in os.listdir(directory) if name.startswith(_DRAFT)]
    for name in removed + drafts:
        shutil.rmtree(os.path.join(directory, name))
    return removed
