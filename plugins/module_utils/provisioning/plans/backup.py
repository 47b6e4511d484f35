# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what a host needs so that its database is backed up as it is wanted, or the sentences that say why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..files.desired import plan_files, sentences
from .service import calendar_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    Info = Mapping[str, Any]

_PREFIX = "mission_control_backup_"
# Commands that archive nothing, as they stand in for one on servers whose archiving is to come.
_OFF = ("", "(disabled)", "/bin/true", "true", ":", "cd .", "exit 0")
# Debian enables this server for repositories of other hosts. Without its certificates it is started anew every second.
PACKAGES_SERVER = "pgbackrest.service"


def plan_backup(info: Info, clusters: list[dict[str, Any]], wanted: Info) -> dict[str, Any]:
    """Compare a host with what is wanted.

    Args:
        info: what the module backup_info returned.
        clusters: those of the module cluster_info, with our settings file as its `drop_in`; in the server mode `existing` the one that backup_info
            calls `member`, and none for dumps of a server elsewhere.
        wanted: method, port, stanza, repositories (numbers), paths of the repositories, packages, files (entries of the module files),
            drop_in, archive_command and archive_timeout (seconds), timers (name and calendar) and all_timers, as `vars/main.yml` of the role lists
            them.

    Returns:
        `problems`, sentences for each reason to do nothing; where there is none, `actions`, sentences, and the details of each.
        It holds no text of a file. `ready` is false where no server runs yet that could be backed up. `standby` says that another server makes
        the backups, `asks` what an administrator of Patroni is asked for, and `notes` are sentences about what is as it is.
    """
    pgbackrest = wanted["method"] == "pgbackrest"
    cluster = find_cluster(clusters, wanted["port"])
    standby = bool(cluster and cluster["server"]["in_recovery"])
    if not pgbackrest:
        cluster = None
    member = bool(cluster and cluster.get("is_member"))
    files = plan_files(info["paths"], wanted["files"])
    calendars = {f"{_PREFIX}{name}": calendar for name, calendar in wanted["calendars"].items()}
    problems = files["problems"] + calendar_problems(info["calendars"], calendars)
    if (info.get("member") or {}).get("problem"):
        problems.append(_no_member(info["member"]["problem"], wanted["port"]))
    if cluster:
        problems += _cluster_problems(cluster, wanted) or _repository_problems(info, cluster, wanted)
    if problems:
        return {"problems": problems}

    stanza, full = _stanza(info, cluster, wanted) if cluster else ("create" if pgbackrest else "", True)
    known = stanza == ""
    if not pgbackrest:
        full = not info["dumps"]
    if standby:
        stanza, full = "", False
    asks = _asks(cluster, wanted) if cluster and member else {"lines": [], "restart": []}
    settles = _settles(cluster, wanted, pgbackrest)
    full = full and not any(asks.values())
    timers = [each["name"] for each in wanted["timers"]] if info["systemd"] else []
    plan = {
        "problems": [],
        "ready": bool(cluster) or not pgbackrest,
        "standby": standby,
        "label": _label(cluster) if cluster else "",
        "packages": [name for name in wanted["packages"] if name not in info["packages"]],
        "disable_packages_server": _fails(info["units"].get(PACKAGES_SERVER)),
        "files": files,
        "stanza": stanza,
        **settles,
        "asks": asks,
        "enable": [name for name in timers if not (info["units"][name]["enabled"] and info["units"][name]["active"])],
        "disable": [
            name
            for name in wanted["all_timers"]
            if name not in timers and info["units"].get(name, {}).get("loaded", False)
        ],
        "read_units": info["systemd"]
        and (
            any(path.startswith("/etc/systemd/system/") for path in files["write"] + files["remove"])
            or any(unit["needs_reload"] for unit in info["units"].values())
        ),
        "first": _first(cluster, standby, full, pgbackrest),
    }
    settled = any(settles[name] for name in ("write_drop_in", "reload", "restart"))
    # A standby has nothing that it could send.
    plan["check"] = pgbackrest and not standby and (full if member else settled or stanza != "")
    plan["settle"] = settled
    plan["notes"] = _notes(plan, known, wanted)
    plan["actions"] = _actions(plan, wanted)
    return plan


