"""The parts of the Proxmox VE connector that need no server: options, addresses, capacities, and whatever a list may hold."""

from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors import proxmox
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.http_lists import NoList
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.connectors.registry import (
    check_source_options,
)
from hypothesis import given
from hypothesis import strategies as st

RIGHT = {"url": "https://pve1.example:8006", "user": "mission-control@pve", "token_name": "inventory"}


@pytest.mark.parametrize(
    ("options", "secrets", "expected"),
    [
        ({}, ("token",), None),
        ({"url": "https://[2001:db8::1]:8006/", "addresses": True, "ca_certificate": "PEM"}, ("token",), None),
        ({"url": "http://pve1.example:8006"}, ("token",), "it must be https://name:port."),
        ({"url": "https://pve1.example"}, ("token",), "it must be https://name:port."),
        ({"url": "https://pve1.example:8006/api2/json"}, ("token",), "it must be https://name:port."),
        ({"url": "https://root:hunter2@pve1.example:8006"}, ("token",), "'https://pve1.example:8006', but it must be"),
        ({"url": "pve1.example:port"}, ("token",), "it must be https://name:port."),
        ({"user": "mission-control"}, ("token",), "a user with a realm"),
        ({"user": "mission-control@pve!inventory"}, ("token",), "a user with a realm"),
        ({"token_name": "mission-control@pve!inventory"}, ("token",), "the name alone"),
        ({}, (), "The secret token is missing"),
        ({"url": None}, ("token",), "The option url is missing"),
    ],
)
def test_options_are_judged(options, secrets, expected):
    problems = check_source_options("proxmox", {**RIGHT, **options}, secrets)
    assert problems == [] if expected is None else expected in problems[0]
    assert "hunter2" not in "".join(problems)


def agent(name, *addresses):
    listed = [
        {"ip-address": each, "ip-address-type": "ipv6" if ":" in each else "ipv4", "prefix": 24} for each in addresses
    ]
    return {"name": name, "hardware-address": "bc:24:11:00:00:01", "ip-addresses": listed}


@pytest.mark.parametrize(
    ("interfaces", "expected"),
    [
        ([agent("lo", "127.0.0.1", "::1"), agent("eth0", "192.0.2.7", "fe80::1")], "192.0.2.7"),
        # A container of older versions
        ([{"name": "eth0", "hwaddr": "x", "inet": "192.0.2.8/24", "inet6": "fe80::1/64"}], "192.0.2.8"),
        ([agent("docker0", "172.17.0.1"), agent("br-12ab", "172.18.0.1"), agent("veth1", "192.0.2.1")], None),
        ([agent("eth0", "2001:db8::7"), agent("eth1", "192.0.2.9")], "192.0.2.9"),
        ([agent("eth0", "fe80::1%eth0", "2001:db8::7")], "2001:db8::7"),
        ([agent("Ethernet", "169.254.3.4", "0.0.0.0", "::", "224.0.0.1", "no address")], None),
        ([agent("eth0", "10.0.0.2"), agent("eth1", "10.1.0.2")], "10.0.0.2"),
        ([{"name": "eth0"}, None, {"ip-addresses": [None, {}]}, {"name": "eth1", "ip-addresses": "x"}], None),
        ([], None),
    ],
)
def test_the_address_is_one_by_which_a_guest_is_reached(interfaces, expected):
    assert proxmox.address_of({"result": interfaces}) == expected
    assert proxmox.address_of(interfaces) == expected


@pytest.mark.parametrize("answer", [None, {}, "x", {"result": {}}])
def test_an_answer_without_interfaces_tells_nothing(answer):
    with pytest.raises(NoList):
        proxmox.address_of(answer)


@pytest.mark.parametrize(
    ("maxcpu", "cores"),
    [
        (4, Decimal(4)),
        (0.5, Decimal("0.5")),
        (0, None),
        (None, None),
        (-1, None),
        ("4", None),
        (True, None),
        (float("inf"), None),
        (float("nan"), None),
        (10**9, None),
        (1e-9, None),
    ],
)
def test_capacity(maxcpu, cores):
    hosts, _ = proxmox.guest_listings([{"type": "lxc", "vmid": 1, "maxcpu": maxcpu, "maxmem": 0}], None, {})
    (row,) = hosts.rows
    assert (row.cpu_cores, row.memory_bytes) == (cores, None)
    # What is not told does not replace what was told before.
    assert set(row.unknown) == {"memory_bytes", "address", *(() if cores else ("cpu_cores",))}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [("prod;web", {"prod": "true", "web": "true"}), ("web, prod", {"prod": "true", "web": "true"}), ("", {}), (7, {})],
)
def test_tags_are_labels(tags, expected):
    for listing in proxmox.guest_listings([{"type": "qemu", "vmid": 1, "tags": tags}], None, {}):
        assert listing.rows[0].labels == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("vmid", "name", "node", "status", "maxcpu", "maxmem", "tags", "pool", "hastate", "id")


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["qemu", "lxc", "node"])}, optional=dict.fromkeys(FIELDS, values)
        ),
        max_size=5,
    )
)
def test_whatever_a_cluster_lists_becomes_rows_or_is_skipped(resources):
    guests = [each for each in resources if each["type"] != "node"]
    nodes = proxmox.node_listing(resources, None, {})
    hosts, workloads = proxmox.guest_listings(guests, None, {})
    assert len(nodes.rows) + len(nodes.skipped) == len(resources) - len(guests)
    assert {each.external_id for each in hosts.rows} == {each.external_id for each in workloads.rows}
    for listing in (hosts, workloads):
        assert len({each.external_id for each in listing.rows}) == len(listing.rows)


@given(values)
def test_whatever_a_guest_says_of_its_interfaces_is_an_address_or_none(answer):
    try:
        address = proxmox.address_of(answer)
    except NoList:
        return
    assert address is None or address not in ("0.0.0.0", "::", "127.0.0.1")
