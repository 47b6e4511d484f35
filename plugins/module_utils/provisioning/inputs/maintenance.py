# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_maintenance before the host is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .checks import (
    host_problem,
    host_text,
    name_problem,
    number_problems,
    own_inputs,
    path_problem,
    problems_of,
    secret_problem,
    session_attributes_problem,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_maintenance_"
# As the functions of the database: a day at least, so that nobody removes what is being written. 0 is off.
_NUMBERS = {
    "task_events_days": (0, 36500),
    "gone_inventory_days": (0, 36500),
    "llm_bodies_days": (0, 36500),
    "tool_results_days": (0, 36500),
    "database_port": (1, 65535),
}
_TEXTS = ("schedule", "database_ssl_mode")
_NAMES = (
    "mission_control_database_name",
    "mission_control_database_schema",
    "mission_control_database_maintenance_role",
)
_PASSWORD, _CA_CERT = "mission_control_database_maintenance_password", f"{_PREFIX}database_ca_cert"


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    own = own_inputs(inputs, _PREFIX)
    yield from number_problems(own, _NUMBERS, _PREFIX)
    yield from problems_of(own, _TEXTS, _needed_text_problem, _PREFIX)
    yield from problems_of(own, ("database_host",), _needed_host_problem, _PREFIX)
    yield from problems_of(own, ("database_target_session_attrs",), session_attributes_problem, _PREFIX)
    yield from problems_of(inputs, _NAMES, name_problem)
    if inputs[_CA_CERT] != "":
        yield from problems_of(inputs, (_CA_CERT,), path_problem)
    yield from problems_of(inputs, (_PASSWORD,), secret_problem, "The password in ")


def _needed_host_problem(value: Any) -> str:
    return host_problem(value) or _needed_text_problem(host_text(value))


def _needed_text_problem(value: Any) -> str:
    return text_problem(value) or ("is empty, but it is needed" if not str(value).strip() else "")
