# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control query`: run a statement and print its rows."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from typing import TYPE_CHECKING

from ..errors import ParameterError, QueryError, RowCountError
from ..query.rows import check_text, run_query
from ..query.statements import StatementTextError
from .output import csv_line, table_or_records
from .parser import EXIT_NO, EXIT_OK, CommandError, UsageError, add_format_options, count_option, make_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..client.client import Client
    from ..query.rows import Rows, TextRow
    from .output import Output

SUMMARY = "run one SQL statement and print its rows"
DESCRIPTION = """\
Runs one statement, given as an argument or on standard input, in a read-only transaction. With --write it may write,
and is committed. Values come from -v, stand in the statement as %(name)s, and are never part of its text; a literal %
is doubled where there are any.

The table is for people and shows 1000 rows unless --limit says otherwise. CSV and JSON are exact and have no limit of
their own; a large result is fetched in parts. Numbers of the type numeric are text in JSON, so that no digit is lost;
bytea is hexadecimal (\\x…) in CSV and Base64 in JSON; in CSV NULL is empty and an empty text a pair of quotes."""
EXAMPLES = """\
examples:
  mission-control query "SELECT name, type, status FROM hosts ORDER BY name"
  mission-control query -v status=online "SELECT name FROM hosts WHERE status = %(status)s"
  mission-control query --csv "TABLE provider_pricing" > prices.csv
  mission-control query --json-lines "SELECT * FROM task_events" | head -n 5
  echo "SELECT count(*) FROM tasks" | mission-control query
  mission-control query --write -v name=nas "UPDATE hosts SET status = 'offline' WHERE name = %(name)s\""""

_TABLE_ROWS = 1000
_READ_ONLY = "25006"
_NOT_SUPPORTED = "0A000"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sql", nargs="?", metavar="SQL", help="the statement; without it, or as -, standard input is read"
    )
    parser.add_argument(
        "-v",
        "--variable",
        metavar="NAME=VALUE",
        action="append",
        type=_variable,
        default=[],
        help="value of %%(NAME)s; may be given several times",
    )
    parser.add_argument("--write", action="store_true", help="let the statement write, and commit what it wrote")
    parser.add_argument(
        "--limit", metavar="ROWS", type=count_option, help="print so many rows at most, 0: all (1000 in a table)"
    )
    add_format_options(parser, "csv", "json", "json-lines")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        # Not the text: a value that lacks its name may be a secret.
        raise argparse.ArgumentTypeError(
            "a variable is written NAME=VALUE, with a name of letters, digits and underscores"
        )
    return name, value


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=not options.write)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    sql = _statement(options)
    parameters = _parameters(options.variable)
    limit = options.limit
    if limit is None:
        limit = _TABLE_ROWS if options.format == "table" else 0
    try:
        check_text(sql)
        with run_query(client, sql, parameters, options.write, options.format.startswith("json")) as found:
            _PRINTERS[options.format](found, limit, output)
    except (StatementTextError, RowCountError) as error:
        raise UsageError(str(error)) from None
    except ParameterError as error:
        raise UsageError(f"{error} Values are given as -v NAME=VALUE for each %(NAME)s.") from None
    except QueryError as error:
        raise CommandError(_sentence(error, options.write), EXIT_NO) from None
    return EXIT_OK


def _statement(options: argparse.Namespace) -> str:
    if options.sql is not None and options.sql != "-":
        return str(options.sql)
    if sys.stdin is None:
        raise UsageError("There is no SQL to run: give a statement as an argument.")
    if sys.stdin.isatty():
        sys.stderr.write("Reading the statement from the terminal; end it with Ctrl-D.\n")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("The statement on standard input is not UTF-8 text.") from None


def _parameters(variables: list[tuple[str, str]]) -> dict[str, str]:
    parameters = dict(variables)
    if len(parameters) < len(variables):
        raise UsageError("A variable is given twice with -v: give each one value.")
    return parameters


def _sentence(error: QueryError, write: bool) -> str:
    parts = [str(error)]
    if not write and error.sqlstate in (_READ_ONLY, _NOT_SUPPORTED):
        parts.append("Queries are read-only: --write lets them write.")
    return ". ".join(part.rstrip(".") for part in parts) + "."


def _print_table(found: Rows, limit: int, output: Output) -> None:
    if not found.columns:
        output.line(found.status)
        return
    rows = list(itertools.islice(found.rows, limit + 1) if limit else found.rows)
    shown = rows[:limit] if limit else rows
    cells = [["NULL" if value is None else value for value in row] for row in shown]
    right = [at for at, kind in enumerate(found.numeric) if kind]
    whole = [at for at, kind in enumerate(found.whole) if kind]
    for text in table_or_records(found.columns, cells, right, output.width, whole):
        output.line(text)
    count = "1 row" if len(shown) == 1 else f"{len(shown):,} rows"
    output.line(f"({count})" if len(rows) == len(shown) else f"(the first {count}; --limit 0 shows all)")


def _print_csv(found: Rows, limit: int, output: Output) -> None:
    if not found.columns:
        _note_status(found, output)
        return
    output.data(csv_line(found.columns))
    for row in _limited(found, limit):
        output.data(csv_line(row))


def _print_json(found: Rows, limit: int, output: Output) -> None:
    """An array with a line for each row, written as the rows come."""
    output.data("[")
    before = None
    for text in _objects(found, limit):
        if before is not None:
            output.data(f"{before},")
        before = text
    if before is not None:
        output.data(before)
    output.data("]")
    _note_status(found, output)


def _print_json_lines(found: Rows, limit: int, output: Output) -> None:
    for text in _objects(found, limit):
        output.data(text)
    _note_status(found, output)


def _note_status(found: Rows, output: Output) -> None:
    if not found.columns:
        output.note(found.status)


def _limited(found: Rows, limit: int) -> Iterator[TextRow]:
    return itertools.islice(found.rows, limit) if limit else found.rows


def _objects(found: Rows, limit: int) -> Iterator[str]:
    for row in _limited(found, limit):
        values = [None if text is None else convert(text) for text, convert in zip(row, found.converts)]
        yield json.dumps(dict(zip(found.columns, values)), ensure_ascii=False, allow_nan=False)


_PRINTERS = {"table": _print_table, "csv": _print_csv, "json": _print_json, "json-lines": _print_json_lines}
