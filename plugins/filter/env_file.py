# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: env_file
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Write variables as an env file
description:
  - The text is read the same way by a shell, by C(EnvironmentFile=) of systemd and by dotenv libraries. A value that they would not agree on is an error.
options:
  _input:
    description: Names and values.
    type: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Write an env file
  ansible.builtin.copy:
    content: "{{ {'POSTGRES_DB': 'mission_control'} | homelab.mission_control.env_file }}"
    dest: /etc/mission_control/database.env
    mode: "0600"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

from ansible.errors import AnsibleFilterError


def env_file(values) -> str:
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.env_file import render

    try:
        return render(values)
    except ValueError as error:
        raise AnsibleFilterError(f"An env file cannot be written: {error}.") from error


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"env_file": env_file}
