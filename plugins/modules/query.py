#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: query
short_description: Run SQL in one transaction, and say truthfully whether it changed anything
version_added: "0.1.0"
description:
  - Runs one statement, or several in one transaction. All are kept or, if one fails, none.
  - RV(ignore:changed) comes from what the server counted in this transaction, not from the kind of the statement. Rows inserted, updated and deleted
    count, those that functions and triggers wrote too, and rows of the system catalogues, so that a new table, a C(TRUNCATE), a C(GRANT), a comment,
    a large object or a change of a role counts. Partitions count as the tables that they are. A sequence that was set counts, and one from which a
    number was drawn, but for rows that an C(INSERT) did not insert in the end.
  - A row that is written anew with the same content counts, as by C(UPDATE … SET a = a), C(CREATE OR REPLACE) or a repeated C(GRANT), and so does what
    an exception block of a function undid again. Row locks, rows of temporary tables and settings do not count, although the rows that a new temporary
    table has in the catalogue do. A foreign table counts as soon as it is locked for writing.
  - What takes place outside of tables is not seen, such as C(NOTIFY), C(pg_reload_conf(\)) or a program that C(COPY) starts.
  - A server that counts nothing (C(track_counts) is off) tells only whether the transaction needed a number of its own. Then row locks count too.
options:
  query:
    description:
      - One statement. C(BEGIN), C(COMMIT) and the like are refused, as the module begins and ends the transaction.
      - What cannot run in a transaction, such as C(VACUUM), is for M(community.postgresql.postgresql_query) with its option C(autocommit).
    type: str
  positional_args:
    description:
      - Values for C(%s) in O(query), in order. Values never become part of the text. A C(%) that is no placeholder is doubled where there are values.
      - A list is sent as an array, a dictionary as JSON. A list as JSON is written with the filter P(ansible.builtin.to_json#filter).
    type: list
    elements: raw
  named_args:
    description: Values for C(%(name\)s) in O(query). As O(positional_args) otherwise.
    type: dict
  queries:
    description: Statements for one transaction, in order.
    type: list
    elements: dict
    suboptions:
      query:
        description: As O(query).
        type: str
        required: true
      positional_args:
        description: As O(positional_args).
        type: list
        elements: raw
      named_args:
        description: As O(named_args).
        type: dict
  fetch:
    description:
      - "V(all): every row, as RV(rows)."
      - "V(one): at most one row, as RV(row). More are an error, and nothing is kept."
      - "V(value): at most one row of one column, its value as RV(value). More are an error, and nothing is kept."
      - "V(none): no rows, only their number."
    type: str
    choices: [all, one, value, none]
    default: all
  read_only:
    description: Whether the server is to refuse everything that writes to a table.
    type: bool
    default: false
  statement_timeout:
    description: Seconds that a statement may take; without it what the server sets for the login.
    type: float
  lock_timeout:
    description: Seconds that a statement may wait for a lock; without it what the server sets for the login.
    type: float
extends_documentation_fragment:
  - homelab.mission_control.attributes
  - homelab.mission_control.connection
attributes:
  check_mode:
    details:
      - Runs the statements and rolls them back, RV(ignore:changed) tells what would have been. Sequences go on all the same, and constraints that are
        checked at the commit are not checked.
notes:
  - Parameters appear neither in the results and messages of this module nor in the log of the managed host.
seealso:
  - module: homelab.mission_control.health
  - module: community.postgresql.postgresql_query
author:
  - Mission Control maintainers (@homelab)
"""

EXAMPLES = r"""
- name: Read the hosts that are online
  homelab.mission_control.query:
    query: SELECT name, type, labels FROM hosts WHERE status = %s ORDER BY name
    positional_args: [online]
    read_only: true
  register: online

- name: Name them
  ansible.builtin.debug:
    msg: "{{ online.rows | map(attribute='name') | join(', ') }}"

- name: Note this host, once
  homelab.mission_control.query:
    query: INSERT INTO hosts (name, type) VALUES (%(name)s, %(type)s) ON CONFLICT DO NOTHING
    named_args: {name: "{{ inventory_hostname }}", type: vm}

- name: Ask for one number
  homelab.mission_control.query:
    query: SELECT count(*) FROM task_runs WHERE status = 'running'
    fetch: value
  register: running

- name: Queue a task with its run, or neither of them
  homelab.mission_control.query:
    queries:
      - query: INSERT INTO tasks (title, created_by) VALUES (%s, %s)
        positional_args: [Restart Plex, ansible]
      - query: >-
          INSERT INTO task_runs (task_id, user_prompt, status)
          SELECT id, %(prompt)s, 'queued' FROM tasks WHERE title = 'Restart Plex' ORDER BY created_at DESC LIMIT 1
        named_args: {prompt: Restart Plex now}
    fetch: none

- name: Ask as the administrator, over the local socket
  homelab.mission_control.query:
    query: SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname LIKE 'mission%%' AND rolcanlogin = %s
    positional_args: [true]
  become: true
  become_user: postgres
"""

RETURN = r"""
rows:
  description:
    - The rows, each a dictionary by column. Of several statements those of the last.
    - "Values lose nothing: C(numeric), C(uuid), C(inet), ranges and composite values are text as PostgreSQL writes it, times are ISO 8601, C(interval)
      is an ISO 8601 duration, C(bytea) is Base64, arrays are lists, C(json) is what it holds. What JSON cannot hold, such as C(NaN), C(infinity) or years
      before Christ, is PostgreSQL's text."
  type: list
  elements: dict
  returned: success, with O(fetch=all)
  sample: [{name: nas, type: bare-metal, labels: {rack: 1}}]
row:
  description: The only row, V(null) if there is none.
  type: dict
  returned: success, with O(fetch=one)
value:
  description: The only value, V(null) if there is no row.
  type: raw
  returned: success, with O(fetch=value)
row_count:
  description: Number of rows returned, or changed where none are returned; -1 if the server does not say. Of several statements that of the last.
  type: int
  returned: success
columns:
  description: Names of the columns, in order. Of several statements those of the last.
  type: list
  elements: str
  returned: success
results:
  description: "For each statement C(rows), C(row) or C(value) as above, C(row_count), C(columns), and C(status), the server's word for what it did."
  type: list
  elements: dict
  returned: success
  sample: [{rows: [], row_count: 1, columns: [], status: INSERT 0 1}]
sqlstate:
  description: PostgreSQL's code for what went wrong, V(null) where the server was not asked.
  type: str
  returned: failure
  sample: "23505"
constraint:
  description: The constraint that a row breaks, V(null) where there is none.
  type: str
  returned: failure
statement_number:
  description: Which statement failed, from 1; V(null) where it was not one of them.
  type: int
  returned: failure
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.database.connection_options import (
    CONNECTION_MUTUALLY_EXCLUSIVE,
    CONNECTION_OPTIONS,
    login_from_options,
)
from ..module_utils.errors import ConnectError, MissionControlError
from ..module_utils.query.statements import Statement, StatementError, StatementResult, run_statements

# no_log keeps them out of the log of the host.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "positional_args": {"type": "list", "elements": "raw", "no_log": True},
    "named_args": {"type": "dict", "no_log": True},
}
ONE_KIND_OF_ARGUMENTS = ["positional_args", "named_args"]


