# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which rows of a snapshot the tables would take. The others are skipped and named, so that one bad row never fails a sync."""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import re
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable, get_args

from ..errors import MissionControlError
from ..models import enums
from .snapshot import KINDS, HostRow, ServiceRow, Skipped, WorkloadRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .snapshot import Kind, Listing, Row, Snapshot

# Bytes. An entry of an index has room for about 2,700, and identifier or namespace and name share one.
_LONGEST_KEY = 1024
# The limit of the columns.
_LONGEST_TEXT = 8192
# Bytes of a JSON object as the server prints it. It would take 1 MiB, which no allow-list of labels needs.
_LONGEST_JSON = 262_144
_DEEPEST_JSON = 100
_LARGEST_NUMBER = 10**100
_SHORT_JSON = 16_384
# Characters of a whole row: no text in it is longer than a key may be, and no number has more digits than the server takes.
_SHORT_ROW = 1000
_TEXT = frozenset((str,))
_PLAIN = frozenset((str, int, bool, type(None)))
_SHOWN = 80

_CLASSES: dict[Kind, type[Any]] = {"hosts": HostRow, "services": ServiceRow, "workloads": WorkloadRow}
_TYPES: dict[Kind, tuple[str, ...]] = {
    "hosts": get_args(enums.HostType),
    "services": (),
    "workloads": get_args(enums.WorkloadType),
}
_STATUSES = {"hosts": get_args(enums.HostStatus), "workloads": get_args(enums.WorkloadStatus)}
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ALWAYS_TOLD = ("external_id", "type", "unknown")


class SnapshotError(MissionControlError, ValueError):
    """A snapshot contradicts itself, so that nothing of it can be compared with the tables."""


class _UnfitError(Exception):
    """A value that its column does not take; the message is a clause."""


def refuse_contradictions(snapshot: Snapshot) -> None:
    """Raise SnapshotError where a snapshot does not say of which rows its lists are the whole."""
    claimed: set[tuple[Kind, str]] = set()
    for listing in snapshot.listings:
        where = f"The snapshot of {snapshot.source}"
        if listing.kind not in KINDS:
            raise SnapshotError(f"{where} has a list of {listing.kind!r}, but there are {', '.join(KINDS)} only.")
        unknown = [each for each in listing.types if each not in _TYPES[listing.kind]]
        if unknown or not (listing.types or listing.kind == "services"):
            raise SnapshotError(f"{where} has a list of {listing.kind} whose types are {listing.types!r}.")
        for each in listing.types or ("",):
            if (listing.kind, each) in claimed:
                raise SnapshotError(f"{where} has two lists of {each or listing.kind}: each belongs into one.")
            claimed.add((listing.kind, each))
    if snapshot.observed_at.utcoffset() is None:
        raise SnapshotError(f"The time of the snapshot of {snapshot.source} has no time zone.")
    for what, text in (("identity", snapshot.identity), ("cluster", snapshot.cluster or "-")):
        if not isinstance(text, str) or not text.strip() or _unstorable(text) or len(text.encode()) > _LONGEST_TEXT:
            raise SnapshotError(
                f"The {what} of {snapshot.source} must be a text that can be stored, not {_shown(text)}."
            )


@dataclass(frozen=True)
class Acceptable:
    """What of one kind can be compared with its table.

    Attributes:
        rows: JSON objects for jsonb_to_recordset(), without what is None, with identifiers of their own.
        skipped: by the connector or here.
        whole: the lists that are complete and in which every object says who it is: what is not in them is gone.
    """

    rows: list[str]
    skipped: list[Skipped]
    whole: list[Listing]


def acceptable_rows(snapshot: Snapshot, kind: Kind) -> Acceptable:
    """The rows of one kind that its table would take. The snapshot is one that does not contradict itself."""
    rows: dict[str, str] = {}
    all_skipped: list[Skipped] = []
    whole = []
    for listing in snapshot.listings:
        if listing.kind != kind:
            continue
        skipped = [_storable(each) for each in listing.skipped]
        for row in listing.rows:
            try:
                external_id, text = _as_json(row, kind, listing.types)
                if external_id in rows:
                    raise _UnfitError("its identifier is that of another row of this snapshot")
            except _UnfitError as reason:
                skipped.append(_skipped(row, str(reason)))
            else:
                rows[external_id] = text
        all_skipped += skipped
        if listing.problem is None and all(each.external_id is not None for each in skipped):
            whole.append(listing)
    return Acceptable(list(rows.values()), all_skipped, whole)


