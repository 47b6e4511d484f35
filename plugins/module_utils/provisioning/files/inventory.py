# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files and packages that a host gets for the sources of the inventory, and for those that tools ask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...inventory.connectors.options import with_defaults
from ...inventory.connectors.registry import CONNECTORS
from ...inventory.sources import source_for_tools
from ...tools.connectors.registry import SOURCE_CONNECTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOGIN = "database.env"
# In files of their own, or of the executor of tools alone.
_NEVER_IN_FILE = ("secrets", "tool_options", "tool_credentials")


def parts_of(
    sources: Sequence[Mapping[str, Any]],
    directory: str,
    found: Mapping[str, Mapping[str, Any] | None],
    for_tools: bool = False,
) -> dict[str, Any]:
    """What follows from sources in which nothing is wrong.

    Args:
        sources: as the role takes them, with their secrets.
        directory: on the host, for the secrets.
        found: what is there, by path.
        for_tools: the host gets them for the executor of tools, with the options and secrets that are for it.

    Returns:
        `file`, the text of the file of sources, without secrets; `credentials`, entries of the module files for the secrets, and for
        those that no source has any more; `names` of the files with secrets; `packages`; `sockets`, whether a source is a Unix socket.
    """
    sources = [source_for_tools(source) for source in sources] if for_tools else sources
    entries = [{key: value for key, value in source.items() if key not in _NEVER_IN_FILE} for source in sources]
    secrets = {
        f"{source['name']}.{name}": content
        for source in sources
        for name, content in (source.get("secrets") or {}).items()
    }
    known: Mapping[str, Callable[[], Any]] = SOURCE_CONNECTORS if for_tools else CONNECTORS
    connectors = {source["connector"]: known[source["connector"]]() for source in sources}
    options = [with_defaults(each.get("options") or {}, connectors[each["connector"]].OPTIONS) for each in sources]
    wanted = {f"{directory}/{name}" for name in (LOGIN, *secrets)}
    left = [path for path, each in found.items() if each and path.startswith(f"{directory}/") and path not in wanted]
    return {
        "file": json.dumps(entries, indent=2, sort_keys=True) + "\n",
        "credentials": [
            *(
                {"path": f"{directory}/{name}", "content": content, "secret": True}
                for name, content in sorted(secrets.items())
            ),
            *({"path": path, "state": "absent"} for path in sorted(left)),
        ],
        "names": [LOGIN, *sorted(secrets)],
        "packages": sorted({each.DEBIAN_PACKAGE for each in connectors.values()}),
        "sockets": any(str(each.get("url") or "").startswith("unix:") for each in options),
    }
