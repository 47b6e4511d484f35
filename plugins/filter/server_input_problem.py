# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: server_input_problem
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Say what is wrong with the inputs of the role mission_control_postgresql
description:
  - Judges names, networks, settings and certificates of P(homelab.mission_control.mission_control_postgresql#role) before the host is looked at.
options:
  _input:
    description: The variables by their names without the role's prefix, as C(vars/main.yml) of the role lists them.
    type: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Stop where an input cannot be used
  ansible.builtin.assert:
    that: inputs | homelab.mission_control.server_input_problem == ''
"""

RETURN = r"""
_value:
  description: One sentence about the first problem, without a key; empty where there is none.
  type: str
"""


def server_input_problem(inputs):
    from ansible_collections.homelab.mission_control.plugins.module_utils.server_input import input_problem

    return input_problem(inputs)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"server_input_problem": server_input_problem}
