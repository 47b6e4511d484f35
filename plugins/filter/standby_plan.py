# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: standby_plan
short_description: Plan what makes a standby, promotes it, or takes an old primary back
version_added: "0.3.0"
description:
  - Evaluates what M(homelab.mission_control.standby_info) found on the two hosts.
positional: wanted, kind
options:
  _input:
    description: What the module returned on each host, by the names of the hosts.
    type: dict
    required: true
  wanted:
    description: What the pair is to be.
    type: dict
    required: true
  kind:
    description: What is planned.
    type: str
    choices: [pair, promotion, rejoin, files]
    default: pair
  reachable:
    description: Of a promotion, whether the old primary's host can be reached.
    type: bool
    default: true
  switchover:
    description: Of a promotion, whether an old primary that runs may be stopped.
    type: bool
    default: false
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show why not
  ansible.builtin.debug:
    msg: "{{ (found | homelab.mission_control.standby_plan(wanted)).problems }}"
"""

RETURN = r"""
_value:
  description: C(problems) with a sentence if nothing may be done, C(actions) as sentences, and what to write.
  type: dict
"""


def standby_plan(found, wanted, kind="pair", *, reachable=True, switchover=False):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans import standby

    if kind == "promotion":
        return standby.plan_promotion(found, wanted, reachable=reachable, switchover=switchover)
    kinds = {"pair": standby.plan_pair, "rejoin": standby.plan_rejoin, "files": standby.plan_files}
    return kinds[kind](found, wanted)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"standby_plan": standby_plan}
