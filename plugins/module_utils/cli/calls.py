# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control calls`: calls of tools, and a person's decisions about those that wait for one."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, Any, get_args

from ..database.settings import TOOL_TOKEN_VARIABLE, Secret, is_token
from ..errors import QueryError, SettingsError
from ..health.text import number
from ..models.enums import ToolCallStatus
from ..tools.calls import TOO_OLD
from .lists import short_time
from .output import printable, table
from .parser import EXIT_NO, EXIT_OK, CommandError, UsageError, add_choice_of_newest, add_format_options, make_client
from .runner import end_by_signal
from .tools import print_result
from .usage import schema_needed

if TYPE_CHECKING:
    from ..client.client import Client
    from ..tools.calls import ToolAnswer, ToolCall
    from .output import Output

SUMMARY = "list calls of tools, show one, approve, deny or withdraw it"
DESCRIPTION = """\
Lists the calls of tools, the newest first; with the commands below it shows one of them, and decides about one that waits
for a person's approval."""
EXAMPLES = """\
examples:
  mission-control calls
  mission-control calls list --waiting
  mission-control calls --tool list_hosts --status succeeded --limit 5 --json"""
SHOW_SUMMARY = "show a call: its arguments, who asked, which policy, what became of it"
SHOW_DESCRIPTION = """\
Shows a call of a tool: who asked for it, what the policies said, its arguments beside those of the last call of the same
tool that was started, and its result. What differs is marked: + is new, ~ is another value, - is no longer given.

The call is named by its identifier, or by as much of its beginning as no other has."""
SHOW_EXAMPLES = """\
examples:
  mission-control calls show 5c1d7e20
  mission-control calls show 5c1d7e20 --json"""
APPROVE_SUMMARY = "let a call be carried out that waits for it"
_DECIDE_DESCRIPTION = """\

Who decides is the name of an approver's token: the file of --token-file, MISSION_CONTROL_APPROVER_TOKEN, or the file
~/.config/mission_control/approver-token, which nobody else may read; on a terminal it is asked for. A login that is an
approver's own needs none. Nobody decides about a call that they asked for. The exit code is 1 where it was refused."""
APPROVE_DESCRIPTION = f"""\
Approves a call that waits for a person. It is carried out once, with the arguments that `calls show` shows, before the
approval expires.
{_DECIDE_DESCRIPTION}"""
APPROVE_EXAMPLES = """\
examples:
  mission-control calls approve 5c1d7e20 --reason "after the backup"
  mission-control calls approve 77aa01fe --token-file approver-token"""
DENY_SUMMARY = "refuse a call that waits for approval"
DENY_DESCRIPTION = f"""\
Refuses a call that waits for a person.
{_DECIDE_DESCRIPTION}"""
DENY_EXAMPLES = """\
examples:
  mission-control calls deny 8f02b6aa --reason "not on a Friday\""""
CANCEL_SUMMARY = "withdraw a call that you asked for"
CANCEL_DESCRIPTION = """\
Withdraws a call that has not begun, as whoever asked for it: the name of the token in MISSION_CONTROL_TOOL_TOKEN, else
the login. The exit code is 1 where it was refused."""
CANCEL_EXAMPLES = """\
examples:
  mission-control calls cancel 1e44c09d"""

TOKEN_VARIABLE = "MISSION_CONTROL_APPROVER_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_FILE = ("mission_control", "approver-token")
_STATUSES = get_args(ToolCallStatus)
_COLOURS = {
    "succeeded": "green",
    "pending": "yellow",
    "approved": "yellow",
    "running": "yellow",
    "denied": "red",
    "failed": "red",
    "timed_out": "red",
    "unknown": "red",
}
_SHORT_IDENTIFIER = 8
_LONGEST_REASON = 4096
_NOT_ALLOWED = "42501"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waiting", action="store_true", help="only those that wait for a person's approval")
    parser.add_argument("--tool", metavar="NAME", help="only those of this tool")
    add_choice_of_newest(parser, _STATUSES)
    add_format_options(parser, "json")


