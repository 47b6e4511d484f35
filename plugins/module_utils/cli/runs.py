# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control runs`: what playbooks did, and loading what of it waits in a spool."""

from __future__ import annotations

import decimal
import os
import time
from typing import TYPE_CHECKING, Any

from ..health.text import duration, number
from ..recorder.load import TOO_OLD, LoadResult, load_spool
from ..recorder.reader import COUNTS
from ..recorder.report import COLUMNS, GOING_ON, find_runs, list_runs, read_hosts, read_run, read_steps
from ..recorder.spool import DEFAULT_DIRECTORY
from .lists import short_time
from .output import csv_line, printable, table
from .parser import (
    EXIT_NO,
    EXIT_OK,
    CommandError,
    UsageError,
    add_choice_of_newest,
    add_format_options,
    make_client,
)
from .usage import money, schema_needed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..client.client import Client
    from .output import Output

SUMMARY = "list runs of playbooks, show one, or load those that wait in the spool"
DESCRIPTION = """\
Lists the runs of playbooks that the callback homelab.mission_control.recorder recorded, the newest first; with the
commands below it shows one of them, or loads those that wait in the spool."""
EXAMPLES = """\
examples:
  mission-control runs
  mission-control runs --playbook site.yml --status failed
  mission-control runs --on nas --limit 5 --json
  mission-control runs load"""
SHOW_SUMMARY = "show what a run did, or is doing"
SHOW_DESCRIPTION = """\
Shows a run of a playbook: its plays and tasks, how each ended on each host, why it failed, and its summary. With --follow
it goes on until the run has ended; Ctrl-C ends only the command.

The run is named by its identifier, or by as much of its beginning as no other has."""
SHOW_EXAMPLES = """\
examples:
  mission-control runs show 3f2a9c41
  mission-control runs show 3f2a9c41 --follow
  mission-control runs show 3f2a9c41 --json"""
LOAD_SUMMARY = "load the runs that wait in the spool"
LOAD_DESCRIPTION = """\
Loads what the callback recorded on this machine and no other process has loaded yet, since the database was away for
example: each event once. Runs that go on are loaded as far as they are; those whose playbook was killed are closed.

It runs as the user whose playbooks they are. The exit code is 1 where something went wrong, and the sentence says what."""
LOAD_EXAMPLES = """\
examples:
  mission-control runs load
  mission-control runs load --json"""

SPOOL_VARIABLE = "MISSION_CONTROL_RECORDER_SPOOL"
_STATUSES = ("running", "succeeded", "failed", "cancelled")
_COLOURS = {
    "succeeded": "green",
    "ok": "green",
    "changed": "yellow",
    "ignored": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "unreachable": "red",
}
_SHORT_IDENTIFIER = 8
_POLL_SECONDS = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--playbook", metavar="NAME", help="only runs of this one: its whole name, or the end of it, such as site.yml"
    )
    # --host is where the database is.
    parser.add_argument(
        "--on", metavar="HOST", help="only runs whose summary has this host of the playbook's inventory"
    )
    add_choice_of_newest(parser, _STATUSES)
    add_format_options(parser, "json", "json-lines", "csv")


def add_show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="ID", help="identifier of the run, or its beginning")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until the run has ended")
    add_format_options(parser, "json")


def add_load_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spool", metavar="DIRECTORY", help=f"where the callback records (${SPOOL_VARIABLE}, else {DEFAULT_DIRECTORY})"
    )
    add_format_options(parser, "json")


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True)


def prepare_show(options: argparse.Namespace) -> Client:
    if options.follow and options.format != "table":
        raise UsageError("--follow prints for people: leave out either --follow or --json.")
    return make_client(options, read_only=True)


def prepare_load(options: argparse.Namespace) -> Client:
    if options.spool and not os.path.isdir(options.spool):
        raise UsageError(f"There is no directory {options.spool!r}: name the spool of the callback recorder.")
    return make_client(options)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed(TOO_OLD):
        rows = list_runs(
            client, playbook=options.playbook, host=options.on, statuses=options.status, limit=options.limit
        )
    if options.format == "json":
        output.json(rows)
    elif options.format == "json-lines":
        for row in rows:
            output.json_line(row)
    elif options.format == "csv":
        output.data(csv_line(COLUMNS))
        for row in rows:
            output.data(csv_line(_csv_cell(row[name]) for name in COLUMNS))
    else:
        _print_list(rows, output)
    return EXIT_OK


