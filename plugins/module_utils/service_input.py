# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge the inputs of the role mission_control_service before the host is looked at."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from .env_file import value_problem
from .input_checks import integer
from .kept_password import password_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_service_"
# As useradd of Debian takes it.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# What RFC 6750 allows in a bearer token, in the length that nobody guesses.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 512
_NUMBERS = {
    "health_cache_seconds": (0, 300),
    "threads": (2, 64),
    "pool_size": (3, 100),
    "statement_timeout": (1, 300),
    "graceful_timeout": (1, 300),
    "database_port": (1, 65535),
}


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names without the prefix. No sentence holds a token or a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    yield from _address_problems(inputs)
    for name, (least, most) in _NUMBERS.items():
        number = integer(inputs[name])
        if number is None or not least <= number <= most:
            yield f"{_PREFIX}{name} is {inputs[name]!r}, but it must be a whole number from {least} to {most}."
    if not _USER.fullmatch(str(inputs["user"])) or inputs["user"] == "root":
        yield (
            f"{_PREFIX}user is {inputs['user']!r}, but it must be the name of a user of its own, with 1 to 32 lower-case letters, digits, "
            "underscores and hyphens, that begins with a letter or an underscore."
        )
    if not _amount(inputs["budget_usd"]):
        yield f"{_PREFIX}budget_usd is {inputs['budget_usd']!r}, but it must be an amount above 0 such as 25 or 12.50, or empty for no budget."
    yield from _text_problems(inputs)
    yield from _token_problems(inputs["api_tokens"])


def _address_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    address = str(inputs["bind_address"])
    try:
        ipaddress.ip_address(address)
    except ValueError:
        yield f"{_PREFIX}bind_address is {address!r}, but it must be an IP address such as 127.0.0.1, 192.168.1.5, 0.0.0.0 or ::1."
    port = integer(inputs["port"])
    if port is None or not 1024 <= port <= 65535:
        yield (
            f"{_PREFIX}port is {inputs['port']!r}, but it must lie between 1024 and 65535, "
            "since the service has no right to open a lower one."
        )


def _text_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    for name in (
        "environment",
        "database_host",
        "database_name",
        "database_user",
        "database_ssl_mode",
        "database_ca_cert",
    ):
        value = str(inputs[name])
        problem = value_problem(value) or (
            "is longer than 100 characters" if name == "environment" and len(value) > 100 else ""
        )
        if not value and name != "database_ca_cert":
            problem = "is empty"
        if problem:
            yield f"The value of {_PREFIX}{name} {problem}: change it."
    password = str(inputs["database_password"])
    problem = (password_problem(password) or value_problem(password)) if password else ""
    if problem:
        yield f"The password in {_PREFIX}database_password {problem}: change it."


def _token_problems(tokens: Any) -> Iterator[str]:
    for number, token in enumerate(tokens, start=1):
        which = f"Token {number} in {_PREFIX}api_tokens"
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            yield f"{which} may hold letters, digits and - . _ ~ + / only: take the output of openssl rand -hex 32."
        elif not _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN:
            yield (
                f"{which} has {len(token)} characters, but a token has {_SHORTEST_TOKEN} to {_LONGEST_TOKEN}: "
                "take the output of openssl rand -hex 32."
            )
        elif token in tokens[: number - 1]:
            yield f"{which} is there twice: remove one of them."


def _amount(value: Any) -> bool:
    if value in ("", None):
        return True
    try:
        # In the form that the service reads: no exponent, six decimals at most.
        return bool(re.fullmatch(r"\d{1,9}(\.\d{1,6})?", str(value), re.ASCII)) and Decimal(str(value)) > 0
    except InvalidOperation:
        return False
