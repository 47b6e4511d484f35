# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules a pg_hba.conf lacks that is not ours to write, judged as PostgreSQL does: the first rule that fits decides."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# What is not a name in its place.
_WORDS = ("all", "sameuser", "samerole", "samegroup", "replication")


def missing_rules(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The lines without which our logins are refused; none where a rule is of a sort whose outcome is not known here.

    Args:
        found: what files/client_rules.sql of the role mission_control_postgresql returns: `rules`, `memberships` of the logins that there are,
            `address` from which the server is asked, None over the socket, and whether that is by `tls`.
        wanted: `database`, `logins`, and `client_networks` beside that address.
    """
    own = ipaddress.ip_network(found["address"] or "127.0.0.1")
    networks = dict.fromkeys([own, *(ipaddress.ip_network(str(each)) for each in wanted["client_networks"])])
    kind = "hostssl" if found["tls"] else "host"
    lines = []
    for network in networks:
        refused = [login for login in wanted["logins"] if _is_refused(found, wanted["database"], login, network)]
        if refused:
            logins = ",".join(map(_name, refused))
            lines.append(f"{kind} {_name(wanted['database'])} {logins} {network} scram-sha-256")
    return lines


def _is_refused(found: Mapping[str, Any], database: str, login: str, network: Network) -> bool:
    groups = (found["memberships"] or {}).get(login, [])
    for rule in found["rules"] or []:
        if not _fits_session(rule["type"], found["tls"]):
            continue
        fits = (
            _fits_name(rule["databases"], database, login, groups, of_database=True),
            _fits_name(rule["users"], login, login, groups, of_database=False),
            _fits_address(rule["address"], rule["netmask"], network),
        )
        if False not in fits:
            # Where it is not known whether the rule fits, nothing is claimed.
            return None not in fits and rule["method"] == "reject"
    return True


def _fits_session(kind: str, tls: bool) -> bool:
    return kind in ("host", "hostnogssenc", "hostssl" if tls else "hostnossl")


def _fits_name(names: Sequence[str], name: str, login: str, groups: Sequence[str], *, of_database: bool) -> bool | None:
    """Whether a list of a rule has a database or a login in it; None where that is not known."""
    for each in names:
        if (
            each in ("all", name)
            or (of_database and each == "sameuser" and name == login)
            or (of_database and each in ("samerole", "samegroup") and name in groups)
            or (not of_database and each.startswith("+") and each[1:] in groups)
        ):
            return True
    # PostgreSQL's regular expressions are its own.
    return None if any(each.startswith("/") for each in names) else False


def _fits_address(address: str, netmask: str | None, network: Network) -> bool | None:
    """Whether a rule is for all addresses of a network; None where that is not known, as of a name."""
    if address == "all":
        return True
    try:
        of_rule = ipaddress.ip_network(f"{address}/{_prefix(netmask)}" if netmask else address, strict=False)
    except ValueError:
        return None
    if of_rule.version != network.version or not of_rule.overlaps(network):
        return False
    return True if network.subnet_of(of_rule) else None  # type: ignore[arg-type]


def _prefix(netmask: str) -> int:
    return f"{int(ipaddress.ip_address(netmask)):b}".count("1")


def _name(name: str) -> str:
    return f'"{name}"' if name in _WORDS else name
