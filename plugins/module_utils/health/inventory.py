# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the inventory: whether the sources that are asked by the clock were listed whole lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .report import Check
from .schema import read_tables, unreadable
from .text import duration, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .probe import Probe

    Row = dict[str, Any]

# Characters of the error of a sync.
_LONGEST_ERROR = 300


def check_inventory_sources(probe: Probe) -> Check:
    """Sources of the inventory that have been silent for several intervals. Without a source there is nothing to check, and it says so."""
    answer = unreadable(probe, "inventory_sources", "inventory_sources")
    if answer is not None:
        return answer
    sources = read_tables(
        probe,
        """
        SELECT s.name, s.interval_seconds, s.last_complete_at <> '{}' AS ever,
            extract(epoch FROM clock_timestamp() - coalesce(c.at, s.created_at))::float8 AS seconds, s.last_run_id
        FROM ONLY {inventory_sources} AS s
        LEFT JOIN LATERAL (
            SELECT min(t.value::timestamptz) AS at FROM pg_catalog.jsonb_each_text(s.last_complete_at) AS t (kind, value)
        ) AS c ON true
        WHERE s.enabled
        ORDER BY s.name
        """,
    )
    by_clock = [source for source in sources if source["interval_seconds"] is not None]
    limit = probe.thresholds.inventory_warn_intervals
    silent = [source for source in by_clock if source["seconds"] >= limit * source["interval_seconds"]]
    silent.sort(key=lambda source: -source["seconds"] / source["interval_seconds"])
    data = {"sources": len(sources), "by_clock": len(by_clock), "silent": silent}
    if silent:
        _add_errors(probe, silent)
        return Check("inventory_sources", "warn", silence(silent), data)
    if not sources:
        message = "No source fills the inventory: see the role mission_control_inventory."
        return Check("inventory_sources", "not checked", message, data)
    if not by_clock:
        message = f"{number(len(sources), 'source')}, none of them asked by the clock."
        return Check("inventory_sources", "not checked", message, data)
    message = f"{number(len(by_clock), 'source')} asked by the clock, none silent for long."
    return Check("inventory_sources", "pass", message, data)


def _add_errors(probe: Probe, sources: Sequence[Row]) -> None:
    """Tell of each why its last sync failed; None where it did not, or where this login may know of the sources and not of the runs."""
    errors = {}
    if unreadable(probe, "inventory_sources", "task_runs") is None:
        found = read_tables(
            probe,
            "SELECT r.id, r.error FROM ONLY {task_runs} AS r WHERE r.id = ANY (%s::uuid[]) AND r.status = 'failed'",
            [[source["last_run_id"] for source in sources if source["last_run_id"] is not None]],
        )
        errors = {row["id"]: row["error"] for row in found}
    for source in sources:
        source["error"] = errors.get(source.pop("last_run_id"))


def silence(sources: Sequence[Row], with_errors: bool = True) -> str:
    """A sentence about these silent sources, the first of them by its name.

    Args:
        sources: with `name`, `ever` (whether there was a complete sync), `seconds` since then, and `error` of the last sync or None.
        with_errors: whether to say why the last sync failed, which may name the address of the source.
    """
    first = sources[0]
    what = "had no complete sync for" if first["ever"] else "has had no complete sync since it was added, for"
    text = f"The source {first['name']} {what} {duration(first['seconds'])}"
    if len(sources) > 1:
        text += f", nor had {number(len(sources) - 1, 'other')} for several intervals"
    error = " ".join((first["error"] or "").split())[:_LONGEST_ERROR].rstrip(".")
    return f"{text}; its last sync failed: {error}." if error and with_errors else f"{text}."
