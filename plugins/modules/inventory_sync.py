#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_sync
short_description: Write the hosts of any Ansible inventory into Mission Control's database
version_added: "0.2.0"
description:
  - Takes the hosts of the inventory that the playbook runs with, whichever plugins it comes from, on the controller, and writes them into the table
    C(hosts) on the managed host, whose database listens on localhost by default. A second run writes nothing.
  - A host is known by its name in the inventory. One that is no longer there is marked as gone, never deleted, and rows of other sources are not
    touched. All hosts count that O(hosts) matches, whatever C(--limit) or the play says.
  - Where Ansible could not read one of the inventory sources nothing is marked as gone, and the task fails after what there is has been written. Ansible
    itself only warns of it.
  - Where more than 30 % of the hosts and more than five would be gone, or all of them, nothing is marked as gone and the task fails, until
    O(accept_disappearance) says that it is true.
  - A host is C(online) when its facts were gathered in this run, C(offline) when the play lost it before that, as one that cannot be reached, and
    C(unknown) otherwise. So gather facts in the same play. Without facts the address, the operating system, processors and memory stay as they are stored.
  - What is written is the host's name, type, status and address, its labels, and of its facts the operating system, the numbers of processors and bytes
    of memory, and a list of those that tell machines apart. No other variable is, none that begins with C(ansible_) and nothing of the environment.
options:
  source:
    description: Name of this inventory among the sources in the database. Lower-case letters, digits, dashes and underscores.
    type: str
    required: true
  hosts:
    description: Patterns of the hosts that are the inventory.
    type: list
    elements: str
    default: [all]
  type_variable:
    description:
      - Name of a variable that says what a host is, V(proxmox-node), V(vm), V(lxc-container), V(k8s-node), V(docker-host) or V(bare-metal).
      - A host without it is what its facts say, a V(vm), an V(lxc-container) (any container) or V(bare-metal). Without facts it stays what is stored, and a
        new one is V(bare-metal).
    type: str
    default: mission_control_host_type
  labels_from:
    description:
      - Names of variables that become labels, as they are written. Those of text and numbers do. Templates are not evaluated and left out with a warning.
      - Names that begin with C(ansible_) or sound like a secret are refused. A value that Ansible Vault encrypts, or a file that it encrypts holds, is left
        out with a warning.
    type: list
    elements: str
    default: []
  groups_as_labels:
    description: Whether the groups of a host become its label C(groups), a list.
    type: bool
    default: true
  identity:
    description:
      - What tells this inventory from others, so that two of them do not write as one source in turns. Another one than the last time is refused.
      - Without it, it is a digest of the controller's C(/etc/machine-id). Give it where several controllers use the same inventory, as from a repository, or
        run in containers.
    type: str
  accept_disappearance:
    description: Whether hosts are marked as gone however many they are.
    type: bool
    default: false
  accept_identity:
    description: Whether another identity than the last time is taken over.
    type: bool
    default: false
  inventory:
    description: The hosts. The controller fills it in; it is not to be given.
    type: dict
extends_documentation_fragment:
  - homelab.mission_control.attributes
  - homelab.mission_control.connection
attributes:
  diff_mode:
    support: full
  action:
    description: Has a part that runs on the controller.
    support: full
notes:
  - What an inventory plugin does not say is not there. A plugin that swallows an error and lists fewer hosts is caught only by the share of hosts that
    would be gone.
seealso:
  - plugin: homelab.mission_control.hosts
    plugin_type: inventory
author:
  - Mission Control maintainers (@homelab)
"""

EXAMPLES = r"""
- name: Write the inventory into Mission Control
  hosts: all
  tasks:
    - name: Write all hosts with their facts
      homelab.mission_control.inventory_sync:
        source: ansible-main
        labels_from: [site, rack]
      delegate_to: db.home.arpa
      run_once: true
      become: true

