# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sessions of Codex: a file for each, with running totals after each answer, and since 2026 also a record of each answer.

- A call is the difference of two totals; where a total falls, the counter began anew.
- A record has the identifier of its answer and is counted by that; the total that follows it is then no other call.
- A session that was forked from another, or that a session started as its helper, begins with what the other has counted, often
  with new times. It is told by the totals in the other's file, without that by times right at the session's beginning, and always by times
  before it.
"""

from __future__ import annotations

import os
import re
from operator import ge, sub
from typing import TYPE_CHECKING, Any

from ..buckets import UsageError
from ..usage import read_usage
from .calls import (
    Bodies,
    ImportedCall,
    ImportOptions,
    LineError,
    Refusal,
    directory_name,
    identifier,
    instant,
    label,
    moment,
    parse_object,
)
from .files import FileError, Place, SourceFile, find_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Union

    from ...models.enums import BillingMode

    Item = Union[ImportedCall, Refusal]
    Totals = tuple[int, ...]

ENDINGS = (".jsonl",)
_COUNTS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
)
_LINES = re.compile(
    rb'"type"\s*:\s*"(?:session_meta|turn_context|token_count|token_usage_record|thread_settings_applied|compacted)"'
)
_MODES: dict[object, BillingMode] = {"fast": "priority", "priority": "priority", "flex": "flex", "batch": "batch"}
_UNKNOWN_MODEL = "unknown"
# Inherited totals are written all at once, and an answer takes longer.
_BURST_SECONDS = 1.0
_PENDING = 16
_SESSION_IN_NAME = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.jsonl$")


def default_paths() -> list[str]:
    root = os.environ.get("CODEX_HOME", "").strip() or "~/.codex"
    return [os.path.join(root, "sessions"), os.path.join(root, "archived_sessions")]


class Sessions:
    """The files of sessions by their identifier, to look up what a session inherited."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = dict(filter(None, map(_session_of_path, paths)))
        self._looked_further = False

    def path(self, session: str) -> str | None:
        if session not in self._paths and not self._looked_further:
            self._looked_further = True
            places = [path for path in default_paths() if os.path.isdir(os.path.expanduser(path))]
            for path in find_files(places, ENDINGS)[0]:
                found = _session_of_path(path)
                if found:
                    self._paths.setdefault(*found)
        return self._paths.get(session)


def _session_of_path(path: str) -> tuple[str, str] | None:
    match = _SESSION_IN_NAME.search(path)
    return (match[1], path) if match else None


