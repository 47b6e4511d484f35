# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse inputs of a role that cannot be used, before the host is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs import role_variables

ROLES = Path(os.path.abspath(__file__)).parents[2] / "roles"


class ActionModule(ActionBase):
    """Evaluate the role's variables on the controller and ask its check about them."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {"role": {"type": "str", "required": True, "choices": sorted(role_variables.CHECKS)}}
        )
        result["changed"] = False
        problem = self._problem(arguments["role"], task_vars or {})
        if problem:
            result.update(failed=True, msg=problem)
        return result

    def _problem(self, role: str, variables: Mapping[str, Any]) -> str:
        options = role_variables.options_of_roles(ROLES)
        known = set().union(*options.values())
        return (
            role_variables.misspelling_problem(variables, known)
            or self._rename_problem(variables)
            or self._input_problem(role, options[role] & variables.keys())
        )

    def _rename_problem(self, variables: Mapping[str, Any]) -> str:
        old = [name for name in role_variables.RENAMED if name in variables]
        for name in old:
            Display().deprecated(
                role_variables.rename_notice(name), version="0.3.0", collection_name="homelab.mission_control"
            )
        values, problem = self._values({*old, *(role_variables.RENAMED[name] for name in old)} & variables.keys())
        return problem or role_variables.rename_problem(values)

    def _input_problem(self, role: str, names: Iterable[str]) -> str:
        values, problem = self._values(names)
        return problem or role_variables.input_problem(role, values)

    def _values(self, names: Iterable[str]) -> tuple[dict[str, Any], str]:
        """The values of variables, and what is wrong with the first that has none. It shows no part of the value, which may be a secret."""
        values: dict[str, Any] = {}
        for name in sorted(names):
            try:
                values[name] = _whole(self._templar.resolve_variable_expression(name))
            except AnsibleUndefinedVariable as error:
                return values, f"{name} has no value, since a variable in it has none: {error.message}"
            except AnsibleError:
                return (
                    values,
                    f"{name} has no value, since the template in it cannot be evaluated: correct it where it is set.",
                )
        return values, ""


def _whole(value: Any) -> Any:
    """A value with all that is in it: Ansible evaluates templates in lists and mappings when they are looked at."""
    if isinstance(value, Mapping):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(each) for each in value]
    return value
