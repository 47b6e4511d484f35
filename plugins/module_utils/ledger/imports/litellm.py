# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The spend log of LiteLLM's proxy: rows of its table LiteLLM_SpendLogs as CSV, or what its API answers as JSON.

Of what it says only the tokens are taken: its spend is 0 for some streamed answers, and the price is that of the ledger.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from ..buckets import UsageError
from ..usage import read_usage
from .calls import (
    Bodies,
    ImportedCall,
    ImportOptions,
    LineError,
    Refusal,
    identifier,
    label,
    model_name,
    moment,
)
from .files import LONGEST_LINE, Place
from .summaries import SummaryError, refuse_summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Union

    from .files import SourceFile

    Item = Union[ImportedCall, Refusal]
    Row = dict[str, Any]

ENDINGS = (".json", ".jsonl", ".csv")
_PROVIDERS = {
    "anthropic": "claude",
    "openai": "openai",
    "text-completion-openai": "openai",
    "gemini": "gemini",
    "vertex_ai": "gemini",
    "vertex_ai_beta": "gemini",
    "github": "github-models",
    "ollama": "ollama",
    "ollama_chat": "ollama",
}
# Where LiteLLM names none: a provider without prices.
_UNKNOWN_PROVIDER = "litellm"
# What is not between the values of an array, or between lines.
_VALUE = re.compile(r"[^\s,\[\]]")
# A program that has had the table in hand may have made 12.0 of 12.
_COUNT = re.compile(r"\d{1,15}(\.0+)?", re.ASCII)
_ZONELESS = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?", re.ASCII)


def default_paths() -> list[str]:
    return []


