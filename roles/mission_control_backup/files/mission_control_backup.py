# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Back up Mission Control's database, and record in it how that ended.

    mission-control-backup full|diff|incr     by pgBackRest, to each repository
    mission-control-backup dump               a file of this database
    mission-control-backup restore FILE       a dump into an empty database whose roles are there
    mission-control-backup lost SEGMENT       note that write-ahead log was given up; the archive command calls it
    mission-control-backup promoted HISTORY   archive what the old primary had not; the archive command calls it with the first file of a timeline

On a standby it makes no backup, since its primary does.

It is started by systemd or by hand, as the user that owns the server, and needs nothing but Python's standard library: a backup must
not fail for a package. Exit codes: 0 done, 1 failed, 2 wrong call, 75 another one runs.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    Settings = dict[str, Any]

SETTINGS = "/etc/mission-control/backup/settings.json"
FAILED, WRONG_CALL, BUSY = 1, 2, 75
TYPES = {"pgbackrest": ("full", "diff", "incr"), "dump": ("dump",)}
# What is unqualified is PostgreSQL's own: this may be a superuser's session.
SESSION = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
READ_HEAD = """
SELECT sequence || ':' || encode(digest, 'hex') FROM ONLY :"schema".audit_head
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
    SELECT FROM ONLY :"schema".backup_runs AS g
    WHERE g.type = 'archive' AND g.started_at > coalesce((
        SELECT max(r.started_at) FROM ONLY :"schema".backup_runs AS r WHERE r.type <> 'archive' AND r.outcome = 'success'), '-infinity'));
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
        ask_tables(settings, RECORD_LOST, segment=os.path.basename(arguments[1]))
        return 0
    if len(arguments) == 2 and arguments[0] == "promoted":
        archive_the_rest(settings, os.path.abspath(arguments[1]))
        return 0
    if len(arguments) == 2 and arguments[0] == "restore":
        restore(settings, arguments[1])
        return 0
    kinds = TYPES[settings["method"]]
    if len(arguments) != 1 or arguments[0] not in kinds:
        print(f"usage: mission-control-backup {'|'.join(kinds)}", file=sys.stderr)
        return WRONG_CALL
    if is_standby(settings):
        print("This server is a standby: its primary makes the backups.")
        return 0
    with only_one(settings) as free:
        if not free:
            print("Another backup runs: this one was not begun.", file=sys.stderr)
            return BUSY
        return run(settings, arguments[0])


def is_standby(settings: Settings) -> bool:
    """Whether it is one; a server that does not answer is asked again by what makes the backup, which says why."""
    try:
        return ask(settings, "SELECT pg_is_in_recovery()") == "t"
    except BackupError:
        return False


def run(settings: Settings, kind: str) -> int:
    began = datetime.datetime.now(datetime.timezone.utc)
    try:
        head = ask_tables(settings, READ_HEAD)
    except BackupError as error:
        print(f"The head of the audit log cannot be read, so it is kept with no backup: {error}", file=sys.stderr)
        head = ""
    if kind == "dump":
        backups = [attempt(dump, settings, began, head, Backup(""))]
    else:
        # Until a checkpoint after a promotion the control file has the timeline before it, which pgBackRest refuses. Where the server does
        # not answer, the backup says why.
        with contextlib.suppress(BackupError):
            ask(settings, "CHECKPOINT")
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
            ask_tables(
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


def archive_the_rest(settings: Settings, history: str) -> None:
    """Archive the whole segments before a promotion: without one that an old primary did not get to, no earlier backup reaches beyond it.

    Args:
        settings: as they are written.
        history: absolute path of the history of the new timeline, with a line for each before it: its number and where it ended.
    """
    log = os.path.dirname(history)
    segments = [name for name in sorted(os.listdir(log)) if re.fullmatch("[0-9A-F]{24}", name)]
    if not segments:
        return
    size = os.path.getsize(os.path.join(log, segments[0]))
    answer = json.loads(pgbackrest(settings, ["--output=json", "info"]))
    newest = [each["max"] for each in answer[0]["archive"] if each["max"]] if answer else []
    for line in filter(str.strip, read(history).splitlines()):
        number, position = line.split()[:2]
        timeline = f"{int(number):08X}"
        high, low = (int(half, 16) for half in position.split("/"))
        # A name is the timeline, the upper half of a position, and which part of the lower half it is.
        last = f"{timeline}{high:08X}{low // size:08X}"
        # The oldest of the repositories' newest; where one is of another timeline, it says nothing of this one.
        there = min(newest, default="") if all(name.startswith(timeline) for name in newest) else ""
        for name in segments:
            if name.startswith(timeline) and there < name < last:
                try:
                    pgbackrest(settings, ["archive-push", os.path.join(log, name)])
                except BackupError as error:
                    print(f"{name} was not archived: {error}", file=sys.stderr)


def pgbackrest(settings: Settings, arguments: list[str]) -> str:
    command = ["pgbackrest", f"--config={settings['configuration']}", f"--stanza={settings['stanza']}", *arguments]
    return output_of(command, "pgbackrest", settings)


# By pg_dump.


def dump(settings: Settings, began: datetime.datetime, head: str, backup: Backup) -> None:
    """A whole dump or none: under its own name it was read again, and its checksum lies beside it."""
    directory = settings["dump_directory"]
    backup.label = f"{settings['database']}-{began:%Y%m%dT%H%M%SZ}.dump"
    backup.repository = target = os.path.join(directory, backup.label)
    partial, roles = f"{target}.partial", f"{target}.roles.sql"
    try:
        output_of(["pg_dump", "--format=custom", f"--file={partial}", *connection(settings)], "pg_dump", settings)
        output_of(["pg_restore", "--list", partial], "pg_restore", settings)
        # Passwords are not among what the dump of the roles holds.
        globals_only = ["pg_dumpall", "--globals-only", "--no-role-passwords", f"--file={roles}", *server(settings)]
        globals_only.append(f"--database={settings['database']}")
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


# Back into a database. A superuser must not evaluate what others wrote: a CHECK may call a function of its table's owner, and any of them may
# call lo_export(). So what somebody owns is made and filled by its owner, in a refresh of a materialized view of that owner. The server calls
# that a security-restricted operation: who runs in it cannot become the superuser again and leaves no setting, cursor or deferred trigger behind.

# Kinds of a dump's entries that evaluate nothing, with the catalogue that an entry names. A kind alone could be the beginning of another.
INERT = {
    "SCHEMA": "2615",
    "EXTENSION": "3079",
    "ACL": "0",
    "DEFAULT ACL": "826",
    "COMMENT": "0",
    "SECURITY LABEL": "0",
    "CAST": "2605",
    "EVENT TRIGGER": "3466",
    "BLOB": "2613",
    "BLOB METADATA": "2613",
    "BLOBS": "0",
}
ENTRY = re.compile(r"\d+; (\d+) \d+ (.+)")
IDENTIFIER = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
COPY = re.compile(rf"COPY ({IDENTIFIER}\.{IDENTIFIER}) (?:\(({IDENTIFIER}(?:, {IDENTIFIER})*)\)|) FROM stdin;\n")
# Who may be met as an event trigger by what is restored, with the rights of who restores it.
EVENT_TRIGGERS = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT e.evtname, r.rolname FROM pg_catalog.pg_event_trigger AS e JOIN pg_catalog.pg_proc AS p ON p.oid = e.evtfoid
            JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner WHERE NOT r.rolsuper
    LOOP
        RAISE EXCEPTION 'the event trigger % runs a function of %, who is no superuser: it is not restored', found.evtname, found.rolname;
    END LOOP;
END $$;
"""
FIXED_PATH = "SET search_path = pg_catalog, pg_temp;\n"
BEGIN_RESTORE = """
SET standard_conforming_strings = on;
SET client_encoding = {encoding};
SET client_min_messages = warning;
SET lock_timeout = '10s';
-- Whatever the database or the role sets. The third is not known before version 17.
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
BEGIN READ WRITE;
CREATE SCHEMA {place};
GRANT USAGE ON SCHEMA {place} TO PUBLIC;
CREATE TABLE {place}.step (statement text);
GRANT SELECT ON {place}.step TO PUBLIC;
CREATE FUNCTION {place}.run(statement text) RETURNS integer LANGUAGE plpgsql AS $$BEGIN EXECUTE statement; RETURN 1; END$$;
CREATE MATERIALIZED VIEW {place}.act AS SELECT {place}.run(statement) FROM {place}.step WITH NO DATA;
CREATE TABLE {place}.admitted (role text, kind text, object text, privilege text);

-- Let an owner make things where they were, and refer to what they referred to, until the dump's own privileges are restored.
CREATE FUNCTION {place}.admit(role text, object text, kind text, privileges text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    privilege text;
BEGIN
    FOREACH privilege IN ARRAY privileges LOOP
        CONTINUE WHEN CASE kind WHEN 'SCHEMA' THEN has_schema_privilege(role, object::regnamespace, privilege)
            ELSE has_table_privilege(role, object::regclass, privilege) END;
        EXECUTE format('GRANT %s ON %s %s TO %I', privilege, kind, object, role);
        INSERT INTO {place}.admitted VALUES (role, kind, object, privilege);
    END LOOP;
END $$;
CREATE FUNCTION {place}.admit_references(role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {place}.admit(role, c.oid::regclass::text, 'TABLE', '{{REFERENCES}}') FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 AND c.relnamespace <> '{place}'::regnamespace;
END $$;
CREATE FUNCTION {place}.dismiss() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT * FROM {place}.admitted LOOP
        EXECUTE format('REVOKE %s ON %s %s FROM %I', each.privilege, each.kind, each.object, each.role);
    END LOOP;
END $$;

-- What an owner makes would get them besides what the dump says, and the dump has its own.
CREATE FUNCTION {place}.forget_default_privileges() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kept record;
BEGIN
    FOR kept IN
        SELECT d.defaclacl AS acl, d.defaclnamespace = 0 AS everywhere, pg_get_userbyid(d.defaclrole) AS role,
            format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s', pg_get_userbyid(d.defaclrole),
                CASE WHEN d.defaclnamespace <> 0 THEN format('IN SCHEMA %s', d.defaclnamespace::regnamespace) END) AS head,
            CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
                WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS kind
        FROM pg_default_acl AS d
    LOOP
        EXECUTE string_agg(DISTINCT format('%s REVOKE ALL ON %s FROM %s', kept.head, kept.kind,
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END), ';')
            FROM aclexplode(kept.acl) AS a;
        CONTINUE WHEN NOT kept.everywhere;
        EXECUTE format('%s GRANT ALL ON %s TO %I', kept.head, kept.kind, kept.role);
        CONTINUE WHEN kept.kind NOT IN ('FUNCTIONS', 'TYPES');
        EXECUTE format('%s GRANT ALL ON %s TO PUBLIC', kept.head, kept.kind);
    END LOOP;
END $$;
SELECT {place}.forget_default_privileges();

-- What a superuser owns is given to him at the end, and he must not get what somebody made while it was made for him. So nothing of it may
-- have run what others wrote: what it uses is his own, a superuser's, or only read later on.
CREATE FUNCTION {place}.refuse_what_others_ran(stand_in text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        WITH owned (classid, objid, owner) AS (
            SELECT 'pg_class'::regclass::oid, c.oid, c.relowner FROM pg_class AS c
            UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typowner FROM pg_type AS t
            UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc AS p
            UNION ALL SELECT 'pg_operator'::regclass, o.oid, o.oprowner FROM pg_operator AS o
        ), parts (classid, objid, owner) AS (
            TABLE owned
            UNION ALL SELECT 'pg_constraint'::regclass, k.oid, o.owner FROM pg_constraint AS k
                JOIN owned AS o ON (o.classid, o.objid) IN (('pg_class'::regclass, k.conrelid), ('pg_type'::regclass, k.contypid))
            UNION ALL SELECT 'pg_attrdef'::regclass, a.oid, c.relowner FROM pg_attrdef AS a JOIN pg_class AS c ON c.oid = a.adrelid
            UNION ALL SELECT 'pg_rewrite'::regclass, w.oid, c.relowner FROM pg_rewrite AS w JOIN pg_class AS c ON c.oid = w.ev_class
            UNION ALL SELECT 'pg_trigger'::regclass, g.oid, c.relowner FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid
            UNION ALL SELECT 'pg_policy'::regclass, p.oid, c.relowner FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
            UNION ALL SELECT 'pg_statistic_ext'::regclass, x.oid, x.stxowner FROM pg_statistic_ext AS x
        )
        SELECT pg_describe_object(d.classid, d.objid, 0) AS thing, pg_describe_object(d.refclassid, d.refobjid, 0) AS used, r.rolname
        FROM parts AS ours JOIN pg_depend AS d ON d.classid = ours.classid AND d.objid = ours.objid
            JOIN owned AS theirs ON theirs.classid = d.refclassid AND theirs.objid = d.refobjid
            JOIN pg_roles AS r ON r.oid = theirs.owner
        WHERE ours.owner = stand_in::regrole AND NOT r.rolsuper AND NOT starts_with(r.rolname, '{place}')
            -- A view is only read for the names of its types while it is made.
            AND (d.classid <> 'pg_rewrite'::regclass OR d.refclassid = 'pg_type'::regclass)
    LOOP
        RAISE EXCEPTION '% belongs to a superuser and uses % of %, whose code he would run: it is not restored', found.thing, found.used, found.rolname;
    END LOOP;
END $$;

-- Whether reading a value of a type runs nobody's code. What else there is waits as text for its owner.
CREATE FUNCTION {place}.is_plain(asked oid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found pg_type;
BEGIN
    SELECT * INTO STRICT found FROM pg_type AS t WHERE t.oid = asked;
    RETURN CASE
        WHEN asked < 16384 OR found.typtype = 'e' THEN true
        WHEN found.typtype = 'b' THEN found.typelem = 0 OR {place}.is_plain(found.typelem)
        WHEN found.typtype = 'r' THEN (
            SELECT r.rngcanonical::oid < 16384 AND {place}.is_plain(r.rngsubtype) FROM pg_range AS r WHERE r.rngtypid = asked)
        WHEN found.typtype = 'm' THEN (SELECT {place}.is_plain(r.rngtypid) FROM pg_range AS r WHERE r.rngmultitypid = asked)
        WHEN found.typtype = 'c' THEN NOT EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = found.typrelid AND a.attnum > 0 AND NOT a.attisdropped AND NOT {place}.is_plain(a.atttypid))
        ELSE false
    END;
END $$;
CREATE FUNCTION {place}.waiting_type(asked oid, modifier integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found pg_type;
BEGIN
    SELECT * INTO STRICT found FROM pg_type AS t WHERE t.oid = asked;
    RETURN CASE
        WHEN found.typtype = 'd' THEN {place}.waiting_type(found.typbasetype, found.typtypmod)
        WHEN {place}.is_plain(asked) THEN format_type(asked, modifier)
        ELSE 'text'
    END;
END $$;
-- From a table and its columns in the step: a place where their rows wait, and the statement by which the owner takes them.
CREATE FUNCTION {place}.receive() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    given jsonb := (SELECT s.statement::jsonb FROM {place}.step AS s);
    target regclass := (given->>0)::regclass;
    wanted record;
BEGIN
    SELECT string_agg(format('%I %s', c.name, {place}.waiting_type(a.atttypid, a.atttypmod)), ', ' ORDER BY c.number) AS made,
        string_agg(format('%I', c.name), ', ' ORDER BY c.number) AS names,
        string_agg(format('%I::%s', c.name, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY c.number) AS taken
    INTO wanted
    FROM jsonb_array_elements_text(given->1) WITH ORDINALITY AS c (name, number)
        JOIN pg_attribute AS a ON a.attrelid = target AND a.attname = c.name;
    EXECUTE format('CREATE UNLOGGED TABLE {place}.waiting (%s)', wanted.made);
    GRANT SELECT ON {place}.waiting TO PUBLIC;
    UPDATE {place}.step SET statement = format(
        'INSERT INTO %s %s SELECT %s FROM {place}.waiting', target, '(' || wanted.names || ') OVERRIDING SYSTEM VALUE', wanted.taken);
END $$;
"""


