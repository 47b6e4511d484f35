#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: schema_plan
short_description: Compare the SQL files of the schema with what a database has recorded
version_added: "0.2.0"
description:
  - Asks the database for its history by one connection, compares it on the controller with the migrations, the repeatable files and the price lists,
    and returns what is pending and the SQL that applies it. It changes nothing.
  - Where the database cannot be read it fails with one sentence. In check mode everything is pending then, since there may be no server yet.
options:
  directory:
    description: Directory on the controller that holds C(migrations/), C(repeatable/), C(seed/) and C(runner/) of the collection.
    type: path
    required: true
  connection:
    description: Options of M(community.postgresql.postgresql_query) that lead to the database.
    type: dict
    required: true
  site_directory:
    description: Directory of a homelab's own migrations, numbered from C(001) by themselves; empty for none.
    type: str
    default: ""
  prices:
    description: A homelab's own prices, in the form of C(seed/provider_pricing.yml). They are never overwritten by the seed.
    type: list
    elements: dict
    default: []
  seed_prices:
    description: Whether the price list that the collection brings is applied.
    type: bool
    default: true
  budgets:
    description: Budgets of the role, each with C(name), C(usd) and what it is limited to.
    type: list
    elements: dict
    default: []
  registry:
    description: Whether tools, policies and tokens are compared too; otherwise they are left alone.
    type: bool
    default: false
  tools_file:
    description: File with the tools that the collection brings, which those of O(tools) win over; empty for none.
    type: path
    default: ""
  tools:
    description: A homelab's own tools, with the keys of the entries in C(files/tools.yml).
    type: list
    elements: dict
    default: []
  policies:
    description: Policies, each with C(name), C(effect), and the C(tools) or C(risk_levels) that it covers.
    type: list
    elements: dict
    default: []
  tool_approvers:
    description: Tokens of those who decide on calls of tools, by their names. Neither they nor their checksums are returned.
    type: dict
    default: {}
  tool_requesters:
    description: Tokens of those who ask for calls of tools, in the same form.
    type: dict
    default: {}
  schema:
    description: PostgreSQL schema of all objects.
    type: str
    default: public
  owner_role:
    description: NOLOGIN role that owns the objects.
    type: str
    default: mission_control_owner
  audit_role:
    description: NOLOGIN role that owns the audit log.
    type: str
    default: mission_control_audit
  lock_timeout:
    description: How long a statement of a migration waits for a lock, in milliseconds, before the whole file is tried again.
    type: int
    default: 5000
attributes:
  action:
    description: Runs on the controller, which has the files, and asks the database from the host.
    support: full
  check_mode:
    description: Can run in check mode and tell what would change, without changing it.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in the form of a difference.
    support: none
author: Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: See what is pending
  homelab.mission_control.schema_plan:
    directory: files/sql
    connection: {login_db: mission_control, login_user: postgres}
  register: plan
"""

RETURN = r"""
history_statements:
  description: Statements for one connection; the last returns the history in a column C(history).
  returned: success
  type: list
  elements: str
server_version:
  description: Version of the server, empty where it could not be asked.
  returned: success
  type: str
server_version_num:
  description: The same as PostgreSQL's number, V(0) where it could not be asked.
  returned: success
  type: int
is_current:
  description: Whether nothing is pending and there is no problem.
  returned: success
  type: bool
problems:
  description: Sentences. Where there is one, nothing may be applied.
  returned: success
  type: list
  elements: str
applied:
  description: Number of migrations that are applied.
  returned: success
  type: int
pending:
  description: Names of the migrations to apply, in order.
  returned: success
  type: list
  elements: str
pending_repeatables:
  description: Names of the repeatable files and price lists that are not recorded as they are now, and of the functions, views and triggers
    that were changed since they were created. Further the budgets, tools, policies and names of tokens that are not as they should be.
  returned: success
  type: list
  elements: str
grants_statements:
  description: Statements for one transaction that record that the grants were applied; empty when that is recorded.
  returned: success
  type: list
  elements: str
batches:
  description: Lists of statements that apply the pending migrations, each for one connection in autocommit.
  returned: success
  type: list
  elements: list
run_id:
  description: Random UUID under which this plan records what it replaces.
  returned: success
  type: str
repeatable_script:
  description: One script that applies the repeatable files and price lists, and all that is compared but the tokens, which
    P(homelab.mission_control.with_tool_tokens#filter) adds; empty when none is pending.
  returned: success
  type: str
fill_statements:
  description: Statements, to be executed after all but the last of C(history_statements), that compute costs of usage whose prices have become
    known; the last returns their number in a column C(filled).
  returned: success
  type: list
  elements: str
status:
  description: The state of every migration, as lines of a table.
  returned: success
  type: list
  elements: str
"""
