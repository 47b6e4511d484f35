# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A client or a transaction, as far as models, ledger, audit log and schema need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from .driver import Parameters

    Row = dict[str, Any]


class Executor(Protocol):
    """For statements of one row."""

    def query_one(self, sql: str, parameters: Parameters = None, /) -> Row | None: ...


class Reader(Executor, Protocol):
    """For any statement."""

    def query(self, sql: str, parameters: Parameters = None, /) -> Any: ...

    def query_many(self, sql: str, parameters: Parameters = None, /) -> list[Row]: ...

    def stream(self, sql: str, parameters: Parameters = None, /) -> AbstractContextManager[Iterator[Row]]: ...
