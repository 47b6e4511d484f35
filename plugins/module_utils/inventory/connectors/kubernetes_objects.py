# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kubernetes' objects as rows of the inventory. What is taken is named here; annotations, environment and arguments never are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from ..snapshot import HostRow, ServiceRow, WorkloadRow
from ..values import chosen_labels, known, text_or_none, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i))?")
_FACTORS = {
    **{suffix: Decimal(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18))},
    **{f"{suffix}i": Decimal(2) ** (10 * power) for power, suffix in enumerate("KMGTPE", 1)},
}
_LONGEST_QUANTITY = 60
_MOST_CORES = 10_000_000  # numeric(10, 3)
# Why a container does not start, of which Kubernetes does not say by itself that it failed.
_FAILURES = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
_MOST_ENTRIES = 30  # of a list in metadata
_SYSTEM_NAMESPACE = "kube-system"
_ROLE = "node-role.kubernetes.io/"


class UnmappableError(Exception):
    """An object that cannot be a row. The message is a clause, the reason."""


class NamelessError(UnmappableError):
    """An object that does not say which one it is."""


@dataclass
class Mapper:
    """What the mapping of one fetch needs to know.

    Attributes:
        cluster: of hosts.
        labels: which are taken.
        system_services: also the services of kube-system.
        services_complete: all services are known, so that none means that there is none.
    """

    cluster: str | None
    labels: tuple[str, ...]
    system_services: bool
    services_complete: bool = False
    _selectors: dict[tuple[str, str, str], list[tuple[bool, str, frozenset[tuple[str, str]]]]] = field(
        default_factory=dict
    )
    _last_runs: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)

    def host(self, item: dict[str, Any]) -> HostRow:
        """A node."""
        name = identity(item, namespaced=False)[0]
        status, info = _object(item, "status"), _object(_object(item, "status"), "nodeInfo")
        capacity = _object(status, "capacity")
        cores = _quantity(capacity, "cpu").quantize(Decimal("0.001"), ROUND_CEILING)
        memory = whole_number(int(_quantity(capacity, "memory").to_integral_value(ROUND_CEILING)))
        if memory is None or not 0 <= cores < _MOST_CORES:
            raise UnmappableError("its capacity is not one of a machine")
        conditions = _conditions(status)
        pressure = sorted(kind for kind, state in conditions.items() if state == "True" and kind != "Ready")
        unschedulable = _object(item, "spec").get("unschedulable") is True
        roles = sorted(
            key[len(_ROLE) :] for key in _object(_object(item, "metadata"), "labels") if str(key).startswith(_ROLE)
        )
        return HostRow(
            external_id=f"node/{name}",
            name=name,
            type="k8s-node",
            cluster=self.cluster,
            status={"True": "degraded" if pressure or unschedulable else "online", None: "unknown"}.get(
                conditions.get("Ready"), "offline"
            ),
            address=_address(status),
            os=text_or_none(info.get("osImage")),
            cpu_cores=cores or None,
            memory_bytes=memory or None,
            labels=self._labels(item),
            metadata=known(
                {
                    **_common(item),
                    "architecture": info.get("architecture") if isinstance(info.get("architecture"), str) else None,
                    "container_runtime": text_or_none(info.get("containerRuntimeVersion")),
                    "kernel": text_or_none(info.get("kernelVersion")),
                    "kubelet": text_or_none(info.get("kubeletVersion")),
                    "roles": _texts(roles),
                    "problems": _texts([*pressure, *(["unschedulable"] if unschedulable else [])]),
                }
            ),
        )

    def service(self, item: dict[str, Any]) -> ServiceRow | None:
        """A service; None where it is one of the system's that is not asked for. Remembers what it selects."""
        name, namespace = identity(item)
        if namespace == _SYSTEM_NAMESPACE and not self.system_services:
            return None
        spec = _object(item, "spec")
        external_id = f"{namespace}/{name}"
        selector = frozenset(_text_items(_object(spec, "selector")))
        if selector:
            key, value = min(selector)
            headless = spec.get("clusterIP") == "None"
            self._selectors.setdefault((namespace, key, value), []).append((headless, external_id, selector))
        ports = (
            f"{port.get('port')}/{port.get('protocol') or 'TCP'}"
            for port in _objects(spec, "ports")
            if port.get("port")
        )
        reached = _objects(_object(_object(item, "status"), "loadBalancer"), "ingress")
        return ServiceRow(
            external_id=external_id,
            name=name,
            namespace=namespace,
            labels=self._labels(item),
            metadata=known(
                {
                    **_common(item),
                    "type": text_or_none(spec.get("type")),
                    "cluster_address": text_or_none(spec.get("clusterIP")),
                    "external_name": text_or_none(spec.get("externalName")),
                    "external_addresses": _texts([each.get("ip") or each.get("hostname") for each in reached]),
                    "ports": _texts(ports),
                }
            ),
        )

    def deployment(self, item: dict[str, Any]) -> WorkloadRow:
        """A Deployment."""
        return self._controller(item, "deployment", *_replicas(item))

    def stateful_set(self, item: dict[str, Any]) -> WorkloadRow:
        """A StatefulSet."""
        return self._controller(item, "statefulset", *_replicas(item))

    def daemon_set(self, item: dict[str, Any]) -> WorkloadRow:
        """A DaemonSet, which wants a copy on each node that it fits."""
        status = _object(item, "status")
        return self._controller(
            item,
            "daemonset",
            whole_number(status.get("desiredNumberScheduled")) or 0,
            whole_number(status.get("numberReady")) or 0,
        )

    def job(self, item: dict[str, Any]) -> WorkloadRow | None:
        """A Job; None for a run of a CronJob, which is remembered as that and would be one more row each minute."""
        name, namespace = identity(item)
        spec, conditions = _object(item, "spec"), _conditions(_object(item, "status"))
        failed, done = conditions.get("Failed") == "True", conditions.get("Complete") == "True"
        owner = _controller_of(item)
        if owner and owner[0] == "CronJob":
            run = (text_or_none(_object(item, "metadata").get("creationTimestamp")) or "", failed)
            if failed or done:
                self._last_runs[namespace, owner[1]] = max(run, self._last_runs.get((namespace, owner[1]), run))
            return None
        if failed:
            status = "failed"
        elif done or spec.get("suspend") is True:
            status = "stopped"
        else:
            status = "running" if whole_number(_object(item, "status").get("active"), 1) else "pending"
        return self._workload(item, "job", name, namespace, status, _object(spec, "template"))

    def cron_job(self, item: dict[str, Any]) -> WorkloadRow:
        """A CronJob: failed where the last of its runs that ended has failed. After all jobs."""
        name, namespace = identity(item)
        spec, status = _object(item, "spec"), _object(item, "status")
        failed = self._last_runs.get((namespace, name), ("", False))[1]
        state = "stopped" if spec.get("suspend") is True else "failed" if failed else "running"
        more = {
            "schedule": text_or_none(spec.get("schedule")),
            "last_schedule_at": text_or_none(status.get("lastScheduleTime")),
            "last_success_at": text_or_none(status.get("lastSuccessfulTime")),
        }
        template = _object(_object(_object(spec, "jobTemplate"), "spec"), "template")
        return self._workload(item, "cronjob", name, namespace, state, template, more)

    def pod(self, item: dict[str, Any]) -> WorkloadRow | None:
        """A pod; None for one of a Job, which is counted as that."""
        name, namespace = identity(item)
        owner = _controller_of(item)
        if owner and owner[0] == "Job":
            return None
        status, node = _object(item, "status"), text_or_none(_object(item, "spec").get("nodeName"))
        containers = _objects(status, "containerStatuses")
        waiting = [
            text_or_none(_object(_object(each, "state"), "waiting").get("reason"))
            for each in [*_objects(status, "initContainerStatuses"), *containers]
        ]
        failures = [reason for reason in waiting if reason in _FAILURES]
        phase = status.get("phase")
        if failures or phase == "Failed":
            state = "failed"
        elif phase == "Running":
            state = "running" if containers and all(each.get("ready") is True for each in containers) else "pending"
        else:
            state = {"Pending": "pending", "Succeeded": "stopped"}.get(str(phase), "unknown")
        terminating = "Terminating" if _object(item, "metadata").get("deletionTimestamp") else None
        reason = terminating or next(iter(failures), None) or text_or_none(status.get("reason"))
        more = {
            "controller": "/".join(owner) if owner else None,
            "address": text_or_none(status.get("podIP")),
            "reason": reason,
            "restarts": sum(whole_number(each.get("restartCount")) or 0 for each in containers) or None,
        }
        host = f"node/{node}" if node else None
        return self._workload(item, "pod", name, namespace, state, item, more, host=host, served=True)

    def _controller(self, item: dict[str, Any], kind: str, wanted: int, ready: int) -> WorkloadRow:
        name, namespace = identity(item)
        conditions = _conditions(_object(item, "status"))
        if wanted == 0:
            status = "stopped"
        elif ready >= wanted:
            status = "running"
        elif conditions.get("Progressing") == "False" or conditions.get("ReplicaFailure") == "True":
            status = "failed"
        else:
            status = "pending"
        template = _object(_object(item, "spec"), "template")
        return self._workload(item, kind, name, namespace, status, template, wanted=wanted, ready=ready, served=True)

    def _workload(
        self,
        item: dict[str, Any],
        kind: str,
        name: str,
        namespace: str,
        status: str,
        template: dict[str, Any],
        more: dict[str, Any] | None = None,
        *,
        host: str | None = None,
        wanted: int | None = None,
        ready: int | None = None,
        served: bool = False,
    ) -> WorkloadRow:
        """
        Args:
            template: of the pods, or the pod itself.
            more: further metadata.
            served: a service may select it.
        """
        images = _texts(each.get("image") for each in _objects(_object(template, "spec"), "containers"))
        return WorkloadRow(
            external_id=f"{kind}/{namespace}/{name}",
            name=name,
            type=f"k8s-{kind}",
            namespace=namespace,
            host=host,
            service=self._service_of(namespace, template) if served else None,
            status=status,
            image=images[0] if images else None,
            replicas_wanted=wanted,
            replicas_ready=ready,
            labels=self._labels(item),
            metadata=known({**_common(item), "images": images if images and len(images) > 1 else None, **(more or {})}),
            unknown=() if self.services_complete or not served else ("service_id",),
        )

    def _service_of(self, namespace: str, template: dict[str, Any]) -> str | None:
        """The service that selects these labels. Of several one that has an address, then the first by name."""
        labels = frozenset(_text_items(_object(_object(template, "metadata"), "labels")))
        selecting = (
            (headless, external_id)
            for key, value in labels
            for headless, external_id, selector in self._selectors.get((namespace, key, value), ())
            if selector <= labels
        )
        return min(selecting, default=(False, None))[1]

    def _labels(self, item: dict[str, Any]) -> dict[str, str]:
        return chosen_labels(_object(_object(item, "metadata"), "labels"), self.labels)


