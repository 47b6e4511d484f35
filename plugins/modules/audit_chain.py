#!/usr/bin/python
# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: audit_chain
short_description: Verify Mission Control's audit log against heads that were kept
version_added: "0.1.0"
description:
  - Reads the whole audit log and computes its chain of digests anew, without trusting a function of the database. It changes nothing.
  - A head is the text that the module M(homelab.mission_control.health) and C(mission-control audit head) show. Only a head that was kept outside the
    database shows that entries before it were changed or removed by somebody who could also compute the chain anew.
options:
  required_heads:
    description: Heads that have to be on the chain.
    type: list
    elements: str
    default: []
  later_heads:
    description: Heads that may also be newer than the chain, as after a restore to an earlier moment. On the part that is there they have to be right.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - homelab.mission_control.attributes
  - homelab.mission_control.connection
attributes:
  check_mode:
    details: Runs and returns the same in check mode.
seealso:
  - module: homelab.mission_control.health
author:
  - Mission Control maintainers (@homelab)
"""

EXAMPLES = r"""
- name: Verify the audit log against a head that lies on the controller
  homelab.mission_control.audit_chain:
    required_heads: ["{{ lookup('ansible.builtin.file', '~/audit.head') }}"]
"""

RETURN = r"""
msg:
  description: The result in a sentence.
  type: str
  returned: always
  sample: The audit chain has 12 links and is the one that 2 kept heads belong to.
head:
  description: The end of the chain.
  type: str
  returned: success
verified:
  description: Number of links that were computed anew.
  type: int
  returned: success
newer_heads:
  description: Those of O(later_heads) that are newer than the chain.
  type: list
  elements: str
  returned: success
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.audit.head import AuditHead
from ..module_utils.audit.recompute import recompute_audit_chain
from ..module_utils.client.client import Client
from ..module_utils.database.connection_options import (
    CONNECTION_MUTUALLY_EXCLUSIVE,
    CONNECTION_OPTIONS,
    login_from_options,
)
from ..module_utils.errors import ConnectError, MissionControlError
from ..module_utils.schema.own_tables import own_tables


def verify(client: Client, required: list[AuditHead], later: list[AuditHead]) -> dict[str, Any]:
    """What the module returns; with `failed` where the log is not what was written."""
    with own_tables(client, "audit_links") as tables:
        found = tables.rows(
            "SELECT l.sequence, l.digest FROM ONLY {audit_links} AS l WHERE l.sequence = ANY (%s::bigint[])",
            [[head.sequence for head in (*required, *later)]],
        )
    digests = {row["sequence"]: bytes(row["digest"]) for row in found}
    digests[0] = bytes(32)
    report = recompute_audit_chain(client)
    end = report.head.sequence if report.head else 0
    newer = [head for head in later if head.sequence > end]
    wrong = [head for head in (*required, *later) if head not in newer and digests.get(head.sequence) != head.digest]
    result = {"head": str(report.head or ""), "verified": report.verified, "newer_heads": [str(head) for head in newer]}
    if not report.valid:
        return {**result, "failed": True, "msg": f"The audit log is not what was written: {report.problem}."}
    if wrong:
        what = "ends before it" if wrong[0].sequence > end else "has another link there"
        message = f"The audit log is not what was written: the head {wrong[0]} was kept, and the chain {what}."
        return {**result, "failed": True, "msg": message}
    compared = len(required) + len(later) - len(newer)
    of = f" and is the one that {compared} kept {'head belongs' if compared == 1 else 'heads belong'} to"
    links = f"{report.verified} {'link' if report.verified == 1 else 'links'}"
    message = f"The audit chain has {links}{of if compared else ', and no head was kept to compare it with'}."
    return {**result, "failed": False, "msg": message}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "required_heads": {"type": "list", "elements": "str", "default": []},
            "later_heads": {"type": "list", "elements": "str", "default": []},
        },
        mutually_exclusive=CONNECTION_MUTUALLY_EXCLUSIVE,
        supports_check_mode=True,
    )
    params = module.params
    try:
        required, later = (
            [AuditHead.parse(text) for text in params[name]] for name in ("required_heads", "later_heads")
        )
        login = login_from_options(params, os.environ, application_name="homelab.mission_control.audit_chain")
    except MissionControlError as error:
        module.fail_json(msg=str(error))
    client = Client(settings=login.settings)
    try:
        result = verify(client, required, later)
    except ConnectError as error:
        module.fail_json(msg=login.explain(str(error)))
    except MissionControlError as error:
        module.fail_json(msg=f"The audit log cannot be read: {error}")
    finally:
        client.disconnect(0)
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
