# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a client and a transaction can both be asked."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from ..errors import RowCountError
from .records import Records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from ..database.driver import Parameters
    from ..database.results import QueryResult

ModelT = TypeVar("ModelT")
Row = dict[str, Any]


class Queries(Records, abc.ABC):
    """Placeholders are %s, or %(name)s with a mapping; a literal % is doubled where there are parameters.

    A dict is sent as JSON, a list as an array, a tuple as the list of an IN. With `model`, a dataclass or any other
    class that takes the columns by name, rows are its objects instead of dicts.
    """

    @overload
    def query(self, sql: str, parameters: Parameters = None) -> QueryResult[Row]: ...

    @overload
    def query(self, sql: str, parameters: Parameters = None, *, model: type[ModelT]) -> QueryResult[ModelT]: ...

    @abc.abstractmethod
    def query(
        self, sql: str, parameters: Parameters = None, *, model: Callable[..., Any] | None = None
    ) -> QueryResult[Any]:
        """Execute one statement: its rows, the number of them or of changed ones, and the names of the columns."""

    @overload
    def query_one(self, sql: str, parameters: Parameters = None) -> Row | None: ...

    @overload
    def query_one(self, sql: str, parameters: Parameters = None, *, model: type[ModelT]) -> ModelT | None: ...

    def query_one(self, sql: str, parameters: Parameters = None, *, model: Any = None) -> Any:
        """The only row, or None if there is none. Two rows are an error; a write that gave them has taken place."""
        rows: list[Any] = self.query(sql, parameters, model=model).rows
        if len(rows) > 1:
            raise RowCountError(f"The statement gave {len(rows)} rows where at most one was expected.")
        return rows[0] if rows else None

    @overload
    def query_many(self, sql: str, parameters: Parameters = None) -> list[Row]: ...

    @overload
    def query_many(self, sql: str, parameters: Parameters = None, *, model: type[ModelT]) -> list[ModelT]: ...

    def query_many(self, sql: str, parameters: Parameters = None, *, model: Any = None) -> list[Any]:
        """All rows."""
        return self.query(sql, parameters, model=model).rows

    @abc.abstractmethod
    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Execute a statement for each of many rows of parameters, all or none; the number of rows that were changed.

        A plain INSERT ... VALUES (...) is sent for many rows at once, any other statement row by row.
        """

    @overload
    def stream(
        self, sql: str, parameters: Parameters = None, *, batch: int = 2000
    ) -> AbstractContextManager[Iterator[Row]]: ...

    @overload
    def stream(
        self, sql: str, parameters: Parameters = None, *, model: type[ModelT], batch: int = 2000
    ) -> AbstractContextManager[Iterator[ModelT]]: ...

    def stream(
        self, sql: str, parameters: Parameters = None, *, model: Any = None, batch: int = 2000
    ) -> AbstractContextManager[Iterator[Any]]:
        """Rows of a large result, fetched `batch` at a time from a cursor on the server; for a `with` block."""
        return self._stream(sql, parameters, model, batch)

    @abc.abstractmethod
    def _stream(
        self, sql: str, parameters: Parameters, model: Any, batch: int
    ) -> AbstractContextManager[Iterator[Any]]: ...
