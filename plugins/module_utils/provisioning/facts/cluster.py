# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Debian-like host says about itself and its PostgreSQL clusters, read without changing anything.

Pure Python without Ansible. Functions that read files take the root directory, so that tests hand them made-up ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ...sockets import listening_sockets
from ..certificates.facts import fingerprints, served_certificate
from ..files.owned import OwnedFileError, acting_as, content_of, decoded, place_of
from ..plans.server_settings import whole_number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CONFIGURATION_ROOT = "etc/postgresql"
DATA_ROOT = "var/lib/postgresql"
# cgroup v1 writes "no limit" as the largest multiple of the page size.
NO_LIMIT = 1 << 60
# What the role mission_control_standby writes into the start.conf of a primary whose standby was promoted, and why.
_FENCE = re.compile(r"^# Fenced by mission_control_standby: (.*?)\.?$", re.MULTILINE)
# In the data directory: Patroni's own copy of what the members share.
PATRONI_FILE = "patroni.dynamic.json"
# As in PostgreSQL.
_DEEPEST_INCLUDE = 10


class ProbeError(Exception):
    """A sentence that says why the host cannot be described."""


class Cluster(NamedTuple):
    """One line of pg_lsclusters."""

    version: str
    name: str
    port: int | None
    running: bool
    binaries: bool
    owner: str
    data_directory: str
    log: str
    # As far as its processes show it.
    patroni: bool = False


def read_text(path: str) -> str | None:
    """Return the file's content, None if there is no such file. What is not UTF-8 in it is replaced."""
    try:
        content = content_of(path)
    except OwnedFileError as error:
        raise ProbeError(str(error)) from error
    return None if content is None else content.decode(errors="replace").replace("\r\n", "\n")


def read_exactly(path: str) -> tuple[str | None, str]:
    """Return a file's content, None if there is no such file, and the encoding that makes the same bytes of it."""
    try:
        content = content_of(path)
    except OwnedFileError as error:
        raise ProbeError(str(error)) from error
    return (None, "utf-8") if content is None else decoded(content)


def distribution(root: str = "/") -> dict[str, str]:
    text = read_text(os.path.join(root, "etc/os-release")) or ""
    fields = dict(re.findall(r"^([A-Z_]+)=[\"']?(.*?)[\"']?$", text, re.MULTILINE))
    return {
        "id": fields.get("ID", ""),
        "version": fields.get("VERSION_ID", ""),
        "codename": fields.get("VERSION_CODENAME", ""),
        "name": fields.get("PRETTY_NAME", "this operating system"),
    }


def memory_bytes(root: str = "/") -> int:
    """Return the smallest of the memory that the kernel reports and the limits of the control groups the server will live in."""
    meminfo = read_text(os.path.join(root, "proc/meminfo")) or ""
    total = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    if total is None:
        raise ProbeError("/proc/meminfo does not contain MemTotal.")
    return min([int(total.group(1)) * 1024, *_cgroup_limits(root)])


def _cgroup_limits(root: str) -> list[int]:
    # Under systemd the server runs below the slice beside init, not in the control group of the login session that asks.
    systemd = systemd_runs(root)
    membership = read_text(os.path.join(root, "proc/1/cgroup" if systemd else "proc/self/cgroup")) or ""
    limits = []
    mounts: tuple[str, ...]
    for line in membership.splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "":
            mounts, limit_file = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), "memory.max"
        elif "memory" in controllers.split(","):
            mounts, limit_file = ("sys/fs/cgroup/memory",), "memory.limit_in_bytes"
        else:
            continue
        if systemd:
            path = re.sub(r"/init\.scope$", "", path) + "/system.slice"
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                text = read_text(os.path.join(root, mount, *parts[:depth], limit_file))
                if text is not None and text.strip().isdigit() and int(text) < NO_LIMIT:
                    limits.append(int(text))
    return limits


def systemd_runs(root: str = "/") -> bool:
    """Tell whether systemd is the running service manager; that its tools are installed says nothing."""
    return os.path.isdir(os.path.join(root, "run/systemd/system"))


def service_enabled(root: str = "/") -> bool:
    return os.path.lexists(os.path.join(root, "etc/systemd/system/multi-user.target.wants/postgresql.service"))