- name: Write what Docker runs as hosts, from its inventory plugin
  hosts: db.home.arpa
  gather_facts: false
  become: true
  tasks:
    - name: Write the containers
      homelab.mission_control.inventory_sync:
        source: docker-by-ansible
        hosts: docker_hosts
"""

RETURN = r"""
msg:
  description: What became of it, in a sentence or a few.
  type: str
  returned: always
  sample: "ansible-main: succeeded, hosts: 3 added, 2 unchanged."
outcome:
  description:
    - V(succeeded), or V(failed) where something is wrong; what could be taken over is taken over then all the same.
    - V(superseded) where a run whose inventory was read later has written already, and this one wrote nothing.
  type: str
  returned: where the database was asked
counts:
  description: Numbers of hosts that are C(added), C(changed), C(gone), C(back), C(unchanged) and C(skipped).
  type: dict
  returned: where rows were compared
  sample: {added: 3, changed: 0, gone: 0, back: 0, unchanged: 2, skipped: 0}
differences:
  description: The hosts that come, go or change, by name, and which columns of theirs; 100 at most.
  type: list
  elements: dict
  returned: where the database was asked
  sample: [{kind: hosts, change: changed, external_id: web1, name: web1, columns: [os], recreated: false}]
left_as_stored:
  description: The hosts that are left as they are stored, and why; 100 at most.
  type: list
  elements: dict
  returned: where the database was asked
task_run_id:
  description: The run in C(task_runs) that this sync is; none in check mode.
  type: str
  returned: where the database was asked
"""

import datetime
import os
from dataclasses import asdict
from decimal import Decimal
from typing import Any, get_args

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.client.client import Client
from ..module_utils.client.queries import Queries
from ..module_utils.database.connection_options import (
    CONNECTION_MUTUALLY_EXCLUSIVE,
    CONNECTION_OPTIONS,
    login_from_options,
)
from ..module_utils.errors import ConnectError, MissionControlError
from ..module_utils.inventory.runs import add_source
from ..module_utils.inventory.snapshot import HostRow, Listing, Skipped, Snapshot
from ..module_utils.inventory.sync import SyncResult, sync
from ..module_utils.models.enums import HostType

NAME = "homelab.mission_control.inventory_sync"
ARGUMENTS: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "source": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "str", "default": ["all"]},
    "type_variable": {"type": "str", "default": "mission_control_host_type"},
    "labels_from": {"type": "list", "elements": "str", "default": []},
    "groups_as_labels": {"type": "bool", "default": True},
    "identity": {"type": "str"},
    "accept_disappearance": {"type": "bool", "default": False},
    "accept_identity": {"type": "bool", "default": False},
    # The hosts would fill the journal of the managed host at each run.
    "inventory": {"type": "dict", "no_log": True},
}
TOGETHER = datetime.timedelta(minutes=1)
TYPE_OF_UNKNOWN = "bare-metal"


def register(queries: Queries, source: str) -> None:
    """Tell the database of a source that it does not know yet, and of the task whose runs its syncs are."""
    add_source(queries, source, "ansible", f"Takes over the Ansible inventory {source}.", NAME)


def when_read(queries: Queries, source: str, age: float) -> datetime.datetime:
    """When the inventory was read, by the database server's clock: when the run of Ansible began.

    Of two runs the one that began later is to win, also where it writes before the other. How long the hosts were under way is not known,
    so two syncs of one run, or of runs that began together, would seem to be in any order: of these the one that writes later wins.
    """
    row = queries.query_one(
        "SELECT clock_timestamp() AS now, (SELECT s.last_observed_at FROM inventory_sources AS s WHERE s.name = %s) AS last",
        [source],
    )
    if row is None:
        raise AssertionError("a clock has a time")
    read_at: datetime.datetime = row["now"] - datetime.timedelta(seconds=age)
    last = row["last"]
    if last is not None and datetime.timedelta(0) <= last - read_at < TOGETHER:
        return min(last + datetime.timedelta(microseconds=1), row["now"])
    return read_at


def stored_types(queries: Queries, source: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The types of hosts by external_id of which this run does not tell it."""
    names = [row["external_id"] for row in rows if row["type"] is None]
    if not names:
        return {}
    found = queries.query_many(
        "SELECT external_id, type FROM hosts WHERE source = %s AND external_id = ANY (%s)", [source, names]
    )
    return {row["external_id"]: row["type"] for row in found}


