# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read and quote SQL text: split a script into its statements, quote a literal, quote an identifier.

A controller has no SQL parser of its own, and the questions asked of a migration are lexical ones: where does a
statement begin, with which words, and how many are there. The rules are those of the PostgreSQL documentation,
section "Lexical Structure".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
      (?P<line_comment>--[^\n]*)
    | (?P<block_comment>/\*)
    | (?P<escape_string>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<identifier>"(?:[^"]|"")*")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    | (?P<semicolon>;)
    | (?P<backslash>\\)
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Statement(NamedTuple):
    """One statement of a script.

    Attributes:
        text: the statement without its semicolon and without what stands around it.
        line: number of the line, from 1, on which it begins.
        words: its bare words in upper case, in order, without quoted identifiers, strings and comments.
        backslash: whether a backslash stands outside strings, which only psql's own commands have.
    """

    text: str
    line: int
    words: tuple[str, ...]
    backslash: bool

    @property
    def controls_transaction(self) -> bool:
        """Whether it begins, ends or sets up a transaction or a savepoint."""
        return self.words[:1] in _CONTROL or self.words[:2] in _CONTROL


_CONTROL = {
    *((word,) for word in ("ABORT", "BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT")),
    *((word, "TRANSACTION") for word in ("START", "PREPARE", "SET")),
}


class _Token(NamedTuple):
    kind: str
    start: int
    end: int


def _end_of_block_comment(script: str, start: int) -> int:
    """Block comments nest in PostgreSQL; one that is never closed ends with the script."""
    depth = 0
    for edge in _BLOCK_COMMENT_EDGE.finditer(script, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(script)


def _tokens(script: str) -> Iterator[_Token]:
    position = 0
    while position < len(script):
        match = _TOKEN.match(script, position)
        if match is None:  # pragma: no cover - the last alternative takes any character
            return
        kind, end = str(match.lastgroup), match.end()
        if kind == "block_comment":
            end = _end_of_block_comment(script, position)
        elif kind == "dollar":
            closing = script.find(match.group(), end)
            kind, end = "string", len(script) if closing < 0 else closing + len(match.group())
        yield _Token(kind, position, end)
        position = end


def split_statements(script: str) -> list[Statement]:
    """Split a script at the semicolons that end statements.

    Comments, strings, quoted identifiers, dollar quotes and the `BEGIN ATOMIC … END` bodies of SQL-standard functions
    are kept whole. Empty statements and comments between statements are left out.
    """
    statements: list[Statement] = []
    words: list[str] = []
    start = end = -1
    backslash = False
    depth = 0  # of BEGIN ATOMIC and of CASE within it

    def finish() -> None:
        nonlocal start, backslash, depth
        if start >= 0:
            line = script.count("\n", 0, start) + 1
            statements.append(Statement(script[start:end], line, tuple(words), backslash))
        words.clear()
        start, backslash, depth = -1, False, 0

    for token in _tokens(script):
        if token.kind in ("line_comment", "block_comment", "space"):
            continue
        if token.kind == "semicolon" and depth == 0:
            finish()
            continue
        if start < 0:
            start = token.start
        end = token.end
        backslash = backslash or token.kind == "backslash"
        if token.kind == "word":
            word = script[token.start : token.end].upper()
            if (word == "ATOMIC" and words[-1:] == ["BEGIN"]) or (depth and word == "CASE"):
                depth += 1
            elif depth and word == "END":
                depth -= 1
            words.append(word)
    finish()
    return statements


_CONCURRENT_INDEX = re.compile(
    r"(?:CREATE\s+(?:UNIQUE\s+)?|DROP\s+)INDEX\s+CONCURRENTLY\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(?!ON\b)"
    r"(?:(?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)|\"(?P<quoted>(?:[^\"]|\"\")+)\")(?!\s*\.|[\w$])",
    re.IGNORECASE,
)


def concurrent_index(statement: str) -> str:
    """Name of the index that CREATE or DROP INDEX CONCURRENTLY makes or removes; empty for every other statement.

    Also empty where PostgreSQL is to choose the name, and where a schema is named.
    """
    comments = ("line_comment", "block_comment")
    bare = "".join(
        " " if token.kind in comments else statement[token.start : token.end] for token in _tokens(statement)
    )
    match = _CONCURRENT_INDEX.match(bare.strip())
    if match is None:
        return ""
    return match["word"].lower() if match["word"] else match["quoted"].replace('""', '"')


def quote_literal(text: str) -> str:
    """Quote a text as an SQL literal that reads the same whatever `standard_conforming_strings` says."""
    if "\x00" in text:
        raise ValueError("PostgreSQL cannot store the character NUL in a text")
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else "'" + quoted + "'"


def quote_identifier(name: str) -> str:
    """Quote a name as an SQL identifier, always with double quotes."""
    if not name or "\x00" in name:
        raise ValueError("an SQL identifier needs at least one character and no NUL")
    return '"' + name.replace('"', '""') + '"'
