# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the loader needs as a process of its own, which nobody waits for: its client, its log in the spool, and an end when all hangs."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import os
import stat
import threading
import time
from typing import TYPE_CHECKING

from ..client.client import Client
from ..database.settings import Secret, Settings
from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_URL = "postgresql://mission_control@localhost:5432/mission_control"
LOG_NAME = "loader.log"
_LONGEST_LOG = 65536
_KEPT_LOG = 16384
_LONGEST_SENTENCE = 1000
_LONGEST_PASSWORD = 4096
_STATEMENT_SECONDS = 60
# The server cancels a statement after its time-out. One that does not even do that, or a network that swallows everything:
_HUNG_SECONDS = 90


def make_client(url: str | None, env_file: str | None, password_file: str | None) -> Client:
    """A client that no variable of the environment leads to another database.

    Args:
        url: where the database is, without a password; None: mission_control as mission_control on this machine.
        env_file: file with POSTGRES_HOST and its siblings, instead of a URL.
        password_file: file with the password, for a login that has none yet; it may be missing.

    Raises:
        SettingsError: one of them is wrong; the message says which.
    """
    for variable in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[variable]
    settings = Settings.load(
        None if env_file else url or DEFAULT_URL,
        env_file=env_file,
        environment={},
        application_name="mission_control recorder",
        connect_timeout=5,
        statement_timeout=_STATEMENT_SECONDS,
        lock_timeout=10,
        idle_in_transaction_timeout=_STATEMENT_SECONDS,
        pool_size=1,
        pool_timeout=10,
        slow_query=float("inf"),
    ).without_tool_token()
    if settings.password is not None and not env_file:
        raise SettingsError(
            "The URL of the recorder holds a password: keep that in a file, and name it as password_file."
        )
    if settings.password is None and password_file:
        settings = dataclasses.replace(settings, password=_password(password_file))
    return Client(settings=settings)


def _password(path: str) -> Secret | None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LONGEST_PASSWORD).rstrip("\r\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
    else:
        return Secret(text) if text else None
    raise SettingsError(f"The password file {path} cannot be read: {reason}.")


class LoaderLog:
    """A file in the spool with a line for each problem, for its owner alone and never long."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, LOG_NAME)

    def write(self, sentence: str) -> None:
        """Add a line; where that cannot be, nobody is there to be told."""
        text = "".join(each if each.isprintable() else "?" for each in " ".join(sentence.split()))
        now = datetime.datetime.now(datetime.timezone.utc)
        line = f"{now:%Y-%m-%dT%H:%M:%SZ} {text[:_LONGEST_SENTENCE]}\n".encode("utf-8", "replace")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(self._path, flags, 0o600)
            try:
                self._append(descriptor, line)
            finally:
                os.close(descriptor)

    @staticmethod
    def _append(descriptor: int, line: bytes) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size > _LONGEST_LOG:
            end = os.pread(descriptor, _KEPT_LOG, size - _KEPT_LOG).partition(b"\n")[2]
            os.ftruncate(descriptor, 0)
            os.write(descriptor, end)
        os.write(descriptor, line)


class Watchdog:
    """Ends the process when it has come no further for long, whatever it waits for; for a `with` block."""

    def __init__(self, tell: Callable[[str], None], seconds: float = _HUNG_SECONDS) -> None:
        self._tell = tell
        self._seconds = seconds
        self._fed = time.monotonic()
        self._ended = threading.Event()

    def feed(self) -> None:
        """Note that it has come further."""
        self._fed = time.monotonic()

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / 10):
            if time.monotonic() - self._fed > self._seconds:
                self._tell(
                    f"The database has not answered for {self._seconds:.0f} seconds: what was not loaded stays in the spool."
                )
                os._exit(1)
