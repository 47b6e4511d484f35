"""Plays that the callback recorder records: how a test runs them, keeps what was in the spool, and compares it with the database."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import yaml
from command import environment_of
from mission_control_database import ROLES
from playbook import ROOT
from processes import wait_for

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# Nobody listens there.
DOWN = f"postgresql://{ROLES['application']}@127.0.0.1:1/mission_control"
_EVENTS = """
SELECT sequence, type, payload FROM task_events WHERE task_run_id = %s AND type <> 'error' ORDER BY sequence
"""


class SpoolKeeper:
    """Context manager that has opened every file of a run in a spool, so that it can be read when the loader has removed it."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._files: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SpoolKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        for descriptor in self._files.values():
            os.close(descriptor)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._look()

    def _look(self) -> None:
        for path in self._spool.glob("*.jsonl"):
            if path.stem not in self._files:
                with contextlib.suppress(FileNotFoundError):
                    self._files[path.stem] = os.open(path, os.O_RDONLY)

    def lines(self) -> dict[str, list[dict]]:
        """The whole lines of each file, by the identifier of its run."""
        return {run: self._lines_of(descriptor) for run, descriptor in self._files.items()}

    @staticmethod
    def _lines_of(descriptor: int) -> list[dict]:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return [json.loads(line) for line in content.split(b"\n")[:-1]]


class Plays:
    """Playbooks of one test, run as a user with a home of its own runs them.

    Args:
        home: the home directory, with the spool.
        playbook: a list of plays.
        inventories: each the content of a file.
    """

    def __init__(self, home: Path, playbook: list[dict], *inventories: dict) -> None:
        self.home = home
        self.spool = home / "runs"
        self.playbook = home / "site.yml"
        self.playbook.write_text(yaml.safe_dump(playbook, sort_keys=False), encoding="utf-8")
        self._sources = []
        for number, content in enumerate(inventories):
            path = home / f"inventory{number}.yml"
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
            self._sources += ["-i", str(path)]

    def start(self, *arguments, url=DOWN, recorded=True, **options):
        """Start the playbook in a session of its own; `options` in capitals are variables of its environment, others of Popen."""
        variables = {name: options.pop(name) for name in list(options) if name.isupper()}
        environment = {
            **environment_of(),
            "HOME": str(self.home),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "MISSION_CONTROL_RECORDER_SPOOL": str(self.spool),
            "MISSION_CONTROL_RECORDER_URL": url,
            **({} if recorded else {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.default"}),
            **variables,
        }
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return subprocess.Popen(
            [program, *self._sources, str(self.playbook), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *arguments, **options):
        """Run it to its end."""
        return self.finish(self.start(*arguments, **options))

    @staticmethod
    def finish(process):
        """Wait for its end."""
        stdout, stderr = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def seen_by_user(self, run):
        """Exit code and output, as they are in any home. Which host is first is a matter of chance."""
        out, err = (text.replace(str(self.home), "~") for text in (run.stdout, run.stderr))
        return run.returncode, sorted(out.splitlines()), err

    def loaders(self):
        """Processes that load the spool."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if str(self.spool).encode() in words and any(word.endswith(b"recorder.load") for word in words):
                    found.append(int(path.parent.name))
        return found

    def wait_for_loaders(self, seconds=60):
        wait_for(lambda: not self.loaders(), seconds)

    def files(self):
        """What the spool holds of runs."""
        return sorted(path.name for path in self.spool.glob("*.jsonl*"))


def events_of(lines):
    """The rows that the lines of a run's file are to become: (sequence, type, payload without what is not known)."""
    return [
        (line["seq"], line["type"], {name: value for name, value in line["payload"].items() if value is not None})
        for line in lines
        if "payload" in line
    ]


def stored_events(session, run):
    return [tuple(row.values()) for row in session.rows(_EVENTS, run)]
