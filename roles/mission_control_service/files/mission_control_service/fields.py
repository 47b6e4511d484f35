# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fields of what the API shows: the column they are read from, and their JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

    Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of an object.

    Attributes:
        name: in the answer.
        schema: JSON Schema of its value.
        sql: what it is read from; the column of its name if it is empty.
    """

    name: str
    schema: Schema
    sql: str = ""

    @property
    def selected(self) -> str:
        return f"{self.sql} AS {self.name}" if self.sql else self.name


def text(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    return _field(name, {"type": "string"}, description, null, sql)


def number(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    """A number that is no amount of money."""
    return _field(name, {"type": "number"}, description, null, sql)


def integer(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    return _field(name, {"type": "integer"}, description, null, sql)


def boolean(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    return _field(name, {"type": "boolean"}, description, null, sql)


def money(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    """An exact amount, which a JSON number would not be to most readers: as text."""
    return _field(name, {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}, description, null, sql)


def uuid_field(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    return _field(name, {"type": "string", "format": "uuid"}, description, null, sql)


def time(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    return _field(name, {"type": "string", "format": "date-time"}, description, null, sql)


def date(name: str, description: str = "", null: bool = False, sql: str = "") -> Field:
    return _field(name, {"type": "string", "format": "date"}, description, null, sql)


def json_object(name: str, description: str = "", sql: str = "") -> Field:
    return _field(name, {"type": "object"}, description, False, sql)


def text_list(name: str, description: str = "") -> Field:
    return _field(name, {"type": "array", "items": {"type": "string"}}, description, False, "")


def choice(name: str, words: Any, description: str = "", null: bool = False) -> Field:
    """One of the words of a Literal."""
    enum = [*get_args(words), None] if null else list(get_args(words))
    return _field(name, {"type": "string", "enum": enum}, description, null, "")


def object_schema(fields: Sequence[Field]) -> Schema:
    """All fields are always there; what is not known is null."""
    return {
        "type": "object",
        "properties": {field.name: field.schema for field in fields},
        "required": [field.name for field in fields],
        "additionalProperties": False,
    }


def _field(name: str, schema: Schema, description: str, null: bool, sql: str) -> Field:
    if null:
        schema = {**schema, "type": [schema["type"], "null"]}
    return Field(name, {**schema, "description": description} if description else schema, sql)
