# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what a host needs so that the service runs on it as it is wanted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def plan_service(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a host with what is wanted.

    Args:
        info: what the module service_info returned.
        wanted: address, port, unit, user, packages, release (checksum), directories and files (path, mode, owner, group; of a file
            also text, and `keep`: one that is there keeps its content).

    Returns:
        `problems`, sentences for each reason to do nothing; where there is none, `actions`, sentences, and the details of each.
        It holds no text of a file.
    """
    problems = _problems(info, wanted)
    if problems:
        return {"problems": problems}
    unit = info["unit"]
    directories = [each["path"] for each in wanted["directories"] if differs(info, each, "directory")]
    write = [each["path"] for each in wanted["files"] if must_write(info, each)]
    adjust = [each["path"] for each in wanted["files"] if each["path"] not in write and differs(info, each, "file")]
    plan = {
        "problems": [],
        "packages": [name for name in wanted["packages"] if name not in info["packages"]],
        "make_user": not info["user_exists"],
        "directories": directories,
        "write": write,
        "adjust": adjust,
        "deploy": info["release"] != wanted["release"],
        "start": info["systemd"] and not unit["running"],
        "enable": info["systemd"] and not unit["enabled"],
    }
    changed = plan["deploy"] or bool(write)
    plan["restart"] = info["systemd"] and unit["running"] and (changed or _restart_is_due(info, wanted))
    # The order of the tasks that act; an empty plan has none.
    plan["actions"] = _actions(plan, wanted)
    return plan


def _problems(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [*_strange_places(info, wanted), *_held_port(info, wanted)]


def _strange_places(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Root writes there, and a link would choose where."""
    kinds = [(each["path"], "directory") for each in wanted["directories"]]
    kinds += [(each["path"], "regular file") for each in wanted["files"]]
    return [
        f"{path} is a link or something else than a {kind}: move it away, and the next run makes it."
        for path, kind in kinds
        if info["paths"][path] is not None and not _is(info["paths"][path], kind.rpartition(" ")[2])
    ]


def _held_port(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    holder = info["holder"]
    if not holder:
        return []
    who = f"{holder['name']} (process {holder['pid']})" if holder["pid"] else holder["name"]
    return [
        f"Port {wanted['port']} of {wanted['address']} is held by {who}: stop it, or set mission_control_service_port to another port."
    ]


def must_write(info: Mapping[str, Any], file: Mapping[str, Any]) -> bool:
    """Whether a file is missing or is not what it should be; of one that is to keep its content, whether it is missing."""
    found = info["paths"][file["path"]]
    if not _is(found, "file"):
        return True
    if file["keep"]:
        return False
    return found["sha256"] != hashlib.sha256(file["text"].encode()).hexdigest() or differs(info, file, "file")


def differs(info: Mapping[str, Any], wanted: Mapping[str, Any], kind: str) -> bool:
    """Whether there is no such file or directory, or another mode, owner or group."""
    found = info["paths"][wanted["path"]]
    return not _is(found, kind) or any(found[key] != wanted[key] for key in ("mode", "owner", "group"))


def _is(found: Mapping[str, Any] | None, kind: str) -> bool:
    return found is not None and found["kind"] == kind


def _restart_is_due(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an earlier run ended between a change and the restart for it."""
    times = [info["paths"][each["path"]]["modified"] for each in wanted["files"]]
    return bool(info["unit"]["needs_reload"] or max([*times, info["switched"]]) > info["unit"]["started"])


def _actions(plan: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    unit = wanted["unit"]
    sentences = (
        (plan["packages"], f"Install {', '.join(plan['packages'])}."),
        (plan["make_user"], f"Make the user {wanted['user']}."),
        (plan["deploy"], f"Put the release {wanted['release'][:12]} in use."),
        (plan["directories"], f"Make {', '.join(plan['directories'])}."),
        (plan["write"], f"Write {', '.join(plan['write'])}."),
        (plan["adjust"], f"Set owner and mode of {', '.join(plan['adjust'])}."),
        (plan["start"], f"Start {unit}."),
        (plan["restart"], f"Restart {unit}."),
        (plan["enable"], f"Start {unit} when the host boots."),
    )
    return [sentence for condition, sentence in sentences if condition]
