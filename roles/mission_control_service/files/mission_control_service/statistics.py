# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures, each kept for a while and made anew in the background when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

from .cached import Cached
from .database import UnavailableError
from .figures import (
    AuditReader,
    read_budgets,
    read_inventory,
    read_playbooks,
    read_runs,
    read_sources,
    read_tools,
    read_usage,
)

if TYPE_CHECKING:
    from .database import Database, Reader
    from .figures import Audit, Budgets, Inventory, Playbooks, Runs, Sources, Tools, Usage

T = TypeVar("T")
_FRESH_FOR = 10.0
_PATIENCE = 4.0
# A figure takes at most a twentieth of the server's time.
_REST_FACTOR = 20
# What is older is not shown any more.
_STALE_AFTER = 300.0


class Statistics:
    """The figures by name; one that cannot be had lately is None."""

    def __init__(self, database: Database, fresh_for: float = _FRESH_FOR) -> None:
        self._database = database
        self._fresh_for = fresh_for
        self._inventory = self._cached("inventory", read_inventory)
        self._sources = self._cached("sources", read_sources)
        self._runs = self._cached("runs", read_runs)
        self._playbooks = self._cached("playbooks", read_playbooks)
        self._usage = self._cached("usage", read_usage)
        self._budgets = self._cached("budgets", read_budgets)
        self._tools = self._cached("tools", read_tools)
        self._audit = self._cached("audit", AuditReader().read)
        self._all: dict[str, Cached[Any]] = {
            "inventory": self._inventory,
            "sources": self._sources,
            "runs": self._runs,
            "playbooks": self._playbooks,
            "usage": self._usage,
            "budgets": self._budgets,
            "tools": self._tools,
            "audit": self._audit,
        }

    def _cached(self, name: str, read: Callable[[Reader], T]) -> Cached[T]:
        def compute() -> T:
            return self._database.read(read, snapshot=True)

        return Cached(name, compute, self._fresh_for, _PATIENCE, _REST_FACTOR, expected=(UnavailableError,))

    def refresh(self) -> None:
        """Begin with all that are due, so that whoever asks for one after the other waits for the longest alone."""
        for each in self._all.values():
            each.refresh()

    def ages(self) -> dict[str, float]:
        """Seconds since each figure that can be had was begun to be read; nobody waits for that."""
        snapshots = {name: each.latest() for name, each in self._all.items()}
        return {name: each.age for name, each in snapshots.items() if each is not None and each.age <= _STALE_AFTER}

    @property
    def inventory(self) -> Inventory | None:
        return _current(self._inventory)

    @property
    def sources(self) -> Sources | None:
        return _current(self._sources)

    @property
    def runs(self) -> Runs | None:
        return _current(self._runs)

    @property
    def playbooks(self) -> Playbooks | None:
        return _current(self._playbooks)

    @property
    def usage(self) -> Usage | None:
        return _current(self._usage)

    @property
    def budgets(self) -> Budgets | None:
        return _current(self._budgets)

    @property
    def tools(self) -> Tools | None:
        return _current(self._tools)

    @property
    def audit(self) -> Audit | None:
        return _current(self._audit)


def _current(cached: Cached[T]) -> T | None:
    snapshot = cached.get()
    return snapshot.value if snapshot is not None and snapshot.age <= _STALE_AFTER else None
