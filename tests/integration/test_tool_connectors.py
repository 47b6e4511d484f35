"""What the connectors of tools do at real engines, a real Kubernetes API server, a real Prometheus, and the fake of Proxmox VE.

Nothing runs pods beside the API server: their logs come from a small server of this test, which the API server asks as it asks a kubelet.
"""

import base64
import contextlib
import datetime
import json
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from answering_server import Answer, AnsweringServer, as_json
from certificates import Authority
from engine_lab import IMAGE, DockerEngine, PodmanEngine
from kubernetes_samples import sample_objects
from kubernetes_server import ADMINISTRATOR, STRANGER, KubernetesServer, _free_port
from mission_control.inventory.connectors import kubernetes as inventory_kubernetes
from mission_control.inventory.sources import Source
from mission_control.tools.carrying import CallProcess
from mission_control.tools.operations import OPERATIONS
from processes import wait_for
from proxmox_fake import TOKEN as PROXMOX_TOKEN
from proxmox_fake import ProxmoxFake

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / ".cache/promtool/prometheus"
MANIFEST = ROOT / "files/inventory/kubernetes-tools.yml"
NO_RIGHT = "The login of the source lab lacks the right"
FOLLOW = "give the source tool_credentials."


def carry_out(operation, options, secrets=None, seconds=60, most_bytes=65_536, **arguments):
    """Status, result and error of a call, as its process says them."""
    connector, _dot, name = operation.partition(".")
    source = Source("lab", connector, None, 0, 60, 512, True, options, "/nowhere", ())
    tool = {
        "connector": connector,
        "operation": name,
        "risk_level": OPERATIONS[operation].risk_level,
        "arguments_schema": {},
        "preset": {},
    }
    with CallProcess(source.memory_limit, threading.Event()) as process:
        assert process.problem(tool, {"source": "lab", **arguments}) == ""
        return process.act(source, secrets or {}, seconds, most_bytes, threading.Event())


def result_of(*words, **more):
    status, result, error = carry_out(*words, **more)
    assert (status, error) == ("succeeded", None)
    return result


