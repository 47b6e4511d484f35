# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A directory that keeps calls of language models while the database cannot be reached, in files of the JSON lines form (docs/import.md).

Any number of processes write and empty it. A file is locked while it is written or emptied, and nobody waits for a lock: whoever does
not get one takes another file. Each file is emptied from its beginning and then removed, so that what is killed in between is done
again; in the ledger a call with the same identifier counts once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import uuid
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..recorder.spool import SUFFIX, open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SPOOL_VARIABLE = "MISSION_CONTROL_SPANS_SPOOL"
DEFAULT_DIRECTORY = "~/.local/state/mission_control/calls"
MAX_BYTES = 256 << 20
REFUSED = ".refused"
_LONGEST_LINE = 64 << 20
# A file is emptied in one go: some hundred calls without bodies.
_LARGE = 256 << 10
_BATCH_BYTES = 1 << 20
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class CallSpool:
    """The directory. It is made, with the mode 0700, when the first call is kept.

    Args:
        directory: `~` stands for the home directory.
        max_bytes: of all its files together.
    """

    def __init__(self, directory: str = DEFAULT_DIRECTORY, max_bytes: int = MAX_BYTES) -> None:
        self.directory = os.path.abspath(os.path.expanduser(directory))
        self._max_bytes = max_bytes
        self._name = _new_name()

    def append(self, lines: Sequence[dict[str, Any]]) -> None:
        """Write calls, all or none. When this returns they are on the disk.

        Raises:
            OSError: they are not, since the spool is full (ENOSPC) or cannot be written, or is not this user's own.
        """
        data = "".join(_ENCODE(line) + "\n" for line in lines).encode("utf-8", "replace")
        directory = open_directory(self.directory, create=True)
        try:
            if len(data) + _size(directory) > self._max_bytes:
                raise OSError(errno.ENOSPC, f"It holds {self._max_bytes >> 20} MiB and no more", self.directory)
            file = self._open_own(directory)
            try:
                _write(file, data)
            finally:
                os.close(file)
            os.fsync(directory)
        finally:
            os.close(directory)

    def empty(self, record: Callable[[list[dict[str, Any]]], bool], until: float) -> None:
        """Hand over what is kept, file by file, and remove each that was handed over.

        Args:
            record: takes some calls and says whether all of them are done with; where not, this ends.
            until: no file is begun after this (monotonic, in seconds).

        Raises:
            OSError: the spool cannot be read or is not this user's own.
        """
        try:
            directory = open_directory(self.directory)
        except FileNotFoundError:
            return
        try:
            for name in sorted(_files(directory)):
                if monotonic() > until or not _hand_over(directory, name, record):
                    break
        finally:
            os.close(directory)

    def _open_own(self, directory: int) -> int:
        """A locked file that is there under its name, does not end in the middle of a line and is not large."""
        while True:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(self._name, flags, 0o600, dir_fd=directory)
            try:
                if _locked(file):
                    size = os.fstat(file).st_size
                    if size < _LARGE and (not size or os.pread(file, 1, size - 1) == b"\n"):
                        return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)
            self._name = _new_name()


def _new_name() -> str:
    return f"{uuid.uuid4().hex}{SUFFIX}"


def _locked(file: int) -> bool:
    """Lock a file; whether that was possible, and nobody has removed it meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0


def _write(file: int, data: bytes) -> None:
    size = os.fstat(file).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(file, size)
        raise


def _files(directory: int, endings: tuple[str, ...] = (SUFFIX,)) -> list[str]:
    return [name for name in os.listdir(directory) if name.endswith(endings)]


def _size(directory: int) -> int:
    size = 0
    for name in _files(directory, (SUFFIX, REFUSED)):
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    return size


def _hand_over(directory: int, name: str, record: Callable[[list[dict[str, Any]]], bool]) -> bool:
    """Empty a file; whether that was possible, or it is another process' matter. One with a line that cannot be read gets another name."""
    try:
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return True
    unreadable = False
    with open(file, "rb") as content:
        if not _locked(file):
            return True
        for calls, bad in _batches(content):
            unreadable = unreadable or bad > 0
            if calls and not record(calls):
                return False
        if unreadable:
            os.rename(name, name + REFUSED, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    return True


def _batches(content: Any) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The calls of a file, about a megabyte at a time, with the number of lines between them that hold none."""
    calls: list[dict[str, Any]] = []
    size = bad = 0
    while line := content.readline(_LONGEST_LINE):
        if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            # The beginning of one that was not finished, and so never acknowledged.
            break
        try:
            call = json.loads(line)
        except (ValueError, RecursionError):
            call = None
        if isinstance(call, dict) and call.get("v") == 1:
            calls.append(call)
        else:
            bad += 1
        size += len(line)
        if size >= _BATCH_BYTES:
            yield calls, bad
            calls, size, bad = [], 0, 0
    yield calls, bad
