# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls of tools, as a program asks for them, waits for them and decides about them: what `client.tools` is.

Whether a call is allowed is the database's decision alone, and the executor carries it out. Nothing here takes part in a transaction
of the program's, which could undo the record of a call that has been carried out.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable
from uuid import UUID

from ..client.transaction import wait_for_standbys
from ..database.driver import DRIVER_ERRORS
from ..errors import (
    ConnectError,
    ConnectionLostError,
    MissionControlError,
    PoolTimeoutError,
    QueryError,
    ToolArgumentsError,
    ToolCallError,
    TransactionError,
)
from .schemas import argument_problems, caller_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ..client.client import Client
    from ..database.session import Session

    Arguments = Mapping[str, Any]

CHANNEL = "mission_control_tools"
OPEN = ("pending", "approved", "running")
TOO_OLD = "The database has no tools under policy yet: apply the pending migrations with `ansible-playbook playbooks/migrate.yml`."
_DIGITS = re.compile(r"[0-9a-f]{1,32}", re.ASCII)
# Behind a pooler no notification comes through.
_POLL = 2.0
_PAUSE = 0.5
# The token went to the server with the login (Settings.tool_token): in a statement every session of the same login could read it.
_TOKEN = "nullif(current_setting('mission_control.tool_token', true), '')"  # noqa: S105 - an expression
_TOOL_COLUMNS = """t.name, t.description, t.risk_level, t.connector, t.operation, t.arguments_schema, t.preset, t.timeout_seconds,
    t.output_limit_bytes, t.approval_seconds, t.version, t.enabled"""
_TOOLS = f"SELECT {_TOOL_COLUMNS} FROM tool_definitions AS t"  # noqa: S608 - constants of this file
_CALLS = """
SELECT c.id, c.task_run_id, c.tool_name, c.connector, c.operation, c.risk_level, c.status, c.arguments, c.requested_by,
    c.requested_login, c.policy, c.reason, c.error, c.created_at, c.checked_at, c.approved_by, c.approved_at, c.approval_expires_at,
    c.started_at, c.finished_at, c.duration_ms, c.deadline_at, c.idempotency_key
FROM tool_call_overview AS c
"""
# Each argument has a type: a function of the same name that anybody has created in the schema could fit one without better, and would run with
# this session's rights and read its token.
# NULL for a token that nobody has, whose every request is denied.
_CALLER = f"CASE WHEN {_TOKEN} IS NULL THEN session_user::text ELSE tool_token_name({_TOKEN}, 'requester'::text) END"
_SAID = """CASE WHEN c.name IS NULL THEN 'deny' ELSE d.effect END AS effect, CASE WHEN c.name IS NOT NULL THEN d.policy END AS policy,
    CASE WHEN c.name IS NULL THEN 'the token is not known' ELSE d.reason END AS reason"""
