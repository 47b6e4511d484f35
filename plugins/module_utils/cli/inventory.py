# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control inventory`: the sources that fill the inventory, a sync of them now, and the worker that syncs by the clock."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from ..inventory.fetching import missing_rights
from ..inventory.report import list_sources
from ..inventory.runs import begin_run, fail_run
from ..inventory.snapshot import FetchError
from ..inventory.sources import DEFAULT_CREDENTIALS, DEFAULT_FILE, read_sources, register_sources
from ..inventory.worker import MOST_FETCHES, Worker, carry_out
from .lists import short_time
from .output import table
from .parser import EXIT_NO, EXIT_OK, UsageError, add_format_options, make_client

if TYPE_CHECKING:
    import argparse
    from uuid import UUID

    from ..client.client import Client
    from ..inventory.sources import Source
    from ..inventory.sync import SyncResult
    from .output import Output

SUMMARY = "sources of the inventory: list them, check their logins, sync them now, or work by the clock"
DESCRIPTION = """\
Lists the sources that fill the inventory, checks what their logins may do, syncs them now, or works on them by the clock
and on request."""
SOURCES_SUMMARY = "list the sources, and how their last sync ended"
SOURCES_DESCRIPTION = """\
Lists the sources that the database knows, how many rows each tells, when it was last read, and how its last sync ended.

The exit code is 1 if the last sync of an enabled source failed."""
SOURCES_EXAMPLES = """\
examples:
  mission-control inventory sources
  mission-control inventory sources --json"""
SYNC_SUMMARY = "sync sources now"
SYNC_DESCRIPTION = """\
Fetches what sources list, one after the other, and takes it over into hosts, services and workloads. What a source lists
no longer is marked as gone and never deleted. --check changes nothing and shows what would change.

Where more than 30 % of a list (and more than 5) would be gone, or all of it, nothing of it is marked until
--accept-disappearance says that it is true. Where a source has become another one, such as a new cluster behind the
same address, nothing is taken over until --accept-identity says so.

The sources are configured in a JSON file that the role mission_control_inventory writes, the secrets in files of a
directory beside it; so this runs on that host, as a user who may read them. The exit code is 1 if a sync failed."""
SYNC_EXAMPLES = """\
examples:
  mission-control inventory sync --file sources.json --check
  mission-control inventory sync --file sources.json --source lab --json"""
PREFLIGHT_SUMMARY = "say which rights a source's login lacks"
PREFLIGHT_DESCRIPTION = """\
Asks each source what its login may do, and names each right that a sync needs and the login lacks, with what gives it.
Nothing is listed, and nothing is written. The exit code is 1 if a right is missing or a source cannot be asked."""
PREFLIGHT_EXAMPLES = """\
examples:
  mission-control inventory preflight --file sources.json"""
WORKER_SUMMARY = "sync by the clock and on request until a signal ends it"
WORKER_DESCRIPTION = """\
Syncs each source when its interval is over, and at once where a sync was requested: by the page, by the API, or in SQL
by request_inventory_refresh(). This is what mission-control-inventory.service runs. Several workers share the work.
With --once it ends when nothing is queued or due any more, for a timer or cron.

SIGTERM ends it, and its runs are closed; SIGHUP has it read the file of sources again."""
WORKER_EXAMPLES = """\
examples:
  mission-control inventory worker --file sources.json --once"""
EXAMPLES = """\
examples:
  mission-control inventory sources
  mission-control inventory sync --file sources.json --check
  mission-control inventory worker --file sources.json --once"""

_COLOURS = {"succeeded": "green", "failed": "red"}


def add_sources_options(parser: argparse.ArgumentParser) -> None:
    add_format_options(parser, "json")


def prepare_sources(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True)


def run_sources(options: argparse.Namespace, client: Client, output: Output) -> int:
    rows = list_sources(client)
    if options.format == "json":
        output.json(rows)
    else:
        _print_sources(rows, output)
    failed = any(row["enabled"] and row["last_run_status"] == "failed" for row in rows)
    return EXIT_NO if failed else EXIT_OK


def _print_sources(rows: list[dict[str, Any]], output: Output) -> None:
    headings = ["source", "connector", "every", "hosts", "services", "workloads", "gone", "last read", "last sync"]
    counts = ("hosts", "services", "workloads", "gone")
    cells = [
        [
            row["name"],
            row["connector"],
            _every(row),
            *(f"{row[name]:,}" for name in counts),
            short_time(row["last_observed_at"]),
            row["last_run_status"] or "-",
        ]
        for row in rows
    ]
    texts = table(headings, cells, right=range(3, 7), width=output.width, whole=(7, 8))
    output.line(texts[0])
    for row, text in zip(rows, texts[1:]):
        status = row["last_run_status"]
        output.line(
            text.replace(f"  {status}", f"  {output.colour(status, _COLOURS.get(status, 'dim'))}") if status else text
        )
    for row in rows:
        if row["last_run_error"]:
            output.line()
            output.sentence(f"{row['name']}: {row['last_run_error']}")