def identity(item: dict[str, Any], namespaced: bool = True) -> tuple[str, str]:
    """Name and namespace of an object.

    Raises:
        NamelessError: it has none, or one that is no name.
    """
    metadata = _object(item, "metadata")
    name, namespace = metadata.get("name"), metadata.get("namespace") if namespaced else "none"
    for each in (name, namespace):
        if not isinstance(each, str) or not each.isprintable() or "/" in each or text_or_none(each, 253) != each:
            raise NamelessError("it has no name and namespace as Kubernetes gives them")
    return str(name), str(namespace)


def quantity(value: object) -> Decimal:
    """A number as Kubernetes writes it: 500m, 128974848, 129e6, 123Mi, 1E.

    Raises:
        UnmappableError: it is none.
    """
    text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST_QUANTITY else None
    if not match:
        raise UnmappableError(f"{text_or_none(text, 60)!r} is no quantity")
    number, exponent, suffix = match.groups()
    return Decimal(number) * (Decimal(10) ** int(exponent) if exponent else _FACTORS.get(suffix or "", Decimal(1)))


def _quantity(of: dict[str, Any], name: str) -> Decimal:
    """A quantity, 0 where there is none."""
    if of.get(name) is None:
        return Decimal(0)
    try:
        number = quantity(of[name])
    except UnmappableError as error:
        raise UnmappableError(f"its {name} {error}") from None
    if abs(number) >= 2**63:
        raise UnmappableError(f"its {name} is {text_or_none(of[name], 60)}")
    return number


