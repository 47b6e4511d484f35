"""What becomes of Kubernetes' objects: rows, links between them, and what never comes in."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal

import pytest
from any_kubernetes_objects import ANYTHING, OBJECTS
from hypothesis import given, settings
from hypothesis import strategies as st
from mission_control.inventory.connectors.kubernetes import DEFAULT_LABELS, RESOURCES, add_rows
from mission_control.inventory.connectors.kubernetes_objects import Mapper, UnmappableError, quantity
from mission_control.inventory.snapshot import Listing

BY_NAME = {resource.name: resource for resource in RESOURCES}
METADATA = {"name": "web", "namespace": "shop", "uid": "u-1", "creationTimestamp": "2026-01-02T03:04:05Z"}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}


def mapper(**options):
    return Mapper("home", DEFAULT_LABELS, **{"system_services": False, "services_complete": True, **options})


def listing_of(items, resource, by):
    rows, skipped = {}, []
    add_rows(items, resource, by, rows, skipped)
    return Listing(resource.kind, resource.types, tuple(rows.values()), None, tuple(skipped))


def item(metadata=None, **rest):
    return {"metadata": {**METADATA, **(metadata or {})}, **rest}


def node(status=None, **rest):
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": "n1", "uid": "u-n1"}, "status": {**ready, **(status or {})}, **rest}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500m", "0.5"),
        ("4", "4"),
        (4, "4"),
        ("128974848", "128974848"),
        ("129e6", "129000000"),
        ("129E+6", "129000000"),
        ("123Mi", "128974848"),
        ("1Ki", "1024"),
        ("2E", "2000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("1.5Gi", "1610612736"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1k", "1000"),
        ("100n", "0.0000001"),
        ("7u", "0.000007"),
        ("+3P", "3000000000000000"),
        ("1e-3", "0.001"),
    ],
)
def test_quantities(text, expected):
    assert quantity(text) == Decimal(expected)


@pytest.mark.parametrize(
    "text", ["", "Mi", "1 Gi", "12 parsecs", "1KI", "0x10", "1e9999999999", "1" * 61, None, True, [], "1_000", "٣"]
)
def test_what_is_no_quantity_is_said_to_be_none(text):
    with pytest.raises(UnmappableError):
        quantity(text)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (node(), "online"),
        (node({"conditions": [{"type": "Ready", "status": "False"}]}), "offline"),
        (node({"conditions": [{"type": "Ready", "status": "Unknown"}]}), "offline"),
        (node({"conditions": []}), "unknown"),
        (node(spec={"unschedulable": True}), "degraded"),
        (
            node({"conditions": [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "True"}]}),
            "degraded",
        ),
    ],
)
def test_the_status_of_a_node(found, expected):
    assert mapper().host(found).status == expected


def test_a_node_with_all_that_is_taken_of_it():
    found = node(
        {
            "capacity": {"cpu": "3920m", "memory": "16Gi", "pods": "110"},
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.0.2.7"}],
            "nodeInfo": {"osImage": "Debian GNU/Linux 12", "kubeletVersion": "v1.34.2", "machineID": "left out"},
        }
    )
    found["metadata"]["labels"] = {
        "node-role.kubernetes.io/control-plane": "",
        "kubernetes.io/arch": "amd64",
        "rack": "r7",
    }
    row = mapper().host(found)
    assert (row.external_id, row.name, row.cluster, row.address) == ("node/n1", "n1", "home", "192.0.2.7")
    assert (row.os, row.cpu_cores, row.memory_bytes) == ("Debian GNU/Linux 12", Decimal("3.92"), 16 * 2**30)
    assert row.labels == {"kubernetes.io/arch": "amd64"}
    assert row.metadata == {"uid": "u-n1", "kubelet": "v1.34.2", "roles": ["control-plane"]}


def test_a_node_without_capacity_and_with_a_host_name_alone():
    row = mapper().host(node({"capacity": {"cpu": "0"}, "addresses": [{"type": "Hostname", "address": "n1"}]}))
    assert (row.cpu_cores, row.memory_bytes, row.address) == (None, None, "n1")


@pytest.mark.parametrize(
    "capacity", [{"memory": "12 parsecs"}, {"memory": "1e30"}, {"cpu": "-1"}, {"cpu": "99999999"}, {"memory": "-5"}]
)
def test_a_node_with_an_impossible_capacity_is_skipped_under_its_name(capacity):
    listing = listing_of([node({"capacity": capacity})], BY_NAME["nodes"], mapper())
    assert listing.rows == ()
    assert [each.external_id for each in listing.skipped] == ["node/n1"]


@pytest.mark.parametrize(
    ("resource", "spec", "status", "expected"),
    [
        ("deployments", {"replicas": 2}, {"readyReplicas": 2}, ("running", 2, 2)),
        ("deployments", {}, {"readyReplicas": 1}, ("running", 1, 1)),
        ("deployments", {"replicas": 0}, {}, ("stopped", 0, 0)),
        ("deployments", {"replicas": 3}, {"readyReplicas": 1}, ("pending", 3, 1)),
        (
            "deployments",
            {"replicas": 3},
            {"conditions": [{"type": "Progressing", "status": "False"}]},
            ("failed", 3, 0),
        ),
        (
            "deployments",
            {"replicas": 3},
            {"conditions": [{"type": "ReplicaFailure", "status": "True"}]},
            ("failed", 3, 0),
        ),
        ("statefulsets", {"replicas": 1}, {"readyReplicas": 1}, ("running", 1, 1)),
        ("daemonsets", {}, {"desiredNumberScheduled": 4, "numberReady": 3}, ("pending", 4, 3)),
        ("daemonsets", {}, {"desiredNumberScheduled": 0, "numberReady": 0}, ("stopped", 0, 0)),
        ("cronjobs", {"suspend": True}, {}, ("stopped", None, None)),
        ("cronjobs", {"suspend": False}, {}, ("running", None, None)),
        ("jobs", {}, {"active": 1}, ("running", None, None)),
        ("jobs", {}, {}, ("pending", None, None)),
        ("jobs", {"suspend": True}, {}, ("stopped", None, None)),
        ("jobs", {}, {"conditions": [{"type": "Complete", "status": "True"}]}, ("stopped", None, None)),
        ("jobs", {}, {"conditions": [{"type": "Failed", "status": "True"}]}, ("failed", None, None)),
    ],
)
def test_the_status_of_a_controller(resource, spec, status, expected):
    row = BY_NAME[resource].row(mapper(), item(spec=spec, status=status))
    assert (row.status, row.replicas_wanted, row.replicas_ready) == expected
    assert (row.type, row.external_id) == (BY_NAME[resource].types[0], f"{row.type[4:]}/shop/web")


@pytest.mark.parametrize(
    ("status", "expected", "reason"),
    [
        ({"phase": "Running", "containerStatuses": [{"ready": True}, {"ready": True}]}, "running", None),
        ({"phase": "Running", "containerStatuses": [{"ready": True}, {"ready": False}]}, "pending", None),
        ({"phase": "Running"}, "pending", None),
        ({"phase": "Pending"}, "pending", None),
        ({"phase": "Succeeded"}, "stopped", None),
        ({"phase": "Failed", "reason": "Evicted"}, "failed", "Evicted"),
        ({"phase": "Unknown"}, "unknown", None),
        ({}, "unknown", None),
        (
            {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            "failed",
            "CrashLoopBackOff",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            "failed",
            "ImagePullBackOff",
        ),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
            "pending",
            None,
        ),
    ],
)
def test_the_status_of_a_pod(status, expected, reason):
    row = mapper().pod(item(spec={"nodeName": "n1"}, status=status))
    assert (row.status, row.metadata.get("reason"), row.host) == (expected, reason, "node/n1")


def test_a_pod_with_all_that_is_taken_of_it():
    found = item(
        {
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d", "controller": True}],
            "deletionTimestamp": "2026-01-03T00:00:00Z",
        },
        spec={"containers": [{"image": "nginx:1.27"}, {"image": "envoy:1.31"}]},
        status={
            "phase": "Running",
            "podIP": "10.0.0.4",
            "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}],
        },
    )
    row = mapper().pod(found)
    assert (row.external_id, row.image, row.host, row.service) == ("pod/shop/web", "nginx:1.27", None, None)
    assert row.metadata == {
        "uid": "u-1",
        "created_at": "2026-01-02T03:04:05Z",
        "images": ["nginx:1.27", "envoy:1.31"],
        "controller": "ReplicaSet/web-5d",
        "address": "10.0.0.4",
        "reason": "Terminating",
        "restarts": 3,
    }


def test_pods_of_jobs_and_jobs_of_cron_jobs_are_no_rows_and_the_last_of_them_tells_how_the_cron_job_is():
    def run(name, created, outcome):
        owner = {"kind": "CronJob", "name": "web", "controller": True}
        metadata = {"name": name, "creationTimestamp": created, "ownerReferences": [owner]}
        return item(
            metadata, status={"conditions": [{"type": outcome, "status": "True"}]} if outcome else {"active": 1}
        )

    shared = mapper()
    assert shared.pod(item({"ownerReferences": [{"kind": "Job", "name": "web-1", "controller": True}]})) is None
    assert shared.cron_job(item()).status == "running"
    assert shared.job(run("web-1", "2026-01-02T03:00:00Z", "Complete")) is None
    assert shared.cron_job(item()).status == "running"
    # Told in any order; one that runs still says nothing.
    assert shared.job(run("web-3", "2026-01-02T05:00:00Z", "Failed")) is None
    assert shared.job(run("web-2", "2026-01-02T04:00:00Z", "Complete")) is None
    assert shared.job(run("web-4", "2026-01-02T06:00:00Z", None)) is None
    assert shared.cron_job(item()).status == "failed"
    assert shared.cron_job(item({"namespace": "elsewhere"})).status == "running"


def test_a_workload_belongs_to_the_service_that_selects_its_pods():
    shared = mapper()
    for name, namespace, spec in [
        ("web-headless", "shop", {"selector": {"app": "web"}, "clusterIP": "None"}),
        ("web-z", "shop", {"selector": {"app": "web"}, "clusterIP": "10.0.0.1"}),
        ("web", "shop", {"selector": {"app": "web"}, "clusterIP": "10.0.0.2"}),
        ("a-canary", "shop", {"selector": {"app": "web", "track": "canary"}, "clusterIP": "10.0.0.3"}),
        ("all", "shop", {"clusterIP": "10.0.0.4"}),
        ("db", "shop", {"selector": {"app": "db"}, "clusterIP": "None"}),
        ("web", "other", {"selector": {"app": "web"}}),
    ]:
        shared.service(item({"name": name, "namespace": namespace}, spec=spec))
    templates = {
        "web": {"app": "web"},
        "canary": {"app": "web", "track": "canary"},
        "db": {"app": "db", "tier": "1"},
        "none": {"app": "cache"},
    }
    found = {
        name: shared.deployment(item(spec={"template": {"metadata": {"labels": labels}}})).service
        for name, labels in templates.items()
    }
    assert found == {"web": "shop/web", "canary": "shop/a-canary", "db": "shop/db", "none": None}
    assert shared.pod(item({"labels": {"app": "web"}})).service == "shop/web"
    assert shared.deployment(item({"namespace": "third"}, spec={"template": TEMPLATE})).service is None


def test_the_link_to_a_service_stays_where_the_services_are_not_known():
    unsure = mapper(services_complete=False)
    assert unsure.pod(item()).unknown == ("service_id",)
    assert unsure.cron_job(item()).unknown == ()
    assert mapper().pod(item()).unknown == ()


def test_a_service_with_all_that_is_taken_of_it():
    found = item(
        {"labels": {"app.kubernetes.io/name": "web", "helm.sh/chart": "web-1.2"}},
        spec={
            "type": "LoadBalancer",
            "clusterIP": "10.0.0.2",
            "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}],
        },
        status={"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "web.example.org"}]}},
    )
    row = mapper().service(found)
    assert (row.external_id, row.name, row.namespace) == ("shop/web", "web", "shop")
    assert row.labels == {"app.kubernetes.io/name": "web", "helm.sh/chart": "web-1.2"}
    assert row.metadata == {
        "uid": "u-1",
        "created_at": "2026-01-02T03:04:05Z",
        "type": "LoadBalancer",
        "cluster_address": "10.0.0.2",
        "external_addresses": ["192.0.2.9", "web.example.org"],
        "ports": ["80/TCP", "53/UDP"],
    }


def test_the_systems_services_come_in_where_they_are_asked_for():
    found = item({"namespace": "kube-system"})
    assert mapper().service(found) is None
    assert mapper(system_services=True).service(found).external_id == "kube-system/web"


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": None},
        {"name": ""},
        {"name": "a/b"},
        {"name": "a\0"},
        {"namespace": ["x"]},
        {"name": "\ud800"},
        {"name": "x" * 254},
    ],
)
def test_an_object_without_a_name_forbids_that_anything_counts_as_gone(metadata):
    listing = listing_of([item(metadata), item()], BY_NAME["pods"], mapper())
    assert [row.external_id for row in listing.rows] == ["pod/shop/web"]
    assert [each.external_id for each in listing.skipped] == [None]


CANARY = "canary-c5f1"


def test_environment_arguments_annotations_and_labels_that_are_not_on_the_list_stay_outside():
    container = {
        "name": CANARY,
        "image": "nginx:1.27",
        "env": [{"name": "PASSWORD", "value": CANARY}],
        "envFrom": [{"secretRef": {"name": CANARY}}],
        "command": [CANARY],
        "args": [f"--token={CANARY}"],
        "livenessProbe": {"exec": {"command": [CANARY]}, "httpGet": {"httpHeaders": [{"name": "X", "value": CANARY}]}},
        "volumeMounts": [{"mountPath": f"/{CANARY}"}],
    }
    state = {
        "name": CANARY,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": CANARY}},
        "lastState": {"x": CANARY},
    }
    metadata = {
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": CANARY},
        "labels": {"team-token": CANARY, CANARY: "x", "app": "web"},
        "managedFields": [{"manager": CANARY}],
        "finalizers": [CANARY],
    }
    pod = {
        "metadata": metadata,
        "spec": {"containers": [container], "initContainers": [container], "volumes": [{"name": CANARY}]},
    }
    status = {
        "containerStatuses": [state],
        "message": CANARY,
        "conditions": [{"type": "Ready", "status": "True", "message": CANARY, "reason": CANARY}],
        "nodeInfo": {"machineID": CANARY, "bootID": CANARY, "systemUUID": CANARY},
        "images": [{"names": [CANARY]}],
    }
    found = item(
        metadata,
        **{
            "spec": {**pod["spec"], "template": pod, "jobTemplate": {"spec": {"template": pod}}},
            "status": status,
            "data": CANARY,
        },
    )
    for resource in RESOURCES:
        row = resource.row(mapper(), found)
        assert row is not None
        assert CANARY not in json.dumps(dataclasses.asdict(row), default=str), resource.name


@settings(max_examples=150)
@given(st.lists(ANYTHING | OBJECTS, max_size=5), st.sampled_from(RESOURCES))
def test_no_object_whatever_it_holds_fails_the_list(found, resource):
    listing = listing_of([*found, item({"name": "sound"})], resource, mapper())
    assert any(row.external_id.endswith("sound") for row in listing.rows)
    assert listing.problem is None
    for row in listing.rows:
        stored = json.dumps(dataclasses.asdict(row), default=str, ensure_ascii=False, allow_nan=False)
        # As PostgreSQL takes it.
        assert "\0" not in stored
        assert "\\u0000" not in stored
        assert len(stored.encode()) < 2**20