def prepare(options: argparse.Namespace) -> Client:
    if options.waiting and options.status:
        raise UsageError("Give either --waiting or --status: a call that waits is pending.")
    return make_client(options, read_only=True)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    statuses = ["pending"] if options.waiting else options.status
    with schema_needed(TOO_OLD):
        calls = client.tools.calls(statuses=statuses, tool=options.tool, limit=options.limit)
    if options.waiting:
        calls = [call for call in calls if call.waits_for_approval]
    if options.format == "json":
        output.json([_as_json(call) for call in calls])
        return EXIT_OK
    cells = [
        [
            short_time(call.created_at),
            call.tool_name,
            call.status,
            call.requested_by or "-",
            " ".join(f"{name}={_value(value)}" for name, value in sorted(call.arguments.items())),
            str(call.id)[:_SHORT_IDENTIFIER],
        ]
        for call in calls
    ]
    headings = ["asked for", "tool", "status", "by", "arguments", "id"]
    texts = table(headings, cells, width=output.width, whole=(0, 2, 5))
    output.line(texts[0])
    for row, text in zip(cells, texts[1:]):
        output.line(text.replace(f"  {row[2]}", f"  {output.colour(row[2], _COLOURS.get(row[2], 'dim'))}", 1))
    output.line(f"({number(len(cells), 'call')}{' waiting' if options.waiting else ''})")
    return EXIT_OK


def add_show_options(parser: argparse.ArgumentParser) -> None:
    _add_call(parser)
    add_format_options(parser, "json")


def prepare_show(options: argparse.Namespace) -> Client:
    return make_client(options, read_only=True)


def run_show(options: argparse.Namespace, client: Client, output: Output) -> int:
    call = _find(client, options.call)
    previous = client.tools.previous_arguments(call)
    if options.format == "json":
        output.json({**_as_json(call), "result": call.result, "previous_arguments": previous})
        return EXIT_OK
    _print_head(call, output)
    output.line()
    output.line("arguments" if previous is None else "arguments, beside those of the last call")
    for line in differences(call.arguments, previous):
        output.line(f"  {line}")
    if call.status == "succeeded":
        output.line()
        output.line("result")
        print_result(call.result, output)
    return EXIT_OK


def differences(arguments: dict[str, Any], previous: dict[str, Any] | None) -> list[str]:
    """A line for each argument; marked where those of the last call differ."""
    lines = []
    for name in sorted({*arguments, *(previous or {})}):
        now = _value(arguments[name]) if name in arguments else None
        before = _value(previous[name]) if previous is not None and name in previous else None
        if previous is None or now == before:
            lines.append(f"  {printable(name)} = {now}")
        elif before is None:
            lines.append(f"+ {printable(name)} = {now}")
        elif now is None:
            lines.append(f"- {printable(name)} = {before}")
        else:
            lines.append(f"~ {printable(name)} = {now}, was {before}")
    return lines or ["  (none)"]


def _print_head(call: ToolCall, output: Output) -> None:
    rows = [
        ("call", str(call.id)),
        ("tool", f"{call.tool_name} ({', '.join(filter(None, (call.risk_level, call.operation or call.connector)))})"),
        ("status", f"{call.status}, waits for a person" if call.waits_for_approval else call.status),
        ("asked for by", f"{call.requested_by or '-'} (login {call.requested_login or '-'})"),
        ("at", short_time(call.created_at)),
        ("policy", call.policy or "none but the risk level"),
        ("because", call.reason),
        ("decided by", f"{call.approved_by} at {short_time(call.approved_at)}" if call.approved_by else None),
        ("expires", short_time(call.approval_expires_at) if call.status == "approved" else None),
        ("started", short_time(call.started_at) if call.started_at else None),
        ("took", f"{call.duration_ms:,} ms" if call.duration_ms is not None else None),
        ("error", call.error),
        ("task run", str(call.task_run_id)),
    ]
    for name, value in rows:
        if value is not None:
            text = printable(value)
            coloured = output.colour(text, _COLOURS.get(call.status, "dim")) if name == "status" else text
            output.line(f"{name:<13} {coloured}")