_REQUEST = f"""
SELECT r.call_id, r.status, r.policy, r.reason
FROM request_tool_call(%(task_run_id)s::uuid, %(tool)s::text, %(arguments)s::jsonb, %(key)s::text, {_TOKEN}) AS r
"""  # noqa: S608 - constants of this file
_DECISION = f"""
SELECT {_SAID} FROM (SELECT coalesce(%s::text, {_CALLER}) AS name) AS c CROSS JOIN LATERAL tool_policy_decision(%s::text, %s::jsonb, c.name) AS d
"""  # noqa: S608 - constants of this file
_DECISIONS = f"""
SELECT t.name, {_SAID}
FROM (SELECT {_CALLER} AS name) AS c
CROSS JOIN tool_definitions AS t
CROSS JOIN LATERAL tool_policy_decision(t.name, '{{}}'::jsonb, c.name) AS d
WHERE t.enabled
"""  # noqa: S608 - constants of this file
_WAITING = f"""
SELECT w.id, w.tool_name, w.description, w.risk_level, w.connector, w.arguments, w.previous_arguments, w.requested_by,
    w.requested_login, w.policy, w.reason, w.task_run_id, w.created_at, w.expires_at
FROM waiting_tool_calls({_TOKEN}) AS w
ORDER BY w.created_at, w.id
"""  # noqa: S608 - constants of this file
_PREVIOUS = """
SELECT p.arguments FROM tool_call_overview AS p
WHERE p.tool_name = %s AND p.started_at IS NOT NULL AND p.id <> %s ORDER BY p.started_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class Tool:
    """A tool as the database knows it.

    Attributes:
        risk_level: READ_ONLY, SAFE_MUTATE or DESTRUCTIVE.
        connector, operation: what carries it out.
        arguments_schema: JSON Schema of the arguments, preset ones included.
        preset: arguments that are fixed.
        timeout_seconds, output_limit_bytes: limits of one call; approval_seconds: how long an approval holds.
        enabled: False for one that is kept for the record.
    """

    name: str
    description: str | None
    risk_level: str
    connector: str | None
    operation: str | None
    arguments_schema: dict[str, Any]
    preset: dict[str, Any]
    timeout_seconds: int
    output_limit_bytes: int
    approval_seconds: int
    version: str | None
    enabled: bool

    def caller_schema(self) -> dict[str, Any]:
        """The schema of what a caller gives: an object, without the arguments that are fixed."""
        return caller_schema(self.arguments_schema, self.preset)


@dataclass(frozen=True)
class ToolDecision:
    """What the policies say of a call: `effect` allow, require_approval or deny, the deciding `policy` (None: the risk level), and why."""

    effect: str
    policy: str | None
    reason: str | None


@dataclass(frozen=True)
class ToolRequest:
    """What became of a wish to call a tool.

    Attributes:
        call_id: None for a call that was not even stored.
        status: pending (it waits for a person), approved (the executor takes it) or denied.
        policy: name of the policy that decided; None: the tool's risk level did.
        reason: why, as a sentence.
    """

    call_id: UUID | None
    status: str
    policy: str | None
    reason: str | None


@dataclass(frozen=True)
class ToolAnswer:
    """Whether a decision or a withdrawal was taken, the status that the call has now, and why."""

    accepted: bool
    status: str | None
    reason: str | None


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool. `result` is what it gave; None unless it succeeded, and for a login that may not read results."""

    id: UUID
    task_run_id: UUID
    tool_name: str
    connector: str | None
    operation: str | None
    risk_level: str
    status: str
    arguments: dict[str, Any]
    requested_by: str | None
    requested_login: str | None
    policy: str | None
    reason: str | None
    error: str | None
    created_at: datetime
    checked_at: datetime | None
    approved_by: str | None
    approved_at: datetime | None
    approval_expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    deadline_at: datetime | None
    idempotency_key: str | None
    result: Any = None

    @property
    def has_ended(self) -> bool:
        return self.status not in OPEN

    @property
    def waits_for_approval(self) -> bool:
        """Whether a person may decide about it now: the executor has found its arguments right."""
        return self.status == "pending" and self.checked_at is not None


@dataclass(frozen=True)
class WaitingCall:
    """A call about which a person may decide; `previous_arguments` are those of the tool's last call that was started."""

    id: UUID
    tool_name: str
    description: str | None
    risk_level: str
    connector: str | None
    arguments: dict[str, Any]
    previous_arguments: dict[str, Any] | None
    requested_by: str | None
    requested_login: str | None
    policy: str | None
    reason: str | None
    task_run_id: UUID
    created_at: datetime
    expires_at: datetime | None


