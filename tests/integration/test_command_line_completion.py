"""Completion of the command line by argcomplete, in the shells themselves: what the key Tab makes of a line."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time

import pytest
from command import COMMAND, ROOT, environment_of

PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
# What starts each shell without the settings of whoever runs the tests, and what its prompt is set to.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='READY> '; bind 'set enable-bracketed-paste off'"),
    "zsh": (["zsh", "-f", "-i"], "PS1='READY> '; unset zle_bracketed_paste; autoload -U compinit; compinit -u"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """That of a shell that finds the command and argcomplete's program, in a home of its own."""
    place = tmp_path_factory.mktemp("shell")
    program = place / "mission-control"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    found = environment_of(HOME=str(place), TERM="dumb")
    return {**found, "PATH": f"{place}:{os.path.dirname(COMMAND[0])}:{found['PATH']}"}


def line_for(shell):
    """The line of the page that turns completion on in a shell."""
    return re.search(rf"^```{shell}\n(.+?)\n```$", PAGE, re.MULTILINE)[1]


class Typist:
    """Types into an interactive shell and reads what it shows."""

    def __init__(self, command, environment):
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd="/", start_new_session=True
        )
        os.close(theirs)

    def type(self, text, until):
        """What is shown from then on, up to what matches `until`."""
        os.write(self._ours, text.encode())
        shown, end = "", time.monotonic() + 60
        while not re.search(until, shown):
            left = end - time.monotonic()
            assert left > 0, f"after {text!r} came only {shown!r}"
            if select.select([self._ours], [], [], left)[0]:
                shown += os.read(self._ours, 65536).decode()
        return shown

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture(scope="module", params=SHELLS)
def typist(request, environment):
    command, settings = SHELLS[request.param]
    assert shutil.which(command[0]), f"{command[0]} is not installed: scripts/install-test-packages"
    typist = Typist(command, environment)
    try:
        typist.type(f"{settings}; {line_for(request.param)}; echo turned-$((20 + 2))\n", "turned-22")
        yield typist
    finally:
        typist.close()


@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("hea", "health "),
        ("--host db aud", "--host db audit "),
        ("audit ver", "audit verify "),
        ("runs sho", "runs show "),
        ("query --json-", "query --json-lines "),
        ("status --sslmode pre", "status --sslmode prefer "),
        ("health --threshold lat", "health --threshold latency_warn_ms="),
        ("usage --by provider,mod", "usage --by provider,model "),
    ],
)
def test_tab_ends_a_word_that_can_only_be_one(typist, typed, whole):
    rest = whole.removeprefix(typed)
    shown = typist.type(f"mission-control {typed}\t", re.escape(rest) + "$")
    assert shown.endswith(rest)
    typist.type("\x15echo next-$((20 + 3))\n", "next-23")


@pytest.fixture(scope="module")
def offered(environment):
    """The words that fish offers for a line, each with what it is said to be."""

    def of(line):
        result = subprocess.run(
            ["fish", "--no-config", "-c", f"{line_for('fish')}; complete -C {shlex.quote(line)}"],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return dict(each.partition("\t")[::2] for each in result.stdout.splitlines())

    return of


def test_fish_offers_commands_with_what_they_do_options_and_their_values(offered):
    commands = offered("mission-control ")
    assert {"health", "status", "query", "usage", "audit"} <= set(commands)
    assert commands["health"] == "check the server, the database and the schema"
    assert set(offered("mission-control query --json")) == {"--json", "--json-lines"}
    assert set(offered("mission-control status --sslmode ver")) == {"verify-ca", "verify-full"}
    assert set(offered("mission-control usage --by day,mo")) == {"day,model", "day,month"}


def test_no_password_option_is_offered(offered):
    options = offered("mission-control status -")
    assert "--user" in options
    assert {"--password", "-W"}.isdisjoint(options)


def test_without_argcomplete_the_command_does_its_work(environment):
    hidden = [COMMAND[0], "-c", f"import sys; sys.modules['argcomplete'] = None; {COMMAND[2]}", "--version"]
    result = subprocess.run(
        hidden, env={**environment, "_ARGCOMPLETE": "1"}, cwd="/", capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("mission-control ")
