# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the database is and how to behave towards it: read from arguments, the environment and an env file."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import SettingsError
from .env_file import read_env_file
from .postgres_url import parse_url, similar

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_FILE_VARIABLE = "MISSION_CONTROL_ENV_FILE"
DEFAULT_ENV_FILE = "/etc/mission-control/database.env"
DEFAULT_DATABASE = "mission_control"
VARIABLES = {
    "POSTGRES_HOST": "host",
    "POSTGRES_PORT": "port",
    "POSTGRES_DB": "database",
    "POSTGRES_USER": "user",
    "POSTGRES_PASSWORD": "password",
    "POSTGRES_SSLMODE": "sslmode",
    "POSTGRES_SSLROOTCERT": "sslrootcert",
    "POSTGRES_TARGET_SESSION_ATTRS": "target_session_attrs",
}
TOOL_TOKEN_VARIABLE = "MISSION_CONTROL_TOOL_TOKEN"  # noqa: S105 - the name of a variable
# The server's name for it: a placeholder setting of the session, which no statement has to quote.
TOOL_TOKEN_SETTING = "mission_control.tool_token"  # noqa: S105 - the name of a setting
# What says which server and which login is meant. Whatever names one of these names a login of its own.
_LOGIN = ("host", "port", "user", "service")
_DEFAULT_PORT = 5432
_MASK = "********"
# Defaults for one host and for several, of which one may be silent while another takes over: there a cut network ends a call within
# 11 s, and no call takes longer than 30 s. docs/library.md has the arithmetic.
_BY_HOSTS: dict[str, tuple[Any, Any]] = {
    "target_session_attrs": (None, "read-write"),
    "connect_timeout": (10, 3),
    "commit_timeout": (None, 10),
    "keepalives_idle": (30, 5),
    "keepalives_interval": (10, 2),
    "keepalives_count": (3, 3),
    "unacknowledged_timeout": (30, 10),
    "pool_timeout": (30, 18),
}
_DEFAULT_BY_HOSTS: Any = None
# A shorter password could be a word of any message; masking it would tell more than it hides.
_SHORTEST_MASKED = 4


