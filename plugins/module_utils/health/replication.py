# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Health of replication: whether the server takes writes, its standbys or its primary, and the log that slots keep for them."""

from __future__ import annotations

import math
import re
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from .report import Check
from .text import duration, number, size

if TYPE_CHECKING:
    from .probe import Probe
    from .report import CheckStatus

    Row = dict[str, Any]

ROLES = ("primary", "standby")
# Where a default comes from that concerns all programs; one of a login or a session is that one's own choice.
_DEFAULT_OF_ALL = ("configuration file", "command line", "global", "database", "environment variable")
_NOT_WAITING = ("off", "local")
_PRIORITY_OR_QUORUM = re.compile(r"\s*(?:(?:first|any)\b\s*)?(\d+)\s*\(", re.IGNORECASE)
# How long a standby that seems late by its clock is given to catch up with what it has received.
_PATIENCE = 0.3
_STEP = 0.05
# A slot with a limit is warned of when less than this share of the limit is left.
_NEARLY_LOST = 0.25
_MOST_NAMES = 3
_STATE = """
SELECT pg_is_in_recovery() AS standby, CASE
    WHEN pg_is_in_recovery() THEN (
        SELECT greatest(c.timeline_id, r.min_recovery_end_timeline, (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver))
        FROM pg_control_checkpoint() AS c CROSS JOIN pg_control_recovery() AS r
    )
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
END AS timeline
"""
# Who else takes write-ahead log is no standby: base backups, receivers that only store it, logical replication. Where the state is hidden the
# slot, which everybody sees, says how far its standby has got.
_SENDERS = """
SELECT r.application_name::text AS name, r.state, r.sync_state,
    greatest(0, pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_lsn() END,
        coalesce(r.replay_lsn, r.flush_lsn, s.restart_lsn)
    ))::bigint AS lag_bytes,
    CASE WHEN r.state IS NOT NULL THEN coalesce(extract(epoch FROM r.replay_lag), 0)::float8 END AS lag_seconds,
    s.slot_name::text AS slot,
    r.application_name NOT IN ('pg_basebackup', 'pg_receivewal') AND coalesce(r.state, '') <> 'backup'
        AND coalesce(s.slot_type, 'physical') = 'physical' AND NOT coalesce(s.temporary, false) AS is_standby
FROM pg_catalog.pg_stat_replication AS r
LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.active_pid = r.pid
ORDER BY r.application_name, r.pid
"""
# Of primary_conninfo, which may hold a password, only whether it is empty is asked.
_RECEIVER = """
SELECT r.pid IS NOT NULL AS receiving, r.pid IS NOT NULL AND r.status IS NULL AS hidden, r.status,
    r.sender_host AS host, r.sender_port AS port, r.slot_name AS slot, p.received::text AS received,
    coalesce(p.replayed >= p.received, true) AS caught_up,
    greatest(0, pg_wal_lsn_diff(greatest(p.received, r.latest_end_lsn), p.replayed))::bigint AS lag_bytes,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS replay_age_seconds,
    pg_get_wal_replay_pause_state() <> 'not paused' AS paused,
    current_setting('restore_command') <> '' AND coalesce(
        (SELECT setting = '' FROM pg_catalog.pg_settings WHERE name = 'primary_conninfo'), false
    ) AS from_archive_alone
FROM (SELECT pg_last_wal_receive_lsn() AS received, pg_last_wal_replay_lsn() AS replayed) AS p
LEFT JOIN pg_catalog.pg_stat_wal_receiver AS r ON true
"""


def checked_role(expected: str) -> str:
    """What the caller expects the server to be: primary, standby, or '' for any.

    Raises:
        SettingsError: it is nothing of that.
    """
    if expected not in ("", *ROLES):
        raise SettingsError(f"The expected role must be primary, standby, or empty for any, not {expected!r}.")
    return expected


