# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a source listed at one moment: the form in which every connector hands its rows to the writer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Union

from ..errors import MissionControlError

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

Kind = Literal["hosts", "services", "workloads"]
# In the order in which they are written: a workload refers to its host and its service.
KINDS: tuple[Kind, ...] = ("hosts", "services", "workloads")


class FetchError(MissionControlError):
    """A source could not be asked at all, or told nothing of itself. The message is a sentence that names the source's answer."""


@dataclass(frozen=True)
class HostRow:
    """A host as its source tells it.

    Attributes:
        external_id: identifier at the source, unique within its hosts; names and addresses are none.
        name: None where the source does not tell it this time: the stored one stays, a new row is called by its external_id.
        type, status: words of the table's CHECKs.
        cpu_cores, memory_bytes: capacity, above 0, or None.
        labels, metadata: allow-lists of what the source knows, never everything.
        unknown: further columns that the source does not tell this time; their stored values stay.
    """

    external_id: str
    name: str | None
    type: str
    cluster: str | None = None
    status: str = "unknown"
    address: str | None = None
    os: str | None = None
    cpu_cores: Decimal | None = None
    memory_bytes: int | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServiceRow:
    """A service as its source tells it. What people say of it (owner, address, targets) is theirs and no part of this."""

    external_id: str
    name: str | None
    namespace: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkloadRow:
    """A workload as its source tells it.

    Attributes:
        host, service: external_id of a host and of a service of the same source, or None.
        replicas_wanted, replicas_ready: number of copies, or None where the word means nothing.
    """

    external_id: str
    name: str | None
    type: str
    namespace: str | None = None
    host: str | None = None
    service: str | None = None
    status: str = "unknown"
    image: str | None = None
    replicas_wanted: int | None = None
    replicas_ready: int | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


Row = Union[HostRow, ServiceRow, WorkloadRow]


@dataclass(frozen=True)
class Skipped:
    """An object of the source that became no row.

    Attributes:
        external_id: its stored row stays as it is; None where the object does not say who it is, so that nothing of its list is
            marked as gone.
        name: for the log.
        reason: why, a clause such as "its memory is 12 parsecs".
    """

    external_id: str | None
    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What one list of the source holds. What is compared is compared list by list.

    Attributes:
        kind: the table.
        types: of the rows that this list would hold (such as k8s-pod); empty for services, which have no type. Stored rows of this
            source and these types that are not in it are gone.
        rows: of the kind.
        problem: None where the list is complete; else a sentence that names list and cause, and nothing of these types is marked as gone.
        skipped: what could not be mapped.
    """

    kind: Kind
    types: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    problem: str | None = None
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """What a source listed.

    Attributes:
        source: its name in inventory_sources.
        connector: kubernetes, docker, proxmox or ansible.
        identity: what tells this source from every other of its kind (UID of the namespace kube-system, ID of an engine, name of a Proxmox
            cluster); a changed one stops the sync until it is accepted.
        cluster: what the source calls itself; None for none.
        observed_at: the database server's clock_timestamp() read before the first list was fetched.
        listings: each type is in one listing at most.
    """

    source: str
    connector: str
    identity: str
    cluster: str | None
    observed_at: datetime
    listings: tuple[Listing, ...]
