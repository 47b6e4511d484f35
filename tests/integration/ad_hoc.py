"""Run one module as `ansible all -m …` does, and read its result."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbook import ROOT


@dataclass(frozen=True)
class AdHocRun:
    """What `ansible` did: its exit code, all it printed, and the module's result."""

    returncode: int
    output: str
    result: dict[str, Any]


def ad_hoc(
    module: str,
    options: dict[str, Any] | None = None,
    *arguments: str,
    home: Path,
    variables: dict[str, str] | None = None,
    inventory: str | None = None,
    program: str = "ansible",
) -> AdHocRun:
    """Run a module of the collection on all hosts of an inventory.

    Args:
        module: its name within the collection.
        options: the module's.
        arguments: further arguments of ansible, such as "--check".
        home: home directory of the run.
        variables: further environment variables.
        inventory: the default inventory of the checkout unless another is given.
        program: the program to run, by its name in the virtual environment.
    """
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "HOME": str(home),
        **(variables or {}),
    }
    command = [str(Path(sys.executable).with_name(program)), "all", "-m", f"homelab.mission_control.{module}"]
    command += ["-a", json.dumps(options)] if options else []
    command += ["-i", inventory] if inventory else []
    run = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    found = re.search(r"^\S+ \| \w+!? => (\{.*^\}|\{.*\}$)", run.stdout, re.MULTILINE | re.DOTALL)
    return AdHocRun(run.returncode, run.stdout + run.stderr, json.loads(found[1]) if found else {})
