# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host says about the backups of its database: the repositories, the dumps, the timers. Nothing is changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

from .cluster import PATRONI_FILE, ProbeError, read_text, session_options

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_TIME_LIMIT = 60
_UNIT_PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def _run(command: list[str], user: str = "", more: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a program that is carried out as a user, with more in its environment."""
    become: dict[str, Any] = {}
    if user:
        import pwd  # not there on every system that may import this module

        become = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs # pylint: disable=ansible-bad-function
            command,
            env={**_ENVIRONMENT, **(more or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=_TIME_LIMIT,
            check=False,
            **become,
        )
    except (OSError, KeyError, subprocess.TimeoutExpired) as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def describe_units(units: Iterable[str]) -> dict[str, dict[str, bool]]:
    """Whether systemd knows each unit, runs it, starts it at boot, and has read its file."""
    names = list(units)
    _code, output, _errors = _run(["systemctl", "show", f"--property={','.join(_UNIT_PROPERTIES)}", *names])
    found = {}
    for block in output.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[fields.get("Id", "")] = {
            "loaded": fields.get("LoadState") == "loaded",
            "active": fields.get("ActiveState") == "active",
            "enabled": fields.get("UnitFileState") == "enabled",
            "needs_reload": fields.get("NeedDaemonReload") == "yes",
        }
    missing = {"loaded": False, "active": False, "enabled": False, "needs_reload": False}
    return {name: found.get(name, missing) for name in names}


def calendar_problems(calendars: Iterable[str]) -> dict[str, str]:
    """Which of the calendars systemd does not take, and what it says."""
    problems = {}
    for calendar in calendars:
        code, _output, errors = _run(["systemd-analyze", "calendar", "--", calendar])
        if code != 0:
            problems[calendar] = " ".join(errors.split()) or "systemd does not take it"
    return problems


def system_identifier(version: str, data_directory: str, user: str) -> str:
    """What initdb gave the cluster once and for all; empty where there is none."""
    command = [f"/usr/lib/postgresql/{version}/bin/pg_controldata", "--pgdata", data_directory]
    code, output, _errors = _run(command, user)
    found = re.search(r"^Database system identifier:\s+(\d+)$", output, re.MULTILINE) if code == 0 else None
    return found.group(1) if found else ""


# What a member of a cluster of Patroni says of itself.
_MEMBER_QUERY = """
SELECT pg_catalog.json_build_object(
    'version_number', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    'data_directory', pg_catalog.current_setting('data_directory'),
    'cluster_name', pg_catalog.current_setting('cluster_name'),
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'settings', (
        SELECT pg_catalog.json_object_agg(name, setting) FROM pg_catalog.pg_settings
        WHERE name IN ('archive_mode', 'archive_command', 'archive_library', 'archive_timeout', 'wal_level')),
    'pending_restart', (
        SELECT coalesce(pg_catalog.json_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_settings
        WHERE pending_restart AND name IN ('archive_mode', 'wal_level')))
"""


def describe_member(socket_directory: str, port: int, login: str, user: str) -> dict[str, Any]:
    """The server of this host that Patroni runs, found through its Unix socket; `pg_lsclusters` knows those of some makers only.

    Args:
        socket_directory: where the socket is.
        port: the number in its name.
        login: a superuser.
        user: operating-system user that asks.

    Returns:
        The cluster as the plan of the backups wants it, with `problem` empty; else `problem` alone, a clause that says why there is none.
    """
    command = ["psql", "-XAtqw", f"--host={socket_directory}", f"--port={port}", f"--username={login}"]
    environment = {"PGOPTIONS": session_options("14"), "PGCONNECT_TIMEOUT": "10"}
    code, output, errors = _run([*command, "--dbname=postgres", f"--command={_MEMBER_QUERY}"], user, environment)
    if code != 0:
        return {"problem": " ".join((errors or output).split()) or f"psql ended with {code}"}
    said = json.loads(output)
    directory = said["data_directory"]
    try:
        owner = _owner_of(directory)
        by_patroni = os.path.exists(os.path.join(directory, PATRONI_FILE))
    except OSError as error:
        return {"problem": f"{directory} cannot be read: {error.strerror}"}
    if not by_patroni:
        return {
            "problem": f"the server that answers is not one that Patroni runs: there is no {PATRONI_FILE} in {directory}"
        }
    if owner != user:
        return {"problem": f"{directory} belongs to {owner}: set mission_control_backup_user to {owner}"}
    return {
        "problem": "",
        "is_member": True,
        "version": str(said["version_number"] // 10000),
        "name": said["cluster_name"] or "patroni",
        "owner": owner,
        "data_directory": directory,
        "settings": said["settings"],
        "server": {
            "port": port,
            "socket_directory": socket_directory,
            "in_recovery": said["in_recovery"],
            "pending_restart": said["pending_restart"],
        },
    }


def _owner_of(path: str) -> str:
    import pwd  # not there on every system that may import this module

    return pwd.getpwuid(os.stat(path).st_uid).pw_name


def describe_repositories(configuration: str, stanza: str, user: str) -> dict[str, Any]:
    """What pgBackRest says of its repositories: which clusters they know and which backups they hold, by repository."""
    nothing: dict[str, Any] = {"problem": "", "clusters": [], "backups": []}
    if not os.path.exists(configuration):
        return nothing
    command = ["pgbackrest", f"--config={configuration}", f"--stanza={stanza}", "--output=json", "info"]
    code, output, errors = _run(command, user)
    if code != 0:
        return {**nothing, "problem": " ".join((errors or output).split()) or f"exit code {code}"}
    return parse_repositories(output)


def parse_repositories(output: str) -> dict[str, Any]:
    """Read `pgbackrest info --output=json` of one stanza."""
    stanza: dict[str, Any] = next(iter(json.loads(output)), {})
    # 0 is fine, 1 to 3 are a stanza or a backup that is not there yet; 4 is several of these.
    broken = [each for each in stanza.get("repo", []) if each["status"]["code"] not in (0, 1, 2, 3, 4)]
    problem = f"repository {broken[0]['key']}: {broken[0]['status']['message']}" if broken else ""
    return {
        "problem": " ".join(problem.split()),
        "clusters": [
            {
                "repository": each["repo-key"],
                "id": each["id"],
                "system": str(each["system-id"]),
                "version": each["version"],
            }
            for each in stanza.get("db", [])
        ],
        "backups": [
            {
                "repository": each["database"]["repo-key"],
                "cluster": each["database"]["id"],
                "label": each["label"],
                "type": each["type"],
                "started": each["timestamp"]["start"],
                "stopped": each["timestamp"]["stop"],
                "damaged": bool(each.get("error")),
                "head": (each.get("annotation") or {}).get("audit-head", ""),
            }
            for each in stanza.get("backup", [])
        ],
    }


def describe_dumps(directory: str, database: str) -> list[dict[str, str]]:
    """The dumps of a database in a directory, the newest first, with the head that was kept beside each."""
    pattern = re.compile(re.escape(database) + r"-\d{8}T\d{6}Z\.dump")
    try:
        names = sorted((name for name in os.listdir(directory) if pattern.fullmatch(name)), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ProbeError(f"{directory} cannot be read: {error.strerror}.") from error
    paths = [os.path.join(directory, name) for name in names]
    return [{"path": path, "head": (read_text(f"{path}.head") or "").strip()} for path in paths]


def kept_heads(path: str) -> list[dict[str, str]]:
    """The heads that the backups have kept: name of the backup and head of each, in the order in which they were made."""
    lines = (line.split() for line in (read_text(path) or "").splitlines())
    return [{"label": fields[0], "head": fields[1]} for fields in lines if len(fields) == 2]


def directory_state(path: str) -> str:
    """`missing`, `empty`, `link`, `data` (of PostgreSQL) or `other`, of what is to become a data directory."""
    path = path.rstrip("/")
    if os.path.islink(path):
        return "link"
    try:
        names = os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return "other" if os.path.lexists(path) else "missing"
    except OSError as error:
        raise ProbeError(f"{path} cannot be read: {error.strerror}.") from error
    if not names:
        return "empty"
    return "data" if "PG_VERSION" in names else "other"


def unfinished_restore(marker: str, data_directory: str) -> str:
    """`begun` or `done`, where a file of root's says that a restore into the data directory has not come to its end; else empty.

    The control file comes last of all files, and the server takes the signal away when it has replayed the write-ahead log.
    """
    if (read_text(marker) or "").split("\n")[0] != data_directory.rstrip("/"):
        return ""
    whole = os.path.exists(os.path.join(data_directory, "global", "pg_control"))
    return "done" if whole and not os.path.exists(os.path.join(data_directory, "recovery.signal")) else "begun"
