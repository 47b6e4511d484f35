# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_schema before a server is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .checks import name_problem, number_problem, path_problem, secret_problem, text_problem
from .prices import price_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_schema_"
_MOST_MILLISECONDS = 2_147_483_647
_NUMBERS = {
    "login_port": (1, 65535),
    "lock_timeout": (1, _MOST_MILLISECONDS),
    "wait": (0, 86400),
    "dump_keep": (1, 100_000),
}
_NAMES = ("name", "owner_role", "audit_role")
_TEXTS = ("login_host", "login_unix_socket", "login_user", "ca_cert", "become_user", "database", "site_directory")


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names without the prefix.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    for name, (least, most) in _NUMBERS.items():
        problem = number_problem(inputs[name], least, most)
        if problem:
            yield f"{_PREFIX}{name} {problem}."
    for name in _NAMES:
        problem = name_problem(inputs[name])
        if problem:
            yield f"{_PREFIX}{name} {problem}."
    if inputs["owner_role"] == inputs["audit_role"]:
        yield f"{_PREFIX}owner_role and {_PREFIX}audit_role are both {inputs['owner_role']!r}, but they need different names."
    for name in _TEXTS:
        problem = text_problem(inputs[name])
        if problem:
            yield f"{_PREFIX}{name} {problem}."
    problem = secret_problem(inputs["login_password"])
    if problem:
        yield f"The password in {_PREFIX}login_password {problem}."
    directory = inputs["dump_directory"]
    problem = "" if directory == "" else path_problem(directory)
    if problem:
        yield f"{_PREFIX}dump_directory {problem}."
    yield from price_problems(inputs["prices"])
