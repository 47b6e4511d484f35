"""The models are what the tables are: columns, order, types, NULL, defaults and lists of words."""

import dataclasses
import typing
from datetime import datetime
from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils import models
from ansible_collections.homelab.mission_control.plugins.module_utils.models import enums
from ansible_collections.homelab.mission_control.plugins.module_utils.models.base import NOT_GIVEN
from model_comparison import INPUTS, STORED, Table, input_differences, model_differences

# The links of the audit chain, the bookkeeping of runner and backups, the sums behind a view and the hashes of tokens are nobody's to read or
# write row by row.
WITHOUT_MODEL = {"audit_links", "audit_head", "schema_repeatables", "schema_objects", "backup_runs"} | {
    "token_usage_rollup",
    "token_usage_days",
    "token_usage_changes",
    "tool_call_days",
    "tool_call_changes",
    "tool_tokens",
}
WITHOUT_INPUT = {"schema_migrations", "price_lists", "tool_definitions", "tool_call_records", "policies"}


@pytest.fixture(scope="module")
def catalogue(shared_database):
    return shared_database.session("admin")


def test_every_table_and_view_has_a_model(catalogue):
    relations = catalogue.rows(
        "SELECT relname::text AS name, relkind::text AS kind FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
    )
    kinds = {row["name"]: row["kind"] for row in relations if row["name"] not in WITHOUT_MODEL}
    stored = {model.__table__: model for model in STORED}
    assert len(stored) == len(STORED)
    assert set(stored) == set(kinds)
    inputs = [(new.__table__, new.__model__) for new in INPUTS]
    assert sorted(inputs, key=str) == sorted(
        ((name, model) for name, model in stored.items() if kinds[name] != "v" and name not in WITHOUT_INPUT), key=str
    )


@pytest.mark.parametrize("model", STORED, ids=lambda model: model.__name__)
def test_a_model_is_what_its_table_is(catalogue, model):
    assert model_differences(Table(catalogue, model.__table__), model) == []


@pytest.mark.parametrize("new", INPUTS, ids=lambda new: new.__name__)
def test_an_input_takes_what_a_caller_may_set(catalogue, new):
    assert input_differences(Table(catalogue, new.__table__), new) == []


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("ALTER TABLE hosts ADD COLUMN rack text", "the model has"),
        ("ALTER TABLE hosts ADD COLUMN rack text", "CreateHost.rack: missing"),
        ("ALTER TABLE hosts DROP COLUMN os CASCADE", "the model has"),
        ("ALTER TABLE hosts RENAME COLUMN os TO system", "CreateHost.system: missing"),
        ("ALTER TABLE hosts ALTER COLUMN cpu_cores TYPE bigint", "Host.cpu_cores: the type is"),
        ("ALTER TABLE hosts ALTER COLUMN address SET NOT NULL", "Host.address: the column is NOT NULL"),
        ("ALTER TABLE hosts ALTER COLUMN name DROP NOT NULL", "Host.name: the column is nullable"),
        ("ALTER TABLE hosts ALTER COLUMN status DROP DEFAULT", "CreateHost.status: required by the table"),
        ("ALTER TABLE hosts ALTER COLUMN name SET DEFAULT 'x'", "CreateHost.name: not required by the table"),
        (
            "ALTER TABLE hosts DROP CONSTRAINT ck_hosts_status, ADD CHECK (status IN ('online', 'offline'))",
            "Host.status: the words are",
        ),
        ("ALTER TABLE hosts DROP CONSTRAINT ck_hosts_status", "the CHECK has None"),
        ("ALTER TABLE hosts ADD CHECK (os IN ('linux', 'bsd'))", "Host.os: the words are None"),
        ("ALTER TABLE hosts DROP CONSTRAINT ck_hosts_labels", "Host.labels: the type is"),
        ("REVOKE INSERT ON hosts FROM mission_control", "CreateHost.name: nothing that a caller sets"),
    ],
)
def test_a_change_of_the_table_is_noticed(catalogue, statement, sentence):
    catalogue.run("BEGIN")
    try:
        catalogue.run(statement)
        table = Table(catalogue, "hosts")
    finally:
        catalogue.run("ROLLBACK")
    found = model_differences(table, models.Host) + input_differences(table, models.CreateHost)
    assert any(sentence in difference for difference in found), found


def _changed(model, **changes):
    """A copy of a dataclass with other types, in the same order; None removes a field."""
    hints = {**typing.get_type_hints(model), **changes}
    return dataclasses.make_dataclass(
        model.__name__,
        [
            (field.name, hints[field.name], dataclasses.field(default=field.default))
            for field in dataclasses.fields(model)
            if hints[field.name] is not None
        ],
        frozen=True,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_bytes": typing.Optional[Decimal]},
        {"memory_bytes": int},
        {"last_seen_at": typing.Optional[str]},
        {"created_at": typing.Optional[datetime]},
        {"status": str},
        {"status": typing.Literal["online", "offline", "degraded"]},
        {"status": typing.Literal["online", "offline", "degraded", "unknown", "asleep"]},
        {"labels": enums.JsonValue},
        {"os": None},
    ],
)
def test_a_change_of_a_model_is_noticed(catalogue, changes):
    assert model_differences(Table(catalogue, "hosts"), _changed(models.Host)) == []
    assert model_differences(Table(catalogue, "hosts"), _changed(models.Host, **changes)) != []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": typing.Union[str, type(NOT_GIVEN)]},
        {"os": typing.Optional[str]},
        {"os": typing.Union[str, type(NOT_GIVEN)]},
        {"status": typing.Union[str, type(NOT_GIVEN)]},
        {"os": None},
    ],
)
def test_a_change_of_an_input_is_noticed(catalogue, changes):
    assert input_differences(Table(catalogue, "hosts"), _changed(models.CreateHost)) == []
    assert input_differences(Table(catalogue, "hosts"), _changed(models.CreateHost, **changes)) != []
