# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: schema_input_problem
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Say what is wrong with the inputs of the role mission_control_schema
description:
  - Judges numbers, names, directories and prices of P(homelab.mission_control.mission_control_schema#role) before a server is asked.
options:
  _input:
    description: The role's variables by their names without the prefix, as C(vars/main.yml) of the role lists them.
    type: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Stop where an input cannot be used
  ansible.builtin.assert:
    that: inputs | homelab.mission_control.schema_input_problem == ''
"""

RETURN = r"""
_value:
  description: One sentence about the first problem, without the value of a password; empty where there is none.
  type: str
"""


def schema_input_problem(inputs):
    from ansible_collections.homelab.mission_control.plugins.module_utils.schema_input import input_problem

    return input_problem(inputs)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"schema_input_problem": schema_input_problem}
