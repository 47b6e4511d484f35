# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options that the modules share, and the settings made from them.

Credentials are looked for in this order: the options, the environment of the module on the managed host, the env file
there, and at last the local socket, where the server takes the operating system's user at its word (peer). The first of
them that names a server or a login is used as a whole: what it leaves out is filled from no other.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SettingsError
from .settings import CHOICES, DEFAULT_ENV_FILE, ENV_FILE_VARIABLE, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

# Documented in plugins/doc_fragments/connection.py; names and aliases are those of community.postgresql.
CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "login_host": {"type": "str", "aliases": ["host"]},
    "login_port": {"type": "int", "aliases": ["port"]},
    "target_session_attrs": {"type": "str", "choices": [*CHOICES["target_session_attrs"]]},
    "login_unix_socket": {"type": "str", "aliases": ["unix_socket"]},
    "login_user": {"type": "str", "aliases": ["login"]},
    "login_password": {"type": "str", "no_log": True},
    "login_db": {"type": "str", "aliases": ["db"]},
    "url": {"type": "str", "no_log": True},
    "env_file": {"type": "path"},
    "ssl_mode": {"type": "str", "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"]},
    "ca_cert": {"type": "path", "aliases": ["ssl_rootcert"]},
    "ssl_cert": {"type": "path"},
    "ssl_key": {"type": "path"},
    "connect_timeout": {"type": "float"},
}
CONNECTION_MUTUALLY_EXCLUSIVE = [["login_host", "login_unix_socket"]]
_SETTINGS = {
    "login_host": "host",
    "login_unix_socket": "host",
    "login_port": "port",
    "login_user": "user",
    "login_password": "password",
    "login_db": "database",
    "ssl_mode": "sslmode",
    "ca_cert": "sslrootcert",
    "ssl_cert": "sslcert",
    "ssl_key": "sslkey",
    "connect_timeout": "connect_timeout",
    "target_session_attrs": "target_session_attrs",
}
# Whoever names one of these means a login of their own; what the environment or the env file says belongs to another.
_NAMING_OPTIONS = ("login_host", "login_unix_socket", "login_port", "login_user", "login_password", "url")
_NAMING_VARIABLES = (
    "DATABASE_URL",
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
)
# libpq reads all of its variables by itself for what it is not told: an address, a service, options for the session.
_LIBPQ = "PG"
_SECRET_OPTIONS = ("login_password", "url")
_NO_FILE = os.devnull


class Login(NamedTuple):
    """Where to connect, and what to say where that fails.

    Attributes:
        settings: of the client.
        advice: a sentence with the cure; empty where PostgreSQL's own message says enough.
    """

    settings: Settings
    advice: str

    def explain(self, message: str) -> str:
        """What is to be said where no connection was to be had, with the cure behind it."""
        end = "" if message.endswith((".", "?", "!")) else "."
        return f"{message}{end} {self.advice}".rstrip()


def login_from_options(options: Mapping[str, Any], environment: MutableMapping[str, str], **more: Any) -> Login:
    """The settings of a module's connection.

    Args:
        options: the module's, by the names in CONNECTION_OPTIONS; None and empty text count as not given.
        environment: of the module's process, on the managed host. Where it is not what names the login, libpq's variables
            are taken out of it, as libpq would add them to the login of another source.
        more: further settings, by their names in Settings.

    Raises:
        SettingsError: an option, a variable or a line of the env file is wrong, a file that was named cannot be read, or
            options and a file that was named both say what the login is.
    """
    given = {name: options.get(name) for name in CONNECTION_OPTIONS if options.get(name) not in (None, "")}
    for name, value in given.items():
        if isinstance(value, str) and not value.isprintable() and name not in _SECRET_OPTIONS:
            raise SettingsError(f"{name} is {value!r}, which holds a character that cannot be printed: change it.")
    by_options = [name for name in _NAMING_OPTIONS if name in given]
    if by_options and "env_file" in given:
        raise SettingsError(
            f"env_file and {by_options[0]} both say what the login is, and a password goes only to the server and the login that "
            "it was given for: leave one of them out."
        )
    variables = {} if by_options or "env_file" in given else environment
    named_file = given.get("env_file") or variables.get(ENV_FILE_VARIABLE)
    own_login = bool(by_options) or any(map(variables.get, _NAMING_VARIABLES))
    path = named_file or (_NO_FILE if own_login else DEFAULT_ENV_FILE)
    refused = _may_not_be_read(path)
    if named_file and refused:
        raise SettingsError(f"The env file {path} may not be read by {_user()}: {_BECOME_ROOT}.")
    if by_options or (not own_login and os.path.exists(path) and not refused):
        for name in [name for name in environment if name.startswith(_LIBPQ)]:
            del environment[name]
    settings = Settings.load(
        given.get("url"),
        env_file=_NO_FILE if refused or (not named_file and not os.path.exists(path)) else path,
        environment=variables,
        **{_SETTINGS[name]: value for name, value in given.items() if name in _SETTINGS},
        **more,
    )
    return Login(
        settings.without_tool_token(), _advice(settings, path if refused else "", own_login or bool(named_file))
    )


_BECOME_ROOT = "run with --become (become: true), so that root reads it"


def _may_not_be_read(path: str) -> bool:
    """Whether a file is there, as far as one can see, and is for others only."""
    try:
        with open(path, "rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def _advice(settings: Settings, refused_file: str, login_is_named: bool) -> str:
    user = _user()
    if refused_file:
        return (
            f"The env file {refused_file} is there but may not be read by {user}, so the login was the local one of {user}: "
            f"{_BECOME_ROOT}, or with --become-user postgres as well for the administrator's local login."
        )
    if not login_is_named:
        return (
            f"Neither options nor environment nor an env file name a login, so it was the local one of {user}: run with "
            "--become --become-user postgres, or give login_user and login_password, or set "
            f"mission_control_database_env_file to {DEFAULT_ENV_FILE}, so that the playbook writes the file."
        )
    local = settings.service is None and (settings.host or "/").startswith("/")
    if local and settings.password is None and settings.user not in (None, user):
        return (
            f"Over the local socket the server mostly lets the operating system's user log in and nobody else, and that is "
            f"{user}: run with --become --become-user {settings.user}, or give login_host and login_password."
        )
    return ""


def _user() -> str:
    """Name of the operating system's user, its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"
