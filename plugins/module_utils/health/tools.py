# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the tools: policies that nobody understands, calls that nothing takes up, and calls of which nobody knows how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .report import Check
from .schema import find_relations, read_tables, unreadable
from .text import duration, number

if TYPE_CHECKING:
    from .probe import Probe

    Row = dict[str, Any]

_MOST_NAMES = 3
# Of the calls those are read that are open, and, by their index, those of the days in which one that has just ended may have been asked for: a
# person has a day to decide, an approval is good for a day at most.
_CALLS = """
SELECT
    count(*) FILTER (WHERE c.status = 'pending' AND c.checked_at IS NOT NULL) AS waiting,
    count(*) FILTER (WHERE c.idle_seconds > %(seconds)s) AS stalled,
    max(c.idle_seconds) AS longest_idle_seconds,
    count(*) FILTER (WHERE c.status = 'running') AS running,
    count(*) FILTER (WHERE c.status = 'running' AND c.deadline_at < clock_timestamp() - interval '60 seconds') AS overdue,
    (
        SELECT count(*) FROM ONLY {tool_call_records} AS u
        WHERE u.created_at > clock_timestamp() - interval '4 days' AND u.status = 'unknown'
            AND coalesce(u.deadline_at, u.started_at) > clock_timestamp() - interval '24 hours'
    ) AS unknown
FROM (
    SELECT r.status, r.checked_at, r.deadline_at,
        CASE
            WHEN r.status = 'approved' OR (r.status = 'pending' AND r.checked_at IS NULL)
                THEN extract(epoch FROM clock_timestamp() - coalesce(r.approved_at, r.created_at))::float8
        END AS idle_seconds
    FROM ONLY {tool_call_records} AS r
    WHERE r.status IN ('pending', 'approved', 'running')
) AS c
"""
_POLICIES = """
SELECT p.name, p.conditions_known FROM ONLY {policies} AS p
WHERE p.enabled AND (NOT p.conditions_known OR p.effect = 'allow' AND p.origin = 'user') ORDER BY p.name
"""


def check_tools(probe: Probe) -> Check:
    """What keeps tools from being called as the policies mean it. That a call waits for a person is as it should be."""
    answer = unreadable(probe, "tools", "policies", "tool_call_records")
    if answer is not None:
        return answer
    if "tool_tokens" not in probe.remember(find_relations):
        # Tables of these names that any program may write to.
        return Check(
            "tools", "not checked", "Tools are not under policy before the pending migrations are applied.", {}
        )
    found = read_tables(probe, _POLICIES)
    policies = [row["name"] for row in found if not row["conditions_known"]]
    older = [row["name"] for row in found if row["conditions_known"]]
    (calls,) = read_tables(probe, _CALLS, {"seconds": probe.thresholds.tool_call_warn_seconds})
    data = {
        "unknown_conditions": len(policies),
        "policies": policies,
        "older_allowing": len(older),
        "older_policies": older,
        **calls,
    }
    problems = _problems(data, _named(policies), _named(older))
    if problems:
        return Check("tools", "warn", _sentence(problems), data)
    return Check("tools", "pass", _sentence([_state(data)]), data)


def without_names(check: Check) -> str:
    """The message of a check that looked at the calls, for whoever is not to know the names of policies."""
    return _sentence(_problems(check.data) or [_state(check.data)])


def _state(data: Row) -> str:
    return f"{number(data['running'], 'tool call')} running, {data['waiting']} waiting for a person"


def _named(policies: list[str]) -> str:
    return f": {', '.join(policies[:_MOST_NAMES])}{', …' if len(policies) > _MOST_NAMES else ''}"


def _problems(data: Row, names: str = "", older: str = "") -> list[str]:
    problems = []
    if data["unknown_conditions"]:
        which = number(
            data["unknown_conditions"],
            "policy denies all it covers, since its",
            "policies deny all they cover, since their",
        )
        problems.append(f"{which} conditions are not known{names}")
    if data["older_allowing"]:
        # Any program with the application's login could write it.
        which = number(data["older_allowing"], "policy allows", "policies allow")
        problems.append(f"{which} calls without being one of mission_control_schema_policies{older}")
    if data["stalled"]:
        which = number(data["stalled"], "tool call is", "tool calls are")
        problems.append(f"{which} taken up by no executor, one for {duration(data['longest_idle_seconds'])}")
    if data["overdue"]:
        problems.append(f"{number(data['overdue'], 'tool call runs', 'tool calls run')} past the deadline")
    if data["unknown"]:
        which = number(data["unknown"], "tool call of the last 24 h has", "tool calls of the last 24 h have")
        problems.append(f"{which} ended without anybody knowing how")
    return problems


def _sentence(parts: list[str]) -> str:
    return f"{'; '.join(parts)}."
