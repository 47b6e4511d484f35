# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of an Ansible inventory as rows of the table `hosts`. What a host says of itself (facts) may be anything."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.values import (
    known,
    text_or_none,
    whole_number,
)

# The facts that are stored. They are those by which one tells machines apart, and none that changes from minute to minute.
STORED_FACTS = (
    "architecture",
    "distribution",
    "distribution_release",
    "distribution_version",
    "fqdn",
    "kernel",
    "os_family",
    "product_name",
    "system",
    "system_vendor",
    "virtualization_role",
    "virtualization_type",
)
CONTAINERS = {"container", "containerd", "docker", "lxc", "openvz", "podman", "systemd-nspawn"}
# What is not told without facts: the stored values stay.
_FROM_FACTS = ("address", "os", "cpu_cores", "memory_bytes", "metadata")
_SECRET = re.compile(
    r"(^|_)(pass|pwd?|pin|keys?)(_|$)|passw(or)?d|passphrase|secret|token|credential|vault|cookie|(api|private)_?key",
    re.IGNORECASE,
)
_MEGABYTE = 1024 * 1024


def label_variable_problem(name: str) -> str:
    """Why a variable cannot be a label, as a sentence; empty where it can."""
    if name.startswith("ansible_"):
        return f"labels_from names {name!r}, but what Ansible connects with and what it gathers does not become a label: leave it out."
    if _SECRET.search(name):
        return f"labels_from names {name!r}, which by its name is a secret, and labels are read by many: leave it out."
    if name in ("groups", "hostvars", "vars"):
        return f"labels_from names {name!r}, which is Ansible's own: leave it out; groups become a label by groups_as_labels."
    return ""


def label_of(value: object) -> str | None:
    """A variable's value as the text of a label; None where it is a structure, empty, or text that Ansible may evaluate."""
    text = text_or_none(value)
    return None if text is None or any(mark in text for mark in ("{{", "{%", "{#")) else text


def type_from_facts(facts: Mapping[str, Any]) -> str | None:
    """A host's type as its facts tell it; None where they do not."""
    role = facts.get("virtualization_role")
    if role == "guest":
        return "lxc-container" if facts.get("virtualization_type") in CONTAINERS else "vm"
    return "bare-metal" if role in ("host", "NA") else None


def address_from_facts(facts: Mapping[str, Any]) -> str | None:
    """The address by which a host reaches others by default, IPv4 before IPv6; None where it tells none."""
    for family in ("default_ipv4", "default_ipv6"):
        interface = facts.get(family)
        address = _address(interface.get("address")) if isinstance(interface, Mapping) else None
        if address:
            return address
    return None


def _address(text: object) -> str | None:
    try:
        return str(ipaddress.ip_address(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def host_row(
    name: str, status: str, host_type: str | None, labels: dict[str, Any], facts: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A row in the form of HostRow, as JSON has it; its type is None where nothing tells it.

    Args:
        name: what the inventory calls the host.
        status: online, offline or unknown.
        host_type: what a variable says; None leaves it to the facts, and without them to what is stored.
        labels: those that were chosen.
        facts: what was gathered in this run, without the prefix "ansible_"; None for none.
    """
    row: dict[str, Any] = {"external_id": name, "name": name, "status": status, "labels": labels}
    row["type"] = host_type or (type_from_facts(facts) if facts else None)
    unknown: list[str] = []
    if facts:
        row["address"] = address_from_facts(facts) or _address(name)
        words = [text_or_none(facts.get(each)) for each in ("distribution", "distribution_version")]
        row["os"] = " ".join(each for each in words if each) or None
        row["cpu_cores"] = whole_number(facts.get("processor_vcpus"), 1)
        memory = whole_number(facts.get("memtotal_mb"), 1)
        row["memory_bytes"] = whole_number(memory * _MEGABYTE) if memory else None
        told = known({each: text_or_none(facts.get(each)) for each in STORED_FACTS})
        row["metadata"] = {each: text for each, text in told.items() if text != "NA"}
    else:
        row["address"] = _address(name)
        unknown += [each for each in _FROM_FACTS if not row.get(each)]
    return {**row, "unknown": unknown}


def name_problem(name: str) -> str:
    """Why a host of the inventory has no row, as a clause; empty where it has one."""
    if text_or_none(name) != name:
        return "its name begins or ends with a space, holds what the database cannot store, or is longer than 1024 characters"
    return ""


def host_labels(
    variables: Mapping[str, Any], names: Collection[str], withheld: Collection[str], groups: Collection[str] | None
) -> dict[str, Any]:
    """The labels of a host.

    Args:
        variables: of the host, not evaluated.
        names: of the variables that become labels.
        withheld: names of those whose value is not to be sent, as it was encrypted.
        groups: of the host, which become the label `groups`; None for none.
    """
    labels: dict[str, Any] = {}
    for name in names:
        text = label_of(variables.get(name)) if name not in withheld else None
        if text is not None:
            labels[name] = text
    if groups is not None:
        labels["groups"] = sorted(filter(None, map(text_or_none, groups)))
    return labels
