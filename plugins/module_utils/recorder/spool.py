# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The spool: a directory with a file for each run of a playbook, each line a JSON object. Here is its writing side.

The callback writes in Ansible's own process, where nothing may raise, wait or grow: so what does not fit is left out and counted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from datetime import datetime, timezone
from typing import Any

VERSION = 1
DEFAULT_DIRECTORY = "~/.local/state/mission_control/runs"
SUFFIX = ".jsonl"
LONGEST_LINE = 8192  # bytes, with the end of the line
LONGEST_MESSAGE = 500  # characters

# Of what may stand in a line, in characters: together far below the longest line, however JSON writes them.
LONGEST_NAME = 250
LONGEST_PATH = 250
LONGEST_LIST = 400
# For the lines of the hosts and the end, which are written when the events have reached the limit.
_RESERVED = 256 << 10
# The size of the other files is asked again when so much was written.
_STEP = 1 << 20
_LEAST = 16 << 10
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# PostgreSQL stores no NUL, and JSON writes each of the others as six characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def open_directory(path: str, create: bool = False) -> int:
    """Open the spool.

    Args:
        path: absolute.
        create: whether it is made where it is not there.

    Returns:
        A file descriptor.

    Raises:
        OSError: it is not there, cannot be made, or is no directory; a link too is none.
        PermissionError: somebody else owns it or may use it.
    """
    if create and not os.path.lexists(path):
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(directory)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(directory)
        raise PermissionError(
            errno.EPERM, "The spool has to be a directory of this user's own, with the mode 0700", path
        )
    return directory


