# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: password_line
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Write a password file of libpq for one server, database and user
description:
  - The password is given to nobody but the server, the database and the user that the line names.
options:
  _input:
    description: The settings C(host), C(port), C(database) and C(user), as the program of the backups has them.
    type: dict
    required: true
  password:
    description: The password.
    type: str
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Write a password file
  ansible.builtin.copy:
    content: "{{ {'host': 'db', 'port': 5432, 'database': 'lab', 'user': 'me'} | homelab.mission_control.password_line(password) }}"
    dest: /root/.pgpass
    mode: "0600"
  no_log: true
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""


def password_line(settings, password):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs import (
        backup as backup_input,
    )

    return backup_input.password_line(
        settings["host"], settings["port"], settings["database"], settings["user"], password
    )


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"password_line": password_line}
