# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Exports of the providers' administration that hold sums and no calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .calls import LineError

if TYPE_CHECKING:
    from collections.abc import Collection

# Keys or columns by which such an export is known: a period, or a day with figures, where a call would have one time.
_PERIODS = (
    {"starting_at", "ending_at"},
    {"start_time", "end_time", "results"},
    {"bucket_start_time"},
    {"usage_date_utc"},
    {"date", "metrics"},
    {"date", "spend"},
    {"group_by_day"},
    {"users", "models", "spend"},
)


class SummaryError(LineError):
    """A whole file holds sums."""

    def __init__(self) -> None:
        super().__init__(
            "It holds sums over hours or days and no calls, which would be counted twice beside the calls themselves: import what records each call."
        )


def refuse_summary(names: Collection[str]) -> None:
    """An error for an object, or a heading of a table, that is a sum over a period."""
    if "request_id" not in names and any(names_of_period.issubset(names) for names_of_period in _PERIODS):
        raise SummaryError
