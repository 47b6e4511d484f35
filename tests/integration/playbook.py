"""Run a playbook as a user would, and read what it did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PlaybookRun:
    """What a playbook did.

    Attributes:
        returncode: of ansible-playbook.
        output: what it printed.
        recap: counters of the one host, such as {"ok": 3, "changed": 0, "failed": 0}; empty where no host was reached.
    """

    returncode: int
    output: str
    recap: dict[str, int]

    @property
    def sentence(self) -> str:
        """The message of the task that failed, as one line."""
        messages = re.findall(
            r'^fatal: .*?"msg": "(.*?)"[,}]|^\s+msg: (.+?)(?=\n\s{0,4}\S|\Z)', self.output, re.MULTILINE | re.DOTALL
        )
        texts = [" ".join((one or other).strip("|->' ").split()) for one, other in messages]
        return texts[-1] if texts else ""

    def succeeded(self) -> PlaybookRun:
        """Itself; fails the test where the playbook failed."""
        assert self.returncode == 0, self.output
        return self


def playbook_command(
    playbook: str | Path, variables: dict[str, Any], *arguments: str, home: Path
) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of run_playbook(), for a test that starts it in a way of its own."""
    hosts = home / "hosts.ini"
    hosts.write_text(
        f"[mission_control]\nlocalhost ansible_connection=local ansible_python_interpreter={sys.executable}\n",
        encoding="utf-8",
    )
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_NOCOLOR": "1",
        "HOME": str(home),
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(hosts), str(ROOT / playbook), "--extra-vars", json.dumps(variables), *arguments]
    return command, environment


def run_playbook(playbook: str | Path, variables: dict[str, Any], *arguments: str, home: Path) -> PlaybookRun:
    """Run a playbook against this machine over the local connection, as the user that runs the tests.

    Args:
        playbook: path, absolute or from the root of the checkout.
        variables: extra variables.
        arguments: further arguments of ansible-playbook, such as "--check".
        home: home directory of the run, where Ansible and the roles keep what they keep.
    """
    command, environment = playbook_command(playbook, variables, *arguments, home=home)
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    counters = re.search(r"^localhost\s*: (.*)$", result.stdout, re.MULTILINE)
    recap = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counters.group(1))} if counters else {}
    return PlaybookRun(result.returncode, result.stdout + result.stderr, recap)
