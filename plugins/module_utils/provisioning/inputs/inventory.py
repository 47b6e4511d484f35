# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_inventory before the host is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...inventory.sources import source_problems
from .worker import worker_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_inventory_"
_SOURCES = f"{_PREFIX}sources"
_LOGIN, _PASSWORD = "mission_control_database_user", "mission_control_database_password"


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a secret or a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    yield from source_problems(inputs[_SOURCES], _SOURCES)
    yield from worker_problems(inputs, _PREFIX, _LOGIN, _PASSWORD)
