# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of the service: environment variables, all of them with a default."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "MISSION_CONTROL_SERVICE_"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_BIND = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]/]+):(?P<port>\d{1,5})", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)
_COOKIE_SECURE = ("auto", "always", "never")


class ConfigurationError(Exception):
    """A setting, or a file that one names, is wrong. The message is a sentence that names it and the cure."""


@dataclass(frozen=True)
class Configuration:
    """What the environment says; the variables are these names in capitals after MISSION_CONTROL_SERVICE_.

    Attributes:
        bind: address and port to listen on, such as 127.0.0.1:3000 or [::1]:3000.
        environment: name of the environment, shown by /health and on the page.
        secrets_directory: where `database.env`, `api-tokens` and `refresh-tokens` are; systemd's $CREDENTIALS_DIRECTORY goes
            before it. None: no tokens, and the database as the client library finds it.
        health_cache_seconds: for how long the result of a health check is given to everybody who asks.
        threads: requests that are worked on at the same time.
        connections_per_address: how many connections one address, or one IPv6 network, has at most at the same time.
        pool_size: connections to the database at most.
        statement_timeout: seconds after which the server cancels a statement of this service.
        graceful_timeout: seconds that a stop gives to requests that are being answered.
        budget_usd: what language models may cost in a month, in USD; None: there is no budget.
        cookie_secure: whether the cookie of the page is sent over HTTPS only: "auto" (if the page was), "always", "never".
    """

    bind: str = "127.0.0.1:3000"
    environment: str = "production"
    secrets_directory: str | None = None
    health_cache_seconds: float = 5
    threads: int = 8
    connections_per_address: int = 256
    pool_size: int = 10
    statement_timeout: float = 5
    graceful_timeout: int = 20
    budget_usd: Decimal | None = None
    cookie_secure: str = "auto"

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Configuration:
        """Read the environment; a variable that is empty counts as not set.

        Raises:
            ConfigurationError: a variable has a wrong value, or its name is not one of ours.
        """
        environ = os.environ if environment is None else environment
        given = {name[len(PREFIX) :]: value for name, value in environ.items() if name.startswith(PREFIX) and value}
        for name in given:
            if name.lower() not in cls.__dataclass_fields__:
                known = ", ".join(PREFIX + each.upper() for each in cls.__dataclass_fields__)
                raise ConfigurationError(f"There is no setting {PREFIX}{name}; there are {known}.")
        chosen = _Values(given)
        return cls(
            bind=chosen.bind(cls.bind),
            environment=chosen.text("ENVIRONMENT", cls.environment),
            secrets_directory=environ.get(CREDENTIALS_VARIABLE) or given.get("SECRETS_DIRECTORY"),
            health_cache_seconds=chosen.seconds("HEALTH_CACHE_SECONDS", cls.health_cache_seconds, 0, 300),
            threads=chosen.whole("THREADS", cls.threads, 2, 64),
            connections_per_address=chosen.whole("CONNECTIONS_PER_ADDRESS", cls.connections_per_address, 8, 1000),
            pool_size=chosen.whole("POOL_SIZE", cls.pool_size, 3, 100),
            statement_timeout=chosen.seconds("STATEMENT_TIMEOUT", cls.statement_timeout, 0.1, 300),
            graceful_timeout=chosen.whole("GRACEFUL_TIMEOUT", cls.graceful_timeout, 1, 300),
            budget_usd=chosen.money("BUDGET_USD"),
            cookie_secure=chosen.choice("COOKIE_SECURE", cls.cookie_secure, _COOKIE_SECURE),
        )

    @property
    def host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])


class _Values:
    """The values that were given, each checked when it is asked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def text(self, name: str, default: str) -> str:
        value = self._given.get(name, default)
        if len(value) > 100 or not value.isprintable():
            raise ConfigurationError(f"{PREFIX}{name} must be printable text of at most 100 characters.")
        return value

    def bind(self, default: str) -> str:
        value = self._given.get("BIND", default)
        match = _BIND.fullmatch(value)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise ConfigurationError(
                f"{PREFIX}BIND must be an address and a port such as 127.0.0.1:3000 or [::1]:3000, not {value!r}."
            )
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self._given.get(name, default)
        if value not in choices:
            raise ConfigurationError(f"{PREFIX}{name} must be one of {', '.join(choices)}, not {value!r}.")
        return value

    def seconds(self, name: str, default: float, least: float, most: float) -> float:
        value = self._given.get(name, str(default))
        if not _NUMBER.fullmatch(value) or not least <= float(value) <= most:
            raise ConfigurationError(
                f"{PREFIX}{name} must be a number of seconds from {least:g} to {most:g}, not {value!r}."
            )
        return float(value)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self._given.get(name, str(default))
        if not re.fullmatch(r"\d{1,6}", value, re.ASCII) or not least <= int(value) <= most:
            raise ConfigurationError(f"{PREFIX}{name} must be a whole number from {least} to {most}, not {value!r}.")
        return int(value)

    def money(self, name: str) -> Decimal | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not _NUMBER.fullmatch(value) or Decimal(value) == 0:
            raise ConfigurationError(
                f"{PREFIX}{name} must be an amount in USD above 0 such as 25 or 12.50, not {value!r}."
            )
        return Decimal(value)
