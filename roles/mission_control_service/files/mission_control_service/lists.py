# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The queries behind the lists. Text of a statement comes from the declarations alone, values are always parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .pagination import CURSOR, LIMIT, decode_cursor, encode_cursor
from .problems import ProblemError

if TYPE_CHECKING:
    from uuid import UUID

    from .database import Reader
    from .parameters import Parameter
    from .resources import Resource

Page = dict[str, Any]


def list_parameters(resource: Resource) -> tuple[Parameter, ...]:
    """All query parameters of a list."""
    return (*resource.filters, *((resource.unless,) if resource.unless else ()), LIMIT, CURSOR)


def read_page(reader: Reader, resource: Resource, values: dict[str, Any], identifier: UUID | None = None) -> Page:
    """One page of a list.

    Args:
        reader: of the database.
        resource: the list.
        values: of the query parameters, checked.
        identifier: of the object that the list is within, where it is a part of a table.

    Raises:
        ProblemError: 400; the cursor is not one of this list. 404; there is no object with this identifier.
    """
    conditions: list[str] = []
    parameters: list[Any] = []
    if resource.within:
        conditions.append(f"{resource.within[1]} = %s")
        parameters.append(identifier)
    if resource.always and not (resource.unless and values.get(resource.unless.name)):
        conditions.append(resource.always)
    for parameter in resource.filters:
        if parameter.name in values:
            conditions.append(parameter.condition)
            parameters.append(values[parameter.name])
    columns = [column for column, _kind in resource.order]
    if CURSOR.name in values:
        keys = decode_cursor(values[CURSOR.name], resource.path, [kind for _column, kind in resource.order])
        sign = "<" if resource.descending else ">"
        conditions.append(f"({', '.join(columns)}) {sign} ({', '.join(['%s'] * len(keys))})")
        parameters += keys
    direction = " DESC" if resource.descending else ""
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    order = ", ".join(f"{column}{direction}" for column in columns)
    selected = ", ".join(field.selected for field in resource.fields)
    source = f"{resource.source} {resource.joined}".rstrip()
    statement = f"SELECT {selected} FROM {source} {where}ORDER BY {order} LIMIT %s"  # noqa: S608 - constants
    rows = reader.rows(statement, [*parameters, values[LIMIT.name] + 1])
    if resource.within and not rows:
        # That an object has none is not the same as that there is no such object.
        parent = resource.within[0]
        if not reader.rows(f"SELECT FROM {parent.source} WHERE id = %s", [identifier]):
            raise no_such_object(parent)
    return page_of(rows, values[LIMIT.name], resource.path, columns)


def page_of(rows: list[dict[str, Any]], limit: int, place: str, columns: list[str]) -> Page:
    """A page of rows that were read with one more than the limit, which tells whether there is a next page."""
    items = rows[:limit]
    more = len(rows) > limit
    return {
        "items": items,
        "next_cursor": encode_cursor(place, [items[-1][column] for column in columns]) if more else None,
    }


def no_such_object(resource: Resource) -> ProblemError:
    return ProblemError(404, f"There is no {resource.title} with this id.")


def read_one(reader: Reader, resource: Resource, identifier: Any) -> dict[str, Any] | None:
    """The object of this id with all its fields; None if there is none."""
    selected = ", ".join(field.selected for field in (*resource.fields, *resource.more_fields))
    statement = f"SELECT {selected} FROM {resource.source} {resource.joined} WHERE id = %s"  # noqa: S608 - constants
    rows = reader.rows(statement, [identifier])
    return rows[0] if rows else None
