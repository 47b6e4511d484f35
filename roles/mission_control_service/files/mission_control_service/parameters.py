# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Query parameters: each is declared once, and both read and documented from that."""

from __future__ import annotations

import datetime
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Literal

from .problems import ProblemError

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

Kind = Literal["text", "uuid", "boolean", "date-time", "date", "integer", "choice", "choices"]
_LONGEST_TEXT = 200
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True)
class Parameter:
    """A query parameter.

    Attributes:
        name, description: as documented.
        kind: what its text has to be.
        condition: for a filter: the SQL condition with one placeholder.
        choices: of the kinds "choice" and "choices", several of them with commas.
        least, most: of the kind "integer".
        default: what is taken if it is not given.
        longest: characters at most, of the kind "text".
    """

    name: str
    description: str
    kind: Kind = "text"
    condition: str = ""
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    default: Any = None
    longest: int = _LONGEST_TEXT

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        schemas: dict[Kind, dict[str, Any]] = {
            "text": {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": "^[^\\u0000]+$"},
            "uuid": {"type": "string", "format": "uuid"},
            "boolean": {"type": "boolean"},
            "date-time": {"type": "string", "format": "date-time"},
            "date": {"type": "string", "format": "date"},
            "integer": {"type": "integer", "minimum": self.least, "maximum": self.most},
            "choice": {"type": "string", "enum": list(self.choices)},
            "choices": {
                "type": "array",
                "items": {"type": "string", "enum": list(self.choices)},
                "minItems": 1,
                "uniqueItems": True,
            },
        }
        schema = schemas[self.kind]
        if self.default is None:
            return schema
        return {**schema, "default": list(self.default) if isinstance(self.default, tuple) else self.default}

    def parse(self, text: str) -> Any:
        """The value.

        Raises:
            ProblemError: 400; the text is not what it has to be.
        """
        value = _PARSERS[self.kind](self, text)
        if value is None:
            raise ProblemError(400, f"The parameter {self.name} must be {self._wanted()}.", self.name)
        return value

    def _wanted(self) -> str:
        return {
            "text": f"text of 1 to {self.longest} characters",
            "uuid": "a UUID",
            "boolean": "true or false",
            "date-time": "a time with an offset such as 2026-02-06T12:00:00Z (a + in an address is written %2B)",
            "date": "a date such as 2026-02-06",
            "integer": f"a whole number from {self.least} to {self.most}",
            "choice": f"one of {', '.join(self.choices)}",
            "choices": f"some of {', '.join(self.choices)}, each once, with commas between them",
        }[self.kind]


def read_parameters(given: MultiDict[str, str], known: tuple[Parameter, ...]) -> dict[str, Any]:
    """The values of the parameters that were given, and the defaults of the others that have one.

    Raises:
        ProblemError: 400; a parameter is unknown, given twice, or wrong.
    """
    by_name = {parameter.name: parameter for parameter in known}
    for name in given:
        if name not in by_name:
            known_names = ", ".join(sorted(by_name)) or "none"
            raise ProblemError(400, f"There is no such parameter; known here: {known_names}.", name[:_LONGEST_TEXT])
        if len(given.getlist(name)) > 1:
            raise ProblemError(400, f"The parameter {name} is given twice.", name)
    values = {parameter.name: parameter.default for parameter in known if parameter.default is not None}
    values.update({name: by_name[name].parse(text) for name, text in given.items()})
    return values


def _text(parameter: Parameter, text: str) -> str | None:
    return text if 1 <= len(text) <= parameter.longest and "\0" not in text else None


def _uuid(parameter: Parameter, text: str) -> uuid.UUID | None:
    return uuid.UUID(text) if _UUID.fullmatch(text) else None


def _boolean(parameter: Parameter, text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _time(parameter: Parameter, text: str) -> datetime.datetime | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    plain_offset = "+00:00" if offset in "Zz" else offset
    try:
        # The fraction in six digits and the offset in numbers, which Python 3.9 can read too.
        time = datetime.datetime.fromisoformat(f"{day}T{clock}{(fraction or '.0').ljust(7, '0')}{plain_offset}")
    except ValueError:
        return None
    try:
        # PostgreSQL knows no offset of 16 hours or more.
        return time.astimezone(datetime.timezone.utc)
    except OverflowError:
        # Before the first or after the last day that Python knows, where nothing is recorded.
        return (datetime.datetime.min if time.year == 1 else datetime.datetime.max).replace(
            tzinfo=datetime.timezone.utc
        )


def _date(parameter: Parameter, text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _integer(parameter: Parameter, text: str) -> int | None:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return None
    return int(text) if parameter.least <= int(text) <= parameter.most else None


def _choice(parameter: Parameter, text: str) -> str | None:
    return text if text in parameter.choices else None


def _choices(parameter: Parameter, text: str) -> tuple[str, ...] | None:
    chosen = tuple(text.split(","))
    return chosen if set(chosen) <= set(parameter.choices) and len(set(chosen)) == len(chosen) else None


_PARSERS: dict[Kind, Callable[[Parameter, str], Any]] = {
    "text": _text,
    "uuid": _uuid,
    "boolean": _boolean,
    "date-time": _time,
    "date": _date,
    "integer": _integer,
    "choice": _choice,
    "choices": _choices,
}
