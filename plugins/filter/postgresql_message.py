# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_message
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Read what PostgreSQL said from a failed module
description:
  - The modules of community.postgresql put the whole SQL text and its arguments around PostgreSQL's message. This leaves the message, so that neither a long
    script nor a secret among the arguments is shown.
options:
  _input:
    description: The registered result.
    type: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Say why
  ansible.builtin.fail:
    msg: "{{ result | homelab.mission_control.postgresql_message }}"
  when: result is failed
"""

RETURN = r"""
_value:
  description: The message in one line; empty where there is none.
  type: str
"""


def postgresql_message(result):
    from ansible_collections.homelab.mission_control.plugins.module_utils.schema.postgresql_message import short_message

    return short_message(result)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"postgresql_message": postgresql_message}
