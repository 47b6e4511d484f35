# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An exporter of OpenTelemetry that records the calls of language models in a program's spans. See docs/spans.md.

OTEL_TRACES_EXPORTER=mission_control opentelemetry-instrument python program.py
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, get_args

from ..client.client import Client
from ..client.transaction import make_durable
from ..database.settings import Settings
from ..errors import MissionControlError, ParameterError, QueryError, SettingsError
from ..models.enums import BodyStorage
from .buckets import TokenBuckets, UsageError
from .call_spool import DEFAULT_DIRECTORY, MAX_BYTES, SPOOL_VARIABLE, CallSpool
from .calls import LedgerError, record_llm_call
from .spans import SOURCE, CallSpans, shown

try:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
except ImportError:
    # Said when one is made: whatever reads all modules of the library goes on.
    SpanExporter = object  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from ..database.executor import Reader
    from .calls import LlmCall

logger = getLogger("mission_control")
_BODIES_VARIABLE = "MISSION_CONTROL_SPANS_BODIES"
# A statement, a connection, and a transaction of a batch, in seconds.
_SECONDS = 5.0
_MOST_SECONDS = 10.0
# So many that it lasts no longer where each takes 50 ms.
_BATCH = 200
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_OF_CONTENT = (LedgerError, UsageError, ParameterError)


