# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an MCP client may read without calling a tool: the inventory, the last runs and the use of language models, as bounded JSON.

It is what the read-only tools of the same names tell, and is read with the rights of the session's own login.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from .connectors import mission_control
from .operations import OPERATIONS, with_defaults

if TYPE_CHECKING:
    from ..client.client import Client

_SCHEME = "mission-control://"
_SECONDS = 30.0
_ROWS, _RUNS, _DAYS = 200, 50, 30


class Resource(NamedTuple):
    """What it is called, what it holds, and the operations that tell it."""

    name: str
    description: str
    operations: dict[str, dict[str, Any]]


RESOURCES = {
    f"{_SCHEME}{each.name}": each
    for each in (
        Resource(
            "inventory",
            f"Hosts and workloads, at most {_ROWS} of each.",
            {"list_hosts": {"limit": _ROWS}, "list_workloads": {"limit": _ROWS}},
        ),
        Resource("runs", f"The last {_RUNS} task runs: playbooks, syncs, sessions.", {"list_runs": {"limit": _RUNS}}),
        Resource(
            "usage",
            f"Use and cost of language models in the last {_DAYS} days, by model.",
            {"show_usage": {"days": _DAYS, "by": "model"}},
        ),
    )
}


def read_resource(client: Client, uri: str) -> str | None:
    """The resource as a JSON object with what each operation tells; None if there is none of this address.

    Raises:
        MissionControlError: the database could not be asked.
    """
    known = RESOURCES.get(uri)
    if known is None:
        return None
    told = {}
    for name, given in known.operations.items():
        arguments = with_defaults(OPERATIONS[f"{mission_control.NAME}.{name}"], given)
        told[name] = mission_control.answer(client, name, arguments, _SECONDS)
    return json.dumps(told, ensure_ascii=False, allow_nan=False, default=str)
