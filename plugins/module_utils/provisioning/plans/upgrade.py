# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the upgrade of the cluster that holds the database to a new major version, without touching it."""

from __future__ import annotations

import re
from typing import Any

from ..inputs.server import OLDEST_VERSION
from .server_settings import whole_number


def plan_upgrade(info: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return `problems`, or `needed` and, if so, what the upgrade has to know of the cluster."""
    to, database = wanted["upgrade_to"], wanted["database"]
    if not re.fullmatch(r"[1-9]\d?", to) or int(to) < OLDEST_VERSION:
        return _refused(
            f"mission_control_postgresql_upgrade_to is {to!r}, but a major version of at least 14 is needed."
        )
    holders = [each for each in info["clusters"] if each["server"] and database in each["server"]["databases"]]
    if not holders:
        return _refused(f"No running cluster of this host holds the database {database}: start the one that does.")
    if len(holders) > 1:
        labels = " and ".join(f"{each['version']}/{each['name']}" for each in holders)
        return _refused(f"The clusters {labels} both hold the database {database}: stop the one that is not in use.")
    holder = holders[0]
    old, new = f"{holder['version']}/{holder['name']}", f"{to}/{holder['name']}"
    if holder["version"] == to:
        return {"problems": [], "needed": False, "old": old, "new": new}
    problem = _problem(info, wanted, holder, old, new)
    if problem:
        return _refused(problem)
    packages = [name for name in ("postgresql-common", f"postgresql-{to}") if name not in info["packages"]]
    return {
        "problems": [],
        "needed": True,
        "old": old,
        "new": new,
        "old_version": holder["version"],
        "version": to,
        "name": holder["name"],
        "owner": holder["owner"],
        "data_directory": holder["data_directory"],
        "drop_in_path": holder["drop_in"],
        # The distribution's tools move the port in postgresql.conf, and a port in the drop-in would win over theirs.
        "port": holder["server"]["port"],
        "move_port": whole_number(holder["settings"].get("port")) != holder["server"]["port"],
        "drop_in_without_port": _without_port(holder["drop_in_content"]),
        "drop_in_encoding": holder["drop_in_encoding"],
        "databases": [name for name in holder["server"]["databases"] if name != "template0"],
        "socket_directory": holder["server"]["socket_directory"],
        "packages": packages,
        "installs_server": f"postgresql-{to}" in packages,
    }


def _without_port(content: str | None) -> str | None:
    return None if content is None else re.sub(r"^port =.*\n?", "", content, flags=re.MULTILINE)


def _refused(sentence: str) -> dict[str, Any]:
    return {"problems": [sentence], "needed": False}


def _problem(info: dict[str, Any], wanted: dict[str, Any], holder: dict[str, Any], old: str, new: str) -> str:
    to, server = wanted["upgrade_to"], holder["server"]
    if int(holder["version"]) > int(to):
        return f"The cluster {old} is already newer than PostgreSQL {to}."
    if any(f"{each['version']}/{each['name']}" == new for each in info["clusters"]):
        return (
            f"The cluster {new} already exists: check what it holds, and remove it with pg_dropcluster if it is empty."
        )
    if f"/var/lib/postgresql/{new}" in info["unregistered_data_directories"]:
        return f"/var/lib/postgresql/{new} holds PostgreSQL data that belongs to no cluster: move it away."
    if holder["patroni"]:
        return f"The cluster {old} is run by Patroni, as {holder['patroni']} shows: upgrade all of its members as Patroni's documentation says."
    if server["in_recovery"]:
        return (
            f"The cluster {old} is a standby, which cannot be upgraded alone: upgrade its primary and create it anew."
        )
    if server["standby_slots"]:
        slot = server["standby_slots"][0]
        return (
            f"The cluster {old} has a standby with the slot {slot}, which could not follow the new version: drop the standby's cluster with pg_dropcluster, "
            f"then the slot with pg_drop_replication_slot('{slot}'), and make it anew with playbooks/standby.yml after the upgrade."
        )
    waiting = [*server["configuration_errors"], *server["hba_errors"]]
    if waiting:
        return f"The configuration of {old} has an error, correct it first: {waiting[0]}."
    if server["reload_pending"] or server["pending_restart"]:
        return f"The configuration of {old} is not in force yet: run site.yml first."
    if wanted["upgrade_confirm"] != to:
        others = [
            name
            for name in server["databases"]
            if name not in ("postgres", "template0", "template1", wanted["database"])
        ]
        also = f" together with {', '.join(others)}" if others else ""
        return (
            f"This would stop {old}, disconnect its clients and move {wanted['database']}{also} to {new}: "
            f"set mission_control_postgresql_upgrade_confirm to {to} to proceed."
        )
    return ""
