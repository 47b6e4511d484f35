# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: existing_server_problem
short_description: Explain why an existing server cannot be used
version_added: "0.1.0"
description:
  - Evaluates what M(community.postgresql.postgresql_query) returned for the query in C(files/existing_server.sql) of the role
    P(homelab.mission_control.mission_control_postgresql#role).
positional: wanted
options:
  _input:
    description: What the module returned, also if it failed.
    type: dict
    required: true
  wanted:
    description: The C(host), the C(port) and the C(administrator) that asked. An empty host is the local Unix socket.
    type: dict
    required: true
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Refuse an unusable server
  ansible.builtin.assert:
    that: >-
      answer | homelab.mission_control.existing_server_problem({'host': 'db', 'port': 5432, 'administrator': 'postgres'}) == ''
"""

RETURN = r"""
_value:
  description: One sentence, empty if the server can be used.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def existing_server_problem(answer: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.server import (
        OLDEST_VERSION,
    )

    administrator = wanted["administrator"]
    place = f"{wanted['host'] or 'the local Unix socket'}, port {wanted['port']},"
    rows = answer.get("query_result")
    if not rows:
        # Further lines repeat the first for another address or for a connection without TLS, or are about another one of several servers.
        causes = str(answer.get("msg") or "it gave no answer").splitlines()
        if "," in wanted["host"]:
            each = [line for line in causes[1:] if line.startswith("connection to server")]
            return f"No server of {place} can be used as {administrator}: {'; '.join([causes[0], *each])}"
        return f"The server at {place} cannot be used as {administrator}: {causes[0]}"
    row = rows[0]
    if row["version_number"] < OLDEST_VERSION * 10000:
        return f"The server at {place} is PostgreSQL {row['version']}, but {OLDEST_VERSION} or newer is needed."
    if row["in_recovery"]:
        return f"The server at {place} is a standby: name its primary instead."
    if row["superuser"]:
        return ""
    if not row["may_create_roles"]:
        return f"The administrator {administrator} of the server at {place} is not a superuser and lacks CREATEROLE: grant it, or use another administrator."
    if not row["may_create_databases"] and not row["has_database"]:
        return (
            f"The administrator {administrator} of the server at {place} lacks CREATEDB, and the database does not exist yet: grant it, "
            "or create the database."
        )
    return ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"existing_server_problem": existing_server_problem}
