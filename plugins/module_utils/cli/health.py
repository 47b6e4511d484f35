# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control health`: the health check for people, for programs and for Nagios."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from ..health.check import check_health
from ..health.replication import ROLES
from ..health.thresholds import Thresholds
from ..schema.manifest import Manifest
from .output import fold, table
from .parser import EXIT_OK, add_format_options, complete_with, make_client, seconds_option

if TYPE_CHECKING:
    from ..client.client import Client
    from ..health.report import HealthReport
    from .output import Output

SUMMARY = "check the server, the database and the schema"
DESCRIPTION = """\
Checks connection, server, replication, transactions, locks, migrations, tables, the head of the audit log, running
tasks and more, and says of each whether it passed. What the login may not see is "not visible" and what could not be compared
"not checked"; neither counts as passed, and neither makes the result worse.

The exit code is that of a Nagios plugin: 0 passed, 1 warning, 2 failure, 3 unknown (wrong usage or settings)."""
EXAMPLES = """\
examples:
  mission-control health
  mission-control health --json
  mission-control health --expected-role primary
  mission-control health --timeout 3 --threshold connections_warn=0.7 --threshold connections_fail=0.9"""

_SAID_ONCE_FROM = 3
_LINE = 100
_EXIT = {"pass": EXIT_OK, "warn": 1, "fail": 2}
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "not visible": "dim", "not checked": "dim"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds_option,
        default=10.0,
        help="the answer is there by then, whatever happens (10)",
    )
    parser.add_argument(
        "--expected-role",
        choices=ROLES,
        default="",
        help="fail where the server is the other one, or is a primary that takes no writes",
    )
    names = ", ".join(f"{each.name} ({each.default:g})" for each in dataclasses.fields(Thresholds))
    threshold = parser.add_argument(
        "--threshold",
        metavar="NAME=NUMBER",
        action="append",
        type=_threshold,
        default=[],
        help=f"from when on a check warns or fails; may be given several times; inf: never. Names and defaults: {names}",
    )
    complete_with(threshold, lambda _typed: [f"{each.name}=" for each in dataclasses.fields(Thresholds)])
    add_format_options(parser, "json")


def _threshold(text: str) -> tuple[str, float]:
    names = [each.name for each in dataclasses.fields(Thresholds)]
    name, _equals, value = text.partition("=")
    if name not in names:
        raise argparse.ArgumentTypeError(f"there is no threshold {name!r}; there are {', '.join(names)}")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"the threshold {name} must be a number, not {value!r}") from None


def prepare(options: argparse.Namespace) -> Client:
    # Before anything is connected, so that a wrong one is wrong usage.
    options.thresholds = Thresholds(**dict(options.threshold))
    return make_client(options)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    report = check_health(client, Manifest.built_in(), options.thresholds, options.timeout, options.expected_role)
    if options.format == "json":
        output.json(report.as_dict())
    else:
        _print(report, client, output)
    return _EXIT[report.status]


def _print(report: HealthReport, client: Client, output: Output) -> None:
    # Nagios shows the first line.
    counts = ", ".join(f"{number} {status}" for status, number in report.counts.items() if number)
    output.line(
        f"{output.colour(report.status.upper(), _COLOURS[report.status])}: {counts}; {client.settings.describe()}"
    )
    output.line()
    # What kept all of the others from being made is said once.
    reasons = [each.message for each in report.checks if each.status == "not checked"]
    common = next((message for message in reasons if reasons.count(message) > _SAID_ONCE_FROM), None)
    shown = [each for each in report.checks if each.message != common]
    texts = table(
        ["check", "status", "message"],
        [[each.name, each.status, each.message] for each in shown],
        width=output.width,
        whole=[1],
    )
    output.line(texts[0])
    for each, text in zip(shown, texts[1:]):
        output.line(text.replace(f"  {each.status}", "  " + output.colour(each.status, _COLOURS[each.status]), 1))
    if common is not None:
        names = ", ".join(each.name for each in report.checks if each.message == common)
        output.line()
        output.line("\n".join(fold(f"Not checked: {names}. {common}", output.width or _LINE)))
