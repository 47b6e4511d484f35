"""Executors as processes, the tools of the seed in a test's database, and sources whose connector is the tests' own."""

import contextlib
import json
import signal
import sys
import threading
import time
from pathlib import Path

import yaml
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sources import Source
from ansible_collections.homelab.mission_control.plugins.module_utils.tools.carrying import CallProcess
from ansible_collections.homelab.mission_control.plugins.module_utils.tools.operations import OPERATIONS
from command import _LIBRARY, start_command
from library_client import client_of
from tool_lab import ASSISTANT, provide_tools, task_run

ROOT = Path(__file__).parents[2]
NO_RIGHT = "The login of the source lab lacks the right"
FOLLOW = "give the source tool_credentials."
SEED = yaml.safe_load((ROOT / "files/tools.yml").read_text(encoding="utf-8"))["tools"]
TOKEN = "token-Vq83Hs+kd/9Q=Zt"
LOGS, RESTART, LIST = "get_docker_container_logs", "restart_docker_container", "list_docker_containers"
# What needs no person, so that most tests need none either.
ALLOWED = {"name": "allow the tests", "tools": ["*"], "effect": "allow", "priority": 1}
_COMMAND = [
    sys.executable,
    "-c",
    f"import lab_tools; from {_LIBRARY}.tools.connectors.registry import SOURCE_CONNECTORS; "
    f"SOURCE_CONNECTORS['docker'] = lambda: lab_tools; from {_LIBRARY}.cli.main import main; raise SystemExit(main())",
]
# Hears no notification, as behind a pooler, and looks more often, so that the test need not wait.
DEAF_COMMAND = [
    *_COMMAND[:-1],
    f"import {_LIBRARY}.tools.executor as e; e.CHANNEL, e._POLL, e._TIDY = 'another', 0.3, 0.3; {_COMMAND[-1]}",
]


def eventually(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


class ExecutorLab:
    """Executors of one database and one file of sources, and who asks them for something.

    Attributes:
        client: of the application's login, with the token of an assistant.
        run: a task run that goes on.
    """

    def __init__(self, database, directory, tools=SEED, policies=(ALLOWED,)):
        self.database = database
        self.directory = directory
        provide_tools(database, tools, policies)
        self.client = client_of(database, tool_token=ASSISTANT, pool_size=4)
        self.run = task_run(self.client)
        self.file = directory / "tools.json"
        self._credentials = directory / "tool-credentials"
        self._credentials.mkdir()
        self._acts = directory / "acts"
        self._log = directory / "executor.log"
        self.tell({})
        self.configure("lab")
        self.processes = []

    def configure(self, *names, **keys):
        """Write the file of sources, each with a token."""
        entries = []
        for name in names:
            (self._credentials / f"{name}.token").write_text(f"{TOKEN}\n", encoding="utf-8")
            options = {"acts": str(self._acts), "told": str(self.directory / "told.json")}
            entries.append({"name": name, "connector": "docker", "options": options, **keys})
        self.file.write_text(json.dumps(entries), encoding="utf-8")

    def tell(self, told):
        """What containers do, by name."""
        new = self.directory / "told.json.new"
        new.write_text(json.dumps(told), encoding="utf-8")
        # Some may read it just now.
        new.replace(self.directory / "told.json")

    @property
    def acts(self):
        """What was done to which container, in order."""
        with contextlib.suppress(OSError):
            return [tuple(line.split()[:2]) for line in self._acts.read_text(encoding="ascii").splitlines()]
        return []

    @property
    def log(self):
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def start(self, *words, command=DEAF_COMMAND, **options):
        words = ("tools", "worker", "--file", str(self.file), "--credentials", str(self._credentials), *words)
        with self._log.open("ab") as log:
            process = start_command(self.database, *words, command=command, role="executor", stdout=log, **options)
        self.processes.append(process)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=90)
        self.processes.remove(process)
        assert (process.returncode, err) == (0, b""), self.log
        return self.log

    def kill(self, process):
        self.processes.remove(process)
        process.kill()
        process.communicate()

    def ask(self, tool, key=None, **arguments):
        """Identifier of a call that was asked for."""
        return self.client.tools.request(tool, arguments, task_run_id=self.run, key=key).call_id

    def call(self, call_id):
        return self.client.tools.call(call_id)

    def ended(self, call_id, seconds=60):
        return eventually(lambda: (call := self.call(call_id)).has_ended and call, "the call ends", seconds)

    def carried_out(self, tool, **arguments):
        return self.ended(self.ask(tool, **arguments))

    def end(self):
        for process in list(self.processes):
            self.kill(process)
        self.client.disconnect()


def carry_out(operation, options, secrets=None, seconds=60, most_bytes=65_536, **arguments):
    """Status, result and error of a call, as its process says them."""
    connector, _dot, name = operation.partition(".")
    source = Source("lab", connector, None, 0, 60, 512, True, options, "/nowhere", ())
    tool = {
        "connector": connector,
        "operation": name,
        "risk_level": OPERATIONS[operation].risk_level,
        "arguments_schema": {},
        "preset": {},
    }
    with CallProcess(source.memory_limit, threading.Event()) as process:
        assert process.problem(tool, {"source": "lab", **arguments}) == ""
        return process.act(source, secrets or {}, seconds, most_bytes, threading.Event())


def result_of(*words, **more):
    status, result, error = carry_out(*words, **more)
    assert (status, error) == ("succeeded", None)
    return result
