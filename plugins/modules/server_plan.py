#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_plan
short_description: Plan the changes after which a host runs the desired PostgreSQL cluster
version_added: "0.2.0"
description:
  - Runs M(homelab.mission_control.cluster_info) on the host, and on the controller compares what it found with the inputs of the role. It changes nothing.
  - Where the inputs and the host do not go together it fails with a sentence for each reason.
options:
  inspect:
    description: The options of M(homelab.mission_control.cluster_info).
    type: dict
    required: true
  wanted:
    description: The inputs of the role, as C(vars/main.yml) of P(homelab.mission_control.mission_control_postgresql#role) lists them.
    type: dict
    required: true
attributes:
  action:
    description: Plans on the controller, and inspects the host.
    support: full
  check_mode:
    description: Can run in check mode and tell what would change, without changing it.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in the form of a difference.
    support: none
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Plan what the host needs
  homelab.mission_control.server_plan:
    inspect: {port: 5432}
    wanted: "{{ wanted }}"
  become: true
  register: plan
"""

RETURN = r"""
actions:
  description: A sentence for each change. Beside it are the details of each.
  returned: success
  type: list
  elements: str
msg:
  description: Where it fails, a sentence for each reason to do nothing.
  returned: failure
  type: str
"""