def check_writable(probe: Probe) -> Check:
    """Whether programs can write here, and whether the server is what the caller expects it to be."""
    row = probe.row(
        """
        SELECT pg_is_in_recovery() AS standby, setting = 'on' AS read_only, source
        FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'
        """
    )
    read_only = row["read_only"] and row["source"] in _DEFAULT_OF_ALL
    role = "standby" if row["standby"] else "primary"
    expected = probe.expected_role
    data = {"writable": not row["standby"] and not read_only, "role": role, "expected_role": expected}
    if row["standby"] and expected == "primary":
        message = (
            "The server is a standby, which takes no writes, but a primary is expected: connect to the primary, or promote this server if the "
            "primary is lost."
        )
        return Check("writable", "fail", message, data)
    if row["standby"]:
        return Check("writable", "pass", "The server is a standby, which takes no writes.", data)
    if expected == "standby":
        message = "The server is a primary, but a standby is expected: if another primary runs, stop one of the two before programs write to both."
        return Check("writable", "fail", message, data)
    if read_only:
        whose = "the database" if row["source"] == "database" else "the server"
        message = f"The server is a primary that takes no writes: default_transaction_read_only of {whose} is on."
        return Check("writable", "fail" if expected == "primary" else "warn", message, data)
    return Check("writable", "pass", "The server takes writes.", data)


def check_replication(probe: Probe) -> Check:
    """The standbys of a primary and whether commits wait for one; of a standby its primary, and how far it is behind."""
    state = probe.row(_STATE)
    senders = probe.rows(_SENDERS)
    standbys = [
        {name: value for name, value in each.items() if name != "is_standby"} for each in senders if each["is_standby"]
    ]
    data = {
        "role": "standby" if state["standby"] else "primary",
        "timeline": state["timeline"],
        "standbys": standbys,
        "connected": len(standbys),
        "streaming": sum(each["state"] == "streaming" for each in standbys),
        # Without pg_monitor a connection shows, and little of it.
        "hidden": sum(each["state"] is None for each in senders),
    }
    late = [each for each in standbys if _is_late(probe, each)]
    return _standby(probe, data, late) if state["standby"] else _primary(probe, data, late, senders)


def without_address(check: Check) -> str:
    """The message of a replication check for whoever is not to know where the primary is."""
    primary = check.data["primary"]
    return check.message.replace(f" from {_address(primary)}", "") if primary else check.message


def synchronous_wanted(names: str) -> int:
    """For how many standbys a commit waits, by `synchronous_standby_names`: FIRST n (…), ANY n (…), or a list, which wants one."""
    found = _PRIORITY_OR_QUORUM.match(names)
    return int(found[1]) if found else int(bool(names.strip()))


def _primary(probe: Probe, data: Row, late: list[Row], senders: list[Row]) -> Check:
    row = probe.row(
        """
        SELECT current_setting('synchronous_standby_names') AS names, current_setting('synchronous_commit') AS commit,
            a.waiting, a.seconds, a.hidden
        FROM (
            SELECT count(*) FILTER (WHERE wait_event = 'SyncRep') AS waiting, bool_or(backend_type IS NULL) AS hidden,
                max(extract(epoch FROM clock_timestamp() - query_start)) FILTER (WHERE wait_event = 'SyncRep')::float8 AS seconds
            FROM pg_catalog.pg_stat_activity
        ) AS a
        """
    )
    # Whoever only stores the log may be synchronous, too.
    data["synchronous"] = sum(each["sync_state"] in ("sync", "quorum") for each in senders)
    data["synchronous_wanted"] = synchronous_wanted(row["names"])
    data["synchronous_standby_names"] = row["names"]
    # Of the sessions of others only some know what these wait for.
    data["waiting_commits"] = row["waiting"] or (None if row["hidden"] else 0)
    data["waiting_seconds"] = row["seconds"] or 0.0
    data["primary"] = None
    problems = [*_missing(probe, data, row["commit"]), *([_lateness(late)] if late else [])]
    blocked = data["synchronous"] + data["hidden"] < data["synchronous_wanted"] and row["commit"] not in _NOT_WAITING
    if not blocked and row["waiting"] and data["waiting_seconds"] >= probe.thresholds.replication_lag_warn_seconds:
        wait = f"Commits wait ({row['waiting']} now, the first for {duration(data['waiting_seconds'])})"
        problems.insert(0, f"{wait}: a synchronous standby is connected, and does not answer in time.")
    status: CheckStatus = "fail" if blocked else "warn" if problems else "not visible" if data["hidden"] else "pass"
    return Check("replication", status, " ".join([*problems, _overview(data)]), data)


