# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the spool of playbook runs: one file for each run, a JSON object on each line.

Whoever may write to a spool may write anything into it. So each line is checked, and of an event only what is known of it is
taken: rows are made of this, which others show.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from ..errors import MissionControlError
from .spool import LONGEST_LINE, SUFFIX, VERSION, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})" + re.escape(SUFFIX))
REJECTED = ".rejected"
COUNTS = ("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored")
_OUTCOMES = ("ok", "failed", "ignored", "skipped", "unreachable")
_ENDS = ("succeeded", "failed", "cancelled")
# What is a key of an index, which takes some 2,700 bytes.
_LONGEST_KEY = 2000
MOST = 2**63 - 1  # of what a column of numbers holds
_LONGEST_SECONDS = 1e9
_PART = 1 << 18
# Of a file that is set aside, the beginning, which tells why; and so many of them.
_REJECTED_BYTES = 65536
_MOST_REJECTED = 10
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)", re.ASCII)


class SpoolError(MissionControlError):
    """The spool, or a file in it, cannot be read; the message says why."""


class BadLineError(ValueError):
    """A line of a file is not what the recorder writes."""


class NewerVersionError(SpoolError):
    """A later version of the recorder wrote the file."""


@dataclass(frozen=True)
class Begin:
    """The first line of a file: which run it is. Names as in docs/recorder.md."""

    run: str
    at: str
    playbook: str
    controller: str
    user: str
    check: bool
    limit: str | None
    tags: list[str]
    skip_tags: list[str]
    ansible: str
    inventory_source: str | None
    process: dict[str, Any]


class Event(NamedTuple):
    """A play, a task or the result of a task on a host."""

    sequence: int
    at: str
    type: str
    payload: dict[str, Any]


class HostCounts(NamedTuple):
    """How many tasks ended how on a host; `counts` in the order of COUNTS."""

    sequence: int
    at: str
    name: str
    counts: tuple[int, ...]


class End(NamedTuple):
    """The last line of a file."""

    sequence: int
    at: str
    status: str
    error: str | None
    dropped: int


Line = Union[Event, HostCounts, End]


def parse_begin(line: bytes, run: str) -> Begin:
    """What the first line of a file says.

    Args:
        line: without its end.
        run: the identifier that the file is named after.

    Raises:
        BadLineError: it says nothing that can be used.
        NewerVersionError: a later version of the recorder wrote it.
    """
    told = _object(line)
    version = told.get("v")
    if isinstance(version, int) and version > VERSION:
        raise NewerVersionError("a newer version of the recorder wrote it")
    begin = told.get("begin")
    if version != VERSION or told.get("seq") != 0 or not isinstance(begin, dict) or begin.get("run") != run:
        raise BadLineError
    if not isinstance(begin.get("check"), bool) or not isinstance(begin.get("process"), dict):
        raise BadLineError
    return Begin(
        run=run,
        at=_time(told),
        playbook=_key(begin.get("playbook")),
        controller=_text(begin.get("controller")),
        user=_text(begin.get("user")),
        check=begin["check"],
        limit=_optional(begin.get("limit")),
        tags=_texts(begin.get("tags")),
        skip_tags=_texts(begin.get("skip_tags")),
        ansible=_text(begin.get("ansible")),
        inventory_source=_optional(begin.get("inventory_source")),
        process=begin["process"],
    )


def parse_line(line: bytes) -> Line:
    """What any other line says.

    Args:
        line: without its end.

    Raises:
        BadLineError: it is not what the recorder writes.
    """
    told = _object(line)
    sequence, at = _whole(told.get("seq")), _time(told)
    if "payload" in told:
        kind, payload = told.get("type"), told["payload"]
        if not isinstance(payload, dict):
            raise BadLineError
        event = payload.get("event")
        if kind == "tool_result" and event == "result":
            return Event(sequence, at, kind, _result(payload))
        if kind == "log" and event == "task":
            return Event(sequence, at, kind, _task(payload))
        if kind == "log" and event == "play":
            return Event(sequence, at, kind, {"event": "play", "name": _text(payload.get("name"))})
        raise BadLineError
    if isinstance(host := told.get("host"), dict):
        return HostCounts(sequence, at, _key(host.get("name")), tuple(_whole(host.get(name, 0)) for name in COUNTS))
    if isinstance(end := told.get("end"), dict) and end.get("status") in _ENDS:
        return End(sequence, at, end["status"], _optional(end.get("error")), _whole(end.get("dropped", 0)))
    raise BadLineError


