"""Values of PostgreSQL as JSON, from the text in which a server sends them."""

import base64
import json
import re

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.query.json_values import SCALARS, array_convert
from hypothesis import given
from hypothesis import strategies as st

TIMESTAMP, TIME_WITH_ZONE, BYTES, JSON, FLOAT, TEXT, INTEGER = 1184, 1266, 17, 3802, 701, 25, 23
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def element(value):
    """An element of an array as array_out writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "{" + ",".join(element(each) for each in value) + "}"
    text = str(value)
    if text and text.upper() != "NULL" and not re.search(r'[{}",;\\\s]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.none() | TEXTS))
def test_arrays_of_texts(values):
    assert array_convert(TEXT)(element(values)) == values


@given(st.lists(st.lists(st.none() | st.integers(), min_size=2, max_size=2), min_size=1))
def test_arrays_of_several_dimensions_and_converted_elements(values):
    assert array_convert(INTEGER)(element(values)) == values


def test_bounds_of_an_array_are_left_out():
    assert array_convert(INTEGER)("[0:1][-3:-2]={{1,2},{3,NULL}}") == [[1, 2], [3, None]]


def test_boxes_are_separated_by_semicolons():
    assert array_convert(603, ";")("{(1,1),(0,0);(3,3),(2,2)}") == ["(1,1),(0,0)", "(3,3),(2,2)"]


@given(st.binary())
def test_bytes_are_base64(value):
    assert base64.b64decode(SCALARS[BYTES]("\\x" + value.hex())) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-06 07:08:09.123456+00", "2026-02-06T07:08:09.123456+00:00"),
        ("2026-02-06 07:08:09-03:30", "2026-02-06T07:08:09-03:30"),
        ("2026-02-06 07:08:09", "2026-02-06T07:08:09"),
        ("12026-02-06 07:08:09+00", "12026-02-06T07:08:09+00:00"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
        ("1890-01-01 00:00:00+00:53:28", "1890-01-01 00:00:00+00:53:28"),
    ],
)
def test_timestamps_are_iso_8601_where_it_can_hold_them(text, expected):
    assert SCALARS[TIMESTAMP](text) == expected


def test_a_time_with_an_offset():
    assert SCALARS[TIME_WITH_ZONE]("07:08:09.5+02") == "07:08:09.5+02:00"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_numbers(value):
    assert SCALARS[FLOAT](repr(value)) == value


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_stays_text(text):
    assert SCALARS[FLOAT](text) == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner)))
def test_json_is_what_it_holds(value):
    assert SCALARS[JSON](json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", 0.1),
        ("1.50", 1.5),
        ("0.12345678901234567891", "0.12345678901234567891"),
        ("1" * 400 + ".5", "1" * 400 + ".5"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_numbers_within_json_lose_no_digit(text, expected):
    assert SCALARS[JSON](f'{{"a": {text}}}') == {"a": expected}


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_within_json_is_a_number_or_its_own_text(value):
    text = f"{value:f}"
    shown = SCALARS[JSON](text)
    assert str(shown) == text or float(shown) == float(value)
