#!/usr/bin/python
# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: Describe a host and a service of Mission Control on it
version_added: "0.1.0"
description:
  - Returns in one call what the roles P(homelab.mission_control.mission_control_service#role),
    P(homelab.mission_control.mission_control_inventory#role), P(homelab.mission_control.mission_control_tools#role) and
    P(homelab.mission_control.mission_control_maintenance#role) decide on.
  - It changes nothing and works where no part of the service is installed. To see what a unit may do on this host it has systemd run a
    short-lived one that does nothing.
  - Must run as root, since the files with secrets belong to root.
options:
  root:
    description: Directory of the releases; empty where there are none.
    type: path
    default: ""
  unit:
    description: Name of the unit, a service or a timer.
    type: str
    required: true
  user:
    description: Operating-system user of the service, whose group has the same name.
    type: str
    required: true
  address:
    description: IP address that the service listens on; empty where it listens on none.
    type: str
    default: ""
  port:
    description: TCP port that the service listens on; 0 where it listens on none.
    type: int
    default: 0
  packages:
    description: Debian packages whose installed version is wanted.
    type: list
    elements: str
    default: []
  paths:
    description: Files and directories to describe.
    type: list
    elements: path
    default: []
  directories:
    description: Directories of which everything that is there is described too.
    type: list
    elements: path
    default: []
  calendars:
    description: Calendars, in the words of systemd, of which to tell whether it takes them.
    type: list
    elements: str
    default: []
  sandbox:
    description: Properties of a unit, such as C(PrivateTmp=true), of which to tell whether they are in force here. Empty means not to try.
    type: list
    elements: str
    default: []
  wait:
    description: How many seconds to wait at most until a service that runs is ready.
    type: int
    default: 0
requirements:
  - Debian or a distribution made from it
attributes:
  check_mode:
    description: Runs and returns the same in check mode.
    support: full
  diff_mode:
    description: There is no difference to show, since nothing is changed.
    support: none
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Ask whether the service runs and is ready
  homelab.mission_control.service_info:
    root: /usr/local/lib/mission-control
    unit: mission-control.service
    user: mission-control-service
    address: 127.0.0.1
    port: 3000
  become: true
  register: service
"""

RETURN = r"""
systemd:
  description: Whether systemd is the running service manager.
  type: bool
  returned: success
packages:
  description: Versions of the asked packages that are installed, by name.
  type: dict
  returned: success
user_exists:
  description: Whether the user and its group exist.
  type: bool
  returned: success
release:
  description: Checksum of the release in use; empty where there is none.
  type: str
  returned: success
switched:
  description: When that release was put in use, in seconds since 1970; 0 where there is none.
  type: float
  returned: success
paths:
  description: For each of O(paths), and for all that is in O(directories), its kind, mode, owner, group, time of modification and SHA-256;
    V(null) where there is none.
  type: dict
  returned: success
unit:
  description: Whether systemd knows the unit, runs it, starts it at boot and has read its file, and when it was started.
  type: dict
  returned: success
  contains:
    loaded: {description: Whether there is a unit of this name., type: bool}
    running: {description: Whether it runs., type: bool}
    enabled: {description: Whether it starts when the host boots., type: bool}
    needs_reload: {description: Whether its file changed since systemd has read it., type: bool}
    started: {description: "When its main process, or the timer, was started, in seconds since 1970; 0 where it does not run.", type: float}
calendars:
  description: Those of O(calendars) that systemd does not take, and what it says of each.
  type: dict
  returned: success
holder:
  description: Process id and name of who else keeps the service from listening on O(address) and O(port); V(null) where nobody does.
  type: dict
  returned: success
sandbox:
  description: Whether O(sandbox) is in force for a unit on this host.
  type: bool
  returned: success
credentials:
  description: Whether a unit can be given credentials on this host.
  type: bool
  returned: success
live:
  description: Whether the service answers C(/live) with 200; of one without a port whether its unit runs.
  type: bool
  returned: success
ready:
  description: Status and JSON body of the service's answer to C(/ready); the status is 0 where nothing answers.
  type: dict
  returned: success
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.facts import cluster as cluster_facts
from ..module_utils.provisioning.facts import service as facts
from ..module_utils.provisioning.facts.backup import calendar_problems
from ..module_utils.provisioning.files import desired as desired_files
from ..module_utils.provisioning.releases import store as release_store


def describe(params: dict[str, Any]) -> dict[str, Any]:
    root, address, port = params["root"], params["address"], params["port"]
    systemd = cluster_facts.systemd_runs()
    release = release_store.current(root) if root else ""
    sandbox, credentials = facts.what_units_get(params["sandbox"]) if systemd and params["sandbox"] else (False, False)
    unit, live, ready = _state(params, systemd, time.monotonic() + params["wait"])
    listed = [os.path.join(each, name) for each in params["directories"] for name in _names_in(each)]
    return {
        "systemd": systemd,
        "packages": cluster_facts.installed_packages(params["packages"]),
        "user_exists": facts.user_exists(params["user"]),
        "release": release,
        "switched": os.lstat(os.path.join(root, "current")).st_mtime if release else 0.0,
        "paths": {path: desired_files.describe(path) for path in [*params["paths"], *listed]},
        "unit": unit,
        "calendars": calendar_problems(params["calendars"]) if systemd else {},
        "holder": facts.address_holder(address, port, params["user"]) if port else None,
        "sandbox": sandbox,
        "credentials": credentials,
        "live": live,
        "ready": ready,
    }


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _state(params: dict[str, Any], systemd: bool, deadline: float) -> tuple[dict[str, Any], bool, dict[str, Any]]:
    """The unit, whether it is alive, and its answer to /ready, once it is ready, or has ended, or the time is over."""
    while True:
        unit = facts.describe_unit(params["unit"]) if systemd else {}
        if not params["port"]:
            return unit, bool(unit and unit["running"]), {"status": 0, "body": None}
        live = facts.get(params["address"], params["port"], "/live")["status"] == 200
        ready = facts.get(params["address"], params["port"], "/ready") if live else {"status": 0, "body": None}
        if ready["status"] == 200 or (systemd and not unit["running"]) or time.monotonic() >= deadline:
            return unit, live, ready
        time.sleep(0.2)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": ""},
            "unit": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 0},
            "packages": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "path", "default": []},
            "directories": {"type": "list", "elements": "path", "default": []},
            "calendars": {"type": "list", "elements": "str", "default": []},
            "sandbox": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="service_info must run as root: set become to true for its task.")
    try:
        description = describe(module.params)
    except (cluster_facts.ProbeError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **description)


if __name__ == "__main__":
    main()