def _object(line: bytes) -> dict[str, Any]:
    try:
        told = _decode(line.decode("utf-8"))
        # Escapes may stand for what PostgreSQL cannot store.
        if b"\\u" in line:
            _refuse_unstorable(told)
    except (ValueError, RecursionError):
        raise BadLineError from None
    if not isinstance(told, dict):
        raise BadLineError
    return told


def _refuse(_constant: str) -> None:
    raise BadLineError


_decode = json.JSONDecoder(parse_constant=_refuse).decode


def _refuse_unstorable(told: Any) -> None:
    """An error for NUL and for half of a surrogate pair, wherever it stands."""
    text = json.dumps(told, ensure_ascii=False)
    if "\\u0000" in text and "\0" in "".join(_all_texts(told)):
        raise BadLineError
    text.encode("utf-8")


def _all_texts(told: Any) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, dict):
        for name, each in told.items():
            yield name
            yield from _all_texts(each)
    elif isinstance(told, list):
        for each in told:
            yield from _all_texts(each)


def _result(payload: dict[str, Any]) -> dict[str, Any]:
    outcome = payload.get("outcome")
    if outcome not in _OUTCOMES or not isinstance(payload.get("changed"), bool):
        raise BadLineError
    taken = {
        "event": "result",
        "host": _key(payload.get("host")),
        "task": _text(payload.get("task")),
        "outcome": outcome,
        "changed": payload["changed"],
    }
    if (task_sequence := payload.get("task_sequence")) is not None:
        taken["task_sequence"] = _whole(task_sequence)
    if (seconds := payload.get("seconds")) is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _LONGEST_SECONDS:
            raise BadLineError
        taken["seconds"] = seconds
    if (message := payload.get("message")) is not None:
        taken["message"] = _text(message)
    return taken


