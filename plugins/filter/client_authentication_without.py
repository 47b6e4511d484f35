# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_authentication_without
short_description: Take the rules of one database out of pg_hba.conf
version_added: "0.1.0"
description:
  - Removes the blocks that the role P(homelab.mission_control.mission_control_postgresql#role) wrote for a database. Every other byte stays.
positional: database, encoding
options:
  _input:
    description: The file, as M(homelab.mission_control.cluster_info) returned it.
    type: str
    required: true
  database:
    description: Name of the database.
    type: str
    required: true
  encoding:
    description: The encoding that M(homelab.mission_control.cluster_info) returned with it.
    type: str
    default: utf-8
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show the file as it is without our rules
  ansible.builtin.debug:
    msg: "{{ (hba_content | homelab.mission_control.client_authentication_without('mission_control')).content }}"
"""

RETURN = r"""
_value:
  description: The file without these rules, and which other databases it has blocks of.
  type: dict
  contains:
    content: {description: The file., type: str}
    databases: {description: Names of the other databases., type: list, elements: str}
"""

from collections.abc import Callable
from typing import Any


def client_authentication_without(content: str, database: str, encoding: str = "utf-8") -> dict[str, Any]:
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server_hba import (
        hba_databases,
        hba_without,
    )

    rest = hba_without(content, database, encoding)
    return {"content": rest, "databases": hba_databases(rest)}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"client_authentication_without": client_authentication_without}
