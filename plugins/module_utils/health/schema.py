# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the schema: whether its tables, views and triggers are there, and how large the tables are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LockTimeoutError
from ..schema.objects import ALWAYS_TRIGGERS, TABLES, TRIGGERS, VIEWS
from ..schema.own_tables import FIND, Relation, found_relations, named, not_read
from .report import Check
from .text import number, size

if TYPE_CHECKING:
    from .probe import Probe

_DISABLED = ("D", "R")  # pg_trigger.tgenabled: never, and only for replication
_ALWAYS = "A"


def check_schema_objects(probe: Probe) -> Check:
    """Tables, views and triggers that have to be there. Whoever may connect may look these up."""
    relations = probe.remember(find_relations)
    reachable = {name: found for name, found in relations.items() if found.reachable}
    hidden = [name for name, found in relations.items() if not found.reachable and not found.usable]
    tables = {name for name, found in reachable.items() if found.is_table}
    states = {name: reachable[name].triggers for name in tables}
    triggers = [(table, name, states[table].get(name)) for table, name in TRIGGERS if table in states]
    schema = reachable["schema_migrations"].schema if "schema_migrations" in reachable else None
    problems = {
        "missing_tables": [name for name in TABLES if name not in tables and name not in hidden],
        "missing_views": [name for name in VIEWS if name not in reachable and name not in hidden],
        "missing_triggers": [f"{table}.{name}" for table, name, state in triggers if state is None],
        "disabled_triggers": [f"{table}.{name}" for table, name, state in triggers if state in _DISABLED],
        "weakened_triggers": [
            f"{table}.{name}"
            for table, name, state in triggers
            if (table, name) in ALWAYS_TRIGGERS and state not in (None, _ALWAYS, *_DISABLED)
        ],
        "misplaced": [
            f"{found.schema}.{name}" for name, found in reachable.items() if schema not in (None, found.schema)
        ],
    }
    data = {**problems, "hidden": hidden, "schema": schema}
    faults = [f"{what.replace('_', ' ')}: {', '.join(names)}" for what, names in problems.items() if names]
    if any(problems[what] for what in ("missing_tables", "missing_views", "missing_triggers", "disabled_triggers")):
        return Check("schema_objects", "fail", f"{_sentence(faults)}{_elsewhere(relations)}", data)
    if faults:
        return Check("schema_objects", "warn", _sentence(faults), data)
    if hidden:
        message = f"{number(len(hidden), 'object')} in a schema that this login may not use."
        return Check("schema_objects", "not visible", message, data)
    counted = f"{len(TABLES)} tables, {len(VIEWS)} views and {len(TRIGGERS)} triggers"
    return Check("schema_objects", "pass", f"All {counted} are there.", data)


def check_tables(probe: Probe) -> Check:
    """Sizes, indexes and TOAST included. A row count is the server's estimate, None where it has none."""
    relations = probe.remember(find_relations)
    found = {name: each.oid for name, each in relations.items() if name in TABLES and each.reachable and each.is_table}
    if not found:
        return unreadable(probe, "tables", *TABLES) or Check("tables", "not checked", "There is no table.", {})
    rows = probe.rows(
        """
        SELECT t.name, t.table_bytes + t.index_bytes AS total_bytes, t.index_bytes, t.estimated_rows
        FROM (
            SELECT relname::text AS name, pg_table_size(oid) AS table_bytes, pg_indexes_size(oid) AS index_bytes,
                nullif(reltuples, -1)::bigint AS estimated_rows
            FROM pg_catalog.pg_class
            WHERE oid = ANY (%s::oid[])
            -- Each file is looked at once.
            OFFSET 0
        ) AS t
        ORDER BY 2 DESC NULLS LAST
        """,
        [list(found.values())],
    )
    tables = {row.pop("name"): row for row in rows}
    total = sum(row["total_bytes"] or 0 for row in rows)
    message = (
        f"The tables take {size(total)}, the largest of them ({next(iter(tables))}) {size(rows[0]['total_bytes'])}."
    )
    return Check("tables", "pass", message, {"total_bytes": total, "tables": tables})


def find_relations(probe: Probe) -> dict[str, Relation]:
    """What there is of the names that have to be there; of several with one name the one that statements would find."""
    relations = found_relations(probe.rows(FIND, {"tables": list(TABLES), "views": list(VIEWS)}))
    home = relations.get("schema_migrations")
    if home is not None and home.reachable:
        # Ours are known to be in a schema that may be used: what has their names elsewhere is somebody else's.
        return {name: found for name, found in relations.items() if found.usable}
    return relations


def read_tables(probe: Probe, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
    """All rows of a statement in which `{name}` stands for a table of ours; `unreadable` has let it pass."""
    relations = probe.remember(find_relations)
    return probe.rows(named(sql, relations, parameters), parameters)


def unreadable(probe: Probe, check: str, *names: str) -> Check | None:
    """The answer of a check that cannot read what it is about; None where it can.

    Raises:
        LockTimeoutError: another session holds a lock.
    """
    relations = probe.remember(find_relations)
    for name in names:
        found = relations.get(name)
        if found is None or (found.usable and not found.reachable):
            return Check(check, "not checked", f"There is no {name}{_elsewhere(relations) or '.'}", {})
        if not found.usable or not found.readable:
            return Check(check, "not visible", f"This login may not read {name}.", {})
    unregistered = set(names) - set(probe.tables)
    if unregistered:
        raise ValueError(f"The check {check} reads {', '.join(sorted(unregistered))}, which the registry does not say.")
    problems = probe.remember(_problems_of_all)
    if problems is None:
        problems = probe.hold({name: relations[name] for name in names}, wait=True)
    for name in names:
        if name in problems:
            return Check(check, "fail", not_read(name, problems[name]), {"relation": name, "problem": problems[name]})
    return None


def _problems_of_all(probe: Probe) -> dict[str, str] | None:
    """What keeps tables from being read. None where a lock is in the way: then each check waits for those that it needs."""
    relations = probe.remember(find_relations)
    wanted = {name: relations[name] for name in probe.tables if name in relations}
    try:
        return probe.hold({name: each for name, each in wanted.items() if each.reachable and each.readable}, wait=False)
    except LockTimeoutError:
        return None


def _elsewhere(relations: dict[str, Any]) -> str:
    """Where the schema is, if it is somewhere that unqualified names do not lead to."""
    found = relations.get("schema_migrations")
    if found is None or found.reachable or not found.usable:
        return ""
    return f" The schema {found.schema} has it, but is not on the search_path of this login."


def _sentence(faults: list[str]) -> str:
    text = "; ".join(faults)
    return f"{text[0].upper()}{text[1:]}."
