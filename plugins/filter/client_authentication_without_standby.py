# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_authentication_without_standby
short_description: Take the rules of a standby out of pg_hba.conf
version_added: "0.3.0"
description:
  - Returns the file without the block of the role mission_control_standby.
options:
  _input:
    description: The file's content.
    type: str
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show the rest
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', '/etc/postgresql/17/main/pg_hba.conf') | homelab.mission_control.client_authentication_without_standby }}"
"""

RETURN = r"""
_value:
  description: The rest of the content.
  type: str
"""


def client_authentication_without_standby(content):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.standby import hba_without

    return hba_without(content)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"client_authentication_without_standby": client_authentication_without_standby}