def installed_packages(names: Collection[str]) -> dict[str, str]:
    """Versions of those packages that are installed, by name; one that is unpacked and not configured yet is not.

    Args:
        names: of packages, or patterns of names.

    Raises:
        ProbeError: this is no Debian.
    """
    command = ["dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Status}\t${Version}\n", "--", *names]
    if not names:
        return {}
    try:
        # It fails when a package is unknown, which is an answer.
        done = subprocess.run(  # noqa: S603 - a fixed program # pylint: disable=ansible-bad-function
            command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError as error:
        raise ProbeError(
            "This host has no dpkg-query: Mission Control needs Debian or a distribution made from it."
        ) from error
    return parse_packages(done.stdout)


def parse_packages(output: str) -> dict[str, str]:
    """Read lines of `name TAB status TAB version`; the version of every package that is installed."""
    lines = (line.split("\t") for line in output.splitlines())
    return {name: version for name, status, version in lines if status == "installed"}


def parse_clusters(output: str) -> list[Cluster]:
    """Read what `pg_lsclusters --no-header` prints; its JSON form needs a Perl module that may be missing."""
    pattern = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(.*?)\s+(\S+)$")
    clusters = []
    for line in filter(None, map(str.strip, output.splitlines())):
        match = pattern.match(line)
        if match is None:
            raise ProbeError(f"pg_lsclusters printed an unknown line: {line}")
        version, name, port, status, owner, data, log = match.groups()
        flags = status.split(",")
        clusters.append(
            Cluster(
                version=version,
                name=name,
                port=whole_number(port),
                running=flags[0] == "online",
                binaries="binaries_missing" not in flags,
                owner=owner,
                data_directory=data,
                log=log,
                patroni="patroni" in flags,
            )
        )
    return clusters


def unregistered_data_directories(clusters: list[Cluster], root: str = "/") -> list[str]:
    """Return data directories at the usual place that no cluster uses: somebody's data, until shown otherwise."""
    known = {cluster.data_directory for cluster in clusters}
    found = glob.glob(os.path.join(root, DATA_ROOT, "*", "*", "PG_VERSION"))
    directories = ("/" + os.path.relpath(os.path.dirname(path), root) for path in found)
    return sorted(directory for directory in directories if directory not in known)


def read_settings(path: str, skip: str = "", depth: int = 0) -> tuple[dict[str, str], list[str]]:
    """Return the settings that a configuration file makes, and the directories it includes; the file `skip` is left out."""
    if depth > _DEEPEST_INCLUDE:
        raise ProbeError(f"{path} is included too deeply: a file includes itself.")
    settings: dict[str, str] = {}
    directories: list[str] = []
    pattern = re.compile(r"^\s*([A-Za-z_][\w.$]*)\s*(?:=|\s)\s*(?:'((?:[^'\\]|''|\\.)*)'|([^#'\s]+))")
    for line in (read_text(path) or "").splitlines():
        match = pattern.match(line)
        if match is None:
            continue
        name = match.group(1).lower()
        value = (
            match.group(3)
            if match.group(2) is None
            else re.sub(r"\\(.)|''", lambda each: each[1] or "'", match.group(2))
        )
        target = os.path.join(os.path.dirname(path), value)
        if name == "include_dir":
            directories.append(target)
            included = [os.path.join(target, entry) for entry in sorted(_names(target)) if entry.endswith(".conf")]
        elif name in ("include", "include_if_exists"):
            included = [target]
        else:
            settings[name] = value
            continue
        for entry in included:
            if entry == skip or os.path.basename(entry).startswith("."):
                continue
            more, deeper = read_settings(entry, skip, depth + 1)
            settings.update(more)
            directories += deeper
    return settings, directories


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError, ProcessLookupError):
        return []


def postmaster(data_directory: str) -> dict[str, Any] | None:
    """Return where the running server can be reached; its own word, since the configuration may have changed after the start."""
    lines = (read_text(os.path.join(data_directory, "postmaster.pid")) or "").splitlines()
    if len(lines) < 6 or not (lines[0].isdigit() and lines[3].isdigit()):
        return None
    return {"pid": int(lines[0]), "port": int(lines[3]), "socket_directory": lines[4].strip()}


