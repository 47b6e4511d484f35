# PYTHON_ARGCOMPLETE_OK, for whoever has argcomplete complete every command that can be completed.
# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command line `mission-control`: health, migrations, inventory, queries, usage and the audit log of a database."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..errors import MissionControlError, SettingsError, place_of
from ..schema.manifest import Manifest
from . import (
    audit,
    budgets,
    calls,
    health,
    import_usage,
    inventory,
    lists,
    mcp,
    prices,
    query,
    runs,
    status,
    tool_worker,
    tools,
    usage,
)
from .output import Output
from .parser import (
    EXIT_NO,
    EXIT_OK,
    EXIT_UNKNOWN,
    EXIT_USAGE,
    CommandError,
    CommandParser,
    UsageError,
    add_connection_options,
)
from .runner import end_by_signal, run_interruptibly

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..client.client import Client

    Prepare = Callable[[argparse.Namespace], Client]
    Run = Callable[[argparse.Namespace, Client, Output], int]

DESCRIPTION = (
    "Health, migrations, inventory, queries, cost of language models and audit log of a Mission Control database."
)
EXAMPLES = """\
examples:
  mission-control health
  mission-control query "SELECT name, status FROM hosts"
  mission-control usage --by day --days 7

exit codes: 0 done, 1 the answer is no or the server refused the statement, 2 wrong usage or settings, 3 the database
could not be asked; health has those of a Nagios plugin. See mission-control COMMAND --help."""


