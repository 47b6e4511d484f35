# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the inputs of the role mission_control_standby before the hosts are looked at."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ..certificates.names import name_kind
from .checks import name_problem, own_inputs, path_problem, problems_of, secret_problem, shown, text_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "mission_control_standby_"
_SLOT = re.compile(r"[a-z0-9_]{1,63}", re.ASCII)
_SIZE = re.compile(r"[1-9][0-9]{0,8}(?:MB|GB|TB)", re.ASCII)
_TEXTS = ("primary", "promote_confirm", "rejoin_confirm")
_SIZES = ("keep_wal", "max_slot_wal")
_PASSWORD = "mission_control_standby_replication_password"  # noqa: S105 - the name of a variable


def input_problem(inputs: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as one sentence that names the variable; empty where all is well.

    Args:
        inputs: the role's variables by their names. No sentence holds a password.
    """
    return next(_problems(inputs), "")


def _problems(inputs: Mapping[str, Any]) -> Iterator[str]:
    own = own_inputs(inputs, _PREFIX)
    if inputs["mission_control_postgresql_mode"] != "package":
        yield (
            "mission_control_postgresql_mode is existing, but a standby is made of servers that the roles run: see docs/cluster.md for others."
        )
    yield from problems_of(own, _TEXTS, text_problem, _PREFIX)
    if text_problem(own["address"]) or not name_kind(str(own["address"])):
        yield f"{_PREFIX}address is {shown(own['address'])}, which is neither the name of a host such as db.home.arpa nor an IP address."
    if not isinstance(own["slot"], str) or not _SLOT.fullmatch(own["slot"]):
        yield f"{_PREFIX}slot is {shown(own['slot'])}, but a slot has 1 to 63 lower-case letters, digits and underscores."
    for name in _SIZES:
        if not isinstance(own[name], str) or not _SIZE.fullmatch(own[name]):
            yield f"{_PREFIX}{name} is {shown(own[name])}, but a size such as 4GB is needed."
    yield from problems_of(own, ("replication_role",), name_problem, _PREFIX)
    if own["ca_cert"] != "":
        yield from problems_of(own, ("ca_cert",), path_problem, _PREFIX)
    yield from problems_of(inputs, (_PASSWORD,), secret_problem, "The password in ")
    yield from _network_problems(own["networks"])


def _network_problems(networks: Any) -> Iterator[str]:
    if not isinstance(networks, (list, tuple)):
        yield f"{_PREFIX}networks is {shown(networks)}, but it must be a list; an empty one is written []."
        return
    for network in networks:
        try:
            known = ipaddress.ip_network(str(network)) is not None and "%" not in str(network)
        except ValueError:
            known = False
        if not known:
            yield f"{shown(network)} in {_PREFIX}networks is not a network such as 192.168.20.6/32."
