"""The Kubernetes connector against a real API server, version 1.20, and what the server of the everyday tests has to do with it."""

import base64
import contextlib
import dataclasses
import datetime
import re
import shlex
from pathlib import Path

import pytest
from kubernetes_api import TOKEN, KubernetesApi
from kubernetes_samples import CANARIES, NAMESPACES, sample_objects, served
from kubernetes_server import ADMINISTRATOR, STRANGER, KubernetesServer, path_of
from mission_control.inventory.connectors import kubernetes
from mission_control.inventory.snapshot import FetchError
from processes import wait_for

ROOT = Path(__file__).parents[2]
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/mission-control-inventory"


@pytest.fixture(scope="module")
def server():
    with KubernetesServer() as running:
        running.load(sample_objects())
        yield running


@pytest.fixture(scope="module")
def token(server):
    """Of the service account that the shipped manifest makes, applied as a person would."""
    server.kubectl("apply", "--filename", str(ROOT / kubernetes.MANIFEST))
    account = "/api/v1/namespaces/mission-control/serviceaccounts/mission-control-inventory/token"
    _, answer = server.ask("POST", account, {"spec": {}})
    made = answer["status"]["token"]
    wait_for(lambda: kubernetes.preflight(options_of(server), {"token": made}) == [])
    return made


def options_of(server, **options):
    return {"server": server.address, "ca_certificate": server.ca_certificate, "page_size": 2, **options}


def fetch(server, token, progress=lambda *_: None, **options):
    return kubernetes.fetch("home", "attic", options_of(server, **options), {"token": token}, NOW, progress)


def by_type(snapshot):
    return {listing.types[0] if listing.types else "services": listing for listing in snapshot.listings}


def without_what_a_server_adds(snapshot):
    def row(each):
        metadata = {name: value for name, value in each.metadata.items() if name not in ("uid", "created_at")}
        return dataclasses.replace(each, metadata=metadata)

    return [
        (
            listing.kind,
            listing.types,
            listing.problem,
            listing.skipped,
            sorted(map(row, listing.rows), key=lambda each: each.external_id),
        )
        for listing in snapshot.listings
    ]


def test_the_page_leads_to_a_token_and_an_authority_that_work(server, token, tmp_path):
    # What a controller does, which does not run here.
    data = {"token": token, "ca.crt": server.ca_certificate}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
    secret = "/api/v1/namespaces/mission-control/secrets/mission-control-inventory"
    server.ask("PATCH", secret, {"data": encoded}, content_type="application/merge-patch+json")
    page = (ROOT / "docs/inventory-kubernetes.md").read_text()
    commands = [
        line.strip() for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.strip().splitlines()
    ]
    assert commands.pop(0) == f"kubectl apply -f {kubernetes.MANIFEST}"
    read_token, read_authority, read_address = (server.kubectl(*shlex.split(line)[1:]) for line in commands)
    options = {"server": read_address, "ca_certificate": read_authority}
    assert kubernetes.preflight(options, {"token": read_token}) == []


def test_the_same_objects_give_the_same_snapshot_as_with_the_everyday_server(server, token):
    with contextlib.closing(KubernetesApi()) as everyday:
        everyday.objects.update(served(sample_objects()))
        other = {
            "server": everyday.address,
            "allow_unverified_server": True,
            "page_size": 2,
            "namespaces": list(NAMESPACES),
        }
        expected = kubernetes.fetch("home", "attic", other, {"token": TOKEN}, NOW, lambda *_: None)
    real = fetch(server, token, namespaces=list(NAMESPACES))
    assert [listing.problem for listing in real.listings] == [None] * 8
    assert without_what_a_server_adds(real) == without_what_a_server_adds(expected)
    for listing in real.listings:
        assert len({row.metadata["uid"] for row in listing.rows}) == len(listing.rows) > 0


def test_nothing_secret_of_the_objects_is_in_a_snapshot(server, token):
    _, pods = server.ask("GET", "/api/v1/pods")
    assert any(each in str(pods) for each in CANARIES)
    text = repr(fetch(server, token))
    assert [each for each in CANARIES if each in text] == []


