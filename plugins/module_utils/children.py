# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Do something in a process of its own, which has a deadline, a limit of memory and no login at the database.

A library that hangs, grows or crashes takes nothing with it. The child gets what it is told, secrets included, as lines of JSON on its
standard input, which stays open: when it ends, the parent is gone, and the child ends with all that it has started. What it
says comes back as lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .errors import MissionControlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeVar

    ChildT = TypeVar("ChildT", bound="Child")

_MIB = 1 << 20
# What libraries need of the environment to reach a server. Everything else stays here, a login at the database above all.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
# How long a child that was killed may take to be gone, and how often is looked whether the work is to stop.
_GRACE, _LOOK = 5.0, 0.5


class ChildError(MissionControlError):
    """A child gave no answer. The message is a clause, such as "its process was killed by SIGSEGV"."""


class ChildTimeoutError(ChildError):
    """It took longer than it may."""


class ChildStoppedError(ChildError):
    """The work was to stop before there was an answer."""


class Child:
    """A child, seen from its parent: a context, at whose end it is gone with all that it has started.

    Attributes:
        stop: set to end it within a second; None for never.
    """

    def __init__(self, module: str, memory_limit: int, stop: threading.Event | None = None) -> None:
        """
        Args:
            module: its name; started as a program, it has `meet_parent` give it what it is told.
            memory_limit: MiB of address space that it may take, and of what it may say.
            stop: as the attribute.
        """
        self._module = module
        self._memory_limit = memory_limit
        self.stop = stop
        self._received = bytearray()
        self._size = 0
        self._lines: list[bytearray] = []
        self._told = False

    def __enter__(self: ChildT) -> ChildT:
        process = subprocess.Popen(  # noqa: S603 - this interpreter # pylint: disable=ansible-bad-function
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            # The interpreter imports from where it is started.
            cwd="/",
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process has pipes")
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        for pipe in (process.stdin, process.stdout):
            os.set_blocking(pipe.fileno(), False)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._process.returncode is None:
            # With whatever it has started. Until it was waited for, no other process can have its number.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)

    def ask(
        self, message: dict[str, Any], seconds: float, heard: Callable[[dict[str, Any]], bool] = lambda _said: True
    ) -> dict[str, Any]:
        """Tell it something, and wait for its answer.

        Args:
            message: what it is told.
            seconds: how long it may take to answer.
            heard: called with each object that it says: whether it is the answer. ValueError or TypeError: it is nothing that it may say.

        Raises:
            ChildTimeoutError, ChildStoppedError, ChildError: there is no answer.
        """
        deadline = time.monotonic() + seconds
        first = {} if self._told else {"memory_limit": self._memory_limit}
        self._told = True
        left = bytearray(json.dumps({**first, **message}).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            selector.register(self._stdout, selectors.EVENT_READ)
            while True:
                while self._lines:
                    said = self._read(self._lines.pop(0), heard)
                    if said is not None:
                        return said
                if self.stop is not None and self.stop.is_set():
                    raise ChildStoppedError("it was stopped")
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise ChildTimeoutError(f"it took longer than its deadline of {seconds:g} s")
                for key, _events in selector.select(min(remaining, _LOOK)):
                    if key.fileobj is self._stdin:
                        if self._send(key.fd, left):
                            selector.unregister(self._stdin)
                    elif not self._receive(key.fd) and not self._lines:
                        # It is ending: its exit code, which a signal does not change any more, says why.
                        self.__exit__(None, None, None)
                        raise ChildError(_why(self._process.returncode))

    @staticmethod
    def _send(descriptor: int, left: bytearray) -> bool:
        """Whether everything was sent, or nobody reads it any more."""
        try:
            del left[: os.write(descriptor, left)]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not left

    def _receive(self, descriptor: int) -> bool:
        """Whether there may be more."""
        try:
            part = os.read(descriptor, _MIB)
        except BlockingIOError:
            return True
        self._size += len(part)
        if self._size > self._memory_limit * _MIB:
            raise ChildError(f"it handed over more than its memory limit of {self._memory_limit} MiB")
        self._received += part
        if b"\n" in part:
            *lines, rest = self._received.split(b"\n")
            self._received = bytearray(rest)
            self._lines += lines
        return bool(part)

    @staticmethod
    def _read(line: bytearray, heard: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        try:
            said = json.loads(line)
            if not isinstance(said, dict):
                raise TypeError
            return said if heard(said) else None
        except (ValueError, TypeError, RecursionError):
            raise ChildError("its process said something else than it should") from None


class Parent:
    """The parent, seen from its child."""

    def __init__(self) -> None:
        # What libraries print must not get between the lines.
        self._channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._told: queue.Queue[dict[str, Any]] = queue.Queue()

    def say(self, what: dict[str, Any]) -> None:
        """Hand over an object, in which what JSON does not know becomes text."""
        self._channel.write(json.dumps(what, default=str) + "\n")
        self._channel.flush()

    def hear(self) -> dict[str, Any]:
        """What it says next. Where it is gone, this process ends."""
        return self._told.get()

    def listen(self) -> None:
        """Take what it says until it is gone; then end at once, with all that was started here, as nobody is left to read an answer."""
        for line in sys.stdin.buffer:
            self._told.put(json.loads(line))
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def meet_parent() -> tuple[Parent, dict[str, Any]] | None:
    """In the child: the parent, and the first that it says, with the limits in force. None where the parent is gone already."""
    parent = Parent()
    line = sys.stdin.buffer.readline()
    if not line:
        return None
    told = json.loads(line)
    limit = told["memory_limit"] * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Nothing of a secret stays behind on disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=parent.listen, daemon=True).start()
    return parent, told


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
