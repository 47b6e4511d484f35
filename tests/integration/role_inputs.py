"""Judge the inputs of a role in this process, by its own argument specs, variables and filters, as a play would."""

from __future__ import annotations

import functools
import pathlib

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.inputs.role_variables import (
    input_problem,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.provisioning.plans.server import plan_server
from hypothesis import reject

ROOT = pathlib.Path(__file__).parents[2]
_OF_A_SPEC = ("type", "choices", "elements", "required", "options")
# What the server's role would have found on a host.
HOST = {
    "distribution": {"id": "debian", "version": "13", "codename": "trixie", "name": "Debian GNU/Linux 13 (trixie)"},
    "systemd": True,
    "service_enabled": True,
    "memory_bytes": 2**33,
    "packages": {},
    "administrator_shell": "/bin/bash",
    "port_holder": None,
    "unregistered_data_directories": [],
    "unfinished_creation": None,
    "host_names": ["db"],
    "addresses": ["192.0.2.5"],
    "certificates": {"directory": "/etc/mission-control/postgresql", "authority": None, "pairs": []},
    "clusters": [],
}
ROLES = tuple(
    f"mission_control_{name}"
    for name in (
        "database",
        "schema",
        "service",
        "postgresql",
        "backup",
        "inventory",
        "maintenance",
        "standby",
        "tools",
    )
)


@functools.cache
def _loader():
    return DataLoader()


def _read(path):
    return _loader().load_from_file(str(ROOT / "roles" / path), trusted_as_template=True) or {}


@functools.cache
def options_of(role):
    """The options of a role, as its argument specs describe them."""
    options = {}
    for entry in _read(f"{role}/meta/argument_specs.yml")["argument_specs"].values():
        options.update(entry["options"])
    return options


@functools.cache
def _variables():
    variables = {"inventory_hostname": "db", "role_path": str(ROOT / "roles")}
    for role in ("mission_control_common", *ROLES):
        variables.update(_read(f"{role}/defaults/main.yml"))
        variables.update(_read(f"{role}/vars/main.yml"))
    # In this process the lookup that reads it is not at hand.
    variables["__mission_control_database_bundle_privileges"] = _loader().load_from_file(
        str(ROOT / "files/sql/privileges.yml")
    )
    variables["ansible_verbosity"] = 0
    variables["ansible_check_mode"] = variables["ansible_diff_mode"] = False
    return variables


def template(expression, inputs):
    """What an expression gives in a play of the roles with these inputs."""
    return Templar(loader=_loader(), variables={**_variables(), **inputs}).template(trust_as_template(expression))


def values_of(role, inputs):
    """The values that the options of a role have in a play with these inputs."""
    names = options_of(role).keys() & {*_variables(), *inputs}
    return template(f"{{{{ {{ {', '.join(f'{name!r}: {name}' for name in names)} }} }}}}", inputs)


def refusal(role, inputs):
    """Why the role would stop before it does anything, empty where it would go on: a sentence, or what Ansible says of wrong types."""
    options = {
        name: {key: value for key, value in option.items() if key in _OF_A_SPEC}
        for name, option in options_of(role).items()
        if name in inputs
    }
    try:
        judged = ArgumentSpecValidator(options).validate(inputs)
    except OverflowError:  # of a number that Ansible itself cannot take
        reject()
    if judged.error_messages:
        return " ".join(judged.error_messages)
    problem = input_problem(role, values_of(role, inputs))
    if (
        not problem
        and role == "mission_control_postgresql"
        and inputs.get("mission_control_postgresql_mode") != "existing"
    ):
        problem = " ".join(plan_server(HOST, template("{{ __mission_control_postgresql_wanted }}", inputs))["problems"])
    return problem
