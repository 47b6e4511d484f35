# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that a server's certificate is for: which there should be, and whether those that it has are enough."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Underscores are in no rule, but in the names of many a container; the star stands for one label.
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_EVERYWHERE = ("*", "0.0.0.0", "::")  # noqa: S104 - what somebody else may have set
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def name_kind(text: str) -> str:
    """`IP` for an address, `DNS` for the name of a host, empty for neither."""
    # After it Python takes anything for the name of an interface, which is no part of an address for others.
    if "%" in text:
        return ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # What consists of digits and dots is a mistyped address, and no top-level domain is a number.
        named = _NAME.fullmatch(text.lower()) and len(text) <= 253 and not text.rpartition(".")[2].isdigit()
        return "DNS" if named else ""
    return "IP"


def canonical(text: str) -> str:
    """One spelling for each name and address."""
    return str(ipaddress.ip_address(text)) if name_kind(text) == "IP" else text.lower()


def wanted_names(
    own: Iterable[str], listening: Iterable[str], addresses: Iterable[str], more: Iterable[str]
) -> list[str]:
    """What a certificate of the role is for.

    Args:
        own: what the host is called, by itself and in the inventory. What cannot stand in a certificate is left out.
        listening: addresses that the server listens on.
        addresses: those through which clients come, which count where the server listens on all that there are.
        more: what was asked for.
    """
    listening = list(listening)
    found = [*_LOOPBACK, *own, *(each for each in listening if each not in _EVERYWHERE)]
    if any(each in _EVERYWHERE for each in listening):
        found += addresses
    return list(dict.fromkeys(canonical(str(each)) for each in (*found, *more) if name_kind(str(each))))


def missing_names(wanted: Iterable[str], have: Iterable[str]) -> list[str]:
    """Those of the wanted names that a certificate for the others is not valid for."""
    valid = [str(each).lower() for each in have]
    return [name for name in wanted if not any(_covers(each, canonical(name)) for each in valid)]


def _covers(pattern: str, name: str) -> bool:
    if pattern.startswith("*.") and name_kind(name) == "DNS":
        return pattern[2:] == name.partition(".")[2]
    return pattern == name


def from_openssl(text: str) -> list[str]:
    """Read what `openssl x509 -ext subjectAltName` prints."""
    found: list[Any] = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    return [canonical(each) for each in found]
