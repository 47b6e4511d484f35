# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""JSON Schemas of tools' arguments (draft 2020-12), and whether a call's arguments fit one. jsonschema does the work.

A schema stands for itself: it refers to nothing outside, and its patterns are of a kind that ends soon whatever the text is. No sentence
shows a value of a call, which may be a secret.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import MissionControlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIBRARY = "jsonschema"
DEBIAN_PACKAGE = "python3-jsonschema"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_MOST_CHARACTERS = 65_536  # of a schema, and of the arguments of a call, as JSON
_DEEPEST = 32
_MOST_PROBLEMS = 10
_MOST_SHOWN = 100
_LONGEST_PATTERN = 500
# A pattern that may try each beginning of a text costs the square of its length.
_LONGEST_MATCHED = 2000
_MOST_REPEATS = 2  # without a limit, in one pattern
_FEW = 100  # times that something may be repeated and not count as a repeat without a limit
_REFERENCES = ("$ref",)
# They give a schema another name or let one in from elsewhere.
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary")
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a text",
}


class SchemaLibraryError(MissionControlError, ImportError):
    """jsonschema is not installed where this runs, or is too old."""


def schema_problems(schema: Any) -> list[str]:
    """What is wrong with the schema of a tool's arguments, as sentences that begin with "The schema"; none where it can be used.

    Args:
        schema: of an object; {} takes any.

    Raises:
        SchemaLibraryError: jsonschema is missing.
    """
    if not isinstance(schema, dict):
        return ["The schema must be an object, such as {type: object, properties: {}}."]
    try:
        size = len(json.dumps(schema, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return ["The schema holds something that is no JSON."]
    if size > _MOST_CHARACTERS:
        return [f"The schema has {size} characters as JSON, and {_MOST_CHARACTERS} are the most."]
    if _depth(schema) > _DEEPEST:
        return [f"The schema is nested more than {_DEEPEST} levels deep."]
    if schema.get("type", "object") != "object":
        return ["The schema must have the type object, as a call has arguments by name."]
    if schema.get("$schema", DRAFT) not in (DRAFT, f"{DRAFT}#"):
        return [f"The schema names another draft than {DRAFT}: leave $schema out."]
    problems = list(_places_problems(schema, schema, "$"))[:_MOST_PROBLEMS]
    return problems or _of_draft(schema)


def argument_problems(schema: Mapping[str, Any], arguments: Any) -> list[str]:
    """Why arguments do not fit a schema, as sentences that name the argument; none where they fit, and ten at most.

    Args:
        schema: one in which `schema_problems` finds nothing.
        arguments: of a call, without the tool's preset. They are shown in no sentence.

    Raises:
        SchemaLibraryError: jsonschema is missing.
    """
    if not isinstance(arguments, dict):
        return ["The arguments must be an object, with a value for each name."]
    try:
        size = len(json.dumps(arguments, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return ["The arguments hold something that is no JSON."]
    if size > _MOST_CHARACTERS:
        return [f"The arguments have {size} characters as JSON, and {_MOST_CHARACTERS} are the most."]
    if _depth(arguments) > _DEEPEST:
        return [f"The arguments are nested more than {_DEEPEST} levels deep."]
    problems: list[str] = []
    try:
        for error in _validator()(dict(schema)).iter_errors(arguments):
            problems += (each for each in _sentences(error) if each not in problems)
            if len(problems) >= _MOST_PROBLEMS:
                break
    except RecursionError:
        return ["The schema refers to itself without an end, so no arguments fit: correct the tool's arguments_schema."]
    except SchemaLibraryError:
        raise
    except Exception as error:
        # Of a schema that was never judged.
        return [f"The schema cannot be used ({type(error).__name__}): correct the tool's arguments_schema."]
    return problems[:_MOST_PROBLEMS]


def require_library() -> None:
    """Find out now whether arguments can be judged here.

    Raises:
        SchemaLibraryError: jsonschema is missing.
    """
    _validator()


def caller_schema(schema: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what a caller gives: an object, without the arguments that are fixed.

    Args:
        schema: the tool's arguments_schema.
        preset: its fixed arguments.
    """
    made = {"type": "object", **schema}
    properties, required = made.get("properties"), made.get("required")
    if preset and isinstance(properties, dict):
        made["properties"] = {name: each for name, each in properties.items() if name not in preset}
    if preset and isinstance(required, list):
        made["required"] = [name for name in required if name not in preset]
    return made


@functools.lru_cache(maxsize=1)
def _validator() -> Any:
    """The class of jsonschema for the draft, which matches patterns against short texts alone."""
    try:
        from jsonschema import Draft202012Validator, ValidationError
        from jsonschema.validators import extend
    except ImportError:
        raise SchemaLibraryError(
            f"The Python package {LIBRARY} 4.10 or newer is missing where the arguments of tools are checked: install "
            f"Debian's {DEBIAN_PACKAGE}, or mission-control-database[tools]."
        ) from None

    def pattern(_validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(value, str) and (len(value) > _LONGEST_MATCHED or not re.search(wanted, value)):
            yield ValidationError("pattern")

    def pattern_properties(validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[Any]:
        for each, below in wanted.items() if isinstance(value, dict) else ():
            for name, one in value.items():
                if len(name) <= _LONGEST_MATCHED and re.search(each, name):
                    yield from validator.descend(one, below, path=name, schema_path=each)

    return extend(Draft202012Validator, {"pattern": pattern, "patternProperties": pattern_properties})


def _of_draft(schema: dict[str, Any]) -> list[str]:
    """What the draft itself says against a schema."""
    validator = _validator()
    problems = []
    for error in validator(validator.META_SCHEMA).iter_errors(schema):
        place = "".join(f"/{each}" for each in error.absolute_path)[:_MOST_SHOWN]
        problems.append(f"The schema is none of draft 2020-12: what stands at #{place} is not allowed there.")
        if len(problems) == _MOST_PROBLEMS:
            break
    if not problems:
        # References that lead in a circle without ever looking at a value.
        problems = [each for each in argument_problems(schema, {}) if each.startswith("The schema")]
    return sorted(set(problems), key=problems.index)


def _depth(value: Any) -> int:
    """How deep it is nested, and a little more than is allowed where it is deeper."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        level = [
            one
            for each in level
            for one in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
        depth += 1
    return depth


def _places_problems(node: Any, root: dict[str, Any], key: str) -> Iterator[str]:
    """Of references and patterns, wherever they stand. A property that is called like a keyword holds a schema, so no text."""
    if isinstance(node, list):
        for each in node:
            yield from _places_problems(each, root, key)
    if not isinstance(node, dict):
        return
    named = key in ("properties", "patternProperties", "$defs", "dependentSchemas", "definitions")
    for name, value in node.items():
        if key == "patternProperties":
            yield from _pattern_problem(name)
        if not named:
            if name in _REFUSED:
                yield f"The schema has {name}, which is not allowed here: refer to parts of the schema by $ref: '#/$defs/NAME'."
            elif name in _REFERENCES and isinstance(value, str):
                yield from _reference_problem(value, root)
            elif name == "pattern" and isinstance(value, str):
                yield from _pattern_problem(value)
        if named or name not in ("const", "enum", "default", "examples"):
            yield from _places_problems(value, root, "" if named else name)


def _reference_problem(reference: str, root: dict[str, Any]) -> Iterator[str]:
    if reference != "#" and not reference.startswith("#/"):
        yield f"The schema refers to {_shown(reference)}, but only a part of itself can be meant, such as '#/$defs/name'."
        return
    place: Any = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if "%" in name or not isinstance(place, dict) or name not in place:
            yield f"The schema refers to {_shown(reference)}, which it does not have."
            return
        place = place[name]
    if not isinstance(place, (dict, bool)):
        yield f"The schema refers to {_shown(reference)}, which is no schema."


def _pattern_problem(pattern: str) -> Iterator[str]:
    if len(pattern) > _LONGEST_PATTERN:
        yield f"The schema has a pattern of {len(pattern)} characters, and {_LONGEST_PATTERN} are the most."
        return
    try:
        parsed = _parser().parse(pattern)
    except (re.error, RecursionError, OverflowError, ValueError):
        yield f"The schema has the pattern {_shown(pattern)}, which is no regular expression."
        return
    found = _Repeats()
    found.look(parsed, 0)
    if found.slow or found.endless > _MOST_REPEATS:
        yield (
            f"The schema has the pattern {_shown(pattern)}, which a text could make run for very long: use no repeat within "
            f"another one, no choice within a repeat, no look-around, no reference to a group, and * or + at most {_MOST_REPEATS} times."
        )


def _parser() -> Any:
    """The parser of regular expressions, which has moved with Python 3.11."""
    try:
        from re import _parser as parser  # type: ignore[attr-defined]
    except ImportError:
        import sre_parse as parser
    return parser


class _Repeats:
    """Looks through a parsed pattern for what makes matching cost more than a small power of the text's length.

    Attributes:
        endless: number of repeats that have no limit, or a high one.
        slow: whether something in it may cost exponentially much.
    """

    def __init__(self) -> None:
        self.endless = 0
        self.slow = False

    def look(self, parsed: Any, depth: int) -> None:
        """
        Args:
            parsed: a sequence of operations with their arguments.
            depth: how many repeats it stands in.
        """
        for operation, argument in parsed:
            name = str(operation)
            if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
                _least, most, repeated = argument
                # What may be there or not is no repeat.
                again = int(most) > 1
                if int(most) > _FEW:
                    self.endless += 1
                self.slow |= again and depth > 0
                self.look(repeated, depth + again)
            elif name == "SUBPATTERN":
                self.look(argument[-1], depth)
            elif name == "BRANCH":
                self.slow |= depth > 0
                for each in argument[1]:
                    self.look(each, depth)
            elif name not in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "CATEGORY", "RANGE"):
                self.slow = True


def _sentences(error: Any) -> Iterator[str]:
    """What jsonschema found, in our words and without the value."""
    where = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.absolute_path)[1:]
    within = f"{where}." if where else ""
    if error.validator == "required":
        yield from (
            f"The argument {_name(within + each)} is missing."
            for each in error.validator_value
            if each not in error.instance
        )
    elif error.validator in ("additionalProperties", "unevaluatedProperties"):
        known, patterns = error.schema.get("properties", {}), error.schema.get("patternProperties", {})
        for each in error.instance:
            if each not in known and not any(re.search(one, each[:_LONGEST_MATCHED]) for one in patterns):
                yield f"There is no argument {_name(within + each)}."
    else:
        subject = f"The argument {_name(where)}" if where else "The call"
        yield f"{subject} {_fault(error.validator, error.validator_value)}."


def _fault(keyword: str, wanted: Any) -> str:
    """The end of a sentence about a value that does not fit."""
    if keyword == "type":
        types = [wanted] if isinstance(wanted, str) else wanted
        return f"must be {' or '.join(_TYPES.get(each, each) for each in types)}"
    ends = {
        "enum": f"must be one of {_shown(wanted)}",
        "const": f"must be {_shown(wanted)}",
        "minimum": f"must be {wanted} or more",
        "maximum": f"must be {wanted} or less",
        "exclusiveMinimum": f"must be more than {wanted}",
        "exclusiveMaximum": f"must be less than {wanted}",
        "multipleOf": f"must be a multiple of {wanted}",
        "minLength": f"must have {wanted} characters or more",
        "maxLength": f"must have {wanted} characters or less",
        "minItems": f"must have {wanted} items or more",
        "maxItems": f"must have {wanted} items or less",
        "uniqueItems": "must not have an item twice",
        "minProperties": f"must have {wanted} entries or more",
        "maxProperties": f"must have {wanted} entries or less",
        "pattern": f"must match the pattern {_shown(wanted)}, and have {_LONGEST_MATCHED} characters at most",
    }
    return ends.get(keyword, f"does not fit what the schema says by {keyword}")


def _name(name: str) -> str:
    """The name of an argument, as far as it is one and not somebody's whole text."""
    return name if name.isprintable() and 0 < len(name) <= _MOST_SHOWN else _shown(name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