def snapshot_of(source: str, inventory: dict[str, Any], read_at: datetime.datetime, types: dict[str, str]) -> Snapshot:
    """What the controller gathered, as the writer takes it.

    Args:
        source: its name.
        inventory: what the action made.
        read_at: when, by the database server's clock.
        types: of hosts that are stored, by external_id.
    """
    hosts = [_host_row(row, types) for row in inventory["hosts"]]
    skipped = [Skipped(each["external_id"], each["external_id"], each["reason"]) for each in inventory["skipped"]]
    listing = Listing("hosts", get_args(HostType), tuple(hosts), inventory["problem"], tuple(skipped))
    return Snapshot(
        source=source,
        connector="ansible",
        identity=inventory["identity"],
        cluster=None,
        observed_at=read_at,
        listings=(listing,),
    )


def _host_row(row: dict[str, Any], types: dict[str, str]) -> HostRow:
    cores = row.get("cpu_cores")
    return HostRow(
        **{
            **row,
            "type": row["type"] or types.get(row["external_id"], TYPE_OF_UNKNOWN),
            "cpu_cores": Decimal(cores) if cores else None,
            "unknown": tuple(row["unknown"]),
        }
    )


def write(client: Client, params: dict[str, Any], check: bool) -> SyncResult:
    """Sync what the controller gathered, or only say what would change."""
    source, inventory = params["source"], params["inventory"]
    read_at = when_read(client, source, inventory["age"])
    snapshot = snapshot_of(source, inventory, read_at, stored_types(client, source, inventory["hosts"]))
    if not check:
        register(client, source)
    return sync(
        client,
        snapshot,
        check=check,
        accept_disappearance=params["accept_disappearance"],
        accept_identity=params["accept_identity"],
        requested_by=NAME,
        register=lambda transaction: register(transaction, source),
    )


def difference(result: SyncResult) -> dict[str, str]:
    """What comes, goes and changes, in the form of a difference."""
    before, after = [], []
    for each in result.differences:
        line = each.name
        if each.change in ("changed", "gone"):
            before.append(line)
        if each.change == "changed":
            after.append(f"{line} with another {', '.join(each.columns)}")
        elif each.change in ("added", "back"):
            after.append(line)
    return {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS, mutually_exclusive=CONNECTION_MUTUALLY_EXCLUSIVE, supports_check_mode=True
    )
    # The hosts are no secret, and their names stand in the result.
    module.no_log_values = {module.params[name] for name in ("login_password", "url") if module.params[name]}
    if module.params["inventory"] is None:
        module.fail_json(msg=f"The controller has handed over no hosts: call the module as {NAME}.")
    login = None
    try:
        login = login_from_options(module.params, os.environ, application_name=NAME, pool_size=2)
        with Client(settings=login.settings) as client:
            result = write(client, module.params, module.check_mode)
    except ConnectError as error:
        module.fail_json(msg=login.explain(str(error)) if login else str(error))
    except MissionControlError as error:
        module.fail_json(msg=str(error))
    counts = {"counts": asdict(result.counts["hosts"])} if result.counts else {}
    told = {
        "changed": result.changed,
        "msg": " ".join([f"{result.source}: {result.summary}.", *([result.error] if result.error else [])]),
        "outcome": result.outcome,
        "differences": [{**asdict(each), "columns": list(each.columns)} for each in result.differences],
        "left_as_stored": [asdict(each) for each in result.skipped],
        "task_run_id": str(result.task_run_id) if result.task_run_id else None,
        **counts,
        **({"diff": difference(result)} if module._diff else {}),
    }
    if result.outcome == "failed":
        module.fail_json(**told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
