"""Rows become model instances, and inputs become INSERT statements, without a server."""

import dataclasses
import pickle
from datetime import datetime, timezone
from decimal import Decimal
from typing import Optional
from uuid import UUID, uuid4

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils import models

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
TASK = {
    "id": uuid4(),
    "title": "Restart Plex",
    "description": None,
    "created_by": "system",
    "is_template": False,
    "parameters": {"service": "plex"},
    "template_id": None,
    "created_at": NOW,
    "updated_at": NOW,
    "playbook": None,
}


class RecordingSession:
    """Keeps the statement, and answers with one row."""

    def __init__(self, row):
        self.row = row

    def query_one(self, sql, params=None):
        self.sql, self.params = sql, params
        return self.row


@dataclasses.dataclass(frozen=True)
class Pair:
    key: UUID
    data: Optional[bytes]


def test_a_row_becomes_an_instance():
    task = models.from_row(models.Task, TASK)
    assert dataclasses.asdict(task) == TASK
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.title = "Stop Plex"


def test_columns_may_come_in_any_order_and_with_others_between():
    columns = [*reversed(TASK), "rank"]
    make = models.row_maker(models.Task, columns)
    assert make([*reversed(TASK.values()), 7]) == models.from_row(models.Task, TASK)


def test_a_uuid_may_come_as_text_and_bytes_as_a_view():
    key = uuid4()
    make = models.row_maker(Pair, ["key", "data"])
    assert make([str(key), memoryview(b"abc")]) == Pair(key, b"abc")
    assert make([key, None]) == Pair(key, None)


def test_a_class_with_one_field_is_made_too():
    name = dataclasses.make_dataclass("Name", [("name", str)])
    assert models.row_maker(name, ["name"])(["plex"]).name == "plex"
    assert models.row_maker(name, ["id", "name"])([1, "plex"]).name == "plex"


@pytest.mark.parametrize(
    ("model", "columns", "sentence"),
    [
        (
            models.Task,
            [name for name in TASK if name != "title"],
            "Task needs the column title, which the query does not return.",
        ),
        (models.Task, [*TASK, "title"], "Task needs one column title, but the query returns 2."),
        (dict, ["title"], "dict is not a dataclass: rows cannot be made into it."),
    ],
)
def test_a_query_that_does_not_fit_is_named(model, columns, sentence):
    with pytest.raises(models.ModelError) as error:
        models.row_maker(model, columns)
    assert str(error.value) == sentence


def test_only_what_is_given_is_inserted():
    session = RecordingSession(TASK)
    stored = models.insert(session, models.CreateTask(title="Restart Plex", created_by="system"))
    assert stored == models.from_row(models.Task, TASK)
    assert session.sql.startswith(
        'INSERT INTO "tasks" ("title", "created_by") VALUES (%s, %s) RETURNING "id", "title",'
    )
    assert session.params == ["Restart Plex", "system"]


def test_none_is_null_and_not_the_default():
    session = RecordingSession(TASK)
    models.insert(session, models.CreateTask(title="t", created_by="me", description=None))
    assert '("title", "created_by", "description")' in session.sql
    assert session.params == ["t", "me", None]


def test_parameters_are_made_as_the_driver_takes_them():
    session = RecordingSession(TASK)
    template = uuid4()
    models.insert(session, models.CreateTask("t", "me", parameters={"a": [1, "ü"]}, template_id=template))
    json_parameter, uuid_parameter = session.params[2:]
    assert json_parameter.adapted == {"a": [1, "ü"]}
    assert uuid_parameter == str(template)


def test_a_list_for_a_jsonb_column_is_json_and_for_an_array_a_list():
    session = RecordingSession(None)
    with pytest.raises(models.ModelError, match="kept the new row out of llm_requests"):
        models.insert(session, models.CreateLlmRequest("openai", "gpt-4o", messages=[{"role": "user"}]))
    assert session.params[2].adapted == [{"role": "user"}]
    with pytest.raises(models.ModelError):
        models.insert(session, models.CreatePlaybookRun(UUID(int=0), "nas", "sven", False, "2.21.5", tags=["web"]))
    assert session.params[-1] == ["web"]


def test_a_time_without_a_zone_is_refused():
    naive = datetime(2026, 1, 1)
    with pytest.raises(models.ModelError, match="has no time zone"):
        models.insert(RecordingSession(None), models.CreateHost("pve1", "proxmox-node", last_seen_at=naive))


def test_not_given_stays_itself_when_an_input_is_copied():
    new = models.CreateHost("pve1", "proxmox-node", cpu_cores=Decimal("0.5"))
    copy = pickle.loads(pickle.dumps(new))
    assert copy == new
    assert copy.os is models.NOT_GIVEN
    assert repr(copy.os) == "NOT_GIVEN"