# One row of JSON. Not among the errors are settings that need a restart: the view reports every pending one, and (without a
# file) every one that was taken out, as an error. Every name says its schema: where others may create functions in the database,
# theirs would be preferred if their arguments fit better.
SERVER_QUERY = """
SELECT pg_catalog.json_build_object(
    'version', pg_catalog.current_setting('server_version'),
    'version_number', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    'databases', (SELECT pg_catalog.json_agg(datname ORDER BY datname) FROM pg_catalog.pg_database),
    'maintenance_database', pg_catalog.current_database(),
    'hba_file', pg_catalog.current_setting('hba_file'),
    'ssl', pg_catalog.current_setting('ssl')::pg_catalog.bool,
    'data_checksums', pg_catalog.current_setting('data_checksums')::pg_catalog.bool,
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'standby_slots', (SELECT coalesce(pg_catalog.json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_catalog.pg_replication_slots
        WHERE slot_type = 'physical'),
    'loaded_at', extract(epoch FROM pg_catalog.pg_conf_load_time()),
    'pending_restart', (
        SELECT coalesce(pg_catalog.json_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_settings
        WHERE pending_restart AND (
            sourcefile = :'drop_in' OR name IN (SELECT name FROM pg_catalog.pg_file_settings WHERE sourcefile = :'drop_in'))),
    'overridden', (
        SELECT coalesce(pg_catalog.json_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_file_settings
        WHERE sourcefile = :'drop_in' AND NOT applied AND error IS NULL),
    'configuration_errors', (
        SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('%s line %s: %s', sourcefile, sourceline, error)), '[]')
        FROM pg_catalog.pg_file_settings
        WHERE error IS NOT NULL AND sourcefile IS NOT NULL AND pg_catalog.lower(coalesce(name, '')) NOT IN (
            SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE context = 'postmaster')),
    'hba_errors', (
        SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('line %s: %s', line_number, error)), '[]')
        FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL))
"""

# What a session of a superuser begins with, whatever the settings of the database or of the role say: operators are looked up where
# only the system's are, and values are written and read as usual.
SESSION_SETTINGS = {
    "search_path": "pg_catalog,pg_temp",
    "standard_conforming_strings": "on",
    "row_security": "off",
    "default_transaction_isolation": "read\\ committed",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "off",
    "client_min_messages": "warning",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "jit": "off",
}
# The first is where the administrator works; a server may have been left without it, and no server lacks the second.
MAINTENANCE_DATABASES = ("postgres", "template1")


def session_options(version: str) -> str:
    """What libpq is told to begin a superuser's session with.

    Args:
        version: major version of the server, such as "17". From that one on others' code may run when a session begins.
    """
    settings = dict(SESSION_SETTINGS)
    if int(version.split(".")[0]) >= 17:
        settings["event_triggers"] = "off"
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def ask_server(
    cluster: Cluster, where: dict[str, Any] | None, drop_in: str, ours: str = ""
) -> tuple[dict[str, Any] | None, str]:
    """Ask a running cluster as the operating-system user that owns it; return the answer, or None and why there is none.

    Args:
        cluster: the cluster.
        where: what postmaster() says of it.
        drop_in: path of the file whose settings are told apart.
        ours: name of a database of which to tell whether the administrator can connect to it.
    """
    if where is None or not where["socket_directory"]:
        return None, "it listens on no Unix socket"
    server, problem = ask_any_database(cluster, where, {"drop_in": drop_in}, SERVER_QUERY)
    if server is None:
        return None, problem
    server["database_problem"] = ""
    if ours in server["databases"]:
        tried = run_query(cluster, where, ours, {}, "SELECT 1")
        server["database_problem"] = " ".join(tried.stderr.split()) if tried.returncode else ""
    return server, ""


def ask_any_database(
    cluster: Cluster, where: dict[str, Any], values: dict[str, str], query: str
) -> tuple[dict[str, Any] | None, str]:
    """Ask a running cluster in the first database that lets the administrator in; return `where` with the answer, or None and why there is none.

    Args:
        cluster, where, values: as of run_query().
        query: what returns one row of JSON.
    """
    problems = []
    for database in MAINTENANCE_DATABASES:
        try:
            answer = run_query(cluster, where, database, values, query)
        except (OSError, KeyError, subprocess.TimeoutExpired) as error:
            return None, f"psql cannot query it: {error}"
        if answer.returncode == 0:
            return {**where, **json.loads(answer.stdout)}, ""
        problems.append(" ".join(answer.stderr.split()))
    return None, problems[0]


