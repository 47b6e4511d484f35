# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load the spool of playbook runs into the database, each line exactly once, and close the runs whose process has died.

A file is loaded from its beginning, in transactions of many lines; what is there already is passed over. Its end is written with
the last of them, and the file removed after that. So a loader may be killed at any moment, and the next one does the same again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MissionControlError, QueryError, place_of
from ..processes import has_ended, is_elsewhere
from .reader import (
    MOST,
    REJECTED,
    BadLineError,
    End,
    Event,
    HostCounts,
    NewerVersionError,
    Spool,
    SpoolError,
    parse_begin,
    parse_line,
)
from .spool import SUFFIX
from .store import OtherRunError, add_acceptable, add_events, begin_run, end_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..client.client import Client
    from ..client.transaction import Transaction
    from .reader import Begin, SpoolFile

    Add = Callable[[Transaction, str, list[Event]], tuple[int, int]]

KILLED = "The playbook's process ended without finishing it: it was killed, or its machine stopped."
TOO_OLD = "The database's schema is too old for playbook runs: apply its pending migrations with playbooks/migrate.yml."
_LOCKED = "another loader works on it"
_BATCH_EVENTS = 2000
_MOST_HOSTS = 20_000
_MOST_PROBLEMS = 50
# Of a run elsewhere nobody can tell whether it goes on; a file without a first line may have been made just now.
_SILENT_SECONDS = 7 * 86400
_EMPTY_SECONDS = 3600
_POLL_SECONDS = 1.0
_LONGEST_WAIT = 30.0
_MOST_POLLS_OF_LOCK = 300
# Undefined table, column, function.


class Left(NamedTuple):
    """A file that stays in the spool, and why, as the end of a sentence."""

    file: str
    why: str


@dataclass
class LoadResult:
    """What a load did.

    Attributes:
        runs: how many runs were loaded, wholly or as far as they are.
        events: how many events were added; what was there already is not counted.
        closed: how many runs were closed because their process was gone.
        left: files that stay.
        problems: what went wrong, a sentence each.
    """

    runs: int = 0
    events: int = 0
    closed: int = 0
    left: list[Left] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class UnusableRunError(MissionControlError):
    """Nothing can be made of a file; the message ends a sentence about it."""


class _Written(NamedTuple):
    """What a transaction did: events added and refused, and whether the run has ended by it."""

    added: int
    refused: int
    ended: bool


class _Run:
    """A file on its way into the database."""

    def __init__(self, file: SpoolFile, run: str) -> None:
        self.file = file
        self.id = run
        self.begin: Begin | None = None
        self.is_begun = False  # in the database
        self.pending: list[Event] = []  # read, and not yet in the database
        self.hosts: dict[str, HostCounts] = {}
        self.end: End | None = None
        self.was_killed = False
        self.dropped = 0
        self._sequence = 0
        self._last_at = ""
        self._lines: Iterator[bytes | None] = iter(())

    def read_begin(self) -> Begin | None:
        """What the first line says; None where there is none yet.

        Raises:
            NewerVersionError, UnusableRunError: nothing can be made of it.
        """
        if self.begin is None:
            self._lines = self.file.lines()
            for line in self._lines:
                self._take_begin(line)
                break
        return self.begin

    def read(self) -> bool:
        """Read on until there is enough to be stored, or to the end of the file; whether that was reached."""
        for _attempt in range(2):
            while len(self.pending) < _BATCH_EVENTS:
                try:
                    line = next(self._lines)
                except StopIteration:
                    break
                self._take(line)
            else:
                return False
            # What has been written since the last iterator began.
            self._lines = self.file.lines()
        return True

    def _take_begin(self, line: bytes | None) -> None:
        try:
            if line is None:
                raise BadLineError
            self.begin = parse_begin(line, self.id)
        except BadLineError:
            raise UnusableRunError("its first line is none of the recorder's") from None
        self._last_at = self.begin.at

    def _take(self, line: bytes | None) -> None:
        try:
            if line is None or self.end is not None:
                raise BadLineError
            told = parse_line(line)
            # A number that was there already would be another event of the same name.
            if told.sequence <= self._sequence or (isinstance(told, HostCounts) and len(self.hosts) >= _MOST_HOSTS):
                raise BadLineError
        except BadLineError:
            self.dropped += 1
            return
        self._sequence, self._last_at = told.sequence, told.at
        if isinstance(told, Event):
            self.pending.append(told)
        elif isinstance(told, HostCounts):
            self.hosts[told.name] = told
        else:
            self.end = told

    def die(self) -> None:
        """Make an end for a run whose process has gone without one."""
        # A last line that is not whole.
        self.dropped += self.file.has_rest
        self.end = End(min(self._sequence + 1, MOST), self._last_at, "failed", KILLED, 0)
        self.was_killed = True

    def restarted(self) -> _Run:
        """The same from the beginning of the file."""
        self.file.rewind()
        again = _Run(self.file, self.id)
        if self.begin is not None:
            again.read_begin()
        return again

    @property
    def process_is_gone(self) -> bool:
        return self.begin is not None and has_ended(self.begin.process)


