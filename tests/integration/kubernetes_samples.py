"""Objects of a small cluster, as a real API server takes them: each with its status, which servers are given apart."""

import datetime

NAMESPACES = ("blog", "media")
CANARIES = [f"canary-{number:03d}-8d1f" for number in range(200)]


def sample_objects():
    """By resource, without what a server adds to them."""
    canaries = iter(CANARIES)
    # Each place where secrets are found in practice, filled with one that no snapshot may hold.
    container = {"name": "main", "image": "registry.example.org/app:1.0"}

    def pod_spec(image, **rest):
        secrets = {
            "env": [{"name": "PASSWORD", "value": next(canaries)}],
            "command": ["run", next(canaries)],
            "args": [f"--token={next(canaries)}"],
        }
        return {"containers": [{**container, "image": image, **secrets}], **rest}

    def metadata(name, namespace=None, labels=None, **rest):
        annotations = {
            "kubectl.kubernetes.io/last-applied-configuration": next(canaries),
            "example.org/note": next(canaries),
        }
        return {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "labels": {"example.org/secret": next(canaries), **(labels or {})},
            "annotations": annotations,
            **rest,
        }

    def template(app, image, **spec):
        return {"metadata": metadata("x", labels={"app": app}), "spec": pod_spec(image, **spec)}

    def replicated(name, namespace, app, replicas, status, **spec):
        return {
            "metadata": metadata(name, namespace, {"app.kubernetes.io/name": app}),
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "template": template(app, f"{app}:1.0"),
                **({} if replicas is None else {"replicas": replicas}),
                **spec,
            },
            "status": status,
        }

    def service(name, namespace, spec):
        return {
            "metadata": metadata(name, namespace),
            "spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}], **spec},
            "status": {},
        }

    def node(name, ready, address, **spec):
        conditions = [{"type": "Ready", "status": ready}, {"type": "MemoryPressure", "status": "False"}]
        return {
            "metadata": metadata(name, labels={"kubernetes.io/arch": "amd64", "node-role.kubernetes.io/worker": ""}),
            "spec": spec,
            "status": {
                "capacity": {"cpu": "3500m", "memory": "16393244Ki", "pods": "110"},
                "conditions": conditions,
                "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
                "nodeInfo": {
                    "architecture": "amd64",
                    "bootID": "",
                    "containerRuntimeVersion": "containerd://2.1.4",
                    "kernelVersion": "6.1.0",
                    "kubeProxyVersion": "",
                    "kubeletVersion": "v1.34.2",
                    "machineID": "",
                    "operatingSystem": "linux",
                    "osImage": "Debian GNU/Linux 12 (bookworm)",
                    "systemUUID": "",
                },
            },
        }

    def pod(name, namespace, app, node_name, status, **more):
        return {
            "metadata": metadata(name, namespace, {"app": app}, **more),
            "spec": pod_spec(f"{app}:1.0", **({"nodeName": node_name} if node_name else {})),
            "status": status,
        }

    def container_status(ready, restarts=0, state=None):
        return {
            "name": "main",
            "image": "x",
            "imageID": "",
            "ready": ready,
            "restartCount": restarts,
            **({"state": {"waiting": {"reason": state, "message": next(canaries)}}} if state else {}),
        }

    running = {"phase": "Running", "podIP": "10.1.0.4", "containerStatuses": [container_status(True)]}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "import", "uid": "1", "controller": True}
    run_of = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "2", "controller": True}
    finished = {"startTime": "2026-01-02T03:00:00Z", "conditions": [{"type": "Failed", "status": "True"}]}
    job = {"template": template("import", "import:1.0", restartPolicy="Never"), "backoffLimit": 0}
    return {
        "nodes": [
            node("node-a", "True", "192.0.2.10"),
            node("node-b", "Unknown", "192.0.2.11"),
            node("node-c", "True", "192.0.2.12", unschedulable=True),
        ],
        "services": [
            service("web", "blog", {"selector": {"app": "web"}, "clusterIP": "10.0.0.20"}),
            service("web-headless", "blog", {"selector": {"app": "web"}, "clusterIP": "None"}),
            service("outside", "blog", {"clusterIP": "None"}),
            service("web", "media", {"selector": {"app": "player"}, "clusterIP": "10.0.0.21"}),
        ],
        "deployments": [
            replicated("web", "blog", "web", 2, {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
            replicated("draft", "blog", "draft", 0, {}),
            replicated(
                "web",
                "media",
                "player",
                3,
                {"replicas": 3, "readyReplicas": 1, "conditions": [_failing("Progressing", "False")]},
            ),
        ],
        "statefulsets": [replicated("db", "blog", "db", 1, {"replicas": 1, "readyReplicas": 0}, serviceName="db")],
        "daemonsets": [
            replicated(
                "logs",
                "media",
                "logs",
                None,
                {
                    "currentNumberScheduled": 3,
                    "desiredNumberScheduled": 3,
                    "numberReady": 3,
                    "numberMisscheduled": 0,
                },
            )
        ],
        "jobs": [
            {"metadata": metadata("import", "media"), "spec": job, "status": {"active": 1}},
            {"metadata": metadata("nightly-1", "blog", ownerReferences=[run_of]), "spec": job, "status": finished},
        ],
        "cronjobs": [
            {
                "metadata": metadata("nightly", "blog"),
                "spec": {"schedule": "0 3 * * *", "suspend": False, "jobTemplate": {"spec": job}},
                "status": {"lastScheduleTime": "2026-01-02T03:00:00Z"},
            }
        ],
        "pods": [
            pod("web-1", "blog", "web", "node-a", running),
            pod(
                "web-2",
                "blog",
                "web",
                "node-b",
                {"phase": "Running", "containerStatuses": [container_status(False, 7, "CrashLoopBackOff")]},
            ),
            pod("db-0", "blog", "db", None, {"phase": "Pending"}),
            pod(
                "web-1",
                "media",
                "player",
                "node-a",
                {"phase": "Failed", "reason": "Evicted", "message": next(canaries)},
            ),
            pod("import-x", "media", "import", "node-a", running, ownerReferences=[owner]),
        ],
    }


def many_pods(number, nodes=50):
    """Pods of a large cluster, in 20 namespaces of 10 services each."""
    for index in range(number):
        app = f"app-{index % 10}"
        yield {
            "metadata": {
                "name": f"{app}-{index:05d}",
                "namespace": f"team-{index % 20}",
                "labels": {"app": app, "pod-template-hash": f"{index:08x}"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 700},
            },
            "spec": {
                "nodeName": f"node-{index % nodes}",
                "containers": [
                    {
                        "name": "main",
                        "image": f"registry.example.org/{app}:1.{index % 7}",
                        "env": [{"name": f"SETTING_{each}", "value": "value"} for each in range(10)],
                    }
                ],
            },
            "status": {
                "phase": "Running",
                "podIP": f"10.{index // 65536}.{index // 256 % 256}.{index % 256}",
                "containerStatuses": [
                    {"name": "main", "image": "x", "imageID": "", "ready": True, "restartCount": index % 3}
                ],
            },
        }


def served(objects, namespace_uid="u"):
    """Objects with what a server adds: UID and time."""
    created = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    return {
        resource: [
            {
                **each,
                "metadata": {
                    **each["metadata"],
                    "uid": f"{namespace_uid}-{resource}-{index}",
                    "creationTimestamp": f"{created:%Y-%m-%dT%H:%M:%SZ}",
                },
            }
            for index, each in enumerate(items)
        ]
        for resource, items in objects.items()
    }


def _failing(kind, status):
    return {"type": kind, "status": status, "reason": "x"}
