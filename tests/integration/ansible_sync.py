"""Run plays with inventory_sync on inventories of their own, and read what its tasks returned."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from command import environment_of
from playbook import ROOT

MODULE = "homelab.mission_control.inventory_sync"


@dataclass(frozen=True)
class SyncRun:
    """What a play did.

    Attributes:
        returncode: of ansible-playbook.
        tasks: what each task returned, by its name.
        output: all that was printed.
    """

    returncode: int
    tasks: dict[str, dict[str, Any]]
    output: str


def sync_task(name: str, options: dict[str, Any], database: Any, **keywords: Any) -> dict[str, Any]:
    """A task of a play that writes into a test's database, on the controller and once."""
    login = {
        "login_unix_socket": database.cluster.socket_directory,
        "login_port": database.cluster.port,
        "login_db": database.name,
        "login_user": "mission_control",
    }
    return {"name": name, MODULE: {**login, **options}, "delegate_to": "localhost", "run_once": True, **keywords}


def run_play(play: dict[str, Any], inventories: list[Path], *arguments: str, home: Path, **environment: str) -> SyncRun:
    """Run one play.

    Args:
        play: its keywords.
        inventories: in the order of their words.
        arguments: further ones of ansible-playbook.
        home: home directory of the run.
        environment: further variables.
    """
    playbook, results = home / "play.yml", home / "results.jsonl"
    playbook.write_text(json.dumps([{"name": "Sync", **play}]), encoding="utf-8")
    results.write_text("", encoding="utf-8")
    variables = {
        **environment_of(),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "HOME": str(home),
        "COLUMNS": "10000",
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/integration/callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "host_results",
        "HOST_RESULTS_PATH": str(results),
        **environment,
    }
    sources = [word for path in inventories for word in ("-i", str(path))]
    command = [str(Path(sys.executable).with_name("ansible-playbook")), *sources, str(playbook), *arguments]
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    tasks = {line["task"]: line.get("failure") or line.get("done") for line in lines if "task" in line}
    return SyncRun(run.returncode, tasks, run.stdout + run.stderr)


def write_inventory(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
