# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`mission-control status`: which migrations a database has, against those that this version brings."""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..schema.manifest import Manifest
from ..schema.migrations import FILE_NAME
from ..schema.own_tables import own_tables
from .output import table
from .parser import EXIT_NO, EXIT_OK, EXIT_UNKNOWN, CommandError, add_format_options, make_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..client.client import Client
    from ..schema.own_tables import OwnTables
    from .output import Output

SUMMARY = "which migrations are applied, pending or drifted"
DESCRIPTION = """\
Compares the migrations and the functions and views of the database with those that this version of the collection
brings. Changes nothing; `ansible-playbook playbooks/migrate.yml` applies what is pending.

applied: as this version has it. pending: not applied yet. out of order: not applied, though a later one is. drifted:
changed after it was applied. ahead: not known to this version. A homelab's own migrations (site) are listed as
recorded, since their files are not at hand here.

The exit code is 0 if the database is current, 1 if it is not, 2 for wrong usage, 3 if it could not be asked."""
EXAMPLES = """\
examples:
  mission-control status
  mission-control status --json
  mission-control status > /dev/null || echo "not current\""""

_COLOURS = {"applied": "green", "current": "green", "pending": "yellow", "outdated": "yellow", "recorded": "dim"}

# The catalogue shows everybody where the table is; a name leads to it only where the login may use its schema.
_PLACE = """
SELECT min(n.nspname::text) AS schema
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = 'schema_migrations' AND c.relkind IN ('r', 'p')
"""


@dataclass(frozen=True)
class Line:
    """A migration, or a repeatable file (origin `repeatable`), with its state and when it was applied."""

    origin: str
    name: str
    state: str
    applied_at: datetime.datetime | None


def add_options(parser: argparse.ArgumentParser) -> None:
    add_format_options(parser, "json")


def prepare(options: argparse.Namespace) -> Client:
    return make_client(options)


def run(options: argparse.Namespace, client: Client, output: Output) -> int:
    manifest = Manifest.built_in()
    if manifest is None:
        raise CommandError(
            "This copy of mission-control came without a manifest of its migrations: install it again.", EXIT_UNKNOWN
        )
    with own_tables(client, "schema_migrations", "schema_repeatables", isolation="repeatable read") as tables:
        migrations, repeatables = _recorded(tables)
    lines = [*migration_lines(manifest, migrations), *repeatable_lines(manifest, repeatables)]
    current = all(line.state in ("applied", "current", "recorded") for line in lines)
    if options.format == "json":
        output.json({"current": current, "version": manifest.version, "files": [vars(line) for line in lines]})
    else:
        _print(lines, current, manifest.version, output)
    return EXIT_OK if current else EXIT_NO


def _recorded(tables: OwnTables) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables; none where there are no such tables."""
    if tables.relations["schema_migrations"] is None:
        place = tables.rows(_PLACE)[0]["schema"]
        if place is None:
            return [], []
        raise CommandError(
            f"The migrations are recorded in the schema {place}, which this login may not use or does not have on its search_path.",
            EXIT_UNKNOWN,
        )
    return (
        tables.rows("SELECT m.origin, m.version, m.name, m.checksum, m.applied_at FROM ONLY {schema_migrations} AS m"),
        tables.rows("SELECT r.name, r.checksum, r.applied_at FROM ONLY {schema_repeatables} AS r"),
    )


def migration_lines(manifest: Manifest, rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Every migration that the manifest or the database knows, in order."""
    recorded = {(row["origin"], row["version"]): row for row in rows}
    known = {(each.origin, each.version): each for each in manifest.migrations}
    origins = {origin for origin, version in known}
    lines = []
    for key in sorted({*recorded, *known}):
        row, expected = recorded.get(key), known.get(key)
        if row is None:
            later = any(other[0] == key[0] and other[1] > key[1] for other in recorded)
            state = "out of order" if later else "pending"
        elif expected is None:
            state = "ahead" if key[0] in origins else "recorded"
        else:
            state = "applied" if row["checksum"] == expected.checksum else "drifted"
        name = row["name"] if row is not None else expected.name if expected is not None else ""
        lines.append(Line(key[0], name, state, None if row is None else row["applied_at"]))
    return lines


def repeatable_lines(manifest: Manifest, rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Every file of functions and views that the manifest or the database knows. Prices, recorded beside them, are data."""
    recorded = {row["name"]: row for row in rows if FILE_NAME.match(row["name"])}
    lines = []
    for expected in manifest.repeatables:
        row = recorded.pop(expected.name, None)
        state = "pending" if row is None else "current" if row["checksum"] == expected.checksum else "outdated"
        lines.append(Line("repeatable", expected.name, state, None if row is None else row["applied_at"]))
    lines += [Line("repeatable", name, "ahead", row["applied_at"]) for name, row in sorted(recorded.items())]
    return lines


def _time(time: datetime.datetime | None) -> str:
    return "-" if time is None else f"{time.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%SZ}"


def _print(lines: list[Line], current: bool, version: str, output: Output) -> None:
    cells = [[line.origin, line.name, line.state, _time(line.applied_at)] for line in lines]
    texts = table(["origin", "name", "state", "applied at"], cells, width=output.width, whole=(2, 3))
    output.line(texts[0])
    for line, text in zip(lines, texts[1:]):
        output.line(
            text.replace(f"  {line.state}", "  " + output.colour(line.state, _COLOURS.get(line.state, "red")), 1)
        )
    counts: dict[str, int] = {}
    for line in lines:
        if line.state not in ("applied", "current", "recorded"):
            counts[line.state] = counts.get(line.state, 0) + 1
    output.line()
    if current:
        output.sentence(f"The database is current with version {version}.")
    else:
        found = ", ".join(f"{number} {state}" for state, number in counts.items())
        output.sentence(f"The database is not current with version {version}: {found}.")
