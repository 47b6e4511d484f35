# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules with a login support."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and tell what would change, without changing it.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in the form of a difference.
    support: none
  action_group:
    description: Use C(group/homelab.mission_control.all) in C(module_defaults) to set options for this module.
    support: full
    membership:
      - homelab.mission_control.all
    version_added: "0.1.0"
"""
