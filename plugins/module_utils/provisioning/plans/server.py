# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the changes after which a host runs the desired PostgreSQL cluster, or refuse with sentences that say why.

Pure functions: they take what the module cluster_info found and what the role was given, and decide; nothing is read or changed here.
"""

from __future__ import annotations

import os
import re
from typing import Any

from .server_hba import hba_content, hba_problem, way_in_problem
from .server_settings import memory_settings, setting_problems, settings_content, whole_number
from .server_tls import listening_addresses, plan_tls, tls_actions, tls_notes, tls_problems

Info = dict[str, Any]
Wanted = dict[str, Any]

# What initdb writes into postgresql.conf: a setting that still has this value was chosen by nobody.
INITIAL_SETTINGS = {"shared_buffers": "128MB"}


def plan_server(info: Info, wanted: Wanted) -> dict[str, Any]:
    """Return the plan, with the changes as sentences in `actions`; or `problems`, and then nothing may be changed."""
    platform = f"{info['distribution']['id']}-{info['distribution']['version']}"
    if platform not in wanted["supported"]:
        name = info["distribution"]["name"]
        return {
            "problems": [
                f"{name} is not supported: install PostgreSQL yourself and set mission_control_postgresql_mode to existing."
            ]
        }
    version = wanted["version"] or str(wanted["supported"][platform])
    label = f"{version}/{wanted['cluster']}"
    target = next(
        (each for each in info["clusters"] if (each["version"], each["name"]) == (version, wanted["cluster"])), None
    )
    leftover = _leftover(info, version, wanted)
    if leftover:
        target = None
    tls = plan_tls(info, wanted, target)
    # The first group with a problem is enough: what follows is often only its consequence.
    groups = (
        _become_problems(info, wanted),
        _patroni_problems(label, target),
        _other_holder_problems(info, wanted, label, target),
        _package_problems(info, wanted, platform, version),
        _memory_problems(info, wanted),
        _target_problems(info, wanted, label, target),
        tls_problems(info, wanted, label, target, tls),
    )
    problems = next(filter(None, groups), [])
    if problems:
        return {"problems": problems}

    packages = [
        name
        for name in ("postgresql-common", f"postgresql-{version}", "python3-psycopg2")
        if name not in info["packages"]
    ]
    drop_in = wanted_drop_in(info, wanted, target, tls["settings"])
    old_hba = (target or {}).get("hba_content") or ""
    encoding = (target or {}).get("hba_encoding", "utf-8")
    hba = hba_content(old_hba, wanted, encoding)
    server = (target or {}).get("server")
    configuration = f"/etc/postgresql/{version}/{wanted['cluster']}"
    plan = {
        "problems": [],
        "version": version,
        "label": label,
        # Hands over to systemctl where systemd runs and works where it does not.
        "control": ["pg_ctlcluster", version, wanted["cluster"]],
        "packages": packages,
        "installs_server": f"postgresql-{version}" in packages,
        "create": target is None,
        "leftover": leftover,
        "configuration_directory": configuration,
        "drop_in_path": f"{configuration}/conf.d/mission_control.conf",
        "hba_path": f"{configuration}/pg_hba.conf",
        "drop_in": drop_in,
        "drop_in_before": (target or {}).get("drop_in_content"),
        "drop_in_encoding": (target or {}).get("drop_in_encoding", "utf-8"),
        "write_drop_in": target is None or target["drop_in_content"] != drop_in,
        "hba": hba,
        "hba_before": old_hba,
        "hba_encoding": encoding,
        "write_hba": target is None or old_hba != hba,
        "start": server is None,
        "reload": bool(server and server["reload_pending"]),
        "restart": server["pending_restart"] if server else [],
        "enable": info["systemd"] and not info["service_enabled"],
        "server": server,
        "database_problem": server["database_problem"] if server else "",
        "data_directory": (target or {}).get("data_directory", ""),
        "owner": (target or {}).get("owner", "postgres"),
        "log": (target or {}).get("log", ""),
        "tls": tls,
        "notes": tls_notes(wanted, label, target, tls),
    }
    steps = ("write_drop_in", "write_hba", "start", "reload", "restart", "enable")
    for key, problem in (("write_drop_in", "drop_in_problem"), ("write_hba", "hba_problem")):
        if target is not None and plan[key] and target[problem]:
            return {"problems": [target[problem]]}
    plan["configure"] = any(plan[key] for key in steps) or tls["make"] or bool(tls["obsolete"])
    plan["actions"] = _actions(plan)
    if "shared_buffers" not in wanted["settings"] and not wanted["memory_mb"]:
        plan["notes"] += filter(None, [memory_note(plan)])
    return plan


def _actions(plan: dict[str, Any]) -> list[str]:
    label = plan["label"]
    sentences = (
        (plan["packages"], f"Install {', '.join(plan['packages'])}."),
        (plan["leftover"], f"Remove the remains of an interrupted creation of {label}."),
        (plan["create"], f"Create the cluster {label}."),
        *((True, sentence) for sentence in tls_actions(label, plan["tls"])),
        (plan["write_drop_in"], f"Write the settings of {label}."),
        (plan["write_hba"], f"Write pg_hba.conf of {label}."),
        (plan["start"], f"Start {label}."),
        (plan["reload"], f"Reload {label}."),
        (plan["restart"], f"Restart {label} to apply {', '.join(plan['restart'])}."),
        (plan["enable"], "Start PostgreSQL at boot."),
    )
    return [sentence for condition, sentence in sentences if condition]


def wanted_drop_in(info: Info, wanted: Wanted, target: dict[str, Any] | None, tls: dict[str, Any]) -> str:
    """Return the drop-in: the settings of the inputs, and derived ones unless an adopted cluster sets them elsewhere."""
    others = (target or {}).get("settings", {})
    chosen = wanted["settings"]
    connections = whole_number(chosen.get("max_connections")) or whole_number(others.get("max_connections")) or 100
    derived: dict[str, Any] = {"listen_addresses": "localhost"}
    if wanted["memory_mb"] != "0":
        megabytes = int(wanted["memory_mb"] or 0) or info["memory_bytes"] // 2**20
        derived.update(memory_settings(megabytes, connections))
    kept = {name: others[name] for name in derived if name in others and others[name] != INITIAL_SETTINGS.get(name)}
    settings = {name: value for name, value in derived.items() if name not in kept}
    # The distribution's tools keep the port in postgresql.conf, and move it there when they move the cluster to a newer version.
    if target is not None and whole_number(others.get("port", 5432)) != wanted["port"]:
        settings["port"] = wanted["port"]
    settings["password_encryption"] = "scram-sha-256"  # noqa: S105 - a method's name
    if wanted["listen_addresses"]:
        settings["listen_addresses"] = wanted["listen_addresses"]
    settings.update(tls)
    settings.update(chosen)
    return settings_content(settings, {name: value for name, value in kept.items() if name not in settings})


def _become_problems(info: Info, wanted: Wanted) -> list[str]:
    """Return why the tasks cannot become the administrator."""
    shell, user = info["administrator_shell"], wanted["become_user"]
    if os.path.basename(shell) not in ("nologin", "false") or re.search(
        r"(?:^|\s)(?:-\w*s|--shell)\b", wanted["su_flags"]
    ):
        return []
    return [
        f"The shell of the user {user} is {shell}, and su needs one that runs commands: set ansible_su_flags to '-s /bin/sh' for this host, or use sudo."
    ]


def _patroni_problems(label: str, target: dict[str, Any] | None) -> list[str]:
    """Return why Patroni's cluster is not ours to configure: what is written on one member is in force there alone, and overwritten."""
    if target is None or not target["patroni"]:
        return []
    return [
        f"The cluster {label} is run by Patroni, as {target['patroni']} shows, which owns its settings and its client authentication: "
        "set mission_control_postgresql_mode to existing, and mission_control_login_host to where its leader is reached."
    ]


