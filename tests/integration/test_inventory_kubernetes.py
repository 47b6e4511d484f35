"""Fetching from a Kubernetes API server: pages, versions, logins, and what goes wrong on the way."""

import base64
import contextlib
import datetime
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from certificates import Authority
from kubernetes_api import TOKEN, UID, VERSIONS, Fault, KubernetesApi
from kubernetes_samples import CANARIES, sample_objects, served
from mission_control.inventory.connectors import kubernetes
from mission_control.inventory.snapshot import FetchError

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
MANIFEST = Path(__file__).parents[2] / kubernetes.MANIFEST


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "cluster")


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("server", "127.0.0.1")


@pytest.fixture
def api(certificate):
    with contextlib.closing(KubernetesApi(certificate)) as server:
        server.objects.update(served(sample_objects()))
        yield server


@pytest.fixture
def options(api, authority):
    return {"server": api.address, "ca_certificate": authority.path.read_text(), "page_size": 2, "timeout": 5}


def fetch(options, secrets=None, progress=lambda *_: None):
    secrets = secrets or {"token": TOKEN}
    assert kubernetes.check(options, secrets) == []
    return kubernetes.fetch("home", "attic", options, secrets, NOW, progress)


def by_type(snapshot):
    return {listing.types[0] if listing.types else "services": listing for listing in snapshot.listings}


def refusal(options, secrets=None):
    with pytest.raises(FetchError) as caught:
        fetch(options, secrets)
    sentence = str(caught.value)
    assert TOKEN not in sentence
    return sentence


