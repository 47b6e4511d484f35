# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mission Control's database for Python programs.

    from mission_control import Client

    with Client("postgresql://mission_control@localhost/mission_control") as db:
        print(db.query_many("SELECT name, status FROM hosts"))

What is listed here is imported when it is first asked for: Ansible replaces this file by an empty one on the hosts that
it manages, and its modules import the few files that they need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # `as` with the same name says that it is handed on; pylint: disable=useless-import-alias
    from .client import Client as Client
    from .client import Health as Health
    from .driver import Json as Json
    from .errors import ConnectError as ConnectError
    from .errors import ConnectionLostError as ConnectionLostError
    from .errors import ConstraintError as ConstraintError
    from .errors import DriverError as DriverError
    from .errors import LockTimeoutError as LockTimeoutError
    from .errors import MissionControlError as MissionControlError
    from .errors import ParameterError as ParameterError
    from .errors import PoolClosedError as PoolClosedError
    from .errors import PoolError as PoolError
    from .errors import PoolFullError as PoolFullError
    from .errors import PoolTimeoutError as PoolTimeoutError
    from .errors import QueryError as QueryError
    from .errors import RowCountError as RowCountError
    from .errors import SerializationError as SerializationError
    from .errors import SettingsError as SettingsError
    from .errors import StatementCanceledError as StatementCanceledError
    from .errors import TransactionError as TransactionError
    from .pool import PoolStats as PoolStats
    from .results import QueryResult as QueryResult
    from .settings import Secret as Secret
    from .settings import Settings as Settings
    from .transaction import Transaction as Transaction

_EXPORTS = {
    "client": ("Client", "Health"),
    "driver": ("Json",),
    "errors": (
        "ConnectError",
        "ConnectionLostError",
        "ConstraintError",
        "DriverError",
        "LockTimeoutError",
        "MissionControlError",
        "ParameterError",
        "PoolClosedError",
        "PoolError",
        "PoolFullError",
        "PoolTimeoutError",
        "QueryError",
        "RowCountError",
        "SerializationError",
        "SettingsError",
        "StatementCanceledError",
        "TransactionError",
    ),
    "pool": ("PoolStats",),
    "results": ("QueryResult",),
    "settings": ("Secret", "Settings"),
    "transaction": ("Transaction",),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
