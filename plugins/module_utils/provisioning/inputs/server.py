# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the inputs of the role mission_control_postgresql before the host is looked at."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ..certificates.names import name_kind
from .checks import (
    host_text,
    integer,
    login_problems,
    number_problem,
    own_inputs,
    path_problem,
    problems_of,
    shown,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_postgresql_"
OLDEST_VERSION = 14
LONGEST_DAYS = 1825
# These have a variable of their own, or moving them would take the cluster out of reach of the distribution's tools.
RESERVED_SETTINGS = {
    "port": "mission_control_postgresql_port",
    "listen_addresses": "mission_control_postgresql_listen_addresses",
    "password_encryption": "",
    "data_directory": "",
    "config_file": "",
    "hba_file": "",
    "ident_file": "",
    "external_pid_file": "",
}
TLS_SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file")
_TEXTS = ("version", "cluster", "repository", "repository_uri", "memory_mb", "tls")
_LISTS = ("listen_addresses", "client_networks", "ignored_clusters", "tls_names")

# What appears in the client authentication, besides the administrator.
_NAMES = tuple(
    f"mission_control_database_{name}"
    for name in (
        *("name", "user", "readonly_role", "monitor_role", "service_role"),
        *("maintenance_role", "executor_role", "approver_role"),
    )
)


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a key or a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    own = own_inputs(inputs, _PREFIX)
    existing = own["mode"] == "existing"
    # A server that the role runs has no right to open a lower port; one that is there listens where its owner wants it.
    problem = number_problem(own["port"], 1 if existing else 1024, 65535)
    if problem:
        yield f"{_PREFIX}port {problem}."
    yield from login_problems(inputs)
    if existing:
        return
    host = inputs["mission_control_login_host"]
    if "," in host_text(host):
        yield (
            f"mission_control_login_host is {shown(host)}, but in mission_control_postgresql_mode package there is one server, on the host itself: "
            "name one, or set the mode to existing."
        )
    yield from _type_problems(own)
    yield from _cluster_problems(own)
    yield from problems_of(inputs, _NAMES, text_problem)
    for name in ("mission_control_login_user", *_NAMES):
        yield from _name_problems(str(inputs[name]))
    for network in own["client_networks"]:
        yield from _network_problems(network)
    if not re.fullmatch(r"\d*", str(own["memory_mb"]), re.ASCII):
        yield f"{_PREFIX}memory_mb is {shown(own['memory_mb'])}, but a number of megabytes is needed."
    for name in sorted(set(own["settings"]) & set(RESERVED_SETTINGS), key=str):
        instead = f"; use {RESERVED_SETTINGS[name]}" if RESERVED_SETTINGS[name] else ""
        yield f"{name} cannot be set in {_PREFIX}settings{instead}."
    yield from _tls_problems(own)


def _type_problems(own: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each input that is not of its kind; only a look at each of its parts tells."""
    yield from problems_of(own, _TEXTS, text_problem, _PREFIX)
    for name in _LISTS:
        entries = own[name]
        if not isinstance(entries, (list, tuple)):
            yield f"{_PREFIX}{name} is {shown(entries)}, but it must be a list; an empty one is written []."
            continue
        for each in entries:
            if text_problem(each):
                yield f"An entry of {_PREFIX}{name} {text_problem(each)}."
    if not isinstance(own["settings"], dict):
        yield f"{_PREFIX}settings is {shown(own['settings'])}, but it must be a mapping."


def _cluster_problems(own: Mapping[str, Any]) -> Iterator[str]:
    version, cluster = str(own["version"]), str(own["cluster"])
    if version and not re.fullmatch(r"[1-9][0-9]?", version):
        yield f"{_PREFIX}version is {version!r}, but a major version such as 17 is needed."
    elif version and int(version) < OLDEST_VERSION:
        yield f"{_PREFIX}version is {version}, but PostgreSQL {OLDEST_VERSION} or newer is needed."
    if not re.fullmatch(r"[a-z][a-z0-9_]*", cluster):
        yield (
            f"{_PREFIX}cluster is {cluster!r}, which is no name for a cluster: use lower-case letters, digits and underscores."
        )
    if own["repository"] == "pgdg":
        for part in ("uri", "key"):
            if not own[f"repository_{part}"]:
                yield f"{_PREFIX}repository is pgdg, but {_PREFIX}repository_{part} is empty."


def _name_problems(name: str) -> Iterator[str]:
    if not name:
        yield "A name of a database or role is empty."
    elif len(name.encode()) > 63:
        yield f"The name {name} is longer than the 63 bytes that PostgreSQL allows."
    elif re.search(r'["\x00-\x1f]', name):
        yield f"The name {name!r} has a double quote or a control character in it."


def _network_problems(network: Any) -> Iterator[str]:
    try:
        ipaddress.ip_network(str(network))
    except ValueError as error:
        yield f"{network!r} in {_PREFIX}client_networks is not a network: {error}."
    else:
        if "%" in str(network):
            yield f"{network!r} in {_PREFIX}client_networks names an interface, but a network is none."


def _tls_problems(own: Mapping[str, Any]) -> Iterator[str]:
    for name in own["tls_names"]:
        if not name_kind(str(name)):
            yield (
                f"{shown(name)} in {_PREFIX}tls_names is neither the name of a host such as db.home.arpa nor an IP address such as 192.168.20.5."
            )
    problem = number_problem(own["tls_days"], 1, LONGEST_DAYS)
    if problem:
        yield f"{_PREFIX}tls_days {problem}."
    problem = number_problem(own["tls_renew_days"], 0, (integer(own["tls_days"]) or 1) - 1)
    if problem:
        yield f"{_PREFIX}tls_renew_days {problem}, below {_PREFIX}tls_days."
    problem = path_problem(own["tls_directory"], home=True)
    if problem:
        yield f"{_PREFIX}tls_directory {problem}."
    for part in ("certificate", "key"):
        variable = f"{_PREFIX}tls_{part}"
        if not isinstance(own[f"tls_{part}"], str):
            yield f"{variable} must be a text in PEM form; an empty one is written ''."
        elif own["tls"] == "given" and not own[f"tls_{part}"]:
            yield f"{_PREFIX}tls is given, but {variable} is empty."
        elif own["tls"] != "given" and own[f"tls_{part}"]:
            yield f"{variable} is set, but {_PREFIX}tls is {own['tls']}: set that to given, or leave this empty."
    if own["tls"] in ("own_authority", "given"):
        for name in TLS_SETTINGS:
            if name in own["settings"]:
                yield f"{name} cannot be set in {_PREFIX}settings while {_PREFIX}tls is {own['tls']}."