class TestKubernetes:
    @pytest.fixture(scope="class")
    def kubelet(self, tmp_path_factory):
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

    @pytest.fixture(scope="class")
    def server(self, kubelet):
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
                    "deployments": [self.deployment("web"), self.deployment("paused", paused=True)],
                    "pods": [self.pod("web-7d9f8b6c5-x2x9z", "web"), self.pod("two", "one", "other")],
                }
            )
            yield running

    @staticmethod
    def pod(name, *containers):
        spec = {"nodeName": "worker", "containers": [{"name": each, "image": "nginx:1"} for each in containers]}
        return {"metadata": {"name": name, "namespace": "tools"}, "spec": spec}

    @staticmethod
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

    @pytest.fixture(scope="class")
    def tokens(self, server):
        """Of the accounts that the shipped manifests make: the inventory's, which only reads, and that of the tools."""
        made = {}
        for manifest, account in (
            (ROOT / inventory_kubernetes.MANIFEST, "mission-control-inventory"),
            (MANIFEST, "mission-control-tools"),
        ):
            server.kubectl("apply", "--filename", str(manifest))
            path = f"/api/v1/namespaces/mission-control/serviceaccounts/{account}/token"
            made[account] = server.ask("POST", path, {"spec": {}})[1]["status"]["token"]
        options = self.options(server)
        wait_for(
            lambda: (
                carry_out("kubernetes.list_deployments", options, {"token": made["mission-control-tools"]})[0]
                == "succeeded"
            )
        )
        return made["mission-control-inventory"], made["mission-control-tools"]

    @staticmethod
    def options(server):
        return {"server": server.address, "ca_certificate": server.ca_certificate}

    def test_deployments_are_listed_as_the_server_has_them(self, server, tokens):
        _reader, token = tokens
        options = self.options(server)
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
        chosen = result_of(
            "kubernetes.list_deployments", options, {"token": token}, label_selector="app=web,tier!=back"
        )
        assert [each["name"] for each in chosen["deployments"]] == ["web"]
        few = result_of("kubernetes.list_deployments", options, {"token": token}, limit=1)
        assert (len(few["deployments"]), few["more"]) == (1, True)

    def test_a_restart_is_what_kubectl_does(self, server, tokens):
        _reader, token = tokens
        path = "/apis/apps/v1/namespaces/tools/deployments/web"
        _, before = server.ask("GET", path)
        found = result_of(
            "kubernetes.restart_deployment", self.options(server), {"token": token}, namespace="tools", deployment="web"
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
            self.options(server),
            {"token": token},
            namespace="tools",
            deployment="paused",
        )
        assert paused["paused"] is True

    def test_a_login_that_only_reads_restarts_nothing(self, server, tokens):
        reader, _token = tokens
        path = "/apis/apps/v1/namespaces/tools/deployments/web"
        _, before = server.ask("GET", path)
        status, result, error = carry_out(
            "kubernetes.restart_deployment",
            self.options(server),
            {"token": reader},
            namespace="tools",
            deployment="web",
        )
        assert (status, result) == ("failed", None)
        assert error.startswith(NO_RIGHT)
        assert error.endswith(f"it needs patch on deployments (apps); {FOLLOW}")
        assert server.ask("GET", path)[1]["spec"] == before["spec"]
        status, _result, error = carry_out("kubernetes.list_deployments", self.options(server), {"token": STRANGER})
        assert (status, error.startswith(NO_RIGHT)) == ("failed", True)
        status, _result, error = carry_out("kubernetes.list_deployments", self.options(server), {"token": "wrong"})
        assert (
            error == "The source lab refuses the login (Unauthorized): give the source tool_credentials that are valid."
        )

    def test_what_the_tools_may_do_is_no_more_than_they_do(self, server, tokens):
        _reader, token = tokens
        for method, path in (
            ("GET", "/api/v1/namespaces/tools/pods"),
            ("GET", "/api/v1/secrets"),
            ("DELETE", "/apis/apps/v1/namespaces/tools/deployments/web"),
            ("POST", "/api/v1/namespaces/tools/pods"),
        ):
            assert server.ask(method, path, {}, token=token, expected=None)[0] == 403, path

    def test_logs_are_the_end_of_what_the_kubelet_has(self, server, tokens, kubelet):
        _reader, token = tokens
        pod = {"namespace": "tools", "pod": "web-7d9f8b6c5-x2x9z"}
        found = result_of(
            "kubernetes.pod_logs", self.options(server), {"token": token}, **pod, tail_lines=3, since_seconds=60
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
        result_of("kubernetes.pod_logs", self.options(server), {"token": token}, **pod, previous=True)
        assert "previous=true" in kubelet.paths[-1]
        assert "tailLines=100" in kubelet.paths[-1]
        limited = result_of(
            "kubernetes.pod_logs", self.options(server), {"token": token}, most_bytes=2048, **pod, tail_lines=2000
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
            ("restart_deployment", {"namespace": "..", "deployment": "none"}, None),
        ],
    )  # fmt: skip
    def test_what_is_not_there_is_one_sentence(self, server, tokens, operation, arguments, sentence):
        _reader, token = tokens
        if sentence is None:
            with pytest.raises(AssertionError, match="must be the name of a namespace"):
                carry_out(f"kubernetes.{operation}", self.options(server), {"token": token}, **arguments)
            return
        status, result, error = carry_out(
            f"kubernetes.{operation}", self.options(server), {"token": token}, **arguments
        )
        assert (status, result) == ("failed", None)
        assert sentence in error

    def test_a_kubeconfig_works_and_nothing_of_it_is_told(self, server):
        kubeconfig = json.dumps(server.kubeconfig(ADMINISTRATOR))
        found = result_of("kubernetes.list_deployments", {}, {"kubeconfig": kubeconfig}, namespace="tools")
        assert len(found["deployments"]) == 2

    def test_a_server_that_is_away_is_one_sentence(self):
        options = {"server": f"https://127.0.0.1:{_free_port()}"}
        status, _result, error = carry_out(
            "kubernetes.restart_deployment", options, {"token": "abc"}, namespace="tools", deployment="web"
        )
        assert (status, error) == ("failed", "The deployment web in the namespace tools of lab: Connection refused.")

    def test_a_connection_that_breaks_off_leaves_a_restart_unknown(self, tmp_path):
        authority = Authority(tmp_path, "kube")
        with AnsweringServer(None, None, *authority.issue("kube", "127.0.0.1")) as server:
            # It knows no PATCH, and ends the connection after a while without a word.
            options = {"server": server.url, "ca_certificate": authority.path.read_text(), "timeout": 2}
            status, _result, error = carry_out(
                "kubernetes.restart_deployment", options, {"token": "abc"}, namespace="tools", deployment="web"
            )
        assert (status, error.endswith(".")) in (("failed", True), ("unknown", True))


