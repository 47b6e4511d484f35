# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the SQL files of the schema, compare them with what a database has recorded, and plan what to apply.

Nothing here connects to a database: files and recorded history go in, a plan comes out, which `runner`
turns into statements.

Two kinds of files:

- versioned migrations, `NNN_name.sql`: each is applied once, in the order of the numbers, and never edited afterwards.
  Those of this collection have the origin `bundle`, those of a homelab's own directory the origin `site`; each origin
  has its own numbers.
- repeatable files, `NNN_name.sql`: functions and views that are replaced as a whole whenever one of them changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .sql_text import Statement, split_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILE_NAME = re.compile(r"^(\d{3,})_([a-z0-9][a-z0-9_]*)\.sql$")
_DIRECTIVE = re.compile(r"^--\s*(role|no-transaction)\b\s*:?\s*(\S*)\s*$")

BUNDLE = "bundle"
SITE = "site"


class PlanError(Exception):
    """A file cannot be read as what it has to be. Its text is one sentence that names the file and the cure."""


@dataclass(frozen=True)
class SqlFile:
    """A file of SQL.

    Attributes:
        name: the file's name.
        checksum: SHA-256 of its text in hexadecimal; line ends do not count, so that a checkout made on another
            system is the same file.
        body: its text.
        role: who executes it and so owns what it makes: `owner`, or `audit` for the audit log.
    """

    name: str
    checksum: str
    body: str
    role: str


@dataclass(frozen=True)
class MigrationFile(SqlFile):
    """A versioned migration.

    Attributes:
        origin: `bundle` or `site`.
        version: its number.
        transactional: False for a file that PostgreSQL refuses inside a transaction (`-- no-transaction`).
    """

    origin: str
    version: int
    transactional: bool


@dataclass(frozen=True)
class AppliedMigration:
    """A row of `schema_migrations`."""

    origin: str
    version: int
    name: str
    checksum: str


@dataclass(frozen=True)
class MigrationPlan:
    """What has to be applied.

    Attributes:
        applied: files that the database has recorded, unchanged.
        pending: files to apply, in order: the bundle's, then the site's.
        problems: sentences; where there is one, nothing may be applied.
    """

    applied: tuple[MigrationFile, ...]
    pending: tuple[MigrationFile, ...]
    problems: tuple[str, ...]


def checksum(text: str) -> str:
    """SHA-256 in hexadecimal of a text in UTF-8 with line feeds as line ends."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode("utf-8")).hexdigest()


def read_migrations(directory: str, origin: str = BUNDLE) -> list[MigrationFile]:
    """Read the versioned migrations of a directory, in the order of their numbers.

    Raises:
        PlanError: a file is misnamed, a number is missing or used twice, or a file controls the transaction itself.
    """
    files = []
    for name in _sql_file_names(directory):
        match = FILE_NAME.match(name)
        if match is None:
            raise PlanError(f"{name} in {directory} is not named like 001_what_it_does.sql: rename it.")
        files.append(_read_migration(directory, name, origin, int(match.group(1))))
    files.sort(key=lambda file: (file.version, file.name))
    _check_numbers(files, directory)
    return files


def read_repeatables(directory: str) -> list[SqlFile]:
    """Read the repeatable files of a directory, in the order of their names.

    Raises:
        PlanError: a file is misnamed, controls the transaction itself, or is `-- no-transaction`.
    """
    files = []
    for name in _sql_file_names(directory):
        if FILE_NAME.match(name) is None:
            raise PlanError(f"{name} in {directory} is not named like 001_what_it_holds.sql: rename it.")
        body = _read_text(os.path.join(directory, name))
        role, transactional = _directives(name, body)
        if not transactional:
            raise PlanError(f"{name} is repeatable, so it cannot be `-- no-transaction`: make it a numbered migration.")
        _refuse_transaction_control(name, split_statements(body))
        files.append(SqlFile(name, checksum(body), body, role))
    return files


def plan_migrations(files: Sequence[MigrationFile], applied: Iterable[AppliedMigration]) -> MigrationPlan:
    """Compare the files with what the database has recorded."""
    recorded = {(row.origin, row.version): row for row in applied}
    known = {(file.origin, file.version) for file in files}
    newest = {
        origin: max((version for row_origin, version in recorded if row_origin == origin), default=0)
        for origin in (BUNDLE, SITE)
    }
    done, pending, problems = [], [], []
    for key in sorted(recorded):
        if key not in known:
            problems.append(_ahead(recorded[key]))
    for file in sorted(files, key=lambda file: (file.origin, file.version)):
        row = recorded.get((file.origin, file.version))
        if row is None and file.version < newest[file.origin]:
            problems.append(
                f"{file.name} is out of order: {newest[file.origin]:03d} is already applied, "
                f"so give it a number above {newest[file.origin]:03d}."
            )
        elif row is None:
            pending.append(file)
        elif row.checksum != file.checksum:
            problems.append(
                f"{file.name} was changed after it was applied: restore the file as it was "
                f"(SHA-256 {row.checksum[:12]}…) and put the change into a new migration."
            )
        else:
            done.append(file)
    return MigrationPlan(tuple(done), tuple(pending), tuple(problems))


def applied_from_rows(rows: Iterable[Mapping[str, Any]]) -> list[AppliedMigration]:
    """Rows of `schema_migrations`, as any client returns them, as AppliedMigration."""
    return [AppliedMigration(row["origin"], int(row["version"]), row["name"], row["checksum"]) for row in rows]


def status_table(files: Sequence[MigrationFile], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The state of every migration as lines of a table for people.

    Args:
        files: what read_migrations() returned, both origins together.
        rows: rows of `schema_migrations` with `origin`, `version`, `name`, `checksum` and `applied_at` (text).
    """
    recorded = {(row["origin"], int(row["version"])): row for row in rows}
    lines = [("origin", "version", "name", "state", "applied at")]
    known = set()
    for file in files:
        known.add((file.origin, file.version))
        row = recorded.get((file.origin, file.version))
        state = "pending" if row is None else "applied" if row["checksum"] == file.checksum else "DRIFTED"
        lines.append((file.origin, f"{file.version:03d}", file.name, state, str(row["applied_at"]) if row else "-"))
    for key in sorted(recorded):
        if key not in known:
            row = recorded[key]
            lines.append((key[0], f"{key[1]:03d}", row["name"], "NO FILE", str(row["applied_at"])))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def _ahead(row: AppliedMigration) -> str:
    if row.origin == SITE:
        return (
            f"The database has the site-local migration {row.name}, which is not in that directory: "
            "put the file back, or set mission_control_schema_site_directory to the directory that holds it."
        )
    return (
        f"The database is ahead of these files: it has {row.name}, which this version of the collection does not "
        "ship: use the version that applied it, or a newer one."
    )


