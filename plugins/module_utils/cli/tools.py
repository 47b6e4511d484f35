# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control tools`: the tools there are, what the policies say of them, and a call of one."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import uuid
from typing import TYPE_CHECKING, Any

from ..database.settings import TOOL_TOKEN_VARIABLE
from ..errors import MissionControlError, ToolArgumentsError
from ..health.text import number
from ..tools.calls import TOO_OLD, describe_call
from ..tools.task_runs import COMMAND, close_abandoned, close_run, open_run
from .output import printable, table
from .parser import (
    EXIT_NO,
    EXIT_OK,
    EXIT_UNKNOWN,
    CommandError,
    UsageError,
    add_format_options,
    make_client,
    seconds_option,
)
from .usage import schema_needed

if TYPE_CHECKING:
    from ..client.client import Client
    from ..tools.calls import Tool, ToolCall
    from .output import Output

SUMMARY = "list the tools and what the policies say of them, or call one"
DESCRIPTION = """\
Lists the tools that may be called, what they may break, and what the policies say to whoever asks now: allowed, with a
person's approval, or denied. Policies with conditions on arguments count as not met here. Who asks is the name of the
token in MISSION_CONTROL_TOOL_TOKEN, else the login."""
EXAMPLES = """\
examples:
  mission-control tools
  mission-control tools list --json"""
RUN_SUMMARY = "call a tool and wait for its result"
RUN_DESCRIPTION = """\
Asks for a call of a tool, waits for the executor to carry it out, and prints its result. Where a policy wants a person's
approval it waits for that too, and says how it is given. After --wait seconds the command ends and the call goes on.

The call belongs to a task run of its own. With --key the same command again gives the same call again instead of another
one. Ctrl-C withdraws a call that has not begun. The exit code is 1 where the tool gave no result."""
RUN_EXAMPLES = """\
examples:
  mission-control tools run list_hosts
  mission-control tools run list_workloads --argument namespace=media --json"""

EFFECTS = {"allow": "allowed", "require_approval": "needs approval", "deny": "denied"}
_COLOURS = {"allowed": "green", "needs approval": "yellow", "denied": "red"}
_WAIT = 60
_KEYS = uuid.UUID("7f0c3d0e-4f2b-4b53-9d53-0a6b5f1f3a10")
_LARGEST_FILE = 1 << 20


def add_options(parser: argparse.ArgumentParser) -> None:
    add_format_options(parser, "json")


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True, with_tool_token=True)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed(TOO_OLD):
        tools, decisions = client.tools.list(), client.tools.decisions()
        if not client.tools.caller():
            output.note(f"The token in {TOOL_TOKEN_VARIABLE} is not known, so that every call is denied.")
    if options.format == "json":
        output.json(
            [
                {**dataclasses.asdict(tool), "decision": dataclasses.asdict(decisions[tool.name])}
                for tool in tools
                if tool.name in decisions
            ]
        )
        return EXIT_OK
    cells = []
    for tool in tools:
        said = EFFECTS.get(decisions[tool.name].effect, "-") if tool.name in decisions else "-"
        policy = decisions[tool.name].policy if tool.name in decisions else None
        cells.append([tool.name, tool.risk_level, said, policy or "-", tool.connector or "-", tool.description or ""])
    texts = table(
        ["tool", "risk", "you", "policy", "connector", "what it does"], cells, width=output.width, whole=(0, 1, 2)
    )
    output.line(texts[0])
    for row, text in zip(cells, texts[1:]):
        output.line(text.replace(f"  {row[2]}", f"  {output.colour(row[2], _COLOURS.get(row[2], 'dim'))}", 1))
    output.line(f"({number(len(cells), 'tool')})")
    return EXIT_OK


def add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tool", metavar="NAME", help="name of the tool")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--argument",
        "-a",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an argument; a value is text where the tool wants text, else JSON; may be given several times",
    )
    group.add_argument(
        "--arguments", metavar="FILE", help="file with all arguments as a JSON object; - for standard input"
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=seconds_option, default=_WAIT, help=f"wait for so long at most ({_WAIT})"
    )
    parser.add_argument("--key", metavar="KEY", help="give the call of this key again, if there is one")
    add_format_options(parser, "json")


