# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The read API: lists and single objects of inventory and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request

from .fields import text, uuid_field
from .lists import list_parameters, page_of, read_one, read_page
from .pagination import CURSOR, LIMIT, decode_cursor
from .parameters import read_parameters
from .problems import ProblemError
from .resources import HOSTS, SERVICES, TASK_EVENTS, TASK_RUNS, TASKS, WORKLOADS

if TYPE_CHECKING:
    from uuid import UUID

    from .database import Database, Reader
    from .resources import Resource

_INVENTORY = "/inventory"
INVENTORY_PARAMETERS = (LIMIT, CURSOR)
INVENTORY_FIELDS = (
    text("kind", "host or workload."),
    uuid_field("id"),
    text("name"),
    text("type"),
    text("status"),
    uuid_field("host_id", "Of a workload: the host it runs on.", null=True),
)
SINGLE = (HOSTS, WORKLOADS, TASK_RUNS)


def inventory_blueprint(database: Database) -> Blueprint:
    blueprint = Blueprint("inventory", __name__)

    def show_list(resource: Resource, within: tuple[str, Any] | None = None) -> Response:
        values = read_parameters(request.args, list_parameters(resource))
        return jsonify(database.read(lambda reader: read_page(reader, resource, values, within)))

    def show_one(resource: Resource, identifier: UUID) -> Response:
        read_parameters(request.args, ())
        found = database.read(lambda reader: read_one(reader, resource, identifier))
        if found is None:
            raise ProblemError(404, f"There is no {resource.title} with this id.")
        return jsonify(found)

    @blueprint.get(_INVENTORY)
    def list_inventory() -> Response:
        values = read_parameters(request.args, INVENTORY_PARAMETERS)
        return jsonify(database.read(lambda reader: _read_inventory(reader, values), snapshot=True))

    @blueprint.get(HOSTS.path)
    def list_hosts() -> Response:
        return show_list(HOSTS)

    @blueprint.get(HOSTS.path + "/<uuid:identifier>")
    def show_host(identifier: UUID) -> Response:
        return show_one(HOSTS, identifier)

    @blueprint.get(WORKLOADS.path)
    def list_workloads() -> Response:
        return show_list(WORKLOADS)

    @blueprint.get(WORKLOADS.path + "/<uuid:identifier>")
    def show_workload(identifier: UUID) -> Response:
        return show_one(WORKLOADS, identifier)

    @blueprint.get(SERVICES.path)
    def list_services() -> Response:
        return show_list(SERVICES)

    @blueprint.get(TASKS.path)
    def list_tasks() -> Response:
        return show_list(TASKS)

    @blueprint.get(TASK_RUNS.path)
    def list_task_runs() -> Response:
        return show_list(TASK_RUNS)

    @blueprint.get(TASK_RUNS.path + "/<uuid:identifier>")
    def show_task_run(identifier: UUID) -> Response:
        return show_one(TASK_RUNS, identifier)

    @blueprint.get(TASK_RUNS.path + "/<uuid:identifier>/events")
    def list_events(identifier: UUID) -> Response:
        values = read_parameters(request.args, list_parameters(TASK_EVENTS))

        def read(reader: Reader) -> Any:
            page = read_page(reader, TASK_EVENTS, values, ("task_run_id = %s", identifier))
            # A run without events is not the same as no run.
            if not page["items"] and not reader.rows("SELECT FROM task_runs WHERE id = %s", [identifier]):
                raise ProblemError(404, "There is no task run with this id.")
            return page

        return jsonify(database.read(read, snapshot=True))

    return blueprint


def _read_inventory(reader: Reader, values: dict[str, Any]) -> dict[str, Any]:
    """All hosts by name, then all workloads by id. A page may hold the last of the one and the first of the other."""
    limit = values[LIMIT.name]
    kind, name, identifier = "host", "", None
    if CURSOR.name in values:
        kind, name, identifier = decode_cursor(values[CURSOR.name], _INVENTORY, ("text", "text", "uuid"))
    rows: list[dict[str, Any]] = []
    if kind == "host":
        after = "" if identifier is None else "AND (name, id) > (%s, %s) "
        rows = reader.rows(
            "SELECT 'host' AS kind, id, name, type, status, NULL::uuid AS host_id "  # noqa: S608 - constants
            f"FROM hosts WHERE gone_at IS NULL {after}ORDER BY name, id LIMIT %s",
            [*([] if identifier is None else [name, identifier]), limit + 1],
        )
    if len(rows) <= limit:
        after = "AND id > %s " if kind == "workload" else ""
        rows += reader.rows(
            "SELECT 'workload' AS kind, id, name, type, status, host_id "  # noqa: S608 - constants
            f"FROM workloads WHERE gone_at IS NULL {after}ORDER BY id LIMIT %s",
            [*([identifier] if kind == "workload" else []), limit + 1 - len(rows)],
        )
    return page_of(rows, limit, _INVENTORY, ["kind", "name", "id"])