def memory_note(plan: dict[str, Any]) -> str:
    """Return a sentence with the memory that the server reserves if the role derived it; else an empty text."""
    chosen = re.search(r"^shared_buffers = '(\d+)MB'$", plan["drop_in"], re.MULTILINE)
    if not chosen or not plan["write_drop_in"]:
        return ""
    return (
        f"{plan['label']} reserves {chosen[1]} MB for shared_buffers, about a quarter of this host's memory: set "
        "mission_control_postgresql_memory_mb if the host does other work too."
    )


def _package_problems(info: Info, wanted: Wanted, platform: str, version: str) -> list[str]:
    carried = str(wanted["supported"][platform])
    if (
        wanted["repository"] == "distribution"
        and version != carried
        and f"postgresql-{version}" not in info["packages"]
    ):
        return [
            f"{info['distribution']['name']} ships PostgreSQL {carried}, not {version}: set mission_control_postgresql_repository to "
            "pgdg, or to none if the host's own package sources have it."
        ]
    return []


def _memory_problems(info: Info, wanted: Wanted) -> list[str]:
    available = info["memory_bytes"]
    problems = setting_problems(wanted["settings"], available)
    megabytes = int(wanted["memory_mb"] or 0)
    if megabytes and not 64 <= megabytes <= available // 2**20:
        problems.append(
            f"mission_control_postgresql_memory_mb is {megabytes}, but it must be between 64 and the {available // 2**20} MB of this host."
        )
    return problems


def _leftover(info: Info, version: str, wanted: Wanted) -> str:
    unfinished = info["unfinished_creation"]
    if (
        unfinished
        and not unfinished["started"]
        and (unfinished["version"], unfinished["name"]) == (version, wanted["cluster"])
    ):
        return str(unfinished["data_directory"])
    return ""


