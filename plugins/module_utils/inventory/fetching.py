# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a source for its lists in a process of its own, which has a deadline, a limit of memory and no login at the database.

A library that hangs, grows or crashes takes nothing with it. The child gets its task, secrets included, as a line of JSON on its
standard input, which stays open: when it ends, the parent is gone, and the child ends with all that it has started. What it
says comes back as lines of JSON: progress, then a snapshot or a sentence.
"""

from __future__ import annotations

import contextlib
import decimal
import importlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable

from ..errors import place_of
from . import snapshot as rows
from .connectors.registry import CONNECTORS
from .snapshot import KINDS, FetchError, Listing, Skipped, Snapshot
from .sources import read_secrets

if TYPE_CHECKING:
    from .sources import Source

    Progress = Callable[[str, int], None]

_MIB = 1 << 20
_ROWS = {"hosts": rows.HostRow, "services": rows.ServiceRow, "workloads": rows.WorkloadRow}
# What libraries need of the environment to reach a server. Everything else stays here, a login at the database above all.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
# How long a child that was killed may take to be gone, and how often is looked whether the work is to stop.
_GRACE, _LOOK = 5.0, 0.5


class StoppedError(FetchError):
    """The work was to stop before the source had told everything."""


def fetch(
    source: Source,
    observed_at: datetime,
    progress: Progress = lambda _list, _number: None,
    stop: threading.Event | None = None,
) -> Snapshot:
    """What a source lists now, fetched in a process of its own.

    Args:
        source: its secrets are read now.
        observed_at: the database server's time before the first list is fetched.
        progress: called with the name of a list and the number of its objects so far.
        stop: set to end the fetch within a second.

    Raises:
        FetchError: nothing can be told of the source; also where the process ended in whatever way, as one sentence.
        StoppedError: `stop` was set.
    """
    said = _ask(source, "snapshot", progress, stop, observed_at=observed_at.isoformat())
    try:
        return _snapshot(said, source, observed_at)
    except (KeyError, TypeError, ValueError, AttributeError, decimal.DecimalException):
        raise FetchError(f"Fetching {source.name} failed: what its process handed over is no snapshot.") from None


def missing_rights(source: Source, stop: threading.Event | None = None) -> list[str]:
    """Which rights the login of a source lacks, as sentences; none where it has all. Asked in a process of its own, as `fetch` does.

    Args:
        source: its secrets are read now.
        stop: set to end within a second.

    Raises:
        FetchError: the source does not answer, or refuses the login; also where the process ended in whatever way.
        StoppedError: `stop` was set.
    """
    said = _ask(source, "rights", lambda _list, _number: None, stop)
    if not isinstance(said, list):
        raise FetchError(f"Fetching {source.name} failed: what its process handed over are no rights.")
    return [str(each) for each in said]


def _ask(source: Source, wanted: str, progress: Progress, stop: threading.Event | None, **more: str) -> Any:
    """What a process of its own answers: the snapshot or the rights, as they came through JSON."""
    connector: Any = CONNECTORS[source.connector]()
    task = {
        "wanted": wanted,
        "module": connector.__name__,
        "source": source.name,
        "cluster": source.cluster,
        "options": dict(source.options),
        "secrets": read_secrets(source),
        "deadline": source.deadline,
        "memory_limit": source.memory_limit,
        **more,
    }
    answer = _Child(source, task, progress, stop).answer()
    if "error" in answer:
        raise FetchError(str(answer["error"]))
    return answer[wanted]


class _Child:
    """The process of one question, seen from its parent."""

    def __init__(self, source: Source, task: dict[str, Any], progress: Progress, stop: threading.Event | None) -> None:
        self._source = source
        self._wanted: str = task["wanted"]
        self._progress = progress
        self._stop = stop
        self._task_left = bytearray(json.dumps(task).encode() + b"\n")
        self._received = bytearray()
        self._size = 0
        self._answer: dict[str, Any] | None = None

    def answer(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._source.deadline
        process = subprocess.Popen(  # noqa: S603 - this interpreter # pylint: disable=ansible-bad-function
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            # The interpreter imports from where it is started.
            cwd="/",
            start_new_session=True,
        )
        try:
            self._converse(process, deadline)
        finally:
            # With whatever it has started. Until it was waited for, no other process can have its number.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
        if self._answer is None:
            raise self._error(_why(process.returncode))
        return self._answer

    def _converse(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        """Hand over the task, and read until there is an answer or no more to come."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process has pipes")
        with selectors.DefaultSelector() as selector:
            for pipe, events in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, events)
            while self._answer is None:
                if self._stop is not None and self._stop.is_set():
                    raise StoppedError(f"The sync of {self._source.name} was stopped before it had ended.")
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise self._error(f"it took longer than its deadline of {self._source.deadline} s")
                for key, _events in selector.select(min(remaining, _LOOK)):
                    if key.fileobj is process.stdin:
                        if self._send(key.fd):
                            selector.unregister(process.stdin)
                    elif not self._receive(key.fd):
                        # It is ending: its exit code, which a signal does not change any more, says why.
                        return

    def _send(self, descriptor: int) -> bool:
        """Whether everything was sent, or nobody reads it any more."""
        try:
            del self._task_left[: os.write(descriptor, self._task_left)]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._task_left

    def _receive(self, descriptor: int) -> bool:
        """Whether there may be more."""
        try:
            part = os.read(descriptor, _MIB)
        except BlockingIOError:
            return True
        self._size += len(part)
        if self._size > self._source.memory_limit * _MIB:
            raise self._error(f"it handed over more than its memory limit of {self._source.memory_limit} MiB")
        self._received += part
        if b"\n" in part:
            *lines, rest = self._received.split(b"\n")
            self._received = bytearray(rest)
            for line in lines:
                self._take(line)
        return bool(part)

    def _take(self, line: bytearray) -> None:
        try:
            said = json.loads(line)
            if "progress" in said:
                name, number = said["progress"]
                self._progress(str(name)[:100], int(number))
            elif "error" in said or self._wanted in said:
                self._answer = said
            else:
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            raise self._error("its process said something else than it should") from None

    def _error(self, why: str) -> FetchError:
        return FetchError(f"Fetching {self._source.name} failed: {why}.")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in (*_KEPT, *_PROXIES, *map(str.upper, _PROXIES)) if name in os.environ}
    # One arena for all threads: each further one takes 64 MiB of address space.
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**kept, "PYTHONPATH": path, "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "1"}


