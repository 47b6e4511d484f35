# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of the calls of tools: what waits for a person, the forms of who may decide, and the last calls.

Who reads sees no arguments, and who decides sees those of the waiting calls: each by a token of its own.
"""

from __future__ import annotations

import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request

from .approvals import LONGEST_REASON, NoApproverError
from .database import UnavailableError
from .lists import list_parameters, read_page
from .page import read_zone
from .pagination import CURSOR
from .parameters import read_parameters
from .problems import ProblemError
from .resources import TOOL_CALLS, WAITS

if TYPE_CHECKING:
    from uuid import UUID

    from .access import Access
    from .approvals import Approvals, Decision, Waiting
    from .database import Database, Reader
    from .health import Health
    from .sessions import Session

PATH = "/tool-calls"
WAITING_SHOWN = 20
_WAITING = (
    "SELECT t.name, c.requested_by, c.checked_at, c.waiting FROM ("  # noqa: S608 - constants
    "SELECT id, tool_id, requested_by, checked_at, created_at, count(*) OVER () AS waiting FROM tool_call_records "
    f"WHERE {WAITS} ORDER BY created_at, id LIMIT %s"
    ") AS c JOIN tool_definitions AS t ON t.id = c.tool_id ORDER BY c.created_at, c.id"
)
_MAY_NOT = "Nothing was decided: this session may not decide, or no longer, as that right ends after an hour. Add an approver's token to it."
_DECISIONS: dict[str, Decision] = {"approve": "approve", "deny": "deny"}


def tool_pages_blueprint(access: Access, approvals: Approvals, database: Database, health: Health) -> Blueprint:
    blueprint = Blueprint("tool_pages", __name__)

    @blueprint.get(PATH)
    def show_calls() -> Response:
        session = _session(access)
        if session is None:
            return Response(status=303, headers={"Location": "/login"})
        if not session.reads and session.approver is None:
            raise ProblemError(
                403, "This session may ask for a refresh alone: log in with an API token or an approver's."
            )
        values = read_parameters(request.args, list_parameters(TOOL_CALLS) if session.reads else ())
        health.require_connection()
        waiting = _waiting(approvals, session)
        found = database.read(lambda reader: _read(reader, session, values), snapshot=True)
        now = datetime.datetime.now(datetime.timezone.utc)
        approver = session.approver if waiting else None
        # Not before: an answer that is not to be had leaves it for the next one.
        notice, session.notice = session.notice, ""
        return Response(
            render_template(
                "tool_calls.html",
                **found,
                waiting=waiting,
                approver=approver.name if approver else None,
                approves_until=now + datetime.timedelta(seconds=approver.end - monotonic()) if approver else None,
                reads=session.reads,
                key=access.form_key(),
                values=values,
                notice=notice,
                now=now,
                longest_reason=LONGEST_REASON,
            )
        )

    @blueprint.post(f"{PATH}/<uuid:identifier>")
    def decide(identifier: UUID) -> Response:
        session = _session(access)
        if session is None:
            return Response(status=303, headers={"Location": "/login"})
        access.require_own_form()
        decision, reason = _read_form()
        session.notice = _decide(approvals, session, identifier, decision, reason)
        return Response(status=303, headers={"Location": PATH})

    return blueprint


def _session(access: Access) -> Session | None:
    access.require_on()
    return access.session()


def _waiting(approvals: Approvals, session: Session) -> Waiting | None:
    """What waits, for who may decide about it; None for others."""
    approver = session.approver
    if approver is None:
        return None
    try:
        return approvals.waiting(approver.token)
    except NoApproverError:
        session.approver = None
        session.notice = f"The database knows no approver {approver.name} with this token any more."
        return None


def _read(reader: Reader, session: Session, values: dict[str, Any]) -> dict[str, Any]:
    """The reporting time zone, and for who reads the waiting calls in short and a page of all calls."""
    found: dict[str, Any] = {"zone": read_zone(reader), "in_short": None, "rows": None, "next_address": None}
    if session.reads:
        page = read_page(reader, TOOL_CALLS, values)
        found["in_short"] = reader.rows(_WAITING, [WAITING_SHOWN])
        found["rows"] = page["items"]
        if page["next_cursor"]:
            found["next_address"] = f"?{urlencode({**request.args, CURSOR.name: page['next_cursor']})}"
    return found


def _read_form() -> tuple[Decision, str | None]:
    decision = _DECISIONS.get(request.form.get("decision", ""))
    if decision is None:
        raise ProblemError(400, "The form says neither approve nor deny: use the buttons of the page.", "decision")
    reason = " ".join(request.form.get("reason", "").split())
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise ProblemError(400, f"A reason has at most {LONGEST_REASON} characters, all of them printable.", "reason")
    return decision, reason or None


def _decide(approvals: Approvals, session: Session, call: UUID, decision: Decision, reason: str | None) -> str:
    """What has become of it, as a sentence."""
    approver = session.approver
    if approver is None:
        return _MAY_NOT
    try:
        return approvals.decide(approver.token, call, decision, reason)
    except NoApproverError:
        session.approver = None
        return f"Nothing was decided: the database knows no approver {approver.name} with this token any more."
    except UnavailableError as error:
        return f"{error} So nobody knows yet whether the call was decided: look whether it still waits."
