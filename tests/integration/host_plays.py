"""One play on many hosts, each with variables of its own: many cases for one start of Ansible."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbook import ROOT, playbook_command


@dataclass(frozen=True)
class HostRun:
    """What a play did on one of its hosts.

    Attributes:
        failed: whether a task failed there.
        sentence: the message of the task that failed, as one line; empty where none did.
        recap: counters of the host, such as {"ok": 3, "changed": 0}.
        told: what its tasks returned, each as a line of JSON.
        tasks: names of the tasks that were not skipped there.
        output: what the whole run printed, of all hosts.
    """

    failed: bool
    sentence: str
    recap: dict[str, int]
    told: str
    tasks: list[str]
    output: str

    def succeeded(self) -> HostRun:
        """Itself; fails the test where a task failed there."""
        assert not self.failed, self.output
        return self

    def tasks_with_a_module(self) -> list[str]:
        """Names of the tasks that asked the host for something."""
        words = ("Read ", "Apply ", "Create ", "Set the passwords", "Log in", "Inspect the env", "Write the")
        return [task for task in self.tasks if task.startswith(words)]


def run_on_hosts(
    playbook: Path, hosts: list[dict[str, Any]], *arguments: str, home: Path, variables: dict[str, Any] | None = None
) -> list[HostRun]:
    """Run a playbook on hosts that all are this machine, and say what became of each.

    Args:
        playbook: as run_playbook() takes it.
        hosts: variables of each host, as an inventory holds them.
        arguments: further arguments of ansible-playbook, such as "--check".
        home: home directory of the run.
        variables: extra variables of all.
    """
    names = [f"host{number}" for number in range(len(hosts))]
    command, environment = playbook_command(playbook, variables or {}, *arguments, home=home)
    inventory, results = home / "inventory.json", home / "results.jsonl"
    connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    group = {"hosts": dict(zip(names, hosts)), "vars": connection}
    inventory.write_text(json.dumps({"all": {"children": {"mission_control": group}}}), encoding="utf-8")
    command[command.index("-i") + 1] = str(inventory)
    results.write_text("", encoding="utf-8")
    environment.update(
        ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "tests/integration/callback_plugins"),
        ANSIBLE_CALLBACKS_ENABLED="host_results",
        HOST_RESULTS_PATH=str(results),
    )
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    output = done.stdout + done.stderr
    by_host: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
        found = by_host.setdefault(line["host"], {"told": [], "tasks": []})
        if "task" in line:
            found["tasks"].append(line["task"].split(" : ")[-1])
            found["told"].append(json.dumps(line.get("failure", line.pop("done", None)), ensure_ascii=False))
        found.update(line)
    assert sorted(by_host) == sorted(names), output
    return [_host_run(by_host[name], output) for name in names]


def _host_run(found: dict[str, Any], output: str) -> HostRun:
    counters = found["counters"]
    return HostRun(
        failed=bool(counters["failures"] or counters["unreachable"]),
        sentence=" ".join(str(found.get("failure", {}).get("msg", "")).split()),
        recap=counters,
        told="\n".join(found["told"]),
        tasks=found["tasks"],
        output=output,
    )
