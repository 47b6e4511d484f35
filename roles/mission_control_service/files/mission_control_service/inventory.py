# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The read API: lists and single objects of inventory and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from flask import Blueprint, Response, jsonify, request

from .fields import text, uuid_field
from .lists import list_parameters, no_such_object, page_of, read_one, read_page
from .pagination import CURSOR, LIMIT, decode_cursor
from .parameters import read_parameters
from .resources import RESOURCES

if TYPE_CHECKING:
    from uuid import UUID

    from .database import Database, Reader
    from .resources import Resource

_INVENTORY = "/inventory"
_ID = "<uuid:identifier>"
INVENTORY_PARAMETERS = (LIMIT, CURSOR)
INVENTORY_FIELDS = (
    text("kind", "host or workload."),
    uuid_field("id"),
    text("name"),
    text("type"),
    text("status"),
    uuid_field("host_id", "Of a workload: the host it runs on.", null=True),
)


def inventory_blueprint(database: Database) -> Blueprint:
    blueprint = Blueprint("inventory", __name__)

    @blueprint.get(_INVENTORY)
    def list_inventory() -> Response:
        values = read_parameters(request.args, INVENTORY_PARAMETERS)
        return jsonify(database.read(lambda reader: _read_inventory(reader, values), snapshot=True))

    for resource in RESOURCES:
        blueprint.add_url_rule(
            resource.path.replace("{id}", _ID), f"list {resource.title}s", _list_view(database, resource)
        )
        if resource.single:
            blueprint.add_url_rule(f"{resource.path}/{_ID}", f"show {resource.title}", _single_view(database, resource))
    return blueprint


def _list_view(database: Database, resource: Resource) -> Callable[..., Response]:
    def show_list(identifier: UUID | None = None) -> Response:
        values = read_parameters(request.args, list_parameters(resource))
        return jsonify(
            database.read(
                lambda reader: read_page(reader, resource, values, identifier), snapshot=identifier is not None
            )
        )

    return show_list


def _single_view(database: Database, resource: Resource) -> Callable[..., Response]:
    def show_one(identifier: UUID) -> Response:
        read_parameters(request.args, ())
        found = database.read(lambda reader: read_one(reader, resource, identifier))
        if found is None:
            raise no_such_object(resource)
        return jsonify(found)

    return show_one


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
