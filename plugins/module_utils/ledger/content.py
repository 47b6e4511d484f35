# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts and replies in the form in which they are stored: not at all, truncated, or in full.

A body never keeps a call out of the ledger: what JSON or PostgreSQL cannot hold (a NUL character, half a surrogate pair, NaN,
an object of an SDK) is replaced by the nearest thing that they can.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ..models.enums import JsonObject

# What "truncated" keeps: the start of a text, the first and the last items of a list, and never more than this in all.
MOST_CHARACTERS = 2_000
FIRST_ITEMS = 2
LAST_ITEMS = 18
MOST_JSON_CHARACTERS = 65_536
_DEEPEST = 60


def stored_text(text: Any, storage: str) -> str | None:
    """A text as it is stored; anything else as the text of its JSON."""
    if text is None or storage == "none":
        return None
    whole = _clean(text) if isinstance(text, str) else _text_of(as_json(text))
    return whole if storage == "full" else _cut(whole)


def stored_json(body: Any, storage: str) -> Any:
    """A JSON value as it is stored."""
    if body is None or storage == "none":
        return None
    whole = as_json(body)
    if storage == "full":
        return whole
    part = _truncated(whole)
    text = _text_of(part)
    if len(text) > MOST_JSON_CHARACTERS:
        return {"truncated": _cut(text), "characters": len(text)}
    return part


def json_object(value: Mapping[str, Any]) -> JsonObject:
    return {_clean(str(key)): as_json(item) for key, item in value.items()}


def as_json(value: Any, depth: int = 0) -> Any:
    """The value in what JSON knows."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {_clean(str(key)): as_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (Sequence, Set)):
        return [as_json(item, depth + 1) for item in value]
    if hasattr(value, "model_dump"):
        return as_json(value.model_dump(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    return _clean(str(value))


def _truncated(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, dict):
        return {key: _truncated(item) for key, item in value.items()}
    if isinstance(value, list):
        left_out = len(value) - FIRST_ITEMS - LAST_ITEMS
        if left_out > 0:
            value = [*value[:FIRST_ITEMS], f"... {left_out} items left out ...", *value[-LAST_ITEMS:]]
        return [_truncated(item) for item in value]
    return value


def _cut(text: str) -> str:
    left_out = len(text) - MOST_CHARACTERS
    return text if left_out <= 0 else f"{text[:MOST_CHARACTERS]} ... {left_out} characters left out"


def _clean(text: str) -> str:
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
