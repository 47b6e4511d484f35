# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan what makes one host the warm standby of another, promotes it, or takes the old primary back; or refuse with a sentence that says why.

Pure functions of what the module standby_info found on both hosts (`found`, by the hosts' names) and of `wanted`:

    primary, standby     names of the two hosts, in the roles that they are to have
    database, port       name of the database; the port of both servers
    replicator, rewinder roles of PostgreSQL by which a standby follows, and by which an old primary is rewound
    synchronous, keep_wal, max_slot_wal
    hosts                for each of the two: address (by which the other reaches it), networks (from where the other comes; empty: its own address),
                         slot (its slot on the other), password_directory, authority_file, password_file
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any

from ..facts.standby import AT_LEAST_AS_PRIMARY
from .server_settings import quoted
from .server_tls import PACKAGED_CERTIFICATE

Found = dict[str, Any]
Wanted = dict[str, Any]

BEGIN = "# BEGIN mission_control_standby"
END = "# END mission_control_standby"
_BLOCK = re.compile(rf"^{BEGIN}\r?\n.*?^{END}\r?$(?:\r?\n)?", re.MULTILINE | re.DOTALL)
_BEFORE_US = re.compile(r"^# END homelab\.mission_control.*(?:\r?\n)*", re.MULTILINE)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HEADER = "# Written by the Ansible role mission_control_standby: change its variables, not this file."


def plan_pair(found: Found, wanted: Wanted) -> dict[str, Any]:
    """Plan what playbooks/standby.yml does.

    Returns:
        `problems`; or `actions` as sentences, `make` (whether the standby's data has to be made), `streams`, `create_slot`, `turn_on` (whether the
        primary is to wait for the standby once it streams), and for each host in `files` its `settings` and `hba`, and whether they differ.
    """
    problem = _pair_problem(found, wanted)
    if problem:
        return {"problems": [problem]}
    primary, standby = (found[wanted[side]]["cluster"] for side in ("primary", "standby"))
    make = not _is_standby_of(standby, primary)
    streams = not make and _streams(standby)
    server = primary["server"]
    waits = bool(wanted["synchronous"]) and streams
    # What makes commits wait is written when there is somebody to wait for, and is not taken back because he is away.
    waiting = settings_content(wanted, wanted["primary"], synchronous=True)
    keeps_waiting = wanted["synchronous"] and primary["settings_content"] == waiting
    files = {
        wanted["primary"]: _files(found, wanted, wanted["primary"], synchronous=waits or keeps_waiting),
        wanted["standby"]: _files(found, wanted, wanted["standby"], synchronous=False),
    }
    slot = wanted["hosts"][wanted["standby"]]["slot"]
    plan = {
        "problems": [],
        "make": make,
        "streams": streams,
        "create_slot": server["slots"].get(slot, "lost") == "lost",
        "turn_on": bool(wanted["synchronous"]) and not waits and not keeps_waiting,
        "files": files,
        "notes": [],
    }
    plan["actions"] = _actions(plan, found, wanted)
    return plan


def _actions(plan: dict[str, Any], found: Found, wanted: Wanted) -> list[str]:
    primary, standby = wanted["primary"], wanted["standby"]
    slot = wanted["hosts"][standby]["slot"]
    sentences: list[tuple[Any, str]] = [
        (found[primary]["cluster"]["server"]["login"] is None, f"Create the role {wanted['replicator']} on {primary}."),
        (plan["create_slot"], f"Create the replication slot {slot} on {primary}."),
    ]
    for name, files in plan["files"].items():
        sentences.append((files["write_hba"], f"Let the other host of the pair in by pg_hba.conf of {name}."))
        sentences.append((files["write_settings"], f"Write the settings of replication of {name}."))
    sentences.append((plan["make"], f"Copy the data of {primary} to {standby} and start it as a standby."))
    sentences.append((plan["turn_on"], f"Let commits on {primary} wait until {standby} has them."))
    return [sentence for condition, sentence in sentences if condition]


def _files(found: Found, wanted: Wanted, name: str, *, synchronous: bool) -> dict[str, Any]:
    cluster = found[name]["cluster"] or {}
    settings = settings_content(wanted, name, synchronous=synchronous)
    before = cluster.get("hba_content") or ""
    hba = hba_content(before, networks_of(found, wanted, name), wanted)
    return {
        "settings": settings,
        "hba": hba,
        "conninfo": connection_to_other(wanted, name, application_name="pg_basebackup"),
        "rewind_conninfo": connection_to_other(
            wanted,
            name,
            application_name="pg_rewind",
            user=wanted["rewinder"],
            dbname="postgres",
            passfile=os.path.join(os.path.dirname(wanted["hosts"][name]["password_file"]), "rewind.pgpass"),
        ),
        "write_settings": cluster.get("settings_content") != settings,
        "write_hba": before != hba,
    }


def plan_files(found: Found, wanted: Wanted) -> dict[str, Any]:
    """Plan the files of both hosts while an old primary is taken back; no commit waits for it yet."""
    return {name: _files(found, wanted, name, synchronous=False) for name in (wanted["primary"], wanted["standby"])}


def _is_standby_of(standby: dict[str, Any] | None, primary: dict[str, Any]) -> bool:
    return bool(
        standby
        and standby["has_data"]
        and standby["standby_signal"]
        and standby["control"].get("system_identifier") == primary["server"]["system_identifier"]
    )


def _streams(cluster: dict[str, Any]) -> bool:
    return ((cluster["server"] or {}).get("receiver") or {}).get("status") == "streaming"


def other_of(wanted: Wanted, name: str) -> str:
    """The other host of the pair."""
    return str(wanted["standby"] if name == wanted["primary"] else wanted["primary"])


def networks_of(found: Found, wanted: Wanted, name: str) -> list[str]:
    """From where the other host of the pair comes to this one."""
    other = other_of(wanted, name)
    given = list(wanted["hosts"][other]["networks"])
    return given or [str(ipaddress.ip_network(found[other]["address"]))]


def settings_content(wanted: Wanted, name: str, *, synchronous: bool) -> str:
    """The file in conf.d of a host. A primary ignores whom it would follow, so that nothing of it changes when the roles do."""
    other, own = other_of(wanted, name), wanted["hosts"][name]
    settings = {
        "max_slot_wal_keep_size": wanted["max_slot_wal"],
        "primary_conninfo": connection_to_other(wanted, name),
        "primary_slot_name": own["slot"],
        "wal_keep_size": wanted["keep_wal"],
    }
    if synchronous:
        settings["synchronous_standby_names"] = '"' + other.replace('"', '""') + '"'
    return "\n".join([_HEADER, *(f"{key} = {quoted(value)}" for key, value in sorted(settings.items())), ""])


def connection_to_other(wanted: Wanted, name: str, **others: str) -> str:
    """How the server of a host reaches that of the other, as libpq reads it, with `others` in place of what a standby says. The password is in a file."""
    own = wanted["hosts"][name]
    return conninfo(
        {
            "host": wanted["hosts"][other_of(wanted, name)]["address"],
            "port": wanted["port"],
            "user": wanted["replicator"],
            "application_name": name,
            "sslmode": "verify-full",
            "sslrootcert": own["authority_file"],
            "passfile": own["password_file"],
            # A network that is cut ends the connection, and the standby tries anew.
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            **others,
        }
    )


def conninfo(values: dict[str, Any]) -> str:
    """Settings of a connection as libpq reads them."""
    parts = []
    for name, value in values.items():
        text = str(value)
        if not re.fullmatch(r"[\w./:@%+-]+", text):
            text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        parts.append(f"{name}={text}")
    return " ".join(parts)


def hba_content(before: str, networks: list[str], wanted: Wanted) -> str:
    """Return pg_hba.conf with our block behind those of the role mission_control_postgresql, and before all other lines.

    The role by which a standby follows gets in from the other host alone, over TLS, and to no database; that of a rewind, which is there
    for the time of one alone, to the database postgres.
    """
    rest = hba_without(before)
    replicator, rewinder = (f'"{wanted[role]}"' for role in ("replicator", "rewinder"))
    both = f"{replicator},{rewinder}"
    rules = [
        *(f"hostssl replication {replicator} {network} scram-sha-256" for network in networks),
        *(f"hostssl postgres {rewinder} {network} scram-sha-256" for network in networks),
        f"local all,replication {both} reject",
        f"host all,replication {both} all reject",
    ]
    place = max((match.end() for match in _BEFORE_US.finditer(rest)), default=0)
    block = "\n".join([BEGIN, *rules, END, ""])
    return rest[:place] + block + rest[place:]


def hba_without(before: str) -> str:
    """Return pg_hba.conf without our block."""
    return _BLOCK.sub("", before)


def _pair_problem(found: Found, wanted: Wanted) -> str:
    """Why the two hosts cannot be primary and standby, empty where they can."""
    return (
        _primary_problem(found, wanted)
        or _offer_problem(found, wanted)
        or _standby_problem(found, wanted)
        or _address_problem(found, wanted, wanted["primary"])
        or _address_problem(found, wanted, wanted["standby"])
        or _directory_problem(wanted)
    )


def _primary_problem(found: Found, wanted: Wanted) -> str:
    name, other = wanted["primary"], wanted["standby"]
    cluster = found[name]["cluster"]
    if not cluster:
        return f"There is no PostgreSQL cluster on {name} that {other} could follow: run site.yml first."
    label = f"The cluster {cluster['label']} of {name}"
    if cluster["patroni"]:
        return f"{label} is run by Patroni, which makes standbys itself: take {name} and {other} out of mission_control_standby."
    if cluster["fenced"]:
        return (
            f"{label} is no longer the primary: {cluster['fenced']}. Put {other} into the group mission_control and {name} into "
            "mission_control_standby, and run playbooks/rejoin.yml."
        )
    server = cluster["server"]
    if server is None:
        return f"{label} cannot be asked: {cluster['server_problem']}. Start it, or promote {other} with playbooks/promote.yml."
    if server["in_recovery"]:
        return f"{label} is a standby itself: put the primary into the group mission_control, and its standby into mission_control_standby."
    if wanted["database"] not in server["databases"]:
        return f"{label} does not hold the database {wanted['database']}: run site.yml first."
    return ""


def _offer_problem(found: Found, wanted: Wanted) -> str:
    """Why nobody could follow the primary."""
    name = wanted["primary"]
    settings = found[name]["cluster"]["server"]["settings"]
    label = f"The server on {name}"
    listening = set(filter(None, re.split(r"[\s,]+", settings["listen_addresses"])))
    if listening <= _LOOPBACK:
        return f"{label} listens on localhost only, so its standby cannot reach it: set mission_control_postgresql_listen_addresses and run site.yml."
    offers = settings["ssl"] == "on" and settings["ssl_cert_file"] != PACKAGED_CERTIFICATE
    if not offers or not (found[name]["authority"]["certificate"] or wanted["hosts"][name]["ca_cert"]):
        return (
            f"{label} shows no certificate that its standby could verify: set mission_control_postgresql_tls to own_authority and run site.yml, or name "
            "the authority of the one that it shows in mission_control_standby_ca_cert."
        )
    if settings["wal_level"] == "minimal" or int(settings["max_wal_senders"]) < 2:
        return (
            f"{label} has wal_level {settings['wal_level']} and max_wal_senders {settings['max_wal_senders']}, but a standby needs replica and at least 2: "
            "change them in mission_control_postgresql_settings and run site.yml."
        )
    return ""


def _standby_problem(found: Found, wanted: Wanted) -> str:
    name = wanted["standby"]
    primary, cluster = found[wanted["primary"]]["cluster"], found[name]["cluster"]
    version = cluster["version"] if cluster else wanted["standby_version"]
    if version and version != primary["version"]:
        return (
            f"{name} has or would get PostgreSQL {version}, but {wanted['primary']} runs {primary['version']}, and a standby needs the same major version: "
            "set mission_control_postgresql_version, or take hosts of the same distribution."
        )
    if not cluster or not cluster["has_data"]:
        return ""
    label = f"The cluster {cluster['label']} of {name}"
    if cluster["patroni"]:
        return f"{label} is run by Patroni, which makes standbys itself: take {name} out of the group mission_control_standby."
    if found[name]["making"]:
        return _foreign_problem(cluster, label, primary, wanted) or _smaller_problem(cluster, label, primary, wanted)
    if cluster["control"].get("system_identifier") != primary["server"]["system_identifier"]:
        return (
            f"{label} holds other data than {wanted['primary']}, which a standby would take the place of: move it away with pg_dropcluster, or name another "
            "host."
        )
    if not cluster["standby_signal"]:
        return _was_primary(label, wanted)
    if cluster["fenced"]:
        return f"{label} is fenced: {cluster['fenced']}. Take it back with playbooks/rejoin.yml -e mission_control_standby_rejoin_confirm={name}."
    if primary["server"]["slots"].get(wanted["hosts"][name]["slot"]) == "lost":
        return (
            f"{label} has fallen behind by more than mission_control_standby_max_slot_wal, so the log that it needs is gone: make it anew with "
            f"playbooks/rejoin.yml -e mission_control_standby_rejoin_confirm={name}."
        )
    return _smaller_problem(cluster, label, primary, wanted)


def _foreign_problem(cluster: dict[str, Any], label: str, primary: dict[str, Any], wanted: Wanted) -> str:
    """A cluster that a run of ours made and left unfinished is replaced, unless somebody has used it since.

    A copy that is not complete has no control data, or the label of its backup, which its first start takes away. Without one it was a
    primary, whatever the mark says: one that was promoted, or whose data could not be moved aside.
    """
    identifier = cluster["control"].get("system_identifier")
    if identifier == primary["server"]["system_identifier"]:
        return "" if cluster["standby_signal"] or cluster["backup_label"] else _was_primary(label, wanted)
    if identifier and cluster["server"] is None:
        return (
            f"{label} was left unfinished by an earlier run and cannot be asked what it holds ({cluster['server_problem']}): start it, or remove it with "
            "pg_dropcluster if nobody needs it."
        )
    databases = set((cluster["server"] or {}).get("databases", ())) - {"postgres", "template0", "template1"}
    if databases:
        return f"{label} was left unfinished by an earlier run and holds the database {min(databases)} since: move that away first."
    return ""


def _was_primary(label: str, wanted: Wanted) -> str:
    return (
        f"{label} was a primary of the same data and is no standby: take it back with playbooks/rejoin.yml -e "
        f"mission_control_standby_rejoin_confirm={wanted['standby']}."
    )


def _smaller_problem(cluster: dict[str, Any], label: str, primary: dict[str, Any], wanted: Wanted) -> str:
    server = cluster["server"]
    if not server:
        return ""
    return smaller_problem(server["settings"], label, primary["server"]["settings"], wanted["primary"])


def smaller_problem(own: dict[str, str], label: str, theirs: dict[str, str], primary: str) -> str:
    """Which setting of a standby is smaller than the primary's, as a sentence."""
    for name in AT_LEAST_AS_PRIMARY:
        if int(own[name]) < int(theirs[name]):
            return (
                f"{label} has {name} {own[name]} and {primary} has {theirs[name]}, but a standby needs at least as many: set {name} in "
                "mission_control_postgresql_settings for both hosts."
            )
    return ""


def _address_problem(found: Found, wanted: Wanted, name: str) -> str:
    other = other_of(wanted, name)
    if found[name]["address"] or wanted["hosts"][name]["networks"]:
        return ""
    return (
        f"{name} has no way to {wanted['hosts'][other]['address']}, by which it is to reach {other}: set mission_control_standby_address for {other} to an "
        "address that it has for its pair."
    )


def _directory_problem(wanted: Wanted) -> str:
    """After a promotion the passwords have to be found under the other host's name."""
    one, two = (wanted["hosts"][wanted[side]]["password_directory"] for side in ("primary", "standby"))
    if one == two:
        return ""
    return (
        f"mission_control_database_password_directory is {one} for {wanted['primary']} and {two} for {wanted['standby']}: set one directory for both, where "
        "the passwords are found after a promotion too."
    )


def plan_promotion(found: Found, wanted: Wanted, *, reachable: bool, switchover: bool) -> dict[str, Any]:
    """Plan what playbooks/promote.yml does.

    Args:
        found: what both hosts say; of the old primary nothing where it cannot be reached.
        wanted: as above; `standby` is the one to promote, `primary` the old one.
        reachable: whether Ansible reaches the old primary's host.
        switchover: whether a primary that runs may be stopped.

    Returns:
        `problems`; or `actions`, `done` (whether the standby writes already), `fence`, `stop` and `notes`.
    """
    old, new = wanted["primary"], wanted["standby"]
    cluster = found[new]["cluster"]
    label = f"The cluster {cluster['label']} of {new}" if cluster else ""
    was = found[old]["cluster"] if reachable else None
    runs = bool(was and was["running"])
    problem = ""
    if not cluster or not cluster["server"]:
        problem = f"PostgreSQL on {new} cannot be asked{': ' + cluster['server_problem'] if cluster else ''}, so it cannot be promoted: start it."
    elif cluster["patroni"]:
        problem = f"{label} is run by Patroni, which promotes by itself: use patronictl."
    elif not cluster["server"]["in_recovery"] and was and was["server"] and was["server"]["in_recovery"]:
        return {**_promotion(wanted, cluster), "done": True, "settled": True}
    elif not cluster["server"]["in_recovery"] and not cluster["history"]:
        problem = f"{label} is no standby, and was never promoted: name its standby in mission_control_standby_promote_confirm."
    elif not reachable and found[new]["peer_answers"]:
        problem = (
            f"The server of {old} answers {new}, but Ansible cannot reach the host to stop it: two primaries would take writes. Stop it there, or take its "
            "network away, and run again."
        )
    elif reachable and not runs and found[new]["peer_answers"]:
        problem = (
            f"A server answers {new} at {wanted['hosts'][old]['address']} port {wanted['port']}, but the cluster of {old} that would be stopped does not run: "
            "two primaries would take writes. Stop what answers there, and run again."
        )
    elif runs and was and not was["standby_signal"] and not switchover:
        problem = f"The server of {old} runs: set mission_control_standby_switchover to true to stop it and let {new} take its place, or stop it yourself."
    if problem:
        return {"problems": [problem]}
    plan = _promotion(wanted, cluster)
    plan["done"] = not cluster["server"]["in_recovery"]
    plan["stop"] = runs
    plan["fence"] = bool(was and was["has_data"] and not was["fenced"])
    sentences = [
        (plan["stop"], f"Stop the server of {old}, after {new} has all that it wrote."),
        (plan["fence"], f"Fence {old}: its cluster does not start again before playbooks/rejoin.yml."),
        (not plan["done"], f"Promote {new}."),
        (
            plan["create_slot"],
            f"Create the replication slot {wanted['hosts'][old]['slot']} on {new}.",
        ),
    ]
    plan["actions"] = [sentence for condition, sentence in sentences if condition]
    if not reachable:
        plan["notes"].append(
            f"{old} cannot be reached, so it is not fenced. Before it comes back, keep it off the network, boot it, and write the word disabled into "
            f"{cluster['start_path']} there, or its server takes writes that {new} never gets; then run playbooks/rejoin.yml."
        )
    return plan


def _promotion(wanted: Wanted, cluster: dict[str, Any]) -> dict[str, Any]:
    return {
        "problems": [],
        "actions": [],
        "notes": [],
        "done": False,
        "settled": False,
        "stop": False,
        "fence": False,
        "create_slot": cluster["server"]["slots"].get(wanted["hosts"][wanted["primary"]]["slot"], "lost") == "lost",
    }


def plan_rejoin(found: Found, wanted: Wanted) -> dict[str, Any]:
    """Plan what playbooks/rejoin.yml does: `standby` is the host that is taken back, `primary` the one that writes.

    Returns:
        `problems`; or `done` (it follows already), `stop`, `fork` and `timeline` (where the log of the old one was left), `rewind` (whether a rewind
        can be tried), `enough_room` for a second copy, and `actions`.
    """
    name, primary = wanted["standby"], wanted["primary"]
    problem = _primary_problem(found, wanted) or _offer_problem(found, wanted) or _directory_problem(wanted)
    cluster, writer = found[name]["cluster"], found[primary]["cluster"]
    if not problem and (not cluster or not cluster["has_data"]):
        problem = f"There is no data on {name} to take back: run playbooks/standby.yml, which makes a standby of a fresh host."
    elif not problem and cluster["patroni"]:
        problem = f"The cluster {cluster['label']} of {name} is run by Patroni, which takes old primaries back itself."
    elif not problem and cluster["version"] != writer["version"]:
        problem = f"{name} has PostgreSQL {cluster['version']} and {primary} {writer['version']}: drop the old cluster with pg_dropcluster and run standby.yml."
    elif not problem and cluster["control"].get("system_identifier") != writer["server"]["system_identifier"]:
        problem = f"The cluster {cluster['label']} of {name} holds other data than {primary}, so it is no old primary of it: move it away with pg_dropcluster."
    if problem:
        return {"problems": [problem]}
    server = cluster["server"]
    done = bool(cluster["standby_signal"] and not cluster["fenced"] and server and _streams(cluster))
    timeline = cluster["control"].get("timeline", 0)
    fork = writer["history"].get(str(timeline), "")
    # A standby that fell too far behind needs no rewind, and would find no log.
    behind = cluster["standby_signal"] and writer["server"]["slots"].get(wanted["hosts"][name]["slot"]) == "lost"
    diverged = timeline != writer["server"]["timeline"] and not fork
    plan: dict[str, Any] = {
        "problems": [],
        "done": done,
        "stop": bool(cluster["running"] and not done),
        "fence": not cluster["fenced"] and not done,
        "timeline": timeline,
        "fork": fork,
        "rewind": bool(cluster["control"].get("rewindable")) and not diverged and not behind,
        "enough_room": cluster["free_bytes"] > int(writer["server"]["size"]) * 11 // 10,
        "notes": [],
    }
    sentences = [
        (
            plan["stop"],
            f"Stop the server of {name}{'' if cluster['standby_signal'] else ', which runs as a second primary'}.",
        ),
        (not done, f"Take {name} back as the standby of {primary}, and throw away what it alone has."),
    ]
    plan["actions"] = [sentence for condition, sentence in sentences if condition]
    return plan


def lost_sentence(name: str, ahead: dict[str, Any] | None) -> str:
    """What a host's log has that nobody else has, as a sentence."""
    if ahead is None:
        return f"How much the log of {name} has that was not replicated cannot be told."
    if not ahead["bytes"]:
        return f"The log of {name} has nothing that was not replicated."
    return (
        f"The log of {name} has {ahead['bytes']} bytes that were not replicated, with {ahead['commits']} committed "
        f"transaction{'' if ahead['commits'] == 1 else 's'}: these are lost."
    )