def _first(cluster: dict[str, Any] | None, standby: bool, full: bool, pgbackrest: bool) -> str:
    """Type of the backup that this run makes. Where archiving was off, log was written that no archive has: earlier backups lead no further."""
    if full:
        return "full" if pgbackrest else "dump"
    if not cluster or standby or cluster.get("is_member"):
        return ""
    return "" if "archive_mode = on" in (cluster["drop_in_content"] or "") else "incr"


def _settles(cluster: dict[str, Any] | None, wanted: Info, pgbackrest: bool) -> dict[str, Any]:
    """What is done to the server's own settings: nothing where Patroni keeps them."""
    ours = cluster if cluster and not cluster.get("is_member") else None
    return {
        "control": ["pg_ctlcluster", ours["version"], ours["name"]] if ours else [],
        "drop_in": ours["drop_in"] if ours else "",
        "drop_in_before": ours["drop_in_content"] if ours else None,
        "owner": ours["owner"] if ours else "",
        "write_drop_in": bool(
            pgbackrest and (not cluster or (ours is not None and ours["drop_in_content"] != wanted["drop_in"]))
        ),
        "reload": bool(ours and ours["server"]["reload_pending"]),
        "restart": ours["server"]["pending_restart"] if ours else [],
    }


def _asks(cluster: dict[str, Any], wanted: Info) -> dict[str, list[str]]:
    """What is to be done with patronictl, as Patroni keeps the settings of all members: lines for edit-config, and what a restart is needed for."""
    settings, waits = cluster["settings"], cluster["server"]["pending_restart"]
    # While archive_mode is off, a server does not show its command.
    command = settings["archive_command"] == wanted["archive_command"] or (
        "archive_mode" in waits and settings["archive_command"] == "(disabled)"
    )
    lines = {
        "wal_level": ("replica", settings["wal_level"] in ("replica", "logical")),
        "archive_mode": ('"on"', settings["archive_mode"] == "on"),
        "archive_command": (wanted["archive_command"], command),
        "archive_timeout": (
            f"{wanted['archive_timeout']}s",
            settings["archive_timeout"] == str(wanted["archive_timeout"]),
        ),
    }
    missing = [f"    {name}: {value}" for name, (value, there) in lines.items() if not there and name not in waits]
    return {"lines": ["postgresql:", "  parameters:", *missing] if missing else [], "restart": list(waits)}


def _no_member(problem: str, port: int) -> str:
    return (
        f"{_PREFIX}method is pgbackrest and mission_control_postgresql_mode is existing, but this host has no server on port {port} that Patroni "
        f"runs ({problem}): run this on the members of such a cluster, or set {_PREFIX}method to dump."
    )


def _label(cluster: Mapping[str, Any]) -> str:
    """A cluster as Debian calls it, or by the name that Patroni gives it."""
    return str(cluster["name"]) if cluster.get("is_member") else f"{cluster['version']}/{cluster['name']}"


def _fails(unit: Mapping[str, bool] | None) -> bool:
    """Whether it is to run and does not."""
    return bool(unit and unit["enabled"] and not unit["active"])


def find_cluster(clusters: list[dict[str, Any]], port: int) -> dict[str, Any] | None:
    """The cluster whose server listens on the port: after a move to a newer major version that is another one than before."""
    return next((each for each in clusters if each["server"] and each["server"]["port"] == port), None)


def _cluster_problems(cluster: dict[str, Any], wanted: Info) -> list[str]:
    label, member = _label(cluster), cluster.get("is_member", False)
    others, server = cluster["settings"], cluster["server"]
    if not member and cluster.get("patroni"):
        return [
            f"The cluster {label} is run by Patroni, as {cluster['patroni']} shows, which owns its settings: set mission_control_postgresql_mode to "
            "existing."
        ]
    if not member and not cluster["reads_conf_d"]:
        return [f"The postgresql.conf of {label} does not include conf.d: add the line include_dir = 'conf.d' to it."]
    for name in ("archive_command", "archive_library"):
        # With Patroni ours is among them.
        if others.get(name, "") not in (*_OFF, wanted["archive_command"] if member else ""):
            return [
                f"The cluster {label} archives its write-ahead log for somebody else already ({name} is {others[name]!r}): take that out, or set "
                f"{_PREFIX}method to dump."
            ]
    if member:
        return []
    if others.get("wal_level") == "minimal":
        return [f"The wal_level of {label} is minimal, with which nothing can be archived: set it to replica."]
    if server["overridden"]:
        name = server["overridden"][0]
        return [f"{name} is also set in a file of {label} that is read later and wins: remove it there."]
    return []


