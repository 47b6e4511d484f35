# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_database before anything is asked of a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..files.env_file import value_problem
from .checks import (
    integer,
    is_taken,
    name_problem,
    number_problem,
    path_problem,
    secret_problem,
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


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: groups of variables, each a mapping of the variable's name to its value: roles (their names), names
            (database, schema), others (roles that are there already), texts, lists (of texts), directories (on the
            controller), connection_limits, times, ports, numbers (value, least, most), passwords (empty: none given),
            env_file (path, empty: none), env_values; and privileges, with keys, what our roles are called in them.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    yield from _name_problems(inputs)
    yield from _text_problems(inputs)
    for variable, value in inputs["connection_limits"].items():
        number = integer(value)
        if number is None or not (number == -1 or 1 <= number <= _MOST_CONNECTIONS):
            yield f"{variable} is {shown(value)}, but it must be a number of connections above 0, or -1 for no limit."
    for variable, value in inputs["times"].items():
        yield from _time_problems(variable, value)
    for variable, value in inputs["ports"].items():
        number = integer(value)
        if number is None or not 1 <= number <= 65535:
            yield f"{variable} is {shown(value)}, but a port lies between 1 and 65535."
    for variable, (value, least, most) in inputs["numbers"].items():
        problem = number_problem(value, least, most)
        if problem:
            yield f"{variable} {problem}."
    for variable, value in inputs["passwords"].items():
        problem = secret_problem(value)
        if problem:
            yield f"The password in {variable} {problem}."
    yield from _env_file_problems(inputs)
    yield from privilege_problems(inputs["privileges"], inputs["keys"])


def _name_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    for variable, value in {**inputs["roles"], **inputs["names"]}.items():
        problem = name_problem(value)
        if problem:
            yield f"{variable} {problem}."
        elif is_taken(value) and [variable, value] not in inputs["allowed"]:
            yield f"{variable} is {value!r}, a name that PostgreSQL keeps for itself: choose another."
    first_use: dict[str, str] = {}
    for variable, value in inputs["roles"].items():
        if value in first_use:
            yield f"{first_use[value]} and {variable} are both {value!r}, but the roles need different names."
        first_use[value] = variable
    for variable, value in inputs["others"].items():
        problem = text_problem(value)
        if problem:
            yield f"{variable} {problem}."
        if str(value) in first_use:
            yield f"{variable} is {value!r}, which is the role of {first_use[str(value)]}: it must be another one."


def _text_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    for variable, value in inputs["texts"].items():
        problem = text_problem(value)
        if problem:
            yield f"{variable} {problem}."
    for variable, value in inputs["lists"].items():
        if not isinstance(value, (list, tuple)):
            yield f"{variable} is {shown(value)}, but it must be a list; an empty one is written []."
            continue
        for each in value:
            problem = text_problem(each) or ("" if each != "" else "is empty")
            if problem:
                yield f"An entry of {variable} {problem}."
    for variable, value in inputs["directories"].items():
        problem = path_problem(value, home=True)
        if problem:
            yield f"{variable} {problem}."


def _time_problems(variable: str, value: Any) -> Iterator[str]:
    found = _TIME.fullmatch(str(value))
    if not found or int(found["number"]) * _MILLISECONDS[found["unit"]] > _LONGEST_TIME:
        yield f"{variable} is {shown(value)}, but it must be a time such as 500ms, 30s or 5min of at most 24 days, or 0 for no limit."


def _env_file_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    path = inputs["env_file"]
    if path == "":
        return
    if path_problem(path) or str(path).endswith("/"):
        yield f"mission_control_database_env_file is {shown(path)}, but it must be the absolute path of a file."
    for variable, value in inputs["env_values"].items():
        problem = value_problem(str(value))
        if problem:
            yield f"The value of {variable} {problem}: change it or set no mission_control_database_env_file."
