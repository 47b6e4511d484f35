# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Use and cost of language models: by day, model by model, and grouped as the caller asks."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request
from mission_control.ledger.report import COUNTS, FILTERS, GROUPS, TOKENS, usage_query

from .fields import Field, date, integer, money, text
from .lists import Page, page_of
from .pagination import CURSOR, LIMIT, decode_cursor
from .parameters import Parameter, read_parameters
from .problems import ProblemError

if TYPE_CHECKING:
    from .database import Database, Reader

PATH = "/usage/tokens"
REPORT_PATH = "/usage"
LONGEST_RANGE = 366
_DEFAULT_RANGE = 30
FROM = Parameter("from", "First day; without it the 30 days up to the last one.", "date")
TO = Parameter("to", f"Last day; without it today. From the first one {LONGEST_RANGE} days at most.", "date")
_FILTERS = tuple(Parameter(name, f"Only this {name}.", condition=f"{name} = %s") for name in FILTERS)
PARAMETERS = (FROM, TO, *_FILTERS, LIMIT, CURSOR)
BY = Parameter(
    "by", "What to group by, with commas between them.", "choices", choices=GROUPS, default=("provider", "model")
)
REPORT_PARAMETERS = (BY, FROM, TO, *_FILTERS, LIMIT)
BUCKETS = tuple(name[: -len("_tokens")] for name in TOKENS)
_COSTS = (
    money("cost_usd", "Sum of the known costs; null if none is known.", null=True),
    money("subscription_value_usd", "What use under a subscription would have cost; no part of the cost.", null=True),
)
FIELDS = (
    date("day", "As the reporting time zone cuts days."),
    text("provider"),
    text("model"),
    integer("requests"),
    *(integer(name) for name in TOKENS),
    *_COSTS,
    integer("unpriced_requests", "Requests whose model had no price; their cost is missing."),
)
_SUMMED = (
    integer("calls"),
    integer("unpriced_calls", "Calls whose model had no price; their cost is missing."),
    *(integer(name) for name in TOKENS),
    *_COSTS,
)
_NOT_GROUPED = "Null where it is not grouped by"
ROW_FIELDS: tuple[Field, ...] = (
    *(text(name, f"{_NOT_GROUPED}, or usage has no such label.", null=True) for name in GROUPS if name in FILTERS),
    date("day", f"{_NOT_GROUPED}. As the reporting time zone cuts days.", null=True),
    text("month", f"{_NOT_GROUPED}. Such as 2026-11.", null=True),
    *_SUMMED,
)
TOTAL_FIELDS = _SUMMED
# In the order of FIELDS after the three that are grouped by.
SUMS = ", ".join(
    (
        "sum(calls)::bigint AS requests",
        *(f"sum({name})::bigint AS {name}" for name in TOKENS),
        "sum(cost_usd) AS cost_usd",
        "sum(subscription_value_usd) AS subscription_value_usd",
        "coalesce(sum(calls) FILTER (WHERE cost_source = 'unpriced'), 0)::bigint AS unpriced_requests",
    )
)
# The days of this are those of the reporting time zone, and summed already.
USAGE = "daily_token_usage"
TODAY = "SELECT (now() AT TIME ZONE reporting_time_zone())::date AS today"


def usage_blueprint(database: Database) -> Blueprint:
    blueprint = Blueprint("usage", __name__)

    @blueprint.get(PATH)
    def list_usage() -> Response:
        values = read_parameters(request.args, PARAMETERS)
        return jsonify(database.read(lambda reader: _read_usage(reader, values), snapshot=True))

    @blueprint.get(REPORT_PATH)
    def report_usage() -> Response:
        values = read_parameters(request.args, REPORT_PARAMETERS)
        return jsonify(database.read(lambda reader: _read_report(reader, values), snapshot=True))

    return blueprint


def _read_usage(reader: Reader, values: dict[str, Any]) -> Page:
    first, last = _range(values, reader.row(TODAY)["today"])
    having = ""
    keys: list[Any] = []
    if CURSOR.name in values:
        day, provider, model = decode_cursor(values[CURSOR.name], PATH, ("date", "text", "text"))
        # What lies after the cursor's day was on earlier pages, and need not be added up again.
        last = min(last, day)
        having = "HAVING day < %s OR (provider, model) > (%s, %s) "
        keys = [day, provider, model]
    chosen = [parameter for parameter in _FILTERS if parameter.name in values]
    conditions = " AND ".join(["day BETWEEN %s AND %s", *(parameter.condition for parameter in chosen)])
    rows = reader.rows(
        f"SELECT day, provider, model, {SUMS} FROM {USAGE} WHERE {conditions} "  # noqa: S608 - constants
        f"GROUP BY day, provider, model {having}ORDER BY day DESC, provider, model LIMIT %s",
        [first, last, *(values[parameter.name] for parameter in chosen), *keys, values[LIMIT.name] + 1],
    )
    return page_of(rows, values[LIMIT.name], PATH, ["day", "provider", "model"])


def _read_report(reader: Reader, values: dict[str, Any]) -> dict[str, Any]:
    """The sums of the groups, the newest and then the dearest first, and those of all usage."""
    zone = reader.row("SELECT reporting_time_zone() AS zone")["zone"]
    first, last = _range(values, reader.row(TODAY)["today"])
    by = values[BY.name]
    only = [name for name in FILTERS if name in values]
    parameters = {"first_day": first, "last_day": last, **{name: values[name] for name in only}}
    times = [f"{name} DESC" for name in by if name in ("day", "month")]
    order = ", ".join([*times, "cost_usd DESC NULLS LAST", "calls DESC", *by])
    rows = reader.rows(
        f"SELECT u.*, count(*) OVER () AS groups FROM ({usage_query(by, True, only)}) AS u "  # noqa: S608 - constants
        f"ORDER BY {order} LIMIT %(limit)s",
        {**parameters, "limit": values[LIMIT.name]},
    )
    total = reader.row(usage_query((), True, only), parameters)
    names = [field.name for field in ROW_FIELDS]
    return {
        "from": first,
        "to": last,
        "time_zone": zone,
        "by": list(by),
        "groups": rows[0]["groups"] if rows else 0,
        "items": [{name: row.get(name) for name in names} for row in rows],
        "total": {name: total[name] for name in (*COUNTS, "cost_usd", "subscription_value_usd")},
    }


def _range(values: dict[str, Any], today: datetime.date) -> tuple[datetime.date, datetime.date]:
    last = values.get(TO.name, today)
    first = values.get(FROM.name)
    if first is None:
        first = datetime.date.fromordinal(max(1, last.toordinal() - _DEFAULT_RANGE + 1))
    if first > last:
        raise ProblemError(400, "The first day lies after the last one.", FROM.name)
    if (last - first).days >= LONGEST_RANGE:
        raise ProblemError(400, f"The days from the first to the last are more than {LONGEST_RANGE}.", FROM.name)
    return first, last
