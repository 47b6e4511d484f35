# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of the two server files that the server role keeps: the drop-in with settings, and its block in pg_hba.conf."""

from __future__ import annotations

import re
from typing import Any

BEGIN = "# BEGIN homelab.mission_control"
END = "# END homelab.mission_control"
BLOCK = re.compile(rf"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n?", re.MULTILINE | re.DOTALL)

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
UNITS = {"B": 1, "kB": KIB, "MB": MIB, "GB": GIB, "TB": TIB}
# Per memory setting: PostgreSQL's smallest value, and the unit of a bare number, both in bytes.
MEMORY_SETTINGS = {
    "shared_buffers": (128 * KIB, 8 * KIB),
    "effective_cache_size": (8 * KIB, 8 * KIB),
    "work_mem": (64 * KIB, KIB),
    "maintenance_work_mem": (MIB, KIB),
}


def memory_settings(megabytes: int, connections: int) -> dict[str, str]:
    """Derive the memory settings. The memory is rounded coarsely first, so that a newer kernel means no new value."""
    step = max(2 ** (megabytes.bit_length() - 3), 1)
    rounded = (megabytes + step // 2) // step * step
    shared_buffers = _between(32, rounded // 4, 16 * 1024)
    return {
        "shared_buffers": f"{shared_buffers}MB",
        "effective_cache_size": f"{max(rounded * 3 // 4, shared_buffers)}MB",
        "maintenance_work_mem": f"{_between(16, rounded // 16, 1024)}MB",
        # Several sorts of every connection at once must still fit.
        "work_mem": f"{_between(4, (rounded - shared_buffers) // (connections * 3), 64)}MB",
    }


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def setting_problems(settings: dict[str, Any], memory_bytes: int) -> list[str]:
    """Return a sentence for each setting whose name or value cannot be right; PostgreSQL itself checks the rest before use."""
    problems = []
    for name, value in sorted(settings.items()):
        if not re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", name):
            problems.append(f"{name!r} in mission_control_postgresql_settings is no name of a setting.")
        elif isinstance(value, dict) or re.search(r"[\x00-\x1f]", str(value)):
            problems.append(f"The setting {name} must be one value on one line.")
        elif name in MEMORY_SETTINGS and value is not None:
            least, unit = MEMORY_SETTINGS[name]
            size = _bytes(str(value), unit)
            if size is None:
                problems.append(f"The setting {name} is {value!r}, but a size such as 512MB is needed.")
            elif not least <= size <= memory_bytes:
                problems.append(
                    f"The setting {name} is {value}, but it must lie between {least // KIB}kB and the {memory_bytes // MIB}MB of this host."
                )
        elif name == "max_connections" and value is not None and not re.fullmatch(r"[1-9]\d{0,5}", str(value)):
            problems.append(f"The setting max_connections is {value!r}, but a number of connections is needed.")
    return problems


def _bytes(text: str, unit: int) -> int | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)?", text.strip())
    if match is None:
        return None
    return int(float(match.group(1)) * UNITS.get(match.group(2), unit))


def settings_content(settings: dict[str, Any], kept: dict[str, str]) -> str:
    """Return the drop-in's text; a setting that is None is left to PostgreSQL and the other files."""
    lines = ["# Written by the Ansible role mission_control_postgresql: change its variables, not this file."]
    lines += [
        f"# Left alone, since another file of this cluster sets it: {name} = {value}"
        for name, value in sorted(kept.items())
    ]
    lines += [f"{name} = {_quoted(value)}" for name, value in sorted(settings.items()) if value is not None]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"


def hba_content(before: str, wanted: dict[str, Any]) -> str:
    """Return pg_hba.conf with our block first, since the first rule that fits decides; every other line stays as it is."""
    rest = BLOCK.sub("", before)
    # One empty line after the block, which a file that begins with one has already.
    return "\n".join([BEGIN, *hba_rules(wanted), END, rest if rest.startswith("\n") else f"\n{rest}"])


def hba_rules(wanted: dict[str, Any]) -> list[str]:
    database, logins = _name(wanted["database"]), ",".join(map(_name, wanted["logins"]))
    remote = "hostssl" if wanted["client_tls"] else "host"
    rules = [
        ("local", "all", _name(wanted["administrator"]), "", "peer"),
        ("local", database, logins, "", "scram-sha-256"),
        ("host", database, logins, "127.0.0.1/32", "scram-sha-256"),
        ("host", database, logins, "::1/128", "scram-sha-256"),
        *((remote, database, logins, network, "scram-sha-256") for network in wanted["client_networks"]),
        # Whatever the rest of the file allows, nothing else reaches the database, and the logins reach nothing else.
        *((kind, database, "all", "all" if kind == "host" else "", "reject") for kind in ("local", "host")),
        *((kind, "all", logins, "all" if kind == "host" else "", "reject") for kind in ("local", "host")),
    ]
    return [" ".join(filter(None, rule)) for rule in rules]


def _name(name: str) -> str:
    """Quote a name, which also takes the special meaning from words such as all, and from a leading plus sign or slash."""
    return f'"{name}"'


def hba_problem(content: str) -> str:
    """Return what is wrong with the marks of our block, as the end of a sentence."""
    rest = BLOCK.sub("", content)
    if BEGIN in rest or END in rest:
        return f"has a line '{BEGIN}' or '{END}' without its partner: remove it."
    return ""