class LedgerSpanExporter(SpanExporter):
    """Records calls as `record_llm_call` does; while the database cannot be reached it keeps them in a spool.

    What `export` has acknowledged is in the database or on the disk. It may be called from several threads, and after a fork.

    Args:
        client: None: one of this exporter's own, with the settings of the environment as `Settings.load` finds them.
        spool: directory; else MISSION_CONTROL_SPANS_SPOOL, else ~/.local/state/mission_control/calls.
        bodies: what is stored of prompts and replies: none, truncated or full; else MISSION_CONTROL_SPANS_BODIES, else none.
        source: of the calls in the ledger.
        max_spool_bytes: how large the spool may become.

    Attributes:
        recorded: number of calls that this process has recorded.
        kept: how many it has put into the spool.
        lost: how many could be neither recorded nor kept.

    Raises:
        SettingsError: `bodies` is none of the three words.
        MissionControlError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        spool: str | None = None,
        bodies: str | None = None,
        source: str = SOURCE,
        max_spool_bytes: int = MAX_BYTES,
    ) -> None:
        if SpanExporter is object:
            raise MissionControlError("LedgerSpanExporter needs OpenTelemetry: install mission-control-database[otel].")
        said = bodies or os.environ.get(_BODIES_VARIABLE) or "none"
        if said not in get_args(BodyStorage):
            name = "bodies" if bodies else _BODIES_VARIABLE
            raise SettingsError(f"The setting {name} must be one of {', '.join(get_args(BodyStorage))}, not {said!r}.")
        self.recorded = self.kept = self.lost = 0
        self._bodies: Any = said
        self._calls = CallSpans(said, source)
        self._spool = CallSpool(spool or os.environ.get(SPOOL_VARIABLE) or DEFAULT_DIRECTORY, max_spool_bytes)
        self._pause = 0.0
        self._next_try = 0.0
        self._ended = False
        self._own_client: Client | None = None
        self._client = client

    @property
    def refused(self) -> int:
        """How many calls were not counted, as their usage could not be read or the ledger does not take them."""
        return self._calls.refused

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Record the calls among some ended spans.

        Returns:
            SUCCESS where each is recorded, kept in the spool, or refused with a sentence in the log; else FAILURE.
        """
        if self._ended:
            return SpanExportResult.FAILURE
        lines: list[dict[str, Any]] = []
        try:
            lines = self._calls.read(spans)
            left = self._record(lines) if lines or self._pause else []
            if left:
                lines = left
                self._spool.append(left)
                self.kept += len(left)
            elif not self._pause:
                # What cannot be read there is no matter of these spans.
                lines = []
                self._spool.empty(lambda kept: not self._record(kept), until=monotonic() + _MOST_SECONDS)
        except OSError as error:
            return self._failed(lines, f"The spool {self._spool.directory} cannot be used: {error.strerror}.")
        except Exception as error:
            # A mistake in here is no reason for the program to end.
            return self._failed(lines, f"The exporter made a mistake ({type(error).__name__}).")
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is held back in memory: always True."""
        return True

    def shutdown(self) -> None:
        """Let go of the database."""
        if self._ended:
            return
        self._ended = True
        if self.refused or self.lost:
            logger.warning(
                "Calls of language models that were not recorded: %d refused, %d lost.", self.refused, self.lost
            )
        if self._own_client is not None:
            self._own_client.cut()
            self._own_client.disconnect(timeout=1)

    def _record(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Record calls, and return those that were not since the database did not answer; of none, whether it does is found out."""
        for first in range(0, max(len(lines), 1), _BATCH):
            left = self._record_batch(lines[first : first + _BATCH])
            if left:
                return left + lines[first + _BATCH :]
        return []

    def _record_batch(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if monotonic() < self._next_try:
            return lines
        left = list(lines)
        try:
            with self._database() as client:
                try:
                    calls = self._recorded_together(client, lines)
                    for line, call in zip(lines, calls):
                        self._note(line, call)
                    left = []
                except (QueryError, *_OF_CONTENT):
                    # Something is wrong with one of them.
                    while left:
                        self._record_alone(client, left[0])
                        del left[0]
        except MissionControlError as error:
            self._note_outage(error)
        else:
            self._pause = 0.0
        return left

    def _record_alone(self, client: Client, line: dict[str, Any]) -> None:
        try:
            self._note(line, *self._recorded_together(client, [line]))
        except _OF_CONTENT as error:
            self._refuse(line, str(error))
        except QueryError as error:
            if error.is_missing_reference and "task_run_id" in line:
                self._calls.say_once(
                    f"Calls are recorded without their task run: there is none with the identifier {line['task_run_id']}.",
                    "no task run",
                )
                self._record_alone(client, {name: value for name, value in line.items() if name != "task_run_id"})
            elif error.is_of_content:
                self._refuse(line, error.reason)
            else:
                raise

    def _recorded_together(self, client: Client, lines: list[dict[str, Any]]) -> list[LlmCall]:
        with client.transaction() as transaction:
            # What is acknowledged, or removed from the spool, outlives a crash of the server.
            make_durable(transaction)
            return [self._recorded(transaction, line) for line in lines]

    def _recorded(self, executor: Reader, line: dict[str, Any]) -> LlmCall:
        """Record a line of the JSON lines form.

        Raises:
            LedgerError: it is none of this exporter's.
        """
        try:
            buckets = line.get("buckets")
            return record_llm_call(
                executor,
                provider=line["provider"],
                model=line["model"],
                usage=None if buckets is None else TokenBuckets(**buckets),
                messages=line.get("messages"),
                content=line.get("content"),
                finish_reason=line.get("finish_reason"),
                error=line.get("error"),
                latency_ms=line.get("latency_ms"),
                occurred_at=datetime.fromisoformat(line["at"]),
                task_run_id=line.get("task_run_id"),
                billing_mode=line.get("billing_mode"),
                project=line.get("project"),
                agent=line.get("agent"),
                source=line["source"],
                external_id=line["id"],
                body_storage=self._bodies,
            )
        except (MissionControlError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, MissionControlError):
                raise
            raise LedgerError("It stands in the spool in another form than the exporter writes.") from None

    def _note(self, line: dict[str, Any], call: LlmCall) -> None:
        self.recorded += 1
        if call.newly_recorded or call.usage is None or "buckets" not in line:
            return
        said = asdict(TokenBuckets(**line["buckets"]))
        if any(getattr(call.usage, name) != count for name, count in said.items()):
            self._calls.say_once(
                f"The call {line['id']} was recorded before with other usage, which stays: two instrumentations disagree about it.",
                "differs",
                line["model"],
            )

    def _refuse(self, line: dict[str, Any], reason: str) -> None:
        name = shown(str(line.get("id")))
        self._calls.refuse(f"The ledger does not take the call {name}: {shown(reason, 400)}", "refused", reason[:400])

    @contextmanager
    def _database(self) -> Iterator[Client]:
        """The client. What is asked of one's own for too long is cut off, however silent the server is."""
        if self._client is not None:
            yield self._client
            return
        if self._own_client is None:
            self._own_client = Client(
                settings=Settings.load(
                    application_name="mission_control spans",
                    pool_size=2,
                    pool_timeout=_SECONDS,
                    connect_timeout=_SECONDS,
                    statement_timeout=_SECONDS,
                    lock_timeout=_SECONDS,
                    unacknowledged_timeout=_MOST_SECONDS,
                ).without_tool_token()
            )
        client = self._own_client.connect()
        done = threading.Event()
        # At the interpreter's exit there are no more threads.
        with suppress(RuntimeError):
            threading.Thread(target=_cut_when_late, args=(client, done), daemon=True).start()
        try:
            yield client
        finally:
            done.set()

    def _note_outage(self, error: MissionControlError) -> None:
        if not self._pause:
            logger.warning(
                "Calls of language models are kept in %s until the database takes them: %s",
                self._spool.directory,
                error,
            )
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
        self._next_try = monotonic() + self._pause

    def _failed(self, lines: list[dict[str, Any]], reason: str) -> SpanExportResult:
        if lines:
            self.lost += len(lines)
            logger.error("%d calls of language models are lost. %s", len(lines), reason)
            return SpanExportResult.FAILURE
        self._calls.say_once(reason, "spool")
        return SpanExportResult.SUCCESS


def _cut_when_late(client: Client, done: threading.Event) -> None:
    while not done.wait(_MOST_SECONDS):
        client.cut()
