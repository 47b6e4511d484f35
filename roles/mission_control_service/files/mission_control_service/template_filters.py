# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the templates write numbers and times."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from flask import Flask


def dollars(value: Decimal) -> str:
    """With cents, and small amounts with the digits that make them something."""
    if 0 < value < 1:
        return f"${value:.4f}"
    return f"${value:,.2f}"


def count_short(value: float) -> str:
    """1,234 or 567.8 k or 9.0 M."""
    for unit, size, least in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, 1e5)):
        if value >= least:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f}"


def duration(value: datetime.timedelta) -> str:
    seconds = max(0.0, value.total_seconds())
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def took(seconds: float | None) -> str:
    """0.12 s, 42 s, 3 min; a dash for what has not ended."""
    if seconds is None:
        return "\N{EN DASH}"
    return f"{seconds:.2f} s" if seconds < 10 else duration(datetime.timedelta(seconds=seconds))


def ago(seconds: float) -> str:
    """In words: 2 minutes ago."""
    for unit, length in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        count = int(seconds / length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def counted(count: int, one: str) -> str:
    """1 host, 1,412 hosts."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def percent(value: float) -> str:
    return f"{value * 100:.1f} %"


_UNUSUAL = re.compile(r"[^\n -~]")


def visible(value: str) -> str:
    """With an escape for each character that shows itself not, or that turns the order of others around: who approves sees what is done."""
    return _UNUSUAL.sub(
        lambda match: match[0] if match[0].isprintable() else match[0].encode("unicode_escape").decode(), value
    )


def words(value: str) -> str:
    """waiting_approval: waiting approval."""
    return value.replace("_", " ")


def register_filters(app: Flask) -> None:
    for function in (dollars, count_short, duration, took, ago, counted, percent, visible, words):
        app.jinja_env.filters[function.__name__] = function
