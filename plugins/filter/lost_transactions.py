# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lost_transactions
short_description: Say what the log of an old primary has that its standby never got
version_added: "0.3.0"
description:
  - Puts into a sentence what M(homelab.mission_control.standby_info) returned as C(ahead).
positional: name
options:
  _input:
    description: What the log has after the position that the standby got; V(null) if that is not known.
    type: raw
    required: true
  name:
    description: Name of the old primary.
    type: str
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show what is lost
  ansible.builtin.debug:
    msg: "{{ found.ahead | homelab.mission_control.lost_transactions('one') }}"
"""

RETURN = r"""
_value:
  description: The sentence.
  type: str
"""


def lost_transactions(ahead, name):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.standby import (
        lost_sentence,
    )

    return lost_sentence(name, ahead)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"lost_transactions": lost_transactions}
