"""The Proxmox VE connector against a fake of the endpoints that it uses (proxmox_fake.py says how far that goes)."""

import datetime
import re
from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors import http_lists, proxmox
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import FetchError
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.sync import sync
from answering_server import LOGIN_PAGE, Answer, as_json
from inventory_lab import register
from library_client import client_of
from proxmox_fake import TOKEN, ProxmoxFake

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.timezone.utc)
RESOURCES = "/cluster/resources"


@pytest.fixture
def fake(tmp_path):
    with ProxmoxFake(tmp_path) as fake:
        fake.add(101, "web", tags="prod;web", pool="shop", hastate="started")
        fake.add(102, "web", node="pve2", kind="lxc", maxcpu=0.5)
        fake.add(103, "idle", status="stopped")
        fake.add(9000, "debian-template", template=1, status="stopped")
        yield fake


def fetch(fake, token=TOKEN, cluster=None, progress=None, **options):
    return proxmox.fetch(
        "pve",
        cluster,
        {**fake.options, **options},
        {"token": token},
        NOW,
        progress or (lambda what, number: None),
    )


def rows(snapshot, type_):
    """Rows of a type, by external_id."""
    (listing,) = (each for each in snapshot.listings if type_ in each.types)
    assert (listing.problem, listing.skipped) == (None, ())
    return {row.external_id: row for row in listing.rows if row.type == type_}


def problems(snapshot):
    return {each.types: each.problem for each in snapshot.listings if each.problem}


def test_two_requests_tell_nodes_and_guests(fake):
    snapshot = fetch(fake)
    assert fake.asked == ["/cluster/status", RESOURCES]
    assert (snapshot.source, snapshot.connector, snapshot.identity, snapshot.cluster) == (
        "pve",
        "proxmox",
        "home",
        "home",
    )
    assert snapshot.observed_at == NOW
    node = rows(snapshot, "proxmox-node")["node/pve1"]
    assert (node.name, node.status, node.address, node.cluster) == ("pve1", "online", "192.0.2.1", "home")
    assert (node.cpu_cores, node.memory_bytes, node.unknown) == (Decimal(8), 32 * 2**30, ())
    host, workload = rows(snapshot, "vm")["qemu/101"], rows(snapshot, "proxmox-vm")["qemu/101"]
    assert (host.name, host.status, host.cpu_cores, host.memory_bytes) == ("web", "online", Decimal(2), 2 * 2**30)
    assert (workload.name, workload.status, workload.host) == ("web", "running", "node/pve1")
    assert host.labels == workload.labels == {"prod": "true", "web": "true"}
    assert host.metadata == workload.metadata == {"vmid": 101, "pool": "shop", "ha_state": "started"}
    # Two guests have one name, and both are there; a template is no guest.
    assert [each.name for each in rows(snapshot, "lxc-container").values()] == ["web"]
    assert rows(snapshot, "proxmox-lxc")["lxc/102"].host == "node/pve2"
    assert {each: row.status for each, row in rows(snapshot, "proxmox-vm").items()} == {
        "qemu/101": "running",
        "qemu/103": "stopped",
    }


def test_guests_of_a_node_that_is_offline_are_kept(fake):
    before = fetch(fake)
    fake.nodes["pve2"] = False
    snapshot = fetch(fake)
    node = rows(snapshot, "proxmox-node")["node/pve2"]
    assert (node.status, node.cpu_cores, node.memory_bytes) == ("offline", None, None)
    assert node.unknown == ("cpu_cores", "memory_bytes")
    host, workload = rows(snapshot, "lxc-container")["lxc/102"], rows(snapshot, "proxmox-lxc")["lxc/102"]
    assert (host.name, host.status, set(host.unknown)) == (None, "unknown", {"cpu_cores", "memory_bytes", "address"})
    assert (workload.name, workload.status, workload.host) == (None, "unknown", "node/pve2")
    assert rows(snapshot, "vm") == rows(before, "vm")


def changed(before, after):
    """External identifiers of rows that differ, by type."""
    found = {}
    for type_ in ("vm", "lxc-container", "proxmox-vm", "proxmox-lxc"):
        old, new = rows(before, type_), rows(after, type_)
        different = {each for each in {*old, *new} if old.get(each) != new.get(each)}
        if different:
            found[type_] = different
    return found


