# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control hosts` and `mission-control workloads`: what the inventory holds."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, get_args

from ..inventory.report import list_hosts, list_workloads
from ..models.enums import HostStatus, HostType, WorkloadStatus, WorkloadType
from .output import table
from .parser import EXIT_OK, add_format_options, make_client

if TYPE_CHECKING:
    import argparse

    from ..client.client import Client
    from .output import Output

HOSTS_SUMMARY = "list hosts"
HOSTS_DESCRIPTION = """\
Lists the hosts that are there, or with --gone those that their source lists no longer. A filter that is given several
times lets each of its values through. --json has every column, and times in full.

A host was last seen when its source was last read as a whole; of a host that people wrote nobody knows."""
HOSTS_EXAMPLES = """\
examples:
  mission-control hosts
  mission-control hosts --type vm --type k8s-node --status offline
  mission-control hosts --source manual --json
  mission-control hosts --gone"""
WORKLOADS_SUMMARY = "list workloads"
WORKLOADS_DESCRIPTION = """\
Lists the workloads that are there, or with --gone those that their source lists no longer. A filter that is given
several times lets each of its values through. --json has every column, and times in full."""
WORKLOADS_EXAMPLES = """\
examples:
  mission-control workloads
  mission-control workloads --status failed --status pending
  mission-control workloads --namespace media --json
  mission-control workloads --source manual --type systemd-service"""

_COLOURS = {
    "online": "green",
    "running": "green",
    "degraded": "yellow",
    "pending": "yellow",
    "offline": "red",
    "failed": "red",
}


def add_hosts_options(parser: argparse.ArgumentParser) -> None:
    _add_filters(parser, get_args(HostType), get_args(HostStatus))


def add_workloads_options(parser: argparse.ArgumentParser) -> None:
    _add_filters(parser, get_args(WorkloadType), get_args(WorkloadStatus))
    parser.add_argument("--namespace", metavar="NAME", action="append", default=[], help="only those of this namespace")


def _add_filters(parser: argparse.ArgumentParser, types: tuple[str, ...], statuses: tuple[str, ...]) -> None:
    for name, choices in (("type", types), ("status", statuses)):
        parser.add_argument(
            f"--{name}",
            metavar=name.upper(),
            action="append",
            choices=choices,
            default=[],
            help=f"only those of this {name}: {', '.join(choices)}",
        )
    parser.add_argument(
        "--source", metavar="NAME", action="append", default=[], help="only those that this source told"
    )
    parser.add_argument("--gone", action="store_true", help="those that their source lists no longer")
    add_format_options(parser, "json")


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True)


def run_hosts(options: argparse.Namespace, client: Client, output: Output) -> int:
    rows = list_hosts(client, _filters(options, "type", "status", "source"), gone=options.gone)
    _print(rows, ("name", "type", "status", "address", "cluster", "source"), "host", options, output)
    return EXIT_OK


def run_workloads(options: argparse.Namespace, client: Client, output: Output) -> int:
    rows = list_workloads(client, _filters(options, "type", "status", "source", "namespace"), gone=options.gone)
    columns = ("name", "type", "status", "namespace", "host", "image", "source")
    _print(rows, columns, "workload", options, output)
    return EXIT_OK


def _filters(options: argparse.Namespace, *names: str) -> dict[str, list[str]]:
    return {name: getattr(options, name) for name in names}


def _print(
    rows: list[dict[str, Any]], columns: tuple[str, ...], what: str, options: argparse.Namespace, output: Output
) -> None:
    if options.format == "json":
        output.json(rows)
        return
    time = "gone_at" if options.gone else "last_seen_at"
    headings = [*columns, "gone since" if options.gone else "last seen"]
    cells = [
        [*("-" if row[name] is None else str(row[name]) for name in columns), short_time(row[time])] for row in rows
    ]
    whole = (columns.index("status"), len(columns))
    texts = table(headings, cells, width=output.width, whole=whole)
    output.line(texts[0])
    for row, text in zip(rows, texts[1:]):
        status = row["status"]
        coloured = output.colour(status, _COLOURS.get(status, "dim"))
        output.line(text.replace(f"  {status}", f"  {coloured}", 1))
    count = "1 " + what if len(rows) == 1 else f"{len(rows):,} {what}s"
    output.line(f"({count}{' gone' if options.gone else ''})")


def short_time(time: datetime.datetime | None) -> str:
    return "-" if time is None else f"{time.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%SZ}"
