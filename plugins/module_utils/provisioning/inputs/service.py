# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_service before the host is looked at."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from ..files.env_file import value_problem
from .checks import (
    host_problem,
    host_text,
    number_problem,
    number_problems,
    own_inputs,
    secret_problem,
    session_attributes_problem,
    shown,
    text_problem,
    token_name_problems,
    token_problems,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_service_"
# As useradd of Debian takes it.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# What nobody guesses.
_SHORTEST_TOKEN = 16
_LONGEST_ENVIRONMENT = 100
_NUMBERS = {
    "health_cache_seconds": (0, 300),
    "threads": (2, 64),
    "connections_per_address": (8, 1000),
    "pool_size": (3, 100),
    "statement_timeout": (1, 300),
    "graceful_timeout": (1, 300),
    "database_port": (1, 65535),
}
_ENVIRONMENT, _HOST, _CA_CERT = f"{_PREFIX}environment", f"{_PREFIX}database_host", f"{_PREFIX}database_ca_cert"
_TEXTS = (
    _ENVIRONMENT,
    _HOST,
    "mission_control_database_name",
    "mission_control_database_service_role",
    f"{_PREFIX}database_ssl_mode",
    _CA_CERT,
)


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a token or a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    own = own_inputs(inputs, _PREFIX)
    yield from _address_problems(own)
    yield from number_problems(own, _NUMBERS, _PREFIX)
    if not _USER.fullmatch(str(own["user"])) or own["user"] == "root":
        yield (
            f"{_PREFIX}user is {shown(own['user'])}, but it must be the name of a user of its own, with 1 to 32 lower-case letters, digits, "
            "underscores and hyphens, that begins with a letter or an underscore."
        )
    if not _amount(own["budget_usd"]):
        yield f"{_PREFIX}budget_usd is {shown(own['budget_usd'])}, but it must be an amount above 0 such as 25 or 12.50, or empty for no budget."
    yield from _text_problems(inputs)
    yield from _token_problems(own["api_tokens"], own["refresh_tokens"])


def _address_problems(own: Mapping[str, Any]) -> Iterator[str]:
    address = str(own["bind_address"])
    try:
        ipaddress.ip_address(address)
    except ValueError:
        yield f"{_PREFIX}bind_address is {shown(address)}, but it must be an IP address such as 127.0.0.1, 192.168.1.5, 0.0.0.0 or ::1."
    problem = number_problem(own["port"], 1024, 65535)
    if problem:
        yield f"{_PREFIX}port {problem}, since the service has no right to open a lower one."


def _text_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    for name in _TEXTS:
        value = host_text(inputs[name]) if name == _HOST else inputs[name]
        problem = host_problem(inputs[name]) if name == _HOST else text_problem(value)
        problem = problem or value_problem(str(value))
        if name == _ENVIRONMENT and len(str(value)) > _LONGEST_ENVIRONMENT:
            problem = f"is {shown(value)} with {len(str(value))} characters, but {_LONGEST_ENVIRONMENT} are the most"
        elif value == "" and name != _CA_CERT:
            problem = "is empty, but it is needed"
        if problem:
            yield f"{name} {problem}."
    attributes = f"{_PREFIX}database_target_session_attrs"
    problem = session_attributes_problem(inputs[attributes], writes=False)
    if problem:
        yield f"{attributes} {problem}."
    name = "mission_control_database_service_password"
    problem = secret_problem(inputs[name]) or value_problem(str(inputs[name]))
    if problem:
        yield f"The password in {name} {problem}."


def _token_problems(api_tokens: Any, refresh_tokens: Any) -> Iterator[str]:
    # None is shown: it may hold tokens all the same.
    if not isinstance(api_tokens, (list, tuple)):
        yield f"{_PREFIX}api_tokens must be a list of tokens; an empty one is written []."
        return
    if not isinstance(refresh_tokens, dict):
        yield f"{_PREFIX}refresh_tokens must be a mapping of names to tokens; an empty one is written {{}}."
        return
    yield from token_name_problems(refresh_tokens, f"{_PREFIX}refresh_tokens")
    every = [(f"Token {number} in {_PREFIX}api_tokens", token) for number, token in enumerate(api_tokens, start=1)]
    every += [
        (f"Token {number} in {_PREFIX}refresh_tokens", token)
        for number, token in enumerate(refresh_tokens.values(), start=1)
    ]
    yield from token_problems(every, _SHORTEST_TOKEN)


def _amount(value: Any) -> bool:
    if value in ("", None):
        return True
    try:
        # In the form that the service reads: no exponent, six decimals at most.
        return bool(re.fullmatch(r"\d{1,9}(\.\d{1,6})?", str(value), re.ASCII)) and Decimal(str(value)) > 0
    except InvalidOperation:
        return False
