"""Which rows of a snapshot are skipped before the database sees them."""

import datetime
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.acceptable import (
    SnapshotError,
    acceptable_rows,
    refuse_contradictions,
)
from ansible_collections.homelab.mission_control.plugins.module_utils.inventory.snapshot import (
    HostRow,
    Listing,
    Skipped,
    Snapshot,
    WorkloadRow,
)

HOST = HostRow("node/a", "a", "k8s-node", status="online", cpu_cores=Decimal("0.5"), memory_bytes=1)
WORKLOAD = WorkloadRow("pod/a", "a", "k8s-pod", status="running", replicas_wanted=0)
DEEP = {}
for _ in range(2000):
    DEEP = {"a": DEEP}
CYCLE = {}
CYCLE["a"] = CYCLE


def snapshot(*listings, **columns):
    values = {
        "source": "k8s",
        "connector": "kubernetes",
        "identity": "uid",
        "cluster": None,
        "observed_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "listings": listings,
    }
    return Snapshot(**{**values, **columns})


def hosts(*rows, **columns):
    return snapshot(Listing("hosts", ("k8s-node",), rows, **columns))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"external_id": "a\0"}, "its external_id holds a character that cannot be stored"),
        ({"external_id": "x" * 1025}, "its external_id is longer than 1024 bytes"),
        ({"external_id": 7}, "its external_id is no text"),
        ({"external_id": " "}, "its external_id is empty"),
        ({"external_id": None}, "it has no identifier"),
        ({"name": ""}, "its name is empty"),
        ({"name": "\ud800"}, "its name holds a character that cannot be stored"),
        ({"name": "é" * 513}, "its name is longer than 1024 bytes"),
        ({"type": "vm"}, "its type 'vm' is none of its list"),
        ({"type": None}, "its type None is none of its list"),
        ({"status": "up"}, "its status 'up' is none of online, offline, degraded, unknown"),
        ({"status": ["online"]}, "its status is no text"),
        ({"address": "x" * 8193}, "its address is longer than 8192 bytes"),
        ({"os": 12}, "its os is no text"),
        ({"cpu_cores": 0}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": Decimal("0.0004")}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": 10**7}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": float("nan")}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": Decimal("sNaN")}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": float("inf")}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": "4"}, "its cpu_cores is no number of cores"),
        ({"cpu_cores": True}, "its cpu_cores is no number of cores"),
        ({"memory_bytes": 0}, "its memory_bytes is no whole number from 1 on"),
        ({"memory_bytes": 2**63}, "its memory_bytes is no whole number from 1 on"),
        ({"memory_bytes": 1.5}, "its memory_bytes is no whole number from 1 on"),
        ({"labels": []}, "its labels are no JSON object"),
        ({"labels": {"a": "\0"}}, "its labels hold a character that cannot be stored"),
        ({"labels": {"a\0": {"b": 1}}}, "its labels hold a character that cannot be stored"),
        ({"labels": {"a": "\udfff"}}, "its labels hold a character that cannot be stored"),
        ({"labels": {1: "a"}}, "its labels have a key that is no text"),
        ({"metadata": {"a": object()}}, "its metadata hold a value of the kind object, which is no JSON"),
        ({"metadata": {"a": float("nan")}}, "its metadata hold a number that is too large or too small"),
        ({"metadata": {"a": [10**5000]}}, "its metadata hold a number that is too large or too small"),
        ({"metadata": {"a": 1e-300}}, "its metadata hold a number that is too large or too small"),
        ({"metadata": {"a": [1e99] * 3000}}, "its metadata are longer than 262144 bytes"),
        ({"metadata": {"a": [0] * 300_000}}, "its metadata are longer than 262144 bytes"),
        ({"metadata": {"a": "é" * 140_000}}, "its metadata are longer than 262144 bytes"),
        ({"metadata": {"a": "\x01" * 50_000}}, "its metadata are longer than 262144 bytes"),
        ({"metadata": DEEP}, "its metadata are nested more than 100 levels deep"),
        ({"metadata": CYCLE}, "its metadata are nested more than 100 levels deep"),
        ({"unknown": "status"}, "what it leaves untold is no list"),
        ({"unknown": ("status'",)}, "what it leaves untold are no names of columns"),
        ({"unknown": ("type",)}, "it leaves its type or its identifier untold"),
    ],
)
def test_a_row_that_the_table_would_refuse_is_skipped(columns, reason):
    found = acceptable_rows(hosts(HOST, replace(HOST, **{"external_id": "node/b", **columns})), "hosts")
    assert [json.loads(row)["external_id"] for row in found.rows] == ["node/a"]
    assert [each.reason for each in found.skipped] == [reason]