def _as_json(row: Row, kind: Kind, types: tuple[str, ...]) -> tuple[str, str]:
    """The identifier of a row, and the row as a JSON object."""
    if not isinstance(row, _CLASSES[kind]):
        raise _UnfitError(f"it is no row of {kind}")
    values = _VALUES[kind](row)
    given = {name: value for name, value in zip(_NAMES[kind], values) if value is not None}
    text = _of_plain_row(given, kind, tuple(map(type, values)))
    if text is None:
        given = {name: _CHECKS[name](name, value) for name, value in given.items()}
        text = _encode(given)
    if "external_id" not in given:
        raise _UnfitError("it has no identifier")
    if kind != "services" and given.get("type") not in types:
        raise _UnfitError(f"its type {_shown(given.get('type'))} is none of its list")
    if kind in _STATUSES and given.get("status") not in _STATUSES[kind]:
        raise _UnfitError(f"its status {_shown(given.get('status'))} is none of {', '.join(_STATUSES[kind])}")
    return given["external_id"], text


def _of_plain_row(given: dict[str, Any], kind: Kind, types: tuple[type, ...]) -> str | None:
    """The JSON of a row like most, found to be storable by a look at the whole of it; None for one whose values are looked at one by one.

    It is short, and so is each text in it; nothing in it is nested, and no character is above ASCII.
    """
    if not _are_plain(kind, types) or not all(given[name].strip() for name in _KEYS if name in given):
        return None
    for each in (given["labels"], given["metadata"]):
        if not (_TEXT.issuperset(map(type, each)) and _PLAIN.issuperset(map(type, each.values()))):
            return None
    plain = {name: check(name, given[name]) if (check := _CHECKED.get(name)) else given[name] for name in given}
    if not plain["unknown"]:
        del plain["unknown"]
    text = _encode(plain)
    return text if len(text) <= _SHORT_ROW and text.isascii() and "\\u0000" not in text else None


@functools.lru_cache(maxsize=1024)
def _are_plain(kind: Kind, types: tuple[type, ...]) -> bool:
    """Whether the values of a row have the types of their columns and none that derives from them, and none is missing that is always there."""
    return all(each in _TYPES_OF.get(name, (str, type(None))) for name, each in zip(_NAMES[kind], types))


def _skipped(row: Row, reason: str) -> Skipped:
    external_id, name = getattr(row, "external_id", None), getattr(row, "name", None)
    known = external_id if isinstance(external_id, str) and external_id.strip() else None
    return _storable(Skipped(known, name if isinstance(name, str) else known or _shown(external_id), reason))


def _storable(skipped: Skipped) -> Skipped:
    def clean(value: object) -> str:
        return _UNSTORABLE.sub("\ufffd", str(value))[:_LONGEST_KEY]

    external_id = None if skipped.external_id is None else clean(skipped.external_id)
    return Skipped(external_id, clean(skipped.name), clean(skipped.reason))


