# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: with_tool_tokens
author: Mission Control maintainers (@homelab)
version_added: 0.2.0
short_description: Add what applies the tokens of tools to the script of a plan
description:
  - Adds a statement to the script of P(homelab.mission_control.schema_plan#module) that stores the checksums of tokens, which no plan shows.
positional: approvers, requesters, schema, owner_role, audit_role
options:
  _input:
    description: The script.
    type: str
    required: true
  approvers:
    description: Tokens of those who decide on calls of tools, by their names.
    type: dict
    required: true
  requesters:
    description: Tokens of those who ask for calls of tools, by their names.
    type: dict
    required: true
  schema:
    description: PostgreSQL schema of all objects.
    type: str
    required: true
  owner_role:
    description: NOLOGIN role that owns the objects.
    type: str
    required: true
  audit_role:
    description: NOLOGIN role that owns the audit log.
    type: str
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Copy the script to the host
  ansible.builtin.copy:
    content: "{{ plan.repeatable_script | homelab.mission_control.with_tool_tokens({'alice': token}, {}, 'public', 'owner', 'audit') }}"
    dest: /root/script.sql
    mode: "0600"
  no_log: true
"""

RETURN = r"""
_value:
  description: The script with that statement behind it.
  type: str
"""


def with_tool_tokens(script, approvers, requesters, schema, owner_role, audit_role):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.tools import (
        Registry,
        token_step,
    )
    from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import (
        RunnerSettings,
        script_with,
    )

    settings = RunnerSettings(schema, owner_role, audit_role)
    return script_with(script, token_step(Registry(approvers=approvers, requesters=requesters), settings), settings)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"with_tool_tokens": with_tool_tokens}
