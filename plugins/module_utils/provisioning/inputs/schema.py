# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_schema before a server is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .budgets import budget_problems
from .checks import login_problems, name_problem, number_problems, path_problem, problems_of, text_problem
from .prices import price_problems
from .tools import policy_problems, tool_problems, tool_token_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_schema_"
_MOST_MILLISECONDS = 2_147_483_647
_NUMBERS = {
    f"{_PREFIX}lock_timeout": (1, _MOST_MILLISECONDS),
    f"{_PREFIX}wait": (0, 86400),
    f"{_PREFIX}dump_keep": (1, 100_000),
}
_OWNER, _AUDIT = "mission_control_database_owner_role", "mission_control_database_audit_role"
_NAMES = ("mission_control_database_schema", _OWNER, _AUDIT)
# The roles that are told apart from names of tokens.
_ROLES = (
    *("mission_control_login_user", _OWNER, _AUDIT),
    *(
        f"mission_control_database_{name}"
        for name in (
            *("user", "readonly_role", "monitor_role", "service_role"),
            *("maintenance_role", "executor_role", "approver_role"),
        )
    ),
)
_TEXTS = ("mission_control_database_name", f"{_PREFIX}site_directory")


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    yield from number_problems(inputs, _NUMBERS)
    yield from problems_of(inputs, _NAMES, name_problem)
    if inputs[_OWNER] == inputs[_AUDIT]:
        yield f"{_OWNER} and {_AUDIT} are both {inputs[_OWNER]!r}, but they need different names."
    yield from problems_of(inputs, _TEXTS, text_problem)
    yield from login_problems(inputs)
    directory = inputs[f"{_PREFIX}dump_directory"]
    problem = "" if directory == "" else path_problem(directory)
    if problem:
        yield f"{_PREFIX}dump_directory {problem}."
    yield from price_problems(inputs[f"{_PREFIX}prices"])
    yield from budget_problems(inputs[f"{_PREFIX}budgets"])
    yield from tool_problems(inputs[f"{_PREFIX}tools"])
    yield from policy_problems(inputs[f"{_PREFIX}policies"])
    yield from tool_token_problems(
        inputs[f"{_PREFIX}tool_approvers"], inputs[f"{_PREFIX}tool_requesters"], [inputs[name] for name in _ROLES]
    )
