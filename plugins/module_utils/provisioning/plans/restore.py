# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide from which backup a cluster is restored and into what, or say in sentences why that must not be done."""

from __future__ import annotations

import datetime
import os.path
from typing import TYPE_CHECKING, Any

from ..inputs.backup import moment
from .backup import unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    Info = Mapping[str, Any]

_PREFIX = "mission_control_backup_"
# Length of the time at which the backup was begun, in its label: 20261125-023000F, or 20261122-023000F_20261125-023000I.
_LABEL_TIME = 15
# Where a restore notes that it has begun: nobody but root can write there.
MARKERS = "/etc/mission-control/backup"


def choose_backup(info: Info, wanted: Info, now: float) -> dict[str, Any]:
    """Which backup it is, and the cluster that it belongs to and goes into; with `problems` where there is none.

    Args:
        info: what the module backup_info returned.
        wanted: database, stanza, server_mode, own_cluster, and restore_target, _cluster, _port and _repository by these names.
        now: seconds since 1970.
    """
    number, stanza = wanted["restore_repository"], wanted["stanza"]
    repositories = info["repositories"]
    if wanted["server_mode"] == "existing" and not wanted["restore_cluster"]:
        return {
            "problems": [
                f"mission_control_postgresql_mode is existing, and a cluster of Patroni is not restored in its place: name a new cluster in "
                f"{_PREFIX}restore_cluster, or restore on a host of its own on which mission_control_postgresql_mode is package."
            ]
        }
    if repositories["problem"]:
        return {"problems": [unreadable(repositories["problem"])]}
    backups = [each for each in repositories["backups"] if each["repository"] == number and not each["damaged"]]
    if not backups:
        others = sorted({each["repository"] for each in repositories["backups"] if not each["damaged"]})
        cure = (
            f"but repository {others[0]} does: set {_PREFIX}restore_repository to {others[0]}"
            if others
            else f"and no other does: set {_PREFIX}repository and {_PREFIX}stanza to where one is"
        )
        return {"problems": [f"Repository {number} holds no backup of {stanza}, {cure}."]}
    target = moment(wanted["restore_target"]) if wanted["restore_target"] else ""
    if target:
        seconds = datetime.datetime.strptime(f"{target}00", "%Y-%m-%d %H:%M:%S.%f%z").timestamp()
        if seconds > now:
            return {"problems": [f"{_PREFIX}restore_target is {target}, which lies in the future."]}
        earlier = [each for each in backups if each["stopped"] <= seconds]
        if not earlier:
            return {
                "problems": [
                    f"{_PREFIX}restore_target is {target}, but the oldest backup in repository {number} was complete at {_time(backups[0]['stopped'])}."
                ]
            }
        backups = earlier
    chosen = backups[-1]
    system = next(
        each for each in repositories["clusters"] if (each["repository"], each["id"]) == (number, chosen["cluster"])
    )
    name = wanted["restore_cluster"] or wanted["own_cluster"]
    return {
        "problems": [],
        "backup": chosen,
        "target": target,
        "version": system["version"],
        "name": name,
        "label": f"{system['version']}/{name}",
        "own": name == wanted["own_cluster"],
        "marker": f"{MARKERS}/{system['version']}-{name}.restoring",
    }


def data_directory(choice: Info, clusters: list[dict[str, Any]]) -> str:
    """Where the data goes: where the cluster has it, or the distribution's place for a new one."""
    found = _registered(choice, clusters)
    return (
        str(found["data_directory"]).rstrip("/")
        if found
        else f"/var/lib/postgresql/{choice['version']}/{choice['name']}"
    )


def choose_dump(info: Info, wanted: Info) -> dict[str, Any]:
    """Which dump is restored, and the heads that the audit log in it has to have; with `problems` where there is none."""
    path = wanted["restore_dump"] or next((each["path"] for each in info["dumps"]), "")
    if not path:
        return {
            "problems": [
                f"There is no dump of {wanted['database']}: set {_PREFIX}dump_directory or {_PREFIX}restore_dump to where one is."
            ]
        }
    kept = [
        *info["heads"],
        *({"label": os.path.basename(each["path"]), "head": each["head"]} for each in info["dumps"]),
    ]
    own = {each["head"] for each in kept if each["head"] and each["label"] == os.path.basename(path)}
    later = {each["head"] for each in kept if each["head"]} | set(wanted["restore_heads"])
    return {
        "problems": [],
        "path": path,
        "required_heads": sorted(own, key=_sequence),
        "later_heads": sorted(later - own, key=_sequence),
    }