class TestEngines:
    @pytest.fixture(scope="class", params=[DockerEngine, PodmanEngine], ids=lambda engine: engine.name)
    def running(self, request):
        with request.param() as engine:
            yield engine

    @pytest.fixture
    def engine(self, running):
        yield running
        running.remove_all()

    def test_containers_are_listed(self, engine):
        engine.create("created", "true")
        engine.run("running")
        found = result_of("docker.list_containers", {"url": engine.url})
        assert {each["name"]: each["state"] for each in found["containers"]} == {
            "created": "created",
            "running": "running",
        }
        assert all(each["image"].endswith(IMAGE) for each in found["containers"])
        few = result_of("docker.list_containers", {"url": engine.url}, limit=1)
        assert (len(few["containers"]), few["more"]) == (1, True)
        only = result_of("docker.list_containers", {"url": engine.url}, all=False)
        assert [each["name"] for each in only["containers"]] == ["running"]

    @pytest.mark.parametrize("terminal", [False, True])
    def test_logs_are_the_end_of_what_the_container_wrote(self, engine, terminal):
        script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; done; echo token=hunter2hunter2 >&2; echo é"
        engine.run("talks", "sh", "-c", script, tty=terminal)
        engine.api.wait("talks")
        found = result_of("docker.container_logs", {"url": engine.url}, container="talks", tail_lines=3)
        assert sorted(found["log"].replace("\r", "").splitlines()) == ["line 300", "token=***", "é"]
        everything = result_of("docker.container_logs", {"url": engine.url}, container="talks", tail_lines=5000)
        assert "line 1" in everything["log"].replace("\r", "").splitlines()
        assert "begins_later" not in everything
        limited = result_of(
            "docker.container_logs", {"url": engine.url}, most_bytes=1024, container="talks", tail_lines=5000
        )
        assert limited["log"].count("line") < 100
        assert "cut" in limited

    def test_a_restart_stops_and_starts_the_container(self, engine):
        engine.run("web", "sleep", "1000")
        before = engine.api.inspect_container("web")["State"]
        found = result_of("docker.restart_container", {"url": engine.url}, container="web", stop_seconds=1)
        after = engine.api.inspect_container("web")["State"]
        assert found == {"container": "web", "restarted": True}
        assert (after["Running"], after["Pid"] != before["Pid"]) == (True, True)

    def test_what_is_not_there_is_one_sentence(self, engine):
        for operation in ("docker.container_logs", "docker.restart_container"):
            status, result, error = carry_out(operation, {"url": engine.url}, container="nobody")
            assert (status, result) == ("failed", None)
            assert "answered 404" in error
            assert error.endswith(".")


