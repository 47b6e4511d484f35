# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who holds the port that the service is to listen on."""

from __future__ import annotations

import errno
import os
import pwd
import socket

from mission_control.sockets import port_holder

from .configuration import PREFIX, Configuration, ConfigurationError


def check_port(configuration: Configuration) -> None:
    """Try to listen as gunicorn will do, which in the end would only say that the address is in use.

    Raises:
        ConfigurationError: another process listens there, or this one may not.
    """
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((configuration.host, configuration.port))
    except socket.gaierror:
        raise ConfigurationError(f"{PREFIX}BIND names the host {configuration.host!r}, which has no address.") from None
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            holder = port_holder(configuration.port)
            who = (
                f"process {holder['pid']} ({holder['name']})"
                if holder and holder["pid"]
                else _owner(configuration.port)
            )
            raise ConfigurationError(
                f"Port {configuration.port} is held by {who}: stop it, or set {PREFIX}BIND to another port."
            ) from None
        raise ConfigurationError(f"Cannot listen on {configuration.bind}: {reason}; see {PREFIX}BIND.") from None


def _owner(port: int) -> str:
    """Of another user's process only the user can be seen."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table, encoding="utf-8") as file:
            for line in file.read().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    try:
                        return f"a process of the user {pwd.getpwuid(int(fields[7])).pw_name}"
                    except KeyError:
                        return f"a process of the user with the id {fields[7]}"
    return "another process"
