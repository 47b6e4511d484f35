# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Use and cost of language models over a period, by provider, model, project, agent, day or month.

Days are cut by the server, in the reporting time zone or another one that it knows: a day on which the clocks change
has 23 or 25 hours. In the reporting time zone a report reads the sums of days that the database keeps, and costs the same
however many calls there were; in another one it reads the calls themselves.
"""

from __future__ import annotations

import datetime
import decimal
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MissionControlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..database.executor import Reader

GROUPS = ("provider", "model", "project", "agent", "day", "month")
COUNTS = (
    "calls",
    "unpriced_calls",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_cache_read_tokens",
    "image_input_tokens",
    "image_cache_read_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
    "image_output_tokens",
)
_OUTPUTS = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")
TOKENS = tuple(name for name in COUNTS if name.endswith("_tokens"))
_INPUTS = tuple(name for name in TOKENS if name not in _OUTPUTS)
FILTERS = ("provider", "model", "project", "agent")

_PERIOD = """
WITH zone AS (
    SELECT coalesce(%(zone)s, reporting_time_zone()) AS name
), days AS (
    SELECT z.name, (now() AT TIME ZONE z.name)::date AS today,
        coalesce(%(until)s::date, (now() AT TIME ZONE z.name)::date) AS last_day
    FROM zone AS z
), period AS (
    SELECT d.name, d.today, coalesce(%(since)s::date, d.last_day - (%(days)s::integer - 1)) AS first_day, d.last_day
    FROM days AS d
)
SELECT p.name AS time_zone, p.today, p.first_day, p.last_day,
    p.first_day::timestamp AT TIME ZONE p.name AS starts_at,
    (p.last_day + 1)::timestamp AT TIME ZONE p.name AS ends_at,
    p.name = reporting_time_zone() AND EXISTS (SELECT FROM token_usage_rollup AS r WHERE r.time_zone = p.name) AS is_rolled_up
FROM period AS p
"""

# Of days that are summed already, and of calls. The index on occurred_at finds those, and the calendar day decides: where the
# clocks change at midnight the two differ, as an hour that comes twice belongs to a day both times.
_ROLLED_UP = {
    "calls": "u.calls",
    "cost": "u.cost_usd",
    "day": "u.day",
    "rows": "daily_token_usage AS u WHERE u.day BETWEEN %(first_day)s AND %(last_day)s",
}
_RAW_DAY = "(u.occurred_at AT TIME ZONE %(zone)s)::date"
_RAW = {
    "calls": "1",
    "cost": "u.estimated_cost_usd",
    "day": _RAW_DAY,
    "rows": "token_usage AS u WHERE u.occurred_at >= %(starts_at)s - interval '3 hours' "
    f"AND u.occurred_at < %(ends_at)s + interval '3 hours' AND {_RAW_DAY} BETWEEN %(first_day)s AND %(last_day)s",
}
_USAGE = """
SELECT {columns}
    coalesce(sum({calls}), 0)::bigint AS calls,
    coalesce(sum({calls}) FILTER (WHERE u.cost_source = 'unpriced'), 0)::bigint AS unpriced_calls,
    {tokens},
    sum({cost}) AS cost_usd,
    sum(u.subscription_value_usd) AS subscription_value_usd
