# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host of a primary and its standby says about its cluster, read without changing anything."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from ..certificates.facts import describe_directory
from ..files.owned import acting_as
from . import cluster as clusters
from .host_names import address_towards

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTINGS_FILE = "mission_control_standby.conf"
# A standby refuses to start, or stops replaying, with less of these than its primary has.
AT_LEAST_AS_PRIMARY = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
_SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
_PATIENCE = 5
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")

# One row of JSON. `lsn` is where the server stands: what it has written, or what it has received from its primary.
QUERY = """
SELECT pg_catalog.json_build_object(
    'version_number', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    -- Of the session itself it is set, so that nothing can be changed by it.
    'writable', NOT pg_catalog.pg_is_in_recovery() AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_file_settings
        WHERE name = 'default_transaction_read_only' AND applied AND setting NOT IN ('off', 'false', 'no', '0')),
    'system_identifier', (SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()),
    'timeline', CASE WHEN pg_catalog.pg_is_in_recovery()
        THEN coalesce((SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver),
                      (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()))
        ELSE ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int4 END,
    'lsn', CASE WHEN pg_catalog.pg_is_in_recovery()
        THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        ELSE pg_catalog.pg_current_wal_lsn() END::pg_catalog.text,
    'receiver', (SELECT pg_catalog.json_build_object('status', status, 'host', sender_host, 'slot', slot_name) FROM pg_catalog.pg_stat_wal_receiver),
    'slots', (SELECT coalesce(pg_catalog.json_object_agg(slot_name, wal_status), '{}') FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical'),
    'standbys', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', application_name, 'state', state, 'sync_state', sync_state, 'sent', sent_lsn::pg_catalog.text, 'flushed', flush_lsn::pg_catalog.text,
            'behind', pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_current_wal_lsn() END,
                                                 flush_lsn))), '[]')
        FROM pg_catalog.pg_stat_replication),
    'databases', (SELECT pg_catalog.json_agg(datname ORDER BY datname) FROM pg_catalog.pg_database),
    'size', (SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database),
    'settings', (SELECT pg_catalog.json_object_agg(name, setting) FROM pg_catalog.pg_settings WHERE name IN (
        'wal_level', 'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction',
        'listen_addresses', 'ssl', 'ssl_cert_file', 'data_checksums', 'wal_log_hints', 'synchronous_standby_names', 'hba_file')),
    'login', (SELECT pg_catalog.json_build_object('replication', rolreplication, 'login', rolcanlogin, 'superuser', rolsuper)
        FROM pg_catalog.pg_roles WHERE rolname = :'replicator'))
"""


def find_cluster(listed: Iterable[clusters.Cluster], name: str, version: str, port: int) -> clusters.Cluster | None:
    """The cluster of this name, of a major version where one is given, else the newest that has the port or will have it."""
    fits = [each for each in listed if each.name == name and (not version or each.version == version)]
    fits = [each for each in fits if each.port == port] or fits
    return max(fits, key=lambda each: int(each.version), default=None)


def describe(cluster: clusters.Cluster, replicator: str, root: str = "/") -> dict[str, Any]:
    """Describe the cluster as one of a pair.

    Args:
        cluster: the cluster.
        replicator: name of the role by which standbys log in.
    """
    configuration = os.path.join(root, clusters.CONFIGURATION_ROOT, cluster.version, cluster.name)
    data = cluster.data_directory
    with acting_as(cluster.owner):
        settings, _encoding = clusters.read_exactly(os.path.join(configuration, "conf.d", SETTINGS_FILE))
        rules, encoding = clusters.read_exactly(os.path.join(configuration, "pg_hba.conf"))
        start_conf = clusters.read_text(os.path.join(configuration, "start.conf")) or ""
        signal = os.path.lexists(os.path.join(data, "standby.signal"))
        backup_label = os.path.lexists(os.path.join(data, "backup_label"))
        has_data = os.path.lexists(os.path.join(data, "PG_VERSION"))
        patroni = clusters.shows_patroni(cluster, configuration)
        where = clusters.postmaster(data) if cluster.running else None
        history = read_history(data)
        free = _free_bytes(os.path.dirname(data))
    server, problem = (
        clusters.ask_any_database(cluster, where, {"replicator": replicator}, QUERY)
        if where
        else (None, "it is not running")
    )
    return {
        **cluster._asdict(),
        "label": f"{cluster.version}/{cluster.name}",
        "configuration_directory": configuration,
        "settings_path": os.path.join(configuration, "conf.d", SETTINGS_FILE),
        "settings_content": settings,
        "hba_path": os.path.join(configuration, "pg_hba.conf"),
        "hba_content": rules or "",
        "hba_encoding": encoding,
        "start_path": os.path.join(configuration, "start.conf"),
        "start_content": start_conf,
        "fenced": clusters.fence_of(start_conf),
        "standby_signal": signal,
        "backup_label": backup_label,
        "has_data": has_data,
        "patroni": patroni != "",
        "control": control_data(cluster) if has_data else {},
        "history": history,
        "free_bytes": free,
        "server": server,
        "server_problem": problem,
    }