def _repository_problems(info: Info, cluster: dict[str, Any], wanted: Info) -> list[str]:
    repositories = info["repositories"]
    for path in wanted["repository_paths"]:
        there = info["paths"].get(path)
        if there and there["kind"] == "directory" and there["owner"] not in ("root", cluster["owner"]):
            return [
                f"The repository {path} belongs to {there['owner']} here, and not to {cluster['owner']}: where hosts share the directory, give "
                f"{cluster['owner']} the same number on all of them, else make another one."
            ]
        # Where it was in use, a directory that is gone is rather one that is not mounted.
        if info["paths"].get(path) is None and _archives(cluster, wanted):
            return [f"The repository {path} is in use and is not there: mount it, or make the directory anew."]
    if repositories["problem"]:
        return [unreadable(repositories["problem"])]
    for number in wanted["repositories"]:
        known = [each for each in repositories["clusters"] if each["repository"] == number]
        if known and known[-1]["system"] != info["system_identifier"] and known[-1]["version"] == cluster["version"]:
            return [
                f"Repository {number} holds backups of another cluster of PostgreSQL {cluster['version']} under the name {wanted['stanza']}: restore "
                f"them with playbooks/restore.yml, or set {_PREFIX}stanza to another name."
            ]
    return []


def unreadable(problem: str) -> str:
    """A sentence about repositories of which pgBackRest says that it cannot read them."""
    cure = (
        ": where hosts share the directory, give its user the same number on all of them"
        if "Permission denied" in problem
        else ""
    )
    return f"The backups cannot be read ({problem}){cure}." if cure else f"The backups cannot be read: {problem}."


def _archives(cluster: dict[str, Any], wanted: Info) -> bool:
    """Whether the server was told to archive to the repository."""
    if cluster.get("is_member"):
        return bool(cluster["settings"]["archive_command"] == wanted["archive_command"])
    return cluster["drop_in_content"] is not None


def _stanza(info: Info, cluster: dict[str, Any], wanted: Info) -> tuple[str, bool]:
    """Whether the stanza is to be created, or upgraded to a newer major version, and whether a full backup is due."""
    clusters, backups = info["repositories"]["clusters"], info["repositories"]["backups"]
    create = upgrade = full = False
    for number in wanted["repositories"]:
        known = [each for each in clusters if each["repository"] == number]
        current = known[-1] if known else None
        create = create or current is None
        upgrade = upgrade or (current is not None and current["system"] != info["system_identifier"])
        full = full or not any(
            current and each["repository"] == number and each["cluster"] == current["id"] for each in backups
        )
    return ("create" if create else "upgrade" if upgrade else ""), full or create or upgrade


def _notes(plan: Mapping[str, Any], known: bool, wanted: Info) -> list[str]:
    if not plan["standby"]:
        return []
    notes = ["This server is a standby: its primary makes the backups, and this host begins with its promotion."]
    if wanted["method"] == "pgbackrest" and not known:
        notes.append(
            "The repository of this host knows nothing of this cluster: run this on its primary, and where that has a repository of its own, run it "
            "here too after a promotion."
        )
    return notes


def _actions(plan: Mapping[str, Any], wanted: Info) -> list[str]:
    label = plan["label"] or "the cluster"
    stanza = wanted["stanza"]
    steps = (
        (plan["packages"], f"Install {', '.join(plan['packages'])}."),
        (plan["disable_packages_server"], f"Disable {PACKAGES_SERVER}, which fails."),
        (plan["disable"], f"Stop {', '.join(plan['disable'])}."),
        *((True, sentence) for sentence in sentences(plan["files"])),
        (plan["stanza"] == "create", f"Create the stanza {stanza} in the repository."),
        (plan["stanza"] == "upgrade", f"Upgrade the stanza {stanza} to the new version of PostgreSQL."),
        (plan["write_drop_in"], f"Enable WAL archiving in {label}."),
        (plan["reload"], f"Reload {label}."),
        (plan["restart"], f"Restart {label}, which {', '.join(plan['restart'])} waits for."),
        (plan["check"], "Check that the WAL reaches the repository."),
        (plan["enable"], f"Start {', '.join(plan['enable'])}."),
        (plan["read_units"], "Reload systemd."),
        (
            plan["first"] == "incr",
            "Make a backup, since the earlier ones lead no further than to where archiving was off.",
        ),
        (plan["first"] in ("full", "dump"), "Make the first backup."),
    )
    return [sentence for condition, sentence in steps if condition]