class Tools:
    """The tools of a client's database; each method is a transaction of its own, and may be used from any number of threads.

    Who asks and who decides is the name of `Settings.tool_token`, else the login. Every error of the database is a
    MissionControlError, as of the client's other methods.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, name: str) -> Tool | None:
        """The tool of this name, enabled or not; None if there is none."""
        return self._client.query_one(f"{_TOOLS} WHERE t.name = %s", [name], model=Tool)

    def caller(self) -> str:
        """Who asks here, as the policies and the records call them: the name of the token, else the login; "" for an unknown token."""
        row = self._client.query_one(f"SELECT {_CALLER} AS name")
        return str(row["name"] or "") if row else ""

    def decision(self, tool: str, arguments: Arguments | None = None, *, caller: str | None = None) -> ToolDecision:
        """What the policies say of a call, without asking for it.

        Args:
            tool: name; an unknown one is denied.
            arguments: of the caller.
            caller: name of who would ask; None: whoever asks now.

        Raises:
            ToolArgumentsError: the arguments cannot be sent as a JSON object.
        """
        text = _json_text(tool, arguments)
        row = self._client.query_one(_DECISION, [caller, tool, text], model=ToolDecision)
        return row or ToolDecision("deny", None, None)

    def decisions(self) -> dict[str, ToolDecision]:
        """What the policies say to whoever asks now, by the names of the enabled tools. Conditions on arguments count as not met."""
        rows = self._client.query_many(_DECISIONS)
        return {row["name"]: ToolDecision(row["effect"], row["policy"], row["reason"]) for row in rows}

    def request(
        self, tool: str, arguments: Arguments | None = None, *, task_run_id: UUID | str, key: str | None = None
    ) -> ToolRequest:
        """Ask for a call. That it is denied is an answer, not an error.

        Args:
            tool: name.
            arguments: a JSON object; those that the tool fixes need not be given.
            task_run_id: run that the call belongs to.
            key: of the program's choice: the same one with the same tool and arguments gives the same call of this run again,
                so that the wish may be repeated when it is not known what became of it. Without one nothing is sent twice.

        Raises:
            ToolArgumentsError: the arguments do not fit the tool's schema; nothing was asked for.
            TransactionError: this thread has a transaction of the client open.
        """
        self._refuse_transaction()
        text = _json_text(tool, arguments)
        known = self.get(tool)
        if known is not None and known.enabled:
            _check_arguments(known, json.loads(text))
        parameters = {"task_run_id": str(task_run_id), "tool": tool, "arguments": text, "key": key}
        try:
            answer = self._client.query_one(_REQUEST, parameters, model=ToolRequest)
        except ConnectionLostError:
            if key is None:
                raise
            with self._client.transaction() as transaction:
                answer = transaction.query_one(_REQUEST, parameters, model=ToolRequest)
                wait_for_standbys(transaction)
        except QueryError as error:
            if not error.sqlstate.startswith("22"):
                raise
            answer = None
        if answer is None:
            raise ToolArgumentsError(
                tool, ["they, or the key, hold a character or a number that the database cannot store"]
            )
        return answer

    def run(
        self,
        tool: str,
        arguments: Arguments | None = None,
        *,
        task_run_id: UUID | str,
        key: str | None = None,
        seconds: float = 60,
    ) -> ToolCall:
        """Ask for a call, wait for its end, and return it with its result.

        Args:
            tool, arguments, task_run_id, key: as `request` has them.
            seconds: how long to wait, also for a person's approval. What has not ended then goes on.

        Raises:
            ToolArgumentsError: the arguments do not fit the tool's schema.
            ToolCallError: it was denied, failed, or has not ended; with the call's id, if it has one.
        """
        answer = self.request(tool, arguments, task_run_id=task_run_id, key=key)
        if answer.call_id is None:
            raise ToolCallError(f"The call of {tool} was denied: {_sentence(answer.reason)}", None, "denied")
        call = self.wait(answer.call_id, seconds)
        if call.status != "succeeded":
            raise ToolCallError(describe_call(call), call.id, call.status)
        return call

    def wait(
        self, call_id: UUID | str, seconds: float = 60, *, until: Callable[[ToolCall], bool] | None = None
    ) -> ToolCall:
        """Wait for the end of a call, and return it as it stands then, or after `seconds`.

        A notification of the database wakes it up at once; where none comes through, as behind a pooler, it looks every two
        seconds. A database that goes away meanwhile is asked again as long as there is time.

        Args:
            call_id: identifier.
            seconds: how long; 0 only looks.
            until: what else ends the waiting.

        Raises:
            ToolCallError: there is no such call.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self._client.borrow(max(1.0, min(seconds, self._client.settings.pool_timeout))) as session:
                    call = _watch(session, _uuid(call_id), deadline, until or (lambda call: call.has_ended))
                break
            except (ConnectError, ConnectionLostError, PoolTimeoutError):
                if time.monotonic() + _PAUSE >= deadline:
                    raise
                time.sleep(_PAUSE)
        return self.call(call.id) if call.status == "succeeded" else call

    def call(self, call_id: UUID | str) -> ToolCall:
        """A call, with its result where this login may read it.

        Raises:
            ToolCallError: there is no such call.
        """
        with self._client.transaction(read_only=True) as transaction:
            row = transaction.query_one(f"{_CALLS} WHERE c.id = %s", [str(_uuid(call_id))])
            if row is None:
                raise _unknown(call_id)
            may = transaction.query_one(
                "SELECT has_column_privilege('tool_call_records'::text, 'result'::text, 'SELECT'::text) AS read"
            )
            if may and may["read"]:
                found = transaction.query_one(
                    "SELECT r.result FROM tool_call_records AS r WHERE r.id = %s", [row["id"]]
                )
                row["result"] = found and found["result"]
        return ToolCall(**row)

    def calls(
        self,
        *,
        statuses: Sequence[str] = (),
        tool: str | None = None,
        task_run_id: UUID | str | None = None,
        limit: int = 20,
    ) -> list[ToolCall]:
        """Calls without their results, the newest first: those in one of the statuses, of this tool, of this run, at most `limit`."""
        conditions = ["true"]
        parameters: dict[str, Any] = {"limit": limit}
        for name, column, value in (
            ("statuses", "c.status = ANY (%(statuses)s)", list(statuses)),
            ("tool", "c.tool_name = %(tool)s", tool),
            ("task_run_id", "c.task_run_id = %(task_run_id)s", task_run_id and str(_uuid(task_run_id))),
        ):
            if value:
                conditions.append(column)
                parameters[name] = value
        return self._client.query_many(
            f"{_CALLS} WHERE {' AND '.join(conditions)} ORDER BY c.created_at DESC, c.id LIMIT %(limit)s",
            parameters,
            model=ToolCall,
        )

    def find(self, beginning: str) -> list[UUID]:
        """The identifiers of calls that begin so: none, the only one, or two of several."""
        digits = beginning.lower().replace("-", "")
        if not _DIGITS.fullmatch(digits):
            return []
        rows = self._client.query_many(
            "SELECT c.id FROM tool_call_overview AS c WHERE c.id BETWEEN %s::uuid AND %s::uuid ORDER BY c.id LIMIT 2",
            [digits.ljust(32, "0"), digits.ljust(32, "f")],
        )
        return [row["id"] for row in rows]

    def previous_arguments(self, call: ToolCall) -> dict[str, Any] | None:
        """The arguments of the last other call of the same tool that was started; None if there is none."""
        row = self._client.query_one(_PREVIOUS, [call.tool_name, call.id])
        return row["arguments"] if row else None

    def cancel(self, call_id: UUID | str) -> ToolAnswer:
        """Withdraw a call that has not been started; only who asked for it may."""
        return self._change(f"cancel_tool_call(%(id)s::uuid, {_TOKEN})", call_id)

    def approve(self, call_id: UUID | str, reason: str | None = None) -> ToolAnswer:
        """Let a call that waits for it be carried out, as the approver whose token or login this client has."""
        return self._decide(call_id, "approve", reason)

    def deny(self, call_id: UUID | str, reason: str | None = None) -> ToolAnswer:
        """Refuse a call that waits for a decision, as the approver whose token or login this client has."""
        return self._decide(call_id, "deny", reason)

    def waiting(self) -> list[WaitingCall]:
        """The calls about which a person may decide, the oldest first, for the approver whose token or login this client has."""
        return self._client.query_many(_WAITING, model=WaitingCall)

    def _decide(self, call_id: UUID | str, decision: str, reason: str | None) -> ToolAnswer:
        token = f", {_TOKEN}" if self._client.settings.tool_token else ""
        return self._change(
            f"decide_tool_call(%(id)s::uuid, %(decision)s::text, %(reason)s::text{token})",
            call_id,
            decision=decision,
            reason=reason,
        )

    def _refuse_transaction(self) -> None:
        if self._client.in_transaction():
            raise TransactionError(
                "A call of a tool is no part of a transaction, which could not undo it: end the one that is open in this thread first."
            )

    def _change(self, function: str, call_id: UUID | str, **parameters: Any) -> ToolAnswer:
        self._refuse_transaction()
        row = self._client.query_one(
            f"SELECT a.accepted, a.status, a.reason FROM {function} AS a",  # noqa: S608 - constants of this file
            {"id": str(_uuid(call_id)), **parameters},
            model=ToolAnswer,
        )
        return row or ToolAnswer(False, None, None)

    def list(self, *, enabled: bool = True) -> list[Tool]:
        """The tools in the order of their names. `enabled`: without those that are kept for the record."""
        condition = "WHERE t.enabled " if enabled else ""
        return self._client.query_many(f'{_TOOLS} {condition}ORDER BY t.name COLLATE "C"', model=Tool)


