# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files of the library a program needs: what it imports, and what that imports in turn, read from the sources."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = "mission_control"
# By lines, since parsing every file would take longer than the rest of a run that changes nothing.
_IMPORT = re.compile(r"^[ \t]*from (\.*)([\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)


def imported_modules(sources: Iterable[str]) -> set[str]:
    """The modules of the library that programs import, as dotted names below it; "" is the library itself.

    Args:
        sources: the programs' texts.
    """
    return {name for source in sources for name in _imports(source, [])}


def needed_files(library: str, modules: Iterable[str]) -> list[str]:
    """The files of modules and of all that they import, imports for type checkers included, as sorted paths below the library.

    Args:
        library: directory of the library.
        modules: dotted names below it; one that is no module is left out, since it names something within one.

    Raises:
        OSError: a file cannot be read.
    """
    files: set[str] = set()
    waiting = list(modules)
    while waiting:
        parts = [part for part in waiting.pop().split(".") if part]
        path = next((each for each in _places(parts) if os.path.isfile(os.path.join(library, each))), None)
        if path is None or path in files:
            continue
        files.add(path)
        package = parts if os.path.basename(path) == "__init__.py" else parts[:-1]
        with open(os.path.join(library, path), encoding="utf-8") as file:
            waiting += [*_imports(file.read(), package), ".".join(parts[:-1])]
    return sorted(files)


def _places(parts: list[str]) -> Iterator[str]:
    if parts:
        yield f"{'/'.join(parts)}.py"
    yield "/".join([*parts, "__init__.py"])


def _imports(source: str, package: list[str]) -> Iterator[str]:
    """Dotted names of what a source imports from the library; some are those of a class or a function."""
    for dots, module, names in _IMPORT.findall(source):
        parts = module.split(".") if module else []
        if dots:
            parts = [*package[: len(package) + 1 - len(dots)], *parts]
        elif parts[0] == PACKAGE:
            parts = parts[1:]
        else:
            continue
        for name in ("", *re.findall(r"\w+", names)):
            yield ".".join([*parts, name] if name else parts)