class Reader:
    """Reads the calls of a log; attributes as those of claude_code.Reader. A log is read as a whole, or again."""

    def __init__(self, file: SourceFile, _place: Place, _state: Row, options: ImportOptions, _whole: bool) -> None:
        self.state: Row = {}
        self.held_back = 0
        self.place = Place()
        self._file = file
        self._options = options

    def __iter__(self) -> Iterator[Sequence[Item]]:
        number = 0
        for row in self._rows():
            number += 1
            try:
                if isinstance(row, LineError):
                    raise row
                yield self._calls(row)
            except SummaryError:
                raise
            except (LineError, UsageError) as error:
                yield [Refusal(number, str(error))]
        self.place = Place(self._file.size, number)

    def _rows(self) -> Iterator[Row | LineError]:
        if self._file.path.endswith(".csv"):
            return _csv_rows(self._file)
        return _json_rows(self._file)

    def _calls(self, row: Row) -> Sequence[Item]:
        refuse_summary(row)
        metadata = _object(row.get("metadata"))
        counts = {name: _whole(row, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        # An answer out of LiteLLM's own cache is no call, and a call that failed has no tokens.
        if str(row.get("cache_hit")).lower() == "true" or not any(counts.values()):
            return []
        usage = {
            **counts,
            **{name: value for name, value in _object(metadata.get("usage_object")).items() if value is not None},
        }
        provider, model = _provider_and_model(row, metadata)
        tier = label(_object(metadata.get("usage_object")).get("service_tier"))
        return self._options.calls(
            identifier(row.get("request_id"), "request_id"),
            _moment(row.get("startTime")),
            provider,
            model,
            read_usage({**usage, "service_tier": tier} if tier else usage, provider),
            agent=label(metadata.get("user_api_key_alias")),
            bodies=self._bodies(row),
        )

    def _bodies(self, row: Row) -> Bodies | None:
        if self._options.bodies == "none":
            return None
        messages, response = _parsed(row.get("messages")), _parsed(row.get("response"))
        content = response
        for name in ("choices", 0, "message", "content"):
            content = content[name] if _has(content, name) else None
        return Bodies(
            messages or None, content if isinstance(content, str) else None if not response else json.dumps(response)
        )


def _has(value: Any, name: str | int) -> bool:
    return name in value if isinstance(value, dict) else isinstance(value, list) and name == 0 and bool(value)


def _provider_and_model(row: Row, metadata: Row) -> tuple[str, str]:
    model = model_name(row.get("model"))
    known = _object(_object(metadata.get("model_map_information")).get("model_map_value"))
    name = label(row.get("custom_llm_provider")) or label(known.get("litellm_provider"))
    prefix, slash, rest = model.partition("/")
    if slash and rest and (prefix == name or name is None):
        name, model = prefix, rest
    provider = re.sub(r"[^a-z0-9._-]", "-", (name or _UNKNOWN_PROVIDER).lower()).lstrip("._-")
    return _PROVIDERS.get(name or "", provider or _UNKNOWN_PROVIDER), model


def _moment(value: object) -> str:
    """A time of the log; LiteLLM's table has no zone and means UTC."""
    text = value if isinstance(value, str) else ""
    return moment(f"{text}Z" if _ZONELESS.fullmatch(text) else text)


def _whole(row: Row, name: str) -> int:
    value = row.get(name)
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = int(value.partition(".")[0])
    if value in (None, ""):
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise LineError(f"Its {name} is not a number of tokens.")
    return value


def _parsed(value: object) -> Any:
    """A value of JSON, which CSV and some versions of the API have as a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _object(value: object) -> Row:
    told = _parsed(value)
    return told if isinstance(told, dict) else {}


def _json_rows(file: SourceFile) -> Iterator[Row | LineError]:
    """The objects of an array, or one after the other, without ever holding more than one of them and a part of the file."""
    decode = json.JSONDecoder().raw_decode
    text, place, tried = "", 0, 0
    parts: Iterator[str | None] = itertools.chain(_texts(file), [None])
    for part in parts:
        is_end = part is None
        text, place = text[place:] + (part or ""), 0
        # What is not whole is tried again when it has twice the length.
        if len(text) < 2 * tried and not is_end:
            continue
        tried = 0
        while found := _VALUE.search(text, place):
            place = found.start()
            try:
                told, place = decode(text, place)
            except (ValueError, RecursionError) as error:
                if is_end or len(text) - place > LONGEST_LINE or isinstance(error, RecursionError):
                    yield LineError("It is no JSON, or too long or too deep to be read; what follows it is not read.")
                    return
                tried = len(text) - place
                break
            yield from _unwrapped(told)
        else:
            place = len(text)


def _unwrapped(told: Any) -> Iterator[Row | LineError]:
    """The rows of a page of the API, or the row itself."""
    if not isinstance(told, dict):
        yield LineError("It is no JSON object.")
        return
    page = next((told[name] for name in ("data", "results") if isinstance(told.get(name), list)), None)
    if page is None or "request_id" in told:
        yield told
        return
    for each in page:
        yield each if isinstance(each, dict) else LineError("It is no JSON object.")


def _texts(file: SourceFile) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    for part in file.parts():
        yield decoder.decode(part)
    yield decoder.decode(b"", final=True)


def _csv_rows(file: SourceFile) -> Iterator[Row | LineError]:
    csv.field_size_limit(LONGEST_LINE)
    rows = csv.reader(_csv_lines(file))
    names: list[str] | None = None
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield LineError("It is no row of CSV.")
            continue
        except LineError as error:
            yield error
            return
        if names is None:
            names = [name.strip() for name in cells]
            refuse_summary(names)
            if "request_id" not in names or "startTime" not in names:
                yield LineError(
                    "It has no heading with request_id and startTime, as a CSV of the table LiteLLM_SpendLogs has."
                )
                return
        elif cells:
            yield dict(zip(names, cells))


def _csv_lines(file: SourceFile) -> Iterator[str]:
    """Lines with their ends; in quotes a row has several."""
    rest = ""
    for part in _texts(file):
        *lines, rest = (rest + part).replace("\0", "\ufffd").split("\n")
        yield from (f"{line}\n" for line in lines)
        if len(rest) > LONGEST_LINE:
            raise LineError("It is too long to be read; what follows it is not read.")
    if rest:
        yield rest
