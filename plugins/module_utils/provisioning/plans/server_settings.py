# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of the drop-in with settings that the server role keeps, and how PostgreSQL writes values."""

from __future__ import annotations

import re
from typing import Any

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


def whole_number(value: Any) -> int | None:
    """Return a number that is written as PostgreSQL reads one (100, 0x64, 0144, 1e2), None where it is none."""
    text = str(value).strip()
    try:
        if re.fullmatch(r"[+-]?0[xX][0-9a-fA-F]+", text):
            return int(text, 16)
        if re.fullmatch(r"[+-]?0[0-7]+", text):
            return int(text, 8)
        if re.fullmatch(r"[+-]?((?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII):
            # What has a fraction is rounded to the nearest, and to the even one of two.
            return round(float(text)) if re.search(r"[.eE]", text) else int(text)
    except OverflowError:
        return None
    return None


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
                    f"The setting {name} is {value}, but it must be between {least // KIB}kB and the {memory_bytes // MIB}MB of this host."
                )
        elif name == "max_connections" and value is not None and not 1 <= (whole_number(value) or 0) <= 262143:
            problems.append(f"The setting max_connections is {value!r}, but a number of connections is needed.")
    return problems


def _bytes(text: str, unit: int) -> int | None:
    match = re.fullmatch(r"(.*?)\s*(B|kB|MB|GB|TB)?", text.strip(), re.DOTALL)
    if match is None:
        return None
    size = UNITS.get(match[2], unit)
    fraction = re.fullmatch(r"\d+\.\d+", match[1], re.ASCII)
    number = float(match[1]) if fraction else whole_number(match[1])
    return None if number is None or number < 0 else int(number * size)


def settings_content(settings: dict[str, Any], kept: dict[str, str]) -> str:
    """Return the drop-in's text; a setting that is None is left to PostgreSQL and the other files."""
    lines = ["# Written by the Ansible role mission_control_postgresql: change its variables, not this file."]
    lines += [
        f"# Left alone, since another file of this cluster sets it: {name} = {value}"
        for name, value in sorted(kept.items())
    ]
    lines += [f"{name} = {quoted(value)}" for name, value in sorted(settings.items()) if value is not None]
    return "\n".join(lines) + "\n"


def quoted(value: Any) -> str:
    """A value as PostgreSQL's configuration files have it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"
