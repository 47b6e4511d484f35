# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the service must not show: the login of the database and the tokens of its callers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .configuration import ConfigurationError
from .tokens import Tokens, TokensError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

DATABASE_FILE = "database.env"
TOKENS_FILE = "api-tokens"
REFRESH_TOKENS_FILE = "refresh-tokens"
_OTHERS = ("DATABASE_URL", "MISSION_CONTROL_ENV_FILE")


@dataclass(frozen=True)
class Credentials:
    """Read once, when the service starts.

    Attributes:
        env_file: with the POSTGRES_* settings of the database; None: the client library looks for itself.
        tokens: what may read the API and the page.
        refresh_tokens: what may ask for a refresh of the inventory, by their names; they read nothing.
    """

    env_file: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    refresh_tokens: Tokens = field(default_factory=Tokens)

    def forget_other_databases(self, environment: MutableMapping[str, str]) -> None:
        """Remove what names a database beside the env file, where there is one: it names the database alone.

        The environment may be that of another application or of whoever starts the service by hand. libpq reads PGHOST,
        PGOPTIONS and their siblings for all that a file leaves open, and POSTGRES_… of the environment would go before the file.
        """
        if self.env_file is not None:
            for name in [name for name in environment if name in _OTHERS or name.startswith(("PG", "POSTGRES_"))]:
                del environment[name]

    @classmethod
    def load(cls, directory: str | None) -> Credentials:
        """Read the directory; each file in it may be missing.

        Raises:
            ConfigurationError: the directory or a file cannot be read, or does not hold what it should.
        """
        if directory is None:
            return cls()
        if not os.path.isdir(directory):
            raise ConfigurationError(
                f"The directory of the secrets, {directory}, does not exist: make it, or leave the setting out."
            )
        env_file = os.path.join(directory, DATABASE_FILE)
        tokens = _tokens(os.path.join(directory, TOKENS_FILE))
        refresh_file = os.path.join(directory, REFRESH_TOKENS_FILE)
        refresh_tokens = _tokens(refresh_file, named=True)
        if refresh_tokens.shares_with(tokens):
            raise ConfigurationError(
                f"In {refresh_file} is a token that is in {TOKENS_FILE} too: make another one for it."
            )
        return cls(env_file if os.path.exists(env_file) else None, tokens, refresh_tokens)


def _tokens(path: str, named: bool = False) -> Tokens:
    try:
        return Tokens.parse(_read(path) or "", named)
    except TokensError as error:
        raise ConfigurationError(f"In {path}, {error}") from None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        # Not chained: a UnicodeDecodeError carries the whole content.
        raise ConfigurationError(f"{path} cannot be read: {reason}.") from None
