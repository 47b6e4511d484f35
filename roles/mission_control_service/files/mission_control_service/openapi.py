# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The OpenAPI document, made from the declarations that the API itself is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request

from . import refresh, summary, usage_api
from .fields import Field, object_schema
from .inventory import INVENTORY_FIELDS, INVENTORY_PARAMETERS
from .lists import list_parameters
from .parameters import Parameter, read_parameters
from .problems import MEDIA_TYPE
from .resources import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .access import Access

    Document = dict[str, Any]

_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "As a list gives it.",
    "schema": {"type": "string", "format": "uuid"},
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "parameter": {
            "type": "string",
            "description": "The query parameter, or the member of the body, that is wrong.",
        },
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
_USAGE_REPORT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "from": {"type": "string", "format": "date", "description": "First day."},
        "to": {"type": "string", "format": "date", "description": "Last day."},
        "time_zone": {"type": "string", "description": "The reporting time zone, which cuts the days."},
        "by": {"type": "array", "items": {"type": "string"}},
        "groups": {"type": "integer", "description": "How many there are; items has as many of them as limit says."},
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/UsageGroup"}},
        "total": {"$ref": "#/components/schemas/UsageTotal"},
    },
    "required": ["from", "to", "time_zone", "by", "groups", "items", "total"],
    "additionalProperties": False,
}
_ERRORS = {
    400: "A parameter is unknown, given twice or wrong.",
    401: "There is no known token.",
    403: "The token is of the kind that may not do this.",
    404: "There is no such object, or the API is off since no token is configured.",
    503: "The database cannot be reached or needs too long.",
}
# Of the request that has a body.
_REFRESH_ERRORS = {
    409: "No source is enabled, or one that is named is not.",
    411: "The body has no length.",
    413: "The body is too large.",
    415: "The body is of another type than application/json.",
    422: "A source is not known.",
    429: "A source was refreshed a moment ago; see the header Retry-After.",
}


def openapi_blueprint(prefix: str, version: str, access: Access) -> Blueprint:
    blueprint = Blueprint("openapi", __name__)
    document = openapi_document(prefix, version)

    @blueprint.get("/openapi.json")
    def show_document() -> Response:
        # Without a token: it says nothing about this homelab.
        access.require_on()
        read_parameters(request.args, ())
        return jsonify(document)

    return blueprint


def openapi_document(prefix: str, version: str) -> Document:
    """The document for an API below `prefix`."""
    schemas: Document = {"Problem": _PROBLEM}
    paths: Document = {}
    schemas["Summary"] = object_schema(summary.FIELDS)
    paths[summary.PATH] = _operation("readSummary", "All figures in one flat object.", "Summary")
    paths["/inventory"] = _operation(
        "listInventory", "All hosts by name, then all workloads by id, in short.", "InventoryPage", INVENTORY_PARAMETERS
    )
    _add_page(schemas, "Inventory", INVENTORY_FIELDS)
    for resource in RESOURCES:
        path = [_ID] if "{id}" in resource.path else []
        paths[resource.path] = _operation(
            f"list{resource.name}s", resource.description, f"{resource.name}Page", list_parameters(resource), path
        )
        _add_page(schemas, resource.name, resource.fields)
        if resource.single:
            name = f"{resource.name}Details" if resource.more_fields else resource.name
            schemas[name] = object_schema((*resource.fields, *resource.more_fields))
            paths[f"{resource.path}/{{id}}"] = _operation(
                f"read{resource.name}", f"One {resource.title} with all its fields.", name, (), [_ID]
            )
    paths[usage_api.PATH] = _operation(
        "listTokenUsage",
        "Use and cost of language models by day, provider and model, the newest day first.",
        "TokenUsagePage",
        usage_api.PARAMETERS,
    )
    _add_page(schemas, "TokenUsage", usage_api.FIELDS)
    paths[usage_api.REPORT_PATH] = _operation(
        "reportUsage",
        "Use and cost of language models in groups, the newest and then the dearest first, and their total.",
        "UsageReport",
        usage_api.REPORT_PARAMETERS,
    )
    schemas["UsageGroup"] = object_schema(usage_api.ROW_FIELDS)
    schemas["UsageTotal"] = object_schema(usage_api.TOTAL_FIELDS)
    schemas["UsageReport"] = _USAGE_REPORT
    schemas["RefreshRequest"] = refresh.BODY_SCHEMA
    schemas["RefreshedSource"] = refresh.ITEM_SCHEMA
    paths[refresh.PATH] = _refresh_operation()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mission Control",
            "version": version,
            "description": "Read API over the inventory, tasks and costs of a homelab, and a request to refresh the inventory.",
        },
        "servers": [{"url": prefix}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token."},
                "refreshToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A refresh token, which reads nothing.",
                },
            },
            "responses": {
                str(status): _problem_response(text) for status, text in {**_ERRORS, **_REFRESH_ERRORS}.items()
            },
        },
    }


def _operation(
    identifier: str,
    description: str,
    schema: str,
    parameters: tuple[Parameter, ...] = (),
    path: Iterable[Document] = (),
) -> Document:
    answer = {
        "description": "Done.",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
    return {
        "get": {
            "operationId": identifier,
            "summary": description,
            "parameters": [*path, *(_query(parameter) for parameter in parameters)],
            "responses": {"200": answer, **_errors(_ERRORS)},
        }
    }


def _refresh_operation() -> Document:
    items = {"type": "array", "items": {"$ref": "#/components/schemas/RefreshedSource"}}
    answer = {
        "description": "Queued. Asked again before the runs have begun, it gives the same ones.",
        "headers": {
            "Location": {"description": "Address of the first run.", "required": True, "schema": {"type": "string"}}
        },
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"items": items},
                    "required": ["items"],
                    "additionalProperties": False,
                }
            }
        },
    }
    return {
        "post": {
            "operationId": "refreshInventory",
            "summary": "Have the sources of the inventory listed anew.",
            "security": [{"refreshToken": []}],
            "parameters": [],
            "requestBody": {
                "required": False,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RefreshRequest"}}},
            },
            "responses": {"202": answer, **_errors({**_ERRORS, **_REFRESH_ERRORS})},
        }
    }


def _errors(statuses: Iterable[int]) -> Document:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _query(parameter: Parameter) -> Document:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.description,
        "schema": parameter.schema(),
        **({"style": "form", "explode": False} if parameter.kind == "choices" else {}),
    }


def _add_page(schemas: Document, name: str, fields: tuple[Field, ...]) -> None:
    schemas[name] = object_schema(fields)
    schemas[f"{name}Page"] = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "For the parameter cursor of the next page; null on the last one.",
            },
        },
        "required": ["items", "next_cursor"],
        "additionalProperties": False,
    }


def _problem_response(description: str) -> Document:
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