def _task(payload: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(payload.get("handler"), bool):
        raise BadLineError
    taken = {"event": "task", "name": _text(payload.get("name")), "handler": payload["handler"]}
    for name in ("module", "path"):
        if payload.get(name) is not None:
            taken[name] = _text(payload[name])
    return taken


def _time(told: dict[str, Any]) -> str:
    text = told.get("at")
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise BadLineError
    if not _is_moment(text[:19]):
        raise BadLineError
    return text


@functools.lru_cache(maxsize=64)
def _is_moment(text: str) -> bool:
    """Cached, as many lines are of one second."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadLineError
    return value


def _key(value: object) -> str:
    text = _text(value)
    if not text.strip(" "):
        raise BadLineError
    if len(text) * 4 > _LONGEST_KEY and len(text.encode()) > _LONGEST_KEY:
        raise BadLineError
    return text


def _optional(value: object) -> str | None:
    return (None if value is None else _text(value)) or None


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise BadLineError
    return [_text(each) for each in value]


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise BadLineError
    return value


class Spool:
    """A directory of files, held open, so that it cannot be replaced under the loader; for a `with` block.

    Attributes:
        directory: its path.
    """

    def __init__(self, directory: str) -> None:
        """Open the directory.

        Raises:
            SpoolError: it is missing, a link, or others may use it.
        """
        self.directory = directory
        try:
            self._descriptor = open_directory(directory)
        except PermissionError:
            raise SpoolError(
                f"The spool {directory} belongs to another user, or others may use it: run this as its owner, after chmod 700."
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "its name cannot be used"
            raise SpoolError(f"The spool {directory} cannot be opened: {reason}.") from None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    def runs(self) -> list[str]:
        """The identifiers of the runs that have a file, the one that was written to longest ago first."""
        found = []
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                match = FILE_NAME.fullmatch(entry.name)
                if match:
                    try:
                        found.append((entry.stat(follow_symlinks=False).st_mtime, match[1]))
                    except FileNotFoundError:
                        continue
        return [run for _time_of, run in sorted(found)]

    def open(self, run: str) -> SpoolFile | None:
        """The file of a run, for this process alone; None where it is there no longer.

        Raises:
            BlockingIOError: another process has it.
            SpoolError: it is none that the recorder made; the message ends a sentence about the file.
        """
        name = run + SUFFIX
        try:
            # A FIFO would block, and a link lead to any file.
            descriptor = os.open(
                name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._descriptor
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpoolError(f"it cannot be opened ({error.strerror})") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise SpoolError("it is no file of its own")
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise SpoolError("it belongs to another user, or others may read it")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file = SpoolFile(self, name, descriptor)
            if not file.is_there():
                # Whoever had it before has loaded and removed it.
                file.close()
                return None
            return file
        except BaseException:
            os.close(descriptor)
            raise

    def status_of(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._descriptor)

    def set_aside(self, name: str) -> None:
        """Rename a file that nothing can be made of, so that nobody tries it again; of many such files the newest are kept."""
        os.rename(name, name + REJECTED, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        rejected = []
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                if entry.name.endswith(REJECTED):
                    try:
                        rejected.append((entry.stat(follow_symlinks=False).st_ctime, entry.name))
                    except FileNotFoundError:
                        continue
        for _time_of, each in sorted(rejected)[:-_MOST_REJECTED]:
            try:
                self.remove(each)
            except FileNotFoundError:
                continue


class SpoolFile:
    """The file of a run, which this process has for itself until it closes it.

    Attributes:
        name: without its directory.
    """

    def __init__(self, spool: Spool, name: str, descriptor: int) -> None:
        self.name = name
        self._spool = spool
        self._descriptor = descriptor
        self._rest = b""
        self._in_long_line = False

    def close(self) -> None:
        os.close(self._descriptor)

    def is_there(self) -> bool:
        """Whether the spool still has this file under its name."""
        status, own = self._spool.status_of(self.name), os.fstat(self._descriptor)
        return status is not None and (status.st_ino, status.st_dev) == (own.st_ino, own.st_dev)

    def rewind(self) -> None:
        """Read from the beginning again."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._rest, self._in_long_line = b"", False

    @property
    def written_at(self) -> float:
        """When it was last written to, in seconds after 1970."""
        return os.fstat(self._descriptor).st_mtime

    @property
    def is_empty(self) -> bool:
        return os.fstat(self._descriptor).st_size == 0

    @property
    def has_rest(self) -> bool:
        """Whether something was read that is no whole line."""
        return bool(self._rest) or self._in_long_line

    def lines(self) -> Iterator[bytes | None]:
        """Whole lines up to the end that the file has by then, without their ends; None for one that is too long.

        The next iterator goes on where the last one came to its end, with a last line that had no end yet.
        """
        while part := os.read(self._descriptor, _PART):
            *lines, self._rest = (self._rest + part).split(b"\n")
            for line in lines:
                yield None if self._in_long_line or len(line) >= LONGEST_LINE else line
                self._in_long_line = False
            if len(self._rest) >= LONGEST_LINE or self._in_long_line:
                self._in_long_line, self._rest = True, b""

    def has_end(self) -> bool:
        """Whether its last whole line is the last one of a run, wherever reading has got to."""
        last = os.pread(
            self._descriptor, 2 * LONGEST_LINE, max(0, os.fstat(self._descriptor).st_size - 2 * LONGEST_LINE)
        )
        try:
            return isinstance(parse_line(last.rpartition(b"\n")[0].rpartition(b"\n")[2]), End)
        except BadLineError:
            return False

    def remove(self) -> None:
        self._spool.remove(self.name)

    def set_aside(self) -> None:
        """Keep its beginning under another name, since nothing can be made of it."""
        if os.fstat(self._descriptor).st_size > _REJECTED_BYTES:
            os.ftruncate(self._descriptor, _REJECTED_BYTES)
        self._spool.set_aside(self.name)
