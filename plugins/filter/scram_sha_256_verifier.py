# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: scram_sha_256_verifier
author: Mission Control maintainers (@homelab)
version_added: 0.1.0
short_description: Make the verifier that PostgreSQL stores for a password
description:
  - Computes on the controller what C(ALTER ROLE … PASSWORD) takes instead of a password in clear text, so that no log, no statistics view and no process list
    on the server ever holds the password.
  - Every call takes a new random salt. Do not compare verifiers; P(homelab.mission_control.login_passwords#lookup) tells whether one belongs to a password.
options:
  _input:
    description: The password.
    type: str
    required: true
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Set a password
  community.postgresql.postgresql_query:
    query: ALTER ROLE grafana PASSWORD %(verifier)s
    named_args:
      verifier: "{{ grafana_password | homelab.mission_control.scram_sha_256_verifier }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: The verifier, beginning with C(SCRAM-SHA-256$).
  type: str
"""

from ansible.errors import AnsibleFilterError


def scram_sha_256_verifier(password: str) -> str:
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.passwords.scram import (
        make_verifier,
    )

    try:
        return make_verifier(str(password))
    except ValueError as error:
        raise AnsibleFilterError(f"scram_sha_256_verifier: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"scram_sha_256_verifier": scram_sha_256_verifier}