def _missing(probe: Probe, data: Row, synchronous_commit: str) -> list[str]:
    """What is wanted of standbys and is not there; those that are hidden may be it."""
    problems = []
    found, wanted = data["synchronous"], data["synchronous_wanted"]
    if found + data["hidden"] < wanted:
        problem = (
            f"synchronous_standby_names wants {number(wanted, 'synchronous standby', 'synchronous standbys')}, and "
            f"{number(found, 'is', 'are')} connected"
        )
        if synchronous_commit in _NOT_WAITING:
            problems.append(f"{problem}; commits do not wait for it, since synchronous_commit is {synchronous_commit}.")
        else:
            waiting = f" ({data['waiting_commits']} now)" if data["waiting_commits"] else ""
            cure = "start the standby, or set synchronous_standby_names to '' to go on without it"
            problems.append(f"Commits wait{waiting}: {problem}; {cure}.")
    for name, count, what in (
        ("standbys_warn", data["streaming"], "standby streams"),
        ("synchronous_standbys_warn", found, "synchronous standby is connected"),
    ):
        least = getattr(probe.thresholds, name)
        if count + data["hidden"] < least < math.inf:
            many = what.replace("standby streams", "standbys stream").replace("standby is", "standbys are")
            problems.append(f"{number(count, what, many)}, but {name} wants {least:g}.")
    return problems


def _standby(probe: Probe, data: Row, late: list[Row]) -> Check:
    row = probe.row(_RECEIVER)
    seconds = 0.0 if row["receiving"] and row["caught_up"] else row["replay_age_seconds"]
    bytes_late = (row["lag_bytes"] or 0) >= probe.thresholds.replication_lag_warn_bytes
    seconds_late = seconds is not None and seconds >= probe.thresholds.replication_lag_warn_seconds
    # What comes in after an hour without any transaction looks an hour late until it is replayed.
    if seconds_late and row["receiving"] and not bytes_late and _catches_up(probe, row["received"]):
        seconds, seconds_late = 0.0, False
    data["primary"] = {"host": row["host"], "port": row["port"]} if row["host"] else None
    data["slot"] = row["slot"]
    data["receiving"] = row["receiving"]
    data["lag_bytes"] = row["lag_bytes"]
    data["lag_seconds"] = seconds
    data["paused"] = row["paused"]
    streams = row["status"] == "streaming"
    problems = []
    if not (streams or row["hidden"] or row["from_archive_alone"]):
        problems.append(
            "The standby receives nothing from its primary: that is away, or refuses it, or has no longer the log that it needs, and the standby's "
            "own log says which."
        )
    if bytes_late or (seconds_late and (streams or row["hidden"] or row["from_archive_alone"])):
        alone = row["from_archive_alone"]
        which = "The standby, which follows an archive alone," if alone else "The standby"
        problems.append(f"{which} is {_lag(None if alone else row['lag_bytes'], seconds)} behind.")
    if problems and row["paused"]:
        problems.append("Its replay is paused: pg_wal_replay_resume() has it go on.")
    if late:
        problems.append(_lateness(late))
    data["hidden"] += row["hidden"]
    status: CheckStatus = "warn" if problems else "not visible" if data["hidden"] else "pass"
    return Check("replication", status, " ".join([*problems, _overview(data)]), data)


def _catches_up(probe: Probe, position: str) -> bool:
    """Whether all of the log up to a position is replayed within a moment."""
    began = monotonic()
    while monotonic() - began < _PATIENCE:
        probe.row("SELECT pg_sleep(%(seconds)s) IS NULL AS slept", {"seconds": _STEP})
        asked = "SELECT pg_last_wal_replay_lsn() >= %(position)s::pg_lsn AS there"
        if probe.row(asked, {"position": position})["there"]:
            return True
    return False


def _is_late(probe: Probe, standby: Row) -> bool:
    thresholds = probe.thresholds
    return (standby["lag_bytes"] or 0) >= thresholds.replication_lag_warn_bytes or (
        (standby["lag_seconds"] or 0) >= thresholds.replication_lag_warn_seconds
    )


def _overview(data: Row) -> str:
    """What there is, whether or not it is as it should be."""
    standbys = data["standbys"]
    whose = f"A {data['role']} on timeline {data['timeline']}"
    if data["role"] == "standby":
        source = f" that streams from {_address(data['primary'])}" if data["primary"] else ""
        whose += source + _progress(data)
        if not standbys:
            return f"{whose}.{_hidden(data)}"
    counts = f"{data['streaming']} streaming"
    if data["role"] == "primary":
        counts += f", {data['synchronous']} synchronous"
    if not standbys:
        return f"{whose} without a standby.{_hidden(data)}"
    last = max(standbys, key=lambda each: (each["lag_seconds"] or 0, each["lag_bytes"] or 0))
    seen = f" ({counts}); the last, {last['name']}, is {_lag(last['lag_bytes'], last['lag_seconds'])} behind"
    return (
        f"{whose}, with {number(len(standbys), 'standby', 'standbys')}{'' if data['hidden'] else seen}.{_hidden(data)}"
    )