FROM {rows}{conditions}
GROUP BY {groups}
"""
_TOKENS = ",\n    ".join(f"coalesce(sum(u.{name}), 0)::bigint AS {name}" for name in TOKENS)


class ReportError(MissionControlError, ValueError):
    """A report was asked for that there is none of; the message says why."""


@dataclass(frozen=True)
class Period:
    """Days of a time zone.

    Attributes:
        time_zone: name as the server knows it.
        first_day, last_day: both included.
        starts_at, ends_at: when the first one begins, and the one after the last.
        today: the day that it is there now.
        is_rolled_up: whether the database keeps sums of these days.
    """

    time_zone: str
    first_day: datetime.date
    last_day: datetime.date
    starts_at: datetime.datetime
    ends_at: datetime.datetime
    today: datetime.date
    is_rolled_up: bool = False


@dataclass(frozen=True)
class UsageRow:
    """Use and cost of one group, or of all.

    Attributes:
        group: the value of each column grouped by: text, a date for `day`, None where usage has no such label.
        counts: calls, calls without a price, and tokens in each of the disjoint buckets.
        cost_usd: sum of the known costs; None if there are calls and none of them has a price.
        subscription_value_usd: what use under a subscription would have cost, None if there was none; not in cost_usd.
    """

    group: dict[str, Any]
    counts: dict[str, int]
    cost_usd: decimal.Decimal | None
    subscription_value_usd: decimal.Decimal | None

    @property
    def input_tokens(self) -> int:
        """All input, cached or not, audio and images included."""
        return sum(self.counts[name] for name in _INPUTS)

    @property
    def output_tokens(self) -> int:
        """All output, reasoning or not, audio and images included."""
        return sum(self.counts[name] for name in _OUTPUTS)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.group,
            **self.counts,
            "cost_usd": self.cost_usd,
            "subscription_value_usd": self.subscription_value_usd,
        }


@dataclass(frozen=True)
class UsageReport:
    """What was used in a period. Rows are in the order of time where they are grouped by it, else the dearest first."""

    period: Period
    by: tuple[str, ...]
    rows: tuple[UsageRow, ...]
    total: UsageRow


def usage_report(
    client: Reader,
    by: Sequence[str] = ("provider", "model"),
    since: datetime.date | None = None,
    until: datetime.date | None = None,
    days: int = 30,
    time_zone: str | None = None,
) -> UsageReport:
    """Use and cost from `since` to `until`, both days included.

    Args:
        client: a client or a transaction.
        by: what to group by, of GROUPS.
        since: the first day; by default so that there are as many as `days` says.
        until: the last day; by default today.
        days: how many days, the last one included, where `since` is not given.
        time_zone: a name in pg_timezone_names; by default the database's reporting_time_zone().

    Raises:
        ReportError: a group, a period or a time zone that does not exist.
    """
    for name in by:
        if name not in GROUPS:
            raise ReportError(f"Usage can be grouped by {', '.join(GROUPS)}, not by {name!r}.")
    if not by or len(set(by)) != len(by):
        raise ReportError("Usage is grouped by one or several columns, each named once.")
    if days < 1:
        raise ReportError("A report covers 1 day or more.")
    zone = None if time_zone is None else _known_time_zone(client, time_zone)
    (row,) = client.query_many(_PERIOD, {"zone": zone, "since": since, "until": until, "days": days})
    period = Period(**row)
    if period.first_day > period.last_day:
        raise ReportError(f"The period begins on {period.first_day}, after its end on {period.last_day}.")
    found = client.query_many(usage_query(by, period.is_rolled_up), usage_parameters(period))
    rows = [_usage_row(each, by) for each in found]
    total = _total(rows)
    if tuple(by) == ("day",):
        rows = _with_empty_days(rows, period)
    rows.sort(key=lambda each: _order(each, by))
    return UsageReport(period, tuple(by), tuple(rows), total)


def usage_query(by: Sequence[str], rolled_up: bool, only: Sequence[str] = ()) -> str:
    """The statement for these groups, all usage in one row where there is none.

    Its parameters are those of `usage_parameters`, and a value for each of `only`.

    Args:
        by: what to group by, of GROUPS.
        rolled_up: whether to read the sums of days, which are those of the reporting time zone, instead of the calls.
        only: of FILTERS; usage whose label is another is left out.
    """
    source = _ROLLED_UP if rolled_up else _RAW
    expressions = {"day": source["day"], "month": f"to_char({source['day']}, 'YYYY-MM')"}
    return _USAGE.format(
        **source,
        columns="".join(f"{expressions.get(name, f'u.{name}')} AS {name}, " for name in by),
        tokens=_TOKENS,
        conditions="".join(f" AND u.{name} = %({name})s" for name in only),
        groups=", ".join(str(number) for number in range(1, len(by) + 1)) or "()",
    )


def usage_parameters(period: Period) -> dict[str, Any]:
    return {
        "zone": period.time_zone,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "first_day": period.first_day,
        "last_day": period.last_day,
    }


def _known_time_zone(client: Reader, name: str) -> str:
    """The name as the server writes it. AT TIME ZONE would also take what nobody means, such as Nowhere+5."""
    names = {row["name"].lower(): row["name"] for row in client.query_many("SELECT name FROM pg_timezone_names")}
    found = names.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), list(names), n=1)
        hint = f"; did you mean {names[near[0]]}?" if near else ", such as Europe/Amsterdam."
        raise ReportError(f"The server knows no time zone {name!r}{hint}")
    return str(found)


def _usage_row(row: dict[str, Any], by: Sequence[str]) -> UsageRow:
    return UsageRow(
        {name: row[name] for name in by},
        {name: row[name] for name in COUNTS},
        row["cost_usd"],
        row["subscription_value_usd"],
    )


def _total(rows: Sequence[UsageRow]) -> UsageRow:
    with decimal.localcontext() as context:
        context.prec = 60
        costs = [row.cost_usd for row in rows if row.cost_usd is not None]
        values = [row.subscription_value_usd for row in rows if row.subscription_value_usd is not None]
        cost = sum(costs, decimal.Decimal(0)) if costs or not rows else None
        value = sum(values, decimal.Decimal(0)) if values else None
    return UsageRow({}, {name: sum(row.counts[name] for row in rows) for name in COUNTS}, cost, value)


def _with_empty_days(rows: Sequence[UsageRow], period: Period) -> list[UsageRow]:
    """A row for each day from the first one with usage to the last of the period, or to today."""
    by_day = {row.group["day"]: row for row in rows}
    if not by_day:
        return []
    day, end = min(by_day), max(*by_day, min(period.last_day, period.today))
    filled = []
    while day <= end:
        empty = UsageRow({"day": day}, dict.fromkeys(COUNTS, 0), decimal.Decimal(0), None)
        filled.append(by_day.get(day, empty))
        day += datetime.timedelta(days=1)
    return filled


def _order(row: UsageRow, by: Sequence[str]) -> tuple[Any, ...]:
    times = tuple(str(row.group[name]) for name in by if name in ("day", "month"))
    labels = tuple("" if row.group[name] is None else str(row.group[name]) for name in by)
    # Without a price first among equals: they may be dear.
    cost = decimal.Decimal(0) if row.cost_usd is None else row.cost_usd
    return (*times, -cost, -row.counts["unpriced_calls"], labels)
