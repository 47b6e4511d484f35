# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is stored of a call's result: JSON as the database can hold it, without secrets, no larger than the tool allows."""

from __future__ import annotations

import base64
import datetime
import html
import json
import re
import urllib.parse
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..recorder.masking import MASK, is_secret_name, mask_known_forms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HIDDEN = "(hidden, since a secret of the source stands in it, broken into parts)"

_SHORTEST = 4  # characters; what is shorter cannot be told from other text
_SHORTEST_IN_PARTS = 12
_DEEPEST = 12
_LONGEST_NUMBER = 18  # digits; more stay a text
_SLACK = 2**16
_SPACE = 400  # bytes for saying what was cut
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_BETWEEN = re.compile(r"(?:\s|\\[nrt]|['\"\\,+])+")
# Of a key whose beginning was cut off, or was not asked for.
_REST_OF_KEY = re.compile(r"\A[^-]*-----END [^-]*PRIVATE KEY-----")
# Words of these fields say what something is called, and `vault:1.13` is an image.
_NAMES = ("image", "images", "name", "namespace", "node", "pod", "container", "deployment")


def presentable(result: Mapping[str, Any], secrets: Mapping[str, str], most_bytes: int) -> dict[str, Any]:
    """A result as it is stored.

    Args:
        result: values of JSON, times, decimals; of anything else its str().
        secrets: of the source, by name.
        most_bytes: of the whole as JSON.
    """
    known = SourceSecrets(secrets)
    cut = {name: _cut_ahead(value, most_bytes) for name, value in result.items()}
    plain = _plain(cut, 0)
    return _bounded({known.mask(name): _masked(name, value, known) for name, value in plain.items()}, most_bytes)


def presentable_text(sentence: str, secrets: Mapping[str, str], longest: int = 2000) -> str:
    """A sentence as it is stored: without secrets, and no longer than this many characters."""
    text = SourceSecrets(secrets).mask(str(_plain(sentence[: 2 * longest], 0)))
    return mask_known_forms(text)[:longest]


