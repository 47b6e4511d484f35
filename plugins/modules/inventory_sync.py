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
"""

import datetime
import os
from decimal import Decimal
from typing import Any, get_args

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.client.client import Client
from ..module_utils.database.connection_options import (
    CONNECTION_MUTUALLY_EXCLUSIVE,
    CONNECTION_OPTIONS,
    login_from_options,
)
from ..module_utils.errors import ConnectError, MissionControlError
from ..module_utils.inventory.snapshot import HostRow, Listing, Skipped, Snapshot
from ..module_utils.models.enums import HostType

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


def snapshot_of(source: str, inventory: dict[str, Any], now: datetime.datetime) -> Snapshot:
    """What the controller gathered, as the writer takes it.

    Args:
        source: its name.
        inventory: what the action made.
        now: the database server's time. The inventory was read before, when the run of Ansible began.
    """
    hosts = [
        HostRow(
            **{
                **row,
                "cpu_cores": Decimal(row["cpu_cores"]) if row.get("cpu_cores") else None,
                "unknown": tuple(row["unknown"]),
            }
        )
        for row in inventory["hosts"]
    ]
    skipped = [Skipped(each["external_id"], each["external_id"], each["reason"]) for each in inventory["skipped"]]
    listing = Listing("hosts", get_args(HostType), tuple(hosts), inventory["problem"], tuple(skipped))
    return Snapshot(
        source=source,
        connector="ansible",
        identity=inventory["identity"],
        cluster=None,
        observed_at=now - datetime.timedelta(seconds=inventory["age"]),
        listings=(listing,),
    )


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.no_log_values = set()
    module.exit_json(
        got=module.params["inventory"],
        snap=str(snapshot_of("x", module.params["inventory"], datetime.datetime.now()))[:300],
    )


if __name__ == "__main__":
    main()
