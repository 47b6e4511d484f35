# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mission Control's own tools: inventory, runs, usage, health and backups, as the executor's login at the database may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import MissionControlError
from ...health.check import check_health
from ...inventory.report import list_hosts, list_workloads
from ...ledger.report import usage_report
from ...schema.manifest import Manifest
from .call import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...client.client import Client
    from ...client.transaction import Transaction

    Arguments = Mapping[str, Any]

NAME = "mission_control"
_RUNS = """
SELECT r.id, t.title, r.status, r.error, r.created_at, r.started_at, r.finished_at,
    round(extract(epoch FROM r.finished_at - r.started_at))::bigint AS seconds
FROM task_runs AS r JOIN tasks AS t ON t.id = r.task_id
WHERE %(status)s::text IS NULL OR r.status = %(status)s
ORDER BY r.created_at DESC, r.id LIMIT %(limit)s
"""
_BACKUPS = """
SELECT b.method, b.type, b.started_at, b.finished_at, b.outcome
FROM backup_runs AS b ORDER BY b.started_at DESC, b.id DESC LIMIT %(limit)s
"""


def answer(client: Client, operation: str, arguments: Arguments, seconds: float) -> dict[str, Any]:
    """What an operation tells, as values that JSON, or str(), has a form for.

    Args:
        client: of the executor's login.
        operation: one of CALLS, or show_health.
        arguments: with defaults.
        seconds: how long it may take.

    Raises:
        CallError: the database could not be asked, or refused the statement.
    """
    try:
        if operation == "show_health":
            return check_health(client, Manifest.built_in(), timeout=seconds).as_dict()
        with client.transaction(read_only=True) as transaction:
            transaction.query("SELECT set_config('statement_timeout', %s, true)", [str(max(1, int(seconds * 1000)))])
            return CALLS[operation](transaction, arguments)
    except MissionControlError as error:
        raise CallError(f"The database could not be asked: {error}") from None


def _list_hosts(client: Transaction, given: Arguments) -> dict[str, Any]:
    rows = list_hosts(client, _filters(given, "type", "status", "source"), gone=given["gone"], limit=given["limit"] + 1)
    return {"hosts": rows[: given["limit"]], "more": len(rows) > given["limit"]}


def _list_workloads(client: Transaction, given: Arguments) -> dict[str, Any]:
    filters = _filters(given, "type", "status", "source", "namespace")
    rows = list_workloads(client, filters, gone=given["gone"], limit=given["limit"] + 1)
    return {"workloads": rows[: given["limit"]], "more": len(rows) > given["limit"]}


def _filters(given: Arguments, *names: str) -> dict[str, list[str]]:
    return {name: [given[name]] for name in names if given[name] is not None}


def _list_runs(client: Transaction, given: Arguments) -> dict[str, Any]:
    rows = client.query_many(_RUNS, {"status": given["status"], "limit": given["limit"] + 1})
    return {"runs": rows[: given["limit"]], "more": len(rows) > given["limit"]}


def _list_backups(client: Transaction, given: Arguments) -> dict[str, Any]:
    rows = client.query_many(_BACKUPS, {"limit": given["limit"] + 1})
    return {"backups": rows[: given["limit"]], "more": len(rows) > given["limit"]}


def _show_usage(client: Transaction, given: Arguments) -> dict[str, Any]:
    report = usage_report(client, [given["by"] or "provider"], days=given["days"])
    period = report.period
    return {
        "time_zone": period.time_zone,
        "first_day": period.first_day,
        "last_day": period.last_day,
        "rows": [row.as_dict() for row in report.rows],
        "total": report.total.as_dict(),
    }


CALLS: dict[str, Callable[[Transaction, Arguments], dict[str, Any]]] = {
    "list_hosts": _list_hosts,
    "list_workloads": _list_workloads,
    "list_runs": _list_runs,
    "list_backups": _list_backups,
    "show_usage": _show_usage,
}
