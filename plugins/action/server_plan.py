# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect the host, and plan on the controller what it needs, in one task."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server import plan_server


class ActionModule(ActionBase):
    """Run the module cluster_info, and return the plan."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        required = {"type": "dict", "required": True}
        _validation, options = self.validate_argument_spec({"inspect": required, "wanted": required})
        found = self._execute_module(
            module_name="homelab.mission_control.cluster_info", module_args=options["inspect"], task_vars=task_vars
        )
        if found.get("failed"):
            return {**result, **found}
        plan = plan_server(found, options["wanted"])
        if plan["problems"]:
            result.update(failed=True, msg=" ".join(plan["problems"]))
        return {**result, **plan, "changed": False}