def load_spool(
    client: Client,
    directory: str,
    *,
    follow: str | None = None,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[], None] | None = None,
) -> LoadResult:
    """Load every file of a spool, also of runs that go on, as far as they are. A file goes when its run has ended and is loaded.

    Args:
        client: of the application's login.
        directory: the spool.
        follow: a run to stay with until it ends; while the database is away it is asked again and again.
        tell: called with each problem as it comes up.
        progress: called before each transaction and each wait.

    Raises:
        SpoolError: the directory is missing, or none that a spool may be.
    """
    with Spool(directory) as spool:
        loader = _Loader(client, spool, tell, progress)
        if follow is None:
            loader.load_once()
        else:
            loader.follow(follow)
    return loader.result()


class _Loader:
    def __init__(
        self,
        client: Client,
        spool: Spool,
        tell: Callable[[str], None] | None,
        progress: Callable[[], None] | None,
    ) -> None:
        self._client = client
        self._spool = spool
        self._tell = tell or (lambda _sentence: None)
        self._progress = progress or (lambda: None)
        self._result = LoadResult()
        self._left: dict[str, str] = {}
        self._runs: set[str] = set()

    def result(self) -> LoadResult:
        self._result.left = [Left(name, why) for name, why in self._left.items()]
        return self._result

    def load_once(self) -> None:
        try:
            self._load_all(self._spool.runs())
        except MissionControlError as error:
            self._problem(_sentence(error))

    def follow(self, run_id: str) -> None:
        """Load one run until it has ended, and all others when the database first answers."""
        run: _Run | None = None
        done, others_wait, wait, polls = False, True, _POLL_SECONDS, 0
        try:
            while True:
                # What is read after this is all that the process has written.
                is_last = run is not None and run.process_is_gone
                try:
                    run = run or self._open(run_id)
                    if run is not None:
                        done = self._advance(run)
                    else:
                        polls += 1
                        done = self._left.get(run_id + SUFFIX) != _LOCKED or polls > _MOST_POLLS_OF_LOCK
                    if others_wait:
                        self._load_all(each for each in self._spool.runs() if each != run_id)
                        others_wait = False
                    wait = _POLL_SECONDS
                except MissionControlError as error:
                    self._problem(_sentence(error))
                    wait = min(wait * 2, _LONGEST_WAIT)
                    # A server that recovers, or another in its place, may lack what was confirmed.
                    run = run and run.restarted()
                if done or is_last:
                    return
                self._sleep(wait, run)
        finally:
            if run is not None:
                run.file.close()

    def _sleep(self, seconds: float, run: _Run | None) -> None:
        """Wait, but no longer than the playbook goes on: its end is the time for the last attempt."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._progress()
            time.sleep(min(left, _POLL_SECONDS))
            if run is not None and run.process_is_gone:
                return

    def _load_all(self, runs: Iterable[str]) -> None:
        """Load these runs, each as far as it is.

        Raises:
            MissionControlError: the database cannot be asked, or takes no runs.
        """
        away: MissionControlError | None = None
        for run_id in runs:
            run = None if away else self._open(run_id)
            try:
                if run is not None:
                    self._advance(run)
            except MissionControlError as error:
                away = error
            finally:
                if run is not None:
                    run.file.close()
            if away is not None:
                self._leave(run_id + SUFFIX, "the database could not take it")
        if away is not None:
            raise away

    def _open(self, run_id: str) -> _Run | None:
        """The file of a run, for this process alone; None where it cannot be had, which is noted, or is not there."""
        name = run_id + SUFFIX
        self._left.pop(name, None)
        try:
            file = self._spool.open(run_id)
        except BlockingIOError:
            self._leave(name, _LOCKED)
            return None
        except SpoolError as error:
            self._leave(name, str(error))
            self._problem(f"{name} was left in the spool: {error}.")
            return None
        return None if file is None else _Run(file, run_id)

    def _advance(self, run: _Run) -> bool:
        """Load what there is of a file; True if nothing more is to be done with it.

        Raises:
            MissionControlError: the database cannot be asked, or refuses what is no fault of this file.
        """
        name = run.file.name
        self._left.pop(name, None)
        try:
            return self._load(run)
        except NewerVersionError as error:
            self._leave(name, str(error))
        except OSError as error:
            self._leave(name, f"it cannot be read ({error.strerror})")
            self._problem(f"{name} was left in the spool: it cannot be read ({error.strerror}).")
        except (UnusableRunError, OtherRunError) as error:
            self._set_aside(run.file, str(error))
        return True

    def _set_aside(self, file: SpoolFile, why: str) -> None:
        try:
            file.set_aside()
        except OSError as error:
            self._leave(file.name, why)
            self._problem(f"{file.name} cannot be set aside ({error.strerror}): {why}.")
        else:
            self._problem(f"{file.name} was set aside as {file.name}{REJECTED}: {why}.")

    def _load(self, run: _Run) -> bool:
        begin = run.read_begin()
        if begin is None:
            return self._wait_for_begin(run)
        # Before the rest is read: what is read then is all that the process has written.
        gone = has_ended(begin.process) or (_is_unknown(begin.process) and _is_silent(run.file, _SILENT_SECONDS))
        if not gone and is_elsewhere(begin.process) and not run.file.has_end():
            self._leave(run.file.name, f"its playbook goes on on {begin.controller}")
            return False
        at_end = False
        while not at_end:
            at_end = run.read()
            if at_end and gone and run.end is None:
                run.die()
            self._store(run, begin)
        if run.end is None:
            self._leave(run.file.name, "its playbook goes on")
            return False
        run.file.remove()
        return True

    def _wait_for_begin(self, run: _Run) -> bool:
        """A file without a whole first line: just made, or what a full disk left of it."""
        if not _is_silent(run.file, _EMPTY_SECONDS):
            self._leave(run.file.name, "its first line is not there yet")
            return False
        if not run.file.is_empty:
            raise UnusableRunError("its first line is not whole")
        run.file.remove()
        return True

    def _store(self, run: _Run, begin: Begin) -> None:
        """Write what is pending in one transaction, and the end with it.

        Raises:
            UnusableRunError: the database refuses the run itself.
        """
        if run.is_begun and not run.pending and run.end is None:
            return
        self._progress()
        try:
            written = self._write(run, begin, add_events)
        except QueryError as error:
            if not error.is_of_content:
                raise
            # Some line is what the database does not take: the others are.
            written = self._write_acceptable(run, begin)
        self._runs.add(run.id)
        self._result.runs = len(self._runs)
        self._result.events += written.added
        self._result.closed += run.was_killed and written.ended
        run.is_begun, run.pending = True, []
        run.dropped += written.refused

    def _write_acceptable(self, run: _Run, begin: Begin) -> _Written:
        try:
            return self._write(run, begin, add_acceptable)
        except QueryError as error:
            if not error.is_of_content:
                raise
            raise UnusableRunError(f"the database refuses it ({error.reason}, SQLSTATE {error.sqlstate})") from None

    def _write(self, run: _Run, begin: Begin, add: Add) -> _Written:
        with self._client.transaction() as transaction:
            if not run.is_begun:
                begin_run(transaction, begin)
            added, refused = add(transaction, run.id, run.pending) if run.pending else (0, 0)
            ended = False
            if run.end is not None:
                dropped = min(run.dropped + refused + run.end.dropped, MOST)
                ended = end_run(transaction, begin, run.end, run.hosts.values(), dropped)
        return _Written(added, refused, ended)

    def _leave(self, name: str, why: str) -> None:
        self._left[name] = why

    def _problem(self, sentence: str) -> None:
        if sentence not in self._result.problems and len(self._result.problems) < _MOST_PROBLEMS:
            self._result.problems.append(sentence)
            self._tell(sentence)


def _is_unknown(process: dict[str, Any]) -> bool:
    """Whether nobody can tell if the process is there: on another machine, or on one that tells nothing of its processes."""
    return is_elsewhere(process) or process.get("ticks") is None


def _is_silent(file: SpoolFile, seconds: float) -> bool:
    return time.time() - file.written_at > seconds


def _sentence(error: MissionControlError) -> str:
    """What is said of an error, without the values that a server's detail may quote."""
    if not isinstance(error, QueryError):
        return str(error)
    if error.is_of_older_schema:
        return TOO_OLD
    return f"The database takes no playbook runs: {error.reason} (SQLSTATE {error.sqlstate})."


def main(arguments: Sequence[str] | None = None) -> int:
    """The process that the callback starts beside a playbook: it says nothing, and notes in the spool what went wrong.

    Args:
        arguments: of the command line, None: those of the process. --spool DIR, and where the database is: --url, --env-file,
            --password-file; --follow RUN_ID stays with a run until it ends. Variables of the environment are not looked at.

    Returns:
        The exit code: 0, or 1 where something went wrong.
    """
    import argparse

    from .background import LoaderLog, Watchdog, make_client

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--spool", required=True)
    for name in ("url", "env-file", "password-file", "follow"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args(arguments)
    log = LoaderLog(options.spool)
    try:
        with Watchdog(log.write) as watchdog:
            client = make_client(options.url, options.env_file, options.password_file)
            try:
                result = load_spool(
                    client, options.spool, follow=options.follow, tell=log.write, progress=watchdog.feed
                )
            finally:
                client.disconnect(0)
    except MissionControlError as error:
        log.write(str(error))
        return 1
    except Exception as error:
        log.write(f"An error of the loader ({type(error).__name__}{place_of(error)}). Please report it.")
        return 1
    return 1 if result.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
