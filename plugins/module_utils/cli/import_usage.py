# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control import`: calls of language models that other programs wrote down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

from ..errors import QueryError
from ..health.text import number
from ..ledger.imports.registry import FORMS, form_module
from ..models.enums import BodyStorage
from .output import printable
from .parser import EXIT_NO, EXIT_OK, CommandError, UsageError, add_format_options, make_client

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..client.client import Client
    from ..ledger.imports.run import ImportResult
    from .output import Output

SUMMARY = "import calls of language models that other tools wrote down"
DESCRIPTION = f"""\
Reads the calls of language models in the files of a tool into the ledger: tokens, and what they cost at the prices of their
time. Each call counts once, however often it is imported; what was read before is not read again. Prompts and replies
are not stored unless --bodies asks for them. See docs/import.md for the forms:

{chr(10).join(f"  {name:<12} {text}" for name, text in FORMS.items())}

The exit code is 1 if a file or a line was refused."""
EXAMPLES = """\
examples:
  mission-control import claude-code
  mission-control import codex --subscription --project homelab
  mission-control import litellm spend-logs.csv
  mission-control import jsonl calls.jsonl --source billing --json"""
_NO_RIGHT = "42501"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("form", metavar="FORM", choices=tuple(FORMS), help=f"whose files: {', '.join(FORMS)}")
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", default=[], help="files and directories (where the tool keeps its own)"
    )
    parser.add_argument(
        "--project", metavar="NAME", help="project of the calls (the last directory of where the tool ran)"
    )
    parser.add_argument("--agent", metavar="NAME", help="agent of the calls (the name of the tool)")
    parser.add_argument("--source", metavar="NAME", help="name under which each call counts once (FORM)")
    parser.add_argument(
        "--subscription",
        action="store_true",
        help="the calls are paid by a subscription: they cost 0, and have a value",
    )
    parser.add_argument(
        "--bodies",
        choices=get_args(BodyStorage),
        default="none",
        metavar="HOW",
        help="what is stored of prompts and replies: none (the default), truncated or full",
    )
    parser.add_argument("--from-start", action="store_true", help="also read again what was read before")
    add_format_options(parser, "json")


def prepare(options: argparse.Namespace) -> Client:
    # Here and below, since every other command would wait for these imports too.
    from ..ledger.imports.calls import LONGEST_LABEL, LONGEST_SOURCE, LineError, identifier, label

    for name in ("project", "agent"):
        text = getattr(options, name)
        if text is not None and label(text) != text:
            raise UsageError(f"--{name} is empty, longer than {LONGEST_LABEL} characters or cannot be stored.")
    try:
        identifier(options.source or options.form, "name", LONGEST_SOURCE)
    except LineError as error:
        raise UsageError(f"--source cannot be used. {error}") from None
    places = form_module(options.form).default_paths()
    options.paths = options.paths or [path for path in places if os.path.isdir(os.path.expanduser(path))]
    if not options.paths:
        there = f"there is nothing in {' or '.join(places)}" if places else "the form has no default place"
        raise UsageError(f"Say which files are to be imported: {there}.")
    return make_client(options, pool_size=2)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    from ..ledger.imports.calls import ImportOptions
    from ..ledger.imports.files import PathError
    from ..ledger.imports.run import import_usage

    chosen = ImportOptions(
        source=options.source or options.form,
        project=options.project,
        agent=options.agent,
        subscription=options.subscription,
        bodies=options.bodies,
    )
    # So that a database that is away is said before any file is read.
    client.connect()
    try:
        result = import_usage(
            client,
            options.form,
            options.paths,
            chosen,
            from_start=options.from_start,
            progress=lambda each: output.progress(f"{each.calls:,} calls, {each.new:,} new"),
        )
    except PathError as error:
        raise UsageError(str(error)) from None
    except QueryError as error:
        raise _refused(error) from None
    if options.format == "json":
        output.json({**vars(result), "problems": [each._asdict() for each in result.problems]})
    else:
        for sentence in _sentences(result):
            output.sentence(printable(sentence))
    return EXIT_NO if result.refused else EXIT_OK


def _refused(error: QueryError) -> CommandError:
    """What is said of a database that takes no usage, without the values that a server's detail may quote."""
    if error.is_of_older_schema:
        return CommandError("The schema of the database is too old for imports: apply its pending migrations.", EXIT_NO)
    if error.sqlstate == _NO_RIGHT:
        return CommandError(
            f"This login may not import usage ({error.reason}): use that of the application, mission_control.", EXIT_NO
        )
    return CommandError(f"The database takes no usage: {error.reason} (SQLSTATE {error.sqlstate}).", EXIT_NO)


def _sentences(result: ImportResult) -> Iterator[str]:
    from ..ledger.imports.run import MOST_PROBLEMS

    calls = f"{number(result.calls, 'call')}: {result.new:,} new, {result.known:,} known"
    rest = f"{result.held_back:,} held back, {result.refused:,} refused"
    yield f"Read {number(result.files, 'file')} ({result.unchanged_files:,} unchanged), {calls}, {rest}."
    if result.unpriced:
        yield f"{number(result.unpriced, 'new call')} of models without a price: see mission-control usage, and docs/import.md."
    for problem in result.problems:
        line = "" if problem.line is None else f":{problem.line}"
        yield f"{problem.file}{line}: {problem.sentence}"
    if result.refused > MOST_PROBLEMS:
        yield f"{result.refused - MOST_PROBLEMS:,} more were refused."
