# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control usage`: tokens and cost of language models, with a bar for each row."""

from __future__ import annotations

import argparse
import contextlib
import decimal
from typing import TYPE_CHECKING

from ..errors import QueryError
from ..ledger.report import COUNTS, GROUPS, ReportError, UsageReport, UsageRow, usage_report
from .output import column_widths, csv_line, fitted, printable, share_bar, table
from .parser import (
    EXIT_OK,
    EXIT_UNKNOWN,
    CommandError,
    UsageError,
    add_format_options,
    complete_with,
    date_option,
    make_client,
    positive_option,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..client.client import Client
    from .output import Output

SUMMARY = "tokens and cost of language models over a period"
DESCRIPTION = """\
Shows calls, tokens and cost of language models by provider and model, or by what --by names. Tokens are all
input (cached or not) and all output (reasoning included); --json and --csv have every bucket and exact costs.
Days are cut by the server in the reporting time zone, right on days on which the clocks change. Costs are in USD.
Calls of a model without a price are counted and are in no cost."""
EXAMPLES = """\
examples:
  mission-control usage                                  the last 30 days by provider and model
  mission-control usage --by day --days 7                day by day
  mission-control usage --by project,model --since 2026-03-01 --until 2026-03-31
  mission-control usage --by day --time-zone Europe/Amsterdam --csv > usage.csv"""

_TOO_OLD = "The database's schema is too old for this command: apply its pending migrations with playbooks/migrate.yml."
# undefined_table, undefined_column and undefined_function.
_LEAST_BAR = 10
_LONGEST_BAR = 40
_NARROW = 80
_WHOLE_LABELS = ("day", "month")
_ZERO = decimal.Decimal(0)


def add_options(parser: argparse.ArgumentParser) -> None:
    by = parser.add_argument(
        "--by",
        metavar="COLUMNS",
        type=_columns,
        default=("provider", "model"),
        help=f"what to group by, of {', '.join(GROUPS)}; several with commas (provider,model)",
    )
    complete_with(by, _more_columns)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--since", metavar="DAY", type=date_option, help="first day, such as 2026-03-01")
    start.add_argument(
        "--days", metavar="NUMBER", type=positive_option, default=30, help="how many days, the last one included (30)"
    )
    parser.add_argument("--until", metavar="DAY", type=date_option, help="last day, included (today)")
    parser.add_argument(
        "--time-zone",
        metavar="NAME",
        help="time zone of the days, such as Europe/Amsterdam (the database's reporting_time_zone())",
    )
    add_format_options(parser, "json", "csv")


def _more_columns(typed: str) -> list[str]:
    """What --by may be, one column longer than what is typed before the last comma."""
    before, comma, _last = typed.rpartition(",")
    return [f"{before}{comma}{name}" for name in GROUPS if name not in before.split(",")]


def _columns(text: str) -> tuple[str, ...]:
    columns = tuple(part.strip() for part in text.split(","))
    wrong = next((name for name in columns if name not in GROUPS), None)
    if wrong is not None:
        raise argparse.ArgumentTypeError(f"usage can be grouped by {', '.join(GROUPS)}, not by {wrong!r}")
    if len(set(columns)) != len(columns):
        raise argparse.ArgumentTypeError("each column is named once")
    return columns


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed():
        try:
            report = usage_report(client, options.by, options.since, options.until, options.days, options.time_zone)
        except ReportError as error:
            raise UsageError(str(error)) from None
    if options.format == "json":
        output.json(_as_json(report))
    elif options.format == "csv":
        _print_csv(report, output)
    else:
        _print_table(report, output)
    return EXIT_OK


@contextlib.contextmanager
def schema_needed(sentence: str = _TOO_OLD) -> Generator[None, None, None]:
    """Say of a database without the tables that a command reads what it lacks."""
    try:
        yield
    except QueryError as error:
        if not error.is_of_older_schema:
            raise
        too_old = CommandError(sentence, EXIT_UNKNOWN)
    else:
        return
    raise too_old


def _as_json(report: UsageReport) -> object:
    period = report.period
    return {
        "time_zone": period.time_zone,
        "first_day": period.first_day,
        "last_day": period.last_day,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "by": list(report.by),
        "rows": [row.as_dict() for row in report.rows],
        "total": report.total.as_dict(),
    }


def _print_csv(report: UsageReport, output: Output) -> None:
    columns = [*report.by, *COUNTS, "cost_usd", "subscription_value_usd"]
    output.data(csv_line(columns))
    for row in report.rows:
        values = row.as_dict()
        output.data(csv_line(None if values[name] is None else _plain(values[name]) for name in columns))


def _plain(value: object) -> str:
    return f"{value:f}" if isinstance(value, decimal.Decimal) else str(value)


def _print_table(report: UsageReport, output: Output) -> None:
    period, total = report.period, report.total
    days = "1 day" if period.first_day == period.last_day else f"{(period.last_day - period.first_day).days + 1} days"
    output.line(f"{period.first_day} to {period.last_day}, {days} in {period.time_zone}")
    if not total.counts["calls"]:
        output.line("No usage was recorded in this time.")
        return
    output.line()
    for text in table_lines(report, output.width, output.blocks):
        output.line(text)
    unpriced = total.counts["unpriced_calls"]
    if unpriced:
        calls = "1 call has" if unpriced == 1 else f"{unpriced:,} calls have"
        output.line()
        output.sentence(f"{calls} no price and no part in the cost.")
    if total.subscription_value_usd is not None:
        output.sentence(f"Use under a subscription would have cost {money(total.subscription_value_usd)} USD more.")


def table_lines(report: UsageReport, width: int | None, blocks: bool) -> list[str]:
    """The table with its bars, not wider than the terminal as far as its numbers let it be."""
    by = list(report.by)
    with_unpriced = report.total.counts["unpriced_calls"] > 0
    headings = ["calls", "input", "output", *(["unpriced"] if with_unpriced else []), "cost USD"]
    numbers = [_numbers(row, with_unpriced) for row in (*report.rows, report.total)]
    labels = [[_label(row, name) for name in by] for row in report.rows]
    labels.append(["total", *[""] * (len(by) - 1)])
    right = range(len(by), len(by) + len(headings))
    whole = [at for at, name in enumerate(by) if name in _WHOLE_LABELS]
    bar_width = _LONGEST_BAR // 2
    if width is not None:
        room = width - _width(column_widths([headings, *numbers]))
        widths, least = column_widths([by, *labels]), column_widths([by])
        # On a narrow terminal a bar is worth less than a label on one line.
        if width >= _NARROW or _width(widths) > room:
            widths = fitted(widths, least, whole, room - _LEAST_BAR - 2)
        bar_width = min(_LONGEST_BAR, room - _width(widths))
    most = max((row.cost_usd or _ZERO for row in report.rows), default=_ZERO)
    bars = [_bar(row, most, bar_width, blocks) for row in report.rows]
    rows = [[*a, *b, c] for a, b, c in zip(labels, numbers, [*bars, ""])]
    return table([*by, *headings, ""], rows, right, width, [*whole, right.stop])


def _width(widths: list[int]) -> int:
    """Columns of the terminal that these columns of a table take, with the two blanks after each."""
    return sum(widths) + 2 * len(widths)


def _label(row: UsageRow, name: str) -> str:
    value = row.group[name]
    return printable(str(value)) if value is not None else f"(no {name})"


def _numbers(row: UsageRow, with_unpriced: bool) -> list[str]:
    counts = row.counts
    unpriced = [f"{counts['unpriced_calls']:,}"] if with_unpriced else []
    cost = "unpriced" if row.cost_usd is None else money(row.cost_usd)
    return [f"{counts['calls']:,}", short_count(row.input_tokens), short_count(row.output_tokens), *unpriced, cost]


def _bar(row: UsageRow, most: decimal.Decimal, width: int, blocks: bool) -> str:
    if width < 1 or not row.cost_usd or not most:
        return ""
    return share_bar(float(row.cost_usd / most), width, blocks)


def short_count(number: int) -> str:
    """A number of tokens in four characters or so: 950, 1.23k, 45.6M."""
    if number < 1000:
        return str(number)
    size = float(number)
    for unit in ("k", "M", "G", "T"):
        size /= 1000
        if size < 999.5 or unit == "T":
            break
    return f"{size:.2f}{unit}" if size < 9.995 else f"{size:.1f}{unit}" if size < 99.95 else f"{size:,.0f}{unit}"


def money(amount: decimal.Decimal) -> str:
    """A cost with four decimals; a smaller one is not shown as nothing."""
    if 0 < amount < decimal.Decimal("0.0001"):
        return "<0.0001"
    return f"{amount:,.4f}"
