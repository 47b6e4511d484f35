#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_inputs
short_description: Refuse inputs of roles that cannot be used
version_added: "0.2.0"
description:
  - Evaluates the variables of roles of this collection on the controller and fails with one sentence about the first that cannot be used, before the
    host is looked at. Nothing is changed and no value of a secret is shown.
  - A variable that does not fit the argument specs of its role is refused in Ansible's words, so that a role may be imported with
    C(rolespec_validate=false).
  - A variable of the host that begins with C(mission_control_) and is nearly one of the collection's is refused as a misspelling. Others, such as those
    of a homelab's own, are left alone.
  - A variable that was renamed is taken for the new one for one more release, with a deprecation warning that says the new name.
options:
  roles:
    description: The roles whose variables are meant. The task stands in one of them, which brings the defaults, or imports them.
    type: list
    elements: str
    required: true
    choices:
      - mission_control
      - mission_control_backup
      - mission_control_database
      - mission_control_inventory
      - mission_control_maintenance
      - mission_control_postgresql
      - mission_control_schema
      - mission_control_service
      - mission_control_standby
      - mission_control_tools
attributes:
  action:
    description: Runs on the controller alone.
    support: full
  check_mode:
    description: Can run in check mode and tell what would change, without changing it.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in the form of a difference.
    support: none
author: Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Validate the inputs
  homelab.mission_control.check_inputs:
    roles: [mission_control_schema]
"""

RETURN = r"""
msg:
  description: Where the task fails, the sentence about the first input that cannot be used.
  returned: failure
  type: str
  sample: mission_control_schema_wait is 'soon', but it must be a whole number from 0 to 86400.
"""
