"""Ansible loads every filter of a collection, in a process of its own, for each task that uses one: so their files are quick to load."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections.homelab.mission_control.plugins"
LOADED = f"""
import importlib, sys
importlib.import_module(sys.argv[1])
print(*(name for name in sys.modules if name.startswith(("{PACKAGE}.module_utils.", "cryptography"))))
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.py")))
def test_a_filter_loads_what_it_needs_when_it_is_used(name):
    command = [sys.executable, "-c", LOADED, f"{PACKAGE}.filter.{name}"]
    done = subprocess.run(command, cwd=ROOT / "collections", capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
