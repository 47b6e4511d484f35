"""Run ansible-inventory on a file of the inventory plugin, and read what it made of the database."""

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


@dataclass(frozen=True)
class InventoryRun:
    """What ansible-inventory did.

    Attributes:
        returncode: of the program.
        said: its standard error.
        groups: hosts of each group that has some itself.
        variables: of each host; what may not be a template is plain text here, other texts are {"template": text}.
        output: its standard output.
    """

    returncode: int
    said: str
    groups: dict[str, list[str]]
    variables: dict[str, dict[str, Any]]
    output: str


def list_inventory(
    options: dict[str, Any], *arguments: str, home: Path, database: Any = None, **environment: str
) -> InventoryRun:
    """Run it.

    Args:
        options: of the plugin, beside its name.
        arguments: further ones of ansible-inventory; inventories among them come before the plugin's.
        home: home directory of the run, where the file is written.
        database: whose login the environment gives; None for none.
        environment: further variables.
    """
    file = home / "hosts.yml"
    file.write_text(yaml.safe_dump({"plugin": "homelab.mission_control.hosts", **options}), encoding="utf-8")
    variables = {
        **environment_of(database),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "HOME": str(home),
        "COLUMNS": "10000",
        **environment,
    }
    command = [str(Path(sys.executable).with_name("ansible-inventory")), *arguments, "-i", str(file), "--list"]
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False)
    listed = json.loads(run.stdout) if run.returncode == 0 else {}
    hostvars = listed.pop("_meta", {}).get("hostvars", {})
    groups = {name: sorted(group["hosts"]) for name, group in listed.items() if group.get("hosts")}
    return InventoryRun(run.returncode, run.stderr, groups, _plain(hostvars), run.stdout)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return {"template": value} if isinstance(value, str) else value
    if set(value) == {"__ansible_unsafe"}:
        return value["__ansible_unsafe"]
    return {name: _plain(each) for name, each in value.items()}
