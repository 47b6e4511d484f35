"""Tools for tests of the loader of playbook runs: spools as the callback leaves them, and what they become in the database."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import uuid
from urllib.parse import quote

from ansible_collections.homelab.mission_control.plugins.module_utils.processes import this_process
from mission_control_database import ROLES

COLLECTIONS = pathlib.Path(__file__).parents[2] / "collections"
LOADER = [sys.executable, "-m", "ansible_collections.homelab.mission_control.plugins.module_utils.recorder.load"]
NOW = "2026-11-27T18:30:00.000000Z"
COUNTS = ("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored")


def dead_process():
    """What identified a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    told = {**this_process(), "pid": process.pid, "ticks": 1}
    process.communicate()
    return told


class PlaybookProcess:
    """A process in the place of a playbook's. Attributes: told: what identifies it."""

    def __init__(self):
        code = (
            "import json, sys; from ansible_collections.homelab.mission_control.plugins.module_utils.processes import this_process; "
            "print(json.dumps(this_process()), flush=True); sys.stdin.read()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.told = json.loads(self._process.stdout.readline())

    def kill(self):
        self._process.kill()
        self._process.wait()


def start_loader(spool, *arguments, **environment):
    """The process that the callback starts; its output is what nobody should see."""
    variables = {"PYTHONPATH": str(COLLECTIONS), "PATH": os.environ["PATH"], "HOME": str(spool.parent)}
    return subprocess.Popen(
        [*LOADER, "--spool", str(spool), *arguments],
        env={**variables, **environment},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def log_of(spool):
    """The sentences in the loader's log, without their times."""
    file = spool / "loader.log"
    return [line.split(" ", 1)[1] for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def url_of(database, directory=None):
    """The database for the loader's process, without a password; `directory` of another socket than the server's own."""
    place = f"host={quote(str(directory or database.cluster.socket_directory), safe='')}&port={database.cluster.port}"
    return f"postgresql://{ROLES['application']}@/{database.name}?{place}"


class Wire:
    """A socket in a directory of its own that leads to the server's, and can be cut, as a server that is restarted or a network that is gone."""

    def __init__(self, cluster, directory):
        directory.mkdir()
        self.directory = directory
        name = f".s.PGSQL.{cluster.port}"
        self._theirs = os.path.join(cluster.socket_directory, name)
        self._ours = directory / name
        self._listener = None
        self._ends = []

    def connect(self):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._ours))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        self._ours.unlink()
        for each in [self._listener, *self._ends]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._ends = []

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._theirs)
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    @staticmethod
    def _carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Recording:
    """A playbook's file in a spool, written as the callback writes it."""

    def __init__(self, spool, process=None, run=None, at=NOW, **begin):
        self.run = run or str(uuid.uuid4())
        self.spool = spool
        spool.mkdir(mode=0o700, exist_ok=True)
        self.file = spool / f"{self.run}.jsonl"
        self.sequence = 0
        self.at = at
        self._descriptor = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        told = {
            "run": self.run,
            "playbook": "homelab/site.yml",
            "controller": "rack",
            "user": "sven",
            "check": False,
            "limit": None,
            "tags": [],
            "skip_tags": [],
            "ansible": "2.21.5",
            "inventory_source": None,
            "process": process or this_process(),
        }
        self.add(v=1, begin={**told, **begin})

    def close(self):
        os.close(self._descriptor)

    def write(self, data):
        os.write(self._descriptor, data)

    def add(self, **keys):
        self.write(json.dumps({"seq": self.sequence, "at": self.at, **keys}).encode() + b"\n")
        self.sequence += 1
        return self.sequence - 1

    def play(self, name="Everything"):
        return self.add(type="log", payload={"event": "play", "name": name})

    def task(self, name="Install", module="ansible.builtin.apt", path="roles/x/tasks/main.yml:3", handler=False):
        payload = {"event": "task", "name": name, "module": module, "path": path, "handler": handler}
        self.last_task = (name, self.add(type="log", payload=payload))
        return self.last_task[1]

    def result(self, host="web1", outcome="ok", changed=False, **more):
        name, sequence = self.last_task
        payload = {"event": "result", "host": host, "task": name, "task_sequence": sequence}
        return self.add(
            type="tool_result", payload={**payload, "outcome": outcome, "changed": changed, "seconds": 0.5, **more}
        )

    def host(self, name="web1", **counts):
        return self.add(host={"name": name, **dict.fromkeys(COUNTS, 0), **counts})

    def end(self, status="succeeded", error=None, dropped=0):
        return self.add(end={"status": status, "error": error, "dropped": dropped})

    def whole(self, results=3, end=True):
        """A play of one task with so many results, and its end."""
        self.play()
        self.task()
        for number in range(results):
            self.result(f"web{number % 10}", changed=number == 0)
        for number in range(min(results, 10)):
            self.host(f"web{number}", ok=1)
        if end:
            self.end()
        return self

    @property
    def events(self):
        """How many lines become events."""
        return sum(b'"payload"' in line for line in self.file.read_bytes().splitlines())
