# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one request that changes something: have the sources of the inventory listed again.

It queues runs by a function of the database. The sources are asked by another program, so this one needs no credential of theirs.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request
from mission_control.models import enums

from .fields import choice, object_schema, text, uuid_field
from .parameters import read_parameters
from .problems import ProblemError
from .resources import TASK_RUNS

if TYPE_CHECKING:
    from .access import Access
    from .database import Database, Reader
    from .health import Health

    Run = dict[str, Any]

PATH = "/inventory/refresh"
_NAME = r"[a-z0-9_-]{1,63}"
_MEDIA_TYPE = "application/json"
_REQUEST = "SELECT source, task_run_id, outcome, retry_after_seconds FROM request_inventory_refresh(%s::text[], %s)"
_BODY = 'The body must be a JSON object such as {"sources": ["k8s-main"]}, or empty for all sources'
BODY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sources": {
            "type": "array",
            "description": "Names of sources; without it all that are enabled.",
            "items": {"type": "string", "pattern": f"^{_NAME}$"},
            "minItems": 1,
        }
    },
    "additionalProperties": False,
}
ITEM_SCHEMA = object_schema(
    (
        text("source"),
        uuid_field("task_run_id", "The run that was queued, or was queued already."),
        choice("status", enums.TaskRunStatus),
    )
)


def request_refresh(database: Database, sources: list[str] | None, requested_by: str) -> list[Run]:
    """Queue a run for each of the sources that has none queued.

    Args:
        database: of the inventory.
        sources: their names; None for all that are enabled.
        requested_by: name of the token, which the run keeps.

    Returns:
        `source`, `task_run_id` and `status` of each, in the database's order.

    Raises:
        ProblemError: 422, a source is unknown; 409, one is disabled or none is enabled; 429, too soon after the last time. Nothing is queued.
        UnavailableError: the database gave no answer.
    """
    return database.write(lambda caller: _queue(caller, sources, requested_by))


def _queue(caller: Reader, sources: list[str] | None, requested_by: str) -> list[Run]:
    rows = caller.rows(_REQUEST, [sources, requested_by])
    if not rows:
        raise ProblemError(409, "No source of the inventory is enabled, so there is nothing to refresh.")
    named = {
        outcome: [row for row in rows if row["outcome"] == outcome] for outcome in ("unknown", "disabled", "too_soon")
    }
    if named["unknown"]:
        raise ProblemError(422, f"There is no source {_names(named['unknown'])}; /api/v1/inventory/sources lists all.")
    if named["disabled"]:
        raise ProblemError(
            409, f"Disabled, or synced by a playbook, so it cannot be refreshed: {_names(named['disabled'])}."
        )
    if named["too_soon"]:
        seconds = max(1, *(row["retry_after_seconds"] or 1 for row in named["too_soon"]))
        raise ProblemError(
            429,
            f"A refresh of {_names(named['too_soon'])} was asked for a moment ago: try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )
    # What is left is queued by now, or was already.
    return [{"source": row["source"], "task_run_id": row["task_run_id"], "status": "queued"} for row in rows]


def _names(rows: list[Run]) -> str:
    return ", ".join(sorted(row["source"] for row in rows))


def refresh_blueprint(prefix: str, access: Access, health: Health, database: Database) -> Blueprint:
    blueprint = Blueprint("refresh", __name__)

    @blueprint.post(PATH)
    def refresh() -> Response:
        requested_by = access.require_refresh_token()
        read_parameters(request.args, ())
        sources = _read_sources()
        health.require_connection()
        runs = request_refresh(database, sources, requested_by)
        answer = jsonify({"items": runs})
        answer.status_code = 202
        answer.headers["Location"] = f"{prefix}{TASK_RUNS.path}/{runs[0]['task_run_id']}"
        return answer

    return blueprint


def _read_sources() -> list[str] | None:
    """Names of sources from the body of the request; None where it names none."""
    if request.content_length is None and "Transfer-Encoding" in request.headers:
        # Such a body would be read to its end, however far that is.
        raise ProblemError(411, "The request has no Content-Length.")
    if not request.content_length:
        return None
    if request.mimetype != _MEDIA_TYPE:
        raise ProblemError(415, f"The body of the request must be {_MEDIA_TYPE}; say so in the header Content-Type.")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise ProblemError(400, f"{_BODY}; this one is no JSON.") from None
    if not isinstance(body, dict) or not body.keys() <= {"sources"}:
        raise ProblemError(400, f"{_BODY}.")
    if "sources" not in body:
        return None
    names = body["sources"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and _is_name(name) for name in names):
        raise ProblemError(
            400, f"{_BODY}; sources must be a list of names of 1 to 63 lower-case letters, digits, - and _.", "sources"
        )
    return list(dict.fromkeys(names))


def _is_name(text: str) -> bool:
    return re.fullmatch(_NAME, text, re.ASCII) is not None