def wanted_statements(params: dict[str, Any]) -> list[Statement]:
    asked = [params] if params["query"] is not None else params["queries"] or []
    return [
        Statement(each["query"], each["positional_args"] if each["positional_args"] is not None else each["named_args"])
        for each in asked
    ]


def shown(result: StatementResult, fetch: str) -> dict[str, Any]:
    """A statement's result in the form that the option fetch asks for."""
    values: dict[str, Any] = {"columns": list(result.columns), "row_count": result.row_count}
    first = result.rows[0] if result.rows else None
    if fetch == "all":
        values["rows"] = result.rows
    elif fetch == "one":
        values["row"] = first
    elif fetch == "value":
        values["value"] = first[result.columns[0]] if first else None
    return values


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "query": {"type": "str"},
            **ARGUMENTS,
            "queries": {
                "type": "list",
                "elements": "dict",
                "no_log": True,
                "options": {"query": {"type": "str", "required": True}, **ARGUMENTS},
                "mutually_exclusive": [ONE_KIND_OF_ARGUMENTS],
            },
            "fetch": {"type": "str", "choices": ["all", "one", "value", "none"], "default": "all"},
            "read_only": {"type": "bool", "default": False},
            "statement_timeout": {"type": "float"},
            "lock_timeout": {"type": "float"},
        },
        mutually_exclusive=[
            *CONNECTION_MUTUALLY_EXCLUSIVE,
            ["query", "queries"],
            ONE_KIND_OF_ARGUMENTS,
            ["positional_args", "queries"],
            ["named_args", "queries"],
        ],
        required_one_of=[["query", "queries"]],
        supports_check_mode=True,
    )
    # Rows may well hold the same words as the parameters, and are not to be masked for it.
    module.no_log_values = {module.params[name] for name in ("login_password", "url") if module.params[name]}
    # Without this, -vvv would show them.
    hidden = {"invocation": {"module_args": {"fetch": module.params["fetch"], "read_only": module.params["read_only"]}}}
    failed = {**hidden, "sqlstate": None, "constraint": None, "statement_number": None}
    params = module.params
    try:
        login = login_from_options(
            params,
            os.environ,
            application_name="homelab.mission_control.query",
            statement_timeout=params["statement_timeout"],
            lock_timeout=params["lock_timeout"],
        )
    except MissionControlError as error:
        module.fail_json(msg=str(error), **failed)
    try:
        outcome = run_statements(
            login.settings, wanted_statements(params), params["fetch"], params["read_only"], keep=not module.check_mode
        )
    except StatementError as error:
        failed.update(sqlstate=error.sqlstate, constraint=error.constraint, statement_number=error.number)
        module.fail_json(msg=str(error), **failed)
    except ConnectError as error:
        module.fail_json(msg=login.explain(str(error)), **failed)
    except MissionControlError as error:
        module.fail_json(msg=str(error), **failed)
    results = [{**shown(each, params["fetch"]), "status": each.status} for each in outcome.results]
    module.exit_json(changed=outcome.changed, results=results, **shown(outcome.results[-1], params["fetch"]), **hidden)


if __name__ == "__main__":
    main()