class TestDockerProxy:
    """A proxy before the socket, which answers 403 to what it does not let through."""

    @pytest.fixture
    def url(self, tmp_path):
        refused = Answer(b"Forbidden", 403, "text/plain")
        socket = tmp_path / "proxy.sock"

        def answer(path, _headers):
            return as_json([{"Names": ["/web"], "Id": "a" * 64}]) if path.startswith("/containers/json") else refused

        with AnsweringServer(answer, socket, answer_post=lambda *_: refused):
            yield f"unix://{socket}"

    def test_a_source_that_only_reads_restarts_nothing(self, url):
        assert result_of("docker.list_containers", {"url": url})["containers"][0]["name"] == "web"
        status, _result, error = carry_out("docker.restart_container", {"url": url}, container="web")
        assert status == "failed"
        assert error == f"{NO_RIGHT} (answered 403 Forbidden): it needs POST /containers/NAME/restart; {FOLLOW}"

    def test_an_engine_that_is_away_is_one_sentence(self, tmp_path):
        status, _result, error = carry_out(
            "docker.restart_container", {"url": f"unix://{tmp_path}/none"}, container="web"
        )
        assert (status, "No such file or directory" in error) == ("failed", True)


class TestProxmox:
    @pytest.fixture
    def cluster(self, tmp_path):
        with ProxmoxFake(tmp_path) as fake:
            fake.add(100, "web", status="stopped")
            fake.add(101, "db", node="pve2", kind="lxc")
            fake.add(900, "template", template=1)
            fake.rights["/vms"]["VM.PowerMgmt"] = 1
            yield fake

    @staticmethod
    def carry_out(cluster, operation, **arguments):
        return carry_out(f"proxmox.{operation}", cluster.options, {"token": PROXMOX_TOKEN}, **arguments)

    def test_guests_are_listed(self, cluster):
        status, found, error = self.carry_out(cluster, "list_guests")
        assert (status, error) == ("succeeded", None)
        assert [(each["vmid"], each["name"], each["status"]) for each in found["guests"]] == [
            (100, "web", "stopped"),
            (101, "db", "running"),
        ]
        for filters, expected in (
            ({"node": "pve2"}, [101]),
            ({"type": "qemu"}, [100]),
            ({"status": "running"}, [101]),
            ({"limit": 1}, [100]),
        ):
            assert [each["vmid"] for each in self.carry_out(cluster, "list_guests", **filters)[1]["guests"]] == expected

    @pytest.mark.parametrize(
        ("operation", "vmid", "path", "becomes"),
        [
            ("start_guest", 100, "/nodes/pve1/qemu/100/status/start", "running"),
            ("shut_down_guest", 101, "/nodes/pve2/lxc/101/status/shutdown", "stopped"),
        ],
    )
    def test_a_task_is_begun_once_and_its_end_is_seen(self, cluster, operation, vmid, path, becomes):
        status, result, error = self.carry_out(cluster, operation, vmid=vmid)
        assert (status, error) == ("succeeded", None)
        assert (result["exit_status"], result["task"].split(":")[0]) == ("OK", "UPID")
        assert [each for each, _body in cluster.posted] == [path]
        assert cluster.guests[vmid]["status"] == becomes
        if operation == "shut_down_guest":
            assert parse_qs(cluster.posted[0][1]) == {"timeout": ["45"], "forceStop": ["0"]}

    def test_a_task_that_fails_and_one_that_does_not_end_say_so(self, cluster):
        cluster.ends = {100: "VM 100 already running", 101: None}
        status, result, error = self.carry_out(cluster, "start_guest", vmid=100)
        assert (status, error) == ("failed", "The guest 100 of lab: the task ended with VM 100 already running.")
        status, result, error = carry_out(
            "proxmox.shut_down_guest",
            cluster.options,
            {"token": PROXMOX_TOKEN},
            seconds=8,
            vmid=101,
            shutdown_seconds=2,
        )
        assert (status, result["task"] in error) == ("timed_out", True)
        assert error.endswith("goes on, and its end was not seen within the time limit.")

    def test_a_login_that_only_reads_starts_nothing(self, cluster):
        del cluster.rights["/vms"]["VM.PowerMgmt"]
        status, _result, error = self.carry_out(cluster, "start_guest", vmid=100)
        assert status == "failed"
        assert error.startswith(f"{NO_RIGHT} (answered 403 Permission check failed (/vms/100, VM.PowerMgmt)")
        assert error.endswith(f"it needs VM.Audit and VM.PowerMgmt on /vms; {FOLLOW}")
        assert cluster.guests[100]["status"] == "stopped"

    def test_what_is_not_there_and_what_takes_too_long_is_one_sentence(self, cluster):
        assert "The guest 555 of lab is not there" in self.carry_out(cluster, "start_guest", vmid=555)[2]
        assert (
            "give a smaller shutdown_seconds"
            in self.carry_out(cluster, "shut_down_guest", vmid=101, shutdown_seconds=100)[2]
        )
        assert cluster.posted == []


