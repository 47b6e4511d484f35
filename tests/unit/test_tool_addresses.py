"""Whatever arguments are let through, each stays where it belongs: one step of a path, one parameter, one expression."""

from __future__ import annotations

import contextlib
import json
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from mission_control.inventory.connectors.kubernetes_api import Api
from mission_control.inventory.connectors.options import with_defaults as with_default_options
from mission_control.tools.connectors import docker, kubernetes, prometheus
from mission_control.tools.connectors.call import Call, CallError
from mission_control.tools.operations import OPERATIONS, call_problems, with_defaults

# Half of them look like what is wanted, so that many are let through.
TEXTS = (
    st.text(max_size=30)
    | st.text("abz019./-_%?#&=!,: ", max_size=12)
    | st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
)
OPTIONS = {
    "kubernetes": {"server": "https://k8s:6443"},
    "docker": {"url": "tcp://localhost:2375"},
    "prometheus": {"url": "https://p:9090"},
}
MODULES = {"kubernetes": kubernetes, "docker": docker, "prometheus": prometheus}


def arguments_of(name):
    known = OPERATIONS[name].arguments
    kinds = {"text": TEXTS, "number": st.integers(-5, 6000), "flag": st.booleans()}
    return st.fixed_dictionaries(
        {each: kinds[argument.type] for each, argument in known.items() if argument.required},
        optional={each: kinds[argument.type] for each, argument in known.items() if not argument.required},
    )


class Recorder:
    """A pool of urllib3, or a session of requests, which answers what is wanted and keeps what it was asked."""

    def __init__(self, container):
        self.asked = []
        self.containers = [{"Id": "a" * 64, "Names": [f"/{container}"]}, {"Id": "b" * 64, "Names": ["/other"]}]
        self.headers = {}

    def request(self, method, url, **more):
        prepared = requests.Request(method, url, data=more.get("data")).prepare()
        self.asked.append((method, url, prepared.body))
        body = (
            b'{"kind": "x", "items": [], "metadata": {}}'
            if "k8s" in url
            else b"[]"
            if "containers/json" in url
            else b'{"data": {}}'
        )
        status = 204 if url.partition("?")[0].endswith("/restart") else 200
        answer = SimpleNamespace(
            status=status,
            status_code=status,
            headers={},
            content=body,
            close=lambda: None,
            reason="",
            iter_content=lambda _size: [b""],
        )
        chunks = iter((body, b""))
        answer.read = lambda _size: next(chunks)
        answer.json = lambda: {"data": {}} if "p:9090" in url else self.containers
        return answer

    def close(self):
        pass


def carry_out(name, arguments, monkeypatched):
    connector, _dot, operation = name.partition(".")
    module = MODULES[connector]
    recorder = Recorder(arguments.get("container"))
    made = Call(
        source="lab",
        options=with_default_options(OPTIONS[connector], module.OPTIONS),
        secrets={},
        arguments=with_defaults(OPERATIONS[name], arguments),
        right="",
        deadline=time.monotonic() + 3000,
        most_bytes=1024,
    )
    api = Api.__new__(Api)
    api.address, api._headers, api._timeout, api._pool = "https://k8s:6443", {}, None, recorder
    monkeypatched(module, api, recorder)
    with contextlib.suppress(CallError):
        module.CALLS[operation](made)
    return recorder.asked


@contextlib.contextmanager
def _patched():
    kept = [(kubernetes, "connected"), (docker, "connected"), (prometheus, "prepare")]
    before = [getattr(module, name) for module, name in kept]
    session = requests.Session

    def patch(_module, api, recorder):
        kubernetes.connected = lambda *_: contextlib.nullcontext(api)
        docker.connected = lambda *_: contextlib.nullcontext((recorder, "http://engine"))
        prometheus.prepare = lambda _session: None
        requests.Session = lambda: recorder

    try:
        yield patch
    finally:
        requests.Session = session
        for (module, name), value in zip(kept, before):
            setattr(module, name, value)


WORDS = {
    "kubernetes.list_deployments": [
        ("apis", "apps", "v1", "deployments"),
        ("apis", "apps", "v1", "namespaces", "{namespace}", "deployments"),
    ],
    "kubernetes.pod_logs": [("api", "v1", "namespaces", "{namespace}", "pods", "{pod}", "log")],
    "kubernetes.restart_deployment": [
        ("apis", "apps", "v1", "namespaces", "{namespace}", "deployments", "{deployment}")
    ],
    "docker.list_containers": [("containers", "json")],
    "docker.container_logs": [("containers", "json"), ("containers", "a" * 64, "logs")],
    "docker.restart_container": [("containers", "json"), ("containers", "a" * 64, "restart")],
    "prometheus.query": [("api", "v1", "query")],
}


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(WORDS)).flatmap(lambda name: st.tuples(st.just(name), arguments_of(name))))
def test_each_argument_stays_where_it_belongs(drawn):
    name, arguments = drawn
    if call_problems(OPERATIONS[name], {"source": "lab", **arguments}):
        return
    with _patched() as patch:
        asked = carry_out(name, arguments, patch)
    assert len(asked) <= 2
    for _method, url, body in asked:
        parts = urlsplit(url)
        assert parts.netloc in ("k8s:6443", "engine", "p:9090")
        assert not parts.fragment
        steps = parts.path.split("/")[1:]
        assert tuple(steps) in [
            tuple(word.format_map({name: str(value) for name, value in arguments.items()}) for word in words)
            for words in WORDS[name]
            if all(word[1:-1] in arguments for word in words if word[0] == "{")
        ]
        assert all(unquote(step) == step and step not in ("", ".", "..") for step in steps)
        query = parse_qs(parts.query, keep_blank_values=True)
        assert set(query) <= {
            "limit",
            "labelSelector",
            "tailLines",
            "container",
            "sinceSeconds",
            "previous",
            "fieldManager",
        } | {*("all", "filters", "stdout", "stderr", "tail", "since", "t")}
        assert all(len(values) == 1 for values in query.values())
        if "filters" in query:
            assert json.loads(query["filters"][0]) == {"name": [arguments["container"]]}
        if "label_selector" in arguments:
            assert query["labelSelector"] == [arguments["label_selector"]]
        if name == "prometheus.query":
            sent = parse_qs(body if isinstance(body, str) else body.decode(), keep_blank_values=True)
            assert set(sent) == {"query", "timeout"}
            assert sent["query"] == [arguments["query"]]
