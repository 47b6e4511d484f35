"""Compare the library's models with the catalogue of a live database; each difference is a sentence."""

import re
import typing
from dataclasses import MISSING, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from ansible_collections.homelab.mission_control.plugins.module_utils import models
from ansible_collections.homelab.mission_control.plugins.module_utils.models import enums
from ansible_collections.homelab.mission_control.plugins.module_utils.models.base import Create, Model, NotGiven

COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, a.attnotnull AS not_null,
        a.atthasdef OR a.attidentity <> '' AS has_default,
        a.attgenerated <> '' OR a.attidentity <> '' AS generated,
        has_column_privilege('mission_control', a.attrelid, a.attnum, 'INSERT') AS insertable,
        c.relkind::text AS kind
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
CHECKS = """
    SELECT a.attname AS name, pg_get_constraintdef(c.oid) AS definition
    FROM pg_constraint AS c
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.conrelid = to_regclass(%s) AND c.contype = 'c' AND cardinality(c.conkey) = 1
"""
PYTHON_TYPES = {
    "uuid": UUID,
    "text": str,
    "name": str,
    "inet": str,
    "bigint": int,
    "integer": int,
    "boolean": bool,
    "numeric": Decimal,
    "timestamp with time zone": datetime,
    "bytea": bytes,
    "date": date,
    "interval": timedelta,
    "text[]": list[str],
}
LIST_OF_WORDS = re.compile(r"^CHECK \(\(\w+ (?:= ANY|<@) \(?ARRAY\[([^]]*)\]\)?\)\)$")

# What a caller does not set, although its column could be written.
LEFT_TO_THE_SERVER = {"id", "created_at", "updated_at", "recorded_at"}
LEFT_OUT = {
    "task_events": {"payload_blanked_at"},
    "llm_requests": {"bodies_pruned_at"},
    "llm_responses": {"bodies_pruned_at"},
    "token_usage": {"price_id", "subscription_value_usd"},
    "provider_pricing": {"origin"},
}


def exported(base):
    """The classes of this kind that the library exports."""
    classes = [value for name in models.__all__ if isinstance(value := getattr(models, name), type)]
    return [each for each in classes if issubclass(each, base) and each is not base]


STORED, INPUTS = exported(Model), exported(Create)


class Table:
    """What the catalogue says about a table or view."""

    def __init__(self, session, name):
        self.name = name
        self.columns = {row["name"]: row for row in session.rows(COLUMNS, name)}
        self.words = {}
        self.objects = set()
        self.problems = []
        for row in session.rows(CHECKS, name):
            words = LIST_OF_WORDS.match(row["definition"])
            if words:
                self.words[row["name"]] = re.findall(r"'([^']*)'::text", words.group(1))
            elif "ARRAY[" in row["definition"]:
                self.problems.append(
                    f"{name}.{row['name']}: a list of words that is not understood: {row['definition']}"
                )
            if f"jsonb_typeof({row['name']}) = 'object'" in row["definition"]:
                self.objects.add(row["name"])

    @property
    def is_view(self):
        return any(column["kind"] == "v" for column in self.columns.values())

    def python_type(self, column):
        """The type a model has to give the column, without NULL and without its words."""
        type_name = self.columns[column]["type"]
        if type_name == "jsonb":
            return enums.JsonObject if column in self.objects else enums.JsonValue
        return PYTHON_TYPES.get(type_name, f"no Python type for {type_name}")


def model_differences(table, model):
    """How a model of stored rows differs from its table."""
    found = list(table.problems)
    hints = typing.get_type_hints(model)
    names = [field.name for field in fields(model)]
    if names != list(table.columns):
        found.append(f"{table.name}: the columns are {list(table.columns)}, the model has {names}")
    for name in names:
        if name in table.columns:
            found += _type_differences(table, name, hints[name], model.__name__)
    return found


def input_differences(table, model):
    """How an input differs from what a caller may, and must, set in its table."""
    found = []
    hints = typing.get_type_hints(model)
    left_out = LEFT_TO_THE_SERVER | LEFT_OUT.get(table.name, set())
    wanted = set()
    for name, column in table.columns.items():
        if name in left_out or column["generated"] or not column["insertable"]:
            continue
        wanted.add(name)
    given = {field.name: field for field in fields(model)}
    for name in sorted(wanted ^ set(given)):
        found.append(f"{model.__name__}.{name}: {'missing' if name in wanted else 'nothing that a caller sets'}")
    for name in sorted(wanted & set(given)):
        column = table.columns[name]
        required = column["not_null"] and not column["has_default"]
        if required != (given[name].default is MISSING):
            found.append(f"{model.__name__}.{name}: {'required' if required else 'not required'} by the table")
        if required == (NotGiven in typing.get_args(hints[name])):
            found.append(
                f"{model.__name__}.{name}: its type {'allows' if required else 'forbids'} that it is not given"
            )
        found += _type_differences(table, name, hints[name], model.__name__)
    return found


def _type_differences(table, name, hint, label):
    where = f"{label}.{name}"
    plain, nullable, words, open_ended = _understand(hint)
    found = []
    if plain != table.python_type(name):
        found.append(f"{where}: the type is {plain}, the column's {table.python_type(name)}")
    # A view's columns may all be NULL as far as the catalogue knows.
    if not table.is_view and nullable == table.columns[name]["not_null"]:
        found.append(f"{where}: the column is {'NOT NULL' if nullable else 'nullable'}")
    known = table.words.get(name)
    if not table.is_view and not open_ended and words != known:
        found.append(f"{where}: the words are {words}, the CHECK has {known}")
    return found


def _understand(hint):
    """A type hint as (type without NULL and words, whether it may be None, its words, whether others are allowed)."""
    parts = [part for part in _parts(hint) if part is not NotGiven]
    nullable = type(None) in parts
    parts = [part for part in parts if part is not type(None)]
    words = [word for part in parts if typing.get_origin(part) is typing.Literal for word in typing.get_args(part)]
    if len(parts) > 1 and words and str in parts:
        return str, nullable, None, True
    if words:
        return str, nullable, words, False
    if len(parts) > 1:
        return typing.Union[tuple(parts)], nullable, None, False
    (part,) = parts
    if typing.get_origin(part) is list:
        (item,) = typing.get_args(part)
        if typing.get_origin(item) is typing.Literal:
            return list[str], nullable, list(typing.get_args(item)), False
    return part, nullable, None, False


def _parts(hint):
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
