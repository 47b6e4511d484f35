# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which process a record is about, so that another program can tell later whether it is still there."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any


def this_process() -> dict[str, Any]:
    """What identifies this process for good, as a JSON object.

    Returns:
        host: name of the machine, boot: which of its boots ("" where the kernel does not say), pid, and ticks: when the process
        began, in clock ticks after the boot (None where the kernel does not say).
    """
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "ticks": _start_ticks(os.getpid())}


def is_elsewhere(process: Any) -> bool:
    """Whether a process, as `this_process` told of itself, is of another machine, or nobody can tell."""
    return not isinstance(process, dict) or process.get("host") != socket.gethostname()


def has_ended(process: Any) -> bool:
    """Whether a process of this machine is there no longer; what runs elsewhere is not known to have ended."""
    if is_elsewhere(process):
        return False
    pid = process.get("pid")
    return (
        process.get("boot") != _boot()
        or not isinstance(pid, int)
        # A later process may have the same number.
        or _start_ticks(pid) != process.get("ticks")
    )


def _boot() -> str:
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def _start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks after the boot; None if there is none."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file,
    ):
        state, *rest = file.read().rpartition(")")[2].split()
        # A dead one whose parent has not asked for it.
        return None if state in "ZX" else int(rest[18])
    return None
