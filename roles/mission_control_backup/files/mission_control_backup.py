# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Back up Mission Control's database, and record in it how that ended.

    mission-control-backup full|diff|incr     by pgBackRest, to each repository
    mission-control-backup dump               a file of this database
    mission-control-backup restore FILE       a dump into an empty database whose roles are there
    mission-control-backup lost SEGMENT       note that write-ahead log was given up; the archive command calls it

It is started by systemd or by hand, as the user that owns the server, and needs nothing but Python's standard library: a backup must
not fail for a package. Exit codes: 0 done, 1 failed, 2 wrong call, 75 another one runs.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    Settings = dict[str, Any]

SETTINGS = "/etc/mission-control/backup/settings.json"
FAILED, WRONG_CALL, BUSY = 1, 2, 75
TYPES = {"pgbackrest": ("full", "diff", "incr"), "dump": ("dump",)}
# What is unqualified is PostgreSQL's own: this may be a superuser's session.
SESSION = "SET search_path = pg_catalog; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
READ_HEAD = """
SELECT sequence || ':' || encode(digest, 'hex') FROM :"schema".audit_head
"""
RECORD = """
INSERT INTO :"schema".backup_runs (method, type, repository, label, started_at, outcome, database_bytes, repository_bytes,
    wal_start, wal_stop, audit_sequence, audit_digest, error)
VALUES (:'method', :'type', nullif(:'repository', ''), nullif(:'label', ''), least(:'started_at'::timestamptz, clock_timestamp()),
    CASE WHEN :'error' = '' THEN 'success' ELSE 'failure' END, nullif(:'database_bytes', '')::bigint,
    nullif(:'repository_bytes', '')::bigint, nullif(:'wal_start', ''), nullif(:'wal_stop', ''),
    nullif(split_part(:'head', ':', 1), '')::bigint, decode(nullif(split_part(:'head', ':', 2), ''), 'hex'), nullif(:'error', ''));
"""
# Once for each time that the repository stops taking the log, and not for each segment.
RECORD_LOST = """
INSERT INTO :"schema".backup_runs (method, type, started_at, outcome, wal_start, error)
SELECT 'pgbackrest', 'archive', clock_timestamp(), 'failure', :'segment',
    'Write-ahead log was given up from ' || :'segment' || ' on, because more was waiting for the repository than archive-push-queue-max allows.'
WHERE NOT EXISTS (
    SELECT FROM :"schema".backup_runs AS g
    WHERE g.type = 'archive' AND g.started_at > coalesce((
        SELECT max(r.started_at) FROM :"schema".backup_runs AS r WHERE r.type <> 'archive' AND r.outcome = 'success'), '-infinity'));
"""


class BackupError(Exception):
    """What went wrong, in a sentence."""


@dataclass
class Backup:
    """One backup and what is known of it."""

    repository: str
    label: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    error: str = ""


def main(arguments: list[str]) -> int:
    settings = read_settings()
    if len(arguments) == 2 and arguments[0] == "lost":
        ask(settings, RECORD_LOST, segment=os.path.basename(arguments[1]))
        return 0
    if len(arguments) == 2 and arguments[0] == "restore":
        restore(settings, arguments[1])
        return 0
    kinds = TYPES[settings["method"]]
    if len(arguments) != 1 or arguments[0] not in kinds:
        print(f"usage: mission-control-backup {'|'.join(kinds)}", file=sys.stderr)
        return WRONG_CALL
    with only_one(settings) as free:
        if not free:
            print("Another backup runs: this one was not begun.", file=sys.stderr)
            return BUSY
        return run(settings, arguments[0])


def run(settings: Settings, kind: str) -> int:
    began = datetime.datetime.now(datetime.timezone.utc)
    try:
        head = ask(settings, READ_HEAD)
    except BackupError as error:
        print(f"The head of the audit log cannot be read, so it is kept with no backup: {error}", file=sys.stderr)
        head = ""
    if kind == "dump":
        backups = [attempt(dump, settings, began, head, Backup(""))]
    else:
        backups = [attempt(back_up, settings, kind, head, Backup(str(number))) for number in settings["repositories"]]
    for backup in backups:
        where = f" to repository {backup.repository}" if kind != "dump" else ""
        print(
            f"The {kind} backup{where} failed: {backup.error}"
            if backup.error
            else f"The {kind} backup {backup.label}{where} is complete.",
            file=sys.stderr if backup.error else sys.stdout,
        )
    recorded = record(settings, kind, began, head, backups)
    return 0 if recorded and not any(backup.error for backup in backups) else FAILED


def attempt(function: Any, *arguments: Any) -> Backup:
    """Make one backup; its failure is kept in it, so that the other repositories have theirs."""
    backup: Backup = arguments[-1]
    try:
        function(*arguments)
    except BackupError as error:
        backup.error = str(error)
    except OSError as error:
        backup.error = f"{error.filename or 'A file'}: {error.strerror}."
    return backup


def record(settings: Settings, kind: str, began: datetime.datetime, head: str, backups: list[Backup]) -> bool:
    """Write down how it ended, in the database and, of heads, outside of it; whether that could be done."""
    try:
        if head:
            lines = "".join(f"{backup.label} {head}\n" for backup in backups if not backup.error)
            with open(os.path.join(settings["state_directory"], "audit.heads"), "a", encoding="ascii") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        for backup in backups:
            known = {"database_bytes": "", "repository_bytes": "", "wal_start": "", "wal_stop": "", **backup.figures}
            ask(
                settings,
                RECORD,
                method=settings["method"],
                type=kind,
                repository=backup.repository,
                label=backup.label,
                started_at=began.isoformat(),
                head=head,
                error=backup.error,
                **known,
            )
    except (BackupError, OSError) as error:
        print(f"How it ended could not be recorded: {error}", file=sys.stderr)
        return False
    return True


