"""Surroundings of the tests' own: nothing that a machine or its user has set reaches a test or a process that it starts.

A machine may have been provisioned by this very collection, so its own env file, passwords and server are there to be met.
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from pathlib import Path

# All else goes. Proxies, authorities and pip's index are how this machine reaches the network at all.
_KEPT = re.compile(
    r"PATH|TMPDIR|TERM|USER|LOGNAME|CI|(?:https?|no|all|ftp)_proxy|(?:HTTPS?|NO|ALL|FTP)_PROXY|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|PIP_.*|PYTEST_ADDOPTS|MISSION_CONTROL_(?:TEST|ATTACK)_.*"
)
_LIBRARIES = ("ansible_collections.homelab.mission_control.plugins.module_utils", "mission_control")


def own_environment(home: Path) -> dict[str, str]:
    """The variables of a test process whose home directory is `home`."""
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    return {
        **kept,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        # An empty file: of the library's own places it is the one that comes before /etc/mission-control/database.env.
        "MISSION_CONTROL_ENV_FILE": os.devnull,
        # No directory: runs of playbooks are not recorded, and no process is started that loads them.
        "MISSION_CONTROL_RECORDER_SPOOL": os.devnull,
    }


def settle() -> Path:
    """Give this process, and all that it starts, surroundings of its own; returns the home directory, which is to be removed."""
    home = Path(tempfile.mkdtemp(prefix="mission-control-tests-"))
    # The checkout may belong to another user than the one that runs its tests.
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
    environment = own_environment(home)
    os.environ.clear()
    os.environ.update(environment)
    os.umask(0o022)
    for library in _LIBRARIES:
        for module in ("database.settings", "database.connection_options"):
            # For what is called in this process with an environment that a test has made.
            importlib.import_module(f"{library}.{module}").DEFAULT_ENV_FILE = str(home / "no.env")
    return home