def run_query(
    cluster: Cluster, where: dict[str, Any], database: str, values: dict[str, str], query: str
) -> subprocess.CompletedProcess[str]:
    """Ask a running cluster as the operating-system user that owns it, by psql.

    Args:
        cluster: the cluster.
        where: what postmaster() says of it.
        database: which to connect to.
        values: what the query's variables stand for, none of it secret.
        query: what to ask. It can change nothing.

    Raises:
        OSError, KeyError, subprocess.TimeoutExpired: psql cannot be run, or does not end.
    """
    psql = f"/usr/lib/postgresql/{cluster.version}/bin/psql"
    command = [psql if os.path.exists(psql) else "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1"]
    command += [part for name, value in values.items() for part in ("-v", f"{name}={value}")]
    command += ["-h", where["socket_directory"], "-p", str(where["port"]), "-d", _conninfo(database)]
    environment = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "PGCONNECT_TIMEOUT": "10",
        "PGCLIENTENCODING": "UTF8",
        "PGOPTIONS": session_options(cluster.version),
    }
    # Not the module's run_command: nothing here imports Ansible.
    return subprocess.run(  # noqa: S603 - a fixed program; names go through psql's own quoting # pylint: disable=ansible-bad-function
        command,
        input=query,
        env=environment,
        cwd="/",
        user=cluster.owner,
        group=_group_of(cluster.owner),
        extra_groups=[],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=30,
        check=False,
    )


def _conninfo(database: str) -> str:
    """What libpq takes for the name of a database, whatever is in it; a bare name with an equals sign would be read as settings."""
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _group_of(user: str) -> int:
    import pwd  # not there on every system that may import this module

    return pwd.getpwnam(user).pw_gid


def shell_of(user: str) -> str:
    """Return the login shell of a user, empty where there is no such user."""
    import pwd  # not there on every system that may import this module

    try:
        return pwd.getpwnam(user).pw_shell
    except (KeyError, ValueError):
        return ""


def describe_cluster(cluster: Cluster, drop_in_name: str, root: str = "/", database: str = "") -> dict[str, Any]:
    """Describe one cluster: its files, the settings that others made in them, and what the server says if it runs.

    The files are read with the rights of the cluster's owner, who can put links in their places. Of a cluster whose data is gone
    the owner is not known; it is Debian's usual one then.
    """
    configuration = os.path.join(root, CONFIGURATION_ROOT, cluster.version, cluster.name)
    drop_in = os.path.join(configuration, "conf.d", drop_in_name)
    owner = next(filter(_is_user, (cluster.owner, "postgres")), None)
    with acting_as(owner) if owner else contextlib.nullcontext():
        described = _describe_files(cluster, configuration, drop_in)
        where = postmaster(cluster.data_directory) if cluster.running else None
    server, problem = ask_server(cluster, where, drop_in, database) if cluster.running else (None, "it is not running")
    if server is not None:
        server["certificate"] = shown_certificate(server["port"]) if server["ssl"] else None
        with acting_as(owner) if owner else contextlib.nullcontext():
            files = (drop_in, described["hba_file"])
            changed_at = [os.stat(path).st_mtime for path in files if os.path.exists(path)]
            server["reload_pending"] = any(moment > server["loaded_at"] for moment in changed_at) or _certificate_waits(
                drop_in, server["certificate"]
            )
    with acting_as(owner) if owner else contextlib.nullcontext():
        error = "" if server else last_error(cluster.log)
    return {**cluster._asdict(), **described, "server": server, "server_problem": problem, "last_error": error}


def _is_user(name: str) -> bool:
    try:
        _group_of(name)
    except (KeyError, ValueError):
        return False
    return True


