# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which TCP ports of this host are listened on, and by which process, read from /proc.

Functions take the root directory, so that tests hand them made-up files. They raise OSError where a file that is there cannot be read.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from collections.abc import Iterator

IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def listening_sockets(root: str = "/") -> Iterator[tuple[IPAddress, int, str]]:
    """Yield the address, the TCP port and the inode of every socket that listens."""
    for table in ("tcp", "tcp6"):
        for line in _text(os.path.join(root, "proc/net", table)).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].rsplit(":", 1)
                # The kernel prints words of 32 bits in the order of the machine.
                words = (int(address[start : start + 8], 16) for start in range(0, len(address), 8))
                packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                yield ipaddress.ip_address(packed), int(port, 16), fields[9]


def socket_holder(inodes: set[str], root: str = "/") -> dict[str, Any]:
    """Return the id and name of the first process that has one of the sockets open."""
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for pid in sorted(filter(str.isdigit, _names(os.path.join(root, "proc"))), key=int):
        directory = os.path.join(root, "proc", pid, "fd")
        if any(_link(os.path.join(directory, fd)) in sockets for fd in _names(directory)):
            return {"pid": int(pid), "name": _text(os.path.join(root, "proc", pid, "comm")).strip() or "?"}
    return {"pid": None, "name": "a process that is not visible from here"}


def port_holder(port: int, root: str = "/") -> dict[str, Any] | None:
    """Return the process that listens on the TCP port, None if none does."""
    inodes = {inode for _address, held, inode in listening_sockets(root) if held == port}
    return socket_holder(inodes, root) if inodes else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return ""  # no such table, or the process has ended meanwhile


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError, ProcessLookupError):
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # closed meanwhile
