# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: upgrade_plan
short_description: Plan the upgrade of the cluster that holds the database to a new major version
version_added: "0.1.0"
description:
  - Evaluates what M(homelab.mission_control.cluster_info) found.
positional: wanted
options:
  _input:
    description: What the module returned.
    type: dict
    required: true
  wanted:
    description: The C(database), the major version C(upgrade_to), and the same once more as C(upgrade_confirm).
    type: dict
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show why not
  ansible.builtin.debug:
    msg: "{{ (found | homelab.mission_control.upgrade_plan(wanted)).problems }}"
"""

RETURN = r"""
_value:
  description: C(problems) with a sentence if nothing may be done, C(needed), and the names of both clusters.
  type: dict
"""


def upgrade_plan(info, wanted):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.upgrade import plan_upgrade

    return plan_upgrade(info, wanted)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"upgrade_plan": upgrade_plan}
