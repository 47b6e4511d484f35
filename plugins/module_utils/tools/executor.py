# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The executor: it judges the arguments of calls that were asked for, and carries out those that may be, each at most once.

What is to be done stands in the database alone. A call is started there, by a statement that is committed, before anything of it is done,
and no call that was started is ever started again: where nobody can know what came of one, it ends as unknown.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional
from uuid import uuid4

from ..children import ChildError, ChildStoppedError, ChildTimeoutError
from ..client.transaction import wait_for_standbys
from ..database.driver import Json
from ..errors import ConnectionLostError, MissionControlError, QueryError
from ..inventory.snapshot import FetchError
from ..inventory.sources import SourcesError, read_secrets
from ..processes import has_ended, this_process
from ..worker_loop import WorkerLoop
from .calls import TOO_OLD
from .carrying import DEFAULT_MEMORY, CallProcess
from .connectors import mission_control
from .connectors.call import CallError
from .operations import find_operation, with_defaults
from .results import presentable, presentable_text
from .schemas import require_library
from .sources import read_tool_sources

if TYPE_CHECKING:
    from ..client.client import Client
    from ..database.session import Session
    from ..inventory.sources import Source
    from ..worker_loop import Log

    Outcome = tuple[str, Optional[dict[str, Any]], Optional[str]]

CHANNEL = "mission_control_tools"
DEFAULT_CONCURRENCY = 4
MOST_CHECKS = 2
_POLL = 15.0
_TIDY = 30.0  # seconds between two looks for what others left behind
_AGAIN = 1.0  # second until a call is tried again that another session was busy with
# What a stop waits for calls that go on, and then for what they say when they are ended.
_GRACE, _LAST_GRACE = 20.0, 5.0
_FIRST_TOLD, _MOST_TRIES = 3, 3600  # a second between two of them
_LISTED = 200

# Of each caller the first, then of each the second: whoever asks for much holds up nobody else.
_OPEN = """
SELECT c.id::text AS id, c.status, c.arguments, c.requested_by, c.turn, t.name, t.connector, t.operation, t.risk_level, t.arguments_schema, t.preset
FROM (
    SELECT r.id, r.status, r.arguments, r.tool_id, r.requested_by, r.created_at,
        row_number() OVER (PARTITION BY r.requested_by ORDER BY r.created_at, r.id) AS turn
    FROM tool_call_records AS r
    WHERE r.status IN ('approved', 'running') OR r.status = 'pending' AND r.checked_at IS NULL
) AS c JOIN tool_definitions AS t ON t.id = c.tool_id
WHERE c.status <> 'running' AND c.id <> ALL (%s::uuid[])
ORDER BY c.turn, c.created_at, c.id LIMIT %s
"""
_RUNNING = """
SELECT c.id::text AS id, c.execution_id::text AS execution_id, c.executor FROM tool_call_records AS c WHERE c.status = 'running'
"""
_LOOK = "SELECT c.status, c.execution_id::text AS execution_id FROM tool_call_records AS c WHERE c.id = %s::uuid"
_CHECK = "SELECT f.accepted, f.status, f.reason FROM check_tool_call(%s::uuid, %s::text) AS f"
_START = """
SELECT f.accepted, f.status, f.reason, f.tool, f.connector, f.operation, f.arguments, f.timeout_seconds, f.output_limit_bytes
FROM start_tool_call(%s::uuid, %s::uuid, %s::jsonb) AS f
"""
_STARTED = """
SELECT true AS accepted, c.status, c.reason, t.name AS tool, t.connector, t.operation, c.arguments, t.timeout_seconds, t.output_limit_bytes
FROM tool_call_records AS c JOIN tool_definitions AS t ON t.id = c.tool_id
WHERE c.id = %s::uuid AND c.status = 'running' AND c.execution_id = %s::uuid
"""
_FINISH = "SELECT f.accepted, f.status, f.reason FROM finish_tool_call(%s::uuid, %s::uuid, %s::text, %s::jsonb, %s::text) AS f"
_NO_RIGHT = "42501"
_NOT_KNOWN = ", so whether it took place is not known"


@dataclass(frozen=True)
class _Wanted:
    """A call that is to be judged, or carried out, as it stood when it was looked for."""

    id: str
    status: str
    arguments: dict[str, Any]
    requested_by: str | None
    turn: int
    name: str
    connector: str | None
    operation: str | None
    risk_level: str
    arguments_schema: dict[str, Any]
    preset: dict[str, Any]

    @property
    def target(self) -> tuple[Any, ...] | None:
        """What it changes; None for nothing."""
        operation = find_operation(self.connector, self.operation)
        if operation is None or operation.risk_level == "READ_ONLY":
            return None
        return (self.connector, *(str(self.arguments.get(each)) for each in ("source", *operation.target)))

    @property
    def tool(self) -> dict[str, Any]:
        names = ("connector", "operation", "risk_level", "arguments_schema", "preset")
        return {name: getattr(self, name) for name in names}