def _unstorable(text: str) -> bool:
    return bool(_UNSTORABLE.search(text))


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except Exception:  # an object that has no text
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _text_of(name: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise _UnfitError(f"its {name} is no text")
    if _unstorable(value):
        raise _UnfitError(f"its {name} holds a character that cannot be stored")
    if len(value) > longest or (not value.isascii() and len(value.encode()) > longest):
        raise _UnfitError(f"its {name} is longer than {longest} bytes")
    return value


def _text(name: str, value: object) -> str:
    return _text_of(name, value, _LONGEST_TEXT)


def _key(name: str, value: object) -> str:
    text = _text_of(name, value, _LONGEST_KEY)
    if not text.strip():
        raise _UnfitError(f"its {name} is empty")
    return text


def _count(name: str, value: object) -> int:
    least = 1 if name == "memory_bytes" else 0
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise _UnfitError(f"its {name} is no whole number from {least} on")
    return value


def _cores(name: str, value: object) -> str:
    if not isinstance(value, bool) and isinstance(value, (int, float, Decimal)):
        # A NaN of either sort fits no comparison.
        with contextlib.suppress(ArithmeticError):
            # As the column rounds it, so that what is stored is what is compared next time.
            if 0 < value < 10**7 and 0 < (cores := round(Decimal(str(value)), 3)) < 10**7:
                return str(cores)
    raise _UnfitError(f"its {name} is no number of cores")


def _unknown(name: str, value: object) -> list[str]:
    columns = [{"host": "host_id", "service": "service_id"}.get(each, each) for each in _items(value)]
    if not all(isinstance(each, str) and re.fullmatch("[a-z_]+", each) for each in columns):
        raise _UnfitError("what it leaves untold are no names of columns")
    if "type" in columns or "external_id" in columns:
        raise _UnfitError("it leaves its type or its identifier untold")
    return columns


def _items(value: object) -> Iterator[Any]:
    if not isinstance(value, (tuple, list)):
        raise _UnfitError("what it leaves untold is no list")
    return iter(value)


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _UnfitError(f"its {name} are no JSON object")
    if not value:
        return value
    # Most are a few short texts.
    plain = _TEXT.issuperset(map(type, value)) and _TEXT.issuperset(map(type, value.values()))
    growth = 0 if plain else _growth(name, value)
    text = json.dumps(value, ensure_ascii=False)
    if _unstorable(text) or ("\\u0000" in text and _holds_nul(value)):
        raise _UnfitError(f"its {name} hold a character that cannot be stored")
    # Three bytes and more for a character.
    if (len(text) > _SHORT_JSON or growth) and len(text.encode()) + growth > _LONGEST_JSON:
        raise _UnfitError(f"its {name} are longer than {_LONGEST_JSON} bytes")
    return value


def _growth(name: str, value: dict[str, Any]) -> int:
    """How many bytes more the server prints of the numbers, at most; refuses what is no JSON, or deeper than any needs to be."""
    growth = 0
    todo: list[tuple[Any, int]] = [(value, 1)]
    while todo:
        each, depth = todo.pop()
        if isinstance(each, (dict, list, tuple)):
            if depth > _DEEPEST_JSON:
                raise _UnfitError(f"its {name} are nested more than {_DEEPEST_JSON} levels deep")
            if isinstance(each, dict) and not all(isinstance(key, str) for key in each):
                raise _UnfitError(f"its {name} have a key that is no text")
            todo += ((item, depth + 1) for item in (each.values() if isinstance(each, dict) else each))
            if len(todo) > _LONGEST_JSON:
                raise _UnfitError(f"its {name} are longer than {_LONGEST_JSON} bytes")
        elif isinstance(each, (bool, str)) or each is None:
            continue
        elif isinstance(each, (int, float)):
            if not -_LARGEST_NUMBER < each < _LARGEST_NUMBER or 0 < abs(each) < 1 / _LARGEST_NUMBER:
                raise _UnfitError(f"its {name} hold a number that is too large or too small")
            growth += len(format(Decimal(repr(each)), "f")) if isinstance(each, float) else 0
        else:
            raise _UnfitError(f"its {name} hold a value of the kind {type(each).__name__}, which is no JSON")
    return growth


def _holds_nul(value: Any) -> bool:
    """Whether a NUL is in a text, and not the six characters that stand for one in JSON."""
    if isinstance(value, dict):
        return any("\0" in key or _holds_nul(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return any(_holds_nul(each) for each in value)
    return isinstance(value, str) and "\0" in value


_SPECIAL: dict[str, Callable[[str, object], Any]] = {
    "external_id": _key,
    "name": _key,
    "namespace": _key,
    "cpu_cores": _cores,
    "memory_bytes": _count,
    "replicas_wanted": _count,
    "replicas_ready": _count,
    "labels": _object,
    "metadata": _object,
    "unknown": _unknown,
}
_NAMES: dict[Kind, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(row)) for kind, row in _CLASSES.items()
}
_VALUES: dict[Kind, Callable[[Any], tuple[Any, ...]]] = {
    kind: operator.attrgetter(*names) for kind, names in _NAMES.items()
}
_KEYS = ("external_id", "name", "namespace")
_TYPES_OF: dict[str, tuple[type, ...]] = {
    "external_id": (str,),
    "cpu_cores": (int, float, Decimal, type(None)),
    **dict.fromkeys(("memory_bytes", "replicas_wanted", "replicas_ready"), (int, type(None))),
    **dict.fromkeys(("labels", "metadata"), (dict,)),
    "unknown": (tuple,),
}
_CHECKED = {
    name: _SPECIAL[name] for name in ("cpu_cores", "memory_bytes", "replicas_wanted", "replicas_ready", "unknown")
}
_CHECKS: dict[str, Callable[[str, object], Any]] = {
    name: _SPECIAL.get(name, _text) for names in _NAMES.values() for name in names
}
