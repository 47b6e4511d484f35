"""What tools do at a real Kubernetes API server.

Nothing runs pods beside it: their logs come from a small server of this test, which the API server asks as it asks a kubelet.
"""

import contextlib
import datetime
import json
import socket
import ssl
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from answering_server import Answer, AnsweringServer
from certificates import Authority
from executor_lab import FOLLOW, NO_RIGHT, ROOT, carry_out, result_of
from kubernetes_samples import sample_objects
from kubernetes_server import ADMINISTRATOR, STRANGER, KubernetesServer, _free_port
from mission_control.inventory.connectors import kubernetes as inventory_kubernetes
from processes import wait_for

MANIFEST = ROOT / "files/inventory/kubernetes-tools.yml"


@pytest.fixture(scope="module")
def kubelet(tmp_path_factory):
    asked = []

    def answer(path, _headers):
        asked.append(path)
        parts = urlsplit(path)
        tail = int(parse_qs(parts.query).get("tailLines", ["1000"])[0])
        lines = [f"{parts.path} line {number} password=hunter2hunter2\n" for number in range(2000)]
        return Answer("".join(lines[-tail:]).encode(), kind="text/plain")

    authority = Authority(tmp_path_factory.mktemp("kubelet"), "kubelet")
    with AnsweringServer(answer, None, *authority.issue("kubelet", "127.0.0.1")) as server:
        server.paths = asked
        yield server


@pytest.fixture(scope="module")
def server(kubelet):
    with KubernetesServer() as running:
        running.load(sample_objects())
        port = urlsplit(kubelet.url).port
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        running.create("nodes", {"metadata": {"name": "worker"}, "status": status})
        running.load(
            {
                "deployments": [deployment("web"), deployment("paused", paused=True)],
                "pods": [pod("web-7d9f8b6c5-x2x9z", "web"), pod("two", "one", "other")],
            }
        )
        yield running


def pod(name, *containers):
    spec = {"nodeName": "worker", "containers": [{"name": each, "image": "nginx:1"} for each in containers]}
    return {"metadata": {"name": name, "namespace": "tools"}, "spec": spec}