def _free_bytes(directory: str) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def read_history(data_directory: str) -> dict[str, str]:
    """Where each earlier timeline of the newest one was left: `{"1": "0/3000148"}`."""
    directory = os.path.join(data_directory, "pg_wal")
    try:
        names = sorted(name for name in os.listdir(directory) if re.fullmatch(r"[0-9A-F]{8}\.history", name))
    except OSError:
        return {}
    text = ""
    if names:
        with contextlib.suppress(clusters.ProbeError):
            text = clusters.read_text(os.path.join(directory, names[-1])) or ""
    return parse_history(text)


def parse_history(text: str) -> dict[str, str]:
    """Read a timeline's history file."""
    lines = (re.match(r"\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", line) for line in text.splitlines())
    return {match[1]: match[2] for match in lines if match}


def control_data(cluster: clusters.Cluster) -> dict[str, Any]:
    """What pg_controldata tells, empty where it tells nothing."""
    program = f"/usr/lib/postgresql/{cluster.version}/bin/pg_controldata"
    answer = _run(cluster, [program, "-D", cluster.data_directory])
    return parse_control_data(answer.stdout) if answer and answer.returncode == 0 else {}


def parse_control_data(text: str) -> dict[str, Any]:
    fields = dict(re.findall(r"^([^:\n]+):\s*(.*?)\s*$", text, re.MULTILINE))
    checksums = fields.get("Data page checksum version", "0")
    return {
        "system_identifier": fields.get("Database system identifier", ""),
        "state": fields.get("Database cluster state", ""),
        "timeline": int(fields.get("Latest checkpoint's TimeLineID", "0") or 0),
        "checkpoint": fields.get("Latest checkpoint location", ""),
        # A rewind finds out by these which pages differ.
        "rewindable": checksums != "0" or fields.get("wal_log_hints setting", "off") == "on",
    }


def ahead_of(cluster: clusters.Cluster, timeline: int, lsn: str) -> dict[str, Any] | None:
    """What the log of a cluster holds after a position: its end, how many bytes, and how many transactions that were committed.

    Args:
        cluster: the cluster, running or not.
        timeline: the timeline that the log is of.
        lsn: the position, such as `0/3000148`.

    Returns:
        `lsn`, `bytes` and `commits`; None where the log of that position is not there any more.
    """
    if not _LSN.fullmatch(lsn):
        return None
    program = f"/usr/lib/postgresql/{cluster.version}/bin/pg_waldump"
    command = [program, "-p", os.path.join(cluster.data_directory, "pg_wal"), "-t", str(timeline), "-s", lsn]
    answer = _run(cluster, command, patience=300)
    # It always ends with an error: that there is nothing after the last record, or not even a first one.
    if answer is None or (not answer.stdout and re.search("could not (find|open) file", answer.stderr)):
        return None
    return parse_waldump(answer.stdout, lsn)


def parse_waldump(text: str, lsn: str) -> dict[str, Any]:
    """Count what pg_waldump printed. A commit without changes is no transaction that anybody could miss, and has no record."""
    end, commits = number_of(lsn), 0
    for match in re.finditer(
        r"^rmgr: (\w+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: (\S+), .*?desc: (\w+)", text, re.MULTILINE
    ):
        place = number_of(match[3].rstrip(","))
        if place < number_of(lsn):
            continue
        end = max(end, place + int(match[2]))
        commits += match[1] == "Transaction" and match[4].startswith("COMMIT")
    return {"lsn": f"{end >> 32:X}/{end & 0xFFFFFFFF:X}", "bytes": end - number_of(lsn), "commits": commits}


def number_of(lsn: str) -> int:
    """A position in the log as a number of bytes."""
    high, _slash, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def answers(address: str, port: int) -> bool:
    """Whether a PostgreSQL server answers there, whatever it would say to a login."""
    try:
        with socket.create_connection((address, port), timeout=_PATIENCE) as connection:
            connection.settimeout(_PATIENCE)
            connection.sendall(_SSL_REQUEST)
            return connection.recv(1) in (b"S", b"N", b"E")
    except OSError:
        return False


def own_address(towards: str) -> str:
    """The address under which another host sees this one; empty where the other's name is not known or has no route."""
    try:
        found = socket.getaddrinfo(towards, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    for entry in found:
        address = address_towards(str(entry[4][0]).partition("%")[0])
        if address:
            return address
    return ""


def authority(directory: str) -> dict[str, Any]:
    """The certificate of the authority in a directory, and whether its key is there."""
    known = describe_directory(directory)["authority"] or {}
    return {"certificate": known.get("certificate", ""), "has_key": bool(known.get("key_matches"))}


def _run(
    cluster: clusters.Cluster, command: list[str], patience: float = 60
) -> subprocess.CompletedProcess[str] | None:
    import pwd  # not there on every system that may import this module

    try:
        account = pwd.getpwnam(cluster.owner)
        # Not the module's run_command, which runs as root.
        return subprocess.run(  # noqa: S603 - a fixed program # pylint: disable=ansible-bad-function
            command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=patience,
            check=False,
            user=account.pw_uid if os.geteuid() == 0 else None,
            group=account.pw_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
        )
    except (OSError, KeyError, subprocess.TimeoutExpired):
        return None
