# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of the inventory: services, hosts, workloads, and the sources that tell them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Optional
from uuid import UUID

from .base import NOT_GIVEN, Create, Given, Model
from .enums import HostStatus, HostType, InventoryConnector, JsonObject, WorkloadStatus, WorkloadType

__all__ = [
    "CreateHost",
    "CreateInventorySource",
    "CreateService",
    "CreateWorkload",
    "Host",
    "InventorySource",
    "Service",
    "Workload",
]


@dataclass(frozen=True)
class Service(Model):
    """A logical grouping of workloads, such as "plex", with its service level targets."""

    __table__: ClassVar[str] = "services"
    id: UUID
    name: str
    description: Optional[str]
    owner: Optional[str]
    url: Optional[str]
    slo_availability_percent: Optional[Decimal]
    slo_latency_ms: Optional[int]
    metadata: JsonObject
    source: str
    external_id: Optional[str]
    gone_at: Optional[datetime]
    created_at: datetime
    updated_at: datetime
    namespace: Optional[str]
    labels: JsonObject
    last_seen_at: Optional[datetime]


@dataclass(frozen=True)
class CreateService(Create[Service]):
    """Input for a service."""

    name: str
    description: Given[Optional[str]] = NOT_GIVEN
    owner: Given[Optional[str]] = NOT_GIVEN
    url: Given[Optional[str]] = NOT_GIVEN
    slo_availability_percent: Given[Optional[Decimal]] = NOT_GIVEN
    slo_latency_ms: Given[Optional[int]] = NOT_GIVEN
    metadata: Given[JsonObject] = NOT_GIVEN
    source: Given[str] = NOT_GIVEN
    external_id: Given[Optional[str]] = NOT_GIVEN
    gone_at: Given[Optional[datetime]] = NOT_GIVEN
    namespace: Given[Optional[str]] = NOT_GIVEN
    labels: Given[JsonObject] = NOT_GIVEN
    last_seen_at: Given[Optional[datetime]] = NOT_GIVEN


@dataclass(frozen=True)
class Host(Model):
    """A machine that carries workloads."""

    __table__: ClassVar[str] = "hosts"
    id: UUID
    name: str
    type: HostType
    cluster: Optional[str]
    status: HostStatus
    address: Optional[str]
    os: Optional[str]
    cpu_cores: Optional[Decimal]
    memory_bytes: Optional[int]
    labels: JsonObject
    metadata: JsonObject
    source: str
    external_id: Optional[str]
    last_seen_at: Optional[datetime]
    gone_at: Optional[datetime]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class CreateHost(Create[Host]):
    """Input for a host."""

    name: str
    type: HostType
    cluster: Given[Optional[str]] = NOT_GIVEN
    status: Given[HostStatus] = NOT_GIVEN
    address: Given[Optional[str]] = NOT_GIVEN
    os: Given[Optional[str]] = NOT_GIVEN
    cpu_cores: Given[Optional[Decimal]] = NOT_GIVEN
    memory_bytes: Given[Optional[int]] = NOT_GIVEN
    labels: Given[JsonObject] = NOT_GIVEN
    metadata: Given[JsonObject] = NOT_GIVEN
    source: Given[str] = NOT_GIVEN
    external_id: Given[Optional[str]] = NOT_GIVEN
    last_seen_at: Given[Optional[datetime]] = NOT_GIVEN
    gone_at: Given[Optional[datetime]] = NOT_GIVEN


@dataclass(frozen=True)
class Workload(Model):
    """Something that runs on a host: a Kubernetes object, a guest, a container, a systemd service."""

    __table__: ClassVar[str] = "workloads"
    id: UUID
    name: str
    type: WorkloadType
    namespace: Optional[str]
    host_id: Optional[UUID]
    service_id: Optional[UUID]
    status: WorkloadStatus
    image: Optional[str]
    replicas_wanted: Optional[int]
    replicas_ready: Optional[int]
    labels: JsonObject
    metadata: JsonObject
    source: str
    external_id: Optional[str]
    last_seen_at: Optional[datetime]
    gone_at: Optional[datetime]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class CreateWorkload(Create[Workload]):
    """Input for a workload."""

    name: str
    type: WorkloadType
    namespace: Given[Optional[str]] = NOT_GIVEN
    host_id: Given[Optional[UUID]] = NOT_GIVEN
    service_id: Given[Optional[UUID]] = NOT_GIVEN
    status: Given[WorkloadStatus] = NOT_GIVEN
    image: Given[Optional[str]] = NOT_GIVEN
    replicas_wanted: Given[Optional[int]] = NOT_GIVEN
    replicas_ready: Given[Optional[int]] = NOT_GIVEN
    labels: Given[JsonObject] = NOT_GIVEN
    metadata: Given[JsonObject] = NOT_GIVEN
    source: Given[str] = NOT_GIVEN
    external_id: Given[Optional[str]] = NOT_GIVEN
    last_seen_at: Given[Optional[datetime]] = NOT_GIVEN
    gone_at: Given[Optional[datetime]] = NOT_GIVEN


@dataclass(frozen=True)
class InventorySource(Model):
    """What hosts, services and workloads are read from; the times are of the snapshots that are in the tables."""

    __table__: ClassVar[str] = "inventory_sources"
    name: str
    connector: InventoryConnector
    cluster: Optional[str]
    identity: Optional[str]
    enabled: bool
    interval_seconds: Optional[int]
    task_id: UUID
    last_observed_at: Optional[datetime]
    last_complete_at: JsonObject
    last_run_id: Optional[UUID]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class CreateInventorySource(Create[InventorySource]):
    """Input for a source; its syncs are the runs of the task."""

    name: str
    connector: InventoryConnector
    task_id: UUID
    cluster: Given[Optional[str]] = NOT_GIVEN
    identity: Given[Optional[str]] = NOT_GIVEN
    enabled: Given[bool] = NOT_GIVEN
    interval_seconds: Given[Optional[int]] = NOT_GIVEN
    last_observed_at: Given[Optional[datetime]] = NOT_GIVEN
    last_complete_at: Given[JsonObject] = NOT_GIVEN
    last_run_id: Given[Optional[UUID]] = NOT_GIVEN
