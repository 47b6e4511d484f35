#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Make directories and write files in one call
version_added: "0.2.0"
description:
  - Makes the directories and files of a list as it says, in its order, and changes nothing where they are so already.
  - A file is put in place as a whole. Links are refused; one on the way to a path is followed only where nobody but root can lay one.
  - In a directory that somebody else than root controls it acts with the rights of the entry's owner.
  - What a directory lies in is made as well where it is missing, with the same owner, group and mode.
options:
  files:
    description: Directories and files, each after what it lies in.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path. It may be empty where O(files[].state=unmanaged).
        type: str
        required: true
      state:
        description: What is to be there. V(absent) removes a file or link and no directory; V(unmanaged) leaves alone whatever is there.
        type: str
        choices: [file, directory, absent, unmanaged]
        default: file
      content:
        description: Text of the file, written in UTF-8.
        type: str
        default: ''
      owner:
        description: Name of the user that it belongs to.
        type: str
        default: root
      group:
        description: Name of the group that it belongs to.
        type: str
        default: root
      mode:
        description: Its mode in octal digits.
        type: str
        default: "0644"
      keep:
        description: Whether a file that is there keeps its content, and a directory that belongs to O(files[].owner) its group and mode.
        type: bool
        default: false
      secret:
        description: Whether the content is shown nowhere.
        type: bool
        default: false
      validate:
        description:
          - A program and its arguments that validate a new file before it is put in place; C(%s) in them stands for its path.
          - It runs with the rights with which the file is written, and not in check mode.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    description: Returns what would be done. Users, groups and directories that other tasks make may be missing then.
    support: full
  diff_mode:
    description: Shows each file before and after, but for the content of a secret one.
    support: full
seealso:
  - module: homelab.mission_control.cluster_file
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Write the settings of a program
  homelab.mission_control.files:
    files:
      - {path: /etc/example, state: directory, mode: "0755"}
      - path: /etc/example/settings.conf
        content: |
          colour = blue
      - path: /etc/example/password
        content: "{{ example_password }}"
        mode: "0600"
        secret: true
      - {path: /etc/example/of-an-earlier-version.conf, state: absent}
  become: true
"""

RETURN = r"""
changes:
  description: For each path that changed what was done, of V(make) (a directory), V(write), V(adjust) (owner, group or mode) and V(remove).
  type: dict
  returned: success
  sample: {/etc/example: make, /etc/example/settings.conf: write}
"""

import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.files import desired as desired_files
from ..module_utils.provisioning.files.owned import OwnedFileError

_NOT_SHOWN = "(not shown)"


def problem_of(entry: dict[str, Any]) -> str:
    """What is wrong with an entry, as a sentence; empty where nothing is."""
    path, mode = entry["path"], entry["mode"]
    if entry["state"] == "unmanaged":
        return ""
    if not path.startswith("/") or path == "/" or not path.isprintable() or path != os.path.normpath(path):
        return f"path is {path!r}, but it must be the absolute path of a file or directory."
    if not re.fullmatch(r"[0-7]{3,4}", mode, re.ASCII):
        return f"mode of {path} is {mode!r}, but it must be octal digits such as 0644."
    try:
        entry["content"].encode()
    except UnicodeEncodeError:
        return f"content of {path} cannot be written in UTF-8."
    return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                # Keeps all of it out of the host's log, and the secrets out of what Ansible says of a wrong option.
                "no_log": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "state": {
                        "type": "str",
                        "choices": ["file", "directory", "absent", "unmanaged"],
                        "default": "file",
                    },
                    "content": {"type": "str", "default": ""},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str", "default": "0644"},
                    "keep": {"type": "bool", "default": False},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                    "validate": {"type": "list", "elements": "str", "default": []},
                },
            },
        },
        supports_check_mode=True,
    )
    entries = module.params["files"]
    # From here on only secrets are censored, since the rest is what a difference shows.
    module.no_log_values.clear()
    module.no_log_values.update(entry["content"] for entry in entries if entry["secret"] and entry["content"])
    invocation = {"module_args": {"files": [{**entry, "content": _NOT_SHOWN} for entry in entries]}}
    try:
        for problem in filter(None, map(problem_of, entries)):
            raise OwnedFileError(problem)
        changes, differences = desired_files.apply(entries, module.check_mode)
    except OwnedFileError as error:
        module.fail_json(msg=str(error), invocation=invocation)
    shown = {"diff": differences} if module._diff else {}
    module.exit_json(changed=bool(changes), changes=changes, invocation=invocation, **shown)


if __name__ == "__main__":
    main()