def _progress(data: Row) -> str:
    """Without a connection only the age of the last transaction says how far a standby may be behind."""
    if data["receiving"]:
        return f", {_lag(data['lag_bytes'], data['lag_seconds'])} behind"
    return f", whose last transaction is {duration(data['lag_seconds'])} old" if data["lag_seconds"] is not None else ""


def _hidden(data: Row) -> str:
    return " pg_monitor shows this login their state." if data["hidden"] else ""


def _address(primary: Row) -> str:
    return f"{primary['host']} port {primary['port']}"


def _lag(count: int | None, seconds: float | None) -> str:
    known = [size(count)] if count is not None else []
    known += [duration(seconds)] if seconds else []
    return " and ".join(known) or "an unknown amount"


def _lateness(late: list[Row]) -> str:
    shown = [f"{each['name']} by {_lag(each['lag_bytes'], each['lag_seconds'])}" for each in late[:_MOST_NAMES]]
    more = f" and {len(late) - _MOST_NAMES} more" if len(late) > _MOST_NAMES else ""
    return f"Standbys are late: {', '.join(shown)}{more}."


def check_replication_slots(probe: Probe) -> Check:
    """Slots that keep the server's write-ahead log for somebody who does not fetch it, until the disk is full or their limit is reached."""
    slots = probe.rows(
        """
        SELECT s.slot_name::text AS name, s.slot_type AS type, s.active, s.temporary, s.wal_status, s.safe_wal_size::bigint AS safe_bytes,
            greatest(0, pg_wal_lsn_diff(
                CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn
            ))::bigint AS retained_bytes,
            (SELECT nullif(setting, '-1')::bigint * 1048576 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size')
                AS limit_bytes,
            -- From PostgreSQL 17 on.
            extract(epoch FROM clock_timestamp() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8 AS inactive_seconds
        FROM pg_catalog.pg_replication_slots AS s
        ORDER BY retained_bytes DESC NULLS LAST, s.slot_name
        """
    )
    inactive = [slot for slot in slots if not slot["active"]]
    data = {"slots": slots, "inactive": len(inactive)}
    # Of a slot that has lost its log nothing is kept any more, so it is the last one.
    for slot in sorted(slots, key=lambda slot: bool(slot["wal_status"] != "lost")):
        problem = _slot_problem(slot, probe.thresholds.slot_warn_bytes)
        if problem:
            return Check("replication_slots", "warn", problem, data)
    if not slots:
        return Check("replication_slots", "pass", "There is no replication slot.", data)
    message = f"{number(len(slots), 'replication slot')}, none far behind"
    if inactive:
        more = ", …" if len(inactive) > _MOST_NAMES else ""
        message += f"; not in use: {', '.join(slot['name'] for slot in inactive[:_MOST_NAMES])}{more}"
    return Check("replication_slots", "pass", f"{message}.", data)


def _slot_problem(slot: Row, warn_bytes: float) -> str:
    if slot["wal_status"] == "lost":
        return f"The log that {slot['name']} needs is gone: make its standby anew and drop the slot."
    kept, left, limit = slot["retained_bytes"] or 0, slot["safe_bytes"], slot["limit_bytes"]
    nearly_lost = slot["wal_status"] == "unreserved" or (left is not None and limit and left < limit * _NEARLY_LOST)
    if kept < warn_bytes and not nearly_lost:
        return ""
    since = f" for {duration(slot['inactive_seconds'])}" if slot["inactive_seconds"] else ""
    problem = f"The slot {slot['name']} keeps {size(kept)} of write-ahead log on the server"
    if not slot["active"]:
        problem += f", and nobody has used it{since}"
    if limit and left is not None:
        return f"{problem}; after {size(max(0, left))} more its standby must be made anew (max_slot_wal_keep_size)."
    return (
        f"{problem}; without a limit (max_slot_wal_keep_size) it fills the disk: start its standby, or drop the slot."
    )