class Reader:
    """Reads the calls of a session; attributes as those of claude_code.Reader, but what it knows by then is its state."""

    def __init__(
        self,
        file: SourceFile,
        place: Place,
        state: dict[str, Any],
        options: ImportOptions,
        _whole: bool,
        sessions: Sessions | None = None,
    ) -> None:
        self.held_back = 0
        self._file = file
        self._start = place
        self._options = options
        self._sessions = sessions or Sessions([])
        self._session: str | None = state.get("session")
        self._provider: str = state.get("provider", "openai")
        self._project: str | None = state.get("project")
        self._model: str | None = state.get("model")
        self._mode: BillingMode | None = state.get("mode")
        self._totals: Totals | None = _kept(state.get("totals"))
        # Usage and thread's total of records whose total has not come yet.
        self._pending: list[tuple[Totals, Totals | None]] = [
            (tuple(usage), _kept(total)) for usage, total in state.get("pending", ())
        ]
        self._last_counted: Totals | None = _kept(state.get("counted"))
        self._inherited = _Inherited(self._sessions, state["inherited"]) if state.get("inherited") else None
        self._prompts: list[Any] = []
        self._answers: list[str] = []

    @property
    def place(self) -> Place:
        return self._file.end

    @property
    def state(self) -> dict[str, Any]:
        known = {
            "session": self._session,
            "provider": self._provider,
            "project": self._project,
            "model": self._model,
            "mode": self._mode,
            "totals": self._totals,
            "pending": self._pending,
            "counted": self._last_counted,
            "inherited": self._inherited and self._inherited.state,
        }
        return {name: value for name, value in known.items() if value}

    def __iter__(self) -> Iterator[Sequence[Item]]:
        for line in self._file.lines(self._start):
            text = line.text
            if text is None:
                yield [Refusal(line.number, "It is too long to be read.")]
                continue
            if not _LINES.search(text):
                if self._options.bodies != "none" and b'"response_item"' in text:
                    self._note_body(text)
                continue
            try:
                told = parse_object(text)
                payload = told.get("payload")
                if isinstance(payload, dict):
                    items = self._read(told, payload)
                    if items:
                        yield items
            except (LineError, UsageError) as error:
                yield [Refusal(line.number, str(error))]

    def _read(self, told: dict[str, Any], payload: dict[str, Any]) -> Sequence[Item]:
        kind = told.get("type")
        if kind == "session_meta":
            self._begin(told, payload)
        elif kind == "turn_context":
            self._model = label(payload.get("model")) or self._model
            self._project = directory_name(payload.get("cwd")) or self._project
        elif kind == "token_usage_record":
            return self._record(told, payload)
        elif kind == "event_msg" and payload.get("type") == "thread_settings_applied":
            settings = payload.get("thread_settings")
            if isinstance(settings, dict):
                self._model = label(settings.get("model")) or self._model
                if settings.get("service_tier") is not None:
                    self._mode = _MODES.get(label(settings["service_tier"]))
        elif kind == "event_msg" and payload.get("type") == "token_count" and isinstance(payload.get("info"), dict):
            return self._total(told, payload["info"])
        return []

    def _begin(self, told: dict[str, Any], payload: dict[str, Any]) -> None:
        """The first of these is the session's own, any other that of a session that it inherited from."""
        if self._session is not None:
            return
        self._session = identifier(payload.get("id"), "payload.id")
        self._project = directory_name(payload.get("cwd"))
        provider = label(payload.get("model_provider"))
        self._provider = (
            re.sub(r"[^a-z0-9._-]", "-", provider.lower()).lstrip("._-") or "openai" if provider else "openai"
        )
        parent = payload.get("forked_from_id") or _started_by(payload)
        if isinstance(parent, str) and parent != self._session:
            began = payload.get("timestamp") or told.get("timestamp")
            self._inherited = _Inherited(self._sessions, {"parent": parent, "began": moment(began)})

    def _record(self, told: dict[str, Any], payload: dict[str, Any]) -> Sequence[Item]:
        if not isinstance(payload.get("usage"), dict):
            raise LineError("Its usage is missing.")
        usage, told_thread = _counts(payload["usage"], "usage"), payload.get("thread_token_usage")
        thread = _counts(told_thread, "thread_token_usage") if isinstance(told_thread, dict) else None
        thread = thread if thread and any(thread) else None
        # The total may come first, and is counted then.
        if not any(usage) or (usage == self._last_counted and thread in (None, self._totals)):
            return []
        self._pending = [*self._pending[-_PENDING:], (usage, thread)]
        return self._call(
            identifier(payload.get("response_id"), "response_id"), moment(told.get("timestamp")), usage, payload
        )

    def _total(self, told: dict[str, Any], info: dict[str, Any]) -> Sequence[Item]:
        at = moment(told.get("timestamp"))
        last = (
            _counts(info["last_token_usage"], "last_token_usage")
            if isinstance(info.get("last_token_usage"), dict)
            else None
        )
        if not isinstance(info.get("total_token_usage"), dict):
            if last is None:
                return []
            # Without a running total each is a call of its own.
            total = tuple(map(sum, zip(last, self._totals or (0,) * len(last))))
        else:
            total = _counts(info["total_token_usage"], "total_token_usage")
        before, self._totals = self._totals, total
        if total == before:
            return []
        if self._inherited is not None:
            if self._inherited.has(total, at):
                # So are the records before it, which have the identifiers that they had.
                self._pending = []
                return []
            self._inherited = None
        usage, self._last_counted = _difference(total, before, last), None
        known = next((each for each in self._pending if each[1] == total or (each[0] == (last or usage))), None)
        if known is not None:
            # With it go the records before it: what was summed up without a total of its own.
            del self._pending[: self._pending.index(known) + 1]
            return []
        if not any(usage):
            return []
        self._last_counted = usage
        session = self._session or label(os.path.basename(self._file.path))
        key = identifier(f"{session}/{at}/{total[0]}+{total[3]}", "identifier")
        return self._call(key, at, usage, info)

    def _call(self, key: str, at: str, usage: Totals, told: dict[str, Any]) -> Sequence[Item]:
        model = label(told.get("model")) or self._model or _UNKNOWN_MODEL
        return self._options.calls(
            key,
            at,
            self._provider,
            model,
            read_usage(_as_usage(usage), "openai"),
            project=self._project,
            agent="codex",
            billing_mode=self._mode,
            bodies=self._bodies(),
        )

    def _bodies(self) -> Bodies | None:
        if self._options.bodies == "none":
            return None
        bodies = Bodies(self._prompts or None, "\n".join(self._answers) or None)
        self._prompts, self._answers = [], []
        return bodies

    def _note_body(self, text: bytes) -> None:
        """Keep what was said since the call before."""
        try:
            payload = parse_object(text).get("payload")
        except LineError:
            return
        if not isinstance(payload, dict) or payload.get("type") != "message":
            return
        content = payload.get("content")
        parts = content if isinstance(content, list) else []
        texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
        if payload.get("role") == "assistant":
            self._answers += texts
        else:
            self._prompts.append({"role": payload.get("role"), "content": "\n".join(texts)})


