"""Faults of all kinds on the way from a Kubernetes cluster into the database: nothing that is there may count as gone, and what is gone must."""

import contextlib
import os
import random
import re
import socket
import subprocess

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors import kubernetes
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.kubernetes_objects import (
    Mapper,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.runs import begin_run, fail_run
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (
    FetchError,
    Listing,
    Snapshot,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sync import sync
from any_kubernetes_objects import ANYTHING, OBJECTS
from attack_seed import attack_seed
from certificates import Authority
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inventory_lab import register
from kubernetes_api import KINDS, TOKEN, Fault, KubernetesApi
from kubernetes_samples import CANARIES, sample_objects, served
from library_client import client_of

FAULTS = int(os.environ.get("MISSION_CONTROL_ATTACK_FAULTS", "1000"))
PAGE = 5
NUMBERS = {**dict.fromkeys(KINDS, 7), "deployments": 12, "pods": 22}
TABLES = {"services": "services", "nodes": "hosts"}
# What the server may do to one list, by name, with what the run says of it then.
OF_A_LIST = {
    "500 on the second page": (lambda bytes_sent: Fault("status", 2, 500), "the server answers 500"),
    "401 on the second page": (lambda bytes_sent: Fault("status", 2, 401), "the server refuses the login"),
    "truncated": (
        lambda bytes_sent: Fault("truncate", None, bytes_sent),
        "the connection broke off|Connection reset",
    ),
    "cut": (lambda bytes_sent: Fault("drop", None, bytes_sent), "the connection broke off|Connection reset"),
    "empty": (lambda bytes_sent: Fault("empty"), "would mark .* as gone"),
    "login page": (lambda bytes_sent: Fault("html"), "text/html and no JSON"),
    "redirect": (lambda bytes_sent: Fault("redirect", None, "/login"), "redirects to another address"),
    "hang": (lambda bytes_sent: Fault("hang", 2, bytes_sent), "the rest did not come in time"),
    "403": (None, r"may not list {} \(403\): apply files/inventory/kubernetes-reader.yml"),
    "410": (None, "expired 3 times"),
    "not there": (None, "no such list"),
}
# What keeps everything from being asked.
OF_ALL = {
    "dead": "Connection refused",
    "wrong certificate": "its certificate is not trusted",
    "DNS gone": "Name or service not known",
    "401": "the server refuses the login",
    "login page for everything": "text/html and no JSON",
    "no right to see the cluster": "does not let this login get the namespace kube-system",
}


def key(resource, item):
    name, namespace = item["metadata"]["name"], item["metadata"].get("namespace")
    if resource == "services":
        return f"{namespace}/{name}"
    return f"node/{name}" if resource == "nodes" else f"{KINDS[resource].lower()}/{namespace}/{name}"


class Campaign:
    """A cluster of which objects come and go, a database, and what the database must hold."""

    def __init__(self, api, authority, other_authority, database, numbers):
        self.api, self.random = api, numbers
        self.options = {"server": api.address, "ca_certificate": authority.path.read_text(), "page_size": PAGE}
        self.other = other_authority.path.read_text()
        self.client = client_of(database)
        self.session = database.session("application")
        register(self.session, "home")
        for resource, number in NUMBERS.items():
            for index in range(number):
                self.add(resource, index)
        self.next = 1000
        self.removed = {}
        self.wrongly_gone, self.missed = [], []

    def add(self, resource, index):
        place = {} if resource == "nodes" else {"namespace": f"team-{index % 3}"}
        made = served(
            {resource: [{"metadata": {"name": f"{resource}-{index}", **place}, "spec": {}, "status": {}}]}, f"u{index}"
        )
        self.api.objects[resource] = [*self.api.objects[resource], *made[resource]]

    def replace_one(self, resource):
        """Remove an object of a list, and add another one. Returns the identifier of what is gone."""
        items = list(self.api.objects[resource])
        gone = items.pop(self.random.randrange(len(items)))
        self.api.objects[resource] = items
        self.next += 1
        self.add(resource, self.next)
        return key(resource, gone)

    def there(self, resource):
        return {key(resource, each) for each in self.api.objects[resource]}

    def live(self):
        """Identifiers of the rows that are not gone, by resource."""
        found = {}
        for resource in KINDS:
            table = TABLES.get(resource, "workloads")
            condition = "" if resource == "services" else f"AND type = 'k8s-{KINDS[resource].lower()}'"
            found[resource] = set(
                self.session.values(
                    f"SELECT external_id FROM {table} WHERE source = 'home' AND gone_at IS NULL {condition}"
                )
            )
        return found

    def fetch_and_sync(self, secrets=None, **options):
        """The error of the run, and the resources of which the list was complete."""
        observed_at = self.session.value("SELECT clock_timestamp()")
        run_id = begin_run(self.client, "home")
        try:
            snapshot = kubernetes.fetch(
                "home", None, {**self.options, **options}, secrets or {"token": TOKEN}, observed_at, lambda *_: None
            )
        except FetchError as error:
            fail_run(self.client, run_id, str(error))
            complete = set()
        else:
            sync(self.client, snapshot, task_run_id=run_id)
            pairs = zip(kubernetes.RESOURCES, snapshot.listings)
            complete = {each.name for each, listing in pairs if listing.problem is None and listing.rows}
        run = self.session.row("SELECT status, error FROM task_runs WHERE id = %s", str(run_id))
        assert run["status"] == ("failed" if run["error"] else "succeeded")
        return run["error"], complete

    def compare(self, before, complete):
        """Note what is gone in the database and not at the source, and what is gone at the source and not in the database."""
        now = self.live()
        for resource in KINDS:
            there = self.there(resource)
            if resource in complete:
                self.missed += sorted(now[resource] ^ there)
            self.wrongly_gone += sorted((before[resource] - now[resource]) & there)
            if resource not in complete:
                self.wrongly_gone += sorted(before[resource] - now[resource])

    def clean(self):
        self.api.faults.clear()
        self.api.forbidden.clear()
        self.api.compactions.clear()
        self.api.versions.update(self.versions)

    def round_of_a_list(self, name):
        faulty, sound = self.random.sample(sorted(KINDS), 2)
        gone = self.replace_one(sound)
        before = self.live()
        make, said = OF_A_LIST[name]
        if make:
            self.api.faults[faulty] = make(self.random.choice([0, 1, 20, 100, 300]))
        elif name == "403":
            self.api.forbidden.add(faulty)
        elif name == "410":
            self.api.compactions[faulty] = 100
        else:
            del self.api.versions[faulty]
        error, complete = self.fetch_and_sync(timeout=1 if name == "hang" else 30)
        self.clean()
        self.compare(before, complete)
        assert re.search(said.format(faulty), error or ""), (name, faulty, error)
        kind = f"k8s-{KINDS[faulty].lower()}" if faulty != "services" else "services"
        assert f"the {faulty} " in f"{error.lower()} " or kind in error, (name, faulty, error)
        assert faulty not in complete
        assert sound in complete
        assert gone not in self.live()[sound]

    def round_of_all(self, name):
        sound = self.random.choice(sorted(KINDS))
        gone = self.replace_one(sound)
        before = self.live()
        secrets, options = None, {}
        if name == "dead":
            with socket.create_server(("127.0.0.1", 0)) as server:
                options["server"] = f"https://127.0.0.1:{server.getsockname()[1]}"
        elif name == "wrong certificate":
            options["ca_certificate"] = self.other
        elif name == "DNS gone":
            options["server"] = "https://kubernetes.invalid:6443"
        elif name == "401":
            secrets = {"token": "expired"}
        elif name == "no right to see the cluster":
            self.api.forbidden.add("namespaces")
        else:
            self.api.faults["namespaces"] = Fault("html")
        error, complete = self.fetch_and_sync(secrets, **options)
        self.clean()
        assert (complete, self.live()) == (set(), before)
        assert OF_ALL[name] in error, (name, error)
        assert options.get("server", self.api.address) in error
        # Nothing was listed; what is gone is told by the next run.
        self.sound_round(before)
        assert gone not in self.live()[sound]

    def sound_round(self, before):
        error, complete = self.fetch_and_sync()
        assert (error, complete) == (None, set(KINDS))
        self.compare(before, complete)


@pytest.fixture
def campaign(database, tmp_path):
    seed = attack_seed()
    authority = Authority(tmp_path, "cluster")
    with contextlib.closing(KubernetesApi(authority.issue("server", "127.0.0.1"))) as api:
        made = Campaign(api, authority, Authority(tmp_path, "other"), database, random.Random(seed))
        made.versions = dict(api.versions)
        with made.client:
            made.sound_round(made.live())
            yield made


def test_no_secret_of_the_objects_is_in_a_dump_of_the_database(campaign, database):
    campaign.api.objects.update(served(sample_objects()))
    planted = [each for each in CANARIES if each in repr(campaign.api.objects)]
    assert len(planted) > 100
    # All other objects are gone, which nobody would believe.
    error, complete = campaign.fetch_and_sync()
    assert ("would mark" in error, len(complete)) == (True, len(KINDS))
    dump = subprocess.run(
        [f"{database.cluster.bindir}/pg_dump", *dump_options(database)], check=True, capture_output=True, text=True
    ).stdout
    assert "deployment/media/web" in dump
    assert [each for each in planted if each in dump] == []


def dump_options(database):
    return [
        f"--host={database.cluster.socket_directory}",
        f"--port={database.cluster.port}",
        "--username=postgres",
        database.name,
    ]


# 25 and more in each example: 10,000 objects in all.
@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(ANYTHING | OBJECTS, min_size=25, max_size=30), st.sampled_from(kubernetes.RESOURCES))
def test_no_object_whatever_it_holds_fails_a_sync(campaign, found, resource):
    rows, skipped = {}, []
    mapper = Mapper(None, ("*",), system_services=True, services_complete=True)
    sound = {"metadata": {"name": "sound", "namespace": "team"}}
    kubernetes.add_rows([*found, sound], resource, mapper, rows, skipped)
    listing = Listing(resource.kind, resource.types, tuple(rows.values()), None, tuple(skipped))
    observed_at = campaign.session.value("SELECT clock_timestamp()")
    snapshot = Snapshot("home", "kubernetes", campaign.api.uid, None, observed_at, (listing,))
    result = sync(campaign.client, snapshot, accept_disappearance=True)
    assert (result.outcome, result.error) == ("succeeded", None)
    assert resource.external_id(sound) in campaign.live()[resource.name]


def test_no_fault_lets_anything_count_as_gone_that_is_there(campaign):
    rounds = [*OF_A_LIST, *OF_ALL]
    for number in range(FAULTS):
        name = rounds[number % len(rounds)]
        if name in OF_A_LIST:
            campaign.round_of_a_list(name)
        else:
            campaign.round_of_all(name)
        assert (campaign.wrongly_gone, campaign.missed) == ([], []), name
    campaign.sound_round(campaign.live())
    assert (campaign.wrongly_gone, campaign.missed) == ([], [])
    failed = campaign.session.values("SELECT error FROM task_runs WHERE status = 'failed'")
    assert len(failed) == FAULTS
    assert [each for each in failed if TOKEN in each] == []
