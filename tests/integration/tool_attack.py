"""An attack on the calls of tools: who tries what, what becomes of it, and what goes through that differs as little as possible.

`%(…)s` in a statement names what tool_field.Names makes: runs, calls in each state, tokens. docs/tool-attacks.md lists all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What becomes of an attack: a SQLSTATE, or one of these words.
REFUSED = "42501"
# The function answers with a row that says no, and the audit log keeps that.
ANSWERED = "answered"
# The statements go through and do no harm.
HARMLESS = "harmless"

EVERYBODY = ("application", "service", "alice", "executor", "maintenance", "monitor", "readonly")
NOT_ALICE = tuple(who for who in EVERYBODY if who != "alice")
NOT_THE_EXECUTOR = tuple(who for who in EVERYBODY if who != "executor")


def parted(sql: str) -> tuple[str, ...]:
    """Statements that are parted by ";;"."""
    return tuple(part.strip() for part in re.split(r";;\s*", sql) if part.strip())


@dataclass(frozen=True)
class ToolAttack:
    """Statements by each of some logins, and the twin that is allowed.

    Attributes:
        id: its name in docs/tool-attacks.md.
        who: the logins that try it, each on its own.
        statements: one after the other; the answer of the last one counts.
        twin_by, twin: whose statements go through.
        outcome: of the attack.
        ends: the status in which the attacked call may be afterwards; empty: everything is as it was.
        rows: what a COPY … FROM STDIN reads.
        audited: whether the refusal is in the audit log.
    """

    id: str
    who: tuple[str, ...]
    statements: tuple[str, ...]
    twin_by: str
    twin: tuple[str, ...]
    outcome: str = REFUSED
    ends: str = ""
    rows: str = ""
    audited: bool = True


def attack(id, who, sql, twin_by, twin, outcome=REFUSED, **more):
    return ToolAttack(id, (who,) if isinstance(who, str) else who, parted(sql), twin_by, parted(twin), outcome, **more)


def request(tool="'restart'", arguments="'{}'", key="NULL", token="NULL", run="%(run)s"):
    return f"SELECT * FROM request_tool_call({run}, {tool}, {arguments}, {key}, {token})"


def decide(call, token=None, decision="'approve'"):
    return f"SELECT * FROM decide_tool_call(%({call})s, {decision}, 'it hangs'{'' if token is None else ', ' + token})"


def start(call, execution="%(execution)s"):
    return f"SELECT * FROM start_tool_call(%({call})s, {execution}, '{{}}')"


def finish(call, execution="%(execution)s", status="'succeeded'"):
    return f"SELECT * FROM finish_tool_call(%({call})s, {execution}, {status}, '{{}}', NULL)"


def check(call, problem="NULL"):
    return f"SELECT * FROM check_tool_call(%({call})s, {problem})"


def cancel(call, token="NULL"):
    return f"SELECT * FROM cancel_tool_call(%({call})s, {token})"


_APPROVED = decide("pending", "%(carol)s")


SEEN = "UPDATE task_runs SET error = 'seen' WHERE id = %(run)s"
