# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control mcp`: the tools for an assistant that speaks the Model Context Protocol."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from typing import TYPE_CHECKING

from ..schema.manifest import Manifest
from ..tools.mcp_server import DEFAULT_WAIT, LONGEST_WAIT, POOL_SIZE, McpServer, is_installed
from .calls import TOKEN_VARIABLE
from .parser import EXIT_OK, EXIT_USAGE, CommandError, UsageError, make_client, seconds_option

if TYPE_CHECKING:
    from ..client.client import Client
    from .output import Output

SUMMARY = "serve the tools to an assistant by the Model Context Protocol"
DESCRIPTION = """\
Serves the tools, and inventory, runs and usage as resources, to a program that speaks the Model Context Protocol over
standard input and output, which starts this command itself; over SSH from another machine. It ends with its input.

Calls are asked for as MISSION_CONTROL_TOOL_TOKEN says, else as the login. Nothing is carried out here: the policies
decide, and the executor carries out. Calls belong to a task run "MCP session of CLIENT". It needs Python 3.10 and the
package mcp: pip install "mission-control-database[mcp]"."""
EXAMPLES = """\
examples:
  mission-control mcp --wait 120

in a client's configuration:
  {"mcpServers": {"mission-control": {"command": "mission-control", "args": ["mcp"]}}}"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_wait_option,
        default=DEFAULT_WAIT,
        help=f"how long a call is waited for before the client hears that it goes on ({DEFAULT_WAIT:g})",
    )
    parser.add_argument(
        "--task-run",
        metavar="ID",
        type=_uuid_option,
        help="a run of the program that starts this, for the calls to belong to; it is the program's to close",
    )


def _wait_option(text: str) -> float:
    seconds = seconds_option(text)
    if seconds > LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"at most {LONGEST_WAIT:g} seconds can be waited, not {text!r}")
    return seconds


def _uuid_option(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a task run is named by its whole identifier, not by {text!r}") from None


def prepare(options: argparse.Namespace) -> Client:
    # First of all: a line of anything else among the protocol would break it.
    options.protocol = _claim_standard_output()
    if not is_installed():
        raise CommandError(
            f"The package mcp, version 2 or newer, is not installed for {sys.executable}: "
            'pip install "mission-control-database[mcp]" (Python 3.10 or newer).',
            EXIT_USAGE,
        )
    if os.environ.get(TOKEN_VARIABLE):
        raise UsageError(
            f"{TOKEN_VARIABLE} is set where an assistant runs, which could approve its own calls by it: unset it there."
        )
    if sys.stdin is None:
        raise UsageError("Standard input is closed, from which the MCP client would be read.")
    if sys.stdin.isatty():
        sys.stderr.write(
            "mission-control: this waits for an MCP client on standard input, not for a person; Ctrl-C ends it.\n"
        )
    client = make_client(options, pool_size=POOL_SIZE, with_tool_token=True)
    manifest = Manifest.built_in()
    options.server = McpServer(client, manifest.version if manifest else "", options.wait, options.task_run)
    return client


def _claim_standard_output() -> int:
    """A descriptor of its own for the protocol; whatever else writes to standard output writes to standard error from now on."""
    try:
        protocol = os.dup(1)
    except OSError:
        raise UsageError("Standard output is closed, where the MCP client would read.") from None
    try:
        os.dup2(2, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    return protocol


def run(options: argparse.Namespace, _client: Client, _output: Output) -> int:
    with os.fdopen(options.protocol, "wb") as protocol:
        options.server.serve(protocol)
    return EXIT_OK


def stop(options: argparse.Namespace) -> None:
    """A signal closes the session's run over a connection of its own."""
    options.connect_timeout = 5
    client = make_client(options)
    try:
        options.server.close(client, "cancelled", "The session was ended by a signal.")
    finally:
        client.disconnect(0)