def _object(of: object, name: str) -> dict[str, Any]:
    value = of.get(name) if isinstance(of, dict) else None
    return value if isinstance(value, dict) else {}


def _objects(of: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = of.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text_items(labels: dict[str, Any]) -> Iterable[tuple[str, str]]:
    return ((str(key), value) for key, value in labels.items() if isinstance(value, str))


def _texts(values: Iterable[object]) -> list[str] | None:
    texts = [text for text in (text_or_none(each) for each in values) if text]
    return texts[:_MOST_ENTRIES] or None


def _conditions(status: dict[str, Any]) -> dict[str, str]:
    return {
        each["type"]: str(each.get("status"))
        for each in _objects(status, "conditions")
        if isinstance(each.get("type"), str)
    }


def _address(status: dict[str, Any]) -> str | None:
    addresses = {
        str(each.get("type")): text_or_none(each.get("address")) for each in _objects(status, "addresses")[::-1]
    }
    return addresses.get("InternalIP") or addresses.get("Hostname")


def _common(item: dict[str, Any]) -> dict[str, Any]:
    metadata = _object(item, "metadata")
    return {"uid": text_or_none(metadata.get("uid")), "created_at": text_or_none(metadata.get("creationTimestamp"))}


def _replicas(item: dict[str, Any]) -> tuple[int, int]:
    wanted = _object(item, "spec").get("replicas")
    ready = whole_number(_object(item, "status").get("readyReplicas")) or 0
    # Kubernetes' own default.
    return 1 if wanted is None else whole_number(wanted) or 0, ready


def _controller_of(item: dict[str, Any]) -> tuple[str, str] | None:
    """Kind and name of the object that made this one."""
    for each in _objects(_object(item, "metadata"), "ownerReferences"):
        kind, name = text_or_none(each.get("kind")), text_or_none(each.get("name"))
        if each.get("controller") is True and kind and name:
            return kind, name
    return None
