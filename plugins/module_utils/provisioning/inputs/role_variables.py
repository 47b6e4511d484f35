# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The variables that a play gives to the roles: which there are, which are misspelt or renamed, and what is wrong with them."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from .backup import input_problem as backup_problem
from .checks import login_problems
from .database import input_problem as database_problem
from .inventory import input_problem as inventory_problem
from .maintenance import input_problem as maintenance_problem
from .schema import input_problem as schema_problem
from .server import input_problem as server_problem
from .service import input_problem as service_problem
from .standby import input_problem as standby_problem
from .tool_executor import input_problem as tools_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

PREFIX = "mission_control_"
CHECKS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "mission_control": lambda inputs: next(login_problems(inputs), ""),
    "mission_control_backup": backup_problem,
    "mission_control_database": database_problem,
    "mission_control_inventory": inventory_problem,
    "mission_control_maintenance": maintenance_problem,
    "mission_control_postgresql": server_problem,
    "mission_control_schema": schema_problem,
    "mission_control_service": service_problem,
    "mission_control_standby": standby_problem,
    "mission_control_tools": tools_problem,
}
# Facts that the roles set.
RESULTS = (
    "mission_control_backup_state",
    "mission_control_database_access",
    "mission_control_inventory_state",
    "mission_control_maintenance_state",
    "mission_control_postgresql_server",
    "mission_control_schema_state",
    "mission_control_service_state",
    "mission_control_tools_state",
)
_LOGIN = ("login_host", "login_unix_socket", "login_user", "login_password", "ssl_mode", "ca_cert", "become_user")
_LOGIN_OF = {
    "postgresql": (*_LOGIN, "login_db"),
    "database": (*_LOGIN, "login_db", "login_port"),
    "schema": (*_LOGIN, "login_port"),
    "backup": ("login_host", "login_unix_socket", "login_port", "ssl_mode", "ca_cert"),
}
# Names before version 0.2.0, with those that they have now. What an old one is set to is in force by defaults/main.yml of mission_control_common.
RENAMED = {
    **{
        f"{PREFIX}{role}_{name}": f"{PREFIX}{name if name.startswith('login_') else f'login_{name}'}"
        for role, names in _LOGIN_OF.items()
        for name in names
    },
    "mission_control_backup_database": "mission_control_database_name",
    "mission_control_backup_schema": "mission_control_database_schema",
    "mission_control_backup_server_mode": "mission_control_postgresql_mode",
    "mission_control_schema_audit_role": "mission_control_database_audit_role",
    "mission_control_schema_database": "mission_control_database_name",
    "mission_control_schema_name": "mission_control_database_schema",
    "mission_control_schema_owner_role": "mission_control_database_owner_role",
    "mission_control_service_database_name": "mission_control_database_name",
    "mission_control_service_database_password": "mission_control_database_service_password",
    "mission_control_service_database_password_directory": "mission_control_database_password_directory",
    "mission_control_service_database_user": "mission_control_database_service_role",
    "mission_control_service_site_directory": "mission_control_schema_site_directory",
}
# Variables that are in force for one more release, and those that say now what they do, in another form.
REPLACED = {"mission_control_service_budget_usd": "mission_control_schema_budgets"}
# From which share of common letters on two words are one that is misspelt.
_NEAR, _NEAR_SHORT, _SHORT = 0.75, 0.66, 3


def options_of_roles(roles: Path) -> dict[str, set[str]]:
    """The variables of each role, as its argument specs list them.

    Args:
        roles: the directory of the roles.
    """
    # As text, since a run asks for this once for each role, and reading YAML takes fifty times as long.
    return {
        path.parent.parent.name: set(
            re.findall(rf"^ {{6}}({PREFIX}\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
        )
        for path in sorted(roles.glob("*/meta/argument_specs.yml"))
    }


def misspelling_problem(names: Iterable[str], known: Collection[str]) -> str:
    """A sentence about the first variable that is nearly one of the collection's, empty where there is none.

    Args:
        names: variables of a host, of whatever kind. One of the homelab's own, which is near to none of ours, is no problem.
        known: the variables of all roles.
    """
    ours = {*known, *RESULTS, *RENAMED}
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in ours:
            share, nearest = max((_share(name, each), each) for each in sorted({*known, *RENAMED}))
            if share:
                return f"There is no variable {name}: did you mean {RENAMED.get(nearest, nearest)}?"
    return ""


def rename_notice(name: str) -> str:
    """What is said about an old name that is in use."""
    return f"The variable {name} is called {RENAMED[name]} now"


def replaced_notice(name: str) -> str:
    """What is said about a variable that is set and has been replaced."""
    return f"The variable {name} is replaced by {REPLACED[name]}"


def rename_problem(values: Mapping[str, Any]) -> str:
    """A sentence about the first old name that contradicts the new one or another old one, empty where there is none.

    Args:
        values: old names that are in use with their values, and the values that are in force by the new names. None is shown.
    """
    for old, new in RENAMED.items():
        if old in values and new in values and str(values[old]) != str(values[new]):
            return f"{old} is called {new} now, which is one value for all roles, and it is set to another one: remove {old}."
    return ""


def input_problem(role: str, inputs: Mapping[str, Any]) -> str:
    """What the role itself finds wrong with its variables, as one sentence that names one of them; empty where all is well."""
    try:
        return CHECKS[role](inputs)
    except KeyError as error:
        return f"There is no {error.args[0]}: check the inputs of {role} in a task of that role, which brings the defaults."


def _share(one: str, other: str) -> float:
    """How much alike two names are in the words in which they differ; 0 where they are not alike."""
    mine, yours = one.split("_"), other.split("_")
    while mine and yours and mine[0] == yours[0]:
        del mine[0], yours[0]
    while mine and yours and mine[-1] == yours[-1]:
        del mine[-1], yours[-1]
    left, right = "_".join(mine), "_".join(yours)
    share = difflib.SequenceMatcher(None, left, right, autojunk=False).ratio()
    return share if share >= (_NEAR_SHORT if max(len(left), len(right)) <= _SHORT else _NEAR) else 0
