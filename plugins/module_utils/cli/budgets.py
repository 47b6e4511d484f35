# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control budgets`: what language models may cost in a month, and how much of it is spent."""

from __future__ import annotations

import argparse
import decimal
import re
from typing import TYPE_CHECKING, Any

from ..health.text import number
from ..ledger.budgets import COLUMNS, SCOPE, BudgetError, read_budgets, remove_budget, set_budget
from .output import csv_line, printable, share_bar, table
from .parser import EXIT_NO, EXIT_OK, CommandError, add_format_options, make_client
from .usage import money, schema_needed

if TYPE_CHECKING:
    from ..client.client import Client
    from .output import Output

SUMMARY = "budgets for language models: list them, set or remove one"
DESCRIPTION = """\
Lists the budgets of this month in the reporting time zone, with what is spent and what will have been spent at its end if
the rest of it costs as much a day as the last 7 complete days did. Calls without a price are in neither. A budget is near
from 80 percent on. Nothing is stopped by a budget that is spent."""
EXAMPLES = """\
examples:
  mission-control budgets
  mission-control budgets --json
  mission-control budgets set homelab --usd 25 --project homelab
  mission-control budgets remove homelab"""
SET_SUMMARY = "make a budget, or change one"
SET_DESCRIPTION = """\
Makes a budget for each month, or gives the one of this name another amount and scope. It counts what fits all that it is
limited to; without a limit it counts everything. Those of the variable mission_control_schema_budgets are changed there."""
SET_EXAMPLES = """\
examples:
  mission-control budgets set all --usd 60
  mission-control budgets set homelab --usd 25 --project homelab
  mission-control budgets set opus --usd 12.50 --provider claude --model claude-opus-5"""
REMOVE_SUMMARY = "remove a budget"
REMOVE_DESCRIPTION = """\
Removes a budget that was made by mission-control budgets set, or by SQL. What was spent stays recorded."""
REMOVE_EXAMPLES = """\
examples:
  mission-control budgets remove homelab"""

_COLOURS = {"ok": "green", "near": "yellow", "spent": "red"}
_BAR = 12
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]*")
_AMOUNT = re.compile(r"\d{1,8}(\.\d{1,6})?", re.ASCII)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_format_options(parser, "json", "csv")


def add_set_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", type=_text, help="of the budget")
    parser.add_argument(
        "--usd", metavar="AMOUNT", type=_amount, required=True, help="what may be spent in a month, such as 25 or 12.50"
    )
    for name in SCOPE:
        parser.add_argument(
            f"--{name}",
            metavar="NAME",
            type=_provider if name == "provider" else _text,
            help=f"only what this {name} costs",
        )


def add_remove_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the budget")


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a name is needed, not an empty text")
    return text


def _provider(text: str) -> str:
    if not _PROVIDER.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"a provider is written in lower case, as usage names it, such as openai or claude, not {text!r}"
        )
    return text


def _amount(text: str) -> decimal.Decimal:
    if not _AMOUNT.fullmatch(text) or not decimal.Decimal(text):
        raise argparse.ArgumentTypeError(
            f"an amount in USD above 0 is needed, such as 25 or 12.50, with 6 decimals at most, not {text!r}"
        )
    return decimal.Decimal(text)


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True)


def prepare_change(options: argparse.Namespace) -> Client:
    return make_client(options)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed():
        budgets = read_budgets(client)
    if options.format == "json":
        output.json(budgets)
    elif options.format == "csv":
        output.data(csv_line(COLUMNS))
        for budget in budgets:
            output.data(csv_line(_csv_cell(budget[name]) for name in COLUMNS))
    else:
        _print_table(budgets, output)
    return EXIT_OK


def run_set(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed():
        try:
            set_budget(client, options.name, options.usd, **{name: getattr(options, name) for name in SCOPE})
        except BudgetError as error:
            raise CommandError(str(error), EXIT_NO) from None
    output.sentence(f"The budget {printable(options.name)} is {money(options.usd)} USD a month.")
    return EXIT_OK


def run_remove(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed():
        try:
            remove_budget(client, options.name)
        except BudgetError as error:
            raise CommandError(str(error), EXIT_NO) from None
    output.sentence(f"The budget {printable(options.name)} is removed.")
    return EXIT_OK


def _csv_cell(value: object) -> str | None:
    if value is None:
        return None
    return f"{value:f}" if isinstance(value, decimal.Decimal) else str(value)


def _print_table(budgets: list[dict[str, Any]], output: Output) -> None:
    if not budgets:
        output.line(
            "There is no budget: mission-control budgets set makes one, and mission_control_schema_budgets of the role."
        )
        return
    headings = ["budget", "of", "spent USD", "of USD", "spent", "", "at the end", "level"]
    cells = [
        [
            printable(budget["name"]),
            printable(scope(budget)),
            money(budget["spent_usd"]),
            money(budget["amount_usd"]),
            _percent(budget["spent_share"]),
            share_bar(min(1.0, float(budget["spent_share"])), _BAR, output.blocks),
            money(budget["projected_usd"]),
            budget["level"],
        ]
        for budget in budgets
    ]
    texts = table(headings, cells, right=(2, 3, 4, 6), width=output.width, whole=(2, 3, 4, 5, 6, 7))
    output.line(texts[0])
    for budget, text in zip(budgets, texts[1:]):
        output.line(_with_colour(text, budget["level"], output))
    unpriced = max(budget["unpriced_calls"] for budget in budgets)
    if unpriced:
        output.line()
        output.sentence(f"{number(unpriced, 'call')} this month without a price, which no budget counts.")


def _with_colour(text: str, level: str, output: Output) -> str:
    """The level is the last word of the first line."""
    first, end, rest = text.partition("\n")
    return first.rstrip()[: -len(level)] + output.colour(level, _COLOURS[level]) + end + rest


def scope(budget: dict[str, Any]) -> str:
    """What a budget is limited to, in words: project homelab, model gpt-5.5; everything."""
    return ", ".join(f"{name} {budget[name]}" for name in SCOPE if budget[name] is not None) or "everything"


def _percent(share: decimal.Decimal) -> str:
    return f"{share * 100:.1f} %"