@dataclass
class _End:
    """How a call ended, until the database knows it."""

    call: _Wanted
    execution_id: str
    status: str
    result: dict[str, Any] | None
    error: str | None
    tries: int = field(default=0)


class Executor:
    """Works until a signal asks it to end: SIGTERM or SIGINT; SIGHUP has it read the sources again."""

    def __init__(
        self, client: Client, path: str, credentials_directory: str, log: Log, concurrency: int = DEFAULT_CONCURRENCY
    ) -> None:
        """Read the sources; nothing is connected yet.

        Args:
            client: of the executor's login, with a pool of `concurrency` + `MOST_CHECKS` + 2 at least.
            path, credentials_directory: as `read_tool_sources` has them.
            log: told in sentences what happens, without arguments and results; called from several threads.
            concurrency: how many calls are carried out at the same time.

        Raises:
            SourcesError: a source is wrong.
            SchemaLibraryError: jsonschema is missing.
        """
        require_library()
        self._client = client
        self._place = (path, credentials_directory)
        self._log = log
        self._concurrency = concurrency
        self._sources = read_tool_sources(*self._place)
        self._loop = WorkerLoop(client, log, CHANNEL, _POLL)
        # Set for calls that go on when the grace of a stop is over.
        self._cut = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._carried: dict[str, _Wanted] = {}
        # When a call of each caller was taken last.
        self._begun: defaultdict[str | None, float] = defaultdict(float)
        # Identifiers of calls whose threads are about to end; they are asked for nothing any more.
        self._ended: deque[str] = deque()
        self._unfinished: dict[str, _End] = {}
        self._not_before: dict[str, float] = {}
        self._tidied = float("-inf")
        self._once = False

    def run(self, *, once: bool = False) -> None:
        """Work until a signal ends it; then every call of this executor has an end.

        Args:
            once: end when no call is to be judged or carried out any more.

        Raises:
            MissionControlError: with `once`, the database could not be asked.
        """
        self._once = once
        self._loop.run(self._attend, self._finish, once=once)

    def _attend(self, session: Session) -> None:
        """Work as long as this connection holds."""
        self._tidied = float("-inf")
        try:
            self._tidy()
        except QueryError as error:
            # The first that is asked with a login that is not the executor's, or of a database that knows no calls.
            if error.is_of_older_schema:
                raise MissionControlError(TOO_OLD) from None
            if error.sqlstate == _NO_RIGHT:
                login = self._client.settings.user
                raise MissionControlError(
                    f"The login {login} may not carry out calls, so that the executor needs another: {error}"
                ) from None
            raise
        self._log("The database answers again." if self._loop.was_away else f"The executor knows {self._named()}.")
        self._loop.answers()
        while not self._loop.stopping.is_set():
            if self._loop.reread:
                self._read_again()
            self._tidy()
            self._end_left()
            seconds = self._begin(session)
            if self._once and not (self._threads or self._unfinished or self._not_before):
                self._loop.stopping.set()
                return
            self._loop.wait_for_work(session, seconds)

    def _finish(self) -> None:
        """Give the calls that go on some time, then end them and say what is known of them."""
        for grace in (_GRACE, _LAST_GRACE):
            deadline = time.monotonic() + grace
            for thread in list(self._threads.values()):
                while thread.is_alive() and time.monotonic() < deadline:
                    self._loop.tell_alive()
                    thread.join(min(5.0, max(0.0, deadline - time.monotonic())))
            self._cut.set()
        with contextlib.suppress(MissionControlError):
            self._end_left()

    def _tidy(self) -> None:
        """Close what expired, and the calls whose executor on this machine has ended."""
        if time.monotonic() - self._tidied < _TIDY:
            return
        self._tidied = time.monotonic()
        for row in self._client.query_many(_RUNNING):
            if has_ended(row["executor"]) and row["id"] not in self._carried:
                error = f"The executor that had started it ended{_NOT_KNOWN}."
                self._client.query(_FINISH, [row["id"], row["execution_id"], "unknown", None, error])
                self._log(f"Call {row['id']}: unknown, as the executor that had started it ended.")
        self._client.query("SELECT expire_tool_calls()")
        self._client.query("SELECT roll_up_tool_calls()")

    def _begin(self, session: Session) -> float:
        """Take as many calls as may be worked on at the same time; the seconds after which to look again."""
        while self._ended:
            ended = self._ended.popleft()
            self._threads.pop(ended, None)
            self._carried.pop(ended, None)
        now = time.monotonic()
        for each, when in list(self._not_before.items()):
            if when <= now:
                self._not_before.pop(each, None)
        rows = session.query(_OPEN, [[*self._threads, *self._not_before, *self._unfinished], _LISTED]).rows
        for wanted in sorted(
            (_Wanted(**row) for row in rows), key=lambda each: (each.turn, self._begun[each.requested_by])
        ):
            approved = wanted.status == "approved"
            among = len(self._carried) if approved else len(self._threads) - len(self._carried)
            if among >= (self._concurrency if approved else MOST_CHECKS):
                continue
            if approved and wanted.target and any(each.target == wanted.target for each in self._carried.values()):
                # It has its turn when the other one has ended, which wakes this loop.
                continue
            self._begun[wanted.requested_by] = now
            if approved:
                self._carried[wanted.id] = wanted
            work = self._carry_out if approved else self._judge
            thread = threading.Thread(target=self._work, args=(work, wanted), name=f"call {wanted.id}", daemon=True)
            self._threads[wanted.id] = thread
            thread.start()
        return _AGAIN if self._not_before or self._unfinished else _POLL

    def _work(self, work: Callable[[_Wanted], None], wanted: _Wanted) -> None:
        try:
            work(wanted)
        except ChildStoppedError:
            # Before it was started: it waits for the next executor.
            pass
        except MissionControlError as error:
            self._log(f"Call {wanted.id} of {wanted.name}: {str(error).rstrip('.')}.")
            self._not_before[wanted.id] = time.monotonic() + _AGAIN
        except Exception as error:
            # A fault of this program. What it says may hold anything.
            self._log(
                f"Call {wanted.id} of {wanted.name}: an error of this program ({type(error).__name__}). Please report it."
            )
            self._not_before[wanted.id] = time.monotonic() + _POLL
        finally:
            self._ended.append(wanted.id)
            self._loop.wake()

    def _judge(self, wanted: _Wanted) -> None:
        """Say of a call that waits for a person whether it could be carried out."""
        problem = self._source_problem(wanted)
        if not problem:
            with self._process(wanted) as process:
                problem = self._problem_of(process, wanted)
        self._say_checked(wanted, problem)

    def _say_checked(self, wanted: _Wanted, problem: str) -> None:
        row = self._client.query_one(_CHECK, [wanted.id, problem or None])
        if row is None or not row["accepted"]:
            self._not_before[wanted.id] = time.monotonic() + _AGAIN
        elif problem:
            self._log(f"Call {wanted.id} of {wanted.name}: denied, as it cannot be carried out.")

    def _problem_of(self, process: CallProcess, wanted: _Wanted) -> str:
        try:
            return presentable_text(process.problem(wanted.tool, wanted.arguments), {}, 4000)
        except ChildStoppedError:
            raise
        except ChildError as error:
            return f"The arguments cannot be judged: {error}."

    def _source_problem(self, wanted: _Wanted) -> str:
        """What is wrong with the source that a call names, as a sentence; empty where nothing is, or it needs none."""
        operation = find_operation(wanted.connector, wanted.operation)
        if operation is None or not operation.needs_source or "source" not in wanted.arguments:
            return ""  # the process says what is wrong
        name = wanted.arguments["source"]
        source = self._sources.get(name) if isinstance(name, str) else None
        if source is None:
            of_kind = sorted(each.name for each in self._sources.values() if each.connector == wanted.connector)
            known = f"there {'is' if len(of_kind) == 1 else 'are'} {', '.join(of_kind)}" if of_kind else "there is none"
            return f"The argument source names no source of {wanted.connector} that the executor has: {known}."
        if source.connector != wanted.connector:
            return f"The source {name} is one of {source.connector}, and the tool needs one of {wanted.connector}."
        return "" if source.enabled else f"The source {name} is disabled."

    def _process(self, wanted: _Wanted) -> CallProcess:
        source = self._sources.get(str(wanted.arguments.get("source")))
        return CallProcess(source.memory_limit if source else DEFAULT_MEMORY, self._loop.stopping)

    def _carry_out(self, wanted: _Wanted) -> None:
        """Judge a call that may be carried out, start it, and carry it out."""
        problem = self._source_problem(wanted)
        if problem:
            self._say_checked(wanted, problem)
            return
        with self._process(wanted) as process:
            problem = self._problem_of(process, wanted)
            if problem:
                self._say_checked(wanted, problem)
                return
            began = time.monotonic()
            execution_id = str(uuid4())
            started = self._start(wanted, execution_id)
            if started is None:
                return
            status, result, error = self._act(wanted, started, process, began + started["timeout_seconds"])
        self._log(f"Call {wanted.id} of {wanted.name}: {status} after {time.monotonic() - began:.1f} s.")
        self._end(_End(wanted, execution_id, status, result, error))

    def _start(self, wanted: _Wanted, execution_id: str) -> dict[str, Any] | None:
        """What is to be done, once the start is committed; None where the call may not be carried out now."""
        if self._loop.stopping.is_set():
            return None
        try:
            row = self._client.query_one(_START, [wanted.id, execution_id, Json(this_process())])
        except ConnectionLostError:
            row = self._look_for_start(wanted, execution_id)
        if row is None or not row["accepted"]:
            if row is not None and row["status"] != "approved":
                self._log(f"Call {wanted.id} of {wanted.name}: not started, {row['reason']}.")
            self._not_before[wanted.id] = time.monotonic() + _AGAIN
            return None
        return row

    def _look_for_start(self, wanted: _Wanted, execution_id: str) -> dict[str, Any] | None:
        """Whether a start took place whose answer was lost. Nobody else has its identifier, and nothing was done for it yet."""
        deadline = time.monotonic() + _GRACE
        while True:
            try:
                with self._client.transaction() as transaction:
                    # Else another server might take over that knows nothing of the start, and have the call carried out again.
                    wait_for_standbys(transaction)
                    return transaction.query_one(_STARTED, [wanted.id, execution_id])
            except MissionControlError:
                if time.monotonic() > deadline or self._loop.stopping.is_set():
                    # It is closed as unknown when its time is over, and was not carried out.
                    raise
                time.sleep(_AGAIN)

    def _act(self, wanted: _Wanted, started: dict[str, Any], process: CallProcess, deadline: float) -> Outcome:
        seconds = deadline - time.monotonic()
        judged = (wanted.name, wanted.connector, wanted.operation, wanted.arguments)
        if judged != tuple(started[name] for name in ("tool", "connector", "operation", "arguments")):
            return "failed", None, "What was started is not what was judged: ask for the call again."
        if seconds <= 0:
            return "timed_out", None, "Its time was over before it was begun, so it did not take place."
        operation = find_operation(wanted.connector, wanted.operation)
        if operation is None:
            raise AssertionError("it was judged")
        try:
            if not operation.needs_source:
                given = with_defaults(operation, wanted.arguments)
                result = mission_control.answer(self._client, str(wanted.operation), given, seconds)
                return "succeeded", presentable(result, {}, started["output_limit_bytes"]), None
            source: Source = self._sources[wanted.arguments["source"]]
            secrets = read_secrets(source)
            return process.act(source, secrets, seconds, started["output_limit_bytes"], self._cut)
        except (CallError, FetchError, KeyError) as error:
            # Before anything was asked of a source.
            sentence = (
                "Its source is no longer among those of the executor." if isinstance(error, KeyError) else str(error)
            )
            return "failed", None, presentable_text(sentence, {})
        except ChildTimeoutError:
            not_known = "" if operation.risk_level == "READ_ONLY" else _NOT_KNOWN
            return (
                "timed_out",
                None,
                f"It took longer than its time limit of {started['timeout_seconds']} s{not_known}.",
            )
        except ChildError as error:
            why = (
                "The executor was stopped"
                if isinstance(error, ChildStoppedError)
                else f"Carrying it out failed: {error}"
            )
            if operation.risk_level == "READ_ONLY":
                return "failed", None, f"{why}."
            return "unknown", None, f"{why}{_NOT_KNOWN}."

    def _end(self, end: _End) -> None:
        """Say how a call ended, now or when the database answers again."""
        self._unfinished[end.call.id] = end
        with contextlib.suppress(MissionControlError):
            self._say_ended(end)

    def _end_left(self) -> None:
        for end in list(self._unfinished.values()):
            try:
                self._say_ended(end)
            except QueryError as error:
                if self._once:
                    raise
                # The database is there: what it refuses of one call holds up no other.
                if end.tries == _FIRST_TOLD:
                    self._log(f"Call {end.call.id}: how it ended cannot be stored yet: {str(error).rstrip('.')}.")

    def _say_ended(self, end: _End) -> None:
        result = None if end.result is None else Json(end.result)
        end.tries += 1
        if end.tries > _MOST_TRIES:
            self._unfinished.pop(end.call.id, None)
            return
        row = self._client.query_one(_FINISH, [end.call.id, end.execution_id, end.status, result, end.error])
        # Else another session holds the row, for a moment or for long.
        if row is None or row["accepted"] or row["status"] not in ("running", "unknown"):
            self._unfinished.pop(end.call.id, None)

    def _read_again(self) -> None:
        self._loop.reread = False
        try:
            self._sources = read_tool_sources(*self._place)
        except SourcesError as error:
            self._log(f"The sources stay as they were: {error}")
            return
        self._log(f"The sources were read again: the executor knows {self._named()}.")

    def _named(self) -> str:
        return ", ".join(name for name, source in self._sources.items() if source.enabled) or "no source"
