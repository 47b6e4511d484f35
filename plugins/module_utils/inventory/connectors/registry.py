# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The connectors by name. A module is imported when it is used, and its library only when it fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Protocol

from .options import connector_problems

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from ..snapshot import Snapshot
    from .options import Option


class Connector(Protocol):
    """What a connector's module has.

    Attributes:
        NAME: as a source names it.
        LIBRARY, DEBIAN_PACKAGE: what it needs, on PyPI and in Debian.
        OPTIONS: options that are no secrets, by name.
        SECRETS: descriptions of secrets, by name.
    """

    NAME: str
    LIBRARY: str
    DEBIAN_PACKAGE: str
    OPTIONS: dict[str, Option]
    SECRETS: dict[str, str]

    def check(self, options: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
        """What is wrong with options that are right each for itself, as sentences; `secrets` are the names of those given."""

    def fetch(
        self,
        source: str,
        cluster: str | None,
        options: Mapping[str, Any],
        secrets: Mapping[str, str],
        observed_at: datetime,
        progress: Callable[[str, int], None],
    ) -> Snapshot:
        """Everything that a source lists; a list that failed has a `problem`.

        Args:
            source: the name of the source.
            cluster: what the source is called, where it does not say so itself.
            options, secrets: as check_source_options() found nothing wrong with.
            observed_at: of the snapshot.
            progress: called with the name of a list and the number of its objects so far.

        Raises:
            FetchError: nothing can be told of the source.
        """

    def preflight(self, options: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
        """Which rights are missing, as sentences that say how to give them; none where all are there.

        Raises:
            FetchError: the source could not be asked.
        """


def _docker() -> Connector:
    from . import docker

    return docker


def _kubernetes() -> Connector:
    from . import kubernetes

    return kubernetes


def _proxmox() -> Connector:
    from . import proxmox

    return proxmox


CONNECTORS: dict[str, Callable[[], Connector]] = {"docker": _docker, "kubernetes": _kubernetes, "proxmox": _proxmox}


def check_source_options(connector: str, options: Mapping[str, Any], secret_names: Collection[str]) -> list[str]:
    """What is wrong with a source, as sentences; see connector_problems() in options.py."""
    return connector_problems(connector, options, secret_names, CONNECTORS)