def add_decide_options(parser: argparse.ArgumentParser) -> None:
    _add_call(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    parser.add_argument(
        "--token-file", metavar="FILE", help="file with an approver's token, which nobody else may read"
    )


def prepare_decide(options: argparse.Namespace) -> Client:
    if len(options.call.replace("-", "")) < _SHORT_IDENTIFIER:
        # Who asks could make so many calls that one of them fits a shorter beginning.
        raise UsageError(
            f"Name the call by {_SHORT_IDENTIFIER} digits of its identifier or more, not by {options.call!r}."
        )
    if len((options.reason or "").encode("utf-8", "replace")) > _LONGEST_REASON:
        raise UsageError(f"A reason has at most {_LONGEST_REASON} bytes.")
    token = _approver_token(options)
    # The token of who asks is not one of who decides.
    return make_client(options, tool_token=token)


def run_approve(options: argparse.Namespace, client: Client, output: Output) -> int:
    return _decide(options, client, output, "approve")


def run_deny(options: argparse.Namespace, client: Client, output: Output) -> int:
    return _decide(options, client, output, "deny")


def _decide(options: argparse.Namespace, client: Client, output: Output, decision: str) -> int:
    call = _find(client, options.call)
    decide = client.tools.approve if decision == "approve" else client.tools.deny
    try:
        answer = decide(call.id, options.reason)
    except QueryError as error:
        if error.sqlstate != _NOT_ALLOWED or client.settings.tool_token:
            raise
        answer = None
    if answer is None:
        raise CommandError(
            f"This login may not decide about calls: give an approver's token in {TOKEN_VARIABLE} or by --token-file.",
            EXIT_NO,
        )
    return _tell(answer, call, output, "Approved" if decision == "approve" else "Denied")


def add_cancel_options(parser: argparse.ArgumentParser) -> None:
    _add_call(parser)


def prepare_cancel(options: argparse.Namespace) -> Client:
    return make_client(options, with_tool_token=True)


def run_cancel(options: argparse.Namespace, client: Client, output: Output) -> int:
    call = _find(client, options.call)
    return _tell(client.tools.cancel(call.id), call, output, "Withdrawn")


def _tell(answer: ToolAnswer, call: ToolCall, output: Output, done: str) -> int:
    if not answer.accepted:
        raise CommandError(
            printable(
                f"The call {call.id} of {call.tool_name} stays {answer.status or 'as it is'}: {answer.reason or 'no reason given'}"
            ),
            EXIT_NO,
        )
    given = (
        ", ".join(f"{name}={_value(value)}" for name, value in sorted(call.arguments.items())) or "without arguments"
    )
    output.sentence(f"{done}: {printable(call.tool_name)} {given}, asked for by {printable(call.requested_by or '-')}.")
    return EXIT_OK


def _add_call(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call", metavar="ID", help="identifier of the call, or its beginning")


def _find(client: Client, beginning: str) -> ToolCall:
    with schema_needed(TOO_OLD):
        found = client.tools.find(beginning)
    if len(found) > 1:
        raise CommandError(f"More than one call begins with {beginning}: give more of its identifier.", EXIT_NO)
    if not found:
        raise CommandError(f"There is no call whose identifier begins with {beginning!r}.", EXIT_NO)
    return client.tools.call(found[0])


def _as_json(call: ToolCall) -> dict[str, Any]:
    row = dataclasses.asdict(call)
    del row["result"]
    return row


def _value(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False))


def _approver_token(options: argparse.Namespace) -> Secret | None:
    """The token of who decides; None where the login alone is to do."""
    directory = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    usual = os.path.join(directory, *_TOKEN_FILE)
    given = os.environ.get(TOKEN_VARIABLE)
    if options.token_file:
        text, where = _read_token(options.token_file), options.token_file
    elif given:
        text, where = given, TOKEN_VARIABLE
    elif os.path.exists(usual):
        text, where = _read_token(usual), usual
    elif all(each is not None and each.isatty() for each in (sys.stdin, sys.stderr)):
        text, where = _ask(), "the terminal"
    else:
        return None
    if not text:
        return None
    if not is_token(text):
        raise SettingsError(f"The approver's token of {where} must be 32 to 512 letters, digits and -._~+/.")
    if text == os.environ.get(TOOL_TOKEN_VARIABLE):
        raise SettingsError(
            f"The approver's token of {where} is also {TOOL_TOKEN_VARIABLE}: who asks and who decides are two."
        )
    return Secret(text)


def _read_token(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096).strip()
    except OSError as error:
        raise SettingsError(f"The token file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        text, mode = "", 0
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"The token file {path} may be read or written by others: chmod 600 {path}")
    if not text:
        raise SettingsError(f"The token file {path} holds no token.")
    return text


def _ask() -> str:
    try:
        return getpass.getpass("Approver's token (nothing for the login's own right): ", sys.stderr).strip()
    except (KeyboardInterrupt, EOFError):
        end_by_signal(signal.SIGINT)