def kubeconfig(api, authority, cluster=None, user=None):
    ca = base64.b64encode(authority.path.read_bytes()).decode()
    return {
        "kubeconfig": yaml.safe_dump(
            {
                "current-context": "home",
                "contexts": [{"name": "home", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {"name": "c", "cluster": cluster or {"server": api.address, "certificate-authority-data": ca}}
                ],
                "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
            }
        )
    }


def test_everything_that_a_cluster_lists(options):
    seen = []
    snapshot = fetch(options, progress=lambda *each: seen.append(each))
    assert (snapshot.source, snapshot.connector, snapshot.identity, snapshot.cluster) == (
        "home",
        "kubernetes",
        UID,
        "attic",
    )
    assert snapshot.observed_at == NOW
    found = {
        name: {row.external_id: getattr(row, "status", None) for row in listing.rows}
        for name, listing in by_type(snapshot).items()
    }
    assert found == {
        "services": dict.fromkeys(("blog/web", "blog/web-headless", "blog/outside", "media/web")),
        "k8s-node": {"node/node-a": "online", "node/node-b": "offline", "node/node-c": "degraded"},
        "k8s-deployment": {
            "deployment/blog/web": "running",
            "deployment/blog/draft": "stopped",
            "deployment/media/web": "failed",
        },
        "k8s-statefulset": {"statefulset/blog/db": "pending"},
        "k8s-daemonset": {"daemonset/media/logs": "running"},
        "k8s-job": {"job/media/import": "running"},
        "k8s-cronjob": {"cronjob/blog/nightly": "failed"},
        "k8s-pod": {
            "pod/blog/web-1": "running",
            "pod/blog/web-2": "failed",
            "pod/blog/db-0": "pending",
            "pod/media/web-1": "failed",
        },
    }
    assert [listing.problem for listing in snapshot.listings] == [None] * 8
    links = {row.external_id: (row.host, row.service) for row in by_type(snapshot)["k8s-pod"].rows}
    assert links["pod/blog/web-1"] == ("node/node-a", "blog/web")
    assert links["pod/media/web-1"] == ("node/node-a", "media/web")
    assert links["pod/blog/db-0"] == (None, None)
    assert seen[0] == ("services", 2)
    assert seen[-1] == ("pods", 4)


def test_nothing_secret_of_the_objects_is_in_a_snapshot(options):
    text = repr(fetch(options))
    assert "blog/web" in text
    assert [each for each in CANARIES if each in text] == []


def test_a_kubeconfig_gives_the_same_and_leaves_nothing_on_the_disk(api, authority, options, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    certificate, key = (base64.b64encode(path.read_bytes()).decode() for path in authority.issue("reader", "reader"))
    user = {"token": TOKEN, "client-certificate-data": certificate, "client-key-data": key}
    assert fetch({"page_size": 2}, kubeconfig(api, authority, user=user)) == fetch(options)
    assert list(tmp_path.iterdir()) == []


def test_the_chosen_namespaces_alone(api, options):
    found = by_type(fetch({**options, "namespaces": ["media", "nowhere"]}))
    assert {row.external_id for row in found["k8s-pod"].rows} == {"pod/media/web-1"}
    assert {row.external_id for row in found["services"].rows} == {"media/web"}
    assert len(found["k8s-node"].rows) == 3
    assert not [address for _, address in api.requests if address.startswith("/api/v1/pods")]


def test_cron_jobs_of_an_older_server(api, options):
    api.versions["cronjobs"] = "batch/v1beta1"
    listing = by_type(fetch(options))["k8s-cronjob"]
    assert ([row.name for row in listing.rows], listing.problem) == (["nightly"], None)


def test_a_server_without_a_list_has_not_listed_it(api, options):
    del api.versions["cronjobs"]
    listing = by_type(fetch(options))["k8s-cronjob"]
    assert listing.problem == "The cronjobs were not listed: the server has no such list (404)."


@pytest.mark.parametrize("expired", [1, 2])
def test_a_list_that_expires_is_read_again_from_its_start(api, options, expired):
    api.compactions["pods"] = expired
    listing = by_type(fetch(options))["k8s-pod"]
    assert (len(listing.rows), listing.problem) == (4, None)
    asked = [address for _, address in api.requests if address.startswith("/api/v1/pods")]
    # 3 pages, and each time the first two again; never the continuation that comes with the refusal.
    assert len(asked) == 3 + 2 * expired
    assert sum("continue" not in address for address in asked) == 1 + expired


def test_a_list_that_expires_again_and_again_is_not_complete(api, options):
    api.compactions["pods"] = 100
    found = by_type(fetch(options))
    assert found["k8s-pod"].problem == (
        "Only 2 of the pods were listed: the list expired 3 times before its last page (410), so give the source a larger page_size."
    )
    assert found["k8s-deployment"].problem is None


PAGE_WITHOUT_END = json.dumps(
    {"kind": "PodList", "metadata": {"continue": KubernetesApi.continuation(1, 2)}, "items": []}
).encode()
ONLY = "Only 2 of the pods were listed: "


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Fault("status", 1, 500), "The pods were not listed: the server answers 500 InternalError."),
        (Fault("status", 2, 500), f"{ONLY}the server answers 500 InternalError."),
        (
            Fault("status", 2, 401),
            f"{ONLY}the server refuses the login (401), so give the source a valid token or kubeconfig.",
        ),
        (Fault("truncate", 2, 200), f"{ONLY}the connection broke off."),
        (Fault("truncate", 2, 0), f"{ONLY}the connection broke off."),
        (Fault("html", 2), f"{ONLY}the answer is text/html and no JSON, as from a page where one logs in."),
        (Fault("text", 2, b'{"kind": "PodList", "items": ['), f"{ONLY}the answer breaks off or is no JSON."),
        (Fault("text", 2, b"[" * 100_000), f"{ONLY}the answer breaks off or is no JSON."),
        (Fault("text", 2, b"[]"), f"{ONLY}the answer is JSON, but no object."),
        (Fault("text", 2, b"{}"), f"{ONLY}the answer is JSON, but no PodList."),
        (Fault("text", 2, b'{"kind": "PodList", "metadata": {}}'), f"{ONLY}the answer is JSON, but no PodList."),
        (
            Fault("text", 2, b'{"kind": "ServiceList", "metadata": {}, "items": []}'),
            f"{ONLY}the answer is JSON, but no PodList.",
        ),
        (
            Fault("text", None, PAGE_WITHOUT_END),
            "The pods were not listed: the server does not say where the next page begins.",
        ),
        (Fault("text", 2, b'{"items": "\xff\xfe\xed\xa0\x80"}'), f"{ONLY}the answer is JSON, but no PodList."),
        (
            Fault("redirect", 2, "/login"),
            f"{ONLY}the server redirects to another address (302), which is not followed.",
        ),
    ],
)
def test_a_fault_in_one_list_is_said_and_the_others_go_on(api, options, fault, problem):
    api.faults["pods"] = fault
    found = by_type(fetch(options))
    assert found["k8s-pod"].problem == problem
    assert [name for name, listing in found.items() if listing.problem] == ["k8s-pod"]


def test_a_connection_that_is_cut(api, options):
    api.faults["pods"] = Fault("drop", 2, 200)
    problem = by_type(fetch(options))["k8s-pod"].problem
    # As the answer or the reset comes first.
    assert problem in (f"{ONLY}the connection broke off.", f"{ONLY}Connection reset by peer.")


