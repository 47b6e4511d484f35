"""What becomes of a call's result before it is stored: secrets, what the database cannot hold, size."""

from __future__ import annotations

import base64
import datetime
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mission_control.tools.connectors.docker import text_of_log
from mission_control.tools.results import HIDDEN, presentable, presentable_text

TOKEN = "k8s-Vq83Hs+kd/9Q=Zt"
KEY = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\nq83HskdQ9ZtVq83HskdQ9ZtVq83HskdQ9Zt\n-----END PRIVATE KEY-----\n"
KUBECONFIG = json.dumps(
    {
        "kind": "Config",
        "clusters": [
            {
                "name": "home",
                "cluster": {"server": "https://k8s:6443", "certificate-authority-data": "Q0VSVElGSUNBVEU="},
            }
        ],
        "users": [
            {"name": "admin", "user": {"token": TOKEN, "client-key-data": base64.b64encode(KEY.encode()).decode()}}
        ],
    }
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.decimals() | st.datetimes(),
    lambda each: st.lists(each, max_size=5) | st.dictionaries(st.text(max_size=10), each, max_size=5),
    max_leaves=30,
)


def log_of(text, secrets=None, most=100_000):
    return presentable({"log": text}, {"token": TOKEN} if secrets is None else secrets, most)["log"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a {TOKEN} b", "a *** b"),
        (f"curl -H 'Authorization: Bearer {TOKEN}'", "curl -H 'Authorization: ***"),
        (base64.b64encode(f"user:{TOKEN}!".encode()).decode(), None),
        (f"{TOKEN[:9]}\n{TOKEN[9:]}", HIDDEN),
        ('{"token": "abcdefgh", "pod": "web-7d9f8b6c5-x2x9z"}', '{"token": ***, "pod": "web-7d9f8b6c5-x2x9z"}'),
        ("pod web-7d9f8b6c5-x2x9z is ready", "pod web-7d9f8b6c5-x2x9z is ready"),
        ("postgresql://app:hunter2@db/x", "postgresql://***@db/x"),
        ("AKIAIOSFODNN7EXAMPLE was used", "*** was used"),
        ("password=hunter2\nnext", "password=***\nnext"),
        ("Token of.abcdef, token is-a-word, bearer tokens", "Token ***, token ***, bearer ***"),
        (
            "the token of lab is expired: give a token, or no token.",
            "the token of lab is expired: give a token, or no token.",
        ),
        (KEY + "after", "***\nafter"),
        ("q83HskdQ9ZtVq83HskdQ9Zt\n-----END PRIVATE KEY-----\nafter", "***\nafter"),
    ],
)
def test_secrets_are_masked(text, shown):
    masked = log_of(text)
    assert TOKEN not in masked
    if shown is not None:
        assert masked == shown
    else:
        assert "***" in masked


def test_of_a_kubeconfig_what_is_secret_is_masked_and_the_rest_is_not():
    secrets = {"kubeconfig": KUBECONFIG}
    assert log_of(f"Config home admin https://k8s:6443 {TOKEN}", secrets) == "Config home admin https://k8s:6443 ***"
    body = "".join(KEY.splitlines()[1:-1])
    assert log_of(f"key {KEY.splitlines()[1]} end", secrets) == "key *** end"
    assert body not in log_of(KEY, secrets)
    assert log_of(base64.b64encode(KEY.encode()).decode(), secrets) == "***"


def test_names_of_things_stay_and_values_of_secret_names_do_not():
    result = {
        "containers": [{"name": "vault", "image": "hashicorp/vault:1.13", "id": "0f3c2a9b1d4e"}],
        "labels": {"api_key": "abc", "app": "x"},
    }
    masked = presentable(result, {}, 10_000)
    assert masked == {**result, "labels": {"api_key": "***", "app": "x"}}


def test_what_the_database_cannot_hold_is_replaced_and_values_get_a_form():
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    result = {
        "log": "a\0b\ud800",
        "at": now,
        "cost": Decimal("0.10"),
        "cores": Decimal(2),
        "ratio": float("nan"),
        "tuple": (1,),
    }
    assert presentable(result, {}, 10_000) == {
        "log": "a\ufffdb\ufffd",
        "at": "2026-01-02T00:00:00+00:00",
        "cost": "0.10",
        "cores": 2,
        "ratio": "nan",
        "tuple": [1],
    }


@settings(deadline=None)
@given(result=st.dictionaries(st.text(max_size=10), JSON, max_size=4), most=st.integers(1024, 4096))
def test_any_result_fits_and_can_be_stored(result, most):
    made = presentable(result, {"token": TOKEN}, most)
    text = json.dumps(made, ensure_ascii=False, allow_nan=False)
    assert len(text.encode()) <= most
    assert "\\u0000" not in text


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=200, max_size=300), st.integers(1024, 4096))
def test_of_a_long_log_the_last_lines_stay(lines, most):
    text = "\n".join(lines)
    made = presentable({"log": text}, {}, most)
    assert len(json.dumps(made, ensure_ascii=False).encode()) <= most
    assert (
        made["log"] == ""
        or made["log"][-1] == presentable({"log": text[-1]}, {}, 1024)["log"][-1]
        or "***" in made["log"]
    )


def test_an_error_is_masked_and_bounded():
    assert (
        presentable_text(f"The server said {TOKEN}." + "x" * 5000, {"token": TOKEN}, 30)
        == "The server said ***.xxxxxxxxxx"
    )


def frame(text, stream=1):
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@settings(deadline=None)
@given(
    parts=st.lists(st.tuples(st.binary(max_size=40), st.sampled_from((1, 2))), max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_frames_of_a_log_are_put_together_wherever_they_are_cut(parts, cuts):
    whole = b"".join(frame(*part) for part in parts)
    places = sorted({0, *(each for each in cuts if each < len(whole)), len(whole)})
    chunks = [whole[begin:end] for begin, end in zip(places, places[1:])]
    expected = b"".join(text for text, _stream in parts)
    assert text_of_log(chunks, 1000) == (expected.decode("utf-8", "replace"), True)
    assert text_of_log(chunks, 10)[0] == expected[-10:].decode("utf-8", "replace")


@given(st.text(max_size=100))
def test_the_log_of_a_terminal_is_what_it_is(text):
    if not text.startswith(("\0", "\1", "\2")):
        assert text_of_log([text.encode("utf-8", "replace")], 1000)[0] == text.encode("utf-8", "replace").decode()
