# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host calls itself and which addresses it has, from files, without asking a name server that may not answer."""

from __future__ import annotations

import ipaddress
import os
import re
import socket

from .cluster import read_text

_LOCAL = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
# Of an IPv6 address: one that the kernel changes from time to time, and one that is not in use (yet, or any more).
_TEMPORARY, _DUPLICATE, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_UNSTEADY = _TEMPORARY | _DUPLICATE | _DEPRECATED | _TENTATIVE


def host_names(root: str = "/") -> list[str]:
    """The host's name, and those that /etc/hosts gives to the same address."""
    name = (read_text(os.path.join(root, "proc/sys/kernel/hostname")) or "").strip()
    names = [name]
    for line in (read_text(os.path.join(root, "etc/hosts")) or "").splitlines():
        found = line.partition("#")[0].split()[1:]
        if name in found:
            names += found
    return list(dict.fromkeys(filter(None, names)))


def addresses(root: str = "/") -> list[str]:
    """The addresses under which other hosts reach this one, in a steady order."""
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
    for text in _LOCAL.findall(read_text(os.path.join(root, "proc/net/fib_trie")) or ""):
        found.add(ipaddress.ip_address(text))
    for line in (read_text(os.path.join(root, "proc/net/if_inet6")) or "").splitlines():
        fields = line.split()
        if not int(fields[4], 16) & _UNSTEADY:
            found.add(ipaddress.IPv6Address(int(fields[0], 16)))
    steady = (each for each in found if not each.is_loopback and not each.is_link_local)
    return [str(each) for each in sorted(steady, key=lambda each: (each.version, int(each)))]


def address_towards(network: str) -> str | None:
    """The address under which this host reaches a network, so that clients there reach it by the same; None where it has no route."""
    where = ipaddress.ip_network(network)
    target = where.network_address + (1 if where.num_addresses > 2 else 0)
    family = socket.AF_INET if where.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as route:
        try:
            # Of datagrams, to connect is to look up the route: nothing is sent.
            route.connect((str(target), 9))
            return str(route.getsockname()[0])
        except OSError:
            return None
