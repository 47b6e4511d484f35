"""Playbooks as a user runs them with the callback `recorder`, and what of them is in the spool."""

import json
import os
import signal
import subprocess
import time

from playbook import ROOT, playbook_command

WAIT_SECONDS = 60
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"
SHORT = """
- name: Short
  hosts: web1
  gather_facts: false
  tasks:
    - name: Say
      ansible.builtin.debug: {msg: x}
    - name: Say it again
      ansible.builtin.debug: {msg: "{{ item }}"}
      loop: [1, 2, 3]
    - name: Fail
      ansible.builtin.fail: {msg: x}
"""


class RecordedPlays:
    """Plays with a spool of their own.

    Attributes:
        spool: the directory; the loader can be told of another database than none by the option `url`.
    """

    def __init__(self, home, hosts=("web1", "web2", "db1")):
        self.home = home
        self.spool = home / "state" / "runs"
        self._hosts = home / "own-hosts.json"
        variables = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        inventory = {"all": {"hosts": dict.fromkeys(hosts), "vars": variables}}
        self._hosts.write_text(json.dumps(inventory), encoding="utf-8")

    def write(self, name, text):
        path = self.home / name
        path.write_text(text, encoding="utf-8")
        return path

    def command(self, playbook, *arguments, variables=None, **environment):
        """Command and environment; those of `environment` whose names are small are the callback's options."""
        command, usual = playbook_command(playbook, variables or {}, *arguments, home=self.home)
        command[command.index("-i") + 1] = str(self._hosts)
        given = {"spool": str(self.spool), "url": NOWHERE, **environment}
        options = {f"MISSION_CONTROL_RECORDER_{name.upper()}": value for name, value in given.items() if name.islower()}
        others = {name: value for name, value in given.items() if not name.islower()}
        return command, {**usual, **options, **others}

    def run(self, playbook, *arguments, variables=None, before=None, **environment):
        """The finished process with its output as text; `before` is called in it before it begins."""
        command, variables_of_it = self.command(playbook, *arguments, variables=variables, **environment)
        return subprocess.run(
            command,
            cwd=ROOT,
            env=variables_of_it,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            preexec_fn=before,
        )

    def start(self, playbook, **environment):
        """The process of a run that goes on, which heeds Ctrl-C."""
        command, variables = self.command(playbook, **environment)
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    @property
    def files(self):
        return sorted(self.spool.glob("*.jsonl")) if self.spool.is_dir() else []

    def lines(self):
        """All lines of the only run."""
        (file,) = self.files
        content = file.read_bytes()
        assert content.endswith(b"\n")
        return [json.loads(line) for line in content.splitlines()]


def until(condition):
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def outcome_of(done):
    """What a user sees of a run: exit code and output."""
    return done.returncode, done.stdout, done.stderr


def loaders_of(spool):
    """Numbers of the processes that load a spool."""
    found = []
    for each in os.listdir("/proc"):
        if each.isdigit():
            try:
                with open(f"/proc/{each}/cmdline", "rb") as file:
                    if str(spool).encode() in file.read().split(b"\0"):
                        found.append(int(each))
            except OSError:
                continue
    return found