def test_rename_swap_and_migration_change_the_rows_of_those_guests(fake):
    first = fetch(fake)
    fake.guests[101]["name"], fake.guests[103]["name"] = "idle", "web"
    swapped = fetch(fake)
    assert changed(first, swapped) == {"vm": {"qemu/101", "qemu/103"}, "proxmox-vm": {"qemu/101", "qemu/103"}}
    assert rows(swapped, "vm")["qemu/103"].name == "web"
    fake.guests[101]["node"] = "pve2"
    migrated = fetch(fake)
    assert changed(swapped, migrated) == {"proxmox-vm": {"qemu/101"}}
    assert rows(migrated, "proxmox-vm")["qemu/101"].host == "node/pve2"


def test_a_node_without_a_cluster_is_told_by_its_name_and_its_authority(tmp_path):
    with ProxmoxFake(tmp_path, name=None) as fake:
        del fake.nodes["pve2"]
        snapshot = fetch(fake)
        assert (snapshot.identity, snapshot.cluster) == (f"pve1 {fake.fingerprint}", None)
        assert fetch(fake, cluster="attic").cluster == "attic"
        fake.answers["/nodes/pve1/certificates/info"] = as_json({"data": []})
        with pytest.raises(FetchError, match=r"does not say who it is: .* has no fingerprint of pve-root-ca\.pem\.$"):
            fetch(fake)


def test_running_guests_tell_their_addresses(fake):
    fake.interfaces[101] = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}]},
        {"name": "eth0", "ip-addresses": [{"ip-address": "192.0.2.101"}]},
    ]
    fake.interfaces[102] = [{"name": "eth0", "hwaddr": "bc:24:11:00:00:02", "inet": "192.0.2.102/24"}]
    fake.add(104, "no-agent")
    fake.add(105, "only-docker", kind="lxc")
    fake.interfaces[105] = [{"name": "docker0", "inet": "172.17.0.1/16"}]
    told = []
    snapshot = fetch(fake, addresses=True, progress=lambda what, number: told.append((what, number)))
    guests = {**rows(snapshot, "vm"), **rows(snapshot, "lxc-container")}
    # One that does not tell its address keeps the stored one; one that has none has none; one that is stopped is not asked.
    assert {each: (row.address, row.unknown) for each, row in guests.items()} == {
        "qemu/101": ("192.0.2.101", ()),
        "lxc/102": ("192.0.2.102", ()),
        "qemu/103": (None, ("address",)),
        "qemu/104": (None, ("address",)),
        "lxc/105": (None, ()),
    }
    assert not any("/103/" in path for path in fake.asked)
    assert told[-1] == ("addresses", 4)


def test_addresses_are_asked_for_within_limits_and_each_guest_has_its_turn(fake, monkeypatch):
    monkeypatch.setattr(proxmox, "MOST_ADDRESSES", 1)
    for vmid in (101, 102):
        fake.interfaces[vmid] = [{"name": "eth0", "inet": f"192.0.2.{vmid}", "ip-addresses": []}]
    asked = set()
    for second in range(2):
        proxmox.fetch(
            "pve",
            None,
            {**fake.options, "addresses": True},
            {"token": TOKEN},
            NOW + datetime.timedelta(seconds=second),
            lambda what, number: None,
        )
        asked.add(fake.asked[-1])
    assert asked == {"/nodes/pve1/qemu/101/agent/network-get-interfaces", "/nodes/pve2/lxc/102/interfaces"}
    monkeypatch.setattr(proxmox, "ADDRESSES_SECONDS", 0)
    fetch(fake, addresses=True)
    assert fake.asked[-1] == RESOURCES


def test_an_empty_list_without_rights_is_no_empty_cluster(fake):
    fake.rights["/vms"] = {}
    fake.rights["/"] = {"Sys.Audit": 1}
    fake.rights["/nodes"] = {}
    snapshot = fetch(fake)
    sentence = (
        "The list of guests is empty, as the API token mission-control@pve!inventory has VM.Audit nowhere: "
        "give it a role with VM.Audit on /vms."
    )
    assert problems(snapshot) == {("vm", "lxc-container"): sentence, ("proxmox-vm", "proxmox-lxc"): sentence}
    # Nodes are listed without rights, too, but without their capacity.
    assert rows(snapshot, "proxmox-node")["node/pve1"].unknown == ("cpu_cores", "memory_bytes")
    fake.answers["/access/permissions"] = as_json({"data": None}, 500)
    assert "is not known" in problems(fetch(fake))["vm", "lxc-container"]