@dataclass
class Entry:
    """A line of a dump's table of contents: its kind if that is inert, else none, and whose it is."""

    line: str
    catalogue: str
    # Everything after the numbers: kind, schema, name and owner, by spaces that these may have too.
    rest: str
    kind: str
    owner: str

    def is_of(self, kind: str) -> bool:
        return self.rest.startswith(f"{kind} ") and (self.catalogue == "0" or not kind.endswith(" DATA"))

    @property
    def schema(self) -> str:
        """The one that it makes, if it does."""
        return self.rest.removeprefix("SCHEMA - ").removesuffix(f" {self.owner}") if self.kind == "SCHEMA" else ""


def restore(settings: Settings, path: str) -> None:
    """All of it or nothing. The schema is there already, made with the database and the privileges on it."""
    expected = read(f"{path}.sha256").split()[:1]
    if expected and expected[0] != checksum(path):
        raise BackupError(f"{path} is damaged: its SHA-256 is not the one in {path}.sha256.")
    roles = json.loads(ask(settings, "SELECT json_object_agg(rolname, rolsuper) FROM pg_roles"))
    listed = output_of(["pg_restore", "--list", path], "pg_restore", settings).split("\n")
    entries = [read_entry(line, roles) for line in listed if line and not line.startswith(";")]
    with Restoring(settings, path, roles) as restoring:
        restoring.restore([entry for entry in entries if entry.schema != settings["schema"]])