def _describe_files(cluster: Cluster, configuration: str, drop_in: str) -> dict[str, Any]:
    hba_file = os.path.join(configuration, "pg_hba.conf")
    settings, included = read_settings(os.path.join(configuration, "postgresql.conf"), skip=drop_in)
    settings.update(read_settings(os.path.join(cluster.data_directory, "postgresql.auto.conf"))[0])
    start_conf = read_text(os.path.join(configuration, "start.conf")) or ""
    start = re.search(r"^\s*(auto|manual|disabled)\b", start_conf, re.MULTILINE)
    drop_in_content, drop_in_encoding = read_exactly(drop_in)
    hba_content, hba_encoding = read_exactly(hba_file)
    return {
        "patroni": shows_patroni(cluster, configuration),
        "has_data": os.path.exists(os.path.join(cluster.data_directory, "PG_VERSION")),
        "start": start.group(1) if start else "auto",
        "fenced": fence_of(start_conf),
        "configuration_directory": configuration,
        "reads_conf_d": os.path.dirname(drop_in) in included,
        "settings": settings,
        "drop_in": drop_in,
        "drop_in_content": drop_in_content,
        "drop_in_encoding": drop_in_encoding,
        "drop_in_problem": _write_problem(drop_in, cluster.owner, follow=False),
        "hba_file": hba_file,
        "hba_content": hba_content,
        "hba_encoding": hba_encoding,
        "hba_problem": _write_problem(hba_file, cluster.owner, follow=True),
    }


def shows_patroni(cluster: Cluster, configuration: str) -> str:
    """What shows that Patroni runs the cluster, the path of a file or the name of a program; empty where nothing does."""
    if cluster.patroni:
        return "pg_lsclusters"
    settings = os.path.join(configuration, "postgresql.conf")
    if "overwritten by Patroni" in (read_text(settings) or ""):
        return settings
    # Its copy of what all members share; also where it keeps the configuration elsewhere, and while the server is stopped.
    shared = os.path.join(cluster.data_directory, PATRONI_FILE)
    return shared if os.path.exists(shared) else ""


def fence_of(start_conf: str) -> str:
    """Why a cluster is fenced, by the text of its start.conf; empty where it is not."""
    fence = _FENCE.search(start_conf)
    return fence.group(1) if fence else ""


def _write_problem(path: str, owner: str, *, follow: bool) -> str:
    """Why a file cannot be replaced by whoever asks, as a sentence; empty where it can."""
    try:
        place = place_of(path, follow)
    except OwnedFileError as error:
        return str(error)
    directory = os.path.dirname(place)
    if os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return ""
    link = f"{path} is a link to {place}, but the" if place != path else "The"
    return f"{link} directory {directory} cannot be written by {owner}, who owns the cluster: allow that, or replace the link by a file."


def shown_certificate(port: int, root: str = "/") -> dict[str, Any] | None:
    """Describe the certificate that the server on the TCP port shows, None where it shows none."""
    for address, held, _inode in listening_sockets(root):
        if held == port:
            loopback = "127.0.0.1" if address.version == 4 else "::1"
            return served_certificate(loopback if address.is_unspecified else str(address), port)
    return None


def _certificate_waits(drop_in: str, shown: dict[str, Any] | None) -> bool:
    """Whether the server shows another certificate than the one that the drop-in names: PostgreSQL goes on with the old one where
    it cannot use the new one, and tells only its log."""
    named = read_settings(drop_in)[0].get("ssl_cert_file")
    if named is None or shown is None:
        return False
    return fingerprints(read_text(named) or "")[:1] != [shown["fingerprint"]]


def last_error(log: str) -> str:
    """Return the last message in the server's log that ended it, empty if none is found near its end."""
    try:
        with open(log, "rb") as handle:
            handle.seek(max(os.path.getsize(log) - 16384, 0))
            lines = handle.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    messages = [match.group(1) for match in (re.search(r"\b(?:FATAL|PANIC):\s+(.*)", line) for line in lines) if match]
    return messages[-1] if messages else ""


def unfinished_creation(marker: str) -> dict[str, Any] | None:
    """Return the cluster whose creation was interrupted, and whether it has been started since, in which case it is complete."""
    text = read_text(marker)
    if text is None:
        return None
    version, _slash, name = text.strip().partition("/")
    data_directory = os.path.join("/", DATA_ROOT, version, name)
    return {
        "version": version,
        "name": name,
        "data_directory": data_directory,
        "started": os.path.exists(os.path.join(data_directory, "postmaster.opts")),
    }


@contextlib.contextmanager
def between_creations(directory: str, patience: float = 120) -> Iterator[None]:
    """Wait until no other run is creating a cluster, which it does under a lock on the directory, and keep one from beginning."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # there was nothing to create one with yet
        yield
        return
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ProbeError(
                        f"Another run has been creating a cluster on this host for {patience:.0f} seconds: wait until it ends and run again."
                    ) from None
            time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)
