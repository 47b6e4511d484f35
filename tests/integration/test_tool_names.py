"""Names, schemas and arguments of every sort against the functions that take them: they answer with rows or one sentence, and never fail otherwise."""

import json
import string

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# What PostgreSQL takes as text: no NUL, no lone surrogates.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    [
        "look",
        "LOOK",
        "",
        " ",
        "'; DROP TABLE policies; --",
        "$1",
        "%s",
        "\\",
        "*",
        "\u202e",
        "x" * 9000,
        "tool_call.approve",
    ]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([10**400, 10**2000, -0.0])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT | st.sampled_from(["grace", "name"]), JSON, max_size=4)
DEEP = st.integers(1, 3000).map(lambda depth: "[" * depth + "]" * depth)
ARGUMENTS = OBJECTS.map(json.dumps) | JSON.map(json.dumps) | DEEP | DEEP.map(lambda deep: '{"name": ' + deep + "}")
# What an error of these functions may be: a value that they name with the tool or the policy, or one over the limits of its table.
SENTENCES = {"22023", "23514"}
KEYS = ["name", "description", "arguments_schema", "risk_level", "connector", "operation", "preset", "timeout_seconds", "output_limit_bytes",
        "approval_seconds", "version", "enabled"]  # fmt: skip
TOOLS = st.fixed_dictionaries(
    {"name": TEXT, "risk_level": st.sampled_from(["READ_ONLY", "SAFE_MUTATE", "DESTRUCTIVE"]) | JSON},
    optional={key: JSON for key in KEYS if key not in ("name", "risk_level")},
)
POLICIES = st.fixed_dictionaries(
    {"name": TEXT, "effect": st.sampled_from(["allow", "deny", "require_approval"]) | JSON},
    optional={
        "tools": st.lists(TEXT, max_size=3) | JSON,
        "risk_levels": st.lists(st.sampled_from(["READ_ONLY", "DESTRUCTIVE"]), max_size=2) | JSON,
        "conditions": st.dictionaries(
            st.sampled_from(["arguments", "arguments_in", "callers", "hours"]), JSON, max_size=3
        )
        | JSON,
        "priority": NUMBERS | JSON,
        "enabled": JSON,
        "description": JSON,
    },
)
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def asked(tool_field):
    """A run, and a session of the application whose open calls do not pile up: each example is rolled back."""
    return tool_field.new_run(), tool_field.session("application")


@QUICK
@given(tool=TEXT, arguments=ARGUMENTS, key=st.none() | TEXT, token=st.none() | TEXT)
def test_a_request_is_answered(asked, tool, arguments, key, token):
    run, application = asked
    application.run("BEGIN")
    try:
        row = application.row(
            "SELECT * FROM request_tool_call(%s, %s, %s::jsonb, %s, %s)", run, tool, arguments, key, token
        )
        assert row["status"] in ("pending", "approved", "denied")
        assert row["status"] == "denied" or (row["call_id"] and tool in ("look", "restart"))
        assert row["reason"]
        decision = application.row("SELECT * FROM tool_policy_decision(%s, %s::jsonb, %s)", tool, arguments, token)
        assert decision["effect"] in ("allow", "require_approval", "deny")
    except psycopg2.Error as error:
        # What is no jsonb is none of the functions' business.
        assert error.pgcode in ("54001", "22P05", "22P02"), error  # noqa: PT017
    finally:
        application.run("ROLLBACK")


@QUICK
@given(call=TEXT, word=TEXT, reason=st.none() | TEXT, token=TEXT)
def test_a_decision_is_answered(tool_field, call, word, reason, token):
    service = tool_field.session("service")
    row = service.row("SELECT * FROM decide_tool_call(gen_random_uuid(), %s, %s, %s)", word, reason, token)
    assert row["accepted"] is False
    assert row["reason"]
    assert service.value("SELECT tool_token_name(%s)", token) is None


@QUICK
@given(tools=st.lists(TOOLS, max_size=3))
def test_tools_are_applied_or_refused_in_a_sentence(tool_field, tools):
    assert _applied(tool_field, "SELECT apply_tools('[]'::jsonb, %s::jsonb)", tools)


@QUICK
@given(policies=st.lists(POLICIES, max_size=3))
def test_policies_are_applied_or_refused_in_a_sentence(tool_field, policies):
    assert _applied(tool_field, "SELECT apply_policies(%s::jsonb)", policies)


def _applied(field, statement, entries):
    """Whether the entries were taken, or refused with one of the SQLSTATEs above; nothing stays."""
    audit = field.audit()
    audit.run("BEGIN")
    try:
        return audit.value(statement, json.dumps(entries)) >= 0
    except psycopg2.Error as error:
        return error.pgcode in SENTENCES or error
    finally:
        audit.run("ROLLBACK")


def test_every_letter_of_a_name_counts(tool_field):
    """Of all names of the letters of `look`, one alone is the tool's."""
    names = {
        "look"[:at] + letter + "look"[at + 1 :] for at in range(4) for letter in string.printable + "\u0430\u03bf\u200b"
    }
    names |= {"look"[:at] + letter + "look"[at:] for at in range(5) for letter in string.printable + "\u200d\ufe0f"}
    rows = tool_field.session("application").rows(
        "SELECT n AS name, d.effect FROM unnest(%s::text[]) AS n, LATERAL tool_policy_decision(n, '{}', 'alice') AS d",
        sorted(names),
    )
    assert [row["name"] for row in rows if row["effect"] != "deny"] == ["look"]