def read_entry(line: str, roles: dict[str, bool]) -> Entry:
    """Names in a table of contents are not quoted, so what a line says of its owner is believed only where it cannot be misread."""
    found = ENTRY.fullmatch(line)
    if not found:
        raise BackupError(f"The dump's table of contents has a line that cannot be read: {line.strip()}")
    catalogue, rest = found.groups()
    kind = next((kind for kind, number in INERT.items() if number == catalogue and rest.startswith(f"{kind} ")), "")
    owners = [role for role in roles if rest.endswith(f" {role}")]
    if not kind and len(owners) != 1:
        reason = (
            "this server has no role of its owner's name"
            if not owners
            else "its owner cannot be told from names of several roles"
        )
        raise BackupError(f"Nothing was restored, because of {rest.strip()}: {reason}.")
    return Entry(f"{line}\n", catalogue, rest, kind, max(owners, key=len, default=""))


class Restoring:
    """A superuser's session in which everything is restored in one transaction, and what is an owner's by its owner."""

    def __init__(self, settings: Settings, path: str, roles: dict[str, bool]) -> None:
        self.settings, self.path, self.roles = settings, path, roles
        # A name that nobody has taken.
        self.place = f"mission_control_restore_{os.urandom(8).hex()}"
        self.schemas: list[str] = []
        self.stand_ins: dict[str, str] = {}

    def __enter__(self) -> Restoring:
        found = re.search(rb"^SET client_encoding = ('\w+');$", self.script([]), re.MULTILINE)
        encoding = found[1].decode() if found else "DEFAULT"
        self.said = tempfile.TemporaryFile()
        command = ["psql", "-XAtq", "--set=ON_ERROR_STOP=1", *connection(self.settings)]
        self.psql = start(
            command, "psql", self.settings, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.said
        )
        self.send(FIXED_PATH + EVENT_TRIGGERS + BEGIN_RESTORE.format(place=self.place, encoding=encoding))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Without COMMIT the server takes everything back when the session ends."""
        assert self.psql.stdin
        with contextlib.suppress(BrokenPipeError):
            self.psql.stdin.close()
        code = self.psql.wait()
        self.said.seek(0)
        said = self.said.read().decode("utf-8", "replace")
        self.said.close()
        if code != 0:
            raise BackupError(what_failed("psql", said, code)) from None

    def restore(self, entries: list[Entry]) -> None:
        last = [
            entry
            for entry in entries
            if entry.kind == "EVENT TRIGGER" or entry.rest.startswith("COMMENT - EVENT TRIGGER ")
        ]
        refreshed = [entry for entry in entries if entry.is_of("MATERIALIZED VIEW DATA")]
        passes = {"COMMENT": [], "SECURITY LABEL": [], "ACL": [], "DEFAULT ACL": []}  # type: dict[str, list[Entry]]
        made: list[Entry] = []
        for entry in entries:
            if entry not in last and entry not in refreshed:
                # Who may use a schema may need it while other things are made.
                early = entry.rest.startswith("ACL - SCHEMA ")
                (made if early else passes.get(entry.kind, made)).append(entry)
        self.schemas = [self.settings["schema"]]
        for entry in made:
            if entry.kind == "SCHEMA":
                self.schemas.append(entry.schema)
        self.in_turn(made)
        self.send(f"SELECT {self.place}.dismiss();\n")
        for owner, stand_in in self.stand_ins.items():
            self.send(
                f"SELECT {self.place}.refuse_what_others_ran({literal(stand_in)});\n"
                f"REASSIGN OWNED BY {stand_in} TO {name(owner)}; DROP OWNED BY {stand_in}; DROP ROLE {stand_in};\n"
            )
        for group in passes.values():
            self.in_turn(group)
        # As PostgreSQL does, after the privileges that they may need.
        self.in_turn([entry for entry in refreshed if not self.roles[entry.owner]])
        for entry in refreshed:
            if self.roles[entry.owner]:
                print(f"Not filled, because it belongs to a superuser: {entry.rest.strip()}")
        # Making one makes none run, but anything else might.
        self.send(f"DROP SCHEMA {self.place} CASCADE;\n")
        if last:
            self.send(self.script(last))
        self.send(f"{EVENT_TRIGGERS}COMMIT;\n")

    def in_turn(self, entries: list[Entry]) -> None:
        """Entries in their order, those that follow each other and have one owner together."""
        for (rows, owner, kind), group in itertools.groupby(entries, self.together):
            chosen = list(group)
            if kind == "BLOBS":
                # Numbers and bytes, and much of them.
                for line in self.script(chosen, "--single-transaction").splitlines(keepends=True):
                    if line not in (b"BEGIN;\n", b"COMMIT;\n"):
                        self.send(line)
                self.send(FIXED_PATH)
            elif kind:
                self.say(statements(self.script(chosen)))
                self.send(f"SELECT {self.place}.run(statement) FROM {self.place}.step;\n{FIXED_PATH}")  # noqa: S608 - our name
            elif rows:
                self.fill(chosen, owner)
            else:
                self.say(statements(self.script(chosen, "--no-owner")))
                self.act(owner, chosen)

    @staticmethod
    def together(entry: Entry) -> tuple[bool, str, str]:
        return (entry.is_of("TABLE DATA"), "" if entry.kind else entry.owner, entry.kind)

    def fill(self, entries: list[Entry], owner: str) -> None:
        """The rows of tables: they wait in one that has neither rules nor types of others, and the owner takes them from there."""
        filled = 0
        with reading(self.settings, self.path, [entry.line for entry in entries]) as lines:
            before = b""
            for line in lines:
                before = before + line if before or line.startswith(b"COPY ") else before
                found = (
                    COPY.fullmatch(before.decode("utf-8", "surrogateescape")) if line.endswith(b" stdin;\n") else None
                )
                if not found:
                    continue
                before = b""
                columns = [plain(each) for each in re.findall(IDENTIFIER, found[2] or "")]
                self.say(json.dumps([found[1], columns], ensure_ascii=False).encode("utf-8", "surrogateescape"))
                self.send(f"SELECT {self.place}.receive();\nCOPY {self.place}.waiting FROM stdin;\n")  # noqa: S608 - our name
                for row in lines:
                    self.send(row)
                    # No row looks like it, since a backslash in one is doubled.
                    if row == b"\\.\n":
                        filled += 1
                        break
                # What the owner needs for it is the same for all of them.
                self.act(owner, entries if filled == 1 else [])
                self.send(f"DROP TABLE {self.place}.waiting;\n")
        if filled != len(entries):
            raise BackupError("The rows of some tables are not in a form that can be restored.")

    def say(self, text: bytes) -> None:
        """What the next act consists of."""
        for character, escaped in ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t")):
            text = text.replace(character, escaped)
        self.send(f"DELETE FROM {self.place}.step;\nCOPY {self.place}.step FROM stdin;\n")  # noqa: S608 - our name
        self.send(text + b"\n\\.\n")

    def act(self, owner: str, entries: list[Entry]) -> None:
        """Have the owner do it. For a superuser a role that may do nothing stands in until everything is made."""
        if self.roles[owner]:
            if owner not in self.stand_ins:
                self.stand_ins[owner] = f"{self.place}_{len(self.stand_ins) + 1}"
                self.send(f"CREATE ROLE {self.stand_ins[owner]};\n")
            owner = self.stand_ins[owner]
        for schema in self.schemas:
            if any(f" {schema} " in entry.rest for entry in entries):
                arguments = f"{literal(owner)}, {literal(name(schema))}"
                self.send(f"SELECT {self.place}.admit({arguments}, 'SCHEMA', '{{USAGE,CREATE}}');\n")
        if any(entry.is_of("FK CONSTRAINT") for entry in entries):
            self.send(f"SELECT {self.place}.admit_references({literal(owner)});\n")
        self.send(f"ALTER MATERIALIZED VIEW {self.place}.act OWNER TO {name(owner)};\n")
        self.send(f"REFRESH MATERIALIZED VIEW {self.place}.act;\n")

    def script(self, entries: list[Entry], *options: str) -> bytes:
        with reading(self.settings, self.path, [entry.line for entry in entries], *options) as lines:
            return b"".join(lines)

    def send(self, text: str | bytes) -> None:
        assert self.psql.stdin
        try:
            self.psql.stdin.write(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
        except BrokenPipeError:
            # It ended, and why is said at the end.
            raise BackupError("psql ended before the end.") from None


@contextlib.contextmanager
def reading(settings: Settings, path: str, chosen: list[str], *options: str) -> Iterator[Iterator[bytes]]:
    """Lines of the SQL of some entries of a dump."""
    command = ["pg_restore", "--use-list=/dev/stdin", "--file=-", *options, path]
    with tempfile.TemporaryFile() as wanted, tempfile.TemporaryFile() as said:
        wanted.write("".join(chosen).encode("utf-8", "surrogateescape"))
        wanted.seek(0)
        with start(command, "pg_restore", settings, stdin=wanted, stdout=subprocess.PIPE, stderr=said) as process:
            yield iter(process.stdout or ())
        said.seek(0)
        if process.returncode != 0:
            raise BackupError(what_failed("pg_restore", said.read().decode("utf-8", "replace"), process.returncode))


def statements(script: bytes) -> bytes:
    """A script without the two lines by which it tells psql to take no commands of its own from it; their key is in no other line."""
    lines = script.splitlines(keepends=True)
    key = next((line.split()[1] for line in lines if line.startswith(b"\\restrict ")), None)
    commands = (b"\\restrict %s\n" % key, b"\\unrestrict %s\n" % key) if key else ()
    return b"".join(line for line in lines if line not in commands)


def name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


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


def ask_tables(settings: Settings, sql: str, **values: str) -> str:
    """The same of our tables, after a look whether they would run what others wrote: a view in their place, a trigger, an index."""
    return ask(settings, f"BEGIN;\n{settings['table_guard']}{sql};\nCOMMIT;\n", **values)


def output_of(command: list[str], name: str, settings: Settings | None = None, text: str = "") -> str:
    """What a program prints.

    Raises:
        BackupError: it failed; what it said last.
    """
    process = start(command, name, settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = (
        each.decode("utf-8", "surrogateescape") for each in process.communicate(text.encode("utf-8", "surrogateescape"))
    )
    if process.returncode == 0:
        return output
    raise BackupError(what_failed(name, errors + output, process.returncode))


def start(command: list[str], name: str, settings: Settings | None, **files: Any) -> subprocess.Popen[bytes]:
    """With an environment of its own: nothing that a caller has set chooses another server."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"}
    if settings:
        environment.update(settings["environment"])
    try:
        return subprocess.Popen(command, env=environment, cwd="/", **files)  # noqa: S603 - fixed programs; no shell reads their arguments
    except OSError as error:
        raise BackupError(f"{name} cannot be started: {error.strerror}.") from None


def what_failed(name: str, said: str, code: int) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(ERROR|FATAL|error|fatal)\b", line)]
    return f"{name} says: {(errors or lines or [f'exit code {code}'])[0]}"


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
