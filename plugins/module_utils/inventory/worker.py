# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The worker: it syncs sources by the clock and on request, several at a time, each fetched in a process of its own.

What is to be done stands in the database alone, as queued runs, so any number of workers may share it. A notification wakes the
worker at once; where none comes through, as behind a pooler, it looks every 30 seconds.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ..errors import MissionControlError
from ..worker_loop import WorkerLoop
from .fetching import StoppedError, fetch
from .runs import claim_queued, close_abandoned, fail_run
from .sources import SourcesError, read_sources, register_source, register_sources
from .sync import sync

if TYPE_CHECKING:
    from uuid import UUID

    from ..client.client import Client
    from ..database.session import Session
    from ..worker_loop import Log
    from .fetching import Progress
    from .sources import Source
    from .sync import SyncResult

CHANNEL = "mission_control_inventory"
# At the same time. Each may take as much memory as its source allows.
MOST_FETCHES = 4
_POLL = 30.0
_JITTER = 0.1  # of the interval
# What a stop waits for a snapshot that is being written.
_GRACE = 15.0
# A run from the future is of a clock that was set back since.
_DUE = """
SELECT s.name, s.interval_seconds,
    coalesce(s.interval_seconds - extract(epoch FROM clock_timestamp() - r.newest), 0)::double precision AS seconds
FROM inventory_sources AS s
CROSS JOIN LATERAL (
    SELECT max(t.created_at) AS newest FROM task_runs AS t
    WHERE t.task_id = s.task_id AND t.created_at <= clock_timestamp()
) AS r
WHERE s.enabled AND s.interval_seconds IS NOT NULL AND s.name = ANY (%s)
"""


def carry_out(
    client: Client,
    source: Source,
    run_id: UUID | None,
    *,
    progress: Progress = lambda _list, _number: None,
    stop: threading.Event | None = None,
    check: bool = False,
    accept_disappearance: bool = False,
    accept_identity: bool = False,
) -> SyncResult:
    """Sync one source now, for a run that has begun, or only say what would change.

    Args:
        client: of the application's login.
        source: what is fetched.
        run_id: the run, which is closed if this returns; None with `check`.
        progress, stop: as `fetch` has them.
        check, accept_disappearance, accept_identity: as `sync` has them.

    Raises:
        FetchError: nothing can be told of the source.
        MissionControlError: the database could not be asked.
    """
    row = client.query_one("SELECT clock_timestamp() AS now")
    if row is None:
        raise AssertionError("a clock has a time")
    snapshot = fetch(source, row["now"], progress, stop)
    return sync(
        client,
        snapshot,
        task_run_id=run_id,
        check=check,
        accept_disappearance=accept_disappearance,
        accept_identity=accept_identity,
        register=lambda transaction: register_source(transaction, source),
    )