class SpoolWriter:
    """The file of one run. A line that cannot be written leaves no trace in it, and is counted.

    Args:
        directory: absolute path of the spool, made where it is not there.
        run_id: names the file.
        max_bytes: of the file.
        max_spool_bytes: of all files in the spool.

    Attributes:
        dropped: number of events that could not be written.

    Raises:
        OSError: there can be no such file, or the spool is full.
    """

    def __init__(self, directory: str, run_id: str, max_bytes: int, max_spool_bytes: int) -> None:
        self.dropped = 0
        self._name = run_id + SUFFIX
        self._max_bytes, self._max_spool_bytes = max_bytes, max_spool_bytes
        self._sequence, self._size, self._next_look = 0, 0, _STEP
        self._broken = False
        self._directory = open_directory(directory, create=True)
        try:
            self._limit = self._left()
            if self._limit < min(_LEAST, max_bytes):
                raise OSError(errno.ENOSPC, "The spool is full", directory)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._name, flags, 0o600, dir_fd=self._directory)
        except BaseException:
            os.close(self._directory)
            raise

    def event(self, kind: str, payload: dict[str, Any]) -> int | None:
        """Write an event; returns its sequence, or None where it was dropped.

        Args:
            kind: type of the event, as task_events has it.
            payload: its texts are bounded already.
        """
        reserved = min(_RESERVED, self._limit // 4)
        sequence = self._write({"type": kind, "payload": payload}, self._limit - reserved)
        if sequence is None:
            self.dropped += 1
        return sequence

    def line(self, **content: Any) -> bool:
        """Write a line of another sort, for which space is reserved; returns whether it was written."""
        return self._write(content, self._limit) is not None

    def end(self, status: str, error: str | None) -> None:
        """Write the last line, and close the file.

        Args:
            status: succeeded, failed or cancelled.
            error: a sentence without a secret.
        """
        try:
            self._write({"end": {"status": status, "error": error, "dropped": self.dropped}}, None)
        finally:
            self.close()

    def remove(self) -> None:
        """Leave no file behind."""
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory)
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._broken = True
        for descriptor in (self._file, self._directory):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _write(self, content: dict[str, Any], limit: int | None) -> int | None:
        # Spent even where the line cannot be written, or an interrupt comes before it is: a number never comes twice.
        sequence, self._sequence = self._sequence, self._sequence + 1
        if self._broken:
            return None
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        line = (_ENCODE({"seq": sequence, "at": now, **content}) + "\n").encode("utf-8", "replace")
        if len(line) > LONGEST_LINE or (limit is not None and self._size + len(line) > limit):
            return None
        try:
            written = os.write(self._file, line)
        except OSError:
            written = 0
        if written != len(line):
            if written:
                self._cut_off()
            return None
        self._size += written
        if self._size >= self._next_look:
            self._next_look = self._size + _STEP
            with contextlib.suppress(OSError):
                self._limit = self._left()
        return sequence

    def _cut_off(self) -> None:
        """Remove the beginning of a line, as a full disk leaves it."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            # The next line would be its continuation.
            self._broken = True

    def _left(self) -> int:
        """How large the file may become."""
        others = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and entry.name != self._name:
                    with contextlib.suppress(FileNotFoundError):
                        others += entry.stat(follow_symlinks=False).st_size
        return min(self._max_bytes, self._max_spool_bytes - others)


def text(value: object, longest: int) -> str:
    """A text as a line may hold it: of bounded length, and without what PostgreSQL cannot store.

    Args:
        value: anything; what is no text or number gives an empty one, since to print it could tell what it holds.
        longest: number of characters.
    """
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        return ""
    # Of a subclass the plain text.
    plain = str.__str__(value)[:longest]
    if plain.isascii() and plain.isprintable():
        return plain
    return _CONTROL.sub("", plain).encode("utf-8", "replace").decode("utf-8")


def texts(values: object, longest: int = LONGEST_LIST) -> list[str]:
    """Texts of bounded number and length.

    Args:
        values: a list or a tuple; anything else gives none.
        longest: number of characters of all together.
    """
    kept: list[str] = []
    for each in values if isinstance(values, (list, tuple)) else ():
        cut = text(each, longest)
        longest -= len(cut) + 4
        if longest < 0:
            break
        kept.append(cut)
    return kept


def module_name(action: object) -> str | None:
    """The name of a module; None for anything else, such as a template."""
    return text(action, LONGEST_NAME) if isinstance(action, str) and _MODULE.fullmatch(action) else None


class Places:
    """How paths are named, of a playbook and of the files of its tasks.

    Args:
        playbook: path of the playbook's file, as Ansible has it.
        home: the user's home directory.

    Attributes:
        playbook: its name for good: its path in its git repository with the name of that in front, else its path from the home directory
            with `~` in front, else its absolute path.
    """

    def __init__(self, playbook: str, home: str | None = None) -> None:
        self._home = os.path.realpath(os.path.expanduser("~") if home is None else home)
        self._directories: dict[str, str] = {}
        # What is no file, such as a pipe, keeps the name that it was given.
        real = os.path.realpath(playbook) if os.path.isfile(playbook) else os.path.abspath(playbook)
        directory = os.path.dirname(real)
        self._top = _git_top(directory)
        self._base = self._top or directory
        # A top without a name is the root of the file system.
        named = self._top and os.path.join(os.path.basename(self._top), os.path.relpath(real, self._top))
        self.playbook = text(named or self._from_home(real), LONGEST_LIST)

    def of_task(self, path: object) -> str | None:
        """Where a task is written, such as `roles/web/tasks/main.yml:12`: from the top of the playbook's repository or its directory.

        Args:
            path: absolute, with `:` and the line; anything else gives None.
        """
        if not isinstance(path, str) or not path:
            return None
        directory, name = os.path.split(path)
        if directory not in self._directories:
            self._directories[directory] = self._named(os.path.realpath(directory))
        return text(os.path.join(self._directories[directory], name), LONGEST_PATH)

    def _named(self, directory: str) -> str:
        relative = os.path.relpath(directory, self._base)
        if relative == os.curdir:
            return ""
        outside = relative == os.pardir or relative.startswith(os.pardir + os.sep)
        return self._from_home(directory) if outside else relative

    def _from_home(self, path: str) -> str:
        inside = self._home != "/" and path.startswith(self._home + os.sep)
        return "~" + path[len(self._home) :] if inside else path


def _git_top(directory: str) -> str | None:
    """The directory of the repository that holds this one; None outside of any."""
    while not os.path.lexists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent
    return directory
