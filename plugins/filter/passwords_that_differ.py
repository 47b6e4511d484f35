# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: passwords_that_differ
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Tell which logins have another password on the server
description:
  - Returns the logins whose password does not belong to the verifier that the server has for them. Logins without a verifier are left out.
positional: verifiers
options:
  _input:
    description: Logins with C(name) and C(password), as P(homelab.mission_control.login_passwords#lookup) returns them.
    type: list
    elements: dict
    required: true
  verifiers:
    description: Verifiers with C(name) and C(verifier), as the server returns them.
    type: list
    elements: dict
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Find the logins that another controller has given a password
  ansible.builtin.set_fact:
    outrun: "{{ generated | homelab.mission_control.passwords_that_differ(there) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: Those of the logins.
  type: list
  elements: dict
"""


def passwords_that_differ(logins, verifiers):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.scram import matches

    known = {str(each["name"]): str(each["verifier"]) for each in verifiers}
    return [
        login
        for login in logins
        if login["name"] in known and not matches(str(login["password"]), known[str(login["name"])])
    ]


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"passwords_that_differ": passwords_that_differ}
