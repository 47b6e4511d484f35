# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: missing_client_rules
short_description: List the rules that a foreign pg_hba.conf lacks
version_added: "0.2.0"
description:
  - Evaluates what M(community.postgresql.postgresql_query) returned for the query in C(files/client_rules.sql) of the role
    P(homelab.mission_control.mission_control_postgresql#role).
positional: wanted
options:
  _input:
    description: What the module returned, also if it failed or did not run.
    type: dict
    required: true
  wanted:
    description: The C(database), the C(logins) and the C(client_networks) that are to be let in, beside the address from which the server was asked.
    type: dict
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Show what Patroni's configuration lacks
  ansible.builtin.debug:
    msg: "{{ answer | homelab.mission_control.missing_client_rules({'database': 'lab', 'logins': ['lab'], 'client_networks': []}) }}"
"""

RETURN = r"""
_value:
  description: Lines of pg_hba.conf; none where all are there, or where that is not known.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def missing_client_rules(answer: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.client_rules import (
        missing_rules,
    )

    rows = answer.get("query_result")
    return missing_rules(rows[0]["found"], wanted) if rows else []


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"missing_client_rules": missing_client_rules}
