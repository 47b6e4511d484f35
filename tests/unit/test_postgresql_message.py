"""PostgreSQL's words are found among the SQL and its arguments, and nothing else is shown."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.postgresql_message import (
    short_message,
    whole_message,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Cannot execute SQL 'GRANT x TO y' None: permission denied\nCONTEXT:  SQL statement\n, query list: ['GRANT x TO y']",
            "permission denied",
        ),
        (
            "Cannot execute SQL 'SELECT %(a)s' {'a': '{\"b\": {\"c\": 1}}'}: no such role\n, query list: ['SELECT %(a)s', 'x']",
            "no such role",
        ),
        (
            "Cannot execute SQL 'SELECT 1' {'secret': 'SCRAM-SHA-256$x'}: failed\nDETAIL:  more\n, query list: ['SELECT 1']",
            "failed",
        ),
        (
            "Cannot execute SQL 'S' None: syntax error at or near \"S\"\nLINE 1: S\n        ^\n, query list: ['S']",
            'syntax error at or near "S"',
        ),
        ("Cannot execute SQL 'a whole script' None: syntax error\nLINE 3: whole", "syntax error"),
        ("Cannot execute SQL 'a' None: x.sql failed: {1}: no array, query list: ['a']", "x.sql failed: {1}: no array"),
        ("Cannot execute SQL 'SELECT '' None: x' None: failed, query list: ['SELECT '' None: x', '}: ']", "failed"),
        ("Cannot execute SQL 'secret' in a form that nobody knows", "PostgreSQL refused the statement"),
        (
            "unable to connect to database: refused\n\tIs the server running?\n",
            "unable to connect to database: refused Is the server running?",
        ),
    ],
)
def test_only_the_message_is_left(text, message):
    assert short_message({"failed": True, "msg": text}) == message


def test_without_a_message():
    assert short_message({}) == ""
    assert "-vvv" in short_message({"exception": "Traceback: secret"})


def test_the_whole_message_keeps_the_lines_about_the_place():
    text = "Cannot execute SQL 'S' None: no\nDETAIL:  why\n, query list: ['S']"
    assert whole_message({"failed": True, "msg": text}) == "no\nDETAIL:  why\n"