@pytest.mark.parametrize("sent", [0, 300])
def test_a_server_that_stops_in_the_middle_of_an_answer(api, options, sent):
    api.faults["pods"] = Fault("hang", 2, sent)
    assert by_type(fetch({**options, "timeout": 1}))["k8s-pod"].problem == f"{ONLY}the rest did not come in time."


def test_a_list_may_be_empty(api, options):
    api.objects["pods"] = []
    listing = by_type(fetch(options))["k8s-pod"]
    assert (listing.rows, listing.problem) == ((), None)


def test_a_list_of_which_one_object_is_none(api, options):
    api.objects["pods"] += [None, "pod", {"metadata": None}, {"metadata": {"name": "a", "namespace": "\ud800"}}]
    listing = by_type(fetch(options))["k8s-pod"]
    assert (len(listing.rows), len(listing.skipped), listing.problem) == (4, 4, None)


def test_a_list_that_the_login_may_not_see_is_named_with_its_cure(api, options):
    api.forbidden.add("pods")
    found = by_type(fetch(options))
    assert found["k8s-pod"].problem == (
        "The pods were not listed: the login may not list pods (403): "
        "apply files/inventory/kubernetes-reader.yml, whose ClusterRole mission-control-inventory allows it."
    )
    assert [name for name, listing in found.items() if listing.problem] == ["k8s-pod"]


def test_preflight_names_each_right_that_is_missing(api, options):
    assert kubernetes.preflight(options, {"token": TOKEN}) == []
    api.forbidden |= {"namespaces", "cronjobs"}
    cure = "apply files/inventory/kubernetes-reader.yml, whose ClusterRole mission-control-inventory allows it."
    assert kubernetes.preflight({**options, "namespaces": ["blog"]}, {"token": TOKEN}) == [
        f"The login may not get the namespace kube-system: {cure}",
        f"The login may not list cronjobs in the namespace blog: {cure}",
    ]
    with pytest.raises(FetchError, match=r"does not say what the login may: the server refuses the login \(401\)"):
        kubernetes.preflight(options, {"token": "wrong"})


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_source_that_cannot_be_asked_is_named_with_the_cause(api, options, authority, tmp_path):
    cannot = f"The API server {api.address} cannot be asked: "
    assert refusal(options, {"token": "wrong"}) == (
        f"{cannot}the server refuses the login (401), so give the source a valid token or kubeconfig."
    )
    other = Authority(tmp_path, "other").path.read_text()
    assert refusal({**options, "ca_certificate": other}).startswith(f"{cannot}its certificate is not trusted, ")
    name = api.address.replace("127.0.0.1", "localhost")
    # As Python says it, and urllib3 1.
    assert re.search("its certificate is not trusted, |doesn't match '127.0.0.1'", refusal({**options, "server": name}))
    dead = f"https://127.0.0.1:{free_port()}"
    assert refusal({**options, "server": dead}) == f"The API server {dead} cannot be asked: Connection refused."
    unknown = "https://kubernetes.invalid:6443"
    assert refusal({**options, "server": unknown}) == (
        f"The API server {unknown} cannot be asked: Name or service not known."
    )
    api.faults["namespaces"] = Fault("html")
    assert refusal(options) == f"{cannot}the answer is text/html and no JSON, as from a page where one logs in."
    api.faults["namespaces"] = Fault("text", None, b'{"metadata": {}}')
    assert refusal(options) == f"The API server {api.address} does not tell the UID of the namespace kube-system."
    api.forbidden.add("namespaces")
    assert refusal(options) == (
        f"The API server {api.address} does not let this login get the namespace kube-system, by which a cluster is recognised (403): "
        "apply files/inventory/kubernetes-reader.yml, whose ClusterRole mission-control-inventory allows it."
    )


def test_a_token_is_not_sent_where_a_redirect_or_the_environment_points(api, options, certificate, monkeypatch):
    with contextlib.closing(KubernetesApi(certificate)) as elsewhere:
        api.faults["pods"] = Fault("redirect", None, f"{elsewhere.address}/api/v1/pods")
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.address)
        found = by_type(fetch(options))
        assert [name for name, listing in found.items() if listing.problem] == ["k8s-pod"]
        assert elsewhere.requests == []


def test_a_proxy_is_used_where_the_source_names_one(options):
    proxy = f"http://127.0.0.1:{free_port()}"
    assert "cannot be asked: Connection refused" in refusal({**options, "proxy": proxy})