def test_a_row_is_written_as_its_table_rounds_it():
    row = replace(HOST, cpu_cores=1 / 3, unknown=("status",), labels={"a": "\\u0000", "b": ["\x7f", 1.5, None, True]})
    (given,) = acceptable_rows(hosts(row), "hosts").rows
    assert json.loads(given) == {
        "external_id": "node/a",
        "name": "a",
        "type": "k8s-node",
        "status": "online",
        "cpu_cores": "0.333",
        "memory_bytes": 1,
        "labels": {"a": "\\u0000", "b": ["\x7f", 1.5, None, True]},
        "metadata": {},
        "unknown": ["status"],
    }


def test_host_and_service_are_untold_by_the_names_of_their_columns():
    row = replace(WORKLOAD, unknown=("host", "service_id"))
    (given,) = acceptable_rows(snapshot(Listing("workloads", ("k8s-pod",), (row,))), "workloads").rows
    assert json.loads(given)["unknown"] == ["host_id", "service_id"]


def test_of_two_rows_of_one_identifier_the_first_counts():
    found = acceptable_rows(hosts(HOST, replace(HOST, name="other")), "hosts")
    assert [json.loads(row)["name"] for row in found.rows] == ["a"]
    assert found.skipped == [Skipped("node/a", "other", "its identifier is that of another row of this snapshot")]


def test_a_row_of_another_kind_is_skipped():
    found = acceptable_rows(hosts(WORKLOAD), "hosts")
    assert found.skipped == [Skipped("pod/a", "a", "it is no row of hosts")]


def test_a_list_is_whole_where_it_is_complete_and_all_say_who_they_are():
    named, unnamed = Skipped("node/b\0", "b\0", "it is odd\ud800"), Skipped(None, "?", "it has no name")
    assert len(acceptable_rows(hosts(HOST, skipped=(named,)), "hosts").whole) == 1
    assert acceptable_rows(hosts(HOST, skipped=(unnamed,)), "hosts").whole == []
    assert acceptable_rows(hosts(HOST, replace(HOST, external_id=None)), "hosts").whole == []
    assert acceptable_rows(hosts(HOST, problem="The list was cut."), "hosts").whole == []
    # What is said of it can be stored.
    (kept,) = acceptable_rows(hosts(skipped=(named,)), "hosts").skipped
    assert kept == Skipped("node/b\ufffd", "b\ufffd", "it is odd\ufffd")
    both = snapshot(Listing("hosts", ("k8s-node",), (), None, (unnamed,)), Listing("hosts", ("vm",), ()))
    assert [each.types for each in acceptable_rows(both, "hosts").whole] == [("vm",)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            snapshot(Listing("pods", ("k8s-pod",))),
            "has a list of 'pods', but there are hosts, services, workloads only",
        ),
        (snapshot(Listing("hosts", ())), "has a list of hosts whose types are ()"),
        (snapshot(Listing("hosts", ("k8s-pod",))), "has a list of hosts whose types are ('k8s-pod',)"),
        (snapshot(Listing("services", ("vm",))), "has a list of services whose types are ('vm',)"),
        (snapshot(Listing("hosts", ("vm",)), Listing("hosts", ("vm", "bare-metal"))), "has two lists of vm"),
        (snapshot(Listing("services", ()), Listing("services", ())), "has two lists of services"),
        (snapshot(identity=" "), "The identity of k8s must be a text that can be stored"),
        (snapshot(identity="a\0"), "The identity of k8s must be a text that can be stored"),
        (snapshot(cluster="\ud800"), "The cluster of k8s must be a text that can be stored"),
        (snapshot(observed_at=datetime.datetime(2026, 1, 1)), "has no time zone"),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(given, sentence):
    with pytest.raises(SnapshotError) as refused:
        refuse_contradictions(given)
    assert sentence in str(refused.value)
