# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the roles that have a worker judge alike: whom it runs as, and where it reaches the database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..files.env_file import value_problem
from .checks import (
    host_problem,
    host_text,
    number_problem,
    problems_of,
    secret_problem,
    session_attributes_problem,
    shown,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What our units run as, each alone: who shares a user with another unit reads its secrets.
_USERS = {
    "mission_control_inventory_": "mission-control-inventory",
    "mission_control_maintenance_": "mission-control-maintenance",
    "mission_control_service_": "mission-control-service",
    "mission_control_tools_": "mission-control-tools",
}
# As useradd of Debian takes it.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def worker_problems(inputs: Mapping[str, Any], prefix: str, login: str, password: str) -> Iterator[str]:
    """Whole sentences about user, group, database and login of a worker.

    Args:
        inputs: the role's variables by their names. No sentence holds the password.
        prefix: of the role's own variables.
        login, password: variables with the login at the database.
    """
    for name in (f"{prefix}user", f"{prefix}socket_group"):
        if not _USER.fullmatch(str(inputs[name])) or inputs[name] == "root":
            yield (
                f"{name} is {shown(inputs[name])}, but it must be a name other than root, with 1 to 32 lower-case letters, digits, underscores "
                "and hyphens, that begins with a letter or an underscore."
            )
    user = inputs[f"{prefix}user"]
    if user in _USERS.values() and user != _USERS[prefix]:
        yield f"{prefix}user is {shown(user)}, which is the user of another unit, and would read its secrets: give it a user of its own."
    problem = number_problem(inputs[f"{prefix}database_port"], 1, 65535)
    if problem:
        yield f"{prefix}database_port {problem}."
    ca_cert, host = f"{prefix}database_ca_cert", f"{prefix}database_host"
    yield from problems_of(inputs, (f"{prefix}database_target_session_attrs",), session_attributes_problem)
    for name in (
        host,
        f"{prefix}database_ssl_mode",
        ca_cert,
        "mission_control_database_name",
        login,
    ):
        value = host_text(inputs[name]) if name == host else inputs[name]
        problem = host_problem(inputs[name]) if name == host else text_problem(value)
        problem = problem or value_problem(str(value))
        if not problem and value == "" and name != ca_cert:
            problem = "is empty, but it is needed"
        if problem:
            yield f"{name} {problem}."
    problem = secret_problem(inputs[password]) or value_problem(str(inputs[password]))
    if problem:
        yield f"The password in {password} {problem}."
