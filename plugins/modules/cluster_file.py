#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_file
short_description: Write or remove a configuration file of a PostgreSQL cluster with the rights of its owner
version_added: "0.1.0"
description:
  - The configuration of a cluster on Debian lies in directories of the operating-system user that runs it. This module writes there with that user's
    rights, so that a link in the place of a file or directory leads root nowhere that this user could not go.
  - A file is put in place as a whole, with the mode of the one that was there.
  - Must run as root, or as O(owner).
options:
  path:
    description: Path of the file.
    type: path
    required: true
  owner:
    description: Operating-system user that owns the cluster.
    type: str
    required: true
  state:
    description: Whether the file is to be there.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: Content of the file. Needed for O(state=present).
    type: str
  encoding:
    description: How O(content) becomes bytes, as M(homelab.mission_control.cluster_info) returned it for a file that was read.
    type: str
    choices: [utf-8, latin-1]
    default: utf-8
  mode:
    description: Mode of a file that was not there before, in octal digits.
    type: str
    default: "0644"
  follow:
    description: Whether a link in the place of the file is followed, and its target written. Otherwise it is refused.
    type: bool
    default: false
  validate:
    description: A program and its arguments that judge a file before it is put in place, run as O(owner); C(%s) in them stands for its path.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Says whether something would be changed.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
seealso:
  - module: homelab.mission_control.cluster_info
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Set a parameter of a cluster
  homelab.mission_control.cluster_file:
    path: /etc/postgresql/17/main/conf.d/ours.conf
    owner: postgres
    content: |
      work_mem = '8MB'
  become: true
"""

RETURN = r"""
path:
  description: The file that was written, which is the target where O(path) is a link that was followed.
  type: str
  returned: success
  sample: /etc/postgresql/17/main/conf.d/ours.conf
"""

import os
import pwd
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.files import owned as files


def problem_of(params: dict[str, Any]) -> str:
    """What is wrong with the options, as a sentence; empty where nothing is."""
    path = params["path"]
    if not path.startswith("/") or not path.isprintable() or path != os.path.normpath(path):
        return f"path is {path!r}, but it must be the absolute path of a file."
    if not params["mode"].isdigit() or not params["mode"].isascii() or len(params["mode"]) > 4:
        return f"mode is {params['mode']!r}, but it must be octal digits such as 0644."
    if any(digit > "7" for digit in params["mode"]):
        return f"mode is {params['mode']!r}, but it must be octal digits such as 0644."
    if params["state"] == "present" and params["content"] is None:
        return "content is required if state is present."
    try:
        (params["content"] or "").encode(params["encoding"])
    except UnicodeEncodeError:
        return f"content cannot be written in {params['encoding']}."
    try:
        account = pwd.getpwnam(params["owner"])
    except (KeyError, ValueError):
        return f"owner is {params['owner']!r}, but there is no such user on this host."
    if os.geteuid() not in (0, account.pw_uid):
        return "cluster_file must run as root: set become to true for its task."
    return ""


def apply(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Bring the file about, unless that is only to be checked, and return the result of the module."""
    path, wanted = params["path"], None
    if params["state"] == "present":
        wanted = params["content"].encode(params["encoding"])
    with files.acting_as(params["owner"]):
        if wanted is not None:
            path = files.place_of(path, params["follow"])
        there = os.path.lexists(path)
        before = files.content_of(path) if wanted is not None or not os.path.islink(path) else None
    changed = before != wanted if wanted is not None else there
    if changed and not check:
        mode = int(params["mode"], 8)
        if wanted is not None and params["validate"]:
            # Beside the file, since the judge may look for what it names relative to its own place.
            with files.acting_as(params["owner"]):
                draft = f"{path}.mission_control-draft"
                files.remove(draft)
                files.write(draft, wanted, mode)
            try:
                problem = files.refusal(params["validate"], draft, path, params["owner"])
            finally:
                with files.acting_as(params["owner"]):
                    files.remove(draft)
            if problem:
                raise files.OwnedFileError(problem)
        with files.acting_as(params["owner"]):
            files.remove(path) if wanted is None else files.write(path, wanted, mode)
    shown = {"before": _text(before), "after": _text(wanted), "before_header": path, "after_header": path}
    return {"changed": changed, "path": path, "diff": shown}


def _text(content: bytes | None) -> str:
    return "" if content is None else files.decoded(content)[0]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "owner": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            # A setting may hold a password, which does not belong into the host's log.
            "content": {"type": "str", "no_log": True},
            "encoding": {"type": "str", "choices": ["utf-8", "latin-1"], "default": "utf-8"},
            "mode": {"type": "str", "default": "0644"},
            "follow": {"type": "bool", "default": False},
            "validate": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    # Else the difference would not show it.
    module.no_log_values.clear()
    problem = problem_of(module.params)
    if problem:
        module.fail_json(msg=problem)
    try:
        result = apply(module.params, module.check_mode)
    except files.OwnedFileError as error:
        module.fail_json(msg=str(error))
    except (OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=f"{module.params['path']} cannot be written: {error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
