# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: backup_plan
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Decide what a host needs so that its database is backed up
description:
  - Compares what M(homelab.mission_control.backup_info) and M(homelab.mission_control.cluster_info) found with what is wanted.
positional: clusters, wanted
options:
  _input:
    description: What M(homelab.mission_control.backup_info) returned.
    type: dict
    required: true
  clusters:
    description: The clusters that M(homelab.mission_control.cluster_info) returned; none in the server mode C(existing).
    type: list
    elements: dict
    required: true
  wanted:
    description: What is wanted, as C(vars/main.yml) of P(homelab.mission_control.mission_control_backup#role) lists it.
    type: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Say what would be done
  ansible.builtin.debug:
    msg: "{{ (found | homelab.mission_control.backup_plan(server.clusters, wanted)).actions }}"
"""

RETURN = r"""
_value:
  description: C(problems) with a sentence for each reason to do nothing, else C(actions) and the details of each action,
    without the text of any file.
  type: dict
"""


def backup_plan(info, clusters, wanted):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.backup import plan_backup

    return plan_backup(info, clusters, wanted)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"backup_plan": backup_plan}
