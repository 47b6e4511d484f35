# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse inputs of a role that cannot be used, before the host is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs import role_variables

ROLES = Path(os.path.abspath(__file__)).parents[2] / "roles"


class ActionModule(ActionBase):
    """Evaluate the variables of roles on the controller, and judge them by their argument specs and by what the roles themselves check."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        roles = {"type": "list", "elements": "str", "required": True, "choices": sorted(role_variables.CHECKS)}
        _validation, arguments = self.validate_argument_spec({"roles": roles})
        result["changed"] = False
        problem = self._problem(arguments["roles"], task_vars or {})
        if problem:
            result.update(failed=True, msg=problem)
        return result

    def _problem(self, roles: Sequence[str], variables: Mapping[str, Any]) -> str:
        options = role_variables.options_of_roles(ROLES)
        known = set().union(*options.values())
        return (
            role_variables.misspelling_problem(variables, known)
            or self._rename_problem(variables)
            or self._input_problem({role: options[role] & variables.keys() for role in roles})
        )

    def _rename_problem(self, variables: Mapping[str, Any]) -> str:
        old = [name for name in role_variables.RENAMED if name in variables]
        # The default of a role is empty, and is set wherever the role is.
        replaced, _problem = self._values(role_variables.REPLACED.keys() & variables.keys())
        notices = [role_variables.rename_notice(name) for name in old]
        notices += [role_variables.replaced_notice(name) for name, value in replaced.items() if value not in ("", None)]
        for notice in notices:
            Display().deprecated(notice, version="0.3.0", collection_name="homelab.mission_control")
        values, problem = self._values({*old, *(role_variables.RENAMED[name] for name in old)} & variables.keys())
        return problem or role_variables.rename_problem(values)

    def _input_problem(self, names: Mapping[str, set[str]]) -> str:
        """What is wrong with variables, given the names of those of each role. A variable of several roles is evaluated once."""
        values, problem = self._values(set().union(*names.values()))
        inputs = {role: {name: values[name] for name in names[role]} for role in names} if not problem else {}
        return (
            problem
            or next(filter(None, (_specification_problem(role, inputs[role]) for role in inputs)), "")
            or next(filter(None, (role_variables.input_problem(role, inputs[role]) for role in inputs)), "")
        )

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


def _specification_problem(role: str, inputs: Mapping[str, Any]) -> str:
    """What Ansible itself says of inputs that do not fit the argument specs of the role, where it validates a role."""
    text = (ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options = yaml_load(text)["argument_specs"]["main"]["options"]
    errors = ArgumentSpecValidator(options).validate({name: inputs[name] for name in options if name in inputs})
    return "\n".join(["Validation of arguments failed:", *errors.error_messages]) if errors.error_messages else ""


def _whole(value: Any) -> Any:
    """A value with all that is in it: Ansible evaluates templates in lists and mappings when they are looked at."""
    if isinstance(value, Mapping):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(each) for each in value]
    return value