def test_a_cluster_without_guests_is_empty(fake):
    fake.guests.clear()
    snapshot = fetch(fake)
    assert problems(snapshot) == {}
    assert rows(snapshot, "proxmox-vm") == {}


def test_preflight_names_the_rights_that_are_missing(fake):
    def missing(**options):
        sentences = proxmox.preflight({**fake.options, **options}, {"token": TOKEN})
        found = [
            re.match(r"The API token mission-control@pve!inventory lacks (\S+ on /\w*)[: ]", each) for each in sentences
        ]
        return [each.group(1) for each in found]

    assert missing() == []
    assert missing(addresses=True) == ["VM.GuestAgent.Audit on /vms"]
    for right in ("VM.Monitor", "VM.GuestAgent.Audit"):
        fake.rights["/vms"] = {"VM.Audit": 1, right: 1}
        assert missing(addresses=True) == []
    # Rights on the guests of a pool are enough: then those are the guests there are.
    fake.rights = {"/": {"Sys.Audit": 1}, "/pool/shop": {"VM.Audit": 1}}
    assert missing() == []
    fake.rights = {}
    assert missing() == ["Sys.Audit on /", "VM.Audit on /vms"]


def test_a_token_that_is_refused(fake):
    with pytest.raises(FetchError) as refused:
        fetch(fake, token="0" * 8)
    assert str(refused.value) == (
        f"Proxmox VE at {fake.options['url']} answered 401 no such token 'inventory' for user 'mission-control@pve': "
        "the API token mission-control@pve!inventory or its value is wrong, or it has expired."
    )
    with pytest.raises(FetchError, match="answered 401"):
        proxmox.preflight(fake.options, {"token": "0" * 8})
    for token in ("a\r\nX-Header: b", "", "hunter2 \u2603"):
        with pytest.raises(FetchError, match=r"^The secret token holds something that no API token has"):
            fetch(fake, token=token)


def test_a_token_without_the_right_to_the_status(fake):
    fake.rights["/"] = {}
    with pytest.raises(
        FetchError, match=r"answered 403 Permission check failed \(/, Sys.Audit\): .* needs Sys.Audit on /\.$"
    ):
        fetch(fake)


