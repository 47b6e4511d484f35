"""A server that answers as Kubernetes' API server does, for the lists that the connector reads: over HTTP or HTTPS on loopback.

What it says was compared with the real one (test_kubernetes_server.py); on demand it fails as networks and proxies do.
"""

import base64
import contextlib
import itertools
import json
import os
import socket
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "inventory-token-of-a-test"
UID = "0c9bd5a4-7b1e-4d5e-9a52-3f6b43a5c0de"
VERSIONS = {
    "services": "v1",
    "nodes": "v1",
    "pods": "v1",
    "deployments": "apps/v1",
    "statefulsets": "apps/v1",
    "daemonsets": "apps/v1",
    "jobs": "batch/v1",
    "cronjobs": "batch/v1",
}
KINDS = {
    "services": "Service",
    "nodes": "Node",
    "pods": "Pod",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
}
LOGIN_PAGE = "<!DOCTYPE html><html><title>Log in</title><form action='/login'><input name='password'></form></html>"


class Fault:
    """What becomes of an answer.

    Attributes:
        kind: status, truncate, hang, drop, html, empty, redirect or text.
        page: number of the page of a list, from 1; None for each.
        value: the status; or the number of bytes that are sent before the answer breaks off; or the body.
    """

    def __init__(self, kind, page=None, value=None):
        self.kind, self.page, self.value = kind, page, value


class KubernetesApi:
    """The server.

    Attributes:
        objects: those of a resource, in any order; a list holds them by namespace and name.
        versions: group and version under which a resource is found; one that is missing is not there.
        tokens, forbidden: who gets in, and what nobody may list.
        faults: by resource; "namespaces" is the question that comes first.
        requests: method and address of all that were asked.
        compactions: how many more continuations of a resource have expired.
    """

    def __init__(self, certificate=None):
        self.objects = {name: [] for name in VERSIONS}
        self.versions = dict(VERSIONS)
        self.tokens = {TOKEN}
        self.forbidden = set()
        self.faults = {}
        self.requests = []
        self.compactions = {}
        self.uid = UID
        self._kept = {}
        self._numbers = itertools.count(1)
        self._ending = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # Without the handshake, which would keep everybody else waiting.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.address = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self):
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self):
        """Say nothing more, until the server ends."""
        self._ending.wait()

    def answer(self, method, address, headers, body):
        """Status and JSON object, and what goes wrong with them."""
        self.requests.append((method, address))
        url = urllib.parse.urlsplit(address)
        parameters = dict(urllib.parse.parse_qsl(url.query))
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, _status(401, "Unauthorized", "Unauthorized"), None
        if method == "POST" and url.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            asked = json.loads(body)["spec"]["resourceAttributes"]
            return (
                201,
                {"kind": "SelfSubjectAccessReview", "status": {"allowed": asked["resource"] not in self.forbidden}},
                None,
            )
        if url.path == "/api/v1/namespaces/kube-system":
            if "namespaces" in self.forbidden:
                return 403, _forbidden("get", "namespaces"), None
            return (
                200,
                {"kind": "Namespace", "metadata": {"name": "kube-system", "uid": self.uid}},
                self.faults.get("namespaces"),
            )
        return self._list(url.path, parameters)

    def _list(self, path, parameters):
        parts = path.strip("/").split("/")
        root, rest = ("/".join(parts[1:3]), parts[3:]) if parts[0] == "apis" else (parts[1], parts[2:])
        namespace = rest[1] if len(rest) == 3 and rest[0] == "namespaces" else None
        resource = rest[-1] if rest else ""
        if resource in self.forbidden:
            return 403, _forbidden("list", resource), None
        if self.versions.get(resource) != root:
            return 404, _status(404, "NotFound", "the server could not find the requested resource"), None
        limit = int(parameters.get("limit", 0))
        if "continue" in parameters:
            number, start = json.loads(base64.urlsafe_b64decode(parameters["continue"]))
            if self.compactions.get(resource, 0) > 0:
                self.compactions[resource] -= 1
                # With a way to go on in another state of the cluster, as the real one.
                return 410, _status(410, "Expired", "expired", {"continue": self.continuation(number, start)}), None
            items = self._kept[number]
        else:
            items = [each for each in self.objects[resource] if namespace is None or _place(each)[0] == namespace]
            items = sorted(items, key=_place)
            number, start = next(self._numbers), 0
            self._kept[number] = items
        page = items[start : start + limit] if limit else items
        more = start + len(page) < len(items)
        metadata = {
            "resourceVersion": str(number),
            **({"continue": self.continuation(number, start + limit)} if more else {}),
        }
        fault = self.faults.get(resource)
        if fault and fault.page not in (None, start // max(limit, 1) + 1):
            fault = None
        answer = {"kind": f"{KINDS[resource]}List", "apiVersion": root, "metadata": metadata, "items": page or None}
        return 200, answer, fault

    @staticmethod
    def continuation(number, start):
        return base64.urlsafe_b64encode(json.dumps([number, start]).encode()).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that goes away, or does not trust the certificate, is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Many small answers one after the other: Nagle's algorithm would hold each back.
    disable_nagle_algorithm = True

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, request=b""):
        with contextlib.suppress(OSError):
            status, answer, fault = self.server.api.answer(self.command, self.path, self.headers, request)
            kind = fault.kind if fault else None
            if kind == "status":
                status, answer = fault.value, _status(fault.value, "InternalError", "etcdserver: leader changed")
            elif kind == "empty":
                answer = {**answer, "metadata": {}, "items": []}
            body, content_type = json.dumps(answer).encode(), "application/json"
            if kind == "html":
                body, content_type = LOGIN_PAGE.encode(), "text/html; charset=utf-8"
            elif kind == "text":
                body = fault.value
            self.send_response(302 if kind == "redirect" else status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if kind == "redirect":
                self.send_header("Location", fault.value)
            if kind in ("truncate", "drop", "hang"):
                self.end_headers()
                self.wfile.write(body[: fault.value])
                self.wfile.flush()
                if kind == "hang":
                    self.server.api.wait()
                elif kind == "drop":
                    # A reset instead of an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    os.close(self.connection.detach())
                self.close_connection = True
                return
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _place(item):
    metadata = item.get("metadata") if isinstance(item, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _status(code, reason, message, metadata=None):
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": metadata or {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _forbidden(verb, resource):
    return _status(403, "Forbidden", f'{resource} is forbidden: User "inventory" cannot {verb} resource "{resource}"')