class Worker:
    """Works until a signal asks it to end: SIGTERM or SIGINT; SIGHUP has it read the sources again."""

    def __init__(self, client: Client, path: str, credentials_directory: str, log: Log) -> None:
        """Read the sources; nothing is connected yet.

        Args:
            client: of the application's login, with a pool of `MOST_FETCHES` + 2 at least.
            path, credentials_directory: as `read_sources` has them.
            log: told in sentences what happens; called from several threads.

        Raises:
            SourcesError: a source is wrong.
        """
        self._client = client
        self._place = (path, credentials_directory)
        self._log = log
        self._sources = {source.name: source for source in read_sources(*self._place)}
        self._threads: dict[str, threading.Thread] = {}
        # Names of threads that are about to end; they are asked for nothing any more.
        self._ended: deque[str] = deque()
        # Runs that could not be closed, as the database was away, with why they failed.
        self._unclosed: dict[UUID, str] = {}
        self._loop = WorkerLoop(client, log, CHANNEL, _POLL)
        self._stop = self._loop.stopping
        self._once = False
        self._jitter: dict[str, float] = {}

    def run(self, *, once: bool = False) -> None:
        """Work until a signal ends it; then every run of this worker is closed.

        Args:
            once: end when nothing is queued or due any more.

        Raises:
            MissionControlError: with `once`, the database could not be asked.
        """
        self._once = once
        self._loop.run(self._attend, self._finish, once=once)

    def _finish(self) -> None:
        deadline = time.monotonic() + _GRACE
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(MissionControlError):
            self._close_left()

    def _attend(self, session: Session) -> None:
        """Work as long as this connection holds."""
        register_sources(self._client, self._sources.values())
        close_abandoned(self._client)
        self._log("The database answers again." if self._loop.was_away else f"The worker works on {self._named()}.")
        self._loop.answers()
        while not self._stop.is_set():
            if self._loop.reread:
                self._read_again()
            self._close_left()
            seconds = self._request_due(session)
            self._begin_queued()
            if self._once and not self._threads:
                self._stop.set()
                return
            self._loop.wait_for_work(session, seconds)

    def _request_due(self, session: Session) -> float:
        """Queue a sync of each source whose time has come; the seconds until the next one's."""
        wait = _POLL
        for row in session.query(_DUE, [list(self._sources)]).rows:
            name = row["name"]
            if name in self._threads:
                # It wakes this loop when it has ended.
                continue
            if name not in self._jitter:
                self._jitter[name] = row["interval_seconds"] * _JITTER * random.random()  # noqa: S311 - spreads load
            seconds = row["seconds"] + (self._jitter[name] if row["seconds"] else 0)
            if seconds > 0:
                wait = min(wait, max(seconds, 0.1))
            else:
                del self._jitter[name]
                self._client.query("SELECT FROM request_inventory_refresh(%s, %s)", [[name], "the clock"])
        return wait

    def _begin_queued(self) -> None:
        """Take as many queued runs as may be worked on at the same time."""
        while self._ended:
            self._threads.pop(self._ended.popleft(), None)
        for name, source in self._sources.items():
            if len(self._threads) >= MOST_FETCHES or self._stop.is_set():
                return
            if name in self._threads or not source.enabled:
                continue
            for run_id in claim_queued(self._client, [name]):
                thread = threading.Thread(target=self._work, args=(source, run_id), name=f"sync {name}", daemon=True)
                self._threads[name] = thread
                thread.start()

    def _work(self, source: Source, run_id: UUID) -> None:
        try:
            began = time.monotonic()
            result = carry_out(self._client, source, run_id, stop=self._stop)
            self._log(f"{source.name}: {result.summary} in {time.monotonic() - began:.1f} s.")
        except StoppedError as error:
            self._fail(run_id, str(error))
        except MissionControlError as error:
            self._log(f"{source.name}: {error}")
            self._fail(run_id, str(error))
        except Exception as error:
            # A fault of this program. What it says may hold anything.
            self._log(f"{source.name}: an error of this program ({type(error).__name__}). Please report it.")
            self._fail(run_id, f"An error of the worker ({type(error).__name__}).")
        finally:
            self._ended.append(source.name)
            self._loop.wake()

    def _fail(self, run_id: UUID, sentence: str) -> None:
        try:
            fail_run(self._client, run_id, sentence)
        except MissionControlError:
            self._unclosed[run_id] = sentence

    def _close_left(self) -> None:
        for run_id, sentence in list(self._unclosed.items()):
            fail_run(self._client, run_id, sentence)
            del self._unclosed[run_id]

    def _read_again(self) -> None:
        self._loop.reread = False
        try:
            sources = {source.name: source for source in read_sources(*self._place)}
            register_sources(self._client, sources.values())
        except SourcesError as error:
            self._log(f"The sources stay as they were: {error}")
            return
        self._sources = sources
        self._log(f"The sources were read again: the worker works on {self._named()}.")

    def _named(self) -> str:
        return ", ".join(name for name, source in self._sources.items() if source.enabled) or "no source"
