# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connectors of tools by name. A module is imported when it is used, and its library only when it carries out a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Protocol

from ...inventory.connectors.options import connector_problems

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ...inventory.connectors.options import Option
    from .call import Call


class Connector(Protocol):
    """What a connector's module has.

    Attributes:
        NAME: as a source names it.
        LIBRARY, DEBIAN_PACKAGE: what it needs, on PyPI and in Debian.
        OPTIONS: options that are no secrets, by name.
        SECRETS: descriptions of secrets, by name.
        CALLS: what carries out each of its operations: a JSON object, or a CallError.
    """

    NAME: str
    LIBRARY: str
    DEBIAN_PACKAGE: str
    OPTIONS: dict[str, Option]
    SECRETS: dict[str, str]
    CALLS: dict[str, Callable[[Call], dict[str, Any]]]

    def check(self, options: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
        """What is wrong with options that are right each for itself, as sentences; `secrets` are the names of those given."""


def _docker() -> Connector:
    from . import docker

    return docker


def _kubernetes() -> Connector:
    from . import kubernetes

    return kubernetes


def _prometheus() -> Connector:
    from . import prometheus

    return prometheus


def _proxmox() -> Connector:
    from . import proxmox

    return proxmox


# Those that ask a source. Mission Control's own tools ask its database, over the executor's login (mission_control.py).
SOURCE_CONNECTORS: dict[str, Callable[[], Connector]] = {
    "docker": _docker,
    "kubernetes": _kubernetes,
    "prometheus": _prometheus,
    "proxmox": _proxmox,
}


def check_tool_source(connector: str, options: Mapping[str, Any], secret_names: Collection[str]) -> list[str]:
    """What is wrong with a source of tools, as sentences; see connector_problems() in options.py."""
    return connector_problems(connector, options, secret_names, SOURCE_CONNECTORS)