def test_a_kubeconfig_runs_no_program_unless_that_is_allowed(api, authority, tmp_path):
    ran = tmp_path / "ran"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": TOKEN},
    }
    program = f"import json, pathlib; pathlib.Path({str(ran)!r}).touch(); print(json.dumps({credential!r}))"
    entry = {
        "apiVersion": credential["apiVersion"],
        "command": sys.executable,
        "args": ["-c", program],
        "interactiveMode": "Never",
    }
    secrets = kubeconfig(api, authority, user={"exec": entry})
    assert refusal({}, secrets) == (
        "The kubeconfig has exec, which runs a program at each fetch: give the source the token of a service account, "
        "or the option allow_programs."
    )
    assert not ran.exists()
    assert len(fetch({"allow_programs": True}, secrets).listings) == 8
    assert ran.exists()


@pytest.mark.parametrize(
    ("cluster", "user", "options", "sentence"),
    [
        (
            {"insecure-skip-tls-verify": True},
            None,
            {},
            "The kubeconfig has insecure-skip-tls-verify, with which the login could be sent to anybody: "
            "give it certificate-authority-data, or the source the option allow_unverified_server.",
        ),
        (
            {"server": "http://127.0.0.1"},
            None,
            {},
            "The server in the kubeconfig is not reached by https://: change it, or give the source the option allow_unverified_server.",
        ),
        (
            {"server": 5},
            None,
            {},
            "The server in the kubeconfig is not an address such as https://kubernetes.example.org:6443.",
        ),
        (
            {"certificate-authority": "/etc/shadow"},
            None,
            {},
            "The kubeconfig names a file by certificate-authority, which is not read: "
            "write one that holds everything with 'kubectl config view --flatten --minify --raw'.",
        ),
        (
            {"certificate-authority-data": "%"},
            None,
            {},
            "The kubeconfig's certificate-authority-data is no certificate or key in base64.",
        ),
        (
            {},
            {"auth-provider": {"name": "gcp"}},
            {},
            "The kubeconfig has auth-provider, which runs a program at each fetch: give the source the token of a service account, "
            "or the option allow_programs.",
        ),
        ({}, None, {"context": "hom"}, "The kubeconfig has no context 'hom'; did you mean 'home'?"),
    ],
)
def test_a_kubeconfig_that_is_refused(api, authority, cluster, user, options, sentence):
    secrets = kubeconfig(api, authority, {"server": api.address, **cluster}, user)
    assert refusal(options, secrets) == sentence
    assert api.requests == []


@pytest.mark.parametrize("text", ["", "a: [", "just text", "[]", "current-context: x", "\0", "{" * 5000])
def test_a_kubeconfig_that_is_none(text):
    assert refusal({}, {"kubeconfig": text}).startswith("The kubeconfig ")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_an_unverified_server_is_asked_where_that_is_allowed(api, authority):
    secrets = kubeconfig(api, authority, {"server": api.address, "insecure-skip-tls-verify": True})
    assert fetch({"allow_unverified_server": True}, secrets).identity == UID


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "schlüssel", "a\0"])
def test_a_token_that_is_none_is_refused_and_not_shown(options, token):
    assert refusal(options, {"token": token}) == (
        f"The token for {options['server']} is empty, or holds a character that no token has."
    )


def test_the_rights_that_are_shipped_are_those_that_are_used(api, options):
    fetch({**options, "page_size": 5000})
    asked = {re.sub(r"\?.*", "", address).rpartition("/")[2] for _, address in api.requests} - {"kube-system"}
    assert asked == set(VERSIONS)
    documents = yaml.safe_load(MANIFEST.read_text())["items"]
    role = next(each for each in documents if each["kind"] == "ClusterRole")
    listed = {
        (group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if rule["verbs"] == ["list"] and "resourceNames" not in rule
    }
    assert listed == {(each.group, each.name) for each in kubernetes.RESOURCES}
    assert [rule for rule in role["rules"] if rule["verbs"] != ["list"]] == [
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}
    ]
    assert role["metadata"]["name"] == kubernetes.CLUSTER_ROLE


def test_the_library_is_imported_only_when_something_is_fetched():
    program = (
        "import sys; import mission_control.inventory.connectors.kubernetes; print(json.dumps(sorted(sys.modules)))"
    )
    packages = Path(__file__).parents[1] / "packages"
    output = subprocess.run(
        [sys.executable, "-c", f"import json; {program}"], cwd=packages, capture_output=True, text=True, check=True
    ).stdout
    assert not {"kubernetes", "urllib3", "yaml"} & set(json.loads(output))
