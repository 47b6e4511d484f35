# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of the migrations: what the database has recorded, against what this version of the collection brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..schema.definitions import DEFINITION_SETTINGS, DRIFT, SCHEMA_SETTING
from ..schema.migrations import BUNDLE, FILE_NAME, SITE
from .report import Check
from .schema import find_relations, read_tables, unreadable
from .text import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..schema.manifest import ExpectedMigration
    from .probe import Probe

    Row = dict[str, Any]

_NO_MANIFEST = "without a manifest of what this version brings it cannot be said whether that is current"


def check_migrations(probe: Probe) -> Check:
    """Drifted and missing ones are failures; pending ones, and a database that is ahead, a warning."""
    answer = unreadable(probe, "migrations", "schema_migrations")
    if answer is not None:
        # That nothing was ever applied is known even without a manifest.
        return Check("migrations", "fail", answer.message, {}) if answer.status == "not checked" else answer
    rows = read_tables(
        probe,
        "SELECT m.origin, m.version, m.name, m.checksum, m.applied_at FROM ONLY {schema_migrations} AS m "
        "ORDER BY m.origin, m.version",
    )
    current = max((row["version"] for row in rows if row["origin"] == BUNDLE), default=0)
    data: dict[str, Any] = {
        "applied": len(rows),
        "current": current,
        "last_applied_at": max((row["applied_at"] for row in rows), default=None),
    }
    if probe.manifest is None:
        return Check("migrations", "not checked", f"The database is at {current:03d}; {_NO_MANIFEST}.", data)
    data.update(version=probe.manifest.version, **_compare(probe.manifest.migrations, rows))
    faults = [f"{what.replace('_', ' ')}: {', '.join(data[what])}" for what in _KINDS if data[what]]
    if not faults:
        count = number(len(probe.manifest.migrations), "migration")
        message = f"All {count} of version {probe.manifest.version} are applied, unchanged"
        message += (
            f"; {number(len(data['not_compared']), 'site-local one')} not compared." if data["not_compared"] else "."
        )
        return Check("migrations", "pass", message, data)
    bad = data["drifted"] or data["out_of_order"] or not current
    message = f"Against version {probe.manifest.version} of the collection, {'; '.join(faults)}."
    return Check("migrations", "fail" if bad else "warn", message, data)


def check_repeatables(probe: Probe) -> Check:
    """Functions, views and triggers that somebody changed are a failure, those of another version a warning."""
    answer = unreadable(probe, "repeatables", "schema_repeatables")
    if answer is None and "schema_objects" in probe.remember(find_relations):
        answer = unreadable(probe, "repeatables", "schema_objects")
    if answer is not None:
        return answer
    rows = read_tables(probe, "SELECT r.name, r.checksum FROM ONLY {schema_repeatables} AS r")
    recorded = {row["name"]: row["checksum"] for row in rows}
    files = [name for name in recorded if FILE_NAME.match(name)]
    changed = _changed_objects(probe)
    data: dict[str, Any] = {"applied": len(files), "changed": changed}
    if changed:
        message = f"Not as they were made: {', '.join(changed)}; a provisioning run puts them back."
        return Check("repeatables", "fail", message, data)
    if probe.manifest is None:
        message = f"{number(len(files), 'file')} of functions and views; {_NO_MANIFEST}."
        return Check("repeatables", "not checked", message, data)
    outdated = [each.name for each in probe.manifest.repeatables if recorded.get(each.name) != each.checksum]
    data = {**data, "outdated": outdated, "version": probe.manifest.version}
    if outdated:
        message = f"Not as version {probe.manifest.version} of the collection has them: {', '.join(outdated)}."
        return Check("repeatables", "warn", message, data)
    if changed is None:
        message = "No run has recorded how this server describes functions, views and triggers: the next provisioning run does."
        return Check("repeatables", "warn", message, data)
    return Check("repeatables", "pass", "Functions, views and triggers are those of this version.", data)


_DRIFT = DRIFT.replace("<schema_objects>", "{schema_objects}")


def _changed_objects(probe: Probe) -> list[str] | None:
    """What differs from how it was created; None where that was never recorded, or by another major version."""
    found = probe.remember(find_relations).get("schema_objects")
    if found is None:
        return None
    pinned = "; ".join(f"SET LOCAL {name} = {value}" for name, value in DEFINITION_SETTINGS.items())
    rows = read_tables(
        probe, f"{pinned}; SELECT set_config('{SCHEMA_SETTING}', %(schema)s, true);{_DRIFT}", {"schema": found.schema}
    )
    if not rows or not all(row["comparable"] for row in rows):
        return None
    return [row["text"] for row in rows if row["differs"]]


_KINDS = ("drifted", "out_of_order", "pending", "ahead")


def _compare(expected: Iterable[ExpectedMigration], rows: list[Row]) -> dict[str, list[str]]:
    """Names by kind. Those of a homelab's own are compared only where the manifest knows any of them.

    The manifest that is built into the library does not, for their files are not the collection's.
    """
    recorded = {(row["origin"], row["version"]): row for row in rows}
    known = {(each.origin, each.version): each for each in expected}
    origins = {origin for origin, _version in known} | {BUNDLE}
    newest = {origin: max((v for o, v in recorded if o == origin), default=0) for origin in (BUNDLE, SITE)}
    found: dict[str, list[str]] = {kind: [] for kind in (*_KINDS, "not_compared")}
    for key, each in known.items():
        if key not in recorded:
            found["pending" if each.version > newest[each.origin] else "out_of_order"].append(
                _label(each.origin, each.name)
            )
        elif recorded[key]["checksum"] != each.checksum:
            found["drifted"].append(_label(each.origin, each.name))
    for key, row in recorded.items():
        if key not in known:
            found["ahead" if key[0] in origins else "not_compared"].append(_label(key[0], row["name"]))
    return found


def _label(origin: str, name: str) -> str:
    return name if origin == BUNDLE else f"{origin}/{name}"