def describe_call(call: ToolCall) -> str:
    """How a call stands, as one sentence with its identifier."""
    name = f"The call {call.id} of {call.tool_name}"
    why = _sentence(call.error or call.reason)
    if call.waits_for_approval:
        return f"{name} waits for a person's approval."
    if call.status == "pending":
        return f"{name} waits for the executor, mission-control-tools.service, to check its arguments."
    if call.status == "approved":
        return f"{name} is allowed and waits for the executor, mission-control-tools.service."
    if call.status == "running":
        return f"{name} is being carried out."
    if call.status == "succeeded":
        return f"{name} succeeded."
    if call.status == "unknown":
        return f"{name} ended without telling how: look at the tool's own system before you ask again."
    if call.status == "cancelled":
        return f"{name} was withdrawn by who asked for it."
    if call.status == "expired":
        return f"{name} expired before it was carried out."
    said = {"denied": "was denied", "failed": "failed", "timed_out": "ran out of time"}.get(call.status, call.status)
    return f"{name} {said}: {why}"


def _sentence(reason: str | None) -> str:
    return f"{reason.rstrip('.')}." if reason else "no reason was given."


def _json_text(tool: str, arguments: Arguments | None) -> str:
    """The arguments as they are sent."""
    if arguments is None:
        return "{}"
    problem = "they must be a JSON object"
    try:
        text = json.dumps(arguments, allow_nan=False)
        if isinstance(json.loads(text), dict):
            return text
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"they have no form in JSON ({type(error).__name__})"
    raise ToolArgumentsError(tool, [problem])


