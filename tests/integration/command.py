"""The command line against a test's database: in this process, and as a process of its own where that is what a test is about."""

import contextlib
import io
import os
import pathlib
import pty
import signal
import subprocess
import sys
import tempfile
from unittest import mock

from ansible_collections.homelab.mission_control.plugins.module_utils.cli.main import main
from mission_control_database import ROLES

ROOT = pathlib.Path(__file__).parents[2]
_LIBRARY = "ansible_collections.homelab.mission_control.plugins.module_utils"
COMMAND = [sys.executable, "-c", f"from {_LIBRARY}.cli.main import main; raise SystemExit(main())"]
# The same with the tests' own connector in the place of Docker's.
LAB_COMMAND = [
    sys.executable,
    "-c",
    f"import lab_connector; from {_LIBRARY}.inventory.connectors.registry import CONNECTORS; "
    f"CONNECTORS['docker'] = lambda: lab_connector; from {_LIBRARY}.cli.main import main; raise SystemExit(main())",
]
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


def environment_of(database=None, role="application", **more):
    """Nothing of the environment of the tests reaches the command but what it needs to run."""
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "collections"), str(ROOT / "tests/packages")])
    variables["MISSION_CONTROL_ENV_FILE"] = os.devnull
    variables["LC_ALL"] = "C.UTF-8"
    if database is not None:
        variables["POSTGRES_HOST"] = database.cluster.socket_directory
        variables["POSTGRES_PORT"] = str(database.cluster.port)
        variables["POSTGRES_DB"] = database.name
        variables["POSTGRES_USER"] = ROLES[role]
    return {**variables, **more}


def run_command(database, *arguments, stdin=b"", role="application", **more):
    """Run it to its end in this process, which spares the start of another one.

    `more`: variables of its environment; those that Python itself reads when it starts need run_process().
    """
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_stream(name)) for name in ("stdin", "stdout", "stderr")]
        streams[0].buffer.write(stdin)
        streams[0].seek(0)
        stack.enter_context(mock.patch.dict(os.environ, environment_of(database, role, **more), clear=True))
        stack.callback(os.chdir, os.getcwd())
        os.chdir("/")
        code = main(arguments)
        out, err = map(_content, streams[1:])
    return subprocess.CompletedProcess(arguments, code, out, err)


@contextlib.contextmanager
def _stream(name):
    """A file in the place of a standard stream, as Python opens these in a UTF-8 locale."""
    errors = "backslashreplace" if name == "stderr" else "surrogateescape"
    with (
        tempfile.TemporaryFile() as file,
        io.TextIOWrapper(file, encoding="utf-8", errors=errors) as stream,
        mock.patch.object(sys, name, stream),
    ):
        yield stream


def _content(stream):
    stream.flush()
    stream.buffer.seek(0)
    return stream.buffer.read().decode("utf-8")


def run_process(database, *arguments, role="application", command=COMMAND, **more):
    """Run it to its end as a process. `more`: variables of its environment. Standard output and error are text."""
    result = subprocess.run(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment_of(database, role, **more),
        cwd="/",
        timeout=120,
        check=False,
    )
    result.stdout = result.stdout.decode("utf-8")
    result.stderr = result.stderr.decode("utf-8")
    assert "Traceback" not in result.stderr, result.stderr
    return result


def start_command(database, *arguments, **options):
    """Start it and return the process; standard output and error are pipes unless `options` say otherwise."""
    environment = environment_of(database, options.pop("role", "application"))
    command = options.pop("command", COMMAND)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    pipes.setdefault("preexec_fn", _heed_signals)
    return subprocess.Popen([*command, *arguments], env=environment, cwd="/", **pipes)


def _heed_signals():
    """As a shell starts it; whoever started the tests in the background may have had these ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def on_terminal(database, *arguments, columns=80, command=COMMAND, **more):
    """Run it with a terminal for its standard output and error: exit code and all that the terminal got."""
    ours, theirs = pty.openpty()
    environment = environment_of(database, **{"TERM": "xterm", "COLUMNS": str(columns), **more})
    process = subprocess.Popen(
        [*command, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment, cwd="/"
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # what Linux says when the other end was closed
            break
        if not part:
            break
        received += part
    os.close(ours)
    return process.wait(timeout=120), received.decode("utf-8").replace("\r\n", "\n")
