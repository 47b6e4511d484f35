# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the inputs of the role mission_control_backup, before the host is looked at."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from ...audit.head import AuditError, AuditHead
from .checks import (
    host_text,
    login_problems,
    name_problem,
    number_problems,
    own_inputs,
    path_problem,
    problems_of,
    secret_problem,
    shown,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_backup_"
_NUMBERS = {
    "random_delay": (0, 86400),
    "keep_full": (1, 9999),
    "archive_timeout": (10, 86400),
    "processes": (1, 64),
    "port": (1, 65535),
    "dump_keep": (1, 9999),
    "restore_port": (1, 65535),
    "restore_repository": (1, 256),
    "restore_timeout": (10, 604800),
}
_CALENDARS = ("full_calendar", "incremental_calendar", "dump_calendar")
_TEXTS = ("login_user", "restore_confirm", "restore_target", *_CALENDARS)
_PATHS = ("repository", "dump_directory")
_OPTIONAL_PATHS = (
    f"{_PREFIX}second_repository",
    f"{_PREFIX}restore_dump",
    "mission_control_login_unix_socket",
    "mission_control_login_ca_cert",
)
# The stanza follows the first.
_NAMES = ("mission_control_database_name", "mission_control_database_schema", f"{_PREFIX}stanza")
_QUEUE = re.compile(r"[1-9]\d{0,8}(MiB|GiB|TiB)")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_OPTION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_CLUSTER = re.compile(r"[a-z][a-z0-9_]*")
# With these a server without TLS, or anybody who says that it has none, is answered.
_WEAK_MODES = ("disable", "allow", "prefer")
# Of Debian's libpq.
_SOCKET_DIRECTORY = "/var/run/postgresql"
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(:\d\d(\.\d{1,6})?)?) ?(Z|[+-]\d\d(:?\d\d)?)")
# These are the role's: with another value its parts would not find each other.
_RESERVED = ("config", "stanza", "pg1-path", "archive-push-queue-max", "repo1-path", "repo1-cipher-pass")


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a password.
    """
    return next(_problems(inputs), "")


def moment(text: str) -> str:
    """A moment as PostgreSQL and pgBackRest read it, in UTC.

    Raises:
        ValueError: it is none.
    """
    found = _MOMENT.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    day, time, seconds, fraction, offset, minutes = found.groups()
    whole = time if seconds else f"{time}:00"
    whole = whole if fraction else f"{whole}.0"
    zone = "+0000" if offset == "Z" else f"{offset[:3]}{(minutes or '00').strip(':')}"
    parsed = datetime.datetime.strptime(f"{day} {whole}{zone}", "%Y-%m-%d %H:%M:%S.%f%z")
    return f"{parsed.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%S.%f}+00"


def is_remote(host: str) -> bool:
    """Whether a connection to this host, or to one of several by commas, leaves the machine."""
    return any(
        each not in ("", "localhost", "127.0.0.1", "::1") and not each.startswith("/") for each in host.split(",")
    )


def password_line(host: str, port: int, database: str, user: str, password: str) -> str:
    """Lines of a password file for one server or several by commas, database and user.

    libpq looks for `localhost` where the socket lies in the directory that it was built with.
    """
    hosts = ["localhost", host] if host == _SOCKET_DIRECTORY else host.split(",")
    fields = [[each, str(port), database, user, password] for each in hosts]
    return "".join(":".join(re.sub(r"([\\:])", r"\\\1", field) for field in line) + "\n" for line in fields)


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    own = own_inputs(inputs, _PREFIX)
    if own["method"] not in ("pgbackrest", "dump"):
        yield f"{_PREFIX}method is {shown(own['method'])}, but it must be pgbackrest or dump."
    yield from login_problems(inputs)
    yield from number_problems(own, _NUMBERS, _PREFIX)
    yield from problems_of(own, _TEXTS, text_problem, _PREFIX)
    yield from problems_of(own, _PATHS, _place_problem, _PREFIX)
    yield from problems_of(inputs, [name for name in _OPTIONAL_PATHS if inputs[name] != ""], _place_problem)
    yield from problems_of(own, ("login_password", "cipher_password"), secret_problem, f"The value of {_PREFIX}")
    yield from problems_of(inputs, _NAMES, name_problem)
    if own["second_repository"] and own["second_repository"] == own["repository"]:
        yield f"{_PREFIX}second_repository is the same directory as {_PREFIX}repository: name another."
    if not _QUEUE.fullmatch(str(own["archive_queue"])):
        yield f"{_PREFIX}archive_queue is {shown(own['archive_queue'])}, but it must be a size such as 512MiB or 4GiB."
    if not _USER.fullmatch(str(own["user"])):
        # Where nobody set it, it is the one that the administrator's tasks run as.
        followed = own["user"] == inputs["mission_control_login_become_user"]
        name = "mission_control_login_become_user" if followed else f"{_PREFIX}user"
        yield f"{name} is {shown(own['user'])}, which is no name of a user."
    host, mode = host_text(inputs["mission_control_login_host"]), inputs["mission_control_login_ssl_mode"]
    if is_remote(host) and own["login_password"] and mode in _WEAK_MODES:
        yield (
            f"mission_control_login_ssl_mode is {mode}, with which anybody between here and {host} (mission_control_login_host) may "
            "ask for the administrator's password: set it to verify-full with mission_control_login_ca_cert, or at least to require."
        )
    yield from _option_problems(own["options"])
    yield from _restore_problems(own)


def _place_problem(value: Any) -> str:
    """Of a path that also stands in a configuration file and in a unit."""
    return path_problem(value) or (
        f"is {shown(value)}, but a path here holds no space, quote, percent or hash sign"
        if re.search(r"[\s'\"%#\\$]", str(value))
        else ""
    )


def _option_problems(options: Any) -> Iterator[str]:
    if not isinstance(options, dict):
        yield f"{_PREFIX}options must be a mapping of pgBackRest's options; an empty one is written {{}}."
        return
    for name, value in options.items():
        if not isinstance(name, str) or not _OPTION.fullmatch(name):
            yield f"{_PREFIX}options holds {shown(name)}, which is no name of an option of pgBackRest."
        elif name in _RESERVED:
            yield f"{name} cannot be set in {_PREFIX}options: it has a variable of its own."
        # The value may be a secret.
        elif isinstance(value, (dict, list)) or not str(value).isprintable():
            yield f"The value of {name} in {_PREFIX}options must be one value on one line."


def _restore_problems(own: Mapping[str, Any]) -> Iterator[str]:
    target = str(own["restore_target"])
    try:
        if target:
            moment(target)
    except ValueError:
        yield f"{_PREFIX}restore_target is {shown(target)}, but it must be a moment with its offset such as 2026-11-25 12:00:00+00."
    cluster = own["restore_cluster"]
    if cluster != "" and not (isinstance(cluster, str) and _CLUSTER.fullmatch(cluster)):
        yield (
            f"{_PREFIX}restore_cluster is {shown(cluster)}, which is no name for a cluster: use lower-case letters, digits and underscores."
        )
    heads = own["restore_heads"]
    if not isinstance(heads, list):
        yield f"{_PREFIX}restore_heads is {shown(heads)}, but it must be a list; an empty one is written []."
        return
    for head in heads:
        try:
            AuditHead.parse(str(head))
        except AuditError as error:
            yield f"An entry of {_PREFIX}restore_heads is none: {error}"
