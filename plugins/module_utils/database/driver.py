# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the library asks of psycopg2: connections set up as it needs them, parameters and errors translated."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import functools
import json
import os
import re
import sys
import threading
import uuid
from logging import getLogger
from typing import TYPE_CHECKING, Any, Callable

from ..errors import (
    ConnectError,
    ConnectionLostError,
    DriverError,
    MissionControlError,
    ParameterError,
    QueryError,
    ResultError,
    query_error_class,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Union

    from .settings import Settings

    Parameters = Union[Sequence[Any], Mapping[str, Any], None]

try:
    import psycopg2
    import psycopg2.extensions
except ImportError as error:
    # A host of Ansible may lack it, and what merely imports this library must not fail there.
    _MISSING = str(error)
    DRIVER_ERRORS: tuple[type[Exception], ...] = ()
else:
    _MISSING = ""
    DRIVER_ERRORS = (psycopg2.Error,)

    class _Connection(psycopg2.extensions.connection):
        """One that does not show what it was opened with: psycopg2 masks a password there, and no token among the options."""

        def __repr__(self) -> str:
            return f"<Connection, {'closed' if self.closed else 'open'}>"

        # psycopg2 has one of its own.
        __str__ = __repr__


logger = getLogger("mission_control")
IDLE = 0  # psycopg2.extensions.TRANSACTION_STATUS_IDLE and its siblings
ACTIVE = 1
IN_TRANSACTION = 2
IN_ERROR = 3
UNKNOWN = 4

# What psycopg2 writes for a parameter that does not fit; a UnicodeError and a "cannot contain NUL" are ValueErrors.
PARAMETER_ERRORS: tuple[type[Exception], ...] = (TypeError, IndexError, KeyError, ValueError)
# What comes of a value that Python has no form for: years before Christ, JSON that is nested too deep.
RESULT_ERRORS: tuple[type[Exception], ...] = (ValueError, OverflowError, RecursionError, *DRIVER_ERRORS)


def require_driver() -> None:
    if _MISSING:
        raise DriverError(
            f"psycopg2 cannot be imported by {sys.executable} ({_MISSING}): install python3-psycopg2, "
            "or psycopg2-binary with pip."
        )


# Variables of libpq's environment: the parameter that stands in for each, since which libpq there is one, and a value of it
# that says as much as nothing. Empty text is not read from the environment again.
_LIBPQ_VARIABLES = (
    ("PGHOST", "host", 0, ""),
    ("PGHOSTADDR", "hostaddr", 0, ""),
    ("PGPORT", "port", 0, ""),
    ("PGDATABASE", "dbname", 0, ""),
    ("PGUSER", "user", 0, ""),
    ("PGPASSWORD", "password", 0, ""),
    ("PGPASSFILE", "passfile", 100000, ""),
    ("PGOPTIONS", "options", 0, ""),
    ("PGSSLMODE", "sslmode", 0, "prefer"),
    ("PGREQUIRESSL", "sslmode", 0, "prefer"),
    ("PGSSLNEGOTIATION", "sslnegotiation", 170000, "postgres"),
    ("PGSSLCOMPRESSION", "sslcompression", 0, "0"),
    ("PGSSLCERT", "sslcert", 0, ""),
    ("PGSSLKEY", "sslkey", 0, ""),
    ("PGSSLCERTMODE", "sslcertmode", 160000, "allow"),
    ("PGSSLROOTCERT", "sslrootcert", 0, ""),
    ("PGSSLCRL", "sslcrl", 0, ""),
    ("PGSSLCRLDIR", "sslcrldir", 140000, ""),
    ("PGSSLSNI", "sslsni", 140000, "1"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version", 130000, "TLSv1.2"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version", 130000, ""),
    ("PGCHANNELBINDING", "channel_binding", 130000, "prefer"),
    ("PGREQUIREPEER", "requirepeer", 0, ""),
    ("PGREQUIREAUTH", "require_auth", 160000, ""),
    ("PGGSSENCMODE", "gssencmode", 120000, "prefer"),
    ("PGGSSDELEGATION", "gssdelegation", 160000, "0"),
    ("PGKRBSRVNAME", "krbsrvname", 0, "postgres"),
    ("PGGSSLIB", "gsslib", 0, ""),
    ("PGTARGETSESSIONATTRS", "target_session_attrs", 100000, "any"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts", 160000, "disable"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version", 180000, "3.0"),
    ("PGMAXPROTOCOLVERSION", "max_protocol_version", 180000, "3.0"),
)
# What names a server or a login there, and so says whose the password beside it is.
_NAMING_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGSERVICE")
_OWN_ONES = ("PGPASSWORD", "PGPASSFILE")
# Comes back from a server that took the settings of the session.
_MARK = "mission_control.settings_taken"
_NO_PARAMETER = "42P02"
_CLEAR_TEXT_REFUSED = "!password"
_REQUIRE_AUTH_SINCE = 160000


def foreign_variables(settings: Settings, environment: Mapping[str, str]) -> set[str]:
    """Variables of libpq's environment that are not meant for this connection, as the settings name a login of their own.

    A password, or a password file, beside nothing that names a server is for the login that the settings name.
    """
    if not settings.names_login:
        return set()
    found = {variable for variable, _name, _since, _value in _LIBPQ_VARIABLES if environment.get(variable)}
    if not settings.service and environment.get("PGSERVICE"):
        found.add("PGSERVICE")
    return found if any(map(environment.get, _NAMING_VARIABLES)) else found - {*_OWN_ONES}


def _parameters(settings: Settings) -> dict[str, Any]:
    """What libpq is told. It looks for each parameter that it is not told in its environment."""
    version = psycopg2.extensions.libpq_version()
    parameters = settings.connection_parameters()
    foreign = foreign_variables(settings, os.environ)
    # A service file adds what the program does not say: with a service of the environment everything is said.
    by_service = "PGSERVICE" in foreign
    for variable, name, since, nothing in () if settings.service else _LIBPQ_VARIABLES:
        if version >= since and (by_service or variable in foreign):
            parameters.setdefault(name, nothing)
    if not settings.names_login and settings.target_session_attrs is None and "," in os.environ.get("PGHOST", ""):
        # As for hosts that the settings name.
        parameters["target_session_attrs"] = os.environ.get("PGTARGETSESSIONATTRS") or "read-write"
    verified = settings.sslmode in ("verify-ca", "verify-full")
    if version >= _REQUIRE_AUTH_SINCE and not verified and not settings.require_auth:
        said = None if settings.names_login else os.environ.get("PGREQUIREAUTH")
        parameters["require_auth"] = said or _CLEAR_TEXT_REFUSED
    return parameters


def open_connection(settings: Settings) -> tuple[Any, str]:
    """A connection in autocommit mode: transactions are begun and ended by the library's own statements.

    With it the statements that each transaction begins with: none, unless a pooler such as pgbouncer took no settings of the
    session at the login. It says so, or passes over them in silence where it is told to (ignore_startup_parameters).

    Raises:
        ConnectError: there is no connection; the message has no password.
    """
    require_driver()
    parameters = _parameters(settings)
    options = parameters.get("options")
    if not options:
        return _connected(settings, parameters), ""
    try:
        connection = _connected(settings, {**parameters, "options": f"{options} -c {_MARK}=on"})
    except ConnectError as error:
        if "unsupported startup parameter" not in str(error):
            raise
        refusal = error
    else:
        if _took_settings(connection):
            return connection, ""
        connection.close()
        refusal = ConnectError(
            f"Cannot connect to the {settings.describe()}: the pooler in between passes over options"
        )
    if settings.tool_token:
        raise ConnectError(
            f"{refusal}. The token of tools goes to the server with the login alone, since every session of this login could read it in "
            "a statement: leave it out, or connect to the server itself."
        )
    local = settings.local_settings()
    if local is None:
        raise ConnectError(
            f"{refusal}. A pooler such as pgbouncer takes no options at the login, whatever its ignore_startup_parameters "
            "says: leave out options but settings of the form -c name=value, or connect to the server itself."
        )
    logger.info("Time-outs and options are set in each transaction, as the pooler takes none at the login")
    return _connected(settings, {**parameters, "options": ""}), local


def _took_settings(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s, true)", (_MARK,))
        return bool(cursor.fetchone()[0])


def _connected(settings: Settings, parameters: Mapping[str, Any]) -> Any:
    failure: ConnectError
    try:
        connection = psycopg2.connect(connection_factory=_Connection, **parameters)
        try:
            connection.autocommit = True
            _name_functions(connection)
            _register_types(connection)
        except BaseException:
            connection.close()
            raise
        return connection
    except psycopg2.Error as error:
        reason = settings.redact(" ".join(str(error).split())) or type(error).__name__
        failure = _connect_error(settings, reason)
    except UnicodeDecodeError:
        # The server cuts names after 63 bytes, wherever that is, and repeats them in its message.
        failure = _connect_error(settings, "its answer is not UTF-8 text")
    # Raised here and not above: the driver's error would be its context, and that one's frames hold the password.
    raise failure


_VERBOSE = 2  # libpq's PQERRORS_VERBOSE
# The function of the server's that waits. Its message may be in any language, where it came from is not.
_WAITS_FOR_STANDBY = "SyncRepWaitForLSN"
_CANCELLED_WAIT = "canceling wait for synchronous replication"


@functools.cache
def _libpq() -> Any:
    """libpq as psycopg2 has loaded it, for what psycopg2 cannot do itself; None where it is linked in another way than usual."""
    import ctypes  # takes longer than most of the library, and only who connects needs it

    try:
        library = ctypes.CDLL(psycopg2._psycopg.__file__)
        library.PQsetErrorVerbosity.argtypes = (ctypes.c_void_p, ctypes.c_int)
        library.PQgetCancel.argtypes = (ctypes.c_void_p,)
        library.PQgetCancel.restype = ctypes.c_void_p
        library.PQcancel.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
        library.PQfreeCancel.argtypes = (ctypes.c_void_p,)
    except (OSError, AttributeError):
        return None
    return library


def _name_functions(connection: Any) -> None:
    """Have libpq say with each message which function of the server wrote it, as its code (01000) says nothing.

    Where that cannot be a cancelled wait is known by its English message alone.
    """
    libpq = _libpq()
    if libpq is not None:
        libpq.PQsetErrorVerbosity(connection.pgconn_ptr, _VERBOSE)


class Canceller:
    """Asks the server to cancel what runs on a connection; from any thread.

    psycopg2's own cancel() keeps all threads of the process from running until the server, or the network, has answered.
    """

    __slots__ = ("_connection", "_libpq", "_request")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._libpq = _libpq()
        self._request = self._libpq and self._libpq.PQgetCancel(connection.pgconn_ptr)

    def __call__(self) -> None:
        if self._request:
            import ctypes

            message = ctypes.create_string_buffer(256)
            self._libpq.PQcancel(self._request, message, len(message))
            return
        with contextlib.suppress(*DRIVER_ERRORS):
            self._connection.cancel()

    def __del__(self) -> None:
        if self._request:
            self._libpq.PQfreeCancel(self._request)


def is_cancelled_wait(notice: str) -> bool:
    """Whether the server says that a transaction did not wait for its synchronous standby to the end."""
    return _WAITS_FOR_STANDBY in notice or _CANCELLED_WAIT in notice


def is_read_only(connection: Any, reports: Sequence[str]) -> bool:
    """Whether the server takes no writes of the session, by what it has reported by itself; before version 14 it reports nothing."""
    return "on" in map(connection.info.parameter_status, reports)


def _connect_error(settings: Settings, reason: str) -> ConnectError:
    """The reason, and behind it what the library knows of a cure."""
    cures = []
    if "cleartext password" in reason:
        cures.append(
            "It is not sent in clear text to a server whose certificate is not verified: "
            'set sslmode to verify-full, or require_auth to "password".'
        )
    if settings.withheld and settings.password is None:
        cures.append(settings.withheld)
    foreign = foreign_variables(settings, os.environ)
    if settings.password is None and "PGPASSWORD" in foreign:
        cures.append("PGPASSWORD was not used: the environment names another server or login beside it.")
    if "PGSERVICE" in foreign and "definition of service" in reason:
        cures.append("PGSERVICE of the environment names it, and is not meant for this connection: unset it.")
    end = "" if not cures or reason.endswith((".", "?", "!")) else "."
    return ConnectError(" ".join((f"Cannot connect to the {settings.describe()}: {reason}{end}", *cures)))


def _register_types(connection: Any) -> None:
    """Once for each connection and for it alone: what other users of psycopg2 in this process get stays as it is."""
    for each in _types():
        psycopg2.extensions.register_type(each, connection)


@functools.cache
def _types() -> list[Any]:
    types = []
    for name, oids, array_oids, convert in _CONVERSIONS:
        one = psycopg2.extensions.new_type(oids, name, convert)
        types += [one, psycopg2.extensions.new_array_type(array_oids, f"{name}_ARRAY", one)]
    return types


class _Unheld:
    """What stands for a value that Python has no form for while its column is looked for."""


_UNHELD = _Unheld()
_search = threading.local()


def _guarded(convert: Callable[[str, Any], Any]) -> Callable[[str | None, Any], Any]:
    """The function for values that may be NULL. In a search for the column of a value that cannot be, it marks that value."""

    def guarded(text: str | None, cursor: Any) -> Any:
        if text is None:
            return None
        try:
            return convert(text, cursor)
        except RESULT_ERRORS:
            if getattr(_search, "on", False):
                return _UNHELD
            raise

    return guarded


def _moments(name: str, quick: Callable[[str], Any] | None) -> Callable[[str | None, Any], Any]:
    """Dates and times: by Python's own function where it reads them, which is faster, else by psycopg2's."""

    def convert(text: str, cursor: Any) -> Any:
        if quick is not None:
            try:
                return quick(text)
            except ValueError:
                # In another form, or not to be held: psycopg2 knows.
                pass
        # psycopg2 makes the last day of the year 9999 of infinity, and midnight of the end of the day.
        if text.endswith("infinity") or text.startswith("24:"):
            raise ValueError("there is none in Python")
        return getattr(psycopg2.extensions, name)(text, cursor)

    return _guarded(convert)


def _to_json(text: str, cursor: Any) -> Any:
    return json.loads(text)


def _to_uuid(text: str, cursor: Any) -> uuid.UUID:
    return uuid.UUID(text)


def _to_bytes(text: str, cursor: Any) -> bytes:
    return bytes(psycopg2.BINARY(text, cursor))


# Before 3.11 it reads no zone of whole hours, and no fraction but of 3 or 6 digits.
_to_datetime = datetime.datetime.fromisoformat if sys.version_info >= (3, 11) else None

# Name, OIDs of the type and of its array (fixed in PostgreSQL's catalogue), function. json and jsonb are one here.
_CONVERSIONS: tuple[tuple[str, tuple[int, ...], tuple[int, ...], Callable[[Any, Any], Any]], ...] = (
    ("MISSION_CONTROL_JSON", (114, 3802), (199, 3807), _guarded(_to_json)),
    ("MISSION_CONTROL_UUID", (2950,), (2951,), _guarded(_to_uuid)),
    ("MISSION_CONTROL_BYTES", (17,), (1001,), _guarded(_to_bytes)),
    ("MISSION_CONTROL_DATE", (1082,), (1182,), _moments("PYDATE", datetime.date.fromisoformat)),
    ("MISSION_CONTROL_TIMESTAMP", (1114,), (1115,), _moments("PYDATETIME", _to_datetime)),
    ("MISSION_CONTROL_TIMESTAMPTZ", (1184,), (1185,), _moments("PYDATETIMETZ", _to_datetime)),
    ("MISSION_CONTROL_TIME", (1083, 1266), (1183, 1270), _moments("PYTIME", None)),
    ("MISSION_CONTROL_INTERVAL", (1186,), (1187,), _moments("PYINTERVAL", None)),
)


def result_error(error: Exception, cursor: Any, sql: str) -> MissionControlError:
    """What is said where a result cannot be made into Python's values: which column it is, and not the value."""
    if isinstance(error, UnicodeDecodeError):
        return QueryError("22021", "a value of the result is not UTF-8 text", sql)
    column = _unheld_column(cursor)
    where = f"The column {column}" if column else "The result"
    cure = f"{column}::text" if column and re.fullmatch("[a-z_][a-z0-9_]*", column) else "with ::text"
    return ResultError(
        f"{where} holds a value that Python has no form for, such as a year before 1 or after 9999, infinity, or a number of "
        f"thousands of digits in JSON: select it as text ({cure})."
    )


def _unheld_column(cursor: Any) -> str | None:
    """The first column with a value that cannot be held, in the rows that were just fetched in vain."""
    _search.on = True
    try:
        cursor.scroll(0, mode="absolute")
        for row in cursor:
            for column, value in zip(cursor.description, row):
                if _is_unheld(value):
                    return str(column.name)
    except RESULT_ERRORS:
        return None  # not of a type that is converted here
    finally:
        _search.on = False
    return None


def _is_unheld(value: Any) -> bool:
    """Of an array and a range too."""
    if isinstance(value, list):
        return any(map(_is_unheld, value))
    return value is _UNHELD or getattr(value, "lower", None) is _UNHELD or getattr(value, "upper", None) is _UNHELD


def text_cursor(connection: Any) -> Any:
    """A cursor that gives every value as the text in which the server sent it."""
    cursor = connection.cursor()
    oids = tuple({*psycopg2.extensions.string_types, *(oid for each in _CONVERSIONS for oid in (*each[1], *each[2]))})
    psycopg2.extensions.register_type(
        psycopg2.extensions.new_type(oids, "MISSION_CONTROL_TEXT", lambda text, cursor: text), cursor
    )
    return cursor


class Json:
    """A parameter that is written as JSON. A dict is by itself; a list is an SQL array unless it is wrapped in this."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _json_value(value: Any) -> Any:
    """What JSON has no form for. A decimal becomes text, as a JSON number would lose digits where it is read."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


# Made once: json.dumps with options makes an encoder for each call, which takes as long as the encoding.
_to_json_text = json.JSONEncoder(default=_json_value, allow_nan=False, ensure_ascii=False).encode


class _Uuid:
    def __init__(self, value: uuid.UUID) -> None:
        self._quoted = f"'{value}'::uuid".encode()

    def __conform__(self, protocol: Any) -> _Uuid:
        return self

    def getquoted(self) -> bytes:
        return self._quoted


# Types that psycopg2 writes as they are; most statements have no others.
_PLAIN = frozenset(
    (str, int, float, bool, type(None), bytes, decimal.Decimal, datetime.datetime, datetime.date, datetime.timedelta)
)


def adapt_parameters(parameters: Any) -> Any:
    """The parameters as psycopg2 takes them, None where there are none (so that % needs no doubling)."""
    if not parameters:
        return None
    if isinstance(parameters, (list, tuple)):
        for value in parameters:
            if type(value) not in _PLAIN:
                return [each if type(each) in _PLAIN else _adapted(each) for each in parameters]
        return parameters
    if hasattr(parameters, "keys"):
        return {name: _adapted(parameters[name]) for name in parameters}
    raise ParameterError(f"Parameters must be a list, a tuple or a mapping, not a {type(parameters).__name__}.")


def refuse_surplus(sql: Any, parameters: Any) -> None:
    """An error for values of a statement without any placeholder, which psycopg2 would pass over in silence."""
    if isinstance(parameters, (list, tuple)) and isinstance(sql, str) and "%" not in sql:
        raise IndexError


def _adapted(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return _to_json_text(value)
    if kind is uuid.UUID:
        return _Uuid(value)
    if kind is Json:
        return _to_json_text(value.value)
    if kind in (list, tuple):
        return kind(_adapted(each) for each in value)
    if isinstance(value, enum.Enum):
        return _adapted(value.value)
    return value


def parameter_error(error: Exception, sql: Any = None, parameters: Any = None) -> ParameterError:
    """What psycopg2 found wrong with parameters before it sent anything, without their values."""
    if isinstance(error, ParameterError):
        return error
    if isinstance(error, TypeError) and "argument 1" in str(error):
        reason = f"its text must be a str, not {type(sql).__name__}"
    elif isinstance(error, KeyError):
        reason = f"the placeholder {error.args[0]!r} has no value"
    elif isinstance(error, UnicodeError):
        reason = "a text has a character that UTF-8 cannot hold"
    elif isinstance(error, ValueError) and "NUL" in str(error):
        reason = "a text holds the character NUL, which PostgreSQL cannot store"
    elif isinstance(error, ValueError) and "JSON" in str(error):
        reason = "JSON has no form for NaN and infinite numbers"
    elif isinstance(error, (IndexError, TypeError, ValueError)) and "has no form in JSON" not in str(error):
        reason = _misfit(sql, parameters)
    else:
        reason = str(error)
    return ParameterError(f"The parameters do not fit the statement: {reason}.")


_PLACEHOLDER = re.compile(r"%(?:(?P<doubled>%)|(?P<one>s)|\((?P<name>[^)]*)\)s)?")
# As other drivers and other languages write them.
_OTHER_PLACEHOLDER = re.compile(r"\$[0-9]+|\?|(?<![:\w]):[a-z_]\w*")


def _misfit(sql: Any, parameters: Any) -> str:
    """How placeholders and values differ, as the end of a sentence."""
    found = list(_PLACEHOLDER.finditer(sql if isinstance(sql, str) else ""))
    names = sorted({match["name"] for match in found if match["name"] is not None})
    number = sum(match["one"] is not None for match in found)
    if any(match.group() == "%" for match in found):
        return "a % that begins no placeholder is to be doubled (%%)"
    if names and (number or not hasattr(parameters, "keys")):
        return f"named placeholders such as %({names[0]})s need a mapping, and no %s beside them"
    if hasattr(parameters, "keys"):
        return f"a mapping needs named placeholders, such as %(name)s, and the statement has {_counted(number, '%s')}"
    other = None if number else _OTHER_PLACEHOLDER.search(sql if isinstance(sql, str) else "")
    hint = f"; placeholders are written %s here, not {other.group()}" if other else ""
    given = len(parameters) if isinstance(parameters, (list, tuple)) else 0
    return f"their number differs from that of the placeholders, {_counted(given, 'value')} for {_counted(number, '%s')}{hint}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 and what.isalpha() else "")


def translate_error(error: Any, connection: Any, settings: Settings, sql: str) -> MissionControlError:
    """The library's error for one of psycopg2's; the caller raises it after the handler, without the driver's as context."""
    diagnostics = error.diag
    reason = settings.redact(diagnostics.message_primary or " ".join(str(error).split()) or type(error).__name__)
    sqlstate = error.pgcode
    # Without a code it does not come from the server. These are psycopg2's own about a statement that it did not send;
    # any other, among them bare DatabaseErrors, is about the connection, although libpq may not have noticed yet.
    not_sent = isinstance(error, (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError))
    unanswered = sqlstate is None and not not_sent
    if connection.closed or unanswered or connection.get_transaction_status() == UNKNOWN:
        return ConnectionLostError(f"The connection to the {settings.describe()} was lost: {reason}")
    if sqlstate is None:
        return ParameterError(f"The statement was not sent: {reason}.")

    def field(text: str | None) -> str | None:
        return None if text is None else settings.redact(text)

    hint = diagnostics.message_hint
    if sqlstate == _NO_PARAMETER and hint is None:
        hint = "Placeholders are written %s, or %(name)s with a mapping, and need parameters"

    return query_error_class(sqlstate)(
        sqlstate,
        reason,
        settings.redact(sql),
        detail=field(diagnostics.message_detail),
        hint=field(hint),
        constraint=diagnostics.constraint_name,
        table=diagnostics.table_name,
        column=diagnostics.column_name,
    )
