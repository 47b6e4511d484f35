# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host says about a service or a timer: its unit, its port and what a unit may do here. Nothing is changed."""

from __future__ import annotations

import datetime
import grp
import http.client
import ipaddress
import json
import os
import pwd
import subprocess
from typing import TYPE_CHECKING, Any

from ...sockets import listening_sockets, socket_holder
from .cluster import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNIT_PROPERTIES = (
    "ActiveState",
    "UnitFileState",
    "MainPID",
    "ExecMainStartTimestamp",
    "ActiveEnterTimestamp",
    "NeedDaemonReload",
    "LoadState",
)
_PROBE_TIMEOUT = 30
_CREDENTIAL = "SetCredential=probe:given"
# /ready answers within the service's own limits; a hung one must not hold up a run.
_HTTP_TIMEOUT = 10


def _name(lookup: Any, number: int, attribute: str) -> str:
    try:
        return str(getattr(lookup(number), attribute))
    except KeyError:
        return str(number)


def user_exists(user: str) -> bool:
    return _exists(pwd.getpwnam, user) and _exists(grp.getgrnam, user)


def _exists(lookup: Any, name: str) -> bool:
    try:
        lookup(name)
    except KeyError:
        return False
    return True


def describe_unit(unit: str) -> dict[str, Any]:
    """Whether systemd knows the unit, runs it and starts it at boot, and since when, in seconds since 1970 (0: it does not run)."""
    command = ["systemctl", "show", unit, "--timestamp=us+utc", f"--property={','.join(_UNIT_PROPERTIES)}"]
    fields = dict(line.split("=", 1) for line in _output(command).splitlines() if "=" in line)
    running = fields.get("ActiveState") == "active"
    # A timer has no process.
    if "MainPID" in fields:
        started = fields.get("ExecMainStartTimestamp", "") if int(fields["MainPID"]) else ""
    else:
        started = fields.get("ActiveEnterTimestamp", "") if running else ""
    return {
        "loaded": fields.get("LoadState") == "loaded",
        "running": running,
        "enabled": fields.get("UnitFileState") == "enabled",
        "needs_reload": fields.get("NeedDaemonReload") == "yes",
        "started": _seconds(started),
    }


def _seconds(timestamp: str) -> float:
    """Read systemd's `Mon 2026-02-09 10:11:12.131415 UTC`."""
    if not timestamp:
        return 0.0
    moment = datetime.datetime.strptime(timestamp.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f UTC")
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def what_units_get(properties: Iterable[str]) -> tuple[bool, bool]:
    """Whether a unit with these properties runs here in a mount namespace of its own, and whether a unit is given credentials.

    In a container systemd may fail such a unit (226/NAMESPACE, 243/CREDENTIALS), and it may as well go on without the one or
    the other and say nothing. So short-lived units, which run as an unprivileged user, are asked what they see.
    """
    sandbox, credentials = _seen_with([*properties, _CREDENTIAL])
    # Where both fail together, one of them may be had alone.
    return sandbox or _seen_with(properties)[0], credentials or _seen_with([_CREDENTIAL])[1]


def _seen_with(properties: Iterable[str]) -> tuple[bool, bool]:
    look = 'cat "$CREDENTIALS_DIRECTORY/probe" 2>/dev/null; echo; readlink /proc/self/ns/mnt'
    options = [f"--property={each}" for each in (*properties, "User=nobody")]
    text = _output(["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *options, "--", "sh", "-c", look])
    credential, _newline, namespace = text.strip("\n").rpartition("\n")
    return namespace not in ("", os.readlink("/proc/1/ns/mnt")), credential == "given"


def _output(command: list[str]) -> str:
    """What a program prints, nothing where it fails."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        answer = subprocess.run(  # noqa: S603 - fixed programs # pylint: disable=ansible-bad-function
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def address_holder(address: str, port: int, user: str, root: str = "/") -> dict[str, Any] | None:
    """The process that keeps the service from listening on the address: process id and name; None where none does or it is the service."""
    wanted = ipaddress.ip_address(address)
    taken = {
        inode
        for held, held_port, inode in listening_sockets(root)
        if held_port == port and (held == wanted or held.is_unspecified or wanted.is_unspecified)
    }
    if not taken:
        return None
    holder = socket_holder(taken, root)
    return None if holder["pid"] and _user_of(holder["pid"], root) == user else holder


def _user_of(pid: int, root: str) -> str:
    for line in (read_text(os.path.join(root, "proc", str(pid), "status")) or "").splitlines():
        if line.startswith("Uid:"):
            return _name(pwd.getpwuid, int(line.split()[1]), "pw_name")
    return ""


def get(address: str, port: int, path: str) -> dict[str, Any]:
    """What the service answers: the status (0: nothing answers) and the JSON body, None where it is something else."""
    wanted = ipaddress.ip_address(address)
    loopback = {4: "127.0.0.1", 6: "::1"}[wanted.version]
    connection = http.client.HTTPConnection(loopback if wanted.is_unspecified else address, port, timeout=_HTTP_TIMEOUT)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return {"status": answer.status, "body": json.loads(answer.read(65536))}
    except (OSError, http.client.HTTPException):
        return {"status": 0, "body": None}
    except ValueError:
        return {"status": answer.status, "body": None}
    finally:
        connection.close()