class Secret:
    """Text that does not show itself: not in repr, str, format, a dump of the settings or a traceback with locals."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{_MASK}')"

    def __str__(self) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self


@dataclass(frozen=True)
class Settings:
    """All settings of a client. Times are in seconds; None leaves the matter to libpq or to the server.

    Where `host` names several, some defaults are others (_BY_HOSTS).

    Attributes:
        host: name, address, or directory of the Unix socket; several separated by commas are tried in order.
        port: a number, or one for each host separated by commas.
        database: defaults to mission_control unless libpq's own settings name one.
        user, password: without a password libpq looks into its password file.
        service: a section of libpq's service file; passfile: another password file than ~/.pgpass.
        sslmode, sslrootcert, sslcert, sslkey, channel_binding: as libpq has them.
        require_auth: ways in which the server may ask for the password, as libpq from 16 on has it. None: not in clear
            text, unless its certificate is verified (sslmode verify-ca or verify-full).
        target_session_attrs: which of several hosts will do, in libpq's words: any, read-write, read-only, primary, standby,
            prefer-standby. Of several hosts by default one that takes writes.
        application_name: what the server shows in pg_stat_activity.
        options: further server settings for the session in libpq's form, such as "-c search_path=lab".
        connect_timeout: for one attempt to connect to one host; libpq knows whole seconds from 2 on.
        commit_timeout: a COMMIT without an answer has its connection cut then, and so has a single statement that waits for a
            synchronous standby. None: 10 for several hosts, never for one; infinity: never.
        statement_timeout, lock_timeout, idle_in_transaction_timeout: the server's, None: as its role settings say.
        keepalives_idle, keepalives_interval, keepalives_count: when a peer that is silent counts as dead, and
            unacknowledged_timeout: when one that does not acknowledge what was sent does.
        pool_size: connections at most.
        pool_timeout: how long a caller waits for a connection.
        pool_max_waiting: how many callers may wait at once.
        pool_check_after: a connection that was idle for longer is asked a question before it is handed out.
        pool_max_idle: a connection that was idle for longer is closed; the last one stays.
        pool_max_lifetime: an older connection is replaced, each up to a tenth earlier so that not all go at once.
        llm_bodies: how much of prompts and replies the ledger stores: none, truncated or full.
        tool_token: who asks for calls of tools, or decides about them: 32 to 512 characters of a bearer token. It goes to the server
            with the login and stands in no statement.
        slow_query: a statement that takes longer is logged as a warning; infinity: none is.
        env_file: where the password was read; a pool reads it there again when it cannot connect. Set by `load` alone.
        withheld: which password was left out, as it belongs to another login: sentences for a message. Set by `load` alone.
    """

    host: str | None = None
    port: int | str | None = None
    database: str | None = None
    user: str | None = None
    password: Secret | None = field(default=None)
    service: str | None = None
    passfile: str | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    channel_binding: str | None = None
    require_auth: str | None = None
    target_session_attrs: str | None = None
    application_name: str = "mission_control"
    options: str = ""
    connect_timeout: float = _DEFAULT_BY_HOSTS
    commit_timeout: float | None = None
    statement_timeout: float | None = None
    lock_timeout: float | None = None
    idle_in_transaction_timeout: float | None = None
    keepalives_idle: float = _DEFAULT_BY_HOSTS
    keepalives_interval: float = _DEFAULT_BY_HOSTS
    keepalives_count: int = _DEFAULT_BY_HOSTS
    unacknowledged_timeout: float = _DEFAULT_BY_HOSTS
    pool_size: int = 20
    pool_timeout: float = _DEFAULT_BY_HOSTS
    pool_max_waiting: int = 1000
    pool_check_after: float = 10
    pool_max_idle: float = 600
    pool_max_lifetime: float = 3600
    slow_query: float = 1
    llm_bodies: str = "truncated"
    tool_token: Secret | None = field(default=None)
    env_file: str | None = None
    withheld: str = ""

    def __post_init__(self) -> None:
        for name in _SECRETS:
            if getattr(self, name) == "":
                object.__setattr__(self, name, None)
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(each.name, getattr(self, each.name), each.name))
        _check_hosts(self.host, self.port, self.service)
        for name, defaults in _BY_HOSTS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, defaults[self.has_several_hosts])

    @classmethod
    def load(
        cls,
        url: str | None = None,
        *,
        env_file: str | None = None,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Settings:
        """Put settings together; what stands earlier here wins.

        1. `options`, named as the attributes. An option that is None counts as not given.
        2. `url`, or DATABASE_URL of the environment: it replaces the variables of the environment as a whole.
        3. POSTGRES_HOST and its siblings of the environment.
        4. The same variables, or DATABASE_URL, of an env file: `env_file`, else the one that MISSION_CONTROL_ENV_FILE
           names, else /etc/mission-control/database.env where that exists and may be read.
        5. What libpq finds by itself: PGHOST and its siblings, service file, password file.

        A source that speaks of another host, port, user or service than one before it is left out as a whole, so that its
        password goes to no other server. POSTGRES_PASSWORD alone, without a host, port or user beside it, is for the login
        that the options name. MISSION_CONTROL_TOOL_TOKEN is read in the environment, else in the env file that is used.

        Raises:
            SettingsError: a setting is wrong, there is none of that name, or `url` and `options` name different logins.
        """
        environ: Mapping[str, str] = os.environ if environment is None else environment
        for name in options:
            if name not in _NAMES:
                raise SettingsError(f"There is no setting {name!r}{similar(name, _NAMES)}.")
        values = {name: _checked(name, value, name) for name, value in options.items() if value is not None}
        token = environ.get(TOOL_TOKEN_VARIABLE)
        if token:
            values.setdefault("tool_token", _checked("tool_token", token, TOOL_TOKEN_VARIABLE))
        withheld: list[str] = []
        if url is not None:
            named = _from_url(url, "the URL")
            if _is_of_another_login(named, values, in_file=False):
                raise SettingsError(
                    "The URL and the options beside it name different logins: give either, or let them agree."
                )
            values = {**named, **values}
        else:
            own = _from_variables(environ, "")
            _add(values, own, "the environment", withheld)
            if not environ.get("DATABASE_URL"):
                path = env_file or environ.get(ENV_FILE_VARIABLE)
                found = _from_file(path or DEFAULT_ENV_FILE, required=bool(path))
                path = path or DEFAULT_ENV_FILE
                # A password of the environment and another one of the file: two logins, of which the first is meant.
                if found.get("password") and own.get("password") not in (None, found["password"]):
                    found = {}
                    withheld.append(f"The password of {path} was not used: the environment has another one.")
                if (
                    _add(values, found, path, withheld)
                    and "password" in found
                    and found["password"] is values["password"]
                ):
                    values["env_file"] = path
        names_login = any(name in values for name in (*_LOGIN, "password"))
        of_libpq = not names_login and (environ.get("PGDATABASE") or environ.get("PGSERVICE"))
        if not (values.get("database") or values.get("service") or of_libpq):
            values["database"] = DEFAULT_DATABASE
        return cls(**values, withheld=" ".join(withheld))

    @property
    def names_login(self) -> bool:
        """Whether these settings say which server or login is meant. Otherwise that is libpq's matter, and its environment's."""
        return any(getattr(self, name) is not None for name in (*_LOGIN, "password"))

    @property
    def has_several_hosts(self) -> bool:
        return self.host is not None and "," in self.host

    @property
    def wanted_server(self) -> str | None:
        """What libpq is told as target_session_attrs. For a session that is read-only by itself it would find no read-write server."""
        names = [name for name, _value in _OPTION.findall(self.options)]
        reads = "default_transaction_read_only" in names
        return "primary" if reads and self.target_session_attrs == "read-write" else self.target_session_attrs

    def on_host(self, host: str, port: int | str) -> Settings:
        """These settings for one of the hosts, whatever it is."""
        return replace(self, host=host, port=port, target_session_attrs="any")

    def renewed(self) -> Settings | None:
        """These settings with the password that the env file holds now; None where it holds no other one.

        Nor where the file has come to name another server or login: the one would get to see the password of the other.
        """
        if self.env_file is None:
            return None
        try:
            values = _from_file(self.env_file, required=True)
        except SettingsError:
            return None
        password = values.get("password")
        same_login = all(
            values.get(name) in (None, getattr(self, name)) for name in ("host", "port", "database", "user", "service")
        )
        return replace(self, password=password) if password and password != self.password and same_login else None

    def without_tool_token(self) -> Settings:
        """These settings for whoever has nothing to do with tools, and should not carry about who asks for them."""
        return replace(self, tool_token=None)

    def describe(self) -> str:
        """The server and the login for a message, without a password."""
        if self.service:
            return f"the service {self.service}"
        parts = [f"database {self.database}" if self.database else "the default database"]
        if self.host:
            parts.append(f"on {self.host}" + (f" port {self.port}" if self.port else ""))
        elif self.port:
            parts.append(f"on port {self.port}")
        if self.user:
            parts.append(f"as {self.user}")
        return " ".join(parts)

    def redact(self, text: str) -> str:
        """Mask the password and the token wherever they stand in a text: as they are, or quoted for SQL or for a URL."""
        if not isinstance(text, str):  # of a caller who gave something else for a statement
            return f"({type(text).__name__})"
        forms: set[str] = set()
        for name in _SECRETS:
            kept: Secret | None = getattr(self, name)
            secret = kept.reveal() if kept else ""
            if len(secret) >= _SHORTEST_MASKED:
                forms |= {secret, quote(secret, safe=""), *(secret.replace(mark, mark * 2) for mark in "'\"%\\")}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, _MASK)
        return text

    def connection_parameters(self) -> dict[str, Any]:
        """libpq's parameters, the password in clear among them: to be handed on at once and kept nowhere."""
        parameters = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password.reveal() if self.password else None,
            "service": self.service,
            "passfile": self.passfile,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "sslcert": self.sslcert,
            "sslkey": self.sslkey,
            "channel_binding": self.channel_binding,
            "require_auth": self.require_auth,
            "target_session_attrs": self.wanted_server,
            "application_name": self.application_name,
            "client_encoding": "UTF8",
            "connect_timeout": max(2, round(self.connect_timeout)),
            "keepalives_idle": round(self.keepalives_idle),
            "keepalives_interval": round(self.keepalives_interval),
            "keepalives_count": self.keepalives_count,
            "tcp_user_timeout": round(self.unacknowledged_timeout * 1000),
            "options": self._session_options() or None,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def local_settings(self) -> str | None:
        """Statements that make the session's settings for one transaction, for poolers that take none at the login.

        None where `options` holds anything else than settings.
        """
        text = self._session_options()
        if _OPTION.sub("", text).strip():
            return None
        return "; ".join(
            f"SET LOCAL {_OF_TRANSACTION.get(name, name)} = '{_UNESCAPED.sub(_SECOND, value).replace(chr(39), chr(39) * 2)}'"
            for name, value in _OPTION.findall(text)
        )

    def _session_options(self) -> str:
        """Server settings that travel with the login and so cost no round trip of their own."""
        timeouts = {
            "statement_timeout": self.statement_timeout,
            "lock_timeout": self.lock_timeout,
            "idle_in_transaction_session_timeout": self.idle_in_transaction_timeout,
        }
        words = [self.options] if self.options else []
        # 0 would switch a time-out off, so the shortest one is a millisecond.
        words += [
            f"-c {name}={max(1, round(seconds * 1000)) if seconds else 0}"
            for name, seconds in timeouts.items()
            if seconds is not None
        ]
        # Its characters need no backslash there.
        words += [f"-c {TOOL_TOKEN_SETTING}={self.tool_token.reveal()}"] if self.tool_token else []
        return " ".join(words)


