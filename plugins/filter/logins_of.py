# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: logins_of
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Tell of each role that is to log in what a host answered about it
description:
  - Matches the rows by their key and takes names from the roles alone, since a name becomes that of a file with a password on the controller,
    and a host that was taken over may answer with any.
positional: roles
options:
  _input:
    description: Rows that C(files/sql/plan/logins.sql) returned.
    type: list
    elements: dict
    required: true
  roles:
    description: Roles with C(key), C(name) and C(login).
    type: list
    elements: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: See which passwords are at hand
  ansible.builtin.set_fact:
    passwords: "{{ query('homelab.mission_control.login_passwords', rows | homelab.mission_control.logins_of(roles), directory='~/passwords') }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: One row for each role that is to log in and of which the host answered something.
  type: list
  elements: dict
"""


def logins_of(rows, roles):
    by_key = {str(row["key"]): row for row in rows}
    return [
        {
            "key": role["key"],
            "name": role["name"],
            **{name: by_key[role["key"]].get(name) for name in ("can_log_in", "verifier_readable", "verifier")},
        }
        for role in roles
        if role["login"] and role["key"] in by_key
    ]


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"logins_of": logins_of}
