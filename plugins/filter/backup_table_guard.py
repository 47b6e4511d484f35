# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: backup_table_guard
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Write the SQL by which a backup checks the tables that it uses
description:
  - The program of P(homelab.mission_control.mission_control_backup#role) sends it before it reads the head of the audit log and records how a backup
    ended. It fails where these tables would run somebody's code in the session of the superuser.
options:
  _input:
    description: Schema of the tables.
    type: str
    required: true
  owner:
    description: Role that they belong to.
    type: str
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show the SQL
  ansible.builtin.debug:
    msg: "{{ 'public' | homelab.mission_control.backup_table_guard('mission_control_audit') }}"
"""

RETURN = r"""
_value:
  description: Statements for a transaction of psql.
  type: str
"""


def backup_table_guard(schema, owner):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.backup_tables import (
        table_guard,
    )

    return table_guard(schema, owner)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"backup_table_guard": backup_table_guard}