# A setting in libpq's form of options, where a backslash takes the next character as it is.
_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.]*)=((?:\\.|[^\s\\])*)(?=\s|$)")
_UNESCAPED = re.compile(r"\\(.)")
_SECOND = r"\1"
# Defaults of transactions do nothing for the one that has begun.
_OF_TRANSACTION = {
    "default_transaction_read_only": "transaction_read_only",
    "default_transaction_isolation": "transaction_isolation",
    "default_transaction_deferrable": "transaction_deferrable",
}
# What a program, a URL or a variable may set.
_NAMES = tuple(each.name for each in fields(Settings) if each.name not in ("env_file", "withheld"))
# A URL is shown and handed on more readily than a variable, and says where the database is, not who asks for a tool.
_URL_NAMES = tuple(name for name in _NAMES if name != "tool_token")
_SECRETS = ("password", "tool_token")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_TOKEN_LENGTHS = range(32, 513)
_POSITIVE = {
    "connect_timeout",
    "commit_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "pool_timeout",
    "pool_max_lifetime",
}
_ENDLESS = ("commit_timeout", "slow_query")
_NOT_NEGATIVE = {
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_timeout",
    "unacknowledged_timeout",
    "pool_check_after",
    "pool_max_idle",
    "slow_query",
}
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "llm_bodies": ("none", "truncated", "full"),
}
_WHOLE = {"pool_size": 1, "pool_max_waiting": 0, "keepalives_count": 1}
# Days beyond which a number of seconds is a mistake, and C's int would overflow in milliseconds.
_LONGEST = 24 * 86400


