# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control prices`: what language models cost at a time."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING, Any, get_args

from ..database.postgres_url import similar
from ..ledger.prices import AMOUNTS, COLUMNS, names_with_prices, price_list_in_force, prices_in_force
from ..models.enums import BillingMode
from .lists import short_time
from .output import csv_line, table_or_records
from .parser import EXIT_NO, EXIT_OK, CommandError, add_format_options, complete_with, make_client

if TYPE_CHECKING:
    from ..client.client import Client
    from .output import Output

    Row = dict[str, Any]

SUMMARY = "prices of language models in force at a time"
DESCRIPTION = """\
Shows the prices in USD per 1,000,000 tokens that count at a time, a row for each tier; above: the tier counts for
requests with more input tokens than this. --model finds the price as the server does: the model's own, else that of
the name without a date where any date may follow it, and with --provider else that of all its models ("*").
What has no price of its own is billed as something more general: cached and written tokens, audio and images
as input, reasoning as output. --json and --csv have every column; what is billed as something else is null there."""
EXAMPLES = """\
examples:
  mission-control prices --model claude-opus-5
  mission-control prices --provider openai --mode batch
  mission-control prices --model gpt-5.4-2026-03-05 --at 2026-04-01
  mission-control prices --csv > prices.csv"""

_FIRST = AMOUNTS[:6]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="the price of this model, by the name that usage gives it")
    parser.add_argument("--provider", metavar="NAME", action="append", default=[], help="only those of this provider")
    mode = parser.add_argument(
        "--mode",
        metavar="MODE",
        action="append",
        default=[],
        choices=get_args(BillingMode),
        help=f"only those in this billing mode: {', '.join(get_args(BillingMode))}",
    )
    complete_with(mode, lambda _typed: get_args(BillingMode))
    parser.add_argument(
        "--at",
        metavar="TIME",
        type=_time,
        help="a day or a time, in UTC where it says no zone: 2026-03-29T12:00+02:00 (now)",
    )
    add_format_options(parser, "json", "csv")


def _time(text: str) -> datetime.datetime:
    try:
        time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a time is written like 2026-03-29 or 2026-03-29T12:00:00Z, not {text!r}"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    at = options.at or datetime.datetime.now(datetime.timezone.utc)
    rows = prices_in_force(client, at, model=options.model, providers=options.provider, modes=options.mode)
    if not rows:
        raise CommandError(_nothing(client, options, at), EXIT_NO)
    if options.format == "json":
        output.json({"at": at, "list": price_list_in_force(client), "prices": rows})
    elif options.format == "csv":
        output.data(csv_line(COLUMNS))
        for row in rows:
            output.data(csv_line(_plain(row[name]) for name in COLUMNS))
    else:
        _print_table(rows, at, price_list_in_force(client), output)
    return EXIT_OK


def _nothing(client: Client, options: argparse.Namespace, at: datetime.datetime) -> str:
    """Why there is no row, with a name that may have been meant."""
    when = f"on {at:%Y-%m-%d}" if options.at else "now"
    for column, names in (("provider", options.provider), ("model", [options.model] if options.model else [])):
        known = names_with_prices(client, column, at)
        wrong = next((name for name in names if name not in known), None)
        if wrong is not None:
            # There are few providers, and a model belongs to one under a name of ours: claude, not anthropic.
            others = f"; there are those of {', '.join(sorted(known))}." if column == "provider" and known else "."
            return f"There is no price of the {column} {wrong!r} {when}{similar(wrong, known) or others}"
    return f"There is no price of that kind {when}."


def _plain(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)


def _print_table(rows: list[Row], at: datetime.datetime, known: Row | None, output: Output) -> None:
    which = f"; the collection's are those of {known['source']}, read on {known['read_on']}" if known else ""
    output.sentence(f"USD per 1,000,000 tokens at {short_time(at)}{which}")
    output.line()
    # A column that no row fills says nothing.
    amounts = [name for name in AMOUNTS if name in _FIRST[:2] or any(row[name] is not None for row in rows)]
    columns = ["provider", "model", *(["mode"] if any(row["billing_mode"] != "standard" for row in rows) else [])]
    columns += ["above"] if any(row["above_input_tokens"] for row in rows) else []
    headings = [*columns, *(name[: -len("_usd_per_mtok")].replace("_", " ") for name in amounts)]
    cells = [[*(_label(row, name) for name in columns), *(_amount(row[name]) for name in amounts)] for row in rows]
    right = range(3 if "mode" in columns else 2, len(headings))
    for text in table_or_records(headings, cells, right, output.width, whole=range(len(columns))):
        output.line(text)


def _label(row: Row, column: str) -> str:
    if column == "above":
        return f"{row['above_input_tokens']:,}" if row["above_input_tokens"] else ""
    if column == "mode":
        return str(row["billing_mode"])
    return f"{row['model']} and dated" if column == "model" and row["dated"] else str(row[column])


def _amount(value: Any) -> str:
    return "" if value is None else f"{value.normalize():f}"
