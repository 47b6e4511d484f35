# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The transcripts of Claude Code: a file for each session, a line for each block of a message.

Each line of a message has the usage of the whole message as it is by then, and sessions that are resumed, forked or summarised
repeat lines of others. So a message counts once, by its own identifier whatever the session, and what its last line says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..buckets import ReportedUsage, TokenBuckets, UsageError
from ..usage import read_usage
from .calls import (
    Bodies,
    ImportedCall,
    ImportOptions,
    LineError,
    Refusal,
    directory_name,
    identifier,
    label,
    model_name,
    moment,
    parse_object,
)
from .files import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Union

    from .files import Line, SourceFile

    Item = Union[ImportedCall, Refusal]

ENDINGS = (".jsonl",)
# Lines of a message are near each other: of more messages than these the oldest gets none any more.
_OPEN = 64
# What Claude Code writes where there was no answer.
_NO_MODEL = "<synthetic>"
# What stands beside the counts in nearly every line, and means the standard price.
_USUAL: dict[str, tuple[Any, ...]] = {
    "service_tier": (None, "standard"),
    "speed": (None, "standard"),
    "inference_geo": (None, "", "not_available", "global"),
    "iterations": (None, []),
}
_LIVES = {"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"}
_TOOLS = {"web_search_requests", "web_fetch_requests"}
_PLAIN_KEYS = {
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "server_tool_use",
    *_USUAL,
}


def default_paths() -> list[str]:
    given = os.environ.get("CLAUDE_CONFIG_DIR", "")
    # The tools around Claude Code take several, with commas.
    roots = [root.strip() for root in given.split(",") if root.strip()] or ["~/.claude", "~/.config/claude"]
    return [os.path.join(root, "projects") for root in roots]


@dataclass
class _Message:
    """What the lines of a message say so far, and no more of them; `place` is before its first line, `line` the number of its last."""

    place: Place
    at: str
    prompt: Any
    texts: list[str]
    line: int = 0
    model: Any = None
    usage: Any = None
    directory: Any = None
    stop_reason: Any = None

    @property
    def is_complete(self) -> bool:
        return self.stop_reason is not None