def _checked(name: str, value: Any, label: str, show: bool = True) -> Any:
    """The value in its own type. `show` is False where it may be a misplaced password."""
    if value is None:
        return None
    shown = f", not {value!r}" if show else ""
    if name in _SECRETS:
        if isinstance(value, str):
            value = Secret(value)
        if not isinstance(value, Secret):
            raise SettingsError(f"The setting {label} must be text.")
        if "\0" in value.reveal():
            raise SettingsError(f"The setting {label} holds the character NUL.")
        if name == "tool_token" and not is_token(value.reveal()):
            raise SettingsError(
                f"The setting {label} must be a token of {_TOKEN_LENGTHS[0]} to {_TOKEN_LENGTHS[-1]} letters, digits and -._~+/: "
                "make one with `openssl rand -hex 32`."
            )
        return value
    if name == "port":
        if isinstance(value, bool) or not all(_is_port(part) for part in str(value).split(",")):
            raise SettingsError(f"The setting {label} must be a port number from 1 to 65535{shown}.")
        return int(value) if str(value).isdigit() else str(value)
    if name in _WHOLE:
        least = _WHOLE[name]
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,6}", str(value)) or int(value) < least:
            raise SettingsError(f"The setting {label} must be a whole number, {least} or more{shown}.")
        return int(value)
    if name in _POSITIVE or name in _NOT_NEGATIVE:
        seconds = _seconds(value)
        endless = name in _ENDLESS and seconds == float("inf")
        if (
            seconds is None
            or (seconds > _LONGEST and not endless)
            or seconds < 0
            or (seconds == 0 and name in _POSITIVE)
        ):
            least_text = "more than 0" if name in _POSITIVE else "0 or more"
            raise SettingsError(f"The setting {label} must be a number of seconds, {least_text}{shown}.")
        return seconds
    if not isinstance(value, str):
        raise SettingsError(f"The setting {label} must be text{shown}.")
    if "\0" in value:
        raise SettingsError(f"The setting {label} holds the character NUL.")
    if name in CHOICES and value not in CHOICES[name]:
        raise SettingsError(f"The setting {label} must be one of {', '.join(CHOICES[name])}{shown}.")
    return value