class SourceSecrets:
    """The secrets of a source, in every form in which they may stand in what it tells."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        values = {each.strip() for name, content in secrets.items() for each in _values(name, content)}
        values = {each for each in values if len(each) >= _SHORTEST}
        forms = {form for each in values for form in _forms(each)}
        twice = {form for each in values for once in _common_forms(each) for form in _common_forms(once)}
        self._forms = sorted((each for each in forms | twice if len(each) >= _SHORTEST), key=len, reverse=True)
        self._in_parts = [_BETWEEN.sub("", each) for each in self._forms if len(each) >= _SHORTEST_IN_PARTS]

    def mask(self, text: str) -> str:
        """A text without them."""
        for each in self._forms:
            if each in text:
                text = text.replace(each, MASK)
        if self._in_parts:
            squeezed = _BETWEEN.sub("", text)
            if len(squeezed) != len(text) and any(each in squeezed for each in self._in_parts):
                return HIDDEN
        return text


def _values(name: str, content: str) -> Iterator[str]:
    """What is secret in a secret: of a kubeconfig not all of it, of a key its lines too."""
    if name != "kubeconfig":
        yield content
        if "-----BEGIN " in content:
            yield from (line for line in content.splitlines() if not line.startswith("-----"))
        return
    import yaml

    try:
        parsed = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        yield from content.split()
        return
    for each in _of_secret_names(parsed, 0):
        yield each
        try:
            decoded = base64.b64decode(each, validate=True).decode("ascii")
        except ValueError:
            continue
        yield from _values("", decoded)


def _of_secret_names(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str) and is_secret_name(str(name)):
                yield each
            else:
                yield from _of_secret_names(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from _of_secret_names(each, depth + 1)


def _forms(value: str) -> Iterator[str]:
    """A secret as encodings write it, the commonest first."""
    yield from _common_forms(value)
    characters = value.encode("utf-8")
    yield value[::-1]
    yield value.upper()
    yield value.lower()
    yield base64.b32encode(characters).decode().rstrip("=")
    yield "".join(f"%{each:02x}" for each in characters)
    yield "".join(f"%{each:02X}" for each in characters)
    yield "".join(f"\\x{each:02x}" for each in characters)
    yield "".join(f"\\u{ord(each):04x}" for each in value)
    yield "".join(f"&#{ord(each)};" for each in value)
    yield "".join(f"&#x{ord(each):x};" for each in value)
    yield html.escape(value)
    yield " ".join(f"{each:02x}" for each in characters)
    yield ":".join(f"{each:02x}" for each in characters)


def _common_forms(value: str) -> Iterator[str]:
    characters = value.encode("utf-8", "surrogatepass")
    yield value
    yield characters.hex()
    yield characters.hex().upper()
    yield urllib.parse.quote(value, safe="", errors="surrogatepass")
    yield urllib.parse.quote_plus(value, errors="surrogatepass")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield json.dumps(value)[1:-1].replace("/", "\\/")
    for shift, begin in ((0, 0), (1, 2), (2, 3)):
        # Whatever stands before and after it in what was encoded.
        encoded = base64.b64encode(b"\0" * shift + characters).decode()
        end = (None, -3, -2)[(shift + len(characters)) % 3]
        inner = encoded[begin:end]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _cut_ahead(value: Any, most_bytes: int) -> Any:
    """Spare the masking what will be cut anyway."""
    if isinstance(value, str) and len(value) > most_bytes + _SLACK:
        return value[-most_bytes - _SLACK :]
    return value


def _plain(value: Any, depth: int) -> Any:
    """A value as JSON and PostgreSQL can hold it."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value.replace("\0", "\ufffd"))
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value.adjusted() < _LONGEST_NUMBER and value == value.to_integral_value()
        return int(value) if whole else str(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if depth < _DEEPEST and isinstance(value, dict):
        return {str(_plain(str(name), depth)): _plain(each, depth + 1) for name, each in value.items()}
    if depth < _DEEPEST and isinstance(value, (list, tuple)):
        return [_plain(each, depth + 1) for each in value]
    return _plain(str(value), depth)


def _masked(name: str, value: Any, known: SourceSecrets) -> Any:
    if isinstance(value, str):
        text = _REST_OF_KEY.sub(MASK, known.mask(value))
        if name in _NAMES:
            return text
        return MASK if is_secret_name(name) and text else mask_known_forms(text)
    if isinstance(value, dict):
        return {known.mask(each): _masked(each, below, known) for each, below in value.items()}
    if isinstance(value, list):
        return [_masked(name, each, known) for each in value]
    return value


def _bounded(result: dict[str, Any], most_bytes: int) -> dict[str, Any]:
    """A result that is no larger than it may be, and says what was cut."""
    if _size(result) <= most_bytes:
        return result
    kept = dict(result)
    name = max(kept, key=lambda each: _size(kept[each]))
    value = kept.pop(name)
    left = most_bytes - _size(kept) - len(name) - _SPACE
    if left < 0 or not isinstance(value, (str, list)):
        return {"cut": f"The result is over the tool's output limit of {most_bytes} bytes, and nothing of it is shown."}
    if isinstance(value, str):
        text = _end_of(value, left)
        # Of how many is not known here any more.
        note = f"The last {len(text)} characters are shown"
        return {**kept, name: text, "cut": f"{note}: the rest is over the tool's output limit of {most_bytes} bytes."}
    number = _number_within(value, left)
    note = f"{number} of {len(value)} {name} are shown"
    return {
        **kept,
        name: value[:number],
        "cut": f"{note}: the rest is over the tool's output limit of {most_bytes} bytes.",
    }


def _end_of(text: str, most_bytes: int) -> str:
    """The last whole lines of a text that take no more bytes as JSON, or its last characters where not even one line does."""
    while _size(text) > most_bytes:
        # Of which the end may take more than its share.
        text = text[len(text) - len(text) * most_bytes // (_size(text) + 1) :] if len(text) > 1 else ""
    _partial, newline, rest = text.partition("\n")
    return rest if newline and rest else text


def _number_within(items: Iterable[Any], most_bytes: int) -> int:
    number = used = 0
    for each in items:
        used += _size(each) + 2
        if used > most_bytes:
            break
        number += 1
    return number


def _size(value: Any) -> int:
    """Bytes as PostgreSQL prints it."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8"))