def plan_restore(info: Info, server: Info, choice: Info, wanted: Info) -> dict[str, Any]:
    """What is to be done, in `actions` as sentences, or `problems`: then nothing may be done.

    Args:
        info: what the module backup_info returned for the data directory.
        server: what the module cluster_info returned for the port.
        choice: what `choose_backup` returned.
        wanted: as there.
    """
    clusters = server["clusters"]
    target = _registered(choice, clusters)
    directory = data_directory(choice, clusters)
    living = next((each for each in clusters if each is not target and _holds(each, wanted["database"])), None)
    unfinished = info["unfinished_restore"]
    port = target["port"] if target else wanted["restore_port"]
    problems = _target_problems(info, choice, target, directory, unfinished)
    if not target and not problems:
        problems = _port_problems(server, clusters, port)
    if problems:
        return {"problems": problems}
    beside = living is not None or not choice["own"]
    heads = _heads(info, choice, wanted)
    version = choice["version"]
    plan = {
        "problems": [],
        **choice,
        "port": port,
        "directory": directory,
        # Complete already, but the run ended before it could say so.
        "restored": unfinished == "done" or bool(unfinished and target and target["running"]),
        "create": target is None,
        "control": ["pg_ctlcluster", version, choice["name"]],
        "packages": [
            name
            for name in ("postgresql-common", f"postgresql-{version}", "pgbackrest", "python3-psycopg2")
            if name not in info["packages"]
        ],
        # What a standby replays comes to the repository from its primary.
        "living": f"{living['version']}/{living['name']}" if living and not living["server"]["in_recovery"] else "",
        "archiving": not beside,
        "options": [
            f"--repo={wanted['restore_repository']}",
            *(["--type=time", f"--target={choice['target']}", "--target-action=promote"] if choice["target"] else []),
            *(["--archive-mode=off"] if beside else []),
        ],
        **heads,
    }
    plan["actions"] = _actions(plan, wanted)
    return plan


def _registered(choice: Info, clusters: list[dict[str, Any]]) -> dict[str, Any] | None:
    wanted = (choice["version"], choice["name"])
    return next((each for each in clusters if (each["version"], each["name"]) == wanted), None)


def _holds(cluster: dict[str, Any], database: str) -> bool:
    return bool(cluster["server"]) and database in cluster["server"]["databases"]


def _target_problems(
    info: Info, choice: Info, target: dict[str, Any] | None, directory: str, unfinished: str
) -> list[str]:
    cure = f"restore into a new cluster by naming one in {_PREFIX}restore_cluster"
    if target and target["running"] and not unfinished:
        return [f"The cluster {choice['label']} runs, and nothing is restored over it: {cure}."]
    if info["data_directory"] == "link":
        return [
            f"{directory} is a symbolic link, which a restore does not follow: put a directory of its own there, or {cure}."
        ]
    if info["data_directory"] in ("data", "other") and not unfinished:
        return [f"{directory} is not empty, and nothing is restored over it: move it away, or {cure}."]
    return []


def _port_problems(server: Info, clusters: list[dict[str, Any]], port: int) -> list[str]:
    cure = f"set {_PREFIX}restore_port to a free one"
    for each in clusters:
        if each["port"] == port:
            return [f"Port {port} belongs to the cluster {each['version']}/{each['name']}: {cure}."]
    holder = server["port_holder"]
    if holder:
        who = f"{holder['name']} (process {holder['pid']})" if holder["pid"] else holder["name"]
        return [f"Port {port} is held by {who}: {cure}."]
    return []


def _heads(info: Info, choice: Info, wanted: Info) -> dict[str, list[str]]:
    """Heads that have to be on the restored chain, since the backup was begun after them, and those that may be newer than it."""
    kept = [*info["heads"], *info["repositories"]["backups"]]
    until = _begun(choice["backup"]["label"])
    required = {each["head"] for each in kept if each["head"] and _begun(each["label"]) <= until}
    later = {each["head"] for each in kept if each["head"] and _begun(each["label"]) > until}
    later |= set(wanted["restore_heads"])
    return {"required_heads": sorted(required, key=_sequence), "later_heads": sorted(later - required, key=_sequence)}


def _begun(label: str) -> str:
    """When a backup was begun; the label of one that builds on a full one begins with that one's."""
    return label.rpartition("_")[2][:_LABEL_TIME]


def _sequence(head: str) -> int:
    return int(head.partition(":")[0])


def _time(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc):%Y-%m-%d %H:%M:%S}+00"


def _actions(plan: dict[str, Any], wanted: Info) -> list[str]:
    backup, label = plan["backup"], plan["label"]
    upto = f"up to {plan['target']}" if plan["target"] else "as far as it was archived"
    restored = plan["restored"]
    sentences = (
        (plan["packages"], f"Install {', '.join(plan['packages'])}."),
        (
            plan["living"] and not restored,
            f"Archive the latest WAL of {plan['living']}, which keeps running.",
        ),
        (plan["create"], f"Create the cluster {label} on port {plan['port']}, which does not start by itself."),
        (
            not restored,
            f"Restore the {backup['type']} backup {backup['label']} of {wanted['stanza']}, complete at {_time(backup['stopped'])}, from repository "
            f"{backup['repository']} into {plan['directory']}.",
        ),
        (restored, f"Continue with {label}, which an earlier run has restored."),
        (not restored, f"Start {label} and replay the WAL {upto}."),
        (
            not plan["archiving"] and not restored,
            f"Leave WAL archiving off in {label}, so that it does not write into the backups of the other cluster.",
        ),
        (True, "Verify the audit log against the heads that were kept with the backups."),
    )
    return [sentence for condition, sentence in sentences if condition]