def _check_arguments(tool: Tool, arguments: dict[str, Any]) -> None:
    given = {name: value for name, value in arguments.items() if name not in tool.preset}
    problems = argument_problems(tool.caller_schema(), given)
    if problems:
        raise ToolArgumentsError(tool.name, list(problems))


def _uuid(text: UUID | str) -> UUID:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except (ValueError, AttributeError, TypeError):
        raise _unknown(text) from None


def _unknown(call_id: object) -> ToolCallError:
    return ToolCallError(f"There is no call {str(call_id)[:64]!r}.", None, None)


def _watch(session: Session, call_id: UUID, deadline: float, until: Callable[[ToolCall], bool]) -> ToolCall:
    """The call when it has come so far, or at the deadline."""
    with contextlib.suppress(QueryError):
        session.command(f"LISTEN {CHANNEL}")
    try:
        while True:
            rows = session.query(f"{_CALLS} WHERE c.id = %s", [str(call_id)], ToolCall).rows
            if not rows:
                raise _unknown(call_id)
            call: ToolCall = rows[0]
            if until(call) or time.monotonic() >= deadline:
                return call
            _wait_for_news(session, str(call_id), min(deadline, time.monotonic() + _POLL))
    finally:
        # The connection is the pool's again; one that was lost is closed anyway.
        with contextlib.suppress(MissionControlError):
            session.command("UNLISTEN *")
            session.connection.notifies.clear()


def _wait_for_news(session: Session, call_id: str, deadline: float) -> None:
    """Wait for a notification about the call, or until the deadline."""
    connection = session.connection
    # What came with the answer to a statement is there already, and makes nothing readable any more.
    while not _take_news(connection, call_id):
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not select.select([connection.fileno()], [], [], remaining)[0]:
            return
        try:
            connection.poll()
        except DRIVER_ERRORS:
            session.lost = True
            raise ConnectionLostError("The connection was lost while a call of a tool was waited for.") from None


def _take_news(connection: Any, call_id: str) -> bool:
    """Whether one of the notifications that have come is about the call."""
    news = any(call_id in notification.payload for notification in connection.notifies)
    connection.notifies.clear()
    return news
