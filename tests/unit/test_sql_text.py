"""Splitting and quoting SQL text."""

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.sql_text import (
    concurrent_index,
    quote_identifier,
    quote_literal,
    split_statements,
)


def texts(script):
    return [statement.text for statement in split_statements(script)]


def test_statements_end_at_semicolons():
    assert texts("SELECT 1; SELECT 2;\nSELECT 3") == ["SELECT 1", "SELECT 2", "SELECT 3"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'a;b'",
        "SELECT 'it''s; fine'",
        r"SELECT E'a\';b'",
        'SELECT "a;b" FROM t',
        'SELECT "a"";b" FROM t',
        "DO $$ BEGIN; END $$",
        "DO $x$ SELECT '$$;$$' $x$",
        "SELECT 1 /* a; /* nested; */ b; */ + 1",
        "SELECT 1 -- a; b\n + 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 ELSE 2 END; SELECT 2; END",
    ],
)
def test_a_semicolon_inside_something_ends_nothing(statement):
    assert texts(statement + "; SELECT 2") == [statement, "SELECT 2"]


def test_a_dollar_in_a_word_or_a_parameter_is_no_quote():
    assert texts("SELECT a$b$, $1; SELECT c$b$") == ["SELECT a$b$, $1", "SELECT c$b$"]


def test_comments_between_statements_do_not_count():
    assert texts("-- first;\n/* ; */ ;; SELECT 1; -- last;") == ["SELECT 1"]


def test_line_and_words_are_known():
    (statement,) = split_statements("\n\n-- x\ncommit 'BEGIN' \"end\" And chain")
    assert (statement.line, statement.words) == (4, ("COMMIT", "AND", "CHAIN"))


def test_a_backslash_counts_only_outside_strings():
    assert [statement.backslash for statement in split_statements("\\set x 1\n; SELECT 'a\\b'")] == [True, False]


def test_literals_read_the_same_with_either_setting_of_standard_conforming_strings():
    assert quote_literal("it's") == "'it''s'"
    assert quote_literal("a\\'b") == "E'a\\\\''b'"


def test_identifiers_keep_case_and_quotes():
    assert quote_identifier('Odd"name') == '"Odd""name"'


def test_what_postgresql_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        quote_literal("a\x00b")
    with pytest.raises(ValueError, match="identifier"):
        quote_identifier("")


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE INDEX CONCURRENTLY ix_a ON t (x)", "ix_a"),
        ("create unique index concurrently if not exists IX_A on t (x)", "ix_a"),
        ('CREATE INDEX /* slow */ CONCURRENTLY -- so\n IF NOT EXISTS "Ix ""a" ON t (x)', 'Ix "a'),
        ("DROP INDEX CONCURRENTLY IF EXISTS ix_a", "ix_a"),
        ("DROP INDEX CONCURRENTLY öl$1", "öl$1"),
        ("CREATE INDEX CONCURRENTLY ON t (x)", ""),
        ("DROP INDEX CONCURRENTLY other.ix_a", ""),
        ('DROP INDEX CONCURRENTLY "other" . ix_a', ""),
        ("CREATE INDEX ix_a ON t (x)", ""),
        ("VACUUM t", ""),
        ("SELECT 'CREATE INDEX CONCURRENTLY ix_a ON t'", ""),
    ],
)
def test_the_index_of_a_concurrent_statement_is_named(statement, name):
    assert concurrent_index(statement) == name
