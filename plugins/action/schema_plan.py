# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the history of the schema on the host, and compare it with the files on the controller, in one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.schema import (
    plan_schema,
    read_history_statements,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.tools import (
    Registry,
    read_tools,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.schema.runner import RunnerSettings, read_outcome

_OPTIONS = {
    "directory": {"type": "path", "required": True},
    "connection": {"type": "dict", "required": True, "no_log": True},
    "site_directory": {"type": "str", "default": ""},
    "prices": {"type": "list", "elements": "dict", "default": []},
    "seed_prices": {"type": "bool", "default": True},
    "budgets": {"type": "list", "elements": "dict", "default": []},
    "registry": {"type": "bool", "default": False},
    "tools_file": {"type": "path", "default": ""},
    "tools": {"type": "list", "elements": "dict", "default": []},
    "policies": {"type": "list", "elements": "dict", "default": []},
    "tool_approvers": {"type": "dict", "default": {}, "no_log": True},
    "tool_requesters": {"type": "dict", "default": {}, "no_log": True},
    "schema": {"type": "str", "default": "public"},
    "owner_role": {"type": "str", "default": "mission_control_owner"},
    "audit_role": {"type": "str", "default": "mission_control_audit"},
    "lock_timeout": {"type": "int", "default": 5000},
}
_NO_SERVER: Mapping[str, Any] = {"server_version": "", "migrations": [], "repeatables": []}


def _registry(options: Mapping[str, Any]) -> Registry | None:
    if not options["registry"]:
        return None
    return Registry(
        read_tools(options["tools_file"]) if options["tools_file"] else (),
        options["tools"],
        options["policies"],
        options["tool_approvers"],
        options["tool_requesters"],
    )


class ActionModule(ActionBase):
    """Ask the database by the module postgresql_query, and return the plan."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_OPTIONS)
        settings = RunnerSettings(
            schema=options["schema"],
            owner_role=options["owner_role"],
            audit_role=options["audit_role"],
            lock_timeout_ms=options["lock_timeout"],
        )
        try:
            statements = read_history_statements(options["directory"], settings)
            # The checksums of tokens are for this comparison alone.
            asked = read_history_statements(options["directory"], settings, options["registry"])
            history = self._history({**options["connection"], "query": asked}, task_vars or {})
            plan = plan_schema(
                options["directory"],
                history,
                settings,
                options["site_directory"],
                options["prices"],
                options["budgets"],
                options["seed_prices"],
                _registry(options),
            )
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename} cannot be read: {error.strerror}.") from error
        result.update(
            changed=False,
            history_statements=statements,
            server_version=history["server_version"],
            server_version_num=history.get("server_version_num", 0),
            **plan,
        )
        return result

    def _history(self, arguments: dict[str, Any], variables: dict[str, Any]) -> Mapping[str, Any]:
        """What the database has recorded. In check mode there may be no server yet, nor the user to become."""
        try:
            answer = self._execute_module(
                module_name="community.postgresql.postgresql_query", module_args=arguments, task_vars=variables
            )
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            answer = {"failed": True, "msg": error.message}
        if "query_result" in answer:
            history: Mapping[str, Any] = answer["query_result"][0]["history"]
            return history
        if self._task.check_mode:
            return _NO_SERVER
        raise AnsibleActionFail(
            f"Cannot read the database {arguments['login_db']} on {arguments.get('login_host') or 'the local socket'}, port "
            f"{arguments['login_port']} as {arguments['login_user']}: {read_outcome(answer).failure}"
        )
