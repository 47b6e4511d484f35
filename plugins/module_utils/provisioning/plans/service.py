# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what a host needs so that a service or a timer runs on it as it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..files.desired import plan_files, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping


def plan_service(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a host with what is wanted.

    Args:
        info: what the module service_info returned.
        wanted: address, port, unit, user, packages, release (checksum), and files (entries of the module files); of a timer its calendars, by the
            variable that holds them.

    Returns:
        `problems`, sentences for each reason to do nothing; where there is none, `actions`, sentences, and the details of each.
        It holds no text of a file.
    """
    files = plan_files(info["paths"], wanted["files"])
    problems = [
        *files["problems"],
        *_held_port(info, wanted),
        *calendar_problems(info.get("calendars", {}), wanted.get("calendars", {})),
    ]
    if problems:
        return {"problems": problems}
    unit = info["unit"]
    plan = {
        "problems": [],
        "packages": [name for name in wanted["packages"] if name not in info["packages"]],
        "make_user": not info["user_exists"],
        "files": files,
        "deploy": info["release"] != wanted["release"],
        "start": info["systemd"] and not unit["running"],
        "enable": info["systemd"] and not unit["enabled"],
    }
    changed = plan["deploy"] or bool(files["write"])
    plan["restart"] = info["systemd"] and unit["running"] and (changed or _restart_is_due(info))
    # The order of the tasks that act; an empty plan has none.
    plan["actions"] = _actions(plan, wanted)
    return plan


def calendar_problems(refused: Mapping[str, str], calendars: Mapping[str, str]) -> list[str]:
    """A sentence about each calendar that the host's systemd does not take.

    Args:
        refused: what it says of each that it does not take.
        calendars: those that are wanted, by the variable that holds them.
    """
    return [
        f"{name} is {calendar!r}, which is no calendar: {refused[calendar]}."
        for name, calendar in calendars.items()
        if calendar in refused
    ]


def _held_port(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    holder = info["holder"]
    if not holder:
        return []
    who = f"{holder['name']} (process {holder['pid']})" if holder["pid"] else holder["name"]
    return [
        f"Port {wanted['port']} of {wanted['address']} is held by {who}: stop it, or set mission_control_service_port to another port."
    ]


def _restart_is_due(info: Mapping[str, Any]) -> bool:
    """Whether an earlier run ended between a change and the restart for it."""
    times = [found["modified"] for found in info["paths"].values() if found and found["kind"] == "file"]
    return bool(info["unit"]["needs_reload"] or max([*times, info["switched"]]) > info["unit"]["started"])


def _actions(plan: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    unit = wanted["unit"]
    steps = (
        (plan["packages"], f"Install {', '.join(plan['packages'])}."),
        (plan["make_user"], f"Make the user {wanted['user']}."),
        (plan["deploy"], f"Put the release {wanted['release'][:12]} in use."),
        *((True, sentence) for sentence in sentences(plan["files"])),
        (plan["start"], f"Start {unit}."),
        (plan["restart"], f"Restart {unit}."),
        (plan["enable"], f"Start {unit} when the host boots."),
    )
    return [sentence for condition, sentence in steps if condition]