CUT = Answer(b'{"data": [{"type": "qemu", "vmid": 101', missing=100)
FAULTS = {
    "403": (as_json({"data": None}, 403, "Permission check failed"), "answered 403 Permission check failed."),
    "500": (as_json({"data": None}, 500), "answered 500 Internal Server Error."),
    "596": (Answer(b"", 596, reason="Connection timed out"), "answered 596 Connection timed out."),
    "cut": (CUT, None),
    "half": (Answer(b'{"data": ['), "answered 10 bytes that are no JSON (application/json)."),
    "page": (LOGIN_PAGE, f"answered {len(LOGIN_PAGE.body)} bytes that are no JSON (text/html; charset=utf-8)."),
    "elsewhere": (Answer(b"https://127.0.0.1:9/", 302), "answered 302 Found."),
    "no data": (as_json({"errors": {}}), "answered JSON without data."),
    "null": (as_json({"data": None}), "answered JSON of another form."),
    "hang": (Answer(b'{"data": [', missing=100, hangs=True), "could not be read: the rest did not come in time."),
    "silence": (Answer(b"", missing=100, hangs=True), None),
    "deep": (Answer(b"[" * 200_000), "answered 200000 bytes that are no JSON (application/json)."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_list_that_fails_says_why_and_is_no_empty_list(fake, monkeypatch, fault):
    monkeypatch.setattr(http_lists, "READ_SECONDS", 0.3)
    answer, expected = FAULTS[fault]
    fake.answers[RESOURCES] = answer
    found = problems(fetch(fake))
    assert set(found) == {("proxmox-node",), ("vm", "lxc-container"), ("proxmox-vm", "proxmox-lxc")}
    (sentence,) = set(found.values())
    begin = f"The list of nodes and guests (GET {RESOURCES}) of {fake.options['url']} "
    assert sentence.startswith(begin)
    assert sentence.endswith(".")
    if expected:
        assert sentence == begin + expected
    # Who it is cannot be told either: nothing is known of the source.
    fake.answers["/cluster/status"] = answer
    with pytest.raises(FetchError, match=f"^Proxmox VE at {fake.options['url']} "):
        fetch(fake)


def test_a_certificate_of_another_authority_is_not_trusted(fake, tmp_path):
    (tmp_path / "other").mkdir()
    with ProxmoxFake(tmp_path / "other") as other:
        for options in ({"ca_certificate": other.ca_certificate}, {"ca_certificate": None}):
            with pytest.raises(FetchError, match="could not be read: its certificate is not trusted, "):
                fetch(fake, **options)
    assert fake.asked == []


@pytest.mark.parametrize(
    ("url", "cause"),
    [("https://127.0.0.1:9", "Connection refused"), ("https://pve.invalid:8006", "Name or service not known")],
)
def test_a_node_that_is_not_there(fake, url, cause):
    with pytest.raises(FetchError) as refused:
        fetch(fake, url=url)
    assert str(refused.value) == f"Proxmox VE at {url} could not be read: {cause}."


def test_a_certificate_that_is_none_is_a_sentence(fake):
    with pytest.raises(FetchError, match=f"^Proxmox VE at {fake.options['url']} could not be read: "):
        fetch(fake, ca_certificate="no certificate")


def test_each_guest_keeps_its_row(fake, database):
    session = database.session("application")
    register(session, "pve", "proxmox")

    def stored():
        return {
            table: {row["external_id"]: row for row in session.rows(f"SELECT * FROM {table} WHERE source = 'pve'")}
            for table in ("hosts", "workloads")
        }

    def after():
        """The rows after another sync; none is new, and each has the identifier that it had."""
        assert sync(client, fetch(fake)).outcome == "succeeded"
        found = stored()
        for table, rows_ in found.items():
            identifiers = {each: row["id"] for each, row in rows_.items()}
            assert identifiers == {each: row["id"] for each, row in first[table].items()}
        return found

    with client_of(database) as client:
        assert sync(client, fetch(fake)).outcome == "succeeded"
        first = stored()
        node = {row["name"]: row["id"] for row in first["hosts"].values() if row["type"] == "proxmox-node"}
        assert first["workloads"]["qemu/101"]["host_id"] == node["pve1"]
        # A swap of names, a guest that moves, and one that moves to a node which then is offline.
        fake.guests[101]["name"], fake.guests[103]["name"] = "idle", "web"
        fake.guests[101]["node"] = "pve2"
        found = after()
        assert {each: row["name"] for each, row in found["workloads"].items()} == {
            "qemu/101": "idle",
            "qemu/103": "web",
            "lxc/102": "web",
        }
        assert found["workloads"]["qemu/101"]["host_id"] == node["pve2"]
        assert found["hosts"]["qemu/101"]["name"] == "idle"
        fake.nodes["pve2"] = False
        found = after()
        for table in found:
            row = found[table]["lxc/102"]
            assert (row["name"], row["status"], row["gone_at"]) == ("web", "unknown", None)
        assert found["hosts"]["lxc/102"]["cpu_cores"] == first["hosts"]["lxc/102"]["cpu_cores"] == Decimal("0.5")
        assert found["hosts"]["node/pve2"]["status"] == "offline"
        assert found["hosts"]["node/pve2"]["memory_bytes"] == 32 * 2**30
        fake.nodes["pve2"] = True
        # One is deleted and made again with its number.
        del fake.guests[103]
        assert after()["workloads"]["qemu/103"]["gone_at"] is not None
        fake.add(103, "new")
        row = after()["workloads"]["qemu/103"]
        assert (row["name"], row["status"], row["gone_at"]) == ("new", "running", None)
        # Without its rights the token sees nothing, and nothing is gone.
        fake.rights["/vms"] = fake.rights["/nodes"] = {}
        fake.rights["/"] = {"Sys.Audit": 1}
        result = sync(client, fetch(fake))
        assert (result.outcome, "has VM.Audit nowhere" in result.error) == ("failed", True)
        assert {row["gone_at"] for rows_ in stored().values() for row in rows_.values()} == {None}
