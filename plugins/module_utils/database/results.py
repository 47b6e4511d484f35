# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rows as a program gets them: dicts, or objects of a model class."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

RowT = TypeVar("RowT")
_MANY_COLUMNS = 8


class QueryResult(Generic[RowT]):
    """What a statement gave.

    Attributes:
        rows: all rows; empty for a statement that gives none.
        row_count: rows returned, or changed where none are returned; -1 if the server does not say.
        columns: names in the order of the statement.
    """

    __slots__ = ("columns", "row_count", "rows")

    def __init__(self, rows: list[RowT], row_count: int, columns: tuple[str, ...]) -> None:
        self.rows = rows
        self.row_count = row_count
        self.columns = columns

    def __iter__(self) -> Iterator[RowT]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        # No values: they may be anything, and a repr ends in logs.
        return f"QueryResult(row_count={self.row_count}, columns={self.columns!r})"


def name_twice(columns: Sequence[str]) -> str:
    """What is said of a result with two columns of one name, of which a dict could hold only one."""
    twice = min(name for name in columns if columns.count(name) > 1)
    return f"The result has several columns named {twice}: give each a name of its own with AS."


def dict_rows(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Rows as dicts. dict() is the slower way to make one of few columns, and the faster way for many."""
    if len(columns) < _MANY_COLUMNS:
        return [{name: value for name, value in zip(columns, row)} for row in rows]  # noqa: C416 # pylint: disable=unnecessary-comprehension
    return [dict(zip(columns, row)) for row in rows]


def model_rows(model: Callable[..., Any], columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Objects of the model for rows of a statement with these columns."""
    return [*map(_maker(model, columns), rows)]


@functools.lru_cache(maxsize=512)
def _maker(model: Callable[..., Any], columns: tuple[str, ...]) -> Callable[[tuple[Any, ...]], Any]:
    """A dataclass gets the columns that it has fields for, so that a column which a later migration adds breaks nothing."""
    wanted = {each.name for each in dataclasses.fields(model) if each.init} if dataclasses.is_dataclass(model) else None
    if wanted is None or wanted.issuperset(columns):
        return lambda row: model(**dict(zip(columns, row)))
    chosen = [(name, index) for index, name in enumerate(columns) if name in wanted]
    return lambda row: model(**{name: row[index] for name, index in chosen})
