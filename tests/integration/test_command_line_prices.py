"""`mission-control prices`: what is in force at a time, as the server finds it."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest
from command import run_command


def shown(database, *words, role="readonly"):
    answer = run_command(database, "prices", *words, role=role)
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stderr
    return answer.stdout


def rows(database, *words):
    return json.loads(shown(database, *words, "--json"))["prices"]


def amounts(found):
    return [(row["billing_mode"], row["above_input_tokens"], row["input_usd_per_mtok"]) for row in found]


def test_a_model_is_shown_with_all_modes_and_tiers(shared_database):
    found = rows(shared_database, "--model", "gpt-5.4", "--at", "2026-11-01")
    assert amounts(found) == [
        ("standard", 0, "2.500000"),
        ("standard", 272000, "5.000000"),
        ("batch", 0, "1.250000"),
        ("batch", 272000, "2.500000"),
        ("fast", 0, "5.000000"),
        ("flex", 0, "1.250000"),
        ("flex", 272000, "2.500000"),
        ("priority", 0, "5.000000"),
    ]


@pytest.mark.parametrize(
    ("at", "price"),
    [("2026-11-30T23:59:59Z", "2.000000"), ("2026-12-01", "4.000000"), ("2026-12-01T00:30+01:00", "2.000000")],
)
def test_a_time_is_that_of_the_price(shared_database, at, price):
    found = rows(shared_database, "--model", "gemini-4-argon", "--mode", "standard", "--at", at)
    assert [row["input_usd_per_mtok"] for row in found] == [price]


def test_names_are_found_as_the_server_finds_them(shared_database):
    """The name itself, the name that it dates, and every model of a provider."""
    application = shared_database.session("application")
    for provider, model, row in (
        ("claude", "claude-opus-5-20260301", "claude-opus-5"),
        ("openai", "gpt-5.4-2026-03-05", "gpt-5.4-2026-03-05"),
        ("ollama", "llama3.2:3b", "*"),
    ):
        found = rows(shared_database, "--provider", provider, "--model", model, "--mode", "standard")[0]
        assert found["model"] == row
        usage = application.insert("token_usage", provider=provider, model=model, input_tokens=100_000)
        assert usage["estimated_cost_usd"] == Decimal(found["input_usd_per_mtok"]) / 10


def test_the_table_is_for_people(shared_database):
    words = ("--provider", "claude", "--model", "claude-opus-5", "--mode", "standard", "--mode", "fast")
    text = shown(shared_database, *words, "--at", "2026-11-01")
    first, empty, headings, *lines = text.splitlines()
    assert first.startswith(
        "USD per 1,000,000 tokens at 2026-11-01 00:00:00Z; the collection's are those of genai-prices "
    )
    assert empty == ""
    assert re.split("  +", headings) == [
        *("provider", "model", "mode"),
        *("input", "output", "cache read", "cache write 5m", "cache write 1h"),
    ]
    assert [line.split() for line in lines] == [
        ["claude", "claude-opus-5", "and", "dated", "standard", "5", "25", "0.5", "6.25", "10"],
        ["claude", "claude-opus-5", "and", "dated", "fast", "10", "50", "1", "12.5", "20"],
    ]


def test_csv_has_every_price(shared_database):
    listed = list(csv.DictReader(io.StringIO(shown(shared_database, "--csv", "--at", "2026-11-01"))))
    count = shared_database.session("readonly").value(
        "SELECT count(*) FROM provider_pricing WHERE valid_from <= '2026-11-01Z' AND (valid_to IS NULL OR valid_to > '2026-11-01Z')"
    )
    assert len(listed) == count > 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "gpt-5.44"], "There is no price of the model 'gpt-5.44' now; did you mean 'gpt-5.4'?"),
        (["--provider", "opnai"], "There is no price of the provider 'opnai' now; did you mean 'openai'?"),
        (
            ["--provider", "anthropic"],
            "There is no price of the provider 'anthropic' now; there are those of claude, gemini, github-models, ollama, openai.",
        ),
        (["--model", "gpt-5", "--mode", "free"], "There is no price of that kind now."),
        (["--model", "gpt-5", "--at", "1969-01-01"], "There is no price of the model 'gpt-5' on 1969-01-01."),
    ],
)
def test_what_has_no_price_is_said_and_1(shared_database, words, sentence):
    answer = run_command(shared_database, "prices", *words, role="readonly")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"mission-control: {sentence}\n"


@pytest.mark.parametrize("words", [["--at", "yesterday"], ["--mode", "cheap"]])
def test_wrong_usage_is_a_sentence_and_2(shared_database, words):
    answer = run_command(shared_database, "prices", *words)
    assert answer.returncode == 2
    assert words[1] in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
