# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the service must not show: the login of the database, the tokens of its callers, the key of its cookies."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field

from .configuration import ConfigurationError
from .tokens import Tokens, TokensError

DATABASE_FILE = "database.env"
TOKENS_FILE = "api-tokens"
COOKIE_FILE = "cookie-key"
_SHORTEST_KEY = 32


@dataclass(frozen=True)
class Credentials:
    """Read once, when the service starts.

    Attributes:
        env_file: with the POSTGRES_* settings of the database; None: the client library looks for itself.
        tokens: what opens the API and the page; without any both are off.
        cookie_key: signs the cookie of the page. Without a file it is made anew, and a restart ends all sessions.
    """

    env_file: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    cookie_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

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
        key = (_read(os.path.join(directory, COOKIE_FILE)) or "").strip()
        if key and len(key) < _SHORTEST_KEY:
            raise ConfigurationError(
                f"The key in {os.path.join(directory, COOKIE_FILE)} has {len(key)} characters: it needs {_SHORTEST_KEY} or more."
            )
        return cls(env_file if os.path.exists(env_file) else None, tokens, key or secrets.token_hex(32))


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