class _Inherited:
    """What a session begins with of the one that it comes from: totals that were counted there."""

    def __init__(self, sessions: Sessions, state: dict[str, Any]) -> None:
        self._parent: str = state["parent"]
        self._began: str = state["began"]
        self._latest: float = state.get("latest", instant(self._began))
        self._matched: int = state.get("matched", 0)
        path = sessions.path(self._parent)
        self._is_told_by_times = path is None
        self._expected = _totals_of(path, self._matched, instant(self._began)) if path else iter(())
        self._next = next(self._expected, None)

    @property
    def state(self) -> dict[str, Any]:
        return {"parent": self._parent, "began": self._began, "latest": self._latest, "matched": self._matched}

    def has(self, total: Totals, at: str) -> bool:
        """Whether a total is inherited; asked for each from the first on, until one is not."""
        moment_of_it = instant(at)
        if total == self._next:
            self._matched += 1
            self._next = next(self._expected, None)
        elif moment_of_it >= instant(self._began) and not (
            self._is_told_by_times and 0 <= moment_of_it - self._latest <= _BURST_SECONDS
        ):
            return False
        self._latest = max(moment_of_it, self._latest)
        return True


def _totals_of(path: str, skip: int, until: float) -> Iterator[Totals]:
    """The totals of a session's file up to a time, each that differs from the one before; none where it cannot be read."""
    before: Totals | None = None
    try:
        with SourceFile(path) as file:
            for line in file.lines():
                if line.text is None or b"token_count" not in line.text or not _LINES.search(line.text):
                    continue
                try:
                    told = parse_object(line.text)
                    total = _counts(told["payload"]["info"]["total_token_usage"], "total_token_usage")
                    if instant(moment(told.get("timestamp"))) > until:
                        return
                except (LineError, UsageError, KeyError, TypeError):
                    continue
                if total != before:
                    before = total
                    skip -= 1
                    if skip < 0:
                        yield total
    except FileError:
        return


def _started_by(payload: dict[str, Any]) -> object:
    found: object = payload.get("source")
    for name in ("subagent", "thread_spawn", "parent_thread_id"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _kept(value: Any) -> Totals | None:
    return None if value is None else tuple(value)


def _counts(told: dict[str, Any], name: str) -> Totals:
    """The five counts of a usage of Codex's.

    Raises:
        LineError: one is no count.
    """
    counts = tuple(0 if told.get(each) is None else told[each] for each in _COUNTS)
    for each, count in zip(_COUNTS, counts):
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**62:
            raise LineError(f"Its {name}.{each} is not a number of tokens.")
    return counts


def _difference(total: Totals, before: Totals | None, last: Totals | None) -> Totals:
    """What was used between two totals."""
    if before is not None and all(map(ge, total, before)):
        return tuple(map(sub, total, before))
    # The first total, or a counter that began anew: it may hold what is not of this file.
    return last if last is not None and all(map(ge, total, last)) else total


def _as_usage(usage: Totals) -> dict[str, Any]:
    """The same as OpenAI's Responses say it: what was cached is inside the input, and reasoning inside the output."""
    told, cached, written, answered, reasoning = usage
    return {
        "input_tokens": told,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }
