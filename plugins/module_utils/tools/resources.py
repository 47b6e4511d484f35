# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an MCP client may read without calling a tool: the inventory, the last runs and the use of language models, as bounded JSON."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import TYPE_CHECKING, Any, Callable

from ..inventory.report import list_hosts, list_workloads
from ..ledger.report import usage_report

if TYPE_CHECKING:
    from ..client.client import Client

SCHEME = "mission-control://"
_MOST_HOSTS, _MOST_WORKLOADS, _MOST_RUNS, _MOST_MODELS = 200, 500, 50, 100
_DAYS = 30
_LONGEST_TEXT = 300  # characters, of an error
_HOST = ("name", "type", "status", "cluster", "address", "os", "source", "last_seen_at")
_WORKLOAD = ("name", "type", "status", "namespace", "host", "image", "replicas_wanted", "replicas_ready", "source")
_RUNS = """
SELECT r.id, t.title, r.status, left(r.error, %s) AS error, r.created_at, r.started_at, r.finished_at
FROM task_runs AS r
JOIN tasks AS t ON t.id = r.task_id
ORDER BY r.created_at DESC
LIMIT %s
"""


def _inventory(client: Client) -> dict[str, Any]:
    hosts, workloads = list_hosts(client, {}), list_workloads(client, {})
    return {
        "hosts": [{name: row[name] for name in _HOST} for row in hosts[:_MOST_HOSTS]],
        "workloads": [{name: row[name] for name in _WORKLOAD} for row in workloads[:_MOST_WORKLOADS]],
        "left_out": {"hosts": max(0, len(hosts) - _MOST_HOSTS), "workloads": max(0, len(workloads) - _MOST_WORKLOADS)},
    }


def _runs(client: Client) -> dict[str, Any]:
    return {"runs": client.query_many(_RUNS, [_LONGEST_TEXT, _MOST_RUNS])}


def _usage(client: Client) -> dict[str, Any]:
    report = usage_report(client, by=("provider", "model"), days=_DAYS)
    return {
        "first_day": report.period.first_day,
        "last_day": report.period.last_day,
        "total": report.total.as_dict(),
        "models": [row.as_dict() for row in report.rows[:_MOST_MODELS]],
    }


# What each is called, what it holds, and what reads it.
RESOURCES: dict[str, tuple[str, str, Callable[[Client], dict[str, Any]]]] = {
    f"{SCHEME}inventory": (
        "inventory",
        f"Hosts (at most {_MOST_HOSTS}) and workloads (at most {_MOST_WORKLOADS}).",
        _inventory,
    ),
    f"{SCHEME}runs": ("runs", f"The last {_MOST_RUNS} task runs: playbooks, syncs, sessions.", _runs),
    f"{SCHEME}usage": ("usage", f"Use and cost of language models in the last {_DAYS} days, by model.", _usage),
}


def read_resource(client: Client, uri: str) -> str | None:
    """The resource as JSON; None if there is none of this address."""
    known = RESOURCES.get(uri)
    if known is None:
        return None
    _name, _description, read = known
    return json.dumps(read(client), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: object) -> str:
    """What JSON has no form for. A decimal is text, as a number would lose digits where it is read."""
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
