# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Use and cost of language models by day, as the API shows it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request

from .fields import date, integer, money, text
from .lists import Page, page_of
from .pagination import CURSOR, LIMIT, decode_cursor
from .parameters import Parameter, read_parameters
from .problems import ProblemError

if TYPE_CHECKING:
    from .database import Database, Reader

PATH = "/usage/tokens"
LONGEST_RANGE = 366
_DEFAULT_RANGE = 30
FROM = Parameter("from", "First day; without it the 30 days up to the last one.", "date")
TO = Parameter("to", f"Last day; without it today. From the first one {LONGEST_RANGE} days at most.", "date")
_FILTERS = (
    Parameter("provider", "Only this provider.", condition="provider = %s"),
    Parameter("model", "Only this model.", condition="model = %s"),
)
PARAMETERS = (FROM, TO, *_FILTERS, LIMIT, CURSOR)
BUCKETS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
FIELDS = (
    date("day", "As the reporting time zone cuts days."),
    text("provider"),
    text("model"),
    integer("requests"),
    *(integer(f"{bucket}_tokens") for bucket in BUCKETS),
    money("cost_usd", "Sum of the known costs; null if none is known.", null=True),
    money("subscription_value_usd", "What use under a subscription would have cost; no part of the cost.", null=True),
    integer("unpriced_requests", "Requests whose model had no price; their cost is missing."),
)
# In the order of FIELDS after the three that are grouped by.
SUMS = ", ".join(
    (
        "count(*) AS requests",
        *(f"sum({bucket}_tokens)::bigint AS {bucket}_tokens" for bucket in BUCKETS),
        "sum(estimated_cost_usd) AS cost_usd",
        "sum(subscription_value_usd) AS subscription_value_usd",
        "count(*) FILTER (WHERE cost_source = 'unpriced') AS unpriced_requests",
    )
)
DAY = "(occurred_at AT TIME ZONE reporting_time_zone())::date"
SINCE = "occurred_at >= %s::date::timestamp AT TIME ZONE reporting_time_zone()"
UNTIL = "occurred_at < (%s::date + 1)::timestamp AT TIME ZONE reporting_time_zone()"
TODAY = "SELECT (now() AT TIME ZONE reporting_time_zone())::date AS today"


def usage_blueprint(database: Database) -> Blueprint:
    blueprint = Blueprint("usage", __name__)

    @blueprint.get(PATH)
    def list_usage() -> Response:
        values = read_parameters(request.args, PARAMETERS)
        return jsonify(database.read(lambda reader: _read_usage(reader, values), snapshot=True))

    return blueprint


def _read_usage(reader: Reader, values: dict[str, Any]) -> Page:
    first, last = _range(values, reader.row(TODAY)["today"])
    having = ""
    keys: list[Any] = []
    if CURSOR.name in values:
        day, provider, model = decode_cursor(values[CURSOR.name], PATH, ("date", "text", "text"))
        # What lies after the cursor's day was on earlier pages, and need not be added up again.
        last = min(last, day)
        having = f"HAVING {DAY} < %s OR (provider, model) > (%s, %s) "
        keys = [day, provider, model]
    chosen = [parameter for parameter in _FILTERS if parameter.name in values]
    conditions = " AND ".join([SINCE, UNTIL, *(parameter.condition for parameter in chosen)])
    rows = reader.rows(
        f"SELECT {DAY} AS day, provider, model, {SUMS} FROM token_usage WHERE {conditions} "  # noqa: S608 - constants
        f"GROUP BY {DAY}, provider, model {having}ORDER BY day DESC, provider, model LIMIT %s",
        [first, last, *(values[parameter.name] for parameter in chosen), *keys, values[LIMIT.name] + 1],
    )
    return page_of(rows, values[LIMIT.name], PATH, ["day", "provider", "model"])


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