def test_a_kubeconfig_gives_the_same(server, token):
    import yaml

    secrets = {"kubeconfig": yaml.safe_dump(server.kubeconfig(token))}
    assert kubernetes.fetch("home", "attic", {"page_size": 2}, secrets, NOW, lambda *_: None) == fetch(server, token)


def test_pages_of_every_size_give_the_same(server, token):
    expected = fetch(server, token, page_size=500)
    for page_size in (1, 3):
        assert fetch(server, token, page_size=page_size) == expected


def test_a_wrong_token_is_refused(server):
    with pytest.raises(FetchError, match=r"the server refuses the login \(401\)"):
        fetch(server, "wrong")


def test_a_login_without_rights_is_told_what_it_lacks(server, token):
    with pytest.raises(FetchError, match="does not let this login get the namespace kube-system"):
        fetch(server, STRANGER)
    missing = kubernetes.preflight(options_of(server), {"token": STRANGER})
    assert len(missing) == 1 + len(kubernetes.RESOURCES)


def test_one_list_that_the_login_may_not_see(server, token):
    _, role = server.ask("GET", ROLE)
    without = {
        **role,
        "rules": [
            {**rule, "resources": [each for each in rule["resources"] if each != "pods"]} for rule in role["rules"]
        ],
    }
    _, changed = server.ask("PUT", ROLE, without)
    try:
        # The server learns of a role with a delay.
        wait_for(lambda: len(kubernetes.preflight(options_of(server), {"token": token})) == 1)
        assert kubernetes.preflight(options_of(server), {"token": token}) == [
            "The login may not list pods: apply files/inventory/kubernetes-reader.yml, whose ClusterRole mission-control-inventory allows it."
        ]
        found = by_type(fetch(server, token))
        assert found["k8s-pod"].problem == (
            "The pods were not listed: the login may not list pods (403): "
            "apply files/inventory/kubernetes-reader.yml, whose ClusterRole mission-control-inventory allows it."
        )
        assert [name for name, listing in found.items() if listing.problem] == ["k8s-pod"]
    finally:
        server.ask("PUT", ROLE, {**role, "metadata": changed["metadata"]})
        wait_for(lambda: kubernetes.preflight(options_of(server), {"token": token}) == [])


def compacted(server, times):
    """Called with the progress of a fetch: lets the list of pods expire after its first page, so many times."""
    left = [times]

    def progress(name, number):
        if name == "pods" and number == 1 and left[0]:
            left[0] -= 1
            server.compact()

    return progress


def test_a_list_that_expires_between_two_pages_is_read_again_from_its_start(server, token):
    expected = by_type(fetch(server, token))["k8s-pod"]
    assert by_type(fetch(server, token, compacted(server, 2), page_size=1))["k8s-pod"] == expected


def test_a_list_that_expires_again_and_again_is_not_complete(server, token):
    listing = by_type(fetch(server, token, compacted(server, 100), page_size=1))["k8s-pod"]
    assert listing.problem == (
        "Only 1 of the pods were listed: the list expired 3 times before its last page (410), so give the source a larger page_size."
    )


def test_a_deployment_that_was_made_again_is_the_same_row_with_another_uid(server, token):
    draft = next(each for each in sample_objects()["deployments"] if each["metadata"]["name"] == "draft")

    def row():
        rows = by_type(fetch(server, token))["k8s-deployment"].rows
        return next(each for each in rows if each.external_id == "deployment/blog/draft")

    before = row()
    server.delete("deployments", "blog", "draft")
    wait_for(lambda: server.ask("GET", f"{path_of('deployments', 'blog')}/draft", expected=None)[0] == 404)
    server.create("deployments", draft)
    after = row()
    assert after.metadata["uid"] != before.metadata["uid"]
    assert (after.name, after.status) == (before.name, before.status)


def test_the_identity_is_the_clusters_own(server, token):
    _, namespace = server.ask("GET", "/api/v1/namespaces/kube-system")
    assert fetch(server, token).identity == namespace["metadata"]["uid"] == fetch(server, ADMINISTRATOR).identity
