#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: standby_info
short_description: Describe one host of a primary and its standby
version_added: "0.3.0"
description:
  - Reads the files, the control data and the state of replication of one PostgreSQL cluster, and whether the other host's server answers. It changes nothing.
  - Must run as root.
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  version:
    description: Its major version. Empty means the newest that the host has.
    type: str
    default: ""
  port:
    description: TCP port of both servers.
    type: int
    required: true
  peer:
    description: Name or address by which this host reaches the other.
    type: str
    required: true
  replicator:
    description: Role of PostgreSQL by which standbys log in.
    type: str
    required: true
  certificates:
    description: Directory in which M(homelab.mission_control.server_certificate) keeps certificates.
    type: path
    default: /etc/mission-control/postgresql
  marker:
    description: Path of the file that the caller keeps while it makes a standby.
    type: path
    default: /var/lib/misc/mission_control-standby
  after:
    description: A position in the log, such as V(0/3000148), of which to tell what the cluster has after it.
    type: str
    default: ""
  timeline:
    description: The timeline of O(after); 0 stands for the cluster's own.
    type: int
    default: 0
requirements:
  - Debian or a distribution made from it
attributes:
  check_mode:
    description: Runs and returns the same in check mode.
    support: full
  diff_mode:
    description: There is no difference to show, since nothing is changed.
    support: none
author:
  - Mission Control maintainers (@homelab)
notes:
  - Internal to this collection. Its options, its result and its name may change with any version.
"""

EXAMPLES = r"""
- name: Inspect the host
  homelab.mission_control.standby_info:
    cluster: main
    port: 5432
    peer: 192.168.20.6
    replicator: mission_control_replicator
  become: true
"""

RETURN = r"""
cluster:
  description: The cluster with its files, control data, fence, and what its server says (C(server), V(null) if it does not run); V(null) where there is none.
  type: dict
  returned: success
address:
  description: The address under which O(peer) sees this host; empty if there is no way to it.
  type: str
  returned: success
peer_answers:
  description: Whether a PostgreSQL server answers at O(peer).
  type: bool
  returned: success
authority:
  description: C(certificate) of the certificate authority, and C(has_key).
  type: dict
  returned: success
making:
  description: Whether a run began to make a standby here, and did not end.
  type: bool
  returned: success
ahead:
  description: What the cluster has after O(after), as C(lsn), C(bytes) and C(commits); V(null) if that was not asked or cannot be told.
  type: dict
  returned: success
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.provisioning.facts import cluster as cluster_facts
from ..module_utils.provisioning.facts import standby as facts
from ..module_utils.provisioning.files.owned import OwnedFileError


def describe(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    program = module.get_bin_path("pg_lsclusters")
    listed = ""
    if program is not None:
        code, listed, errors = module.run_command([program, "--no-header"], environ_update={"LC_ALL": "C"})
        if code != 0:
            raise cluster_facts.ProbeError(f"pg_lsclusters failed: {' '.join(errors.split())}")
    found = facts.find_cluster(
        cluster_facts.parse_clusters(listed), params["cluster"], params["version"], params["port"]
    )
    ahead = None
    described = None if found is None else facts.describe(found, params["replicator"])
    if found is not None and described is not None and params["after"]:
        timeline = params["timeline"] or described["control"].get("timeline", 0)
        ahead = facts.ahead_of(found, timeline, params["after"])
    return {
        "cluster": described,
        "address": facts.own_address(params["peer"]),
        "peer_answers": facts.answers(params["peer"], params["port"]),
        "authority": facts.authority(params["certificates"]),
        "making": os.path.lexists(params["marker"]),
        "ahead": ahead,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "version": {"type": "str", "default": ""},
            "port": {"type": "int", "required": True},
            "peer": {"type": "str", "required": True},
            "replicator": {"type": "str", "required": True},
            "certificates": {"type": "path", "default": "/etc/mission-control/postgresql"},
            "marker": {"type": "path", "default": "/var/lib/misc/mission_control-standby"},
            "after": {"type": "str", "default": ""},
            "timeline": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="standby_info must run as root: set become to true for its task.")
    try:
        result = describe(module)
    except (cluster_facts.ProbeError, OwnedFileError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