# By pgBackRest.


def back_up(settings: Settings, kind: str, head: str, backup: Backup) -> None:
    note = [f"--annotation=audit-head={head}"] if head else []
    pgbackrest(settings, [f"--type={kind}", f"--repo={backup.repository}", *note, "backup"])
    answer = json.loads(pgbackrest(settings, ["--output=json", f"--repo={backup.repository}", "info"]))
    made = [each for each in answer[0]["backup"] if str(each["database"]["repo-key"]) == backup.repository][-1]
    backup.label = made["label"]
    backup.figures = {
        "database_bytes": str(made["info"]["size"]),
        "repository_bytes": str(made["info"]["repository"].get("delta", "")),
        "wal_start": made["archive"]["start"],
        "wal_stop": made["archive"]["stop"],
    }


def pgbackrest(settings: Settings, arguments: list[str]) -> str:
    command = ["pgbackrest", f"--config={settings['configuration']}", f"--stanza={settings['stanza']}", *arguments]
    return output_of(command, "pgbackrest")


# By pg_dump.


def dump(settings: Settings, began: datetime.datetime, head: str, backup: Backup) -> None:
    """A whole dump or none: under its own name it was read again, and its checksum lies beside it."""
    directory = settings["dump_directory"]
    backup.label = f"{settings['database']}-{began:%Y%m%dT%H%M%SZ}.dump"
    backup.repository = target = os.path.join(directory, backup.label)
    partial, roles = f"{target}.partial", f"{target}.roles.sql"
    try:
        output_of(["pg_dump", "--format=custom", f"--file={partial}", *connection(settings)], "pg_dump", settings)
        output_of(["pg_restore", "--list", partial], "pg_restore")
        # Passwords are not among what the dump of the roles holds.
        globals_only = ["pg_dumpall", "--globals-only", "--no-role-passwords", f"--file={roles}", *server(settings)]
        output_of(globals_only, "pg_dumpall", settings)
        write(f"{target}.sha256", f"{checksum(partial)}  {backup.label}\n")
        if head:
            write(f"{target}.head", f"{head}\n")
        os.replace(partial, target)
    except (BackupError, OSError):
        for path in (partial, roles, f"{target}.sha256", f"{target}.head"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        raise
    backup.figures = {
        "database_bytes": ask(settings, "SELECT pg_database_size(current_database())"),
        "repository_bytes": str(os.path.getsize(target)),
    }
    remove_old(settings, directory)


def checksum(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        os.fsync(file.fileno())
    return digest.hexdigest()


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def remove_old(settings: Settings, directory: str) -> None:
    pattern = re.compile(re.escape(settings["database"]) + r"-\d{8}T\d{6}Z\.dump")
    dumps = sorted(name for name in os.listdir(directory) if pattern.fullmatch(name))
    for name in dumps[: -settings["dump_keep"]]:
        for suffix in ("", ".sha256", ".head", ".roles.sql"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name + suffix))


def restore(settings: Settings, path: str) -> None:
    """All of it or nothing. The schema is there already, made with the database and the privileges on it."""
    expected = read(f"{path}.sha256").split()[:1]
    if expected and expected[0] != checksum(path):
        raise BackupError(f"{path} is damaged: its SHA-256 is not the one in {path}.sha256.")
    entries = output_of(["pg_restore", "--list", path], "pg_restore").splitlines(keepends=True)
    made = re.compile(rf"\d+; \d+ \d+ SCHEMA - {re.escape(settings['schema'])} ")
    chosen = os.path.join(settings["state_directory"], "restore.list")
    write(chosen, "".join(entry for entry in entries if not made.match(entry)))
    options = ["--single-transaction", "--exit-on-error", f"--use-list={chosen}"]
    output_of(["pg_restore", *options, *connection(settings), path], "pg_restore", settings)
    os.unlink(chosen)


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


# The database and programs.


def server(settings: Settings) -> list[str]:
    return [
        f"--host={settings['host']}",
        f"--port={settings['port']}",
        f"--username={settings['user']}",
        "--no-password",
    ]


def connection(settings: Settings) -> list[str]:
    return [*server(settings), f"--dbname={settings['database']}"]


def ask(settings: Settings, sql: str, **values: str) -> str:
    """What psql prints; values go through its own quoting."""
    assigned = [f"--set={name}={value}" for name, value in {"schema": settings["schema"], **values}.items()]
    command = ["psql", "-XAtq", "--set=ON_ERROR_STOP=1", *assigned, *connection(settings)]
    return output_of(command, "psql", settings, SESSION + sql).strip()


def output_of(command: list[str], name: str, settings: Settings | None = None, text: str = "") -> str:
    """What a program prints.

    Raises:
        BackupError: it failed; what it said last.
    """
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"}
    if settings:
        environment.update(settings["environment"])
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs; no shell reads their arguments
            command, env=environment, cwd="/", input=text, capture_output=True, encoding="utf-8", check=False
        )
    except OSError as error:
        raise BackupError(f"{name} cannot be started: {error.strerror}.") from None
    if done.returncode == 0:
        return done.stdout
    said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in said if re.search(r"\b(ERROR|FATAL|error|fatal)\b", line)]
    raise BackupError(f"{name} says: {(errors or said or [f'exit code {done.returncode}'])[0]}")


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[bool]:
    with open(os.path.join(settings["state_directory"], "lock"), "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def read_settings() -> Settings:
    with open(os.environ.get("MISSION_CONTROL_BACKUP_SETTINGS", SETTINGS), encoding="utf-8") as file:
        settings: Settings = json.load(file)
    os.umask(0o077)
    return settings


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BackupError, OSError) as error:
        sys.exit(f"mission-control-backup: {error}")
