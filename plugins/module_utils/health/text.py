# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Numbers as a person reads them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """42 s, 5 min, 3 h, 12 days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def size(count: float) -> str:
    """512 bytes, 9.8 MiB, 3.2 GiB."""
    if count < 1024:
        return f"{count:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def number(count: int, one: str, many: str = "") -> str:
    """1 session, 2 sessions."""
    return f"{count} {one if count == 1 else many or one + 's'}"
