# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: server_plan
short_description: Plan the changes after which a host runs the desired PostgreSQL cluster
version_added: "0.1.0"
description:
  - Compares what M(homelab.mission_control.cluster_info) found with the inputs of the role.
positional: wanted
options:
  _input:
    description: What the module returned.
    type: dict
    required: true
  wanted:
    description: The inputs of the role, as C(vars/main.yml) of P(homelab.mission_control.mission_control_postgresql#role) lists them.
    type: dict
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ (found | homelab.mission_control.server_plan(wanted)).actions }}"
"""

RETURN = r"""
_value:
  description: C(problems) with a sentence for each reason to do nothing, else C(actions) and the details of each action.
  type: dict
"""


def server_plan(info, wanted):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server import plan_server

    return plan_server(info, wanted)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"server_plan": server_plan}
