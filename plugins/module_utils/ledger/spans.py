# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls of language models in spans of OpenTelemetry, as the instrumentations of the providers' SDKs write them.

A call is taken once. Several instrumentations may see the same call: then their spans lie within each other, of which the innermost
counts, or the provider's identifier of the response is the same. See docs/spans.md.
"""

from __future__ import annotations

import ast
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from logging import getLogger
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .buckets import UsageError
from .calls import LedgerError
from .content import as_json, stored_text
from .forms.attributes import are_attributes
from .usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .buckets import ReportedUsage

    Key = tuple[int, int]

logger = getLogger("mission_control")
SOURCE = "opentelemetry"
# By the three attributes in which instrumentations say it.
_OPERATIONS = {
    "gen_ai.operation.name": ("chat", "generate_content", "text_completion", "embeddings", "responses"),
    "llm.request.type": ("chat", "completion", "embedding"),
    "openinference.span.kind": ("LLM", "EMBEDDING"),
}
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_PROVIDERS = {
    "anthropic": "claude",
    "azure.ai.inference": "github-models",
    "gcp.gemini": "gemini",
    "gcp.gen_ai": "gemini",
    "gcp.vertex_ai": "gemini",
    "gemini": "gemini",
    "github": "github-models",
    "google": "gemini",
    "google_genai": "gemini",
    "vertex_ai": "gemini",
    "vertexai": "gemini",
}
# Providers that are spoken to in OpenAI's form.
_PROVIDERS_BY_ADDRESS = {
    "models.github.ai": "github-models",
    "models.inference.ai.azure.com": "github-models",
    "generativelanguage.googleapis.com": "gemini",
    "api.anthropic.com": "claude",
}
_OLLAMA_PORT = 11434
_MODEL = (
    "gen_ai.response.model",
    "llm.response.model_name",
    "gen_ai.request.model",
    "llm.model_name",
    "embedding.model_name",
    "llm.request.model_name",
)
_FINISH = ("gen_ai.response.finish_reasons", "llm.finish_reason", "anthropic.message.stop_reason")
_MESSAGES = ("gen_ai.input.messages", "input.value"), ("gen_ai.prompt.", "llm.input_messages.")
_REPLY = ("gen_ai.output.messages", "output.value"), ("gen_ai.completion.", "llm.output_messages.")
# A shorter identifier of a response may be given again, such as chatcmpl-123 by Ollama in OpenAI's form: it counts within a trace.
_SHORTEST_UNIQUE = 20
_LONGEST_NAME = 200
_LONGEST_RESPONSE = 4 << 20
_MOST_REMEMBERED = 20_000
_MOST_SAID = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class CallSpans:
    """Finds the calls in spans as they end, in one batch after the other.

    Args:
        bodies: what is kept of prompts and replies: none, truncated or full.
        source: of the calls in the ledger.

    Attributes:
        refused: number of calls that could not be read, and are not counted.
    """

    def __init__(self, bodies: str = "none", source: str = SOURCE) -> None:
        self.refused = 0
        self._bodies, self._source = bodies, source
        # Spans that have not ended yet and hold a call that was taken, and calls that were taken; 1: one that failed, 2: one with usage.
        # What is oldest is forgotten.
        self._holds: OrderedDict[Key, int] = OrderedDict()
        self._taken: OrderedDict[Key, int] = OrderedDict()
        self._said: set[tuple[str, ...]] = set()

    def read(self, spans: Sequence[Any]) -> list[dict[str, Any]]:
        """The calls that are to be recorded, each as an object of the JSON lines form (docs/import.md).

        Args:
            spans: ended ones (opentelemetry.sdk.trace.ReadableSpan). What is no call, and what cannot be read, is left out; of the
                latter a sentence is logged.
        """
        found: dict[Key, list[dict[str, Any]]] = {}
        parents: dict[Key, Key | None] = {}
        for span in spans:
            try:
                key, parents_key = _keys(span)
                parents[key] = parents_key
                if _is_call(span.attributes or {}):
                    found[key] = self._lines(span, key)
            except (LedgerError, UsageError) as error:
                self._refuse(span, str(error))
            except Exception as error:
                self._refuse(span, f"It cannot be read ({type(error).__name__}).")
        weights = {key: 2 if "buckets" in lines[0] else 1 for key, lines in found.items()}
        # Children mostly come before their parents, but one that streams may end after it.
        for key, weight in weights.items():
            self._mark_above(key, weight, parents)
        calls = []
        for key, parents_key in parents.items():
            held = self._holds.pop(key, 0)
            if held and parents_key is not None:
                self._mark(parents_key, held)
            weight = weights.get(key, 0)
            if held < weight and (parents_key is None or self._taken.get(parents_key, 0) < weight):
                calls += found[key]
                self._remember(self._taken, key, weight)
        return calls

    def say_once(self, sentence: str, *about: str) -> None:
        """Log a warning, unless one about the same was."""
        if about not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(about)
            logger.warning("%s", sentence)

    def _mark_above(self, key: Key, weight: int, parents: Mapping[Key, Key | None]) -> None:
        """Mark what lies above a call, as far as it is known; a circle ends where it meets a mark."""
        above = parents.get(key)
        while above is not None and above != key and self._holds.get(above, 0) < weight:
            self._mark(above, weight)
            above = parents.get(above)

    def _mark(self, key: Key, weight: int) -> None:
        self._remember(self._holds, key, max(weight, self._holds.get(key, 0)))

    @staticmethod
    def _remember(memory: OrderedDict[Key, int], key: Key, value: int) -> None:
        memory[key] = value
        while len(memory) > _MOST_REMEMBERED:
            memory.popitem(last=False)

    def refuse(self, sentence: str, *about: str) -> None:
        """Count a call as refused, and say so unless that was said of one of the same sort."""
        self.refused += 1
        self.say_once(sentence, *about)

    def _refuse(self, span: Any, reason: str) -> None:
        scope = _scope(span)
        attributes = getattr(span, "attributes", None)
        model = (_text(attributes, _MODEL) if isinstance(attributes, Mapping) else "") or "an unknown model"
        self.refuse(
            f"A call of {shown(model)} in a span of {shown(scope)} was not recorded. {shown(reason, 400)} "
            "Further ones of the same sort are counted, and not logged.",
            "refused",
            scope,
            model[:_LONGEST_NAME],
        )

    def _lines(self, span: Any, key: Key) -> list[dict[str, Any]]:
        attributes = span.attributes or {}
        resource = getattr(getattr(span, "resource", None), "attributes", None) or {}
        provider = _provider(attributes)
        error = _error(span, attributes)
        reported, response = _reported(attributes, provider)
        if reported is None and error is None:
            raise UsageError(
                "It tells no usage; a stream of OpenAI's does with stream_options={'include_usage': True}."
            )
        began, ended = span.start_time, span.end_time
        line: dict[str, Any] = {
            "v": 1,
            "source": self._source,
            # A failed call without usage may be tried again under the same identifier.
            "id": _external_id(key, _response_id(attributes, response) if reported else None),
            "at": _time(began),
            "provider": provider,
            "model": _name("model", _text(attributes, _MODEL)),
            "latency_ms": max(0, (ended - began) // 1_000_000) if isinstance(ended, int) else None,
            "finish_reason": _finish_reason(attributes),
            "error": error,
            "project": _own("project", attributes, resource),
            "agent": _own("agent", attributes, resource),
            "task_run_id": self._task_run_id(attributes, resource),
        }
        if self._bodies != "none":
            line["messages"] = as_json(_body(attributes, *_MESSAGES))
            line["content"] = stored_text(_body(attributes, *_REPLY), "full")
        line = {name: value for name, value in line.items() if value is not None}
        if reported is None:
            return [line]
        lines = [{**line, **_usage(reported), "model": reported.model or line["model"]}]
        for name_of_part, further in reported.further_by_name(line["id"]).items():
            part = {name: value for name, value in line.items() if name not in ("messages", "content", "latency_ms")}
            part.update(_usage(further), id=name_of_part, model=further.model)
            lines.append(part)
        return lines

    def _task_run_id(self, attributes: Mapping[str, Any], resource: Mapping[str, Any]) -> str | None:
        said = _own("task_run_id", attributes, resource)
        if said is None:
            return None
        try:
            return str(UUID(said))
        except ValueError:
            self.say_once(
                f"Calls are recorded without their task run: mission_control.task_run_id is no UUID, but {shown(said)}.",
                "task_run_id",
            )
            return None


def _keys(span: Any) -> tuple[Key, Key | None]:
    context, parent = span.context, span.parent
    key = (int(context.trace_id), int(context.span_id))
    return key, None if parent is None else (int(parent.trace_id), int(parent.span_id))


def _is_call(attributes: Mapping[str, Any]) -> bool:
    for name, operations in _OPERATIONS.items():
        said = attributes.get(name)
        if said is not None:
            # What one attribute calls something else, such as an agent, is no call whatever the others say.
            return said in operations if isinstance(said, str) else False
    return False


def _reported(attributes: Mapping[str, Any], provider: str) -> tuple[ReportedUsage | None, Mapping[str, Any]]:
    """The usage of a call, and the provider's response where OpenInference or LiteLLM has put it into the span: it tells more than the sums.

    What stands in its place may be the model's reply, which could look like anything: so the sums have to be the same.
    """
    if not are_attributes(attributes):
        return None, {}
    said = read_usage(attributes, provider)
    response = _response(attributes)
    if response:
        with suppress(UsageError):
            mode = said.billing_mode
            told = read_usage(response, provider, None if mode == "standard" else mode)
            if _sums(told) == _sums(said):
                return told, response
    return said, {}


def _sums(usage: ReportedUsage) -> tuple[int, int]:
    return usage.buckets.total_input, usage.buckets.total_output


def _response(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    # LiteLLM's is what Python prints of a dict, of the usage alone; its other attributes leave the cached tokens out.
    for name, parse in (("output.value", json.loads), ("metadata.usage_object", ast.literal_eval)):
        text = attributes.get(name)
        if isinstance(text, str) and len(text) <= _LONGEST_RESPONSE and text.startswith("{"):
            try:
                value = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(value, dict):
                return value
    return {}


def _response_id(attributes: Mapping[str, Any], response: Mapping[str, Any]) -> str | None:
    return _text(attributes, ("gen_ai.response.id",)) or _text(response, ("id", "response_id", "responseId")) or None


def _external_id(key: Key, response_id: str | None) -> str:
    if response_id is None:
        return f"{key[0]:032x}:{key[1]:016x}"
    name = _name("identifier of the response", response_id)
    return name if len(name) >= _SHORTEST_UNIQUE else f"{key[0]:032x}:{name}"


def _provider(attributes: Mapping[str, Any]) -> str:
    address, port = _text(attributes, ("server.address",)), attributes.get("server.port")
    said = re.sub(r"[^a-z0-9._-]+", "-", _text(attributes, _PROVIDER).lower()).strip("._-")
    if said in ("openai", "") and (address in _PROVIDERS_BY_ADDRESS or port == _OLLAMA_PORT):
        return _PROVIDERS_BY_ADDRESS.get(address, "ollama")
    if not said:
        raise LedgerError("It names no provider.")
    return _name("provider", _PROVIDERS.get(said, said))


def _name(what: str, text: str) -> str:
    if not text.strip():
        raise LedgerError(f"It has no {what}.")
    if len(text) > _LONGEST_NAME:
        raise LedgerError(f"Its {what} is longer than {_LONGEST_NAME} characters.")
    return stored_text(text, "full") or ""


def _own(name: str, attributes: Mapping[str, Any], resource: Mapping[str, Any]) -> str | None:
    full = f"mission_control.{name}"
    text = _text(attributes, (full,)) or _text(resource, (full,))
    return _name(full, text) if text else None


def _finish_reason(attributes: Mapping[str, Any]) -> str | None:
    for name in _FINISH:
        said = attributes.get(name)
        said = said[0] if isinstance(said, (tuple, list)) and said else said
        if isinstance(said, str) and said:
            # LiteLLM writes the list as a text.
            return stored_text(said[:_LONGEST_NAME].strip('[]"'), "full")
    return None


def _error(span: Any, attributes: Mapping[str, Any]) -> str | None:
    """Why a call failed, None where it did not; the description may quote the provider."""
    kind = _text(attributes, ("error.type",))
    status = getattr(span, "status", None)
    if getattr(getattr(status, "status_code", None), "name", "") != "ERROR" and not kind:
        return None
    description = getattr(status, "description", None)
    return stored_text((description if isinstance(description, str) else "") or kind or "It failed.", "truncated")


def _usage(usage: Any) -> dict[str, Any]:
    """Of a call or of a part of it."""
    counts = {name: count for name, count in asdict(usage.buckets).items() if count}
    return {"buckets": counts, "billing_mode": usage.billing_mode}


def _body(attributes: Mapping[str, Any], names: Iterable[str], beginnings: tuple[str, ...]) -> Any:
    """A prompt or a reply, in JSON where it is written as such; else the attributes that hold its parts."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        if value is not None:
            return value
    return {name: value for name, value in attributes.items() if str(name).startswith(beginnings)} or None


def _time(nanoseconds: Any) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)).isoformat()
    except (TypeError, ValueError, OverflowError):
        raise LedgerError("It has no time at which it began.") from None


def _text(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of some attributes that is a text and not empty."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def _scope(span: Any) -> str:
    return str(getattr(getattr(span, "instrumentation_scope", None), "name", None) or "an unknown instrumentation")


def shown(text: str, longest: int = 100) -> str:
    """A text of somebody else as a log may show it: in one line, and not longer than one."""
    cut = text if len(text) <= longest else text[:longest] + "..."
    return cut if cut.isprintable() else ascii(cut)