class _Version(argparse.Action):
    """Looked up only when it is asked for, as it may have to be read from files."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any, **options: Any) -> None:
        manifest = Manifest.built_in()
        sys.stdout.write(f"mission-control {manifest.version if manifest else '(unknown version)'}\n")
        parser.exit()


class _Command(NamedTuple):
    """What a module of commands says of one of them."""

    summary: str
    description: str
    examples: str
    add_options: Callable[[argparse.ArgumentParser], None]
    prepare: Prepare
    run: Run
    # What a signal that ends the command is to do beside letting go of the database; None: the command handles signals itself.
    stop: Callable[[argparse.Namespace], None] | None = lambda _options: None


def _command(module: Any) -> _Command:
    return _Command(module.SUMMARY, module.DESCRIPTION, module.EXAMPLES, module.add_options, module.prepare, module.run)


_COMMANDS = {
    "health": _command(health),
    "status": _command(status),
    "hosts": _Command(
        lists.HOSTS_SUMMARY,
        lists.HOSTS_DESCRIPTION,
        lists.HOSTS_EXAMPLES,
        lists.add_hosts_options,
        lists.prepare,
        lists.run_hosts,
    ),
    "workloads": _Command(
        lists.WORKLOADS_SUMMARY,
        lists.WORKLOADS_DESCRIPTION,
        lists.WORKLOADS_EXAMPLES,
        lists.add_workloads_options,
        lists.prepare,
        lists.run_workloads,
    ),
    "query": _command(query),
    "usage": _command(usage),
    "prices": _command(prices),
    "import": _command(import_usage),
    "mcp": _Command(mcp.SUMMARY, mcp.DESCRIPTION, mcp.EXAMPLES, mcp.add_options, mcp.prepare, mcp.run, mcp.stop),
}
_AUDIT_COMMANDS = {
    "verify": _Command(
        audit.VERIFY_SUMMARY,
        audit.VERIFY_DESCRIPTION,
        audit.VERIFY_EXAMPLES,
        audit.add_verify_options,
        audit.prepare,
        audit.run_verify,
    ),
    "head": _Command(
        audit.HEAD_SUMMARY,
        audit.HEAD_DESCRIPTION,
        audit.HEAD_EXAMPLES,
        audit.add_head_options,
        audit.prepare,
        audit.run_head,
    ),
}
_INVENTORY_COMMANDS = {
    "sources": _Command(
        inventory.SOURCES_SUMMARY,
        inventory.SOURCES_DESCRIPTION,
        inventory.SOURCES_EXAMPLES,
        inventory.add_sources_options,
        inventory.prepare_sources,
        inventory.run_sources,
    ),
    "preflight": _Command(
        inventory.PREFLIGHT_SUMMARY,
        inventory.PREFLIGHT_DESCRIPTION,
        inventory.PREFLIGHT_EXAMPLES,
        inventory.add_choice_options,
        inventory.prepare_chosen,
        inventory.run_preflight,
        inventory.stop_preflight,
    ),
    "sync": _Command(
        inventory.SYNC_SUMMARY,
        inventory.SYNC_DESCRIPTION,
        inventory.SYNC_EXAMPLES,
        inventory.add_sync_options,
        inventory.prepare_chosen,
        inventory.run_sync,
        inventory.stop_sync,
    ),
    "worker": _Command(
        inventory.WORKER_SUMMARY,
        inventory.WORKER_DESCRIPTION,
        inventory.WORKER_EXAMPLES,
        inventory.add_worker_options,
        inventory.prepare_worker,
        inventory.run_worker,
        None,
    ),
}
_RUNS_COMMANDS = {
    "show": _Command(
        runs.SHOW_SUMMARY,
        runs.SHOW_DESCRIPTION,
        runs.SHOW_EXAMPLES,
        runs.add_show_options,
        runs.prepare_show,
        runs.run_show,
    ),
    "load": _Command(
        runs.LOAD_SUMMARY,
        runs.LOAD_DESCRIPTION,
        runs.LOAD_EXAMPLES,
        runs.add_load_options,
        runs.prepare_load,
        runs.run_load,
    ),
}
_BUDGETS_COMMANDS = {
    "set": _Command(
        budgets.SET_SUMMARY,
        budgets.SET_DESCRIPTION,
        budgets.SET_EXAMPLES,
        budgets.add_set_options,
        budgets.prepare_change,
        budgets.run_set,
    ),
    "remove": _Command(
        budgets.REMOVE_SUMMARY,
        budgets.REMOVE_DESCRIPTION,
        budgets.REMOVE_EXAMPLES,
        budgets.add_remove_options,
        budgets.prepare_change,
        budgets.run_remove,
    ),
}
_TOOLS_COMMANDS = {
    "list": _command(tools),
    "run": _Command(
        tools.RUN_SUMMARY,
        tools.RUN_DESCRIPTION,
        tools.RUN_EXAMPLES,
        tools.add_run_options,
        tools.prepare_run,
        tools.run_run,
        tools.stop_run,
    ),
    "worker": _command(tool_worker)._replace(stop=None),
}
_CALLS_COMMANDS = {
    "list": _command(calls),
    "show": _Command(
        calls.SHOW_SUMMARY,
        calls.SHOW_DESCRIPTION,
        calls.SHOW_EXAMPLES,
        calls.add_show_options,
        calls.prepare_show,
        calls.run_show,
    ),
    "approve": _Command(
        calls.APPROVE_SUMMARY,
        calls.APPROVE_DESCRIPTION,
        calls.APPROVE_EXAMPLES,
        calls.add_decide_options,
        calls.prepare_decide,
        calls.run_approve,
    ),
    "deny": _Command(
        calls.DENY_SUMMARY,
        calls.DENY_DESCRIPTION,
        calls.DENY_EXAMPLES,
        calls.add_decide_options,
        calls.prepare_decide,
        calls.run_deny,
    ),
    "cancel": _Command(
        calls.CANCEL_SUMMARY,
        calls.CANCEL_DESCRIPTION,
        calls.CANCEL_EXAMPLES,
        calls.add_cancel_options,
        calls.prepare_cancel,
        calls.run_cancel,
    ),
}
# Commands of commands: what is said of them, and the commands.
_GROUPS: dict[str, tuple[Any, dict[str, _Command]]] = {
    "inventory": (inventory, _INVENTORY_COMMANDS),
    "runs": (runs, _RUNS_COMMANDS),
    "tools": (tools, _TOOLS_COMMANDS),
    "calls": (calls, _CALLS_COMMANDS),
    "budgets": (budgets, _BUDGETS_COMMANDS),
    "audit": (audit, _AUDIT_COMMANDS),
}
# Of a group that does something without a command of its own.
_BY_ITSELF = {
    "runs": _command(runs),
    "tools": _command(tools),
    "calls": _command(calls),
    "budgets": _command(budgets),
}
# Commands of the TypeScript client, with what does their work here.
_ELSEWHERE = {
    "init": "`ansible-playbook site.yml` (in a checkout also `make site`) creates the database",
    "migrate": "`ansible-playbook playbooks/migrate.yml` applies pending migrations",
    "migrate:status": "`mission-control status` compares the migrations of the database with those of this version",
}


def make_parser() -> CommandParser:
    parser = CommandParser(prog="mission-control", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    add_connection_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, command in _COMMANDS.items():
        _add(commands, name, command)
    for group, (module, members) in _GROUPS.items():
        group_parser = commands.add_parser(
            group, help=module.SUMMARY, description=module.DESCRIPTION, epilog=module.EXAMPLES
        )
        group_commands = group_parser.add_subparsers(title="commands", metavar="COMMAND", dest=f"{group}_command")
        for name, command in members.items():
            _add(group_commands, name, command)
        if group in _BY_ITSELF:
            _take(group_parser, _BY_ITSELF[group])
        else:
            group_parser.set_defaults(chosen=None)
    return parser


def _add(commands: Any, name: str, command: _Command) -> None:
    parser = commands.add_parser(name, help=command.summary, description=command.description, epilog=command.examples)
    _take(parser, command)


def _take(parser: argparse.ArgumentParser, command: _Command) -> None:
    command.add_options(parser)
    add_connection_options(parser)
    parser.set_defaults(chosen=command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. A signal, a broken pipe among them, ends the program as it would."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, with >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the program runs
    # The library logs for programs; here every error is a sentence, and the rest is of no interest.
    logging.getLogger("mission_control").addHandler(logging.NullHandler())
    try:
        try:
            code = _run(words)
        except SystemExit as ending:  # of --help and --version
            code = int(ending.code or EXIT_OK)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. Nothing may be written when Python closes the stream.
        _discard_output()
        end_by_signal(signal.SIGPIPE)
    except OSError as error:
        _discard_output()
        code = EXIT_UNKNOWN if _is_health(words) else EXIT_NO
        return _say(f"The output could not be written: {error.strerror or error}.", code)
    return code


def _run(words: list[str]) -> int:
    """The exit code of the command, with errors said in a sentence."""
    wrong_usage = EXIT_UNKNOWN if _is_health(words) else EXIT_USAGE
    client: Client | None = None
    try:
        parser = make_parser()
        _complete_in_shell(parser)
        options = _parse(parser, words)
        command: _Command | None = getattr(options, "chosen", None)
        if command is None:
            group = options.command
            parser.error(f"{group} needs a command, {_listed(_GROUPS[group][1])}" if group else "a command is needed")
        client = command.prepare(options)
        output = Output()
        stop = command.stop
        if stop is None:
            return _carry_out(command, options, client, output)
        return run_interruptibly(
            lambda: _carry_out(command, options, client, output), lambda: _stop(client, output, lambda: stop(options))
        )
    except (UsageError, SettingsError) as error:
        return _say(str(error), wrong_usage)
    except CommandError as error:
        return _say(str(error), error.code)
    except MissionControlError as error:
        return _say(str(error), EXIT_UNKNOWN)
    except OSError:
        raise
    except Exception as error:
        return _say(
            f"An error of this program ({type(error).__name__}{place_of(error)}). Please report it.", EXIT_UNKNOWN
        )


def _complete_in_shell(parser: CommandParser) -> None:
    """Print what may come next on the command line and end, where the completion of a shell asks for it by argcomplete's variable."""
    if "_ARGCOMPLETE" in os.environ:
        with contextlib.suppress(ImportError):
            argcomplete = importlib.import_module("argcomplete")
            argcomplete.autocomplete(parser)


