"""HTTP as a program on a test host asks: with the distribution's Python, since a small host has no curl."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import testinfra

CLIENT = """
import http.client, json, sys
request = json.loads(sys.argv[1])
connection = http.client.HTTPConnection(request["address"], request["port"], timeout=30)
try:
    connection.request(request["method"], request["path"], headers=request["headers"])
    answer = connection.getresponse()
    print(json.dumps({"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()}, "text": answer.read().decode()}))
except ConnectionRefusedError:
    print(json.dumps({"status": 0, "headers": {}, "text": "connection refused"}))
"""


@dataclass(frozen=True)
class Answer:
    """What came back; status 0: nobody listens."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class HttpService:
    """A service that listens on a test host, asked from that host."""

    host: testinfra.host.Host
    port: int
    address: str = "127.0.0.1"

    def get(self, path: str, token: str = "", **headers: str) -> Answer:
        return self._ask("GET", path, token, headers)

    def post(self, path: str, token: str = "", **headers: str) -> Answer:
        return self._ask("POST", path, token, headers)

    def _ask(self, method: str, path: str, token: str, headers: dict[str, str]) -> Answer:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = {"address": self.address, "port": self.port, "method": method, "path": path, "headers": headers}
        return Answer(**json.loads(self.host.check_output("python3 -c %s %s", CLIENT, json.dumps(request))))

    def status(self, path: str, token: str = "", **headers: str) -> int:
        return self.get(path, token, **headers).status