class TestPrometheus:
    @pytest.fixture(scope="class")
    def url(self, tmp_path_factory):
        directory = tmp_path_factory.mktemp("prometheus")
        subprocess.run([ROOT / "scripts/install-test-packages"], check=True, capture_output=True)
        port = _free_port()
        (directory / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: itself, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        )
        command = [
            *("setpriv", "--pdeathsig", "KILL", PROMETHEUS, f"--config.file={directory}/prometheus.yml"),
            *(f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"),
        ]
        with open(directory / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            address = f"http://127.0.0.1:{port}"

            def scraped():
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api/v1/query?query=up") as answer:
                    return bool(json.load(answer)["data"]["result"])
                return False

            wait_for(scraped, 60)
            yield address
            process.kill()

    def test_an_expression_is_evaluated(self, url):
        found = result_of("prometheus.query", {"url": url}, query="up == 1")
        assert (found["type"], found["more"]) == ("vector", False)
        assert found["series"][0]["metric"]["job"] == "itself"
        assert found["series"][0]["value"][1] == "1"
        assert result_of("prometheus.query", {"url": url}, query="1 + 1")["value"][1] == "2"
        assert result_of("prometheus.query", {"url": url}, query='"é&limit=0#"')["value"][1] == "é&limit=0#"
        few = result_of("prometheus.query", {"url": url}, query='{job="itself"}', limit=2)
        assert (len(few["series"]), few["more"]) == (2, True)
        cut = result_of("prometheus.query", {"url": url}, query='{job="itself"}', limit=1000, most_bytes=4096)
        assert "series are shown: the rest is over the tool's output limit of 4096 bytes." in cut["cut"]

    def test_an_expression_that_is_none_is_one_sentence(self, url):
        status, _result, error = carry_out("prometheus.query", {"url": url}, query="up ==")
        assert status == "failed"
        assert error.startswith("The query at lab answered 400: ")

    def test_a_login_is_sent_and_a_refused_one_is_one_sentence(self, tmp_path):
        seen = []
        authority = Authority(tmp_path, "prometheus")
        data = {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}

        def answer(_path, headers, body):
            seen.append((headers.get("Authorization"), parse_qs(body.decode())["query"]))
            return as_json(data) if headers.get("Authorization") != "Bearer wrong" else Answer(b"no", 401, "text/plain")

        with AnsweringServer(None, None, *authority.issue("prometheus", "127.0.0.1"), answer_post=answer) as server:
            options = {"url": f"{server.url}/behind/", "ca_certificate": authority.path.read_text()}
            assert result_of("prometheus.query", options, {"token": "right"}, query="up")["value"] == [1, "2"]
            result_of("prometheus.query", {**options, "user": "mé"}, {"password": "pä:ss"}, query="up")
            _status, _result, error = carry_out("prometheus.query", options, {"token": "wrong"}, query="up")
            assert server.asked[0] == "/behind/api/v1/query"
        assert (
            error
            == "The source lab refuses the login (answered 401 Unauthorized): give the source tool_credentials that are valid."
        )
        basic = base64.b64encode("mé:pä:ss".encode()).decode()
        assert seen[:2] == [("Bearer right", ["up"]), (f"Basic {basic}", ["up"])]


def test_the_process_of_a_call_gets_no_secret_before_it_may_act():
    began = time.monotonic()
    with CallProcess(512, threading.Event()) as process:
        tool = {
            "connector": "docker",
            "operation": "list_containers",
            "risk_level": "READ_ONLY",
            "arguments_schema": {},
            "preset": {},
        }
        assert process.problem(tool, {"source": "lab", "al": True}) == "There is no argument 'al'; did you mean 'all'?"
    assert time.monotonic() - began < 60