def _sql_file_names(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError as error:
        raise PlanError(f"The directory {directory} cannot be read: {error.strerror}.") from error
    for name in names:
        # It looks like one of our files but would be ignored: its author would wait for it in vain.
        if not name.endswith(".sql") and (".sql" in name.lower() or re.match(r"\d{3}", name)):
            raise PlanError(
                f"{name} in {directory} would be ignored, because its name does not end in .sql: rename it, or move it elsewhere."
            )
    return [name for name in names if name.endswith(".sql")]


def _read_text(path: str) -> str:
    try:
        # Some editors begin a file with a byte order mark, which PostgreSQL would take for a letter.
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not UTF-8 text: save it as UTF-8.") from error
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}.") from error
    if "\x00" in text:
        raise PlanError(f"{path} holds the character NUL, which PostgreSQL cannot store: remove it.")
    return text


def _read_migration(directory: str, name: str, origin: str, version: int) -> MigrationFile:
    body = _read_text(os.path.join(directory, name))
    role, transactional = _directives(name, body)
    if origin == SITE and role != "owner":
        raise PlanError(
            f"{name} has the line `-- role: {role}`, which only this collection's own files may have: remove the line."
        )
    statements = split_statements(body)
    _refuse_transaction_control(name, statements)
    if not statements:
        raise PlanError(f"{name} holds no statement: remove the file, or write one.")
    if not transactional and len(statements) != 1:
        raise PlanError(
            f"{name} is `-- no-transaction` and holds {len(statements)} statements: give each a file of its own."
        )
    if not transactional and not _runs_as_the_tables_owner(statements[0].words):
        raise PlanError(
            f"{name} is `-- no-transaction`, which only CREATE, DROP and REINDEX INDEX CONCURRENTLY, VACUUM, ALTER TYPE … ADD VALUE and DETACH "
            "PARTITION CONCURRENTLY may be, since any other statement could take the administrator's rights: remove the line."
        )
    return MigrationFile(name, checksum(body), body, role, origin, version, transactional)


def _runs_as_the_tables_owner(words: tuple[str, ...]) -> bool:
    """Whether PostgreSQL itself runs all code that a statement leads to as the owner of the table, with no way back to the session's login."""
    return (
        words[:3] in (("CREATE", "INDEX", "CONCURRENTLY"), ("DROP", "INDEX", "CONCURRENTLY"))
        or words[:4] == ("CREATE", "UNIQUE", "INDEX", "CONCURRENTLY")
        or words[:1] in (("REINDEX",), ("VACUUM",))
        or (words[:2] == ("ALTER", "TYPE") and "ADD" in words)
        or (words[:2] == ("ALTER", "TABLE") and "DETACH" in words and words[-1] == "CONCURRENTLY")
    )


def _directives(name: str, body: str) -> tuple[str, bool]:
    """The directives in the comment lines that the file begins with: (role, transactional)."""
    role, transactional = "owner", True
    for line in body.splitlines():
        if line.strip() and not line.startswith("--"):
            break
        match = _DIRECTIVE.match(line)
        if match is None:
            continue
        if match.group(1) == "no-transaction":
            transactional = False
        elif match.group(2) in ("owner", "audit"):
            role = match.group(2)
        else:
            raise PlanError(f"{name} has the line `-- role: {match.group(2)}`: write owner or audit.")
    return role, transactional


def _refuse_transaction_control(name: str, statements: Sequence[Statement]) -> None:
    for statement in statements:
        if statement.controls_transaction:
            raise PlanError(
                f"{name} line {statement.line} controls the transaction itself ({' '.join(statement.words[:2])}): "
                "remove it, each file is applied in one transaction already."
            )
        if statement.backslash:
            raise PlanError(
                f"{name} line {statement.line} holds a backslash command, which only psql understands: remove it."
            )


def _check_numbers(files: Sequence[MigrationFile], directory: str) -> None:
    expected = 1
    for index, file in enumerate(files):
        if index and file.version == files[index - 1].version:
            raise PlanError(
                f"{file.name} and {files[index - 1].name} in {directory} have the same number: renumber one of them."
            )
        if file.version != expected:
            raise PlanError(
                f"{directory} has no migration {expected:03d}, but {file.name}: numbers begin at 001 and have no gap."
            )
        expected = file.version + 1
