"""Query parameters and cursors: what is taken, and that nothing else passes."""

import datetime
import json
import uuid
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mission_control_service.pagination import decode_cursor, encode_cursor
from mission_control_service.parameters import Parameter, read_parameters
from mission_control_service.problems import ProblemError
from werkzeug.datastructures import MultiDict

UTC = datetime.timezone.utc
ID = uuid.UUID("6f1f9a63-3f1c-4a39-8b8e-0a4c1f6f3d55")
NUMBER = Parameter("n", "", "integer", least=1, most=1000, default=100)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "a b", "a b"),
        ("uuid", str(ID).upper(), ID),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("date", "2026-02-28", datetime.date(2026, 2, 28)),
        ("date-time", "2026-02-06T12:00:00Z", datetime.datetime(2026, 2, 6, 12, tzinfo=UTC)),
        ("date-time", "2026-02-06t13:00:00.5+01:00", datetime.datetime(2026, 2, 6, 12, 0, 0, 500000, tzinfo=UTC)),
        ("date-time", "2026-02-06T12:00:00+23:30", datetime.datetime(2026, 2, 5, 12, 30, tzinfo=UTC)),
        ("date-time", "0001-01-01T00:00:00+16:00", datetime.datetime.min.replace(tzinfo=UTC)),
        ("date-time", "9999-12-31T23:59:00-16:00", datetime.datetime.max.replace(tzinfo=UTC)),
        ("date-time", "2026-02-06T12:00:00.123456789z", datetime.datetime(2026, 2, 6, 12, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_a_good_value_is_read(kind, text, value):
    assert Parameter("p", "", kind).parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text", ""),
        ("text", "a\0b"),
        ("text", "x" * 201),
        ("uuid", "6f1f9a63"),
        ("uuid", "{" + str(ID) + "}"),
        ("boolean", "1"),
        ("boolean", "True"),
        ("date", "2026-02-30"),
        ("date", "20260228"),
        ("date-time", "2026-02-06T12:00:00"),
        ("date-time", "2026-02-06 12:00:00Z"),
        ("date-time", "2026-02-06T25:00:00Z"),
        ("date-time", "2026-02-06T12:00:00+99:99"),
    ],
)
def test_a_wrong_value_is_a_400_that_names_the_parameter(kind, text):
    with pytest.raises(ProblemError, match="The parameter p must be") as caught:
        Parameter("p", "", kind).parse(text)
    assert (caught.value.status, caught.value.parameter) == (400, "p")


@pytest.mark.parametrize("text", ["0", "1001", "-1", "1.0", "1e2", "٣", " 5", "", "9" * 30])
def test_a_number_out_of_range_is_a_400(text):
    with pytest.raises(ProblemError, match="from 1 to 1000"):
        NUMBER.parse(text)


def test_unknown_and_repeated_parameters_are_a_400():
    assert read_parameters(MultiDict(), (NUMBER,)) == {"n": 100}
    assert read_parameters(MultiDict([("n", "7")]), (NUMBER,)) == {"n": 7}
    with pytest.raises(ProblemError, match="no such parameter; known here: n"):
        read_parameters(MultiDict([("m", "7")]), (NUMBER,))
    with pytest.raises(ProblemError, match="given twice"):
        read_parameters(MultiDict([("n", "7"), ("n", "7")]), (NUMBER,))


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_gives_back_what_went_into_it(time, identifier):
    cursor = encode_cursor("/tasks", [time, identifier])
    assert decode_cursor(cursor, "/tasks", ("date-time", "uuid")) == [time, identifier]


@given(st.text(alphabet=st.characters(exclude_categories=("C", "Z"))), st.integers(-(2**63) + 1, 2**63 - 1))
def test_text_and_numbers_survive_a_cursor(name, number):
    cursor = encode_cursor("/x", [name, number])
    assert decode_cursor(cursor, "/x", ("text", "integer")) == [name, number]


def cursor_of(content):
    return urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%%%%",
        "ä",
        cursor_of({}),
        cursor_of(["/hosts", str(ID)]),
        cursor_of(["/tasks"]),
        cursor_of(["/tasks", "no uuid"]),
        cursor_of(["/tasks", 5]),
        cursor_of(["/tasks", None]),
        cursor_of(["/tasks", str(ID), 1]),
        urlsafe_b64encode(b"[" * 700).decode(),
    ],
)
def test_any_other_cursor_is_a_400(cursor):
    with pytest.raises(ProblemError, match="not one that this list has given") as caught:
        decode_cursor(cursor, "/tasks", ("uuid",))
    assert caught.value.status == 400


@pytest.mark.parametrize("number", [True, 2**63, 1.5, "1"])
def test_a_number_that_no_bigint_holds_is_a_400(number):
    with pytest.raises(ProblemError):
        decode_cursor(cursor_of(["/events", number]), "/events", ("integer",))


@given(st.text(max_size=300))
def test_no_text_makes_a_cursor_fail_otherwise(text):
    with pytest.raises(ProblemError):
        decode_cursor(text, "/tasks", ("uuid",))
