# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One INSERT for many rows, out of an INSERT for one."""

from __future__ import annotations

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

# Measured: fewer rows cost round trips, more rows cost the server's parser more than they save.
PAGE_ROWS = 250

_TOKEN = re.compile(
    r"""
      (?P<skip>--[^\n]*|/\*.*?\*/|\s+)
    | (?P<string>[eE]?'(?:[^'\\]|\\.|'')*'|"(?:[^"]|"")*"|\$[A-Za-z_]*\$)
    | (?P<placeholder>%s|%\([^)]*\)s)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class RepeatableInsert(NamedTuple):
    """INSERT ... VALUES, the group with its parentheses, and what follows it."""

    head: str
    group: str
    tail: str
    positional: int


def split_insert(sql: str) -> RepeatableInsert | None:
    """The parts of a plain INSERT of one row; None for any other statement, or where it is not certain.

    Not certain is a statement with a WITH, with several groups, with placeholders outside of the group, or with a
    literal percent sign or a dollar quote.
    """
    depth = 0
    seen_values = in_tail = False
    start = end = None
    positional = named = head_end = 0
    first_word = None
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup, match.group()
        if kind == "word":
            first_word = first_word or text.upper()
            in_tail = end is not None
            if depth == 0 and text.upper() == "VALUES" and not seen_values:
                seen_values = True
                head_end = match.end()
        elif kind == "placeholder":
            if start is None or end is not None:
                return None
            positional += text == "%s"
            named += text != "%s"
        elif (kind == "string" and (text.startswith("$") or "\\" in text or "%" in text)) or text == "%":
            return None
        elif text == "(":
            if depth == 0 and seen_values and start is None:
                start = match.start()
            depth += 1
        elif text == ")":
            depth -= 1
            if depth == 0 and start is not None and end is None:
                end = match.end()
        elif end is not None and depth == 0 and text == ",":
            # Either a second group, or a comma of RETURNING, which comes after a word.
            if not in_tail:
                return None
        elif text == ";" and sql[match.end() :].strip():
            return None
    if first_word != "INSERT" or start is None or end is None or (positional and named) or not (positional or named):
        return None
    if sql[head_end:start].strip():
        return None
    return RepeatableInsert(sql[:start], sql[start:end], sql[end:], positional)


def insert_pages(
    insert: RepeatableInsert, rows: Iterable[Any], mogrify: Callable[[str, Any], bytes]
) -> Iterator[bytes]:
    """Statements that insert many rows each, with their parameters in place."""
    remaining = iter(rows)
    while True:
        page = list(itertools.islice(remaining, PAGE_ROWS))
        if not page:
            return
        if insert.positional:
            yield _positional_page(insert, page, mogrify)
        else:
            groups = [mogrify(insert.group, row) for row in page]
            yield insert.head.encode() + b",".join(groups) + insert.tail.encode()


def made_ahead(pages: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The pages, each made by another thread while the server works on the one before. To be closed after use."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mission_control-pages") as helper:
        following = helper.submit(next, pages, None)
        while True:
            page = following.result()
            if page is None:
                return
            following = helper.submit(next, pages, None)
            yield page


def _positional_page(insert: RepeatableInsert, page: list[Any], mogrify: Callable[[str, Any], bytes]) -> bytes:
    """All rows in one call of the driver, which is three times as fast as one call for each."""
    for row in page:
        # Counted here, as a value too many in one row and too few in the next would shift what lies between.
        if not isinstance(row, (list, tuple)) or len(row) != insert.positional:
            raise ParameterError(
                f"Each row must be a list or tuple of {insert.positional} values, as many as placeholders."
            )
    groups = ",".join([insert.group] * len(page))
    return mogrify(insert.head + groups + insert.tail, [*itertools.chain.from_iterable(page)])