def deployment(name, **spec):
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
    }
    return {
        "metadata": {"name": name, "namespace": "tools", "labels": {"app": name, "tier": "front"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
        "status": {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3},
    }


@pytest.fixture(scope="module")
def tokens(server):
    """Of the accounts that the shipped manifests make: the inventory's, which only reads, and that of the tools."""
    made = {}
    for manifest, account in (
        (ROOT / inventory_kubernetes.MANIFEST, "mission-control-inventory"),
        (MANIFEST, "mission-control-tools"),
    ):
        server.kubectl("apply", "--filename", str(manifest))
        path = f"/api/v1/namespaces/mission-control/serviceaccounts/{account}/token"
        made[account] = server.ask("POST", path, {"spec": {}})[1]["status"]["token"]
    options = options_of(server)
    wait_for(
        lambda: (
            carry_out("kubernetes.list_deployments", options, {"token": made["mission-control-tools"]})[0]
            == "succeeded"
        )
    )
    return made["mission-control-inventory"], made["mission-control-tools"]


def options_of(server):
    return {"server": server.address, "ca_certificate": server.ca_certificate}


def test_deployments_are_listed_as_the_server_has_them(server, tokens):
    _reader, token = tokens
    options = options_of(server)
    found = result_of("kubernetes.list_deployments", options, {"token": token}, namespace="tools")
    assert [each["name"] for each in found["deployments"]] == ["paused", "web"]
    web = found["deployments"][1]
    assert (web["replicas_wanted"], web["replicas_ready"], web["images"], web["paused"]) == (
        3,
        2,
        ["nginx:1"],
        False,
    )
    everywhere = result_of("kubernetes.list_deployments", options, {"token": token})["deployments"]
    names = {(each["namespace"], each["name"]) for each in everywhere}
    listed = json.loads(server.kubectl("get", "deployments", "--all-namespaces", "-o", "json"))["items"]
    assert names == {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in listed}
    chosen = result_of("kubernetes.list_deployments", options, {"token": token}, label_selector="app=web,tier!=back")
    assert [each["name"] for each in chosen["deployments"]] == ["web"]
    few = result_of("kubernetes.list_deployments", options, {"token": token}, limit=1)
    assert (len(few["deployments"]), few["more"]) == (1, True)


def test_a_restart_is_what_kubectl_does(server, tokens):
    _reader, token = tokens
    path = "/apis/apps/v1/namespaces/tools/deployments/web"
    _, before = server.ask("GET", path)
    found = result_of(
        "kubernetes.restart_deployment", options_of(server), {"token": token}, namespace="tools", deployment="web"
    )
    _, after = server.ask("GET", path)
    assert found == {
        "namespace": "tools",
        "deployment": "web",
        "restarted_at": after["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"],
        "generation": before["metadata"]["generation"] + 1,
        "replicas_wanted": 3,
        "paused": False,
    }
    # Nothing else of the deployment is another.
    del after["spec"]["template"]["metadata"]["annotations"]
    assert after["spec"] == before["spec"]
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
        found["restarted_at"].replace("Z", "+00:00")
    )
    assert age < datetime.timedelta(minutes=5)
    paused = result_of(
        "kubernetes.restart_deployment",
        options_of(server),
        {"token": token},
        namespace="tools",
        deployment="paused",
    )
    assert paused["paused"] is True


def test_a_login_that_only_reads_restarts_nothing(server, tokens):
    reader, _token = tokens
    path = "/apis/apps/v1/namespaces/tools/deployments/web"
    _, before = server.ask("GET", path)
    status, result, error = carry_out(
        "kubernetes.restart_deployment",
        options_of(server),
        {"token": reader},
        namespace="tools",
        deployment="web",
    )
    assert (status, result) == ("failed", None)
    assert error.startswith(NO_RIGHT)
    assert error.endswith(f"it needs patch on deployments (apps); {FOLLOW}")
    assert server.ask("GET", path)[1]["spec"] == before["spec"]
    status, _result, error = carry_out("kubernetes.list_deployments", options_of(server), {"token": STRANGER})
    assert (status, error.startswith(NO_RIGHT)) == ("failed", True)
    status, _result, error = carry_out("kubernetes.list_deployments", options_of(server), {"token": "wrong"})
    assert error == "The source lab refuses the login (Unauthorized): give the source tool_credentials that are valid."


def test_what_the_tools_may_do_is_no_more_than_they_do(server, tokens):
    _reader, token = tokens
    for method, path in (
        ("GET", "/api/v1/namespaces/tools/pods"),
        ("GET", "/api/v1/secrets"),
        ("DELETE", "/apis/apps/v1/namespaces/tools/deployments/web"),
        ("POST", "/api/v1/namespaces/tools/pods"),
    ):
        assert server.ask(method, path, {}, token=token, expected=None)[0] == 403, path


def test_logs_are_the_end_of_what_the_kubelet_has(server, tokens, kubelet):
    _reader, token = tokens
    pod = {"namespace": "tools", "pod": "web-7d9f8b6c5-x2x9z"}
    found = result_of(
        "kubernetes.pod_logs", options_of(server), {"token": token}, **pod, tail_lines=3, since_seconds=60
    )
    assert found == {
        **pod,
        "container": None,
        "log": "".join(
            f"/containerLogs/tools/web-7d9f8b6c5-x2x9z/web line {number} password=***\n"
            for number in (1997, 1998, 1999)
        ),
    }
    assert "sinceSeconds=60" in kubelet.paths[-1]
    result_of("kubernetes.pod_logs", options_of(server), {"token": token}, **pod, previous=True)
    assert "previous=true" in kubelet.paths[-1]
    assert "tailLines=100" in kubelet.paths[-1]
    limited = result_of(
        "kubernetes.pod_logs", options_of(server), {"token": token}, most_bytes=2048, **pod, tail_lines=2000
    )
    assert limited["log"].endswith("line 1999 password=***\n")
    assert len(json.dumps(limited)) <= 2048
    assert limited["cut"].startswith("The last ")


@pytest.mark.parametrize(
    ("operation", "arguments", "sentence"),
    [
        ("pod_logs", {"namespace": "tools", "pod": "two"}, "a container name must be specified for pod two, choose one of: [one other]"),
        ("pod_logs", {"namespace": "tools", "pod": "none"}, 'The log of the pod none in the namespace tools of lab is not there (pods "none" not found).'),
        ("restart_deployment", {"namespace": "tools", "deployment": "none"}, "The deployment none in the namespace tools of lab is not there"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence(server, tokens, operation, arguments, sentence):
    _reader, token = tokens
    status, result, error = carry_out(f"kubernetes.{operation}", options_of(server), {"token": token}, **arguments)
    assert (status, result) == ("failed", None)
    assert sentence in error


def test_a_kubeconfig_works_and_nothing_of_it_is_told(server):
    kubeconfig = json.dumps(server.kubeconfig(ADMINISTRATOR))
    found = result_of("kubernetes.list_deployments", {}, {"kubeconfig": kubeconfig}, namespace="tools")
    assert len(found["deployments"]) == 2


def test_a_server_that_is_away_is_one_sentence():
    options = {"server": f"https://127.0.0.1:{_free_port()}"}
    status, _result, error = carry_out(
        "kubernetes.restart_deployment", options, {"token": "abc"}, namespace="tools", deployment="web"
    )
    assert (status, error) == ("failed", "The deployment web in the namespace tools of lab: Connection refused.")


def test_a_connection_that_breaks_off_leaves_a_restart_unknown_and_a_list_failed(tmp_path):
    authority = Authority(tmp_path, "kube")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("kube", "127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def read_and_leave():
            while True:
                with contextlib.suppress(ssl.SSLError):
                    connection, _address = listener.accept()
                    with context.wrap_socket(connection, server_side=True) as line:
                        line.recv(65536)

        threading.Thread(target=read_and_leave, daemon=True).start()
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        options = {"server": address, "ca_certificate": authority.path.read_text()}
        status, _result, error = carry_out(
            "kubernetes.restart_deployment", options, {"token": "abc"}, namespace="tools", deployment="web"
        )
        assert status == "unknown"
        assert error.endswith(", so whether it took place is not known.")
        assert carry_out("kubernetes.list_deployments", options, {"token": "abc"})[0] == "failed"
