# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of an import: which there are, their lines, and where in each the next import goes on."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from ...errors import MissionControlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

# A longer line is read in pieces and taken for nothing. Those of tools that hold usage are a few kilobytes, prompts included.
LONGEST_LINE = 8 << 20
# A file that nobody wrote to for so long is complete.
IDLE_SECONDS = 600
_PART = 1 << 18
_HEAD = 1024
_TAIL = 256


class FileError(MissionControlError):
    """A file or a directory that cannot be read; the message ends a sentence about it."""


class PathError(MissionControlError):
    """What was named to be imported is not there."""


class Line(NamedTuple):
    """A whole line with its end; `text` is None for one that is too long. `number` counts from 1, `start` in bytes."""

    start: int
    number: int
    text: bytes | None


class Place(NamedTuple):
    """Where the next import of a file goes on: the byte, and how many lines are before it."""

    position: int = 0
    line: int = 0


BEGINNING = Place()


class SourceFile:
    """A file, open for reading, for a `with` block. It is read as far as it goes at that time.

    Attributes:
        path: as it was found.
        size: in bytes, when it was opened.
        end: after the last whole line that was read.
    """

    def __init__(self, path: str) -> None:
        """Open it.

        Raises:
            FileError: it cannot be opened, or is no file: a pipe would never end, and a link lead anywhere.
        """
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise FileError(
                f"cannot be opened ({getattr(error, 'strerror', None) or 'its name cannot be used'})"
            ) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise FileError("is no file")
        self.size = status.st_size
        self._modified = status.st_mtime
        self._file = open(descriptor, "rb", buffering=_PART)  # noqa: SIM115 - until the end of the with block
        self.end = Place()

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def is_idle(self) -> bool:
        """Whether nobody wrote to it for ten minutes. A time to come is one of a wrong clock, and long ago too."""
        return abs(time.time() - self._modified) >= IDLE_SECONDS

    def lines(self, place: Place = BEGINNING) -> Iterator[Line]:
        """Whole lines from a place on; half a line at the end of the file is left for the next import.

        A last line without its end is whole where it is a whole JSON object: of one that is still being written a part is none.

        Raises:
            FileError: it cannot be read on.
        """
        position, number = place
        self.end = place
        try:
            self._file.seek(position)
            readline = self._file.readline
            while part := readline(LONGEST_LINE):
                start, text = position, None
                position += len(part)
                if part.endswith(b"\n"):
                    text = part
                elif len(part) < LONGEST_LINE:
                    if _is_object(part):
                        # What follows is the end of this line.
                        self.end = Place(position, number)
                        yield Line(start, number + 1, part)
                    return
                else:
                    while not part.endswith(b"\n"):
                        part = readline(_PART)
                        position += len(part)
                        if not part:
                            return
                number += 1
                self.end = Place(position, number)
                yield Line(start, number, text)
        except OSError as error:
            raise FileError(f"cannot be read ({error.strerror})") from None

    def parts(self) -> Iterator[bytes]:
        """The whole file in pieces, for forms that are no lines.

        Raises:
            FileError: it cannot be read on.
        """
        try:
            self._file.seek(0)
            while part := self._file.read(_PART):
                yield part
        except OSError as error:
            raise FileError(f"cannot be read ({error.strerror})") from None

    def fingerprint(self, position: int) -> str:
        """A checksum that stays as long as only what comes after a position changes: of the beginning, and of what is right before it."""
        descriptor = self._file.fileno()
        tail = min(position, _TAIL)
        try:
            known = os.pread(descriptor, min(position, _HEAD), 0) + os.pread(descriptor, tail, position - tail)
        except OSError as error:
            raise FileError(f"cannot be read ({error.strerror})") from None
        return hashlib.sha256(b"%d\n" % position + known).hexdigest()


def _is_object(text: bytes) -> bool:
    if not text.rstrip().endswith(b"}"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def find_files(paths: Iterable[str], endings: tuple[str, ...]) -> tuple[list[str], list[tuple[str, str]]]:
    """The files that were named, and those in the directories that were named, the files of a directory before those below it.

    Args:
        paths: files and directories; of a directory only names with one of the endings count. Links below it are not followed.
        endings: such as ".jsonl".

    Returns:
        The paths, and the directories that cannot be read with the reason.

    Raises:
        PathError: a path is not there.
    """
    found: dict[str, None] = {}
    unreadable: list[tuple[str, str]] = []
    for path in paths:
        real = os.path.realpath(os.path.expanduser(path))
        if os.path.isdir(real):
            for directory, _directories, names in os.walk(
                real,
                onerror=lambda error: unreadable.append((str(error.filename), f"cannot be read ({error.strerror})")),
            ):
                found.update((os.path.join(directory, name), None) for name in names if name.endswith(endings))
        elif os.path.lexists(real):
            found[real] = None
        else:
            raise PathError(f"There is no file or directory {path!r} to import.")
    return sorted((path for path in found), key=lambda path: (path.count(os.sep), path)), unreadable
