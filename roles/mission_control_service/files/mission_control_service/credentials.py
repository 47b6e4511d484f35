# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the service must not show: the login of the database and the tokens of its callers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .configuration import ConfigurationError
from .tokens import Tokens, TokensError

DATABASE_FILE = "database.env"
TOKENS_FILE = "api-tokens"


@dataclass(frozen=True)
class Credentials:
    """Read once, when the service starts.

    Attributes:
        env_file: with the POSTGRES_* settings of the database; None: the client library looks for itself.
        tokens: what opens the API and the page; without any both are off.
    """

    env_file: str | None = None
    tokens: Tokens = field(default_factory=Tokens)

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
        tokens_file = os.path.join(directory, TOKENS_FILE)
        try:
            tokens = Tokens.parse(_read(tokens_file) or "")
        except TokensError as error:
            raise ConfigurationError(f"In {tokens_file}, {error}") from None
        return cls(env_file if os.path.exists(env_file) else None, tokens)


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
