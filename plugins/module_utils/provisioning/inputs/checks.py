# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inputs of several roles are judged by. A check returns the end of a sentence, empty where nothing is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..passwords.kept import password_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_NAME = re.compile(r"[a-z_][a-z0-9_$]{0,62}")
# What RFC 6750 allows in a bearer token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_TOKEN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_LONGEST_TOKEN = 512
_LOGIN_TEXTS = ("unix_socket", "user", "ssl_mode", "ca_cert", "become_user")
# libpq's words for which of several servers a session may be on, and those of a session that writes.
_SESSION_ATTRIBUTES = ("any", "primary", "read-write", "prefer-standby", "read-only", "standby")
_WRITING = ("any", "primary", "read-write")
_MOST_CHARACTERS = 1000
_MOST_SHOWN = 200
# PostgreSQL reads the first two as something else than a role; the others are made by initdb.
_TAKEN = {"public", "none", "postgres", "template0", "template1", "information_schema"}


def integer(value: Any) -> int | None:
    """The number that Ansible would take a value for; a variable from the command line is a text."""
    if isinstance(value, bool):
        return None
    try:
        return int(value) if isinstance(value, int) else int(str(value), 10)
    except ValueError:
        return None


def number_problem(value: Any, least: int, most: int) -> str:
    number = integer(value)
    if number is None or not least <= number <= most:
        return f"is {shown(value)}, but it must be a whole number from {least} to {most}"
    return ""


def text_problem(value: Any) -> str:
    """Of a text, or a number that is meant as one: what no server, shell or file takes as it is."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return f"is {shown(value)}, but it must be a text; an empty one is written ''"
    text = str(value)
    if not text.isprintable():
        return f"is {shown(text)}, which holds a character that cannot be printed"
    if len(text) > _MOST_CHARACTERS:
        return f"is {shown(text)} with {len(text)} characters, but {_MOST_CHARACTERS} are the most"
    return ""


def secret_problem(value: Any) -> str:
    """Of a password; empty is none. The value is not shown."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return "is no text: quote it, and write '' for none"
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no character"
    return password_problem(text) if text else ""


def token_name_problems(names: Iterable[Any], variable: str) -> Iterator[str]:
    """Sentences about names of tokens. None is shown: who mixes up names and tokens has written the secret there."""
    for number, name in enumerate(names, start=1):
        if not isinstance(name, str) or not _TOKEN_NAME.fullmatch(name):
            yield (
                f"Name {number} in {variable} may hold 1 to 63 lower-case letters, digits, - and _ only, and begins with a "
                "letter or a digit."
            )


def token_problems(tokens: Sequence[tuple[str, Any]], shortest: int) -> Iterator[str]:
    """Sentences about bearer tokens, each given with what it is called. None is shown.

    Args:
        shortest: characters that one has at least.
    """
    for number, (which, token) in enumerate(tokens):
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            yield f"{which} may hold letters, digits and - . _ ~ + / only: take the output of openssl rand -hex 32."
        elif not shortest <= len(token) <= _LONGEST_TOKEN:
            yield (
                f"{which} has {len(token)} characters, but a token has {shortest} to {_LONGEST_TOKEN}: "
                "take the output of openssl rand -hex 32."
            )
        elif token in [other for _which, other in tokens[:number]]:
            yield f"{which} is there twice: remove one of them."


def path_problem(value: Any, home: bool = False) -> str:
    """Of a path, which must be absolute, or begin with `~` where `home` says so."""
    problem = text_problem(value)
    if problem:
        return problem
    if not str(value).startswith(("/", "~") if home else "/"):
        return f"is {shown(value)}, but it must be an absolute path{' or begin with ~' if home else ''}"
    return ""