def _parse(parser: CommandParser, words: list[str]) -> argparse.Namespace:
    try:
        return parser.parse_all(words)
    except UsageError as error:
        elsewhere = next((name for name in _ELSEWHERE if f"invalid choice: {name!r}" in str(error)), None)
        if elsewhere is None:
            raise
    raise UsageError(f"There is no command {elsewhere} here: {_ELSEWHERE[elsewhere]}.")


def _carry_out(command: _Command, options: argparse.Namespace, client: Client, output: Output) -> int:
    try:
        return command.run(options, client, output)
    finally:
        client.disconnect(0)
        output.flush()


def _stop(client: Client, output: Output, more: Callable[[], None]) -> None:
    """Cancel the statement that the server works on, let go of the connection, and do what else the command has to."""
    output.clear_progress()
    client.disconnect(0)
    with contextlib.suppress(MissionControlError):
        more()


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


def _is_health(words: Sequence[str]) -> bool:
    """Whether the command is health, as far as a command line that may be wrong can tell."""
    return next((word for word in words if word in _COMMANDS or word in _GROUPS), None) == "health"


def _say(sentence: str, code: int = EXIT_OK) -> int:
    text = f"mission-control: {sentence}\n"
    encoding = sys.stderr.encoding or "ascii"
    sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return code


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
