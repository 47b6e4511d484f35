"""A real Kubernetes API server with its etcd, on loopback, for as long as a test wants. Nothing runs the objects: what they say is written."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from certificates import Authority
from kubernetes_api import KINDS, VERSIONS

_ROOT = Path(__file__).parents[2]
_PROGRAMS = _ROOT / ".cache" / "kubernetes-api-server"
ADMINISTRATOR = "administrator-token-of-a-test"
STRANGER = "stranger-token-of-a-test"
# What version 1.20 has.
REAL_VERSIONS = {**VERSIONS, "cronjobs": "batch/v1beta1"}


def programs():
    """The directory of kube-apiserver, etcd, etcdctl and kubectl, which are built where they are missing."""
    built = subprocess.run([_ROOT / "scripts" / "kubernetes-api-server"], capture_output=True, text=True, check=False)
    if built.returncode:
        sentence = (built.stderr.strip() or built.stdout.strip()).splitlines()[-1]
        raise RuntimeError(f"There is no Kubernetes API server to test with, and none could be built: {sentence}")
    return _PROGRAMS


class KubernetesServer:
    """Context manager around the two servers.

    Attributes:
        address, ca_certificate: of the API server; the certificate in PEM.
    """

    def __init__(self):
        self._programs = programs()
        self._stack = contextlib.ExitStack()
        self._local = threading.local()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mission-control-k8s-")))
            self._authority = Authority(self._directory, "cluster")
            self.ca_certificate = self._authority.path.read_text()
            self._context = ssl.create_default_context(cadata=self.ca_certificate)
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._start_etcd(stack)
            self._start_server(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start_etcd(self, stack):
        self._etcd = f"http://127.0.0.1:{_free_port()}"
        peers = f"http://127.0.0.1:{_free_port()}"
        self._run(
            stack,
            "etcd",
            f"--data-dir={self._directory}/etcd",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        )

    def _start_server(self, stack):
        certificate, key = self._authority.issue("api", "127.0.0.1")
        tokens = self._directory / "tokens.csv"
        tokens.touch(0o600)
        tokens.write_text(f'{ADMINISTRATOR},administrator,1,"system:masters"\n{STRANGER},stranger,2\n')
        port = _free_port()
        self.address = f"https://127.0.0.1:{port}"
        process, log = self._run(
            stack,
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self._directory}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificate}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            # There is nobody to make the accounts of pods.
            "--disable-admission-plugins=ServiceAccount",
        )
        deadline = time.monotonic() + 120
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The API server did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def _is_ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return (
                self.ask("GET", "/readyz", expected=None)[0] == 200
                and self.ask("GET", "/api/v1/namespaces/kube-system", expected=None)[0] == 200
            )
        return False

    def _run(self, stack, program, *arguments):
        log = self._directory / f"{program}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                # A killed test run leaves no server behind.
                ["setpriv", "--pdeathsig", "KILL", self._programs / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process, log

    def ask(
        self, method, path, body=None, *, token=ADMINISTRATOR, content_type="application/json", expected=(200, 201)
    ):
        """Status and answer of a request; every thread has a connection of its own."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self.address.removeprefix("https://").split(":")
            connection = http.client.HTTPSConnection(host, int(port), context=self._context, timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            self._local.connection = None
            connection.close()
            raise
        self._local.connection = connection
        if expected and response.status not in expected:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:500]!r}")
        return response.status, json.loads(text) if text[:1] == b"{" else text

    def create(self, resource, item):
        """An object with its status."""
        version = REAL_VERSIONS[resource]
        path = path_of(resource, item["metadata"].get("namespace"))
        body = {"apiVersion": version, "kind": KINDS[resource], **item}
        self.ask("POST", path, body)
        if item.get("status") and resource != "nodes":
            patch = {"status": item["status"]}
            name = item["metadata"]["name"]
            self.ask("PATCH", f"{path}/{name}/status", patch, content_type="application/merge-patch+json")

    def load(self, objects):
        """All objects, with the namespaces that they are in."""
        names = {each["metadata"].get("namespace") for items in objects.values() for each in items} - {None}
        for name in sorted(names):
            self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}}, expected=(200, 201, 409))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for resource, items in objects.items():
                list(pool.map(lambda item, resource=resource: self.create(resource, item), items))

    def delete(self, resource, namespace, name):
        """Remove an object at once."""
        self.ask(
            "DELETE",
            f"{path_of(resource, namespace)}/{name}",
            {"gracePeriodSeconds": 0, "propagationPolicy": "Background"},
        )

    def kubectl(self, *arguments, token=ADMINISTRATOR):
        """What kubectl prints."""
        configuration = self._directory / f"kubeconfig-{threading.get_ident()}"
        configuration.touch(0o600)
        configuration.write_text(json.dumps(self.kubeconfig(token)))
        command = [self._programs / "kubectl", f"--kubeconfig={configuration}", *arguments]
        environment = {**os.environ, "HOME": str(self._directory)}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    def kubeconfig(self, token):
        authority = base64.b64encode(self.ca_certificate.encode()).decode()
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [
                {"name": "test", "cluster": {"server": self.address, "certificate-authority-data": authority}}
            ],
            "users": [{"name": "test", "user": {"token": token}}],
        }

    def compact(self):
        """Let every continuation of a list expire."""
        self.ask("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "later-"}})
        status = json.loads(self._etcdctl("endpoint", "status", "--write-out=json"))
        self._etcdctl("compact", str(status[0]["Status"]["header"]["revision"]))

    def _etcdctl(self, *arguments):
        command = [self._programs / "etcdctl", f"--endpoints={self._etcd}", *arguments]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def path_of(resource, namespace):
    version = REAL_VERSIONS[resource]
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    return f"{root}/namespaces/{namespace}/{resource}" if namespace else f"{root}/{resource}"


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