def _every(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "disabled"
    if row["connector"] == "ansible":
        return "by playbook"
    return f"{row['interval_seconds']} s" if row["interval_seconds"] else "on request"


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", metavar="FILE", default=DEFAULT_FILE, help=f"the configured sources ({DEFAULT_FILE})")
    parser.add_argument(
        "--credentials",
        metavar="DIRECTORY",
        default=os.environ.get("CREDENTIALS_DIRECTORY") or DEFAULT_CREDENTIALS,
        help=f"directory with a file SOURCE.SECRET for each secret ($CREDENTIALS_DIRECTORY, else {DEFAULT_CREDENTIALS})",
    )


def add_sync_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="change nothing, and show what would change")
    parser.add_argument(
        "--accept-disappearance",
        action="store_true",
        help="mark what is not listed any more as gone, however much it is",
    )
    parser.add_argument(
        "--accept-identity",
        action="store_true",
        help="take over what is listed also where the source is another one now",
    )
    add_choice_options(parser)


def add_choice_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", metavar="NAME", action="append", default=[], help="only this one; may be given several times"
    )
    _add_place(parser)
    add_format_options(parser, "json")


def prepare_chosen(options: argparse.Namespace) -> Client:
    """Read the sources of a command that asks some of them."""
    # Before anything is connected, so that a wrong one is wrong usage.
    sources = {source.name: source for source in read_sources(options.file, options.credentials)}
    for name in options.source:
        if name not in sources:
            there = f"there are {', '.join(sources)}" if sources else "there is none"
            raise UsageError(f"There is no source {name!r} in {options.file}; {there}.")
    if not sources:
        raise UsageError(f"There is no source in {options.file}.")
    options.chosen_sources = [sources[name] for name in dict.fromkeys(options.source)] or [
        source for source in sources.values() if source.enabled
    ]
    options.stopping, options.run_id = threading.Event(), None
    return make_client(options)


def run_sync(options: argparse.Namespace, client: Client, output: Output) -> int:
    if not options.check:
        register_sources(client, options.chosen_sources, complete=False)
    outcomes = [_sync(source, options, client, output) for source in options.chosen_sources]
    if options.format == "json":
        output.json(outcomes)
    return EXIT_OK if all(each["succeeded"] for each in outcomes) else EXIT_NO


def _sync(source: Source, options: argparse.Namespace, client: Client, output: Output) -> dict[str, Any]:
    """The outcome of one source, which is printed unless JSON is wanted."""

    def progress(name: str, number: int) -> None:
        output.progress(f"{source.name}: {number:,} {name}")

    output.progress(f"{source.name}: fetching")
    if not options.check:
        options.run_id = begin_run(client, source.name)
    try:
        result: SyncResult = carry_out(
            client,
            source,
            options.run_id,
            progress=progress,
            stop=options.stopping,
            check=options.check,
            accept_disappearance=options.accept_disappearance,
            accept_identity=options.accept_identity,
        )
    except FetchError as error:
        if options.run_id is not None:
            fail_run(client, options.run_id, str(error))
        outcome: dict[str, Any] = {"source": source.name, "succeeded": False, "error": str(error)}
        sentences = [str(error)]
    else:
        outcome = result.as_dict()
        sentences = result.sentences
    options.run_id = None
    if options.format != "json":
        for text in sentences:
            output.sentence(text)
    return outcome


def run_preflight(options: argparse.Namespace, _client: Client, output: Output) -> int:
    outcomes = [_preflight(source, options, output) for source in options.chosen_sources]
    if options.format == "json":
        output.json(outcomes)
    return EXIT_OK if all(each["error"] is None and not each["missing"] for each in outcomes) else EXIT_NO


def _preflight(source: Source, options: argparse.Namespace, output: Output) -> dict[str, Any]:
    """What the login of one source lacks, which is printed unless JSON is wanted."""
    output.progress(f"{source.name}: asking")
    missing: list[str] = []
    error = None
    try:
        missing = missing_rights(source, options.stopping)
    except FetchError as failure:
        error = str(failure)
    if options.format != "json":
        for text in [error] if error else missing or ["The login has every right that a sync needs."]:
            output.sentence(f"{source.name}: {text}")
    return {"source": source.name, "missing": missing, "error": error}


def stop_preflight(options: argparse.Namespace) -> None:
    """A signal ends the process that asks."""
    options.stopping.set()


def stop_sync(options: argparse.Namespace) -> None:
    """A signal ends the sync: its process ends by itself, and its run is closed over a connection of its own."""
    options.stopping.set()
    run_id: UUID | None = options.run_id
    if run_id is not None:
        options.connect_timeout = 5
        client = make_client(options)
        try:
            fail_run(client, run_id, "The sync was ended by a signal.")
        finally:
            client.disconnect(0)


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="end when nothing is queued or due any more")
    _add_place(parser)


def prepare_worker(options: argparse.Namespace) -> Client:
    return make_client(options, pool_size=MOST_FETCHES + 2)


def run_worker(options: argparse.Namespace, client: Client, output: Output) -> int:
    def log(text: str) -> None:
        output.line(text)
        output.flush()

    Worker(client, options.file, options.credentials, log).run(once=options.once)
    return EXIT_OK
