# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: given_certificate
short_description: Read the names and the end of a certificate, and check that a server could use it
version_added: "0.1.0"
description:
  - Reads a certificate and its private key on the controller, so that an unusable one is refused before anything is changed. Needs the Python
    library cryptography, which ansible-core brings along.
positional: private_key
options:
  _input:
    description: The certificate in PEM form, with those between it and its authority after it.
    type: str
    required: true
  private_key:
    description: Its private key in PEM form.
    type: str
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show the names in a certificate
  ansible.builtin.debug:
    msg: "{{ (certificate | homelab.mission_control.given_certificate(private_key)).names }}"
"""

RETURN = r"""
_value:
  description:
    - C(problem), the end of a sentence that says why it cannot be used, empty if it can; C(names), C(days_left), C(expires), and C(fingerprints), the
      SHA-256 of each certificate. Nothing of the key.
  type: dict
"""


def given_certificate(certificate, private_key):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.certificates import (
        given as certificates,
    )

    return certificates.given_certificate(certificate, private_key)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"given_certificate": given_certificate}