def _target_problems(info: Info, wanted: Wanted, label: str, target: dict[str, Any] | None) -> list[str]:
    """Return why the cluster cannot be created, or adopted as it is."""
    port, holder = wanted["port"], info["port_holder"]
    server = (target or {}).get("server")
    problems = []
    if holder and (target is None or not target["running"] or (server and server["port"] != port)):
        process = f"{holder['name']} (process {holder['pid']})" if holder["pid"] else holder["name"]
        problems.append(
            f"Port {port} is in use by {process}: stop it, or set mission_control_postgresql_port to a free port."
        )
    if not problems and (target is None or target["port"] != port):
        for other in info["clusters"]:
            name = f"{other['version']}/{other['name']}"
            if name != label and other["port"] == port and other["start"] == "auto":
                problems.append(
                    f"The cluster {name} also uses port {port} and starts at boot: set mission_control_postgresql_port to another port."
                )
    if wanted["client_networks"] and set(listening_addresses(wanted, target)) <= {"localhost", "127.0.0.1", "::1"}:
        problems.append(
            "mission_control_postgresql_client_networks is set, but the server listens on localhost only: set "
            "mission_control_postgresql_listen_addresses too."
        )
    if target is None:
        return problems
    if not target["has_data"]:
        return [
            f"The data directory {target['data_directory']} of the cluster {label} does not exist: mount it, or restore the database with "
            "playbooks/restore.yml."
        ]
    if target["port"] != port and target["drop_in_content"] is None:
        problems.append(
            f"The existing cluster {label} uses port {target['port']}, not {port}: set mission_control_postgresql_port to "
            f"{target['port']}, since clients may rely on it."
        )
    if target["start"] == "disabled" and target.get("fenced"):
        problems.append(
            f"The cluster {label} is no longer the primary: {target['fenced']}. Make it a standby with playbooks/rejoin.yml."
        )
    elif target["start"] == "disabled":
        problems.append(
            f"The cluster {label} is disabled in its start.conf: write auto there, or choose another cluster."
        )
    if not target["reads_conf_d"]:
        problems.append(
            f"The postgresql.conf of {label} does not include conf.d: add the line include_dir = 'conf.d' to it."
        )
    way_in = way_in_problem(target["hba_content"] or "", wanted, target["hba_encoding"], asked=server is not None)
    if way_in:
        problems.append(f"{target['hba_file']} {way_in}")
    elif target["running"] and server is None:
        problems.append(f"The cluster {label} runs but cannot be queried: {target['server_problem']}.")
    if server and server["in_recovery"] and not wanted.get("standby"):
        problems.append(f"The cluster {label} is a standby: run this on its primary.")
    if server and server["hba_file"] != target["hba_file"]:
        problems.append(
            f"The cluster {label} uses the hba_file {server['hba_file']} instead of {target['hba_file']}: remove that setting."
        )
    broken = [*server["configuration_errors"], *server["hba_errors"]] if server else []
    if broken:
        problems.append(f"The configuration of {label} has an error, correct it first: {broken[0]}.")
    lost = sorted(set(server["overridden"]) & {"port", *wanted["settings"]}) if server else []
    if lost:
        problems.append(
            f"{lost[0]} is also set in a file of {label} that is read later and overrides it: remove it there."
        )
    unpaired = hba_problem(target["hba_content"] or "")
    if unpaired:
        problems.append(f"{target['hba_file']} {unpaired}")
    return problems


def _other_holder_problems(info: Info, wanted: Wanted, label: str, target: dict[str, Any] | None) -> list[str]:
    """Return which other cluster holds, or may hold, the database: a second, empty one beside it would look like loss of data."""
    database = wanted["database"]
    if target and target["server"] and database in target["server"]["databases"]:
        return []
    settled = target is not None and target["drop_in_content"] is not None
    problems = []
    for other in info["clusters"]:
        name = f"{other['version']}/{other['name']}"
        if other is target or name == label or name in wanted["ignored_clusters"]:
            continue
        if other["server"] and database in other["server"]["databases"]:
            problems.append(
                f"The cluster {name} already holds the database {database}: set mission_control_postgresql_version and "
                "mission_control_postgresql_cluster to it, "
                "or upgrade it with playbooks/upgrade_postgresql.yml."
            )
        elif other["server"] is None and not settled:
            problems.append(
                f"The cluster {name} cannot be inspected ({other['server_problem']}) and may hold the database {database}: start it, "
                f"or add it to mission_control_postgresql_ignored_clusters."
            )
    if target is None:
        leftover = (info["unfinished_creation"] or {}).get("data_directory")
        for directory in info["unregistered_data_directories"]:
            if directory != leftover and directory not in wanted["ignored_clusters"]:
                problems.append(
                    f"{directory} holds PostgreSQL data that belongs to no cluster: move it away, or add the directory to "
                    "mission_control_postgresql_ignored_clusters."
                )
    return problems
