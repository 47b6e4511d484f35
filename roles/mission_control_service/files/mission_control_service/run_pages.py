# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pages for people below the first one: the runs of playbooks, one of them, and one host. Lists are those of the API, with its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request

from .lists import list_parameters, no_such_object, read_one, read_page
from .page import read_zone
from .pagination import CURSOR
from .parameters import read_parameters
from .problems import ProblemError
from .resources import HOST_RUNS, HOSTS, PLAYBOOK_RUN_STEPS, PLAYBOOK_RUNS, StepOutcome

if TYPE_CHECKING:
    from uuid import UUID

    from .access import Access
    from .database import Database, Reader
    from .health import Health
    from .resources import Resource

ROWS_SHOWN = 100
# What a person looks for comes first: a run may have hundreds of thousands of steps and ten thousand hosts.
_NOT_OK = (
    "SELECT name, path, host, outcome, occurred_at FROM playbook_run_steps "
    "WHERE task_run_id = %s AND outcome IN ('failed', 'unreachable', 'ignored') ORDER BY sequence LIMIT %s"
)
_RECAP = (
    "SELECT host_name, host_id, ok, changed, failed, unreachable, skipped, rescued, ignored FROM playbook_run_hosts "
    "WHERE task_run_id = %s ORDER BY failed + unreachable = 0, ignored = 0, changed = 0, host_name LIMIT %s"
)


def run_pages_blueprint(access: Access, database: Database, health: Health) -> Blueprint:
    blueprint = Blueprint("run_pages", __name__)

    @blueprint.before_request
    def require_reader() -> Response | None:
        access.require_on()
        session = access.session()
        if session is None:
            return Response(status=303, headers={"Location": "/login"})
        if not session.reads:
            raise ProblemError(403, "This session may ask for a refresh alone: log in with an API token.")
        health.require_connection()
        return None

    def show(template: str, listed: Resource, identifier: UUID | None = None, **read_more: Any) -> Response:
        """A page with the rows of a list, and with what each of `read_more` reads."""
        values = read_parameters(request.args, list_parameters(listed))

        def read(reader: Reader) -> dict[str, Any]:
            more = {name: each(reader) for name, each in read_more.items()}
            return {**more, "zone": read_zone(reader), "page": read_page(reader, listed, values, identifier)}

        found = database.read(read, snapshot=True)
        page = found.pop("page")
        cursor = {CURSOR.name: page["next_cursor"]}
        return Response(
            render_template(
                template,
                **found,
                rows=page["items"],
                next_address=f"?{urlencode({**request.args, **cursor})}" if page["next_cursor"] else None,
                values=values,
                outcomes=get_args(StepOutcome),
                shown=ROWS_SHOWN,
            )
        )

    @blueprint.get("/runs")
    def show_runs() -> Response:
        return show("run_list.html", PLAYBOOK_RUNS)

    @blueprint.get("/runs/<uuid:identifier>")
    def show_run(identifier: UUID) -> Response:
        return show(
            "run.html",
            PLAYBOOK_RUN_STEPS,
            identifier,
            run=lambda reader: _read(reader, PLAYBOOK_RUNS, identifier),
            recap=lambda reader: reader.rows(_RECAP, [identifier, ROWS_SHOWN]),
            not_ok=lambda reader: reader.rows(_NOT_OK, [identifier, ROWS_SHOWN]),
        )

    @blueprint.get("/hosts/<uuid:identifier>")
    def show_host(identifier: UUID) -> Response:
        return show("host.html", HOST_RUNS, identifier, host=lambda reader: _read(reader, HOSTS, identifier))

    return blueprint


def _read(reader: Reader, resource: Resource, identifier: UUID) -> dict[str, Any]:
    found = read_one(reader, resource, identifier)
    if found is None:
        raise no_such_object(resource)
    return found
