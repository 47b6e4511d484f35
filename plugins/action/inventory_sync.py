# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module inventory_sync: it alone has the inventory, the variables and the facts."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.inventory.manager import IGNORED
from ansible.plugins.action import ActionBase
from ansible.utils.path import unfrackpath
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.values import text_or_none
from ansible_collections.homelab.mission_control.plugins.module_utils.models.enums import HostType
from ansible_collections.homelab.mission_control.plugins.modules.inventory_sync import ARGUMENTS
from ansible_collections.homelab.mission_control.plugins.plugin_utils import ansible_hosts
from ansible_collections.homelab.mission_control.plugins.plugin_utils.vault import was_encrypted

MODULE = "homelab.mission_control.inventory_sync"
MACHINE_ID = "/etc/machine-id"
_SOURCE = re.compile(r"[a-z0-9_-]{1,63}")
_MEMORY = ("memory", "ansible.builtin.memory")
# A clock of a host that is a little behind the controller's does not make its facts old.
_CLOCKS_DIFFER = 300


class ActionModule(ActionBase):
    """Hand the hosts of the inventory to the module, which writes them where the database is."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(ARGUMENTS)
        self._refuse(options)
        hostvars = variables["hostvars"]
        manager = hostvars._inventory
        hosts = [
            each
            for each in manager.get_hosts(list(options["hosts"]), ignore_limits=True, ignore_restrictions=True)
            if not each.implicit
        ]
        if not hosts and not options["accept_disappearance"]:
            raise AnsibleActionFail(
                f"hosts is {', '.join(options['hosts'])}, which no host of the inventory is: change it, or set accept_disappearance "
                "where there really is none any more."
            )
        age = _seconds_since_start()
        gathered = _Gathered(variables, options, time.time() - age)
        for host in hosts:
            gathered.add(host, hostvars)
        for warning in gathered.warnings():
            self._display.warning(warning)
        arguments = dict(self._task.args)
        arguments["inventory"] = {
            "identity": options["identity"] or _identity(),
            "age": age,
            "hosts": gathered.rows,
            "skipped": gathered.skipped,
            "problem": _unparsed_problem(manager),
        }
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables))
        return result

    def _refuse(self, options: Mapping[str, Any]) -> None:
        """Say what is wrong before anything is looked at."""
        source = options["source"]
        if not _SOURCE.fullmatch(source):
            raise AnsibleActionFail(
                f"source is {source!r}, but the name of a source has at most 63 lower-case letters, digits, dashes and underscores."
            )
        for name in options["labels_from"]:
            problem = ansible_hosts.label_variable_problem(name)
            if problem:
                raise AnsibleActionFail(problem)


class _Gathered:
    """Rows of hosts, and what became none."""

    def __init__(self, variables: Mapping[str, Any], options: Mapping[str, Any], started: float) -> None:
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self._options = options
        self._started = started
        # A host that the play had at its beginning, and has no longer.
        self._lost = set(variables.get("ansible_play_hosts_all", ())) - set(variables.get("ansible_play_hosts", ()))
        self._encrypted: set[str] = set()
        self._evaluated: set[str] = set()

    def add(self, host: Any, hostvars: Any) -> None:
        name = str(host.name)
        reason = ansible_hosts.name_problem(name)
        variables = hostvars.raw_get(name)
        host_type = None
        if not reason and self._options["type_variable"] in variables:
            host_type, reason = self._type(hostvars, name)
        if reason:
            self.skipped.append({"external_id": text_or_none(name) or "?", "reason": reason})
            return
        facts = self._facts(variables)
        status = "online" if facts else "offline" if name in self._lost else "unknown"
        names = self._options["labels_from"]
        encrypted = {each for each in names if was_encrypted(variables.get(each))}
        groups = [each.name for each in host.get_groups() if each.name not in ("all", "ungrouped")]
        labels = ansible_hosts.host_labels(
            variables, names, encrypted, groups if self._options["groups_as_labels"] else None
        )
        self._encrypted |= encrypted
        self._evaluated |= {
            each for each in names if each in variables and each not in encrypted and each not in labels
        }
        self.rows.append(ansible_hosts.host_row(name, status, host_type, labels, facts))

    def _type(self, hostvars: Any, name: str) -> tuple[str | None, str]:
        """What the variable says, and what is wrong with it. It is evaluated, as it can be nothing else than one of a few words."""
        variable = self._options["type_variable"]
        try:
            value = hostvars[name][variable]
        except AnsibleError:
            return None, f"its variable {variable} cannot be evaluated"
        if value in get_args(HostType):
            return str(value), ""
        return None, f"its variable {variable} is none of {', '.join(get_args(HostType))}"

    def _facts(self, variables: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What was gathered in this run. A cache of facts may hold what an earlier one has gathered."""
        facts = variables.get("ansible_facts") or {}
        if not facts.get("module_setup"):
            return None
        if constants.CACHE_PLUGIN in _MEMORY:
            return facts
        try:
            gathered = float(facts["date_time"]["epoch"])
        except (KeyError, TypeError, ValueError):
            return None
        return facts if gathered > self._started - _CLOCKS_DIFFER else None

    def warnings(self) -> Iterable[str]:
        if self._encrypted:
            yield f"What Ansible Vault encrypts does not become a label, so {', '.join(sorted(self._encrypted))} is left out where it is encrypted."
        if self._evaluated:
            yield (
                f"A label is a text or a number as it is written, so {', '.join(sorted(self._evaluated))} is left out where it is "
                "a template, a structure or empty; set_fact makes a text of a template."
            )
        if self.skipped:
            more = f", and {len(self.skipped) - 1} more" if len(self.skipped) > 1 else ""
            first = self.skipped[0]
            yield f"The host {first['external_id']!r} is left as it is stored, since {first['reason']}{more}."


def _identity() -> str:
    """What tells this controller from others: a digest of its machine-id, as that itself is not to be handed out.

    Neither the path of the checkout nor those of the inventories are in it: a checkout that was moved is the same source.
    """
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            machine = file.read().strip()
    except (OSError, ValueError):
        machine = ""
    if not machine:
        raise AnsibleActionFail(
            f"This controller has no {MACHINE_ID}, by which its inventory is told from those of others: set identity to a name of your own, "
            "the same in each run."
        )
    return hashlib.sha256(f"{MODULE} {machine}".encode()).hexdigest()[:32]


def _seconds_since_start() -> float:
    """How long ago this run of Ansible began, which is when it read the inventory; 0 where the system does not tell."""
    try:
        with open(f"/proc/{os.getppid()}/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program stands in parentheses and may hold anything, spaces and parentheses too.
            started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _unparsed_problem(manager: Any) -> str | None:
    """A sentence that names the inventory sources which Ansible could not read, and went on without; None where there are none."""
    read = set(manager._inventory.processed_sources)
    missing = [each for source in manager._sources if source for each in _files_of(source) if each not in read]
    if not missing:
        return None
    return (
        f"Ansible could not read the inventory source {', '.join(missing)}, so nothing of it is marked as gone: mend it, or name only "
        "sources that can be read."
    )


def _files_of(source: str) -> Iterable[str]:
    """The sources that Ansible makes of one: itself, or each file of a directory that it does not ignore."""
    path = source if "," in source else unfrackpath(source, follow=False)
    if not os.path.isdir(path):
        yield path
        return
    for name in sorted(os.listdir(path)):
        if not IGNORED.search(os.fsencode(name)):
            yield from _files_of(os.path.join(path, name))
