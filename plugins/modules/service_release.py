#!/usr/bin/python
# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service_release
short_description: Put a release of the service in use
version_added: "0.1.0"
description:
  - Unpacks an archive of P(homelab.mission_control.service_release#lookup) into a directory named by its checksum, has the link C(current) point
    to it, and removes old releases. A run that is killed leaves the old release or the new one in use, never half of one.
  - It restarts nothing.
options:
  root:
    description: Directory that holds C(releases/) and C(current).
    type: path
    required: true
  checksum:
    description: Checksum of the release.
    type: str
    required: true
  archive:
    description: The archive in Base64. It is not looked at where the release is there already.
    type: str
    required: true
  keep:
    description: How many releases are kept, the one in use and the one before at least.
    type: int
    default: 2
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows the release before and after.
    support: full
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Put the release of this checkout in use
  homelab.mission_control.service_release:
    root: /usr/local/lib/mission-control
    checksum: "{{ release.checksum }}"
    archive: "{{ release.archive }}"
  become: true
"""

RETURN = r"""
removed:
  description: Checksums of the releases that were removed.
  type: list
  elements: str
  returned: success
"""

import base64
import binascii
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.releases import store


def put_in_use(params: dict[str, Any]) -> tuple[bool, list[str]]:
    """Return whether anything changed, and the removed releases."""
    root, checksum = params["root"], params["checksum"]
    unpacked = store.unpack(root, checksum, base64.b64decode(params["archive"]))
    switched = store.switch(root, checksum)
    removed = store.prune(root, params["keep"])
    return bool(unpacked or switched or removed), removed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "checksum": {"type": "str", "required": True},
            # Not a secret, but a hundred kilobytes that nobody wants to see in an output.
            "archive": {"type": "str", "required": True, "no_log": True},
            "keep": {"type": "int", "default": 2},
        },
        supports_check_mode=True,
    )
    root, checksum = module.params["root"], module.params["checksum"]
    before = store.current(root)
    diff = {"before": f"current -> {before or 'nothing'}\n", "after": f"current -> {checksum}\n"}
    if module.check_mode:
        module.exit_json(changed=before != checksum, removed=[], diff=diff)
    try:
        changed, removed = put_in_use(module.params)
    except binascii.Error:
        module.fail_json(msg="The archive is not Base64: give what the lookup service_release returns.")
    except store.ReleaseError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The release cannot be put in use: {error.filename}: {error.strerror}.")
    module.exit_json(changed=changed, removed=removed, diff=diff)


if __name__ == "__main__":
    main()
