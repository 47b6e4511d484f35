# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all models share: rows become instances, and inputs become INSERT statements.

The models themselves stand in the modules beside this one and are imported from their package.
"""

from __future__ import annotations

import dataclasses
import operator
import types
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Generic,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from ..errors import MissionControlError

if TYPE_CHECKING:
    from ..database.executor import Executor


class ModelError(MissionControlError, ValueError):
    """A row or an input does not fit its model; the message says why."""


class NotGiven(Enum):
    """The type of NOT_GIVEN."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return self.name


# The column is left to the database, which puts its default there. None would be NULL.
NOT_GIVEN = NotGiven.NOT_GIVEN

T = TypeVar("T")
Given = Union[T, NotGiven]


class Model:
    """A row as it is stored."""

    __table__: ClassVar[str]


M = TypeVar("M", bound=Model)


class Create(Generic[M]):
    """Input for a new row: what a caller may set. `insert` returns the stored row, an instance of `__model__`.

    `class CreateHost(Create[Host])` has Host for its model, and its table.
    """

    __table__: ClassVar[str]
    __model__: ClassVar[type[Model]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in cls.__dict__.get("__orig_bases__", ()):
            if get_origin(base) is Create:
                (model,) = get_args(base)
                cls.__model__, cls.__table__ = model, model.__table__


def row_maker(model: type[T], columns: Sequence[str]) -> Callable[[Sequence[Any]], T]:
    """A function that makes instances of a dataclass from the rows of a result with these columns.

    Further columns are ignored, so that a program works on with a database that is newer than itself.
    """
    names = column_names(model)
    for name in names:
        if name not in columns:
            raise ModelError(f"{model.__name__} needs the column {name}, which the query does not return.")
        if columns.count(name) > 1:
            raise ModelError(f"{model.__name__} needs one column {name}, but the query returns {columns.count(name)}.")
    converters = [_CONVERTERS.get(kind) for kind in _field_kinds(model)]
    if len(columns) > 1 and list(columns) == names and not any(converters):
        return lambda row: model(*row)
    positions = [columns.index(name) for name in names]
    pick = operator.itemgetter(*positions) if len(positions) > 1 else lambda row: (row[positions[0]],)
    if not any(converters):
        return lambda row: model(*pick(row))
    to_convert = [(index, converter) for index, converter in enumerate(converters) if converter]

    def make(row: Sequence[Any]) -> T:
        values = list(pick(row))
        for index, converter in to_convert:
            values[index] = converter(values[index])
        return model(*values)

    return make


def from_row(model: type[T], row: Mapping[str, Any]) -> T:
    """An instance of a dataclass from one row as a mapping."""
    return row_maker(model, tuple(row))(tuple(row.values()))


def insert(executor: Executor, new: Create[M]) -> M:
    """Insert a row and return it as it was stored."""
    columns = _given(new)
    names = ", ".join(f'"{name}"' for name in columns)
    returning = ", ".join(f'"{name}"' for name in column_names(new.__model__))
    row = executor.query_one(
        f'INSERT INTO "{new.__table__}" ({names}) VALUES ({", ".join(["%s"] * len(columns))}) RETURNING {returning}',  # noqa: S608
        list(columns.values()),
    )
    if row is None:
        raise ModelError(f"A trigger or rule kept the new row out of {new.__table__}.")
    return cast("M", from_row(new.__model__, row))


def parameter(value: Any, json: bool = False) -> Any:
    """A value as psycopg2 takes it without any adapter being registered."""
    if value is None:
        return None
    if json:
        from psycopg2.extras import Json

        return Json(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise ModelError(
            f"The time {value.isoformat()} has no time zone: the server would read it in that of the session."
        )
    return value


def _given(new: Create[Any]) -> dict[str, Any]:
    """Column and parameter of all that the caller has given; the names come from the class, never from data."""
    return {
        name: parameter(value, json=kind is _JSON)
        for name, kind in _fields(type(new))
        if (value := getattr(new, name)) is not NOT_GIVEN
    }


def column_names(model: type[Any]) -> list[str]:
    return [name for name, _kind_of_field in _fields(model)]


def _field_kinds(model: type[Any]) -> list[Any]:
    return [kind for _name, kind in _fields(model)]


def _fields(model: type[Any]) -> list[tuple[str, Any]]:
    """Name of each field, and of its type what matters for conversion: UUID, bytes, _JSON, or None."""
    if model not in _FIELDS:
        if not dataclasses.is_dataclass(model):
            raise ModelError(f"{model.__name__} is not a dataclass: rows cannot be made into it.")
        hints = get_type_hints(model)
        _FIELDS[model] = [(field.name, _kind(hints[field.name])) for field in dataclasses.fields(model)]
    return _FIELDS[model]


_FIELDS: dict[Any, list[tuple[str, Any]]] = {}
_JSON = dict
# `X | None`, from Python 3.10 on, has an origin of its own.
_UNIONS = (Union, getattr(types, "UnionType", Union))


def _kind(hint: Any) -> Any:
    parts = get_args(hint) if get_origin(hint) in _UNIONS else (hint,)
    for kind in (UUID, bytes):
        if kind in parts:
            return kind
    return _JSON if any(get_origin(part) is dict for part in parts) else None


def _to_uuid(value: Any) -> Any:
    return UUID(value) if isinstance(value, str) else value


def _to_bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {UUID: _to_uuid, bytes: _to_bytes}
