# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take a connection URL apart.

libpq could, but what it says about a wrong URL quotes it, password and all.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection

_SCHEMES = ("postgresql://", "postgres://")
# libpq's names of what has another one here.
_ALIASES = {"dbname": "database"}


def parse_url(url: str, label: str, names: Collection[str]) -> dict[str, str]:
    """The settings in postgresql://user:password@host:port/database?name=value, as text.

    `label` says in messages where the URL came from, `names` are the settings that there are.
    """
    scheme = next((each for each in _SCHEMES if url.startswith(each)), None)
    if scheme is None:
        raise SettingsError(f"{_capital(label)} must begin with postgresql:// or postgres://.")
    if "#" in url:
        raise SettingsError(f"{_capital(label)} has a # in it, which must be written %23.")
    rest, _mark, query = url[len(scheme) :].partition("?")
    authority, _slash, path = rest.partition("/")
    login, at, addresses = authority.rpartition("@")
    values: dict[str, str] = {}
    if at:
        user, colon, password = login.partition(":")
        values["user"] = _decoded(user, "user", label)
        if colon:
            values["password"] = _decoded(password, "password", label)
    hosts, ports = [], []
    for address in addresses.split(","):
        host, port = _host_and_port(address, label)
        hosts.append(_decoded(host, "host", label))
        ports.append(port)
    values["host"] = ",".join(hosts)
    if any(ports):
        values["port"] = ",".join(port or "5432" for port in ports)
    values["database"] = _decoded(path, "database", label)
    values.update(_query_values(query, label, names))
    return {name: value for name, value in values.items() if value}


def _host_and_port(address: str, label: str) -> tuple[str, str]:
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise SettingsError(f"{_capital(label)} has an IPv6 address that is not of the form [address]:port.")
        return host, rest[1:]
    host, _colon, port = address.partition(":")
    return host, port


def _query_values(query: str, label: str, names: Collection[str]) -> dict[str, str]:
    # Not as a form of the web: for libpq a + is a plus, and a blank is %20.
    pairs = []
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SettingsError(f"{_capital(label)} has something after its ? that is not of the form name=value.")
        pairs.append((_decoded(key, "parameter", label), value))
    values = {}
    for key, value in pairs:
        name = _ALIASES.get(key, key)
        if (key, value) == ("ssl", "true"):  # as JDBC writes it; libpq knows it too
            name, value = "sslmode", "require"
        if name not in names:
            # Not named: with a ? in the password it would be a part of that.
            raise SettingsError(
                f"{_capital(label)} has a parameter after its ? that is no setting{similar(key, names)}."
            )
        values[name] = _decoded(value, name, label)
    return values


def _decoded(text: str, what: str, label: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = None
    if decoded is None:
        raise SettingsError(f"The {what} in {label} is not UTF-8 text written with % signs.")
    return decoded


def _capital(label: str) -> str:
    return label[0].upper() + label[1:]


def similar(name: str, names: Collection[str]) -> str:
    """The end of a sentence about a wrong name: a right one that looks like it."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
