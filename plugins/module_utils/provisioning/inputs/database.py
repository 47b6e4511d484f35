# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_database before anything is asked of a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..files.env_file import value_problem
from .checks import (
    host_problem,
    host_text,
    integer,
    is_taken,
    login_problems,
    name_problem,
    number_problems,
    own_inputs,
    path_problem,
    problems_of,
    secret_problem,
    session_attributes_problem,
    shown,
    text_problem,
)
from .privileges import privilege_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIME = re.compile(r"(?P<number>[0-9]{1,12}) *(?P<unit>us|ms|s|min|h|d)?")
_MILLISECONDS = {"us": 0.001, None: 1, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_TIME = 2_147_483_647
_MOST_CONNECTIONS = 262_143

_PREFIX = "mission_control_database_"
_ROLES = (
    *("owner_role", "audit_role", "user", "readonly_role", "monitor_role"),
    *("service_role", "maintenance_role", "executor_role", "approver_role"),
)
# What these roles are called in mission_control_database_privileges.
ROLE_KEYS = ("owner", "audit", "application", "readonly", "monitor", "service", "maintenance", "executor", "approver")
# Roles that are there already.
_OTHERS = ("mission_control_login_user", f"{_PREFIX}administrator")
_TEXTS = (
    *("locale", "tablespace", "reporting_time_zone"),
    *("env_file_owner", "env_file_group", "remove_confirm", "remove_dump"),
)
_LISTS = ("monitor_memberships", "service_memberships")
# Of these none of our roles is a member.
_GUARDED = ("owner_role", "audit_role", "executor_role", "approver_role")
_LIMITED = ("", "readonly_", "monitor_", "service_", "maintenance_", "executor_", "approver_")
_TIMES = (
    "lock_timeout",
    *(f"{login}statement_timeout" for login in _LIMITED),
    *(f"{login}idle_in_transaction_session_timeout" for login in _LIMITED),
)
_NUMBERS = {"password_length": (16, 512), "lock_wait": (1, 86400)}
_PASSWORDS = tuple(f"{login}password" for login in _LIMITED)
# What goes into the env file as it is given.
_ENV_VALUES = (f"{_PREFIX}password", f"{_PREFIX}env_file_host", "mission_control_login_ca_cert")


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    own = own_inputs(inputs, _PREFIX)
    yield from _name_problems(inputs, own)
    yield from login_problems(inputs)
    problem = text_problem(inputs["mission_control_login_db"])
    if problem:
        yield f"mission_control_login_db {problem}."
    yield from _text_problems(own)
    yield from problems_of(own, ("env_file_host",), host_problem, _PREFIX)
    attributes = own["env_file_target_session_attrs"]
    problem = session_attributes_problem(attributes, writes=False)
    if problem:
        yield f"{_PREFIX}env_file_target_session_attrs {problem}."
    for name in (f"{login}connection_limit" for login in _LIMITED):
        number = integer(own[name])
        if number is None or not (number == -1 or 1 <= number <= _MOST_CONNECTIONS):
            yield f"{_PREFIX}{name} is {shown(own[name])}, but it must be a number of connections above 0, or -1 for no limit."
    for name in _TIMES:
        yield from _time_problems(f"{_PREFIX}{name}", own[name])
    port = integer(own["env_file_port"])
    if port is None or not 1 <= port <= 65535:
        yield f"{_PREFIX}env_file_port is {shown(own['env_file_port'])}, but a port lies between 1 and 65535."
    yield from number_problems(own, _NUMBERS, _PREFIX)
    for name in _PASSWORDS:
        problem = secret_problem(own[name])
        if problem:
            yield f"The password in {_PREFIX}{name} {problem}."
    yield from _env_file_problems(inputs, own["env_file"])
    yield from privilege_problems(own["privileges"], ROLE_KEYS)


def _name_problems(inputs: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    for name in (*_ROLES, "name", "schema"):
        problem = name_problem(own[name])
        if problem:
            yield f"{_PREFIX}{name} {problem}."
        # PostgreSQL made the schema public, but it is nobody's.
        elif is_taken(own[name]) and (name, own[name]) != ("schema", "public"):
            yield f"{_PREFIX}{name} is {own[name]!r}, a name that PostgreSQL keeps for itself: choose another."
    first_use: dict[str, str] = {}
    for name in _ROLES:
        if own[name] in first_use:
            yield (
                f"{_PREFIX}{first_use[own[name]]} and {_PREFIX}{name} are both {own[name]!r}, "
                "but the roles need different names."
            )
        first_use[own[name]] = name
    for name in _OTHERS:
        problem = text_problem(inputs[name])
        if problem:
            yield f"{name} {problem}."
        if str(inputs[name]) in first_use:
            yield f"{name} is {inputs[name]!r}, which is the role of {_PREFIX}{first_use[str(inputs[name])]}: it must be another one."


def _text_problems(own: Mapping[str, Any]) -> Iterator[str]:
    yield from problems_of(own, _TEXTS, text_problem, _PREFIX)
    for name in _LISTS:
        if not isinstance(own[name], (list, tuple)):
            yield f"{_PREFIX}{name} is {shown(own[name])}, but it must be a list; an empty one is written []."
            continue
        for each in own[name]:
            problem = text_problem(each) or ("" if each != "" else "is empty")
            if problem:
                yield f"An entry of {_PREFIX}{name} {problem}."
            for role in (role for role in _GUARDED if each == own[role]):
                yield f"{_PREFIX}{name} lists {each!r}, the role of {_PREFIX}{role}, of which no other role may be a member: remove it."
    problem = path_problem(own["password_directory"], home=True)
    if problem:
        yield f"{_PREFIX}password_directory {problem}."


def _time_problems(variable: str, value: Any) -> Iterator[str]:
    found = _TIME.fullmatch(str(value))
    if not found or int(found["number"]) * _MILLISECONDS[found["unit"]] > _LONGEST_TIME:
        yield f"{variable} is {shown(value)}, but it must be a time such as 500ms, 30s or 5min of at most 24 days, or 0 for no limit."


def _env_file_problems(inputs: Mapping[str, Any], path: Any) -> Iterator[str]:
    if path == "":
        return
    if path_problem(path) or str(path).endswith("/"):
        yield f"mission_control_database_env_file is {shown(path)}, but it must be the absolute path of a file."
    for name in _ENV_VALUES:
        problem = value_problem(host_text(inputs[name]))
        if problem:
            yield f"The value of {name} {problem}: change it or set no mission_control_database_env_file."