def prepare_run(options: argparse.Namespace) -> Client:
    options.run_id = options.call_id = None
    for text in options.argument:
        if "=" not in text or text.startswith("="):
            raise UsageError(f"An argument is written NAME=VALUE, not {text!r}.")
    try:
        f"{options.tool}{options.key}".encode()
    except UnicodeEncodeError:
        raise UsageError("The name of the tool, and the key, must be text in UTF-8.") from None
    options.given = _read_arguments(options.arguments) if options.arguments else {}
    return make_client(options, pool_size=2, with_tool_token=True)


def _read_arguments(path: str) -> dict[str, Any]:
    try:
        if path == "-":
            text = sys.stdin.read(_LARGEST_FILE) if sys.stdin else ""
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read(_LARGEST_FILE)
        value = json.loads(text)
    except OSError as error:
        raise UsageError(f"The file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"The arguments in {path} are no JSON object, such as {{}}.")
    return value


def run_run(options: argparse.Namespace, client: Client, output: Output) -> int:
    with schema_needed(TOO_OLD):
        tool = client.tools.get(options.tool)
    arguments = {**options.given, **_arguments(options.argument, tool)}
    # With a key the run is the same one each time, since a key counts within a run.
    chosen = uuid.uuid5(_KEYS, f"{options.tool}\0{options.key}") if options.key else None
    close_abandoned(client)
    options.run_id = open_run(client, f"tool {options.tool}", COMMAND, run_id=chosen)
    try:
        return _call(options, client, output, arguments)
    except MissionControlError as error:
        sentence = str(error) if isinstance(error, ToolArgumentsError) else "The command could not go on."
        with contextlib.suppress(MissionControlError):
            close_run(client, options.run_id, "failed", sentence)
        if isinstance(error, ToolArgumentsError):
            raise UsageError(printable(str(error))) from None
        raise


def _call(options: argparse.Namespace, client: Client, output: Output, arguments: dict[str, Any]) -> int:
    answer = client.tools.request(options.tool, arguments, task_run_id=options.run_id, key=options.key)
    if answer.call_id is None:
        sentence = f"The call of {options.tool} was denied: {answer.reason}"
        close_run(client, options.run_id, "failed", sentence)
        raise CommandError(printable(sentence), EXIT_NO)
    options.call_id = answer.call_id

    def told(call: ToolCall) -> bool:
        output.progress(describe_call(call))
        return call.has_ended

    def may_be_decided(call: ToolCall) -> bool:
        return told(call) or call.waits_for_approval

    call = client.tools.wait(answer.call_id, options.wait, until=may_be_decided)
    if call.waits_for_approval:
        output.note(f"{describe_call(call)} Who may: mission-control calls approve {call.id}")
        call = client.tools.wait(answer.call_id, options.wait, until=told)
    sentence = describe_call(call)
    if not call.has_ended:
        sentence += f" The command stopped waiting after {options.wait:g} seconds."
    status = "succeeded" if call.status == "succeeded" else "failed" if call.has_ended else "cancelled"
    close_run(client, options.run_id, status, None if call.status == "succeeded" else sentence)
    if options.format == "json":
        output.json(dataclasses.asdict(call))
    elif call.status == "succeeded":
        print_result(call.result, output)
    if call.status != "succeeded":
        raise CommandError(printable(sentence), EXIT_UNKNOWN if call.status == "unknown" else EXIT_NO)
    return EXIT_OK


def _arguments(texts: list[str], tool: Tool | None) -> dict[str, Any]:
    properties = tool.arguments_schema.get("properties") if tool else None
    values: dict[str, Any] = {}
    for text in texts:
        name, _equals, value = text.partition("=")
        schema = properties.get(name) if isinstance(properties, dict) else None
        values[name] = value
        if not (isinstance(schema, dict) and schema.get("type") == "string"):
            with contextlib.suppress(ValueError, RecursionError):
                values[name] = json.loads(value)
    return values


def print_result(result: object, output: Output) -> None:
    """What a tool gave: text as it is, anything else as JSON; without characters that a terminal would obey."""
    text = result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
    for line in text.split("\n"):
        output.line(printable(line))


def stop_run(options: argparse.Namespace) -> None:
    """A signal withdraws the call, if it has not begun, and closes the run over a connection of its own."""
    if options.run_id is None:
        return
    options.connect_timeout = 5
    client = make_client(options, with_tool_token=True)
    try:
        if options.call_id is not None:
            client.tools.cancel(options.call_id)
        close_run(client, options.run_id, "cancelled", "The command was ended by a signal.")
    finally:
        client.disconnect(0)
