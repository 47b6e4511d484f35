# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all commands of `mission-control` have in common: options, exit codes, and the way to a client."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

from ..client.client import Client
from ..database.driver import foreign_variables
from ..database.postgres_url import parse_url
from ..database.settings import CHOICES, Settings
from ..errors import MissionControlError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Callable

    from ..database.settings import Secret

EXIT_OK = 0
EXIT_NO = 1  # the answer is no: not current, a broken chain, a statement that the server refused
EXIT_USAGE = 2  # wrong usage or settings
EXIT_UNKNOWN = 3  # the database could not be asked
# Rows that a list shows where nobody asks for more.
_NEWEST = 20
NEVER_AN_OPTION = (
    "A password is never an option, as every user of a machine can read its process list: set POSTGRES_PASSWORD or "
    "DATABASE_URL, keep it in an env file (--env-file) or in ~/.pgpass."
)
_CONNECTION = {
    "host": ("HOST", "name, address, or directory of the Unix socket; several by commas"),
    "port": ("PORT", "port of the server"),
    "target_session_attrs": ("KIND", "which of several hosts will do, such as read-write or prefer-standby"),
    "database": ("NAME", "database; mission_control unless anything names another"),
    "user": ("NAME", "login"),
    "service": ("NAME", "section of libpq's pg_service.conf"),
    "sslmode": ("MODE", "disable, allow, prefer, require, verify-ca or verify-full"),
    "sslrootcert": ("FILE", "certificate authority that the server is checked against"),
    "connect_timeout": ("SECONDS", "one attempt to connect (10; 3 for each of several hosts)"),
    "statement_timeout": ("SECONDS", "one statement on the server, 0 for no limit (as the login's role has it)"),
}


class UsageError(MissionControlError):
    """The command line was used wrongly; the message is a sentence that says how."""


class CommandError(MissionControlError):
    """A command ends with a sentence on standard error and this exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class CommandParser(argparse.ArgumentParser):
    """A parser that raises a UsageError where argparse would print and exit, and keeps the lines of its texts."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:].rstrip('.')}; see {self.prog} --help.")

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """As parse_args, but unknown arguments are named without their values: one of them may be a password."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            named = next((word.split("=")[0] for word in unknown if word.startswith("--")), None)
            self.error(f"there is no option {named}" if named else "there are more arguments than the command takes")
        return options


class _RefusePassword(argparse.Action):
    """`--password`, which people try because other programs have it."""

    def __call__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise UsageError(NEVER_AN_OPTION)


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Options that say where the database is. Without a default, so that they may stand before and after the command."""
    group = parser.add_argument_group(
        "connection",
        textwrap.fill(
            "What is not given here comes from DATABASE_URL or POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB and "
            "POSTGRES_USER, then from the env file, then from libpq's PGHOST and so on; a source that names another host, "
            f"port or user than an option is left out as a whole, with its password. {NEVER_AN_OPTION}",
            width=100,
        ),
    )
    none = argparse.SUPPRESS
    group.add_argument(
        "--url", metavar="URL", default=none, help="postgresql://user@host:port/database?sslmode=…, without a password"
    )
    group.add_argument(
        "--env-file", metavar="FILE", default=none, help="file with these variables (/etc/mission-control/database.env)"
    )
    for name, (metavar, text) in _CONNECTION.items():
        option = group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, default=none, help=text)
        if name in CHOICES:
            complete_with(option, lambda _typed, name=name: CHOICES[name])  # type: ignore[misc]
    group.add_argument("--password", "-W", nargs="?", action=_RefusePassword, default=none, help=argparse.SUPPRESS)


def complete_with(action: argparse.Action, words: Callable[[str], Iterable[str]]) -> None:
    """Let completion in a shell offer words for the value of an option.

    `words` is given what is typed of the value. argcomplete, where it is installed, looks for the attribute that is set here.
    """
    action.completer = lambda prefix, **_others: words(prefix)  # type: ignore[attr-defined]


def add_format_options(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Options for another output than a table for people; the chosen one is `options.format`."""
    texts = {
        "json": "JSON, in UTF-8 with exact values",
        "json-lines": "a JSON object on a line for each row",
        "csv": "comma-separated values in UTF-8 with a line of headings",
    }
    group = parser.add_mutually_exclusive_group()
    for name in formats:
        group.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=texts[name])
    parser.set_defaults(format="table")


def add_choice_of_newest(parser: argparse.ArgumentParser, statuses: Sequence[str]) -> None:
    """Options of a list whose newest rows come first: `options.status`, several of these at a time, and `options.limit`."""
    parser.add_argument(
        "--status",
        metavar="STATUS",
        action="append",
        choices=statuses,
        default=[],
        help=f"only those in this status: {', '.join(statuses)}; may be given several times",
    )
    parser.add_argument(
        "--limit", metavar="NUMBER", type=positive_option, default=_NEWEST, help=f"at most so many ({_NEWEST})"
    )


def make_client(
    options: argparse.Namespace,
    read_only: bool = False,
    pool_size: int = 1,
    with_tool_token: bool = False,
    tool_token: Secret | None = None,
) -> Client:
    """A client for the command, from options, environment and env file; nothing is connected yet.

    `read_only` is a default of the session, beside the read-only transactions of the command; `pool_size`: connections at most.
    `with_tool_token`: with the token of who asks for tools, which most commands have no use for; `tool_token`: another one.
    """
    given = vars(options)
    url = given.get("url")
    if url is not None:
        if given.get("env_file") is not None:
            raise SettingsError("Give either --url or --env-file: a URL replaces the file as a whole.")
        if "password" in parse_url(url, "--url", [each.name for each in dataclasses.fields(Settings)]):
            raise SettingsError(f"The URL of --url holds a password. {NEVER_AN_OPTION}")
    chosen = {name: given[name] for name in _CONNECTION if name in given}
    settings = Settings.load(url, env_file=given.get("env_file"), **chosen)
    # The process is this program's own, so what libpq would only look up here can be taken away.
    foreign = foreign_variables(settings, os.environ)
    for variable in foreign if settings.service else foreign & {"PGSERVICE"}:
        del os.environ[variable]
    more = " -c default_transaction_read_only=on" if read_only else ""
    changed = dataclasses.replace(
        settings,
        application_name=f"mission-control {options.command}",
        options=(settings.options + more).strip(),
        pool_size=pool_size,
        # A slow statement is no news to who waits for it.
        slow_query=float("inf"),
        tool_token=settings.tool_token if with_tool_token else tool_token,
    )
    return Client(settings=changed)


def date_option(text: str) -> datetime.date:
    """A type for argparse: a day such as 2026-03-29."""
    try:
        if len(text) != len("2026-03-29"):
            raise ValueError
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a day is written like 2026-03-29, not {text!r}") from None


def count_option(text: str) -> int:
    """A type for argparse: a whole number, 0 or more."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"a whole number is needed, 0 or more, not {text!r}")
    return int(text)


def positive_option(text: str) -> int:
    """A type for argparse: a whole number, 1 or more."""
    number = count_option(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a whole number is needed, 1 or more, not '0'")
    return number


def seconds_option(text: str) -> float:
    """A type for argparse: a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds is needed, above 0, not {text!r}")
    return seconds
