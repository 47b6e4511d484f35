# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: inventory_parts
author: Mission Control maintainers (@homelab)
version_added: 0.2.0
short_description: Take the sources of the inventory apart into what a host gets
description:
  - Separates the secrets of the sources from the rest, and names the packages that their connectors need.
positional: directory, found, for_tools
options:
  _input:
    description: The sources, as P(homelab.mission_control.mission_control_inventory#role) takes them.
    type: list
    elements: dict
    required: true
  directory:
    description: Directory on the host for the secrets.
    type: path
    required: true
  found:
    description: What is there by path, as M(homelab.mission_control.service_info) describes it. A secret that no source has any more is to be removed.
    type: dict
    default: {}
  for_tools:
    description: Whether the host gets them for the executor of tools, with C(tool_options) over the options and C(tool_credentials) in the place of
      the secrets.
    type: bool
    default: false
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Say which packages the connectors need
  ansible.builtin.debug:
    msg: "{{ (sources | homelab.mission_control.inventory_parts('/etc/mission-control/inventory/credentials')).packages }}"
"""

RETURN = r"""
_value:
  description: C(file), the text of C(sources.json) without secrets; C(credentials), entries of the module files; C(names) of the files with secrets;
    C(packages); C(sockets), whether a source is a Unix socket.
  type: dict
"""


def inventory_parts(sources, directory, found=None, for_tools=False):
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.files.inventory import parts_of

    return parts_of(sources, directory, found or {}, for_tools)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"inventory_parts": inventory_parts}
