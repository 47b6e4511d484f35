# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: restore_plan
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Decide from which backup a cluster is restored and into what
description:
  - Compares what M(homelab.mission_control.backup_info) and M(homelab.mission_control.cluster_info) found with what is wanted.
  - Without O(choice) it chooses the backup, and with it, when the host was looked at again, it plans.
positional: server, wanted
options:
  _input:
    description: What M(homelab.mission_control.backup_info) returned.
    type: dict
    required: true
  server:
    description: What M(homelab.mission_control.cluster_info) returned.
    type: dict
    required: true
  wanted:
    description: What is wanted, as C(vars/main.yml) of P(homelab.mission_control.mission_control_backup#role) lists it.
    type: dict
    required: true
  choice:
    description: What the filter returned the first time.
    type: dict
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Say which backup it would be
  ansible.builtin.debug:
    msg: "{{ (found | homelab.mission_control.restore_plan(server, wanted)).backup.label }}"
"""

RETURN = r"""
_value:
  description: C(problems) with a sentence for each reason to do nothing, else the backup, the cluster and, with O(choice), C(actions)
    and the details of each action.
  type: dict
"""

import time


def restore_plan(info, server, wanted, choice=None):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans import restore as plans

    if wanted["method"] == "dump":
        return plans.choose_dump(info, wanted)
    if choice:
        return plans.plan_restore(info, server, choice, wanted)
    chosen = plans.choose_backup(info, wanted, time.time())
    return {**chosen, "directory": "" if chosen["problems"] else plans.data_directory(chosen, server["clusters"])}


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"restore_plan": restore_plan}
