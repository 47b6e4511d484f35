"""Bodies in the form in which they are stored."""

import json
from dataclasses import dataclass

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.ledger.content import (
    MOST_CHARACTERS,
    MOST_JSON_CHARACTERS,
    as_json,
    stored_json,
    stored_text,
)


@dataclass
class Block:
    type: str
    text: str


class SdkObject:
    def model_dump(self):
        return {"type": "text", "text": "hello"}


@pytest.mark.parametrize("body", ["text", {"key": "text"}, [1], SdkObject(), 7, None])
def test_none_stores_nothing(body):
    assert stored_json(body, "none") is None
    assert stored_text(body, "none") is None


def test_objects_of_sdks_are_what_they_hold():
    assert as_json([SdkObject(), Block("text", "hello")]) == [{"type": "text", "text": "hello"}] * 2


def test_a_text_that_is_none_is_stored_as_its_json():
    assert stored_text([SdkObject()], "full") == '[{"type": "text", "text": "hello"}]'


def test_a_long_text_keeps_its_start():
    assert stored_text("x" * MOST_CHARACTERS, "truncated") == "x" * MOST_CHARACTERS
    assert (
        stored_text("x" * MOST_CHARACTERS + "yz", "truncated") == "x" * MOST_CHARACTERS + " ... 2 characters left out"
    )


def test_a_long_list_keeps_both_ends():
    assert stored_json(list(range(20)), "truncated") == list(range(20))
    kept = stored_json(list(range(100)), "truncated")
    assert kept == [0, 1, "... 80 items left out ...", *range(82, 100)]


@pytest.mark.parametrize(
    "body",
    [
        {str(number): "x" * 100 for number in range(10_000)},
        [["x" * 1000] * 20] * 20,
    ],
)
def test_what_is_truncated_is_small_whatever_its_shape(body):
    kept = stored_json(body, "truncated")
    assert len(json.dumps(kept)) <= MOST_JSON_CHARACTERS
    assert kept["characters"] > MOST_JSON_CHARACTERS
    assert stored_json(body, "full") == body


def test_a_body_that_holds_itself_ends():
    body = []
    body.append(body)
    assert "..." in json.dumps(stored_json(body, "full"))