def _csv_cell(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, list):
        return " ".join(value)
    return f"{value:f}" if isinstance(value, decimal.Decimal) else str(value)


def _print_list(rows: list[dict[str, Any]], output: Output) -> None:
    with_cost = any(row["llm_calls"] for row in rows)
    cost = ["cost USD"] if with_cost else []
    headings = ["started", "playbook", "status", "took", "by", "hosts", "changed", "failed", *cost, "id"]
    cells = [
        [
            short_time(row["started_at"]),
            f"{row['playbook']} (check)" if row["check_mode"] else row["playbook"],
            row["status"],
            _took(row),
            f"{row['run_by']}@{row['controller']}",
            *(f"{row[name]:,}" for name in ("hosts", "changed_hosts", "failed_hosts")),
            *([_cost(row)] if with_cost else []),
            str(row["id"])[:_SHORT_IDENTIFIER],
        ]
        for row in rows
    ]
    texts = table(headings, cells, right=range(5, 8 + with_cost), width=output.width, whole=(0, 2, 3, 8 + with_cost))
    output.line(texts[0])
    for row, text in zip(rows, texts[1:]):
        output.line(_with_colour(text, row["status"], output))
    output.line(f"({number(len(rows), 'run')})")


def _with_colour(text: str, status: str, output: Output) -> str:
    return text.replace(f"  {status}", f"  {output.colour(status, _COLOURS.get(status, 'dim'))}", 1)


def _took(row: dict[str, Any]) -> str:
    return "-" if row["seconds"] is None else duration(float(row["seconds"]))


def _cost(row: dict[str, Any]) -> str:
    """What the language models cost that a run called; empty where it called none."""
    if not row["llm_calls"]:
        return ""
    return "unpriced" if row["cost_usd"] is None else money(row["cost_usd"])


def run_show(options: argparse.Namespace, client: Client, output: Output) -> int:
    run = _find(client, options.run)
    if options.format == "json":
        steps = [step for page in _pages(client, run["id"]) for step in page]
        output.json({**run, "hosts": read_hosts(client, run["id"]), "steps": steps})
        return EXIT_OK
    _print_head(run, output)
    printer = _StepPrinter(output)
    while True:
        # What is read after this is all of a run that has ended.
        goes_on = run["status"] in GOING_ON
        for page in _pages(client, run["id"], printer.last):
            for step in page:
                printer.print(step)
            output.flush()
        if not (goes_on and options.follow):
            break
        time.sleep(_POLL_SECONDS)
        run = read_run(client, run["id"]) or run
    output.line()
    _print_end(run, read_hosts(client, run["id"]), output)
    return EXIT_OK


def _find(client: Client, beginning: str) -> dict[str, Any]:
    with schema_needed(TOO_OLD):
        found = find_runs(client, beginning)
    if len(found) > 1:
        raise CommandError(
            f"More than one run of a playbook begins with {beginning}: give more of its identifier.", EXIT_NO
        )
    run = read_run(client, found[0]) if found else None
    if run is None:
        raise CommandError(f"There is no run of a playbook whose identifier begins with {beginning!r}.", EXIT_NO)
    return run


def _pages(client: Client, run: object, after: int = -1) -> Iterator[list[dict[str, Any]]]:
    """What a run did after a step, a few thousand steps at a time, up to what is there by then."""
    while page := read_steps(client, str(run), after):
        yield page
        after = page[-1]["sequence"]


def _print_head(run: dict[str, Any], output: Output) -> None:
    lines = {
        "playbook": run["playbook"],
        "run": str(run["id"]),
        "started": short_time(run["started_at"]),
        "by": f"{run['run_by']}@{run['controller']} with ansible-core {run['ansible_version']}",
        "mode": "check: nothing was changed" if run["check_mode"] else None,
        "limit": run["limited_to"],
        "tags": ", ".join(run["tags"]),
        "skipped tags": ", ".join(run["skip_tags"]),
    }
    for name, value in lines.items():
        if value:
            output.line(f"{name:<12}  {printable(value)}")