def name_problem(value: Any) -> str:
    """Of a name for something that is made in PostgreSQL, so that nobody ever has to quote it."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return (
            f"is {shown(value)}, but a name has 1 to 63 lower-case letters, digits, underscores and dollar signs, "
            "and begins with a letter or an underscore"
        )
    return ""


def is_taken(name: str) -> bool:
    """Whether PostgreSQL keeps a name for itself."""
    return name.startswith("pg_") or name in _TAKEN


def shown(value: Any) -> str:
    """A value in a sentence: in quotes where it is a text, on one line, and never long."""
    text = repr(str(value)) if isinstance(value, str) else " ".join(str(value).split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def host_text(value: Any) -> str:
    """A server, or several that are given by commas or as a list, as libpq takes them."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def host_problem(value: Any) -> str:
    """Of a server, or several by commas or as a list; empty is none."""
    for each in value if isinstance(value, (list, tuple)) else (value,):
        problem = text_problem(each)
        if problem:
            return problem if each is value else f"is a list with an entry that {problem}"
    hosts = host_text(value).split(",")
    if len(hosts) > 1 and "" in hosts:
        return f"is {shown(value)}, which names several servers, one of them without a name: remove the comma or the entry too many"
    if any(re.search(r"\s", host) for host in hosts):
        return f"is {shown(value)}, but no name of a server has a space: separate several by commas alone"
    if "://" in host_text(value):
        # It may hold a password.
        return "is a URL, but the name or the address of a server is needed"
    if any(re.fullmatch(r"[^:/]+:[0-9]+", host) for host in hosts):
        return f"is {shown(value)}, but it is the name or the address alone: give the port in its own variable"
    if len(hosts) > 1 and any(host.startswith(("/", "@")) for host in hosts):
        return f"is {shown(value)}, but several servers are reached by their names or addresses: leave the socket out"
    return ""


def session_attributes_problem(value: Any, writes: bool = True) -> str:
    """Of libpq's word for which of several servers a session may be on; empty is none.

    Args:
        writes: whether the session writes, which it cannot on a standby.
    """
    if value == "":
        return ""
    if value not in _SESSION_ATTRIBUTES:
        words = _WRITING if writes else _SESSION_ATTRIBUTES
        return f"is {shown(value)}, but it must be {', '.join(words[:-1])} or {words[-1]}, or '' for the default"
    if writes and value not in _WRITING:
        return f"is {value}, but a session that writes cannot be on a standby: set it to primary or read-write"
    return ""


def own_inputs(inputs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The variables that begin with a role's prefix, by the rest of their names."""
    return {name[len(prefix) :]: value for name, value in inputs.items() if name.startswith(prefix)}


def login_problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Whole sentences about the login of the administrator, which several roles share. None holds the password."""
    problem = number_problem(inputs["mission_control_login_port"], 1, 65535)
    if problem:
        yield f"mission_control_login_port {problem}."
    host = inputs["mission_control_login_host"]
    yield from problems_of(inputs, ("mission_control_login_host",), host_problem)
    yield from problems_of(inputs, ("mission_control_login_target_session_attrs",), session_attributes_problem)
    if "," in host_text(host) and inputs["mission_control_login_unix_socket"] != "":
        yield (
            f"mission_control_login_host is {shown(host)}, and several servers are reached over TCP: "
            "set mission_control_login_unix_socket to ''."
        )
    for name in _LOGIN_TEXTS:
        problem = text_problem(inputs[f"mission_control_login_{name}"])
        if problem:
            yield f"mission_control_login_{name} {problem}."
    problem = secret_problem(inputs["mission_control_login_password"])
    if problem:
        yield f"The password in mission_control_login_password {problem}."


def problems_of(
    inputs: Mapping[str, Any], names: Iterable[str], check: Callable[[Any], str], prefix: str = ""
) -> Iterator[str]:
    """A sentence about each of these inputs in which the check, such as `text_problem`, finds a fault; the prefix completes the names."""
    for name in names:
        problem = check(inputs[name])
        if problem:
            yield f"{prefix}{name} {problem}."


def number_problems(
    inputs: Mapping[str, Any], limits: Mapping[str, tuple[int, int]], prefix: str = ""
) -> Iterator[str]:
    """The same about numbers, each with the least and the most that it may be."""
    for name, (least, most) in limits.items():
        problem = number_problem(inputs[name], least, most)
        if problem:
            yield f"{prefix}{name} {problem}."
