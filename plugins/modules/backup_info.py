#!/usr/bin/python
# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Describe the backups of Mission Control's database on a host
version_added: "0.1.0"
description:
  - Returns in one call what the role P(homelab.mission_control.mission_control_backup#role) decides on, besides what
    M(homelab.mission_control.cluster_info) says of the server.
  - It changes nothing and works where nothing is set up. To see what a unit may do on this host it has systemd run a short-lived one that
    does nothing.
  - Must run as root, since configuration and repositories belong to other users.
options:
  user:
    description: Operating-system user that the backups run as.
    type: str
    default: postgres
  packages:
    description: Debian packages whose installed version is wanted, besides that of pgbackrest.
    type: list
    elements: str
    default: []
  paths:
    description: Files and directories to describe.
    type: list
    elements: path
    default: []
  units:
    description: Units of systemd to describe.
    type: list
    elements: str
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
  configuration:
    description: Configuration file of pgBackRest. Without it no repository is looked at.
    type: path
  stanza:
    description: Name of the cluster's backups in the repositories.
    type: str
    default: mission_control
  version:
    description: Major version of the cluster in O(data_directory).
    type: str
    default: ''
  data_directory:
    description: Data directory of which to tell the system identifier and whether it holds anything.
    type: path
  member:
    description: Where the server of this host that Patroni runs is looked for; its version and its O(data_directory) are those that count then.
    type: dict
    suboptions:
      socket_directory: {description: Directory of its Unix socket., type: path, required: true}
      port: {description: Its port., type: int, required: true}
      login: {description: A superuser of it., type: str, required: true}
  marker:
    description: File of root's in which a restore into O(data_directory) notes that it has begun.
    type: path
  dump_directory:
    description: Directory of the dumps.
    type: path
  database:
    description: Database whose dumps are listed.
    type: str
    default: mission_control
  heads:
    description: File in which the backups keep heads of the audit chain.
    type: path
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
- name: Look which backups there are
  homelab.mission_control.backup_info:
    configuration: /etc/pgbackrest/mission_control.conf
  become: true
  register: backups

- name: Name them
  ansible.builtin.debug:
    msg: "{{ backups.repositories.backups | map(attribute='label') }}"
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
paths:
  description: For each of O(paths) its kind, mode, owner, group, time of modification and SHA-256; V(null) where there is none.
  type: dict
  returned: success
units:
  description: For each of O(units) whether it is loaded, active, enabled, and changed since systemd has read it.
  type: dict
  returned: success
calendars:
  description: Those of O(calendars) that systemd does not take, and what it says of each.
  type: dict
  returned: success
sandbox:
  description: Whether O(sandbox) is in force for a unit on this host.
  type: bool
  returned: success
member:
  description:
    - The server that O(member) asks for, with what M(homelab.mission_control.cluster_info) says of a cluster and its C(settings) for archiving; C(problem) says
      why there is none. V(null) without O(member).
  type: dict
  returned: success
system_identifier:
  description: Identifier of the cluster in O(data_directory); empty where there is none.
  type: str
  returned: success
data_directory:
  description: Whether O(data_directory) is V(missing), V(empty), holds V(data) of PostgreSQL or V(other) files, or is a symbolic V(link).
  type: str
  returned: success
unfinished_restore:
  description: Whether a restore into O(data_directory) was V(begun), or was V(done) by a run that ended before it could say so; else empty.
  type: str
  returned: success
repositories:
  description: What pgBackRest says of its repositories.
  type: dict
  returned: success
  contains:
    problem: {description: Why they cannot be used; empty where they can., type: str}
    clusters: {description: "Clusters that each repository knows, with version and system identifier, oldest first.", type: list, elements: dict}
    backups: {description: "Backups with label, type, times in seconds since 1970, and the head of the audit chain kept with them.", type: list, elements: dict}
dumps:
  description: Path and kept head of each dump in O(dump_directory), the newest first.
  type: list
  elements: dict
  returned: success
heads:
  description: Backup and head of each line in O(heads).
  type: list
  elements: dict
  returned: success
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.facts import backup as facts
from ..module_utils.provisioning.facts import cluster as cluster_facts
from ..module_utils.provisioning.facts.service import user_exists, what_units_get
from ..module_utils.provisioning.files import desired as desired_files
from ..module_utils.provisioning.files.owned import acting_as


def describe(params: dict[str, Any]) -> dict[str, Any]:
    systemd = cluster_facts.systemd_runs()
    user, asked = params["user"], params["member"]
    member = facts.describe_member(asked["socket_directory"], asked["port"], asked["login"], user) if asked else None
    found = member if member and not member["problem"] else params
    directory, version = found["data_directory"], found["version"]
    packages = cluster_facts.installed_packages({*params["packages"], "pgbackrest"})
    nothing: dict[str, Any] = {"problem": "", "clusters": [], "backups": []}
    return {
        "systemd": systemd,
        "packages": packages,
        "paths": {path: desired_files.describe(path) for path in params["paths"]},
        "units": facts.describe_units(params["units"]) if systemd and params["units"] else {},
        "calendars": facts.calendar_problems(filter(None, params["calendars"])) if systemd else {},
        "sandbox": bool(systemd and params["sandbox"] and what_units_get(params["sandbox"])[0]),
        "member": member,
        "system_identifier": facts.system_identifier(version, directory, user) if directory else "",
        "unfinished_restore": facts.unfinished_restore(params["marker"], directory) if params["marker"] else "",
        "repositories": (
            facts.describe_repositories(params["configuration"], params["stanza"], user)
            if params["configuration"] and "pgbackrest" in packages
            else nothing
        ),
        **of_user(params),
    }


def of_user(params: dict[str, Any]) -> dict[str, Any]:
    """What lies in directories of the user that makes the backups, read with its rights: it may have put links there."""
    directory = params["data_directory"]
    if not user_exists(params["user"]):
        # Then nothing of it is there.
        return {"data_directory": "missing", "dumps": [], "heads": []}
    with acting_as(params["user"]):
        return {
            "data_directory": facts.directory_state(directory) if directory else "missing",
            "dumps": (
                facts.describe_dumps(params["dump_directory"], params["database"]) if params["dump_directory"] else []
            ),
            "heads": facts.kept_heads(params["heads"]) if params["heads"] else [],
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "postgres"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "path", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "calendars": {"type": "list", "elements": "str", "default": []},
            "sandbox": {"type": "list", "elements": "str", "default": []},
            "configuration": {"type": "path"},
            "stanza": {"type": "str", "default": "mission_control"},
            "version": {"type": "str", "default": ""},
            "data_directory": {"type": "path"},
            "member": {
                "type": "dict",
                "options": {
                    "socket_directory": {"type": "path", "required": True},
                    "port": {"type": "int", "required": True},
                    "login": {"type": "str", "required": True},
                },
            },
            "marker": {"type": "path"},
            "dump_directory": {"type": "path"},
            "database": {"type": "str", "default": "mission_control"},
            "heads": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="backup_info must run as root: set become to true for its task.")
    try:
        description = describe(module.params)
    except (cluster_facts.ProbeError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **description)


if __name__ == "__main__":
    main()
