# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read an env file: lines of NAME=value as systemd, docker and shells read them."""

from __future__ import annotations

import re

from ..errors import SettingsError

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE_QUOTED = re.compile(r"'([^']*)'")


def read_env_file(path: str, required: bool = True) -> dict[str, str]:
    """The variables of a file. A file that is not `required` may be missing, or readable for others only."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if not required:
            return {}
        raise SettingsError(f"The env file {path} cannot be read: {error.strerror}.") from None
    except OSError as error:
        raise SettingsError(f"The env file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        # Not chained: that error carries the whole content, passwords among it.
        text = None
    if text is None:
        raise SettingsError(f"The env file {path} is not UTF-8 text.")
    variables = {}
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ";")):
            continue
        match = _LINE.fullmatch(stripped)
        value = _value(match["value"].strip()) if match else None
        if match is None or value is None:
            # The line itself is not shown: it may be the one with the password.
            raise SettingsError(f"Line {number} of the env file {path} is not of the form NAME=value.")
        variables[match["name"]] = value
    return variables


def _value(text: str) -> str | None:
    """What an assignment assigns; None if its quotes are not closed."""
    if text.startswith('"'):
        match = _DOUBLE_QUOTED.fullmatch(text)
        return re.sub(r"\\(.)", r"\1", match[1]) if match else None
    if text.startswith("'"):
        match = _SINGLE_QUOTED.fullmatch(text)
        return match[1] if match else None
    return text
