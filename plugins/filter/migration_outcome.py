# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: migration_outcome
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Read the result of a migration run
description:
  - Reads the result of the task that ran statements of P(homelab.mission_control.schema_plan#module), failed or not.
options:
  _input:
    description: The registered result.
    type: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Say which migrations were applied
  ansible.builtin.debug:
    msg: "{{ (result | homelab.mission_control.migration_outcome).applied }}"
"""

RETURN = r"""
_value:
  description: The outcome.
  type: dict
  contains:
    locked_out:
      description: Whether another run held the lock, so that nothing was done.
      type: bool
    applied:
      description: Names of the migrations that were applied.
      type: list
      elements: str
    failure:
      description: One sentence on what failed, with PostgreSQL's message; empty where nothing did.
      type: str
    unanswered:
      description: Whether the connection ended under a statement, so that only the database knows whether its commit took place.
      type: bool
"""


def migration_outcome(result):
    from dataclasses import asdict

    from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import read_outcome

    outcome = read_outcome(result)
    return {**asdict(outcome), "applied": list(outcome.applied)}


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"migration_outcome": migration_outcome}