def _check_hosts(host: str | None, port: int | str | None, service: str | None) -> None:
    """Refuse lists that libpq would refuse, or read otherwise than they look."""
    hosts = host.split(",") if host else [""]
    if len(hosts) > 1 and not all(each and each == each.strip() for each in hosts):
        raise SettingsError("The setting host has an empty name or a blank in it: separate its hosts by commas alone.")
    ports = str(port).split(",")
    # Hosts may be the service's matter.
    if len(ports) not in (1, len(hosts)) and (host or not service):
        raise SettingsError(
            f"The setting port has {len(ports)} numbers for {len(hosts)} host{'s' if len(hosts) > 1 else ''}: "
            "give one for all, or one for each host."
        )


def is_token(text: str) -> bool:
    """Whether the text has the form of a token: 32 to 512 characters of RFC 6750."""
    return len(text) in _TOKEN_LENGTHS and _TOKEN.fullmatch(text) is not None


def _is_port(text: str) -> bool:
    return re.fullmatch(r"\d{1,5}", text, re.ASCII) is not None and 1 <= int(text) <= 65535


def _seconds(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return None if isinstance(value, float) and math.isnan(value) else value
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        return float(value)
    return None


def _from_url(url: str, label: str) -> dict[str, Any]:
    values = {}
    for name, value in parse_url(url, label, _URL_NAMES).items():
        values[name] = _checked(name, value, f"{name} in {label}", show=False)
    return values


def _from_variables(variables: Mapping[str, str], where: str) -> dict[str, Any]:
    """An empty variable counts as not set, as it comes out of many a compose file."""
    url = variables.get("DATABASE_URL")
    if url:
        return _from_url(url, f"DATABASE_URL{where}")
    return {
        name: _checked(name, variables[variable], f"{variable}{where}")
        for variable, name in VARIABLES.items()
        if variables.get(variable)
    }


def _from_file(path: str, required: bool) -> dict[str, Any]:
    variables = read_env_file(path, required)
    values = _from_variables(variables, f" in {path}") if variables else {}
    token = variables.get(TOOL_TOKEN_VARIABLE)
    return (
        {**values, "tool_token": _checked("tool_token", token, f"{TOOL_TOKEN_VARIABLE} in {path}")} if token else values
    )


def _add(values: dict[str, Any], source: Mapping[str, Any], label: str, withheld: list[str]) -> bool:
    """Add what a source says to what is said already, unless it speaks of another login."""
    if _is_of_another_login(source, values, in_file=label != "the environment"):
        if "password" in source:
            withheld.append(f"The password of {label} was not used: it belongs to {_server(source)}.")
        return False
    for name, value in source.items():
        values.setdefault(name, value)
    return True


def _is_of_another_login(source: Mapping[str, Any], named: Mapping[str, Any], in_file: bool) -> bool:
    """Whether a source speaks of another server or login than is named already, or its password belongs to another one."""
    if any(name in named and name in source and named[name] != source[name] for name in _LOGIN):
        return True
    says, said = ({name for name in _LOGIN if name in each} for each in (source, named))
    if says and said and ("service" in says) != ("service" in said):
        return True
    if "password" not in source or not (says or in_file):
        return False
    # What names no host means the local server, and what names no port the usual one.
    if said & {"host", "service"} and not says & {"host", "service"}:
        return True
    return "service" not in says and named.get("port", source.get("port", _DEFAULT_PORT)) != source.get(
        "port", _DEFAULT_PORT
    )


def _server(source: Mapping[str, Any]) -> str:
    if "service" in source:
        return f"the service {source['service']}"
    host = source.get("host", "the local server")
    port = f" port {source['port']}" if "port" in source else ""
    user = f" as {source['user']}" if "user" in source else ""
    return f"{host}{port}{user}"
