# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control tools worker`: the executor, which carries out the calls that may be."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..tools.executor import DEFAULT_CONCURRENCY, MOST_CHECKS, Executor
from ..tools.schemas import SchemaLibraryError
from ..tools.sources import DEFAULT_CREDENTIALS, DEFAULT_FILE
from .parser import EXIT_OK, make_client, positive_option

if TYPE_CHECKING:
    from ..client.client import Client
    from .output import Output

SUMMARY = "carry out calls of tools until a signal ends it"
DESCRIPTION = """\
Judges the arguments of calls that were asked for, and carries out those that the policies or a person allowed, each at
most once. This is what mission-control-tools.service runs, with the login of the executor. With --once it ends when no
call waits for it any more, for a timer or cron.

The sources are configured in a JSON file that the role mission_control_tools writes, the secrets in files of a directory
beside it. SIGTERM ends it: calls that go on have 20 seconds, and of those that it then ends it says what is known.
SIGHUP has it read the file of sources again."""
EXAMPLES = """\
examples:
  mission-control tools worker --file sources.json --once"""

_MOST_AT_ONCE = 64


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="end when no call waits any more")
    parser.add_argument("--file", metavar="FILE", default=DEFAULT_FILE, help=f"the configured sources ({DEFAULT_FILE})")
    parser.add_argument(
        "--credentials",
        metavar="DIRECTORY",
        default=os.environ.get("CREDENTIALS_DIRECTORY") or DEFAULT_CREDENTIALS,
        help=f"directory with a file SOURCE.SECRET for each secret ($CREDENTIALS_DIRECTORY, else {DEFAULT_CREDENTIALS})",
    )
    parser.add_argument(
        "--concurrency",
        metavar="NUMBER",
        type=_concurrency,
        default=DEFAULT_CONCURRENCY,
        help=f"how many calls are carried out at the same time ({DEFAULT_CONCURRENCY})",
    )


def _concurrency(text: str) -> int:
    number = positive_option(text)
    if number > _MOST_AT_ONCE:
        raise argparse.ArgumentTypeError(f"{_MOST_AT_ONCE} calls at the same time are the most, not {number}")
    return number


def prepare(options: argparse.Namespace) -> Client:
    # One connection for notifications, one for what is to be tidied up, and one for each call.
    return make_client(options, pool_size=options.concurrency + MOST_CHECKS + 2)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    def log(text: str) -> None:
        output.line(text)
        output.flush()

    try:
        executor = Executor(client, options.file, options.credentials, log, options.concurrency)
    except SchemaLibraryError as error:
        raise SettingsError(str(error)) from None
    executor.run(once=options.once)
    return EXIT_OK
