# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_inventory before the host is looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...inventory.sources import source_problems
from ..files.env_file import value_problem
from .checks import number_problem, secret_problem, shown, text_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_inventory_"
_SOURCES, _USER_NAME, _GROUP = f"{_PREFIX}sources", f"{_PREFIX}user", f"{_PREFIX}socket_group"
_CA_CERT = f"{_PREFIX}database_ca_cert"
_TEXTS = (
    f"{_PREFIX}database_host",
    f"{_PREFIX}database_ssl_mode",
    _CA_CERT,
    "mission_control_database_name",
    "mission_control_database_user",
)
# As useradd of Debian takes it.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a secret or a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    yield from source_problems(inputs[_SOURCES], _SOURCES)
    for name in (_USER_NAME, _GROUP):
        if not _USER.fullmatch(str(inputs[name])) or inputs[name] == "root":
            yield (
                f"{name} is {shown(inputs[name])}, but it must be a name other than root, with 1 to 32 lower-case letters, digits, underscores "
                "and hyphens, that begins with a letter or an underscore."
            )
    problem = number_problem(inputs[f"{_PREFIX}database_port"], 1, 65535)
    if problem:
        yield f"{_PREFIX}database_port {problem}."
    for name in _TEXTS:
        problem = text_problem(inputs[name]) or value_problem(str(inputs[name]))
        if not problem and inputs[name] == "" and name != _CA_CERT:
            problem = "is empty, but it is needed"
        if problem:
            yield f"{name} {problem}."
    name = "mission_control_database_password"
    problem = secret_problem(inputs[name]) or value_problem(str(inputs[name]))
    if problem:
        yield f"The password in {name} {problem}."