class Reader:
    """Reads the calls of a transcript.

    Attributes:
        place: where a next import goes on when all that was given out is stored.
        state: empty; all of a message stands in its lines.
        held_back: messages without an end, which may get one; only of a file that somebody may be writing.
    """

    def __init__(
        self, file: SourceFile, place: Place, _state: dict[str, Any], options: ImportOptions, whole: bool
    ) -> None:
        """Read from a place on.

        Args:
            whole: nobody writes to the file any more, so that a message without an end is given out as it is.
        """
        self.state: dict[str, Any] = {}
        self.held_back = 0
        self._file = file
        self._start = place
        self._options = options
        self._whole = whole
        self._open: dict[str, _Message] = {}
        self._held_from: Place | None = None
        self._prompt: Any = None

    @property
    def place(self) -> Place:
        starts = [message.place for message in self._open.values()]
        if self._held_from is not None:
            starts.append(self._held_from)
        return min(starts, default=self._file.end)

    def __iter__(self) -> Iterator[Sequence[Item]]:
        """What belongs together: rows of one message are stored together or not at all."""
        wants_bodies = self._options.bodies != "none"
        latest: str | None = None
        for line in self._file.lines(self._start):
            text = line.text
            if text is None:
                yield [Refusal(line.number, "It is too long to be read.")]
                continue
            if b'"usage"' not in text or b'"assistant"' not in text:
                if wants_bodies and b'"user"' in text:
                    self._note_prompt(text)
                continue
            try:
                told = parse_object(text)
                key = self._add(told, line)
            except LineError as error:
                yield [Refusal(line.number, str(error))]
                continue
            if key is None:
                continue
            # A complete message is given out when another one begins: the lines of its other blocks come first.
            if latest is not None and latest != key:
                before = self._open.get(latest)
                if before is not None and before.is_complete:
                    yield self._close(latest)
            latest = key
            if len(self._open) > _OPEN:
                yield self._let_go_of_oldest()
        for key in list(self._open):
            if self._whole or self._open[key].is_complete:
                yield self._close(key)
            else:
                self.held_back += 1

    def _add(self, told: dict[str, Any], line: Line) -> str | None:
        """Note what a line says of a message, and return what the message is called; None for a line that is no call."""
        content = told.get("message")
        if told.get("type") != "assistant" or not isinstance(content, dict) or content.get("usage") is None:
            return None
        if content.get("model") == _NO_MODEL or told.get("isApiErrorMessage"):
            return None
        key = content.get("id")
        message = self._open.get(key) if isinstance(key, str) else None
        if message is None:
            key = _identifier(told, content)
            at = moment(told.get("timestamp"))
            message = self._open[key] = _Message(Place(line.start, line.number - 1), at, self._prompt, [])
            self._prompt = None
        reason = content.get("stop_reason")
        # What comes without an end after the end is a copy of the beginning.
        if reason is not None or message.stop_reason is None:
            message.line, message.model, message.usage = line.number, content.get("model"), content["usage"]
            message.directory, message.stop_reason = told.get("cwd"), reason
        if self._options.bodies != "none":
            message.texts += [text for text in _texts(content.get("content")) if text not in message.texts]
        return key

    def _let_go_of_oldest(self) -> Sequence[Item]:
        key, message = next(iter(self._open.items()))
        if self._whole or message.is_complete:
            return self._close(key)
        del self._open[key]
        self.held_back += 1
        self._held_from = min(self._held_from or message.place, message.place)
        return []

    def _close(self, key: str) -> Sequence[Item]:
        message = self._open.pop(key)
        try:
            return self._options.calls(
                key,
                message.at,
                "claude",
                model_name(message.model),
                _read_usage(message.usage),
                project=directory_name(message.directory),
                agent="claude-code",
                bodies=self._bodies(message),
            )
        except (LineError, UsageError) as error:
            return [Refusal(message.line, str(error))]

    def _bodies(self, message: _Message) -> Bodies | None:
        if self._options.bodies == "none":
            return None
        return Bodies(message.prompt, "\n".join(message.texts) or None, label(message.stop_reason))

    def _note_prompt(self, text: bytes) -> None:
        """Keep what a user, or a tool, said before the next message."""
        try:
            told = parse_object(text)
        except LineError:
            return
        message = told.get("message")
        if told.get("type") == "user" and isinstance(message, dict):
            self._prompt = [{"role": "user", "content": message.get("content")}]


def _identifier(told: dict[str, Any], content: dict[str, Any]) -> str:
    """What a message is called; the first versions of Claude Code wrote no identifier of their own."""
    if content.get("id") is not None:
        return identifier(content["id"], "message.id")
    name = "requestId" if told.get("requestId") is not None else "uuid"
    return identifier(told.get(name), name)


def _read_usage(usage: Any) -> ReportedUsage:
    """As read_usage(), for what nearly every line has in a tenth of the time."""
    buckets = plain_buckets(usage) if isinstance(usage, dict) else None
    return read_usage(usage, "claude") if buckets is None else ReportedUsage(buckets)


def plain_buckets(usage: dict[str, Any]) -> TokenBuckets | None:
    """The buckets of usage that is nothing but the four counts with the cache's two lives, at the standard price; else None."""
    if not usage.keys() <= _PLAIN_KEYS:
        return None
    for name, usual in _USUAL.items():
        if usage.get(name) not in usual:
            return None
    lives, tools = usage.get("cache_creation"), usage.get("server_tool_use")
    told: Any = usage.get("input_tokens")
    answered: Any = usage.get("output_tokens")
    read, written = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    if not (
        isinstance(lives, dict)
        and lives.keys() == _LIVES
        and (tools is None or (isinstance(tools, dict) and tools.keys() <= _TOOLS))
    ):
        return None
    short, long = lives["ephemeral_5m_input_tokens"], lives["ephemeral_1h_input_tokens"]
    if (
        not all(isinstance(count, int) for count in (told, answered, read, written, short, long))
        or short + long != written
    ):
        return None
    return TokenBuckets(told, answered, read, short, long)


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else []
    return [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