def _why(code: int | None) -> str:
    """Why a process ended that gave no answer, as the end of a sentence."""
    if code is None or code >= 0:
        return f"its process ended without a word, with the exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    lack = ", as the system does where memory is short" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{lack}"


def _snapshot(said: Any, source: Source, observed_at: datetime) -> Snapshot:
    """The snapshot of what a child said. Whatever it says, the source is the one that was asked."""
    return Snapshot(
        source=source.name,
        connector=source.connector,
        identity=_text(said["identity"]),
        cluster=None if said["cluster"] is None else _text(said["cluster"]),
        observed_at=observed_at,
        listings=tuple(_listing(each) for each in said["listings"]),
    )


def _listing(said: dict[str, Any]) -> Listing:
    kind = said["kind"]
    if kind not in KINDS:
        raise ValueError
    return Listing(
        kind=kind,
        types=tuple(map(_text, said["types"])),
        rows=tuple(_row(kind, each) for each in said["rows"]),
        problem=None if said["problem"] is None else _text(said["problem"]),
        skipped=tuple(Skipped(**each) for each in said["skipped"]),
    )


def _row(kind: str, said: dict[str, Any]) -> rows.Row:
    if said.get("cpu_cores") is not None:
        said["cpu_cores"] = decimal.Decimal(said["cpu_cores"])
    said["unknown"] = tuple(map(_text, said["unknown"]))
    _text(said["external_id"])
    row: rows.Row = _ROWS[kind](**said)
    return row


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _as_json(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "identity": snapshot.identity,
        "cluster": snapshot.cluster,
        "listings": [
            {**vars(each), "rows": [vars(row) for row in each.rows], "skipped": [vars(one) for one in each.skipped]}
            for each in snapshot.listings
        ],
    }


def main() -> None:
    """The child: read the task, ask the source, say the answer or why there is none."""
    # What libraries print must not get between the lines.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(what: dict[str, Any]) -> None:
        channel.write(json.dumps(what, default=str) + "\n")
        channel.flush()

    line = sys.stdin.buffer.readline()
    if not line:
        return
    task = json.loads(line)
    limit = task["memory_limit"] * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Nothing of a secret stays behind on disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connector = importlib.import_module(task["module"])
        if task["wanted"] == "rights":
            say({"rights": connector.preflight(task["options"], task["secrets"])})
            return
        snapshot = connector.fetch(
            task["source"],
            task["cluster"],
            task["options"],
            task["secrets"],
            datetime.fromisoformat(task["observed_at"]),
            lambda name, number: say({"progress": [name, number]}),
        )
        say({"snapshot": _as_json(snapshot)})
    except FetchError as error:
        say({"error": str(error)})
    except MemoryError:
        say({"error": _failed(task, f"it took more than its memory limit of {task['memory_limit']} MiB")})
    except Exception as error:
        # A fault of the connector or its library.
        say({"error": _failed(task, f"an error of its connector ({type(error).__name__}{place_of(error)})")})


def _failed(task: dict[str, Any], why: str) -> str:
    return f"Fetching {task['source']} failed: {why}."


def _end_with_parent() -> None:
    """End at once, with all that was started here, when nobody is left to read the answer."""
    sys.stdin.buffer.read(1)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
