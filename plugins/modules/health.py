#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health
short_description: Check the health of Mission Control's database
version_added: "0.1.0"
description:
  - Looks at the server, the database and the schema, by one connection and one read-only transaction, and says for each check whether it is a pass, a
    warning or a failure. It changes nothing.
  - What the login may not see is C(not visible), and what there was nothing to compare with is C(not checked). Neither is a pass. The
    administrator sees everything, C(mission_control_monitor) all but the contents of tables, and the application little of what other logins do.
  - The whole result is returned in every case, also when the check fails and when the server is down.
  - On the controller the migrations are read that this version of the collection brings, and with C(mission_control_schema_site_directory) a homelab's
    own. The database is compared with them.
options:
  fail_on:
    description:
      - "V(fail): the task fails if a check failed. V(warn): also if one warned. V(never): it fails only if an option is wrong."
    type: str
    choices: [fail, warn, never]
    default: fail
  expected_role:
    description: What the server must be, V(primary) or V(standby), or the check C(writable) fails; empty takes either.
    type: str
    choices: ["", primary, standby]
    default: ""
    version_added: "0.3.0"
  timeout:
    description: Seconds that all checks together may take. What was not answered by then is C(not checked).
    type: float
    default: 10
  manifest:
    description: What the migrations are compared with. The controller fills it in; give it only to compare with another version of the collection.
    type: dict
extends_documentation_fragment:
  - homelab.mission_control.attributes
  - homelab.mission_control.connection
  - homelab.mission_control.health
attributes:
  check_mode:
    details: Runs and returns the same in check mode.
  action:
    description: Has a part that runs on the controller.
    support: full
seealso:
  - module: homelab.mission_control.query
  - module: community.postgresql.postgresql_ping
author:
  - Mission Control maintainers (@homelab)
"""

EXAMPLES = r"""
# Ad hoc, with the login from the env file of the host:
#   ansible all -m homelab.mission_control.health --become
# As the administrator, who sees everything:
#   ansible all -m homelab.mission_control.health --become --become-user postgres

- name: Stop where the database is not healthy
  homelab.mission_control.health:

- name: Look at it as the administrator, over the local socket, and be strict
  homelab.mission_control.health:
    fail_on: warn
    thresholds:
      connections_warn: 0.5
      transaction_warn_seconds: 60
  become: true
  become_user: postgres

- name: Stop where the server is not the primary, or no standby follows it
  homelab.mission_control.health:
    expected_role: primary
    fail_on: warn
    thresholds:
      standbys_warn: 1

- name: Look at it and go on in any case
  homelab.mission_control.health:
    fail_on: never
  register: health

- name: Say what is not as it should be
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.message }}"
  loop: "{{ health.checks | selectattr('status', 'in', ['warn', 'fail']) }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
msg:
  description: The result in a sentence or a few; of checks that warned or failed their messages.
  type: str
  returned: always
  sample: "The health of the database is warn, 19 of 23 checks passed, 2 not checked. backups: The last backup is 37 h old."
status:
  description: The worst status among the checks that were carried out, V(pass), V(warn) or V(fail).
  type: str
  returned: always
  sample: pass
checked_at:
  description: When the check began, by the managed host's clock, in UTC and ISO 8601.
  type: str
  returned: always
  sample: "2026-02-06T07:08:09.123456+00:00"
duration_ms:
  description: Milliseconds that it took.
  type: float
  returned: always
counts:
  description: How many checks have each status.
  type: dict
  returned: always
  sample: {pass: 18, warn: 0, fail: 0, not visible: 2, not checked: 3}
checks:
  description: Every check, always in this order. Sizes are in bytes, ages in seconds, latencies in milliseconds, times in ISO 8601.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: One of those that the notes describe.
      type: str
      sample: connections
    status:
      description: V(pass), V(warn), V(fail), V(not visible) or V(not checked).
      type: str
      sample: pass
    message:
      description: A sentence for people.
      type: str
    data:
      description: The same for programs.
      type: dict
"""

import dataclasses
import datetime
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.database.connection_options import (
    CONNECTION_MUTUALLY_EXCLUSIVE,
    CONNECTION_OPTIONS,
    Login,
    login_from_options,
)
from ..module_utils.database.pool import Pool
from ..module_utils.errors import ConnectError, MissionControlError
from ..module_utils.health.check import check_health
from ..module_utils.health.registry import NAMES
from ..module_utils.health.replication import ROLES
from ..module_utils.health.report import Check, HealthReport
from ..module_utils.health.thresholds import DEFAULTS, Thresholds
from ..module_utils.schema.manifest import Manifest

THRESHOLDS = {name: {"type": "float", "default": default} for name, default in DEFAULTS.items()}
FAILS_ON = {"fail": ["fail"], "warn": ["fail", "warn"], "never": []}


def examine(params: dict[str, Any], login: Login) -> HealthReport:
    """The report, with the cure where the login did not work."""
    manifest = Manifest.from_dict(params["manifest"]) if params["manifest"] is not None else None
    thresholds = Thresholds(**(params["thresholds"] or {}))
    pool = Pool(login.settings)
    try:
        report = check_health(pool, manifest, thresholds, params["timeout"], params["expected_role"])
    finally:
        pool.close(0)
    first, *others = report.checks
    if first.data.get("error") == ConnectError.__name__:
        explained = dataclasses.replace(first, message=login.explain(first.message))
        return dataclasses.replace(report, checks=(explained, *others))
    return report


def refusal(message: str) -> HealthReport:
    """The report where an option was wrong, so that nothing was looked at."""
    checks = [Check("connection", "fail", message, {})]
    checks += [Check(name, "not checked", "There was no connection.", {}) for name in NAMES[1:]]
    return HealthReport.of(checks, datetime.datetime.now(datetime.timezone.utc), 0.0)


def summary(report: HealthReport) -> str:
    counts = report.counts
    rest = [f"{counts[status]} {status}" for status in ("not visible", "not checked") if counts[status]]
    passed = ", ".join([f"{counts['pass']} of {len(report.checks)} checks passed", *rest])
    if report.status == "pass":
        unchecked = [f" {check.message}" for check in report.checks if check.status == "not checked"]
        return f"The database is healthy: {passed}.{''.join(unchecked)}"
    found = [f"{check.name}: {check.message}" for check in report.checks if check.status in ("fail", "warn")]
    return f"The health of the database is {report.status}, {passed}. {' '.join(found)}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "fail_on": {"type": "str", "choices": list(FAILS_ON), "default": "fail"},
            "expected_role": {"type": "str", "choices": ["", *ROLES], "default": ""},
            "timeout": {"type": "float", "default": 10.0},
            "thresholds": {"type": "dict", "options": THRESHOLDS},
            # The manifest would fill the journal of the host at each check.
            "manifest": {"type": "dict", "no_log": True},
        },
        mutually_exclusive=CONNECTION_MUTUALLY_EXCLUSIVE,
        supports_check_mode=True,
    )
    # The manifest is no secret, and its names stand in the report.
    module.no_log_values = {module.params[name] for name in ("login_password", "url") if module.params[name]}
    try:
        login = login_from_options(
            module.params, os.environ, application_name="homelab.mission_control.health", pool_size=1
        )
        report = examine(module.params, login)
    except MissionControlError as error:
        module.fail_json(**{**refusal(str(error)).as_dict(), "msg": str(error)})
    result = {**report.as_dict(), "msg": summary(report), "changed": False}
    if report.status in FAILS_ON[module.params["fail_on"]]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
