# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_tools before the host is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...inventory.sources import source_problems
from ...tools.connectors.registry import check_tool_source
from .checks import number_problem
from .worker import worker_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_tools_"
_SOURCES, _CONCURRENCY = f"{_PREFIX}sources", f"{_PREFIX}concurrency"
_OF_INVENTORY = "mission_control_inventory_sources"
_LOGIN, _PASSWORD = "mission_control_database_executor_role", "mission_control_database_executor_password"
# What the connection limit of the login has room for, beside what watches and tidies up.
_MOST_AT_ONCE = 16


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a secret or a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    yield from source_problems(inputs[_OF_INVENTORY], _OF_INVENTORY)
    yield from source_problems(inputs[_SOURCES], _SOURCES, check=check_tool_source)
    of_inventory = {source["name"] for source in inputs[_OF_INVENTORY]}
    for source in inputs[_SOURCES]:
        if source["name"] in of_inventory:
            yield (
                f"{_SOURCES}: {_OF_INVENTORY} has a source {source['name']} too: give this one another name, or that one tool_credentials and "
                "tool_options in its place."
            )
    problem = number_problem(inputs[_CONCURRENCY], 1, _MOST_AT_ONCE)
    if problem:
        yield f"{_CONCURRENCY} {problem}."
    yield from worker_problems(inputs, _PREFIX, _LOGIN, _PASSWORD)
