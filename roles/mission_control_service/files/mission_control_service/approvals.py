# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls of tools that wait for a person, and what a person decides about them.

The database knows the approvers' tokens and judges each of these questions by itself: with its login alone this service sees no arguments of
a call and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar

from mission_control import QueryError
from mission_control.database.settings import Secret, is_token

from .database import TOKEN
from .problems import ProblemError

if TYPE_CHECKING:
    from uuid import UUID

    from .database import Database, Reader
    from .health import Health

    Row = dict[str, Any]

T = TypeVar("T")
Decision = Literal["approve", "deny"]
LONGEST_REASON = 500
CALLS_SHOWN = 50
# Beyond this JSON is shown on one line: what is nested deeply becomes many times as long where it is set out.
_LONGEST_SET_OUT = 100_000
# Each argument has a type, and what takes any type is named with its schema: a function of the same name that anybody has created in ours could
# fit better, and would read the token.
_KNOWS_APPROVERS = "SELECT to_regprocedure('tool_token_name(text, text)') IS NOT NULL AS knows"
_NAME = f"SELECT tool_token_name({TOKEN}, 'approver'::text) AS name"
# Set out by the server, since Python would not give each number back as it is.
_SET_OUT = f"CASE WHEN length(jsonb_pretty({{0}})) <= {_LONGEST_SET_OUT} THEN jsonb_pretty({{0}}) ELSE {{0}}::text END"
_WAITING = (
    "SELECT w.id, w.tool_name, w.description, w.risk_level, w.connector, w.requested_by, w.requested_login, w.policy, w.reason, "  # noqa: S608 - constants
    f"w.task_run_id, w.created_at, w.expires_at, {_SET_OUT.format('w.arguments')} AS arguments, "
    "w.previous_arguments IS NOT NULL AS called_before, count(*) OVER () AS waiting, coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object("
    f"'name', pg_catalog.to_json(name)::text, 'before', {_SET_OUT.format('o.value')}, 'now', {_SET_OUT.format('n.value')}) ORDER BY name) "
    "FROM jsonb_each(w.previous_arguments) AS o (name, value) FULL JOIN jsonb_each(w.arguments) AS n (name, value) USING (name) "
    "WHERE o.value IS DISTINCT FROM n.value), '[]') AS changes "
    f"FROM waiting_tool_calls({TOKEN}) AS w ORDER BY w.created_at, w.id LIMIT %s"
)
_TOOL = "SELECT t.name FROM tool_call_records AS c JOIN tool_definitions AS t ON t.id = c.tool_id WHERE c.id = %s::uuid"
_DECIDE = f"SELECT accepted, status, reason FROM decide_tool_call(%s::uuid, %s::text, %s::text, {TOKEN})"  # noqa: S608 - constants
_NO_PRIVILEGE = "42501"


class NoApproverError(Exception):
    """The database does not know the token of this approver any more."""


@dataclass(frozen=True)
class Waiting:
    """Calls that wait for a person.

    Attributes:
        rows: the CALLS_SHOWN that wait for longest, with all that a person decides by; `changes` are the arguments that are not those of the last
            call of the tool, with their values `before` and `now`, None for none.
        count: of all.
    """

    rows: tuple[Row, ...]
    count: int


class Approvals:
    """What is asked of the database with the token of an approver."""

    def __init__(self, database: Database, health: Health) -> None:
        self._database = database
        self._health = health

    def name_of(self, token: str) -> str | None:
        """The name of an approver's token; None where it is none, or the schema is older than the approvers.

        Raises:
            UnavailableError: the database gave no answer.
        """
        if not is_token(token):
            return None
        self._health.require_connection()

        def ask(reader: Reader) -> str | None:
            if not reader.row(_KNOWS_APPROVERS)["knows"]:
                return None
            name: str | None = reader.row(_NAME)["name"]
            return name

        return self._database.with_token(Secret(token), ask)

    def waiting(self, token: Secret) -> Waiting:
        """The calls that wait.

        Raises:
            NoApproverError: the token is not known any more.
            UnavailableError: the database gave no answer.
        """

        def ask(reader: Reader) -> Waiting:
            rows = reader.rows(_WAITING, [CALLS_SHOWN])
            return Waiting(tuple(rows), rows[0]["waiting"] if rows else 0)

        return self._ask(token, ask)

    def decide(self, token: Secret, call: UUID, decision: Decision, reason: str | None) -> str:
        """Decide about a call; a sentence says what has become of it, also where the database refused the decision.

        Raises:
            NoApproverError: the token is not known any more.
            UnavailableError: the database gave no answer; perhaps it has decided all the same.
            ProblemError: 404, there is no such call.
        """

        def ask(caller: Reader) -> Row:
            tools = caller.rows(_TOOL, [str(call)])
            if not tools:
                raise ProblemError(404, "There is no call of a tool with this id.")
            return {**tools[0], **caller.row(_DECIDE, [str(call), decision, reason])}

        found = self._ask(token, ask, write=True)
        if found["status"] is None:
            # Not before: the audit log keeps that it was tried.
            raise NoApproverError
        if not found["accepted"]:
            return f"Nothing was decided about the call of {found['name']}: {found['reason']}."
        return f"{found['status'].capitalize()}: the call of {found['name']}."

    def _ask(self, token: Secret, ask: Callable[[Reader], T], write: bool = False) -> T:
        def guarded(reader: Reader) -> T:
            try:
                return ask(reader)
            except QueryError as error:
                if error.sqlstate != _NO_PRIVILEGE:
                    raise
            raise NoApproverError

        return self._database.with_token(token, guarded, write)