def _print_end(run: dict[str, Any], hosts: list[dict[str, Any]], output: Output) -> None:
    if hosts:
        cells = [[row["host_name"], *(f"{row[name]:,}" for name in COUNTS)] for row in hosts]
        for text in table(["host", *COUNTS], cells, right=range(1, len(COUNTS) + 1), width=output.width):
            output.line(text)
        output.line()
    if run["dropped_events"]:
        output.sentence(f"{number(run['dropped_events'], 'event')} could not be recorded.")
    if run["llm_calls"]:
        cost = "a cost that is not known" if run["cost_usd"] is None else f"{money(run['cost_usd'])} USD"
        part = f", {run['unpriced_llm_calls']} of them without a price" if run["unpriced_llm_calls"] else ""
        output.sentence(f"{number(run['llm_calls'], 'call')} of language models for {cost}{part}.")
    status = output.colour(run["status"], _COLOURS.get(run["status"], "dim"))
    if run["status"] in GOING_ON:
        output.line(f"{status} since {short_time(run['started_at'])}")
        return
    reason = f": {printable(run['error'])}" if run["error"] else ""
    output.line(f"{status} after {_took(run)}{reason}")


class _StepPrinter:
    """Prints the steps of a run as they come.

    Attributes:
        last: sequence of the last one.
    """

    def __init__(self, output: Output) -> None:
        self.last = -1
        self._output = output
        self._task: str | None = None
        self._tasks: dict[str, str] = {}

    def print(self, step: dict[str, Any]) -> None:
        self.last = step["sequence"]
        if step["event"] == "play":
            self._output.line()
            self._output.line(f"PLAY {printable(step['name'] or '')}".rstrip())
        elif step["event"] == "task":
            self._print_task(str(step["sequence"]), self._title(step))
        else:
            self._print_result(step)

    @staticmethod
    def _title(step: dict[str, Any]) -> str:
        details = ", ".join(printable(step[name]) for name in ("module", "path") if step[name])
        name = printable(step["name"] or "") or "(unnamed)"
        return f"{name} ({details})" if details else name

    def _print_task(self, sequence: str, title: str) -> None:
        self._task, self._tasks[sequence] = sequence, title
        self._output.line(f"  {title}")

    def _print_result(self, step: dict[str, Any]) -> None:
        sequence = step["task_sequence"]
        # With some strategies the results of several tasks come among each other.
        if sequence != self._task and sequence in self._tasks:
            self._print_task(sequence, self._tasks[sequence])
        outcome = "changed" if step["changed"] and step["outcome"] == "ok" else step["outcome"] or "-"
        coloured = self._output.colour(f"{printable(outcome):<11}", _COLOURS.get(outcome, "dim"))
        took = "" if step["seconds"] is None else f", {duration(float(step['seconds']))}"
        message = f": {printable(step['message'])}" if step["message"] else ""
        self._output.line(f"    {coloured} {printable(step['host'] or '-')}{took}{message}")


def run_load(options: argparse.Namespace, client: Client, output: Output) -> int:
    spool = options.spool or os.environ.get(SPOOL_VARIABLE) or DEFAULT_DIRECTORY
    directory = os.path.expanduser(spool)
    # So that a database that is away is said before anything is looked at, and by its own exit code.
    client.connect()
    result = load_spool(client, directory) if os.path.isdir(directory) else LoadResult()
    if options.format == "json":
        told = [{"file": file, "reason": why} for file, why in result.left]
        output.json({**vars(result), "left": told})
    else:
        for sentence in _sentences(result, directory):
            output.sentence(printable(sentence))
    return EXIT_NO if result.problems else EXIT_OK


def _sentences(result: LoadResult, directory: str) -> Iterator[str]:
    if result.runs:
        yield f"Loaded {number(result.runs, 'run')} from {directory}, with {number(result.events, 'new event')}."
    else:
        yield f"No run waits to be loaded in {directory}."
    if result.closed:
        were = "was closed, as its playbook" if result.closed == 1 else "were closed, as their playbooks"
        yield f"{number(result.closed, 'run')} {were} had been killed."
    for file, why in result.left:
        yield f"Left: {file}, since {why}."
    yield from result.problems
